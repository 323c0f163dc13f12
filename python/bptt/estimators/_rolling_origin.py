"""Rolling-origin evaluation: errors of forecasts made in the past, beside those of baselines.

L. J. Tashman (2000), Out-of-sample tests of forecasting accuracy: an analysis and review.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.estimators._forecast_data import Indices, Panel, count_of
from bptt.estimators._forecast_windows import Window, WindowReader, decode
from bptt.estimators._regression_losses import bounds_of

Baseline: TypeAlias = Callable[[NDArray[np.float64], int], Any]  # values, horizon -> forecast


class Forecaster(Protocol):
    """What is evaluated: a `SequenceForecaster`."""

    @property
    def _reader(self) -> WindowReader:
        """Reader of its windows."""

    def set_params(self, **parameters: Any) -> Any:
        """Set parameters."""

    def _fit_panel(self, panel: Panel, resume: bool = False) -> Any:
        """Fit to series."""

    def _forecast(self, panel: Panel, horizon: int) -> FloatArray:
        """Return the next values, (N, horizon, C)."""

    def _quantiles(self, panel: Panel, horizon: int, levels: Sequence[float]) -> list[FloatArray]:
        """Return quantiles of the next values, (N, horizon, C) each."""


_Model = TypeVar("_Model", bound=Forecaster)

_ALPHAS = np.logspace(-3, 3, 13)  # regularization, among which leave-one-out chooses


@dataclass(frozen=True, eq=False)
class ForecastReport:
    """Errors of forecasts, by name; the first is that of the estimator.

    The arrays are (N, origins, horizon, C), in the unit of the series.
    """

    forecasts: dict[str, FloatArray]
    """Forecasts."""
    actual: FloatArray
    """What came; NaN if missing."""
    origins: Indices
    """Number of known values at each origin, (N, origins)."""
    scales: FloatArray
    """Error of the (seasonal) naive forecast one step ahead before the first origin, (N, C)."""
    coverage: float | None = None
    """Probability of the intervals; None without intervals."""
    interval: tuple[FloatArray, FloatArray] | None = None
    """Lower and upper bounds; None without intervals."""

    @cached_property
    def mae(self) -> dict[str, float]:
        """Mean absolute error of each forecast."""
        return {name: float(np.nanmean(error)) for name, error in self._errors.items()}

    @cached_property
    def mae_by_step(self) -> dict[str, FloatArray]:
        """Mean absolute error of each forecast and step, (horizon,)."""
        return {name: _by_step(error) for name, error in self._errors.items()}

    @cached_property
    def mase(self) -> dict[str, float]:
        """Mean absolute scaled error of each forecast; constant series do not count."""
        return {name: float(np.nanmean(error)) for name, error in self._scaled.items()}

    @property
    def best(self) -> str:
        """Name of the forecast with the smallest `mase`."""
        return min(self.mase, key=lambda name: self.mase[name])

    @cached_property
    def covered(self) -> float | None:
        """Share of the values that lie in the intervals; None without intervals."""
        if self.interval is None:
            return None
        lower, upper = self.interval
        exists = ~np.isnan(self.actual)
        inside = (lower <= self.actual) & (self.actual <= upper)
        return float(inside[exists].mean())

    def __str__(self) -> str:
        count, origins, horizon, _ = self.actual.shape
        steps = sorted({1, (horizon + 1) // 2, horizon})
        heads = ["MASE", "MAE", *(f"step {step}" for step in steps)]
        width = max(map(len, self.forecasts)) + 2
        lines = [
            f"{_counted(count, 'series', 'series')}, {_counted(origins, 'origin')}, "
            f"{_counted(horizon, 'step')} ahead",
            "forecast".ljust(width) + "".join(f"{head:>10}" for head in heads),
        ]
        for name in sorted(self.mase, key=lambda name: self.mase[name]):
            errors = [self.mae_by_step[name][step - 1] for step in steps]
            figures = [self.mase[name], self.mae[name], *errors]
            lines.append(name.ljust(width) + "".join(f"{figure:10.4g}" for figure in figures))
        lines.append(self._verdict())
        if self.covered is not None:
            inside = f"{self.covered:.1%} of the values"
            lines.append(f"Intervals of {self.coverage:.0%} contain {inside}.")
        return "\n".join(lines)

    def _verdict(self) -> str:
        own, *others = self.mase
        if self.best != own:
            less = 1.0 - self.mase[self.best] / self.mase[own]
            return f"{self.best} is best: its MASE is {less:.1%} below that of {own}."
        second = min(others, key=lambda name: self.mase[name])
        less = 1.0 - self.mase[own] / self.mase[second]
        return f"{own} is best: its MASE is {less:.1%} below that of {second}."

    @cached_property
    def _errors(self) -> dict[str, FloatArray]:
        return {name: np.abs(found - self.actual) for name, found in self.forecasts.items()}

    @cached_property
    def _scaled(self) -> dict[str, FloatArray]:
        scales = np.where(self.scales > 0.0, self.scales, np.nan)[:, np.newaxis, np.newaxis]
        return {name: error / scales for name, error in self._errors.items()}


def rolling_origin(
    model: Forecaster,
    panel: Panel,
    *,
    horizon: int,
    origins: int,
    step: int | None,
    season: int | None,
    refit: bool,
    coverage: float | None,
    baselines: Mapping[str, Baseline] | None,
) -> ForecastReport:
    """Evaluate clones of a forecaster; see `SequenceForecaster.rolling_origin`."""
    step = horizon if step is None else count_of("step", step)
    count = count_of("origins", origins)
    lag = 1 if season is None else count_of("season", season)
    bounds = None if coverage is None else bounds_of(coverage)
    further = _checked(baselines)
    refits = checks.flag("refit", refit)
    reader = model._reader
    needed = max(reader.lookback + reader.steps, lag + 1)
    rule = f"{needed} before the first of {count} origins, {step} apart, and a horizon of {horizon}"
    panel.check_lengths(needed + (count - 1) * step + horizon, rule)
    panel.check_future(0)
    before_end = horizon + step * np.arange(count - 1, -1, -1)
    when = panel.values.lengths[:, np.newaxis] - before_end

    found: dict[str, list[FloatArray]] = {}
    intervals: list[list[FloatArray]] = []
    fitted, ridge = model, Ridge(reader)
    for i, ends in enumerate(when.T):
        known = panel.until(ends)
        if i == 0 or refits:
            fitted = _clone(model)
            fitted._fit_panel(known)
            ridge.fit(known)
        forecasts = {
            type(model).__name__: fitted._forecast(known, horizon),
            "naive": _naive(known, 1, horizon),
            **({} if season is None else {"seasonal naive": _naive(known, lag, horizon)}),
            "ridge": ridge.forecast(known, horizon),
            **{name: _called(name, f, known, horizon) for name, f in further.items()},
        }
        for name, forecast in forecasts.items():
            found.setdefault(name, []).append(forecast)
        if bounds is not None:
            intervals.append(fitted._quantiles(known, horizon, bounds))
    span = when[..., np.newaxis] + np.arange(horizon)
    starts = panel.values.starts[:, np.newaxis, np.newaxis]
    return ForecastReport(
        {name: np.stack(each, axis=1) for name, each in found.items()},
        panel.values.values[starts + span],
        when,
        np.stack([_naive_error(one, lag) for one in _series(panel.until(when[:, 0]))]),
        coverage,
        None if bounds is None else _stacked(intervals),
    )


class Ridge:
    """Ridge regression on the windows of a forecaster, decoded as it is.

    The regularization is chosen by the leave-one-out error on the training data.
    """

    def __init__(self, reader: WindowReader) -> None:
        self.reader = reader

    def fit(self, panel: Panel) -> None:
        """Fit to all windows of series."""
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        reader = self.reader
        window, targets = reader.examples(panel)
        exists = ~np.isnan(targets).any(axis=(1, 2))
        inputs = np.nan_to_num(reader.flat_inputs(window, reader.steps))
        self._model = make_pipeline(StandardScaler(), RidgeCV(_ALPHAS))
        self._model.fit(inputs[exists], targets[exists].reshape(int(exists.sum()), -1))

    def forecast(self, panel: Panel, horizon: int) -> FloatArray:
        """Return the next values, (N, horizon, C)."""
        beyond = -(-horizon // self.reader.steps) * self.reader.steps  # whole blocks
        window = self.reader.last(panel, horizon).pad(beyond - horizon)
        return decode(self._block, window, beyond, self.reader.steps)[:, :horizon]

    def _block(self, window: Window, steps: int) -> FloatArray:
        relative = self.reader.relative(window, steps)
        inputs = np.nan_to_num(self.reader.flat_inputs(window, steps))
        predicted = self._model.predict(inputs).reshape(relative.baseline.shape)
        return relative.inverse_transform(predicted)


def _clone(model: _Model) -> _Model:
    from sklearn.base import clone

    copy: _Model = clone(model)
    copy.set_params(warm_start=False, checkpoint_path=None)
    return copy


def _checked(baselines: Any) -> dict[str, Baseline]:
    if baselines is None:
        return {}
    checks.instance("baselines", baselines, Mapping)
    for name, function in baselines.items():
        if not callable(function):
            kind = type(function).__name__
            raise TypeError(f"baselines[{name!r}] must be a function, got {kind}")
    return dict(baselines)


def _called(name: str, function: Baseline, panel: Panel, horizon: int) -> FloatArray:
    """Return the forecast of a user's function, (N, horizon, C)."""
    columns = panel.columns[0]
    shape = (horizon,) if panel.is_flat else (horizon, columns)
    found = []
    for one in _series(panel):
        given = one[:, 0] if panel.is_flat else one
        result = function(given.copy(), horizon)
        try:
            forecast = np.asarray(result, np.float64)
        except (OverflowError, TypeError, ValueError):
            kind = type(result).__name__
            raise TypeError(f"the forecast of {name!r} must hold numbers, got {kind}") from None
        checks.same_shape(f"the forecast of {name!r}", forecast, "the next values", shape)
        found.append(forecast.reshape(horizon, columns))
    return np.stack(found)


