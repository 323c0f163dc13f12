"""Estimators with weights of 16 and 8 bits."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt.nn.compression import KINDS

TEXTS = ["good film", "a good one", "bad film", "a bad one"] * 4
MOODS = ["+", "+", "-", "-"] * 4
SERIES = [np.sin(np.arange(40) / 3 + phase) for phase in range(4)]
COMMON = {"hidden_size": 12, "epochs": 4, "random_state": 0}


def fitted(kind):
    if kind == "classifier":
        return bptt.SequenceClassifier(tokens="words", embedding_size=5, **COMMON).fit(TEXTS, MOODS)
    if kind == "regressor":
        return bptt.SequenceRegressor(**COMMON).fit(SERIES, np.arange(4.0))
    if kind == "tagger":
        labels = [["x" if letter in "aeiou" else "y" for letter in text] for text in TEXTS]
        return bptt.SequenceTagger(bidirectional=True, crf=True, **COMMON).fit(TEXTS, labels)
    if kind == "forecaster":
        return bptt.SequenceForecaster(horizon=3, lookback=10, **COMMON).fit(SERIES)
    if kind == "language_model":
        return bptt.LanguageModel(embedding_size=5, **COMMON).fit(TEXTS)
    if kind == "generator":
        return bptt.SequenceGenerator(**COMMON).fit(MOODS, TEXTS)
    return bptt.EncoderDecoder(attention="dot", **COMMON).fit(TEXTS, [t[::-1] for t in TEXTS])


def outputs(model):
    if isinstance(model, bptt.SequenceForecaster | bptt.SequenceRegressor):
        return model.predict(SERIES)
    if isinstance(model, bptt.SequenceGenerator):
        return np.concatenate(model.surprisal(MOODS, TEXTS))
    if isinstance(model, bptt.EncoderDecoder):
        return model.score(TEXTS, [t[::-1] for t in TEXTS])
    found = model.predict_proba(TEXTS)
    return np.concatenate(found) if isinstance(found, list) else found


@pytest.mark.parametrize(
    "name",
    [
        *("classifier", "regressor", "tagger", "forecaster"),
        *("language_model", "generator", "encoder_decoder"),
    ],
)
def test_estimators(name, tmp_path):
    model = fitted(name)
    expected = outputs(model)
    for kind in KINDS:
        small = model.compressed(kind)
        found = outputs(small)
        np.testing.assert_allclose(found, expected, atol=0.05)
        path, full = tmp_path / "small.safetensors", tmp_path / "full.safetensors"
        small.save(path)
        model.save(full)
        assert path.stat().st_size < full.stat().st_size
        again = bptt.load_estimator(path)
        np.testing.assert_array_equal(outputs(again), found)
        again.save(full)
        assert full.read_bytes() == path.read_bytes()
        modules = again._task().modules.values()
        assert kind in {module.compression for module in modules}
        np.testing.assert_array_equal(outputs(model), expected)


def test_training_is_refused_and_fit_begins_anew():
    model = fitted("classifier")
    small = model.compressed("int8")
    with pytest.raises(ValueError, match="training needs weights of float32"):
        small.partial_fit(TEXTS, MOODS)
    small.set_params(warm_start=True)
    with pytest.raises(ValueError, match="training needs weights of float32"):
        small.fit(TEXTS, MOODS)
    small.set_params(warm_start=False).fit(TEXTS, MOODS)
    np.testing.assert_array_equal(outputs(small), outputs(model))
    with pytest.raises(ValueError, match="needs a module of float32"):
        model.compressed("int8").compressed("bfloat16")


def test_report():
    model = fitted("classifier")
    small = model.compressed("bfloat16")
    report = bptt.compression_report(model, small, TEXTS, MOODS, max_score_loss=0.0)
    assert report.score == (model.score(TEXTS, MOODS), small.score(TEXTS, MOODS))
    assert report.largest == np.abs(outputs(model) - outputs(small)).astype(float).max()
    assert report.nbytes[1] < report.nbytes[0]
    with pytest.raises(ValueError, match="the loss of the score must be <= max_score_loss = -1"):
        bptt.compression_report(model, small, TEXTS, MOODS, max_score_loss=-1)
    language = fitted("language_model")
    report = bptt.compression_report(language, language.compressed("int8"), TEXTS)
    assert report.score is not None
    assert abs(report.score_loss) < 0.05
    encoder = fitted("encoder_decoder")
    report = bptt.compression_report(encoder, encoder.compressed("int8"), TEXTS)
    assert report[:3] == (None, None, None)


def test_files_of_compressed_estimators_have_no_optimizer(tmp_path):
    import tensor_files

    path = tmp_path / "small.safetensors"
    fitted("regressor").compressed("int8").save(path)
    header, tensors = tensor_files.read(path)
    assert not any(name.startswith("optimizer/") for name in tensors)
    tensors["optimizer/updates"] = np.zeros(1, np.int64)
    tensor_files.write(path, header, tensors)
    with pytest.raises(ValueError, match="compressed weights have no optimizer, got optimizer/upd"):
        bptt.load_estimator(path)
