"""Forecasting: next week's temperature in Seattle, and tomorrow's price of four stocks.

Task: the highs of the next seven days from two weeks of daily highs and lows; the next return of a
stock from 30 days of returns and volumes.
Shape: many-to-one, float features, several targets.
Network: a GRU on differences from the climatology, a curve fitted to the training years. Two weeks
are few steps and 700 days few data, so the mean of five small networks is more stable than one.
Data: seattle-weather of vega-datasets (NOAA, public domain): training on 2012 and 2013, early
stopping on 2014, test on 2015. Stocks of bokeh-sampledata (public domain): training until 2008,
early stopping on 2009 and 2010, test from 2011 to March 2013.
Time: 3 seconds.
Result, mean absolute error of the next seven highs: 2.87 °C; persistence (as warm as today) 3.40,
the seasonal-naive forecast (as a year ago) 3.79, climatology 3.14. For tomorrow alone persistence
is nearly as good: 2.26 against 2.18. For stocks nothing beats persistence: the best forecast is
today's price.
Tried without gain: rain, wind and kind of weather, four weeks, an LSTM, more units, training on
2014 too. Ridge regression on the same two weeks is as good.
Not used: the hourly temperatures of vega-datasets are averages of many years, so that yesterday's
are right to 0.1 °C; the sea temperatures of bokeh-sampledata span 13 months, too few to learn
winter.
"""

from __future__ import annotations

import csv
import gzip

import numpy as np

from bptt import SequenceRegressor
from examples._common import Example, Options, Report
from examples._data import package_file

AHEAD = 7


def weather():
    """Return dates, highs, and the differences of highs and lows from the climatology."""
    path = package_file("vega-datasets==0.9.0", "vega_datasets/_data/seattle-weather.csv")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    days = np.array([row["date"].replace("/", "-") for row in rows], "datetime64[D]")
    values = np.array([[float(row["temp_max"]), float(row["temp_min"])] for row in rows])
    angles = np.arange(3)[:, np.newaxis] * np.arange(len(days)) * 2 * np.pi / 365.25
    curve = np.concatenate([np.cos(angles), np.sin(angles[1:])]).T
    train = days < np.datetime64("2014-01-01")
    usual = curve @ np.linalg.lstsq(curve[train], values[train], rcond=None)[0]
    return days, values[:, 0], values - usual


