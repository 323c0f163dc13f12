"""Files of estimators of any class, and standardization."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

import bptt
import tensor_files
from bptt.data.standardization import Standardizer

TEXTS = ["ab", "ba", "abab", "b"]
TAGS = [list(text.upper()) for text in TEXTS]
OPTIONS = {"hidden_size": 4, "epochs": 1, "random_state": 0}
FITTED = {
    "SequenceClassifier": lambda model: model.fit(TEXTS, [0, 1, 0, 1]),
    "SequenceRegressor": lambda model: model.fit(TEXTS, [0.5, 1.0, 2.0, 0.0]),
    "SequenceForecaster": lambda model: model.fit(np.arange(30.0)),
    "SequenceTagger": lambda model: model.fit(TEXTS, TAGS),
    "LanguageModel": lambda model: model.fit(TEXTS),
    "SequenceGenerator": lambda model: model.fit([0, 1, 2, 3], TEXTS),
    "EncoderDecoder": lambda model: model.fit(TEXTS, ["x", "y", "xy", "yx"]),
}


@pytest.mark.parametrize("name", FITTED)
def test_load_estimator_of_any_class(name, tmp_path):
    model = FITTED[name](getattr(bptt, name)(**OPTIONS))
    model.save(tmp_path / "model", {"columns": ["a", "b"]})
    loaded = bptt.load_estimator(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.metadata_ == {"columns": ["a", "b"]}
    assert loaded.history_["loss"] == model.history_["loss"]
    model.save(tmp_path / "other")
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "other").read_bytes()


def change(path, **changed):
    """Change the header of a file."""
    header, tensors = tensor_files.read(path)
    tensor_files.write(path, header | changed, tensors)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 1}, "it is not a file of an estimator"),
        ({"estimator": "Path"}, "it must be one of EncoderDecoder, .*SequenceTagger, got Path"),
        ({"parameters": {"schedule": None, "size": 3}}, ".*'size'"),
        ({"modules": {}}, ""),
        ({"fitted": {}}, "'encoder'"),
        ({"history": {}}, "'number'"),
    ],
)
def test_broken_files(changed, message, tmp_path):
    path = tmp_path / "model"
    FITTED["SequenceTagger"](bptt.SequenceTagger(**OPTIONS)).save(path)
    change(path, **changed)
    with pytest.raises(ValueError, match=f"^cannot load .*model: {message}"):
        bptt.load_estimator(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        bptt.load_estimator(tmp_path / "none")
    with pytest.raises(TypeError, match="path must be a string or a path, got int"):
        bptt.load_estimator(3)


@pytest.mark.parametrize("metadata", [3, "ab", [1, 2]])
def test_metadata_must_be_a_mapping(metadata, tmp_path):
    model = FITTED["SequenceTagger"](bptt.SequenceTagger(**OPTIONS))
    with pytest.raises(TypeError, match=r"^metadata must be a mapping, got "):
        model.save(tmp_path / "model", metadata)
    assert list(tmp_path.iterdir()) == []


def test_a_seed_of_numpy_is_saved(tmp_path):
    options = {**OPTIONS, "random_state": np.int64(3), "checkpoint_path": tmp_path / "t"}
    FITTED["SequenceTagger"](bptt.SequenceTagger(**options)).save(tmp_path / "model")
    assert bptt.load_estimator(tmp_path / "model").random_state == 3


# ---- scale


def test_inverse_transform():
    values = np.random.default_rng(0).normal((3.0, -50.0), (0.01, 200.0), (500, 2))
    scaling = Standardizer.from_values(values)
    scaled = scaling.transform(values)
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0)
    np.testing.assert_allclose(
        Standardizer.from_dict(scaling.to_dict()).inverse_transform(scaled), values
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_columns_become_0(dtype):
    values = np.full((1000, 1), 0.1, dtype)
    assert np.abs(Standardizer.from_values(values).transform(values)).max() < 1e-6


def waves(offset, size, count=60):
    """Sine waves of some offset and amplitude, and their frequencies."""
    random = np.random.default_rng(1)
    f = random.uniform(0.2, 0.8, count)
    X = [offset + size * np.sin(f_i * np.arange(random.integers(8, 15)))[:, None] for f_i in f]
    return X, 1000.0 + 300.0 * f


@pytest.mark.parametrize("padded", [False, True])
def test_standardized_regression_does_not_depend_on_units(padded, tmp_path):
    found = []
    for offset, size in ((0.0, 1.0), (-300.0, 20.0)):
        X, y = waves(offset, size)
        lengths = np.array([len(x) for x in X])
        if padded:
            rows = np.full((len(X), 20, 1), 1e6)  # padding must not count
            for row, x in zip(rows, X, strict=True):
                row[: len(x)] = x
        data = (rows, y, lengths) if padded else (X, y)
        options = {**OPTIONS, "epochs": 10, "learning_rate": 0.03, "dtype": "float64"}
        model = bptt.SequenceRegressor(scale=True, validation_fraction=0.2, **options).fit(*data)
        model.save(tmp_path / "model")
        loaded = bptt.load_estimator(tmp_path / "model")
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        found.append(loaded.predict(X))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    history = model.history_
    assert 0.5 < history[0].loss < 2.0  # of standardized targets
    assert 20.0 < history[0].metric < 200.0  # in the original unit, with a standard deviation of 50
    assert model.score(X, y) > 0.5


def test_scale_does_not_affect_tokens():
    plain = FITTED["SequenceClassifier"](bptt.SequenceClassifier(**OPTIONS))
    scaled = FITTED["SequenceClassifier"](bptt.SequenceClassifier(scale=True, **OPTIONS))
    np.testing.assert_array_equal(scaled.predict_proba(TEXTS), plain.predict_proba(TEXTS))
    with pytest.raises(TypeError, match="scale must be True or False, got int"):
        bptt.SequenceClassifier(scale=1).fit(TEXTS, [0, 1, 0, 1])
