"""Forecasts: shapes, recovery of rules, no leakage of the future, scaling, intervals, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")

import bptt
from bptt.estimators._forecast_data import read_panel
from bptt.estimators._forecast_windows import WindowReader

SMALL = {"cell": "gru", "hidden_size": 8, "epochs": 3, "random_state": 0, "dtype": "float64"}
T = np.arange(90)
RNG = np.random.default_rng(0)
SERIES = [np.cumsum(RNG.normal(size=n)) + 20 * np.sin(T[:n] / 2) for n in (60, 75, 90)]


def forecaster(**options):
    return bptt.SequenceForecaster(**{**SMALL, "horizon": 4, "lookback": 12, **options})


def covariates(series, beyond, columns=2):
    """Random covariates that reach `beyond` the end of the series."""
    rng = np.random.default_rng(1)
    return [rng.normal(size=(len(one) + beyond, columns)) for one in series]


# ---- shapes


@pytest.mark.parametrize("strategy", ["direct", "autoregressive"])
@pytest.mark.parametrize("difference", [1, 5, None])
def test_shapes(strategy, difference):
    model = forecaster(strategy=strategy, difference=difference, loss="gaussian", epochs=1)
    model.fit(SERIES)
    assert model.predict(SERIES).shape == (3, 4)
    for horizon in (1, 3, 4, 11):
        assert model.predict(SERIES, horizon).shape == (3, horizon)
        assert model.predict_quantiles(SERIES, horizon, quantiles=[0.2, 0.5]).shape == (
            *(3, horizon),
            2,
        )
    assert model.predict(SERIES[0]).shape == (4,)
    assert model.predict_quantiles(SERIES[0]).shape == (4, 3)
    np.testing.assert_allclose(model.predict(SERIES[1]), model.predict(SERIES)[1], rtol=1e-12)
    padded = np.stack([one[-50:] for one in SERIES])
    np.testing.assert_allclose(model.predict(padded), model.predict(SERIES), rtol=1e-12)
    lists = [one.tolist() for one in SERIES]
    np.testing.assert_array_equal(model.predict(lists), model.predict(SERIES))


def test_several_values_a_step():
    both = [np.stack([one, -3 * one + 5], axis=1) for one in SERIES]
    model = forecaster(loss="gaussian").fit(both)
    assert model.predict(both).shape == (3, 4, 2)
    assert model.predict(both, 9).shape == (3, 9, 2)
    assert model.predict_quantiles(both).shape == (3, 4, 2, 3)
    lower, upper = model.predict_interval(both, 9)
    assert lower.shape == upper.shape == (3, 9, 2)
    assert (lower < upper).all()
    report = model.rolling_origin(both, origins=2, season=12, coverage=0.8)
    assert report.actual.shape == (3, 2, 4, 2)


def test_pandas():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"shop": ["a"] * 40 + ["b"] * 50, "sales": RNG.normal(size=90)})
    groups = table.groupby("shop")["sales"]
    arrays = [table["sales"].to_numpy()[:40], table["sales"].to_numpy()[40:]]
    model = forecaster().fit(groups)
    np.testing.assert_array_equal(model.predict(groups), forecaster().fit(arrays).predict(arrays))
    assert model.predict(table["sales"]).shape == (4,)
    with pytest.raises(TypeError, match=r"got a table: use \[table\] .* table.to_numpy\(\)\.T"):
        model.predict(table[["sales"]])


# ---- what is forecast


@pytest.mark.parametrize("strategy", ["direct", "autoregressive"])
def test_a_trend_and_a_season_without_noise_are_continued(strategy):
    """Every difference of a season is 12 slopes: the network has but to predict a constant."""
    t = np.arange(140)
    series = [a + b * t + c * np.sin(2 * np.pi * t / 12) for a, b, c in ((5, 0.3, 4), (90, -2, 30))]
    model = forecaster(strategy=strategy, lookback=24, difference=12, epochs=60, learning_rate=0.01)
    known = [one[:100] for one in series]
    model.fit(known)
    for one, predicted in zip(series, model.predict(known, 40), strict=True):
        assert np.abs(predicted - one[100:]).max() < 0.03 * np.ptp(one[:100])


def test_a_season_without_trend_is_repeated_exactly():
    series = np.tile([3.0, 1.0, 4.0, 1.0, 5.0], 12)
    model = forecaster(difference=5).fit(series)
    np.testing.assert_allclose(model.predict(series, 12), np.tile(series[:5], 3)[:12], rtol=1e-9)


def test_a_constant_series_stays_constant():
    for difference in (1, 5, None):
        model = forecaster(difference=difference).fit([np.full(40, 7.3), np.zeros(30)])
        found = model.predict([np.full(20, 7.3), np.full(20, -0.2)])
        np.testing.assert_allclose(found, np.repeat([[7.3], [-0.2]], 4, axis=1), rtol=0.05)


def test_future_covariates_are_read():
    """A series that follows its covariate, which no one could forecast from its past."""
    rng = np.random.default_rng(0)
    promotion = rng.integers(0, 2, 300).astype(float)
    series = 50 + 20 * promotion + rng.normal(0, 0.1, 300)
    for strategy in ("direct", "autoregressive"):
        model = forecaster(strategy=strategy, difference=None, epochs=40, learning_rate=0.01)
        model.fit(series[:250], future_covariates=promotion[:250])
        found = model.predict(series[:250], 20, future_covariates=promotion)
        assert np.abs(found - series[250:270]).max() < 5.0  # of 20


def test_static_covariates_are_read():
    rng = np.random.default_rng(0)
    slopes = rng.choice([-1.0, 1.0], 40)
    series = [np.concatenate([rng.normal(0, 0.1, 12), s * np.arange(1, 5)]) for s in slopes]
    model = forecaster(epochs=100, learning_rate=0.01, series_scaling=None)
    model.fit(series[:30], static_covariates=slopes[:30])
    found = model.predict([one[:12] for one in series[30:]], static_covariates=slopes[30:])
    assert np.abs(found - np.outer(slopes[30:], np.arange(1, 5))).max() < 0.8


# ---- nothing after the origin is read


@pytest.mark.parametrize("strategy", ["direct", "autoregressive"])
def test_values_after_the_origin_change_no_forecast(strategy):
    model = forecaster(strategy=strategy, bidirectional=True, validation_fraction=0.2, patience=2)
    options = {"origins": 3, "step": 2, "season": 3}
    before = model.rolling_origin(SERIES, **options)
    changed = [one.copy() for one in SERIES]
    for one in changed:
        one[-6:] += 1e3  # after the second origin
    after = model.rolling_origin(changed, **options)
    for name, forecast in before.forecasts.items():
        np.testing.assert_array_equal(forecast[:, :2], after.forecasts[name][:, :2])
        assert (forecast[:, 2] != after.forecasts[name][:, 2]).any(axis=1).all()
    np.testing.assert_array_equal(before.scales, after.scales)


@given(
    st.integers(0, 2**31),
    st.sampled_from(["standard", "mean", None]),
    st.sampled_from([None, 1, 3]),
)
@settings(max_examples=30, deadline=None)
def test_windows_depend_on_their_values_alone(seed, scaling, difference):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=40)
    reader = WindowReader(8, 3, difference, scaling)
    changed = values.copy()
    changed[:10] += rng.normal(size=10)
    changed[18:] += rng.normal(size=22)
    found = []
    for series in (values, changed):
        panel = read_panel(series, None, None, allow_nan=False)
        window = reader.windows(panel, np.array([0]), np.array([18]), 3)
        relative = reader.relative(window, 3)
        found.append((reader.inputs(window, 3), relative.baseline, relative.scale))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_targets_are_the_next_values():
    values = np.arange(20.0) ** 2
    reader = WindowReader(6, 2, 3, "standard")
    panel = read_panel([values, values[:9]], None, None, allow_nan=False)
    np.testing.assert_array_equal(np.bincount(reader.origins(panel)[0]), [13, 2])
    window, targets = reader.examples(panel)
    relative = reader.relative(window, 2)
    np.testing.assert_array_equal(window.past[3, :, 0], values[3:9])
    np.testing.assert_array_equal(relative.baseline[3, :, 0], values[6:8])
    expected = (values[9:11] - values[6:8]) / relative.scale[3, 0, 0]
    np.testing.assert_array_equal(targets[3, :, 0], expected)
    np.testing.assert_allclose(relative.scale[3, 0, 0], values[3:9].std())
    inputs = reader.inputs(window, 2)[3]
    assert inputs.shape == (reader.hidden_rows + 2, reader.count_inputs(1, 0, 0))
    level, scale = values[3:9].mean(), values[3:9].std()
    last = [values[8] - level, values[8] - values[5], values[6] - level]  # value, difference, same
    np.testing.assert_allclose(inputs[2], [*(np.array(last) / scale), 0.0], rtol=1e-12)
    beyond = [values[6] - level, 0.0, values[7] - level]  # as if the season were repeated
    np.testing.assert_allclose(inputs[3], [*(np.array(beyond) / scale), 0.5], rtol=1e-12)


def test_held_out_windows_do_not_overlap_with_training_targets():
    model = forecaster(validation_fraction=0.25)
    panel = read_panel([*SERIES, SERIES[0][:17]], None, None, allow_nan=False)
    model._check_parameters()
    model._initialize(panel, panel, None, np.random.default_rng(0))
    data = model._dataset(panel, panel)
    training, held_out = model._split(data, panel, None, None, np.random.default_rng(0))
    counts = [len(one) - 12 - 4 + 1 for one in SERIES]
    assert len(held_out.lengths) == sum(round(count / 4) for count in counts)
    # Three windows of each series lie between; the short series has windows for training alone.
    assert len(training.lengths) == sum(counts) - len(held_out.lengths) - 3 * 3 + 2


# ---- scaling and decoding


@pytest.mark.parametrize(("scaling", "shift"), [("standard", 300.0), ("mean", 0.0)])
@pytest.mark.parametrize("difference", [1, 6, None])
def test_forecasts_do_not_depend_on_the_unit(scaling, shift, difference):
    options = {"series_scaling": scaling, "difference": difference, "loss": "gaussian"}
    found = []
    for factor, offset in ((1.0, 0.0), (40.0, shift)):
        series = [factor * one + offset for one in SERIES]
        model = forecaster(**options).fit(series)
        lower, upper = model.predict_interval(series, 7)
        found.append(
            [(each - offset) / factor for each in (model.predict(series, 7), lower, upper)]
        )
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_autoregressive_forecasts_are_repeated_one_step_forecasts():
    future = covariates(SERIES, 10)
    model = forecaster(strategy="autoregressive").fit(SERIES, future_covariates=future)
    extended = [list(one) for one in SERIES]
    for _ in range(6):
        step = model.predict(extended, 1, future_covariates=future)
        for one, value in zip(extended, step[:, 0], strict=True):
            one.append(value)
    found = model.predict(SERIES, 6, future_covariates=future)
    np.testing.assert_allclose([one[-6:] for one in extended], found, rtol=1e-9)


def test_direct_forecasts_roll_on_in_blocks():
    future = covariates(SERIES, 10)
    model = forecaster().fit(SERIES, future_covariates=future)
    first = model.predict(SERIES, 4, future_covariates=future)
    np.testing.assert_allclose(
        model.predict(SERIES, 2, future_covariates=future), first[:, :2], rtol=1e-12
    )
    extended = [np.append(*pair) for pair in zip(SERIES, first, strict=True)]
    second = model.predict(extended, 3, future_covariates=future)
    found = model.predict(SERIES, 7, future_covariates=future)
    np.testing.assert_allclose(np.hstack([first, second]), found, rtol=1e-9)


# ---- intervals


def test_intervals_cover_a_random_walk():
    """The deviation of a random walk grows with the square root of the distance."""
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(size=(400, 40)), axis=1)
    options = {"series_scaling": None, "epochs": 8, "learning_rate": 0.01, "dtype": "float32"}
    for strategy, loss in (
        ("direct", "gaussian"),
        ("direct", "quantile"),
        ("autoregressive", "gaussian"),
    ):
        model = forecaster(strategy=strategy, loss=loss, **options).fit(walks[:200, :24])
        lower, upper = model.predict_interval(walks[200:, :36], coverage=0.8)
        inside = (lower <= walks[200:, 36:]) & (walks[200:, 36:] <= upper)
        assert 0.74 < inside.mean() < 0.86
        width = (upper - lower).mean(axis=0)
        np.testing.assert_allclose(width, 2 * 1.2816 * np.sqrt(np.arange(1, 5)), rtol=0.2)


def test_simulated_quantiles_of_one_step_are_those_of_the_distribution():
    model = forecaster(strategy="autoregressive", loss="gaussian").fit(SERIES)
    levels = {"quantiles": [0.25, 0.5, 0.75]}
    exact, drawn = (model.predict_quantiles(SERIES, horizon, **levels) for horizon in (1, 2))
    assert (np.diff(drawn, axis=-1) > 0).all()
    width = exact[..., 2] - exact[..., 0]
    assert (np.abs(drawn[:, :1] - exact) < 0.3 * width[..., np.newaxis]).all()
    np.testing.assert_array_equal(
        drawn, model.predict_quantiles(SERIES, 2, quantiles=[0.25, 0.5, 0.75])
    )


# ---- missing values


@pytest.mark.parametrize("missing", ["mask", "decay"])
@pytest.mark.parametrize("difference", [1, 6, None])
def test_missing_values(missing, difference):
    rng = np.random.default_rng(0)
    gaps = [np.where(rng.random(len(one)) < 0.2, np.nan, one) for one in SERIES]
    gaps[0][-1] = np.nan  # the last value, of which the naive forecast is made
    with pytest.raises(ValueError, match=r"series\[0\] must be finite, got nan .*missing='mask'"):
        forecaster().fit(gaps)
    model = forecaster(missing=missing, difference=difference, loss="gaussian").fit(gaps)
    assert np.isfinite(model.predict(gaps, 9)).all()
    nothing = [np.full(12, np.nan)]
    assert np.isfinite(model.predict(nothing)).all()
    report = model.rolling_origin(gaps, origins=3, season=6, coverage=0.8)
    assert all(np.isfinite(value) for value in report.mase.values())
    assert np.isnan(report.actual).any()
    with pytest.raises(ValueError, match="at least one value after a window, got NaN alone"):
        forecaster(missing=missing).fit([np.full(30, np.nan)])


# ---- rolling origins


def test_rolling_origin_report():
    model = forecaster(epochs=1)
    report = model.rolling_origin(
        SERIES,
        origins=3,
        step=2,
        season=6,
        baselines={"zero": lambda values, horizon: np.zeros(horizon)},
    )
    assert not hasattr(model, "model_")
    names = ["SequenceForecaster", "naive", "seasonal naive", "ridge", "zero"]
    assert list(report.forecasts) == names
    for i, one in enumerate(SERIES):
        assert report.origins[i].tolist() == [len(one) - 8, len(one) - 6, len(one) - 4]
        scale = np.abs(one[6 : len(one) - 8] - one[: len(one) - 14]).mean()
        np.testing.assert_allclose(report.scales[i, 0], scale)
        for j, origin in enumerate(report.origins[i]):
            np.testing.assert_array_equal(report.actual[i, j, :, 0], one[origin : origin + 4])
            naive = np.full(4, one[origin - 1])
            np.testing.assert_array_equal(report.forecasts["naive"][i, j, :, 0], naive)
            seasonal = one[origin - 6 : origin - 2]
            np.testing.assert_array_equal(report.forecasts["seasonal naive"][i, j, :, 0], seasonal)
    error = np.abs(report.actual)[..., 0]  # of zero
    np.testing.assert_allclose(report.mae["zero"], error.mean())
    np.testing.assert_allclose(report.mae_by_step["zero"], error.mean(axis=(0, 1)))
    np.testing.assert_allclose(
        report.mase["zero"], np.mean(error.mean(axis=(1, 2)) / report.scales[:, 0])
    )
    assert report.best == min(report.mase, key=report.mase.get)
    assert report.covered is None
    assert str(report).startswith("3 series, 3 origins, 4 steps ahead\nforecast ")


def test_the_report_says_where_a_baseline_wins():
    model = forecaster(epochs=1)

    def oracle(values, horizon):
        same = [one for one in SERIES if np.array_equal(one[: len(values)], values)]
        return same[0][len(values) :][:horizon]

    report = model.rolling_origin(SERIES, origins=2, baselines={"oracle": oracle})
    assert report.best == "oracle"
    below = "oracle is best: its MASE is 100.0% below that of SequenceForecaster."
    assert str(report).splitlines()[-1] == below


def test_ridge_recovers_a_linear_rule():
    """y_t = 1.6 y_{t-1} - 0.9 y_{t-2}, without noise, after different beginnings."""
    rng = np.random.default_rng(0)
    series = []
    for _ in range(8):
        one = list(rng.normal(size=2))
        for _ in range(50):
            one.append(1.6 * one[-1] - 0.9 * one[-2])
        series.append(one)
    for strategy in ("direct", "autoregressive"):
        model = forecaster(strategy=strategy, series_scaling=None, epochs=1)
        report = model.rolling_origin(series, 9, origins=2)
        assert report.mase["ridge"] < 0.01 < report.mase["naive"]
        assert report.best == "ridge"


def test_refit_reads_what_came_between_the_origins():
    options = {"origins": 2, "step": 8}
    once = forecaster().rolling_origin(SERIES, **options)
    twice = forecaster().rolling_origin(SERIES, refit=True, **options)
    name = "SequenceForecaster"
    np.testing.assert_array_equal(once.forecasts[name][:, 0], twice.forecasts[name][:, 0])
    assert (once.forecasts[name][:, 1] != twice.forecasts[name][:, 1]).all()
    known = [one[:-4] for one in SERIES]
    expected = forecaster().fit(known).predict(known)
    np.testing.assert_array_equal(twice.forecasts[name][:, 1, :, 0], expected)


def test_coverage_of_the_report():
    future = covariates(SERIES, 0)
    report = forecaster(loss="gaussian").rolling_origin(
        SERIES, 6, origins=2, coverage=0.6, future_covariates=future, static_covariates=[1, 2, 3]
    )
    lower, upper = report.interval
    inside = (lower <= report.actual) & (report.actual <= upper)
    assert report.covered == inside.mean()
    assert str(report).splitlines()[-1].startswith("Intervals of 60% contain ")


# ---- training and files


def test_save_and_load(tmp_path):
    pytest.importorskip("safetensors")
    future, static = covariates(SERIES, 6), np.array([[1.0], [2.0], [4.0]])
    given = {"future_covariates": future, "static_covariates": static}
    model = forecaster(loss="gaussian", difference=3, dropout=0.1).fit(SERIES, **given)
    model.save(tmp_path / "model")
    loaded = bptt.load_estimator(tmp_path / "model")
    for one in (loaded, bptt.SequenceForecaster.load(tmp_path / "model")):
        for horizon in (3, 6):
            np.testing.assert_array_equal(
                one.predict(SERIES, horizon, **given), model.predict(SERIES, horizon, **given)
            )
            np.testing.assert_array_equal(
                one.predict_interval(SERIES, horizon, **given),
                model.predict_interval(SERIES, horizon, **given),
            )
    again = loaded.partial_fit(SERIES, **given).predict(SERIES, **given)
    expected = model.partial_fit(SERIES, **given).predict(SERIES, **given)
    np.testing.assert_array_equal(again, expected)
    assert model.n_iter_ == 4


def test_training_is_resumed_exactly(tmp_path):
    pytest.importorskip("safetensors")
    options = {"checkpoint_path": tmp_path / "training", "validation_fraction": 0.2}
    forecaster(epochs=2, **options).fit(SERIES)
    resumed = forecaster(epochs=4, **options).fit(SERIES, resume=True)
    whole = forecaster(epochs=4, validation_fraction=0.2).fit(SERIES)
    np.testing.assert_array_equal(resumed.predict(SERIES), whole.predict(SERIES))
    assert resumed.history_["loss"] == whole.history_["loss"]


def test_warm_start_continues():
    model = forecaster(warm_start=True).fit(SERIES)
    model.fit(SERIES)
    assert len(model.history_) == 6
    with pytest.raises(ValueError, match="warm_start=True needs lookback unchanged, 12, got 13"):
        model.set_params(lookback=13).fit(SERIES)


def test_windows_are_those_of_fit(tmp_path):
    pytest.importorskip("safetensors")
    for name, value in (("horizon", 5), ("difference", None), ("strategy", "autoregressive")):
        model = forecaster().fit(SERIES).set_params(**{name: value})
        with pytest.raises(ValueError, match=f"{name} must be .* as in fit, got {value!r}"):
            model.predict(SERIES, 2)
        with pytest.raises(ValueError, match=f"{name} must be .* as in fit, got {value!r}"):
            model.save(tmp_path / "model")
        with pytest.raises(ValueError, match=f"{name} must be .* as in fit, got {value!r}"):
            model.partial_fit(SERIES)


def test_log(capsys):
    forecaster(verbose=2, loss="gaussian").fit(SERIES, future_covariates=covariates(SERIES, 0))
    text = capsys.readouterr().err
    assert "input: windows of 12 values, 5 inputs a step" in text
    assert "target: next 4 values, mean and standard deviation" in text


# ---- errors


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"horizon": 0}, ValueError, "horizon must be an integer >= 1, got 0"),
        ({"horizon": 10**30}, ValueError, "horizon must be less than 2\\*\\*31, got 10000"),
        ({"strategy": np.ones(3)}, TypeError, "strategy must be one of 'direct', 'autoregressive'"),
        ({"lookback": 2.5}, TypeError, "lookback must be an integer, got float"),
        ({"difference": 12}, ValueError, "difference must be less than lookback, 12, got 12"),
        ({"difference": 0}, ValueError, "difference must be an integer >= 1, got 0"),
        ({"strategy": "recursive"}, ValueError, "strategy must be one of 'direct', 'autoregress"),
        ({"series_scaling": "max"}, ValueError, "series_scaling must be one of 'standard', 'mean'"),
        ({"loss": "absolute"}, ValueError, "loss must be one of 'squared_error', 'quantile'"),
        ({"quantiles": [0.5]}, ValueError, "quantiles needs loss='quantile'"),
        (
            {"categorical_features": [0]},
            ValueError,
            "categorical_features must be None, got ",
        ),
        ({"embedding_size": 3}, ValueError, "embedding_size=3 needs tokens or integer ids"),
        (
            {"validation_fraction": 0.01},
            ValueError,
            "validation_fraction = 0.01 must leave windows for training and for validation, got "
            "series of at most 35 windows whose targets are 4 steps",
        ),
    ],
)
def test_wrong_parameters(options, error, message):
    with pytest.raises(error, match=message):
        forecaster(**options).fit(SERIES[0][:50])


@pytest.mark.parametrize(
    ("series", "options", "error", "message"),
    [
        (3.0, {}, TypeError, "series must be an array or a list of arrays, got float"),
        ("ab", {}, TypeError, "series must be an array or a list of arrays, got str"),
        ([], {}, ValueError, "series must have at least one array, got none"),
        (
            [["a", "b"]],
            {},
            TypeError,
            r"series\[0\] must hold a number, or several, ",
        ),
        (np.zeros((2, 3, 4, 5)), {}, ValueError, r"series\[0\] must have shape .* got \(3, 4, 5\)"),
        (
            [SERIES[0], SERIES[1][:15]],
            {},
            ValueError,
            r"series\[1\] must have at least 16 steps, ",
        ),
        (
            SERIES[0][:15],
            {},
            ValueError,
            r"series must have at least 16 steps, lookback \+ hor",
        ),
        (
            [*SERIES, np.zeros((20, 2))],
            {},
            ValueError,
            r"series\[3\] must have shape \(T,\) as s",
        ),
        (
            [np.zeros((20, 2)), np.zeros((20, 3))],
            {},
            ValueError,
            r"series\[1\] must have 2 columns as series\[0\], got 3",
        ),
        (np.append(SERIES[0], np.inf), {}, ValueError, "series must be finite, got inf at step 60"),
        (np.append(SERIES[0], np.nan), {}, ValueError, "got nan at step 60: missing='mask' takes"),
        (
            SERIES,
            {"future_covariates": [np.zeros(60), np.zeros(74), np.zeros(90)]},
            ValueError,
            r"future_covariates\[1\] must have at least 75 steps, .* got 74",
        ),
        (
            SERIES,
            {"future_covariates": [np.zeros(60)]},
            ValueError,
            "future_covariates must have arrays for 3 series, got 1",
        ),
        (
            SERIES,
            {"static_covariates": [1.0, 2.0]},
            ValueError,
            "static_covariates must have a row for each of 3 series, got 2",
        ),
    ],
)
def test_wrong_data(series, options, error, message):
    with pytest.raises(error, match=message):
        forecaster().fit(series, **options)


def test_wrong_arguments_of_prediction():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        forecaster().predict(SERIES)
    future = covariates(SERIES, 4)
    model = forecaster().fit(SERIES, future_covariates=future)
    with pytest.raises(ValueError, match="future_covariates must have 2 columns as in fit, got "):
        model.predict(SERIES)
    with pytest.raises(ValueError, match=r"future_covariates\[0\] must have at least 65 steps, "):
        model.predict(SERIES, 5, future_covariates=future)
    with pytest.raises(ValueError, match="static_covariates must have 0 columns as in fit, got 1"):
        model.predict(SERIES, future_covariates=future, static_covariates=[1, 2, 3])
    with pytest.raises(ValueError, match=r"series must have at least 12 steps, lookback, got 11"):
        model.predict(np.zeros(11), future_covariates=np.zeros((20, 2)))
    with pytest.raises(ValueError, match="horizon must be an integer >= 1, got 0"):
        model.predict(SERIES, 0, future_covariates=future)
    with pytest.raises(ValueError, match="quantiles need loss='quantile' or loss='gaussian', got"):
        model.predict_interval(SERIES, future_covariates=future)
    model = forecaster(loss="quantile").fit(SERIES)
    with pytest.raises(ValueError, match=r"quantiles of 5 steps, of which 4 .* need loss='gau"):
        model.predict_interval(SERIES, 5)
    with pytest.raises(ValueError, match=r"coverage must be in \(0, 1\), got 1"):
        model.predict_interval(SERIES, coverage=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"origins": 0}, ValueError, "origins must be an integer >= 1, got 0"),
        ({"step": 0}, ValueError, "step must be an integer >= 1, got 0"),
        ({"season": 1.5}, TypeError, "season must be an integer, got float"),
        ({"refit": 1}, TypeError, "refit must be True or False, got int"),
        ({"coverage": 0}, ValueError, r"coverage must be in \(0, 1\), got 0"),
        ({"baselines": ["naive"]}, TypeError, "baselines must be of type Mapping, got list"),
        ({"baselines": {"a": 3}}, TypeError, r"baselines\['a'\] must be a function, got int"),
        (
            {"baselines": {"a": lambda values, horizon: {"b": 3}}},
            TypeError,
            "the forecast of 'a' must hold numbers, got dict",
        ),
        (
            {"baselines": {"a": lambda values, horizon: values}},
            ValueError,
            r"the forecast of 'a' must have the shape of the next values, \(4,\), got \(40,\)",
        ),
        (
            {"origins": 12},
            ValueError,
            r"series\[0\] must have at least 64 steps, 16 before the first of 12 origins, 4 apart, "
            "and a horizon of 4, got 60",
        ),
    ],
)
def test_wrong_arguments_of_rolling_origin(options, error, message):
    with pytest.raises(error, match=message):
        forecaster(epochs=1).rolling_origin(SERIES, **options)
