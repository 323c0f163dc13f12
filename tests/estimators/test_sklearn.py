"""scikit-learn's own checks of estimators.

An array (B, T) is B sequences of T steps, of one feature each, and not B samples of T features.
"""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn")

import numpy as np
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import bptt

ANY_LENGTH = "the columns of an array are steps, and sequences may be of any length"
NOT_APPLICABLE = {
    "check_n_features_in": ANY_LENGTH,
    "check_n_features_in_after_fitting": ANY_LENGTH,
    "check_estimators_partial_fit_n_features": ANY_LENGTH,
}
# test_classifier has the rest of that check, which begins with the number of features.
OF_CLASSIFIERS = {"check_classifiers_train": ANY_LENGTH}
ESTIMATORS = [
    kind(
        hidden_size=8,
        epochs=40,
        batch_size=64,  # all data of most checks, so that sample weights equal repetitions
        learning_rate=0.05,
        dtype="float64",
        random_state=0,
    )
    for kind in (bptt.SequenceClassifier, bptt.SequenceRegressor)
]


def not_applicable(estimator):
    classifier = isinstance(estimator, bptt.SequenceClassifier)
    return {**NOT_APPLICABLE, **(OF_CLASSIFIERS if classifier else {})}


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=not_applicable)
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [["a", "b"], [3, 5, 9]])
def test_classifier(classes, dtype):
    """Shapes, accuracy and consistent methods, as in check_classifiers_train."""
    random = np.random.default_rng(0)
    numbers = random.integers(0, len(classes), 120)
    X = random.normal(numbers[:, np.newaxis], 0.3, (120, 5))
    y = np.asarray(classes)[numbers]
    model = bptt.SequenceClassifier(
        hidden_size=8, epochs=30, learning_rate=0.05, dtype=dtype, random_state=0
    )
    with pytest.raises(ValueError, match="y must have one target for each of 120"):
        model.fit(X, y[:-1])
    model.fit(X.tolist(), y.tolist())
    assert model.n_features_in_ == 1
    assert model.n_iter_ == 30
    assert model.score(X, y) > 0.95
    for wrong in (X.T[0], X[np.newaxis, np.newaxis]):
        for method in (model.predict, model.predict_proba, model.decision_function):
            with pytest.raises(ValueError, match="Reshape your data"):
                method(wrong)
    answers, decision = model.predict(X), model.decision_function(X)
    np.testing.assert_array_equal(model.classes_, classes)
    best = decision > 0 if len(classes) == 2 else decision.argmax(axis=1)
    np.testing.assert_array_equal(answers, model.classes_[best.astype(int)])
    proba = model.predict_proba(X)
    assert proba.shape == (120, len(classes))
    assert proba.dtype == dtype
    np.testing.assert_array_equal(answers, model.classes_[proba.argmax(axis=1)])
    if len(classes) == 2:
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-decision)), rtol=tolerance)


def test_sequences_of_other_features_are_refused():
    X = np.zeros((6, 4, 3))
    model = bptt.SequenceRegressor(hidden_size=2, epochs=1).fit(X, np.zeros(6))
    assert model.n_features_in_ == 3
    assert model.predict(X[:, :2]).shape == (6,)  # shorter
    for call in (model.predict, lambda X: model.partial_fit(X, np.zeros(6))):
        with pytest.raises(ValueError, match=r"shape \(B, T, 3\), got \(6, 4, 2\)"):
            call(X[..., :2])


@pytest.mark.parametrize("kind", [np.array, list])
def test_tagger_is_cross_validated(kind):
    random = np.random.default_rng(0)
    X = [random.integers(0, 2, (n, 1)) * 1.0 for n in random.integers(3, 9, 60)]
    y = [kind(["yes" if bit else "no" for bit in x[:, 0]]) for x in X]
    model = bptt.SequenceTagger(hidden_size=8, epochs=10, learning_rate=0.05, random_state=0)
    assert cross_val_score(model, X, y, cv=3).tolist() == [1.0] * 3
    with pytest.raises(ValueError, match="requires y"):
        model.fit(X)
