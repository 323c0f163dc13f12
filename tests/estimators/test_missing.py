"""Missing features in estimators: `missing="mask"` and `missing="decay"`."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

import bptt

OPTIONS = {"hidden_size": 8, "epochs": 3, "missing": "mask", "random_state": 0}


def with_gaps(count, seed, missing=0.5):
    """Sequences (T, 2) of which half the values are missing, and their sums."""
    random = np.random.default_rng(seed)
    X = [random.standard_normal((n, 2)) for n in random.integers(4, 9, count)]
    y = np.array([x.sum() for x in X])
    for x in X:
        x[random.random(x.shape) < missing] = np.nan
    return X, y


@pytest.mark.parametrize("missing", ["mask", "decay"])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("SequenceClassifier", lambda X, y: y > 0),
        ("SequenceRegressor", lambda X, y: y),
        ("SequenceTagger", lambda X, y: [["a"] * len(x) for x in X]),
        ("EncoderDecoder", lambda X, y: ["ab"] * len(X)),
    ],
)
def test_estimators_of_numbers(kind, target, scale, missing, tmp_path):
    X, y = with_gaps(20, 0)
    options = {**OPTIONS, "missing": missing}
    model = getattr(bptt, kind)(**options, scale=scale).fit(X, target(X, y))
    assert model.n_features_in_ == 2
    assert model.__sklearn_tags__().input_tags.allow_nan
    model.save(tmp_path / "model")
    loaded = bptt.load_estimator(tmp_path / "model")
    for found, expected in zip(loaded.predict(X), model.predict(X), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_observed_zero_is_not_a_missing_value():
    """Which values are missing decides the class: filling in loses it, the mask keeps it."""
    random = np.random.default_rng(0)
    X = np.zeros((200, 6, 1))
    y = random.integers(0, 2, 200)
    X[y == 1, random.integers(1, 6, 200)[y == 1]] = np.nan
    model = bptt.SequenceClassifier(**{**OPTIONS, "epochs": 30, "learning_rate": 0.02})
    assert model.fit(X[:150], y[:150]).score(X[150:], y[150:]) == 1.0


def test_rates_of_decay_are_learned():
    """The class is the last value if it is recent: an old one tells nothing."""
    random = np.random.default_rng(0)
    X = np.full((300, 8, 1), np.nan)
    y = random.integers(0, 2, 300)
    X[np.arange(300), random.integers(0, 3, 300), 0] = random.choice([-1.0, 1.0], 300)
    X[np.arange(300), random.integers(5, 8, 300), 0] = 2.0 * y - 1
    options = {**OPTIONS, "missing": "decay", "epochs": 20, "learning_rate": 0.02, "pool": "mean"}
    model = bptt.SequenceClassifier(**options).fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > 0.9
    decay = model.model_.modules[0]
    assert isinstance(decay, bptt.InputDecay)
    assert decay["rate"] != np.float32(0.1)


@pytest.mark.parametrize("cell", ["gru", "gru_reset_after", "gru_layer_norm", "lstm", "rnn"])
def test_the_state_of_a_gru_decays_as_well(cell):
    X, y = with_gaps(20, 0)
    is_gru = cell.startswith("gru")
    for kind, target, options in (
        ("SequenceClassifier", y > 0, {"bidirectional": True}),
        ("EncoderDecoder", ["ab"] * len(X), {"bidirectional": True}),
    ):
        model = getattr(bptt, kind)(**{**OPTIONS, "missing": "decay"}, cell=cell, **options)
        model.fit(X, target)
        chain = model.network_.encoder if kind == "EncoderDecoder" else model.model_
        decay, recurrent = chain.modules[:2]
        assert decay.pass_times == is_gru
        assert recurrent.config.get("decay_size", 0) == 2 * is_gru
        assert recurrent.input_size == decay.output_size == 4 + 2 * is_gru
        if is_gru:
            assert (recurrent["weight_decay_l0"] != np.float32(0.05)).all()


def test_decay_beside_other_inputs():
    """Categories, the labels of the steps before, and the skip connection read past it."""
    X, y = with_gaps(20, 0)
    options = {**OPTIONS, "missing": "decay"}
    tables = [np.column_stack([x, [b"ab"[t % 2] for t in range(len(x))]]) for x in X]
    model = bptt.SequenceClassifier(**options, categorical_features=[2]).fit(tables, y > 0)
    decay, recurrent, _ = model.model_.modules
    assert (decay.num_features, decay.num_others, recurrent.input_size) == (2, 2, 6)
    labels = [["a", "b"] * (len(x) // 2) + ["a"] * (len(x) % 2) for x in X]
    tagger = bptt.SequenceTagger(**options, feedback=True, skip_input=True).fit(X, labels)
    assert (tagger.model_.modules[0].num_others, len(tagger.predict(X))) == (2, 20)
    tagger = bptt.SequenceTagger(**options, feedback=True, skip_input=True, cell="gru")
    recurrent, linear = tagger.fit(X, labels).model_.modules[1:]
    assert (recurrent.decay_size, recurrent.input_size, linear.in_features) == (2, 8, 16)


@pytest.mark.parametrize(
    ("kind", "X", "y", "message"),
    [
        ("SequenceClassifier", ["a", "b"], [0, 1], "missing='mask' needs numbers, got X that hold"),
        ("EncoderDecoder", ["a", "b"], ["a", "b"], "missing='mask' needs numbers, got X that hold"),
        ("LanguageModel", ["a", "b"], None, "LanguageModel needs missing='error'"),
        ("SequenceGenerator", [0, 1], ["a", "b"], "SequenceGenerator needs missing='error'"),
    ],
)
def test_other_inputs(kind, X, y, message):
    with pytest.raises(ValueError, match=message):
        getattr(bptt, kind)(**OPTIONS).fit(X, y)


def test_the_default_is_an_error():
    X, y = with_gaps(20, 0)
    with pytest.raises(ValueError, match="fill it in, or set missing='mask'"):
        bptt.SequenceRegressor(**{**OPTIONS, "missing": "error"}).fit(X, y)
    with pytest.raises(
        ValueError, match="missing must be one of 'error', 'mask', 'decay', got 'fill'"
    ):
        bptt.SequenceRegressor(**{**OPTIONS, "missing": "fill"}).fit(X, y)