def _series(panel: Panel) -> Iterator[FloatArray]:
    return (panel.values[i] for i in range(len(panel)))


def _naive(panel: Panel, lag: int, horizon: int) -> FloatArray:
    """Return the values `lag` steps before, repeated; of those missing, the last one before."""
    rows = []
    for one in _series(panel):
        known = np.where(np.isnan(one), -1, np.arange(len(one))[:, np.newaxis])
        last = np.maximum.accumulate(known, axis=0)
        filled = np.where(last >= 0, np.take_along_axis(one, np.maximum(last, 0), axis=0), 0.0)
        rows.append(filled[len(one) - lag + np.arange(horizon) % lag])
    return np.stack(rows)


def _naive_error(values: FloatArray, lag: int) -> FloatArray:
    """Return the mean absolute difference at this lag, (C,)."""
    differences = np.abs(values[lag:] - values[:-lag])
    count = np.maximum((~np.isnan(differences)).sum(axis=0), 1)
    error: FloatArray = np.nansum(differences, axis=0) / count
    return error


def _by_step(error: FloatArray) -> FloatArray:
    means: FloatArray = np.nanmean(error, axis=(0, 1, 3))
    return means


def _stacked(intervals: list[list[FloatArray]]) -> tuple[FloatArray, FloatArray]:
    lower, upper = (np.stack(bound, axis=1) for bound in zip(*intervals, strict=True))
    return lower, upper


def _counted(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"
