"""Windows of series: what a forecaster reads and predicts at each origin.

At an origin the last `lookback` values of a series are known, and the next ones are predicted, as
differences from values one season (or step) before, in units of the window. Nothing after the
origin is read, except covariates that are known in advance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bptt._core.checks import FloatArray
from bptt.data.sequences import Sequences
from bptt.estimators._forecast_data import Indices, Panel

SCALINGS = ("standard", "mean")
_CONSTANT = 1e-9  # scale, relative to the level, of a window that is constant but for rounding


@dataclass(frozen=True)
class Window:
    """What is known at N origins."""

    past: FloatArray
    """The last `lookback` values, (N, lookback, C), NaN if missing."""
    future: FloatArray
    """Covariates (N, lookback + horizon, F), from the first of these values on."""
    static: FloatArray
    """Covariates (N, S)."""

    def move(self, block: FloatArray) -> Window:
        """Return the window whose last values are a forecast `block` (N, steps, C)."""
        steps = block.shape[1]
        past = np.concatenate([self.past, block], axis=1)[:, steps:]
        return Window(past, self.future[:, steps:], self.static)

    def pad(self, steps: int) -> Window:
        """Return the window with its last covariates repeated for further steps."""
        last = np.repeat(self.future[:, -1:], steps, axis=1)
        return replace(self, future=np.concatenate([self.future, last], axis=1))

    def take(self, indices: Indices) -> Window:
        """Return these origins."""
        return Window(*(part[indices] for part in (self.past, self.future, self.static)))


@dataclass(frozen=True)
class Relative:
    """The baseline and the unit in which a window's forecast is expressed."""

    baseline: FloatArray
    """Values one `difference` before, repeated, (N, steps, C)."""
    scale: FloatArray
    """Scale of each window, (N, 1, C)."""

    def transform(self, values: FloatArray) -> FloatArray:
        """Return values (N, steps, C) as differences in units of the window."""
        return (values - self.baseline) / self.scale

    def inverse_transform(self, values: FloatArray) -> FloatArray:
        """Return the values of such differences."""
        return self.baseline + values * self.scale


