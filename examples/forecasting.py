"""Forecasting: CO2, sunspots, air passengers, Seattle's weather, and births in 192 countries.

Task: the next year of monthly CO2 and air passengers, the next 5 years of sunspots, the next week's
highs, and the next 5 years of 192 short series of births per woman, by one network for all.
Shape: the last values of a series → the next ones.
Network: the mean of five GRUs of 32 units that predict differences from the last value or from the
season before, all steps at once (air passengers, weather, births) or one by one.
Data: co2 (C. D. Keeling and T. P. Whorf), sunspots (NOAA) and fertility (World Bank) of
statsmodels, Airline (Box and Jenkins) of sktime, seattle-weather of vega-datasets (NOAA).
Evaluation: rolling origins at the end of each series, after those on which epochs, strategy and
scaling were chosen. Trained once, on all values before the first origin. The error is MASE: the
mean absolute error, divided by that of the seasonal naive forecast, of the naive one for births,
one step ahead in the training data.
Baselines: the last value (naive); the value of a season before; ridge regression on the same
windows; exponential smoothing (statsmodels, if installed), the best by AICc of models with and
without trend and damping, with an additive or multiplicative season, fitted at every origin.
Result, MASE of network and best baseline: CO2 0.441, ridge 0.413; sunspots 0.783, ridge 0.842; air
passengers 0.432, ridge 0.758; highs 0.675, ridge 0.678; births 0.672, exponential smoothing 0.922.
Tried without gain: dropout, 64 units, a skip connection from the input to the output layer, other
learning rates and lookbacks, one by one for air passengers and births.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bptt import SequenceForecaster
from examples._common import Example, Options, Report
from examples._data import package_file

STATSMODELS = "statsmodels==0.15.0"
VEGA = "vega-datasets==0.9.0"
NETWORKS = 5  # whose mean forecast is evaluated: a single one depends on its seed
ONE_BY_ONE = {"strategy": "autoregressive", "loss": "gaussian"}
AT_ONCE = {"strategy": "direct", "loss": "quantile"}
EARLY_STOPPING = {"epochs": 60, "validation_fraction": 0.15, "patience": 10}
COLORS = {
    "network": "#0072B2",
    "exponential smoothing": "#D55E00",
    "ridge": "#009E73",
    "seasonal naive": "#E69F00",
    "naive": "#999999",
}


@dataclass(frozen=True)
class Task:
    """Series, what is forecast, and the options that were chosen on earlier origins."""

    load: Callable[[], list[np.ndarray]]
    unit: str
    start: float
    per_year: float
    season: int | None
    horizon: int
    origins: int
    step: int
    options: dict[str, Any]
    smoothed_season: bool = False
    covariates: Callable[[int], np.ndarray] | None = None


def rows(package, path):
    """Return the rows of a table of a Python package."""
    with package_file(package, path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(package, path, name):
    return [np.array([float(row[name]) for row in rows(package, path)])]


def co2():
    """Return the mean of each month; five without measurements are interpolated."""
    weeks = {}
    for row in rows(STATSMODELS, "statsmodels/datasets/co2/co2.csv"):
        weeks.setdefault(row["date"][:6], []).extend([float(row["co2"])] if row["co2"] else [])
    means = np.array([np.mean(week) if week else np.nan for week in weeks.values()])
    known = np.flatnonzero(~np.isnan(means))
    return [np.interp(np.arange(len(means)), known, means[known])]


def births():
    """Return the births per woman from 1960 to 2011, of countries without gaps."""
    table = rows(STATSMODELS, "statsmodels/datasets/fertility/fertility.csv")
    years = [[row[str(year)] for year in range(1960, 2012)] for row in table]
    return [np.array(row, float) for row in years if all(row)]


def day_of_year(count):
    """Return sine and cosine of the time of the year, which is known in advance."""
    angle = np.arange(count) * 2 * np.pi / 365.25
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


TASKS = {
    "CO2": Task(
        co2,
        "ppm",
        start=1958 + 2 / 12,
        per_year=12,
        season=12,
        horizon=12,
        origins=9,
        step=6,
        options={"lookback": 48, "difference": 12, "epochs": 15, **ONE_BY_ONE},
        smoothed_season=True,
    ),
    "sunspots": Task(
        lambda: column(STATSMODELS, "statsmodels/datasets/sunspots/sunspots.csv", "SUNACTIVITY"),
        "number",
        start=1700,
        per_year=1,
        season=11,
        horizon=5,
        origins=11,
        step=3,
        options={"lookback": 33, "difference": 1, "epochs": 40, **ONE_BY_ONE},
    ),
    "air passengers": Task(
        lambda: column("sktime==1.2.0", "sktime/datasets/data/Airline/Airline.csv", "Passengers"),
        "thousands a month",
        start=1949,
        per_year=12,
        season=12,
        horizon=12,
        origins=3,
        step=6,
        options={"lookback": 36, "difference": 12, **AT_ONCE, **EARLY_STOPPING},
        smoothed_season=True,
    ),
    "Seattle's highs": Task(
        lambda: column(VEGA, "vega_datasets/_data/seattle-weather.csv", "temp_max"),
        "°C",
        start=2012,
        per_year=365.25,
        season=365,
        horizon=7,
        origins=40,
        step=7,
        options={"lookback": 28, "difference": 1, **AT_ONCE, **EARLY_STOPPING},
        covariates=day_of_year,
    ),
    "births": Task(
        births,
        "per woman",
        start=1960,
        per_year=1,
        season=None,
        horizon=5,
        origins=2,
        step=5,
        options={"lookback": 12, "difference": 1, **AT_ONCE, **EARLY_STOPPING},
    ),
}


def exponential_smoothing(season):
    """Return the forecast of the best model of exponential smoothing by AICc."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    seasons = [None] if season is None else ["add", "mul"]
    trends = ({"trend": None}, {"trend": "add"}, {"trend": "add", "damped_trend": True})

    def forecast(values, horizon):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the optimizer
            fits = [
                ExponentialSmoothing(values, seasonal=kind, seasonal_periods=season, **trend).fit()
                for kind in seasons
                for trend in trends
            ]
        return min(fits, key=lambda fit: fit.aicc).forecast(horizon)

    return forecast


