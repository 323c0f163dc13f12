"""Forecasting: the next week's temperature in Seattle, and tomorrow's price of four stocks.

Many-to-one: two weeks of daily highs and lows are read, and the last state says the highs of the
seven days to come. What is learnt is the difference from the usual high of the day of the year, a
curve fitted to the years of training. A GRU: two weeks are few steps, and 700 days few data; the
mean of five small networks is steadier than one. The same is tried with the last 30 days' returns
and volumes of four stocks.

Data: seattle-weather of vega-datasets (NOAA, public domain): 2012 and 2013 are learnt from, 2014
stops training, 2015 is the test. Stocks of bokeh-sampledata (public domain): learnt from until
2008, stopped by 2009 and 2010, tested from 2011 to March 2013.

3 seconds. The next seven days' highs are missed by 2.87 °C on average; by 3.40 by persistence (as
warm as today), 3.79 by the seasonal-naive forecast (as a year ago) and 3.14 by the usual high.
For tomorrow alone persistence is nearly as good: 2.26 against 2.18. Rain, wind and kind of weather,
four weeks, an LSTM, more units, learning from 2014 too were no better; ridge regression on the same
two weeks is as good. For stocks NOTHING beats persistence: the best forecast is today's price.

Left out: vega-datasets' hourly temperatures are averages of many years, so that yesterday's are
right to 0.1 °C. bokeh-sampledata's sea temperatures span 13 months: a network that has seen no
winter does not beat persistence in one.
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
    """Return the days as dates, their highs, and highs and lows as differences from the usual."""
    path = package_file("vega-datasets==0.9.0", "vega_datasets/_data/seattle-weather.csv")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    days = np.array([row["date"].replace("/", "-") for row in rows], "datetime64[D]")
    values = np.array([[float(row["temp_max"]), float(row["temp_min"])] for row in rows])
    angles = np.arange(3)[:, np.newaxis] * np.arange(len(days)) * 2 * np.pi / 365.25
    curve = np.concatenate([np.cos(angles), np.sin(angles[1:])]).T
    learnt = days < np.datetime64("2014-01-01")
    usual = curve @ np.linalg.lstsq(curve[learnt], values[learnt], rcond=None)[0]
    return days, values[:, 0], values - usual


def stocks(steps=30):
    """Return windows (n, steps, 2), the next return, its day, and its scale: recent deviation."""
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
    """Return what the mean of several networks says for the windows of `when` = "test"."""
    learnt, watched, test = ((when == part) for part in ("learnt", "watched", "test"))
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
        model.fit(X[learnt], y[learnt], validation=(X[watched], y[watched]))
        found.append(model.predict(X[test]))
    return np.mean(found, axis=0)


def parts(first, last, watched, test):
    """Say of windows by the first and last day they forecast what they are for."""
    names = [last < np.datetime64(watched), first < np.datetime64(watched)]
    names += [last < np.datetime64(test), first < np.datetime64(test)]
    return np.select(names, ["learnt", "neither", "watched", "neither"], "test")


def run(options: Options) -> Report:
    """Forecast both."""
    days, highs, unusual = weather()
    at = np.arange(14, len(days) - AHEAD + 1)  # the first day of each forecast
    week = at[:, np.newaxis] + np.arange(AHEAD)
    X = unusual[at[:, np.newaxis] + np.arange(-14, 0)] / 4
    when = parts(days[at], days[week[:, -1]], "2014-01-01", "2015-01-01")
    networks, epochs = (1, 15) if options.quick else (5, 60)
    size = {"hidden_size": 24, "epochs": epochs}
    predicted = 4 * forecast(options, X, unusual[week, 0] / 4, when, networks, **size)
    at, week = at[when == "test"], week[when == "test"]
    usual = highs[week] - unusual[week, 0]
    forecasts = {
        "network": usual + predicted,
        "persistence": np.repeat(highs[at - 1, np.newaxis], AHEAD, axis=1),
        "seasonal naive": highs[week - 365],
        "usual high": usual,
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
        "mean error of the next 7 days' highs, °C",
        float(errors["network"].mean()),
        "persistence",
        float(errors["persistence"].mean()),
        f"Seattle's weather, {len(at)} weeks from days of 2015; 4 stocks, {len(true):,} days",
        higher_is_better=False,
        also={
            "seasonal naive, as a year ago": f"{errors['seasonal naive'].mean():.4g}",
            "the usual high of the day": f"{errors['usual high'].mean():.4g}",
            "tomorrow's high alone": ", ".join(tomorrow),
            "tomorrow's stock price": f"{missed:.3f} % wrong, persistence {still:.3f} %",
        },
    )


def draw(path, days, highs, at, forecasts, errors):
    """Draw one week with all forecasts, and the error of each by the days ahead."""
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
