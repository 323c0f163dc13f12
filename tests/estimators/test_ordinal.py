"""Classes with an order: `SequenceClassifier(ordinal=..)`."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

from sklearn.model_selection import cross_val_score

import bptt

NAMES = ["none", "few", "some", "many"]  # not sorted
OPTIONS = {"hidden_size": 8, "learning_rate": 0.02, "random_state": 0}


def counts(count, seed):
    """Strings, and how many letters "a" they have: 0, 1, 2, or more."""
    random = np.random.default_rng(seed)
    X = ["".join(random.choice(list("axyz"), n)) for n in random.integers(1, 9, count)]
    return X, np.array([min(text.count("a"), 3) for text in X])


@pytest.fixture(scope="module")
def fitted():
    X, y = counts(300, 0)
    return bptt.SequenceClassifier(ordinal=True, epochs=40, **OPTIONS).fit(X, y)


def test_classes_are_learned(fitted):
    X, y = counts(200, 1)
    assert fitted.score(X, y) > 0.9
    assert np.abs(fitted.predict(X) - y).mean() < 0.1
    assert fitted.history_["metric"][-1] > 0.9  # the accuracy of the same predictions
    assert fitted.model_.modules[-1].out_features == 3


def test_probabilities_are_products_of_continuation_ratios(fitted):
    X, _ = counts(20, 1)
    model = fitted.model_
    codes = fitted.encoder_.transform(X)
    for text, row in zip(codes, fitted.predict_proba(X), strict=True):
        beyond = 1 / (1 + np.exp(-model(text[np.newaxis])[0][0].astype(np.float64)))
        expected = [*(1 - beyond), 1.0] * np.cumprod([1.0, *beyond])
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-6)
    logits = fitted.decision_function(X)
    np.testing.assert_allclose(logits, fitted.predict_log_proba(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(fitted.predict(X), logits.argmax(axis=1))


def test_a_given_order_is_that_of_sorted_classes(fitted):
    """Names in their order, and the numbers of their places: the same network."""
    X, y = counts(300, 0)
    named = bptt.SequenceClassifier(ordinal=NAMES, epochs=40, **OPTIONS)
    named.fit(X, [NAMES[k] for k in y])
    assert named.classes_.tolist() == sorted(NAMES)
    assert named.predict(X).tolist() == [NAMES[k] for k in fitted.predict(X)]
    columns = [NAMES.index(name) for name in sorted(NAMES)]
    expected = fitted.predict_proba(X)[:, columns]  # the softmax of another order
    np.testing.assert_allclose(named.predict_proba(X), expected, rtol=1e-6)


def test_class_weights_and_sample_weights_count():
    X, y = counts(60, 2)
    heavy = np.where(y == 3, 2.0, 1.0)
    both = [
        bptt.SequenceClassifier(ordinal=True, epochs=2, **OPTIONS, class_weight=weight)
        for weight in ({3: 2.0}, None)
    ]
    one = both[0].fit(X, y)
    other = both[1].fit(X, y, sample_weight=heavy)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize("ordinal", [True, NAMES, tuple(NAMES)])
def test_saved_estimators_keep_the_order(tmp_path, ordinal):
    X, y = counts(60, 3)
    model = bptt.SequenceClassifier(ordinal=ordinal, epochs=1, **OPTIONS)
    model.fit(X, [NAMES[k] for k in y])
    model.save(tmp_path / "a")
    loaded = bptt.load_estimator(tmp_path / "a")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    loaded.partial_fit(X, [NAMES[k] for k in y])


def test_cross_validation():
    X, y = counts(200, 4)
    model = bptt.SequenceClassifier(ordinal=True, epochs=20, **OPTIONS)
    assert cross_val_score(model, X, y, cv=2).mean() > 0.6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ordinal": 3}, TypeError, "ordinal must be True, False, or a list of the classes"),
        ({"ordinal": "low"}, TypeError, "in their order, got str"),
        ({"ordinal": [0, 1, 2]}, ValueError, r"the classes \[0, 1, 2, 3\] once, got \[0, 1, 2\]"),
        ({"ordinal": [0, 1, 2, 2]}, ValueError, "must have each of the classes"),
        ({"ordinal": True, "multi_label": True}, ValueError, "ordinal needs multi_label=False"),
        ({"ordinal": True, "label_smoothing": 0.1}, ValueError, "label_smoothing=0, got"),
    ],
)
def test_wrong_arguments(options, error, message):
    X, y = counts(40, 0)
    with pytest.raises(error, match=message):
        bptt.SequenceClassifier(**OPTIONS, **options).fit(X, y)


def test_one_class_alone_has_no_order():
    with pytest.raises(ValueError, match=r"ordinal needs at least 2 classes, got \[1\]"):
        bptt.SequenceClassifier(**OPTIONS, ordinal=True).fit(["a", "b"], [1, 1])
