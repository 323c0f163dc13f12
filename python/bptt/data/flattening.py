"""Numbers of many sequences as one array, with a check of each that belongs to a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data.inputs import Raw

Starts = NDArray[np.int64]
"""Where each sequence begins, (B,)."""

_MOST_IDS = 2**31 - 1


def count_ids(raw: Raw) -> int:
    """Return how many ids there are, if the largest that comes is the last.

    Raises
    ------
    ValueError
        If they would be too many.
    """
    items = raw.items
    if isinstance(items, np.ndarray):
        items = [row[:length] for row, length in zip(items, raw.lengths, strict=True)]
    count = 1 + max((int(item.max()) for item in items if len(item)), default=0)
    if count > _MOST_IDS:
        raise ValueError(f"X must hold ids in [0, {_MOST_IDS}), got {count - 1}")
    return max(count, 1)


def flat_ids(raw: Raw, size: int) -> tuple[NDArray[np.int32], Starts]:
    """Return all ids, (N,), and where each sequence begins.

    Raises
    ------
    ValueError
        If one is not in [0, size).
    """
    flat, starts = _flat(raw, np.int64)
    wrong = _first((flat < 0) | (flat >= size), starts, raw.lengths)
    if wrong is not None:
        i, t = wrong
        raise ValueError(f"X[{i}]: id {raw.items[i][t]} at step {t} is not in [0, {size})")
    return flat.astype(np.int32), starts


def count_features(raw: Raw) -> int:
    """Return the number of features, of the first sequence that tells it."""
    shapes = (np.shape(item) for item in raw.items)
    shape = next(shape for shape in shapes if shape != (0,))  # (0,) has any number
    return int(shape[1]) if len(shape) == 2 else 1


def flat_features(
    raw: Raw, size: int, dtype: np.dtype[np.floating[Any]]
) -> tuple[FloatArray, Starts]:
    """Return all features, (N, size), in this dtype, and where each sequence begins.

    Raises
    ------
    ValueError
        If a sequence has another number of features, or one is not finite.
    """
    raw = raw._replace(items=_with_features(raw.items, size))
    with np.errstate(over="ignore"):
        flat, starts = _flat(raw, dtype)
    finite = np.isfinite(flat)
    wrong = None if finite.all() else _first(~finite.all(axis=1), starts, raw.lengths)
    if wrong is not None:
        i, t = wrong
        feature = int(np.flatnonzero(~finite[starts[i] + t])[0])
        value = raw.items[i][t, feature]
        what = "a NaN" if np.isnan(value) else f"{value}"
        raise ValueError(
            f"X[{i}] holds {what} at step {t}, feature {feature}: it must be finite in {dtype}"
        )
    return flat, starts


def _with_features(items: Any, size: int) -> Any:
    """Return `items` with an axis of features each."""
    if isinstance(items, np.ndarray):
        array = items if items.ndim == 3 else items[..., np.newaxis]
        if array.shape[2] != size:
            raise ValueError(f"X must have shape (B, T, {size}), got {items.shape}")
        return array
    arrays = []
    for i, item in enumerate(items):
        array = np.asarray(item)
        if array.shape == (0,):
            array = array.reshape(0, size)
        elif array.ndim == 1:
            array = array[:, np.newaxis]
        if array.shape[1] != size:
            raise ValueError(f"X[{i}] must have shape (steps, {size}), got {item.shape}")
        arrays.append(array)
    return arrays


def _flat(raw: Raw, dtype: Any) -> tuple[NDArray[Any], Starts]:
    if isinstance(raw.items, np.ndarray):  # stays as it is: padding lies between the sequences
        batch, steps, *rest = raw.items.shape
        flat = raw.items.reshape(batch * steps, *rest).astype(dtype, copy=False)
        return flat, np.arange(batch) * steps
    flat = np.concatenate(raw.items, dtype=dtype, casting="unsafe")
    return flat, np.cumsum(raw.lengths) - raw.lengths


def _first(
    wrong: NDArray[np.bool_], starts: Starts, lengths: NDArray[np.int64]
) -> tuple[int, int] | None:
    """Return the first sequence and its step where `wrong` (N,) holds; not of padding."""
    at = np.flatnonzero(wrong)
    sequence = np.searchsorted(starts, at, side="right") - 1
    step = at - starts[sequence]
    for k in np.flatnonzero(step < lengths[sequence]):
        return int(sequence[k]), int(step[k])
    return None
