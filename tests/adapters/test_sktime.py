"""`bptt.sktime`: sktime's own checks, and the same results as the estimators."""

from __future__ import annotations

import numpy as np
import pytest

import bptt

pytest.importorskip("sktime")
adapters = pytest.importorskip("bptt.sktime")

pd = pytest.importorskip("pandas")
checks = pytest.importorskip("sktime.utils.estimator_checks")

pytestmark = pytest.mark.filterwarnings("ignore")  # sktime's own

SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}
RNG = np.random.default_rng(0)
PANEL = RNG.normal(size=(8, 3, 10))  # series, variables, times
LABELS = np.array(list("abababab"))
TARGETS = RNG.normal(size=8)
LENGTHS = [10, 7, 9, 10, 8, 7, 10, 9]
UNEQUAL = [pd.DataFrame(one.T[:n]) for one, n in zip(PANEL, LENGTHS, strict=True)]
ARRAYS = [one.to_numpy() for one in UNEQUAL]
CASES = [
    (adapters.Classifier, bptt.SequenceClassifier, LABELS),
    (adapters.Regressor, bptt.SequenceRegressor, TARGETS),
]
KINDS = {adapter: kind for adapter, kind, _ in CASES}
KINDS[adapters.Forecaster] = bptt.SequenceForecaster
DAYS = pd.date_range("2026-01-01", periods=60, freq="D")
SERIES = pd.Series(np.sin(np.arange(40) / 3), index=DAYS[:40], name="sales")
DATA = {adapter: (PANEL, y) for adapter, _, y in CASES} | {adapters.Forecaster: (SERIES,)}
every_adapter = pytest.mark.parametrize("adapter", KINDS)
every_panel_adapter = pytest.mark.parametrize(("adapter", "kind", "y"), CASES)


@every_adapter
def test_checks_of_sktime(adapter):
    instance = adapter(**adapter.get_test_params()[1])
    results = checks.check_estimator(instance, verbose=False)
    assert {name: one for name, one in results.items() if one != "PASSED"} == {}
    assert len(results) > 80


# ---- classes and numbers of series


@every_panel_adapter
def test_predictions_are_those_of_the_estimator(adapter, kind, y):
    plain = kind(**SMALL).fit(PANEL.transpose(0, 2, 1), y)
    model = adapter(kind(**SMALL)).fit(PANEL, y)
    np.testing.assert_array_equal(model.predict(PANEL), plain.predict(PANEL.transpose(0, 2, 1)))
    np.testing.assert_array_equal(model.predict(UNEQUAL), plain.predict(ARRAYS))
    unequal = kind(**SMALL).fit(ARRAYS, y)
    model.fit(UNEQUAL, y)
    np.testing.assert_array_equal(model.predict(UNEQUAL), unequal.predict(ARRAYS))
    if adapter is adapters.Classifier:
        np.testing.assert_array_equal(model.predict_proba(UNEQUAL), unequal.predict_proba(ARRAYS))
        assert model.classes_.tolist() == ["a", "b"]


@every_panel_adapter
def test_missing_values_need_the_option(adapter, kind, y):
    gaps = PANEL.copy()
    gaps[0, 1, 2] = np.nan
    with pytest.raises(ValueError, match="missing values"):
        adapter(kind(**SMALL)).fit(gaps, y)
    model = adapter(kind(missing="mask", **SMALL)).fit(gaps, y)
    plain = kind(missing="mask", **SMALL).fit(gaps.transpose(0, 2, 1), y)
    np.testing.assert_array_equal(model.predict(gaps), plain.predict(gaps.transpose(0, 2, 1)))


def test_estimators_with_other_targets_are_refused():
    with pytest.raises(ValueError, match="estimator must have multi_label=False"):
        adapters.Classifier(bptt.SequenceClassifier(multi_label=True)).fit(PANEL, LABELS)
    with pytest.raises(ValueError, match="estimator must have a pool, got None"):
        adapters.Regressor(bptt.SequenceRegressor(pool=None)).fit(PANEL, TARGETS)


# ---- all


@every_adapter
def test_parameters_are_nested(adapter):
    given = KINDS[adapter](**SMALL)
    model = adapter(given)
    assert model.get_params()["estimator__hidden_size"] == 4
    assert model.clone().set_params(estimator__missing="mask").get_tag("capability:missing_values")
    assert not model.get_tag("capability:missing_values")
    fitted = adapter(given.set_params(hidden_size=3)).fit(*DATA[adapter])
    assert fitted.estimator_.hidden_size == 3
    assert fitted.estimator is given
    assert not hasattr(given, "history_")


@every_adapter
def test_another_estimator_is_refused(adapter):
    other = bptt.LanguageModel()
    message = f"estimator must be of type {KINDS[adapter].__name__}, got LanguageModel"
    with pytest.raises(TypeError, match=message):
        adapter(other).fit(*DATA[adapter])


# ---- forecasts

COVARIATES = pd.DataFrame({"price": np.cos(np.arange(60)), "day": DAYS.dayofweek}, index=DAYS)
OPTIONS = {"horizon": 3, "lookback": 6, **SMALL}


def forecaster(**options):
    estimator = bptt.SequenceForecaster(**OPTIONS, **options)
    return adapters.Forecaster(estimator), bptt.SequenceForecaster(**OPTIONS, **options)


def panel(values, ends, names=("shop", "day")):
    """Return a table of series that end at other times."""
    parts = {key: pd.DataFrame({"y": values[i][:end]}, DAYS[:end]) for i, (key, end) in ends}
    return pd.concat(parts, names=names)


