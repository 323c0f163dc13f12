"""Any number of classes per sequence: `SequenceClassifier(multi_label=True)`."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import cross_val_score

import bptt

OPTIONS = {"multi_label": True, "hidden_size": 16, "random_state": 0}


def letters(count, seed):
    """Strings, and which of the letters a, b, c they have."""
    random = np.random.default_rng(seed)
    X = ["".join(random.choice(list("abcxyz"), n)) for n in random.integers(1, 5, count)]
    return X, np.array([[one in text for one in "abc"] for text in X]).astype(np.int64)


def lists(y):
    return [["abc"[k] for k in np.flatnonzero(row)] for row in y]


@pytest.fixture(scope="module")
def fitted():
    X, y = letters(400, 0)
    return bptt.SequenceClassifier(**OPTIONS, epochs=40, learning_rate=0.02).fit(X, y)


def test_classes_are_learned(fitted):
    X, y = letters(200, 1)
    found = fitted.predict(X)
    assert found.dtype.kind == "i"
    assert f1_score(y, found, average="macro") > 0.98
    assert fitted.score(X, y) == accuracy_score(y, found) > 0.95
    assert fitted.history_["metric"][-1] > 0.95  # the same accuracy
    weights = np.arange(200.0)
    assert fitted.score(X, y, sample_weight=weights) == pytest.approx(
        accuracy_score(y, found, sample_weight=weights)
    )


def test_probabilities_are_those_of_single_classes(fitted):
    X, _ = letters(20, 1)
    logits = fitted.decision_function(X)
    assert logits.shape == (20, 3)
    np.testing.assert_allclose(fitted.predict_proba(X), 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_allclose(
        fitted.predict_log_proba(X), np.log(fitted.predict_proba(X)), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(fitted.predict(X), logits > 0)


def test_lists_of_labels_are_the_same_targets(tmp_path):
    X, y = letters(60, 0)
    options = {**OPTIONS, "epochs": 3}
    by_array = bptt.SequenceClassifier(**options).fit(X, y)
    by_lists = bptt.SequenceClassifier(**options).fit(X, [set(row) for row in lists(y)])
    assert by_lists.classes_.tolist() == ["a", "b", "c"]
    assert by_array.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(by_lists.predict_proba(X), by_array.predict_proba(X))
    assert by_lists.predict(X) == lists(by_array.predict(X))
    assert by_lists.score(X, lists(y)) == by_array.score(X, y)
    for model in (by_array, by_lists):
        model.save(tmp_path / "model")
        loaded = bptt.load_estimator(tmp_path / "model")
        assert type(loaded.predict(X)) is type(model.predict(X))
        assert list(map(list, loaded.predict(X))) == list(map(list, model.predict(X)))
        loaded.partial_fit(X, y if model is by_array else lists(y))


def test_two_classes_validation_and_smoothing():
    X, y = letters(60, 0)
    model = bptt.SequenceClassifier(
        **OPTIONS, epochs=3, label_smoothing=0.1, validation_fraction=0.2
    ).fit(X, y[:, :2])
    assert model.decision_function(X).shape == (60, 2)
    assert len(model.history_["validation_metric"]) == 3
    smoothed = model.history_[-1].loss
    assert 0 < smoothed < 2 * np.log(2) * 1.2
    scores = cross_val_score(bptt.SequenceClassifier(**OPTIONS, epochs=1), X, y, cv=2)
    assert scores.shape == (2,)
    named = bptt.SequenceClassifier(**OPTIONS, epochs=1)
    named.partial_fit(X[:5], lists(y)[:5], classes=["c", "b", "a", "d"])
    assert named.classes_.tolist() == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (["a", "b"], TypeError, r"or a list of lists of labels, got str in y\[0\]"),
        (np.array([0, 1]), TypeError, r"or a list of lists of labels, got int64 in y\[0\]"),
        (np.array([[0, 2], [1, 0]]), ValueError, "y must be 0 or 1 for every class, got 2"),
        (np.array([[0, np.nan], [1, 0]]), ValueError, "y must be 0 or 1 for every class, got nan"),
        (np.zeros((2, 0)), ValueError, "K >= 1"),
        ([[], []], ValueError, "y must have at least one label, got none"),
        ([["a"], [None]], ValueError, r"y must not have missing labels, got one in y\[1\]"),
        ([["a"], [["b"]]], TypeError, "or a list of lists of labels, got list in"),
        ("ab", TypeError, "or a list of lists of labels, got str"),
        ([["a"]], ValueError, "one target for each of 2 sequences, got 1"),
    ],
)
def test_wrong_targets(y, error, message):
    with pytest.raises(error, match=message):
        bptt.SequenceClassifier(**OPTIONS, epochs=1).fit(["ab", "ba"], y)


def test_wrong_targets_later(fitted):
    with pytest.raises(ValueError, match=r"shape \(B, K\) with K = 3, got \(1, 2\)"):
        fitted.score(["a"], np.array([[0, 1]]))
    with pytest.raises(ValueError, match=r"y\[0\] must hold known labels \(0, 1, 2\), got 'a'"):
        fitted.score(["a"], [["a"]])
    with pytest.raises(ValueError, match="multi_label=True needs class_weight=None"):
        bptt.SequenceClassifier(**OPTIONS, class_weight="balanced").fit(["a"], [["a"]])