@dataclass(frozen=True)
class WindowReader:
    """Reads windows of series as the inputs and targets of a network."""

    lookback: int
    """Number of values before the origin that are read."""
    steps: int
    """Number of steps that are predicted at once."""
    difference: int | None
    """Lag of the values from which differences are predicted; None for the level of the window."""
    scaling: str | None
    """One of `SCALINGS`, or None."""

    @property
    def hidden_rows(self) -> int:
        """Number of input rows before the one at which the first forecast is made."""
        return self.lookback - (self.difference or 0) - 1

    def count_inputs(self, values: int, future: int, static: int) -> int:
        """Return the number of inputs of a row, for C, F and S columns."""
        lag = self.difference or 0
        return values * (1 + (lag > 0) + (lag > 1)) + (self.steps > 1) + future + static

    def windows(self, panel: Panel, series: Indices, origins: Indices, horizon: int) -> Window:
        """Return the windows of `origins` (N,), numbers of known values of `series` (N,)."""
        first = origins[:, np.newaxis] - self.lookback
        span = np.arange(self.lookback + horizon)
        past = _gather(panel.values, series, first + span[: self.lookback])
        none = np.empty((len(series), len(span), 0))
        future = none if panel.future is None else _gather(panel.future, series, first + span)
        static = none[:, 0] if panel.static is None else panel.static[series]
        return Window(past, future, static)

    def last(self, panel: Panel, horizon: int) -> Window:
        """Return the windows at the ends of all series."""
        return self.windows(panel, np.arange(len(panel)), panel.values.lengths, horizon)

    def examples(self, panel: Panel) -> tuple[Window, FloatArray]:
        """Return all windows whose targets exist, and these (N, steps, C), as `relative` has them.

        They are in the order of `origins`.
        """
        series, origins = self.origins(panel)
        ahead = _gather(panel.values, series, origins[:, np.newaxis] + np.arange(self.steps))
        window = self.windows(panel, series, origins, self.steps)
        return window, self.relative(window, self.steps).transform(ahead)

    def origins(self, panel: Panel) -> tuple[Indices, Indices]:
        """Return series and origin of all windows whose targets exist, in the order of time."""
        counts = np.maximum(panel.values.lengths - self.lookback - self.steps + 1, 0)
        series = np.repeat(np.arange(len(panel)), counts)
        numbers = np.arange(len(series)) - np.repeat(np.cumsum(counts) - counts, counts)
        return series, self.lookback + numbers

    def relative(self, window: Window, steps: int) -> Relative:
        """Return what the next `steps` values are relative to."""
        filled, level, scale = self._scaled(window.past)
        return Relative(self._baseline(filled, level, steps), scale)

    def inputs(self, window: Window, steps: int) -> FloatArray:
        """Return the inputs of the network.

        Parameters
        ----------
        window : Window
            What is known at N origins.
        steps : int
            Number of steps to be predicted, at most `self.steps`.

        Returns
        -------
        array (N, hidden_rows + steps, I)
            Each row has the value of a step, its difference from the value `difference` before,
            the value from which the next step will differ, the part of `self.steps` that lies
            between origin and step, and the covariates of the next step, which the row is to
            predict. After the origin the value is that of the baseline.
        """
        filled, level, scale = self._scaled(window.past)
        baseline = self._baseline(filled, level, steps)
        lag, count = self.difference or 0, self.lookback + steps
        rows = np.arange(lag, count - 1)

        def relative(past: FloatArray) -> FloatArray:
            return (np.concatenate([past, baseline], axis=1) - level) / scale

        # Missing values stay NaN where they are read, and are filled where they are a reference.
        known, reference = relative(window.past), relative(filled)
        columns = [known[:, rows]]
        if lag:
            columns.append(known[:, rows] - reference[:, rows - lag])
        if lag > 1:
            columns.append(reference[:, rows + 1 - lag])
        ahead = np.maximum(rows - (self.lookback - 1), 0) / self.steps
        shape = (len(filled), len(rows))
        if self.steps > 1:
            columns.append(np.broadcast_to(ahead[:, np.newaxis], (*shape, 1)))
        columns.append(window.future[:, rows + 1])
        static = window.static[:, np.newaxis]
        columns.append(np.broadcast_to(static, (*shape, static.shape[2])))
        return np.concatenate(columns, axis=2)

    def flat_inputs(self, window: Window, steps: int) -> FloatArray:
        """Return the known values and the covariates of `steps` as one row per origin."""
        filled, level, scale = self._scaled(window.past)
        ahead = window.future[:, self.lookback : self.lookback + steps]
        parts = ((filled - level) / scale, ahead, window.static)
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def _baseline(self, filled: FloatArray, level: FloatArray, steps: int) -> FloatArray:
        if self.difference is None:
            return np.repeat(level, steps, axis=1)
        repeated = self.lookback - self.difference + np.arange(steps) % self.difference
        baseline: FloatArray = filled[:, repeated]
        return baseline

    def _scaled(self, past: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return windows without gaps, and the level and scale of each, (N, 1, C)."""
        exists = ~np.isnan(past)
        count = np.maximum(exists.sum(axis=1, keepdims=True), 1)
        values = np.where(exists, past, 0.0)
        mean = values.sum(axis=1, keepdims=True) / count
        size = np.abs(values).sum(axis=1, keepdims=True) / count
        if self.scaling == "standard":
            scale = np.sqrt((np.where(exists, past - mean, 0.0) ** 2).sum(1, keepdims=True) / count)
        else:
            scale = size if self.scaling == "mean" else np.ones_like(mean)
        scale = np.where(scale > _CONSTANT * size, scale, np.where(size > 0.0, size, 1.0))
        level = mean if self.scaling == "standard" else np.zeros_like(mean)
        return self._filled(past, mean), level, scale

    def _filled(self, past: FloatArray, mean: FloatArray) -> FloatArray:
        """Return `past` with the value one `difference` before, or the mean, where it is NaN."""
        if not np.isnan(past).any():
            return past
        filled: FloatArray = past.copy()
        lag = self.difference or 1
        for i in range(self.lookback):
            before = filled[:, i - lag] if i >= lag else mean[:, 0]
            filled[:, i] = np.where(np.isnan(past[:, i]), before, past[:, i])
        return filled


def _gather(sequences: Sequences, series: Indices, steps: Indices) -> FloatArray:
    """Return `steps` (N, W) of `series` (N,), as (N, W, columns)."""
    found: FloatArray = sequences.values[sequences.starts[series][:, np.newaxis] + steps]
    return found


def decode(
    block: Callable[[Window, int], FloatArray], window: Window, horizon: int, steps: int
) -> FloatArray:
    """Return a forecast of any length, in blocks of `steps` that read those before them.

    Parameters
    ----------
    block : function
        Window and number of steps -> the next values, (N, steps, C).
    window : Window
        What is known at N origins.
    horizon : int
        Number of steps of the forecast.
    steps : int
        Steps of a block; the last one may be shorter.

    Returns
    -------
    array (N, horizon, C)
    """
    blocks = []
    for first in range(0, horizon, steps):
        blocks.append(block(window, min(steps, horizon - first)))
        window = window.move(blocks[-1])
    return np.concatenate(blocks, axis=1)
