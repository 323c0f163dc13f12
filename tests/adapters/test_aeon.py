"""`bptt.aeon`: aeon's own checks, and the same results as the estimators."""

from __future__ import annotations

import numpy as np
import pytest

import bptt

pytest.importorskip("aeon")
adapters = pytest.importorskip("bptt.aeon")

checks = pytest.importorskip("aeon.testing.estimator_checking")

pytestmark = pytest.mark.filterwarnings("ignore")  # aeon's own

SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3, 10))  # series, channels, times
UNEQUAL = [one[:, :n] for one, n in zip(X, [10, 7, 9, 10, 8, 7, 10, 9], strict=True)]
every_adapter = pytest.mark.parametrize(
    ("adapter", "kind", "y"),
    [
        (adapters.Classifier, bptt.SequenceClassifier, np.array(list("abababab"))),
        (adapters.Regressor, bptt.SequenceRegressor, RNG.normal(size=8)),
    ],
)


@every_adapter
def test_checks_of_aeon(adapter, kind, y):
    results = checks.check_estimator(adapter, verbose=False)
    assert {name: one for name, one in results.items() if one != "PASSED"} == {}
    assert len(results) > 20


@every_adapter
def test_predictions_are_those_of_the_estimator(adapter, kind, y):
    for series in (list(X), UNEQUAL):
        rows = [one.T for one in series]
        plain = kind(**SMALL).fit(rows, y)
        model = adapter(kind(**SMALL)).fit(series, y)
        np.testing.assert_array_equal(model.predict(series), plain.predict(rows))
        if adapter is adapters.Classifier:
            np.testing.assert_array_equal(model.predict_proba(series), plain.predict_proba(rows))
    np.testing.assert_array_equal(
        adapter(kind(**SMALL)).fit(X, y).predict(X),
        kind(**SMALL).fit(X.transpose(0, 2, 1), y).predict(X.transpose(0, 2, 1)),
    )


@every_adapter
def test_missing_values_need_the_option(adapter, kind, y):
    gaps = X.copy()
    gaps[0, 1, 2] = np.nan
    with pytest.raises(ValueError, match="missing values"):
        adapter(kind(**SMALL)).fit(gaps, y)
    model = adapter(kind(missing="mask", **SMALL)).fit(gaps, y)
    plain = kind(missing="mask", **SMALL).fit(gaps.transpose(0, 2, 1), y)
    np.testing.assert_array_equal(model.predict(gaps), plain.predict(gaps.transpose(0, 2, 1)))


@every_adapter
def test_parameters_are_nested(adapter, kind, y):
    model = adapter(kind(**SMALL)).set_params(estimator__hidden_size=3).fit(X, y)
    assert model.estimator_.hidden_size == 3
    assert not hasattr(model.estimator, "history_")
    with pytest.raises(TypeError, match=f"estimator must be of type {kind.__name__}, got int"):
        adapter(1).fit(X, y)
