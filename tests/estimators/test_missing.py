"""Missing features in estimators: `missing="mask"`."""

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
def test_estimators_of_numbers(kind, target, scale, tmp_path):
    X, y = with_gaps(20, 0)
    model = getattr(bptt, kind)(**OPTIONS, scale=scale).fit(X, target(X, y))
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
    with pytest.raises(ValueError, match="missing must be one of 'error', 'mask', got 'fill'"):
        bptt.SequenceRegressor(**{**OPTIONS, "missing": "fill"}).fit(X, y)
