"""`sample_weight` of steps: tagger, and regressor of numbers at every step."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.metrics import accuracy_score, r2_score

import bptt

OPTIONS = {"hidden_size": 6, "epochs": 3, "batch_size": 4, "random_state": 0}
RANDOM = np.random.default_rng(0)
X = [RANDOM.standard_normal((n, 2)) for n in (4, 1, 6, 3, 5, 2, 4, 3)]
TAGS = [["a" if row[0] > 0 else "b" for row in x] for x in X]
NUMBERS = [x.sum(axis=1) for x in X]
WEIGHTS = [RANDOM.integers(0, 4, len(x)) * 0.5 for x in X]
KINDS = {
    "SequenceTagger": ({}, TAGS),
    "SequenceRegressor": ({"pool": None}, NUMBERS),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind, **options):
    own, y = KINDS[kind]
    return getattr(bptt, kind)(**{**OPTIONS, **own, **options}), y


def padded(rows):
    array = np.full((len(rows), max(map(len, rows)) + 1), np.nan)
    for line, row in zip(array, rows, strict=True):
        line[: len(row)] = row
    return array


@every_kind
def test_constant_weights_of_steps_are_those_of_sequences(kind):
    model, y = make(kind)
    whole = np.array([1.0, 2.0, 0.0, 1.0, 3.0, 1.0, 2.0, 1.0])
    expected = model.fit(X, y, sample_weight=whole)
    predicted = expected.predict(X)
    history = expected.history_["loss"]
    score = expected.score(X, y, sample_weight=whole)
    steps = [np.full(len(x), w) for x, w in zip(X, whole, strict=True)]
    for given in (steps, [list(row) for row in steps], padded(steps)):
        found, _ = make(kind)
        found.fit(X, y, sample_weight=given)
        np.testing.assert_allclose(found.history_["loss"], history, rtol=1e-6)
        for one, other in zip(found.predict(X), predicted, strict=True):
            if kind == "SequenceTagger":
                assert one.tolist() == other.tolist()
            else:
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        assert found.score(X, y, sample_weight=given) == pytest.approx(score, rel=1e-4)


@every_kind
def test_steps_of_weight_zero_do_not_count(kind):
    """Their targets may be anything, and those of the tagger are left out with the same result."""
    model, y = make(kind)
    weights = [(np.arange(len(x)) % 2 == 0) * 1.0 for x in X]
    first = model.fit(X, y, sample_weight=weights).predict(X)
    other = [
        [
            value if w else {"a": "b", "b": "a"}.get(value, 99.0)
            for value, w in zip(*pair, strict=True)
        ]
        for pair in zip(y, weights, strict=True)
    ]
    second = make(kind)[0].fit(X, other, sample_weight=weights).predict(X)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)


@every_kind
def test_score_and_metric_are_weighted(kind):
    model, y = make(kind)
    model.fit(X, y, sample_weight=WEIGHTS)
    flat = np.concatenate(model.predict(X)), np.concatenate(y), np.concatenate(WEIGHTS)
    score = accuracy_score if kind == "SequenceTagger" else r2_score
    expected = score(flat[1], flat[0], sample_weight=flat[2])
    assert model.score(X, y, sample_weight=WEIGHTS) == pytest.approx(expected)
    assert model.score(X, y) != pytest.approx(expected)
    model.set_params(epochs=1, learning_rate=1e-12).fit(X, y, sample_weight=WEIGHTS)
    flat = np.concatenate(model.predict(X)), np.concatenate(y), np.concatenate(WEIGHTS)
    metric = model.history_[-1].metric  # of all minibatches, at almost the same weights
    if kind == "SequenceTagger":
        assert metric == pytest.approx(accuracy_score(flat[1], flat[0], sample_weight=flat[2]))
    else:
        error = np.average(np.abs(flat[0] - flat[1]), weights=flat[2])
        assert metric == pytest.approx(error, rel=1e-4)


@every_kind
def test_weights_are_held_out_with_their_sequences(kind):
    model, y = make(kind, validation_fraction=0.25)
    model.fit(X, y, sample_weight=WEIGHTS)
    assert np.isfinite(model.history_["validation_loss"]).all()
    model.partial_fit(X, y, sample_weight=WEIGHTS)
    balanced, _ = make("SequenceTagger", class_weight="balanced", label_smoothing=0.1)
    balanced.fit(X, TAGS, sample_weight=WEIGHTS)


@every_kind
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (WEIGHTS[:-1], "sample_weight must have 8 sequences, got 7"),
        (
            [[1.0], *WEIGHTS[1:]],
            r"sample_weight\[0\] must have a weight for each of the 4 steps of X\[0\], got 1",
        ),
        ([-row - 1 for row in WEIGHTS], "sample_weight must be finite and >= 0"),
        ([row * np.nan for row in WEIGHTS], "sample_weight must be finite and >= 0"),
        ([row * 0 for row in WEIGHTS], "not zero everywhere"),
        ([["x"] * len(row) for row in WEIGHTS], "sample_weight must have shape"),
        (np.ones((8, 2, 1)), "sample_weight must have shape"),
        (np.ones(7), "sample_weight must have shape"),
    ],
)
def test_wrong_weights(kind, weights, message):
    model, y = make(kind)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, sample_weight=weights)


def test_estimators_whose_steps_cannot_be_weighted():
    for options in ({"crf": True}, {"metric": "span_f1"}):
        tags = [["O"] * len(x) for x in X]
        model = bptt.SequenceTagger(**OPTIONS, **options)
        with pytest.raises(ValueError, match="weights of steps need crf=False and metric='accur"):
            model.fit(X, tags, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match="sample_weight must have shape"):
        bptt.SequenceRegressor(**OPTIONS).fit(X, np.arange(8.0), sample_weight=WEIGHTS)