def test_forecasts_of_one_series():
    model, plain = forecaster()
    found = model.fit(SERIES).predict(fh=[1, 3, 5])
    expected = plain.fit(SERIES.to_numpy()).predict(SERIES.to_numpy(), 5)[[0, 2, 4]]
    np.testing.assert_array_equal(found.to_numpy(), expected)
    assert found.index.tolist() == [DAYS[40], DAYS[42], DAYS[44]]
    assert found.name == "sales"
    again = model.predict(fh=pd.DatetimeIndex([DAYS[42]], freq="D"))
    np.testing.assert_array_equal(again.to_numpy(), expected[1:2])
    with pytest.raises(NotImplementedError):
        model.predict(fh=[-1])


def test_forecasts_of_several_variables_with_covariates():
    y = pd.DataFrame({"a": SERIES, "b": SERIES**2})
    model, plain = forecaster()
    known = COVARIATES.to_numpy(np.float64)
    plain.fit([y.to_numpy()], future_covariates=[known[:40]])
    expected = plain.predict([y.to_numpy()], 4, future_covariates=[known])[0]
    model.fit(y, X=COVARIATES[:40])
    for X in (COVARIATES[40:44], COVARIATES):
        found = model.predict(fh=[1, 2, 3, 4], X=X)
        np.testing.assert_array_equal(found.to_numpy(), expected)
    assert found.columns.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"future_covariates\[0\] must have at least 12"):
        model.predict(fh=[1, 2, 3, 4], X=COVARIATES[40:42])
    with pytest.raises(ValueError, match="X must be None, as in fit"):
        forecaster()[0].fit(SERIES).predict(fh=[1], X=COVARIATES[40:41])


def test_one_network_for_the_series_of_a_panel():
    values = RNG.normal(size=(3, 40)).cumsum(axis=1)
    shops = ["shop b", "shop a", "shop c"]
    ends = dict(zip(shops, [40, 33, 40], strict=True))
    y = panel(values, enumerate(ends.items()))
    model, plain = forecaster()
    found = model.fit(y).predict(fh=[1, 2])
    rows = [values[shops.index(key)][: ends[key], np.newaxis] for key in sorted(shops)]
    expected = plain.fit(rows).predict(rows, 2)
    np.testing.assert_array_equal(found.to_numpy(), expected.reshape(-1, 1))
    times = [(key, DAYS[ends[key] + i]) for key in sorted(shops) for i in range(2)]
    assert found.index.tolist() == times
    assert found.index.names == ["shop", "day"]
    assert model.estimator_.history_["loss"] == plain.history_["loss"]


def test_hierarchies():
    from sktime.utils._testing.hierarchical import _make_hierarchical

    y = _make_hierarchical((2, 2), min_timepoints=15, max_timepoints=15, random_state=0)
    model, plain = forecaster()
    found = model.fit(y).predict(fh=[1])
    rows = [one.to_numpy() for _, one in y.groupby(level=[0, 1])]
    np.testing.assert_array_equal(
        found.to_numpy().ravel(), plain.fit(rows).predict(rows, 1).ravel()
    )


@pytest.mark.parametrize(("loss", "levels"), [("gaussian", [0.9, 0.05]), ("quantile", [0.9, 0.1])])
def test_quantiles(loss, levels):
    model, plain = forecaster(loss=loss)
    assert model.get_tag("capability:pred_int")
    values = SERIES.to_numpy()
    expected = plain.fit(values).predict_quantiles(values, 3, quantiles=sorted(levels))
    found = model.fit(SERIES).predict_quantiles(fh=[1, 3], alpha=levels)
    np.testing.assert_array_equal(found.to_numpy(), expected[[0, 2]][:, ::-1])
    assert found.columns.tolist() == [("sales", level) for level in levels]
    interval = model.predict_interval(fh=[1], coverage=0.8)
    lower, upper = plain.predict_interval(values, 1, coverage=0.8)
    np.testing.assert_allclose(interval.to_numpy()[0], [lower[0], upper[0]], rtol=1e-6)
    if loss == "quantile":
        with pytest.raises(ValueError, match="quantiles must be among"):
            model.predict_quantiles(fh=[1], alpha=[0.33])
    with pytest.raises(NotImplementedError, match="prediction intervals"):
        forecaster()[0].fit(SERIES).predict_interval(fh=[1])


def test_updates():
    model, plain = forecaster()
    values = SERIES.to_numpy()
    model.fit(SERIES[:30])
    model.update(SERIES[30:32], update_params=False)
    plain.fit(values[:30])
    known = plain.predict(values[:32], 2)
    np.testing.assert_array_equal(model.predict(fh=[1, 2]).to_numpy(), known)
    model.update(SERIES[32:], update_params=True)  # windows with new targets alone
    plain.partial_fit(values[32 - 8 :])
    expected = plain.predict(values, 2)
    np.testing.assert_array_equal(model.predict(fh=[1, 2]).to_numpy(), expected)


def test_updates_of_some_series_of_a_panel():
    values = RNG.normal(size=(2, 60)).cumsum(axis=1)
    y = panel(values, enumerate({"a": 30, "b": 30}.items()))
    model, plain = forecaster()
    model.fit(y)
    plain.fit(list(values[:, :30]))
    new = panel(values[1:], enumerate({"b": 34}.items())).groupby(level=0).tail(4)
    model.update(new)
    plain.partial_fit([values[1, 30 - 8 : 34]])
    expected = [plain.predict(values[0, :30], 1), plain.predict(values[1, :34], 1)]
    found = model.predict(fh=[1])
    np.testing.assert_array_equal(found.to_numpy(), expected)
    assert found.index.tolist() == [("a", DAYS[30]), ("b", DAYS[34])]
