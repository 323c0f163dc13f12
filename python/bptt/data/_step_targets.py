"""Targets of regression with one number, or a vector of numbers, at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.data._containers import unpacked, with_nan
from bptt.data.sequences import Sequences


def read_step_targets(y: Any, lengths: Any = None) -> tuple[Sequences, bool]:
    """Return targets per step, (N, K), and whether each is one number.

    Parameters
    ----------
    y : list of arrays (T,) or (T, K), padded array (B, T) or (B, T, K), or groupby object
        Targets. NaN stands for a missing target.
    lengths : integer array (B,), optional
        Number of targets that each sequence must have. Rows of a padded array may be longer.

    Returns
    -------
    sequences : Sequences
        Targets, (N, K), in float64.
    is_scalar : bool
        The targets have no axis of outputs.

    Raises
    ------
    TypeError, ValueError
        If y has another type or shape, or an infinite value.
    """
    y = unpacked(y)
    is_padded = hasattr(y, "__array__") and np.asarray(y).dtype != object
    rows = list(np.asarray(y)) if hasattr(y, "__array__") else y
    if not isinstance(rows, Sequence) or isinstance(rows, (str, bytes)):
        raise TypeError(f"y must be a list of arrays, one per sequence, got {type(y).__name__}")
    arrays = [_numbers(f"y[{i}]", row) for i, row in enumerate(rows)]
    if lengths is not None:
        arrays = _cut(arrays, np.asarray(lengths).tolist(), is_padded=is_padded)
    is_scalar = all(array.ndim == 1 for array in arrays)
    columns = [array[:, np.newaxis] if array.ndim == 1 else array for array in arrays]
    for i, array in enumerate(columns):
        if array.shape[1] != columns[0].shape[1]:
            outputs = columns[0].shape[1]
            raise ValueError(f"y[{i}] must have {outputs} outputs as y[0], got {array.shape[1]}")
        if np.isinf(array).any():
            raise ValueError(f"y[{i}] must be finite or NaN (missing), got infinity")
    return Sequences.from_arrays(columns), is_scalar


def _numbers(name: str, row: Any) -> NDArray[np.float64]:
    try:
        array = with_nan(np.asarray(row))
        if array.dtype.kind not in "biuf":
            array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must hold a number, or K numbers, for every step") from None
    if array.ndim not in (1, 2):
        raise ValueError(
            f"{name} must have shape (T,) or (T, K), got {array.shape}: pool=None predicts numbers "
            "at every step; set pool='last' for one target per sequence"
        )
    return array.astype(np.float64)


def _cut(
    arrays: list[NDArray[np.float64]], counts: list[int], *, is_padded: bool
) -> list[NDArray[np.float64]]:
    if len(arrays) != len(counts):
        raise ValueError(f"y must have {len(counts)} sequences, as X, got {len(arrays)}")
    for i, (array, count) in enumerate(zip(arrays, counts, strict=True)):
        if len(array) < count or (len(array) > count and not is_padded):
            raise ValueError(
                f"y[{i}] must have a target for each of the {count} steps of X[{i}], "
                f"got {len(array)}"
            )
    return [array[:count] for array, count in zip(arrays, counts, strict=True)]
