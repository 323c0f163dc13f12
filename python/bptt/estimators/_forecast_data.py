"""Series and covariates, as a forecaster takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data._containers import columns_of, is_missing, unpacked, with_nan
from bptt.data.sequences import Sequences

Indices = NDArray[np.int64]

_MAX_STEPS = 2**31  # of a horizon, a lookback, a season


@dataclass(frozen=True)
class Panel:
    """Several series of C values a step, with their covariates."""

    values: Sequences
    """N series (T, C), NaN if missing."""
    future: Sequences | None = None
    """Covariates (T or more, F) that are known in advance, from the first step of each series."""
    static: FloatArray | None = None
    """Covariates of the series, (N, S)."""
    is_single: bool = False
    """One series was given, not a list of one."""
    is_flat: bool = True
    """The series are (T,), not (T, C)."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def columns(self) -> tuple[int, int, int]:
        """C, F and S."""
        future = 0 if self.future is None else self.future.values.shape[1]
        static = 0 if self.static is None else self.static.shape[1]
        return self.values.values.shape[1], future, static

    def until(self, ends: Indices) -> Panel:
        """Return the first `ends` (N,) values of each series, with all covariates."""
        return replace(self, values=Sequences(self.values.values, self.values.starts, ends))

    def check_lengths(self, shortest: int, rule: str) -> None:
        """Check that every series has at least `shortest` values.

        Raises
        ------
        ValueError
            If one has fewer.
        """
        self._check_steps("series", self.values, np.full(len(self), shortest), rule)

    def check_future(self, horizon: int) -> None:
        """Check that covariates reach `horizon` steps beyond the end of every series.

        Raises
        ------
        ValueError
            If those of a series do not.
        """
        if self.future is not None:
            name, steps = "future_covariates", f"the steps of the series and {horizon} more"
            self._check_steps(name, self.future, self.values.lengths + horizon, steps)

    def _check_steps(self, name: str, rows: Sequences, least: Indices, rule: str) -> None:
        short = rows.lengths < least
        if short.any():
            i = int(short.argmax())
            which = name if self.is_single else f"{name}[{i}]"
            raise ValueError(
                f"{which} must have at least {least[i]} steps, {rule}, got {rows.lengths[i]}"
            )


def read_panel(
    series: Any, future_covariates: Any, static_covariates: Any, *, allow_nan: bool
) -> Panel:
    """Return series with their covariates.

    Parameters
    ----------
    series : array (T,), list of arrays (T,) or (T, C), or array (N, T) or (N, T, C)
        One series, or N.
    future_covariates : arrays (T or more, F) as the series, optional
        Covariates that are known in advance.
    static_covariates : array (N,) or (N, S), optional
        Covariates of the series.
    allow_nan : bool
        Whether values may be missing.

    Raises
    ------
    TypeError, ValueError
        If an argument has another type or shape, or a value that is not finite.
    """
    rows, is_single = _rows("series", series)
    arrays = [_numbers(name, row, allow_nan=allow_nan) for name, row in rows]
    is_flat = arrays[0].ndim == 1
    for (name, _), array in zip(rows, arrays, strict=True):
        if (array.ndim == 1) != is_flat:
            shape = "(T,)" if is_flat else "(T, C)"
            raise ValueError(f"{name} must have shape {shape} as series[0], got {array.shape}")
    values = _joined(rows, arrays)
    future = None
    if future_covariates is not None:
        given = [("future_covariates", future_covariates)]
        if not is_single:
            given, _ = _rows("future_covariates", future_covariates)
        if len(given) != len(rows):
            rule = f"future_covariates must have arrays for {len(rows)} series"
            raise ValueError(f"{rule}, got {len(given)}")
        future = _joined(given, [_numbers(n, row, allow_nan=allow_nan) for n, row in given])
    panel = Panel(values, future, None, is_single, is_flat)
    panel.check_future(0)
    if static_covariates is None:
        return panel
    static = _numbers("static_covariates", static_covariates, allow_nan=allow_nan)
    if is_single and static.ndim == 1:
        static = static[np.newaxis]
    if len(static) != len(rows):
        rule = f"static_covariates must have a row for each of {len(rows)} series"
        raise ValueError(f"{rule}, got {len(static)}")
    return replace(panel, static=static[:, np.newaxis] if static.ndim == 1 else static)


def count_of(name: str, value: Any) -> int:
    """Check a number of steps or origins, in [1, 2**31)."""
    count = checks.integer(name, value)
    if count >= _MAX_STEPS:
        raise ValueError(f"{name} must be less than 2**31, got {checks.shown(count)}")
    return count


def _rows(name: str, given: Any) -> tuple[list[tuple[str, Any]], bool]:
    """Return the arrays of a list, or one array, with their names, and whether it is one series."""
    checks.not_masked(name, given)
    given = unpacked(given)
    if columns_of(given) is not None:
        raise TypeError(
            f"{name} must be an array or a list of arrays, got a table: use [table] for one series "
            "of several values a step, or table.to_numpy().T for a series in each column"
        )
    if hasattr(given, "__array__"):
        given = np.asarray(given)
        if given.ndim == 1 and given.dtype != object:
            return [(name, given)], True
        given = list(given) if given.ndim else given
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        kind = type(given).__name__
        raise TypeError(f"{name} must be an array or a list of arrays, got {kind}")
    if not len(given):
        raise ValueError(f"{name} must have at least one array, got none")
    if all(isinstance(one, Real) or is_missing(one) for one in given):
        return [(name, given)], True
    return [(f"{name}[{i}]", one) for i, one in enumerate(given)], False


def _numbers(name: str, given: Any, *, allow_nan: bool) -> FloatArray:
    """Return numbers (T,) or (T, columns) in float64."""
    checks.not_masked(name, given)
    try:
        array = with_nan(np.asarray(given))
        if array.dtype.kind not in "biuf":
            if array.dtype.kind != "O":
                raise TypeError
            array = array.astype(np.float64)
    except (OverflowError, TypeError, ValueError):
        raise TypeError(f"{name} must hold a number, or several, for every step") from None
    if array.ndim not in (1, 2) or not array.size:
        rule = "shape (T,) or (T, columns), at least (1,)"
        raise ValueError(f"{name} must have {rule}, got {array.shape}")
    values: FloatArray = array.astype(np.float64)
    wrong = np.isinf(values) if allow_nan else ~np.isfinite(values)
    if wrong.any():
        t = int(np.argwhere(wrong)[0, 0])
        cure = "" if np.isinf(values[wrong]).any() else ": missing='mask' takes missing values"
        rule = "finite or NaN" if allow_nan else "finite"
        raise ValueError(f"{name} must be {rule}, got {array[t]} at step {t}{cure}")
    return values


def _joined(rows: list[tuple[str, Any]], arrays: list[FloatArray]) -> Sequences:
    columns = [array[:, np.newaxis] if array.ndim == 1 else array for array in arrays]
    for (name, _), array in zip(rows, columns, strict=True):
        if array.shape[1] != columns[0].shape[1]:
            first = f"{columns[0].shape[1]} columns as {rows[0][0]}"
            raise ValueError(f"{name} must have {first}, got {array.shape[1]}")
    return Sequences.from_arrays(columns)