def stocks(steps=30):
    """Return windows (n, steps, 2), the next return, its date, and its scale (recent deviation)."""
    path = package_file("bokeh-sampledata==2026.1", "bokeh_sampledata/_data/stocks.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = []
    for ticker in ("AAPL", "MSFT", "IBM", "GOOG"):
        own = [row for row in rows if row["Ticker"] == ticker]
        columns = [[float(row[name]) for row in own] for name in ("Adj Close", "Volume")]
        changes = np.diff(np.log(columns)).T
        at = np.arange(steps, len(changes))
        windows = changes[at[:, np.newaxis] + np.arange(-steps, 0)]
        scale = windows[:, :, 0].std(axis=1)
        windows[:, :, 0] /= scale[:, np.newaxis]
        days = np.array([row["Date"] for row in own], "datetime64[D]")[at + 1]
        parts.append((windows, changes[at, 0], days, scale))
    return map(np.concatenate, zip(*parts, strict=True))


def forecast(options, X, y, when, networks, **parameters):
    """Return the mean prediction of several networks for the test windows."""
    train, validation, test = ((when == part) for part in ("train", "validation", "test"))
    found = []
    for number in range(networks):
        model = SequenceRegressor(
            cell=options.cell,
            bidirectional=options.bidirectional,
            dropout=0.3,
            patience=8,
            random_state=options.seed + number,
            **parameters,
        )
        model.fit(X[train], y[train], validation=(X[validation], y[validation]))
        found.append(model.predict(X[test]))
    return np.mean(found, axis=0)


def parts(first, last, validation, test):
    """Return the part of each window, by the first and last day of its forecast."""
    names = [last < np.datetime64(validation), first < np.datetime64(validation)]
    names += [last < np.datetime64(test), first < np.datetime64(test)]
    return np.select(names, ["train", "none", "validation", "none"], "test")


def run(options: Options) -> Report:
    """Forecast temperatures and stocks."""
    days, highs, anomalies = weather()
    at = np.arange(14, len(days) - AHEAD + 1)  # the first day of each forecast
    week = at[:, np.newaxis] + np.arange(AHEAD)
    X = anomalies[at[:, np.newaxis] + np.arange(-14, 0)] / 4
    when = parts(days[at], days[week[:, -1]], "2014-01-01", "2015-01-01")
    networks, epochs = (1, 15) if options.quick else (5, 60)
    size = {"hidden_size": 24, "epochs": epochs}
    predicted = 4 * forecast(options, X, anomalies[week, 0] / 4, when, networks, **size)
    at, week = at[when == "test"], week[when == "test"]
    usual = highs[week] - anomalies[week, 0]
    forecasts = {
        "network": usual + predicted,
        "persistence": np.repeat(highs[at - 1, np.newaxis], AHEAD, axis=1),
        "seasonal naive": highs[week - 365],
        "climatology": usual,
    }
    errors = {name: np.abs(f - highs[week]).mean(0) for name, f in forecasts.items()}
    if options.plot is not None:
        draw(options.plot / "forecasting.png", days, highs, at, forecasts, errors)

    X, returns, day, scale = stocks()
    when = parts(day, day, "2009-01-01", "2011-01-01")
    size = {"hidden_size": 16, "epochs": 1 if options.quick else 10, "learning_rate": 0.001}
    moves = forecast(options, X, returns / scale, when, 1, **size) * scale[when == "test"]
    true = returns[when == "test"]
    missed, still = 100 * np.abs(moves - true).mean(), 100 * np.abs(true).mean()
    tomorrow = [f"{name} {error[0]:.2f}" for name, error in errors.items()]
    return Report(
        "mean absolute error of the next 7 highs, °C",
        float(errors["network"].mean()),
        "persistence",
        float(errors["persistence"].mean()),
        f"Seattle weather, {len(at)} test weeks in 2015; 4 stocks, {len(true):,} test days",
        higher_is_better=False,
        also={
            "seasonal naive, as a year ago": f"{errors['seasonal naive'].mean():.4g}",
            "climatology": f"{errors['climatology'].mean():.4g}",
            "tomorrow's high": ", ".join(tomorrow),
            "tomorrow's stock price": f"error {missed:.3f} %, persistence {still:.3f} %",
        },
    )


def draw(path, days, highs, at, forecasts, errors):
    """Plot one week with all forecasts, and the error of each by days ahead."""
    import matplotlib.pyplot as plt
    from matplotlib.dates import DateFormatter, DayLocator

    styles = dict(zip(forecasts, ("#0072B2", "#D55E00", "#E69F00", "#999999"), strict=True))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    first = int(np.searchsorted(days[at], np.datetime64("2015-06-01")))
    shown = slice(at[first] - 14, at[first] + AHEAD)
    left.plot(days[shown], highs[shown], "o-", color="black", label="measured")
    left.axvline(days[at[first] - 1], color="black", linestyle=":")
    for name, color in styles.items():
        week = days[at[first] : at[first] + AHEAD]
        left.plot(week, forecasts[name][first], ".--", color=color, label=name)
        right.plot(np.arange(1, AHEAD + 1), errors[name], "o-", color=color, label=name)
    left.set(title="The week from 1 June 2015", ylabel="highest temperature of the day in °C")
    left.xaxis.set_major_locator(DayLocator(interval=4))
    left.xaxis.set_major_formatter(DateFormatter("%d %b"))
    right.set(title="All weeks of 2015", xlabel="days ahead", ylabel="mean absolute error in °C")
    left.legend()
    right.legend()
    figure.savefig(path, dpi=100)
    plt.close(figure)


example = Example(__doc__, run, cell="gru")

if __name__ == "__main__":
    example.main()