def smoothing(task):
    """Return exponential smoothing as a further baseline, if statsmodels is installed."""
    try:
        return {
            "exponential smoothing": exponential_smoothing(12 if task.smoothed_season else None)
        }
    except ImportError:
        return {}


def evaluate(task, options):
    """Return the series, and the report of forecasts at all origins."""
    series = task.load()
    if options.quick:
        series = series[::8]
    known = None if task.covariates is None else [task.covariates(len(one)) for one in series]
    epochs = {"epochs": 10} if options.quick else {}
    reports = []
    for number in range(1 if options.quick else NETWORKS):
        model = SequenceForecaster(
            cell=options.cell,
            bidirectional=options.bidirectional,
            hidden_size=32,
            horizon=task.horizon,
            random_state=options.seed + number,
            **{**task.options, **epochs},
        )
        report = model.rolling_origin(
            series,
            origins=2 if options.quick else task.origins,
            step=task.step,
            season=task.season,
            coverage=0.8,
            baselines=None if reports else smoothing(task),
            future_covariates=known,
        )
        reports.append(report)
    return series, mean_of(reports)


def mean_of(reports):
    """Return the report of the mean forecast of several networks."""
    first, name = reports[0], "SequenceForecaster"
    forecast = np.mean([report.forecasts[name] for report in reports], axis=0)
    lower, upper = np.mean([report.interval for report in reports], axis=0)
    forecasts = {**first.forecasts, name: forecast}
    return replace(first, forecasts=forecasts, interval=(lower, upper))


def named(forecasts):
    """Return forecasts by the names of this page."""
    return {"network" if n == "SequenceForecaster" else n: f for n, f in forecasts.items()}


def run(options: Options) -> Report:
    """Forecast all series, and compare with the baselines."""
    found = {name: evaluate(task, options) for name, task in TASKS.items()}
    for name, (_, report) in found.items():
        print(f"\n{name}: {report}", flush=True)
    errors = {name: named(report.mase) for name, (_, report) in found.items()}
    if not any("exponential smoothing" in each for each in errors.values()):
        print("\nTo compare with exponential smoothing: pip install statsmodels")
    if options.plot is not None:
        draw(options.plot / "forecasting.png", found, errors)
    also = {}
    for name, (_, report) in found.items():
        order = sorted(errors[name].items(), key=lambda pair: pair[1])
        figures = ", ".join(f"{who} {error:.3f}" for who, error in order)
        also[name] = f"{figures}; intervals of 80 % contain {report.covered:.0%}"
    wins = [name for name, each in errors.items() if min(each, key=each.get) == "network"]
    also["the network is best on"] = ", ".join(wins) or "none"
    origins = sum(report.origins.size for _, report in found.values())
    return Report(
        "MASE, mean of five data sets",
        float(np.mean([each["network"] for each in errors.values()])),
        "ridge on the same windows",
        float(np.mean([each["ridge"] for each in errors.values()])),
        f"{sum(len(series) for series, _ in found.values())} series, {origins} origins",
        higher_is_better=False,
        also=also,
    )


def draw(path, found, errors):
    """Plot the last forecast for a series of each data set, and all errors."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    for axis, (name, (series, report)) in zip(axes.flat, found.items(), strict=False):
        task, i = TASKS[name], len(series) // 2
        origin = report.origins[i, -1]
        past = np.arange(max(origin - 3 * task.horizon, 0), origin + task.horizon)
        when = task.start + np.arange(len(series[i])) / task.per_year
        ahead = when[origin:][: task.horizon]
        axis.plot(when[past], series[i][past], ".-", color="black", label="measured")
        lower, upper = (bound[i, -1, :, 0] for bound in report.interval)
        label = "interval of 80 %"
        axis.fill_between(ahead, lower, upper, color=COLORS["network"], alpha=0.2, label=label)
        for who, forecast in named(report.forecasts).items():
            if who != "naive":
                axis.plot(ahead, forecast[i, -1, :, 0], ".--", color=COLORS[who])
        axis.set(title=name, xlabel="year", ylabel=task.unit)
        axis.locator_params(axis="x", nbins=4)
        axis.ticklabel_format(useOffset=False)
    last, shown = axes.flat[-1], [who for who in COLORS if who in errors["CO2"]]
    width = 0.8 / len(shown)
    for j, who in enumerate(shown):
        heights = [each.get(who, 0.0) for each in errors.values()]
        places = np.arange(len(errors)) + (j + 0.5) * width
        last.bar(places, heights, width, color=COLORS[who], label=who)
    names = [name.replace(" ", "\n") for name in errors]
    last.set_xticks(np.arange(len(errors)) + 0.4, names, fontsize=8)
    last.set(title="error of all forecasts", ylabel="MASE")
    handles = axes.flat[0].get_legend_handles_labels()[0] + last.get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.savefig(path, dpi=100)
    plt.close(figure)


example = Example(__doc__, run, cell="gru")

if __name__ == "__main__":
    example.main()
