"""Weights of sequences, and of their steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.data._containers import unpacked
from bptt.data.sequences import Sequences

Weights = NDArray[np.float64]


def sequence_weights(sample_weight: Any, count: int) -> Weights | None:
    """Return the weight of every sequence; None if all are 1.

    Parameters
    ----------
    sample_weight : array (B,), optional
        Weights.
    count : int
        B.

    Raises
    ------
    ValueError
        If they have another shape, are negative or not finite, or all 0.
    """
    if sample_weight is None:
        return None
    rule = f"(B,) = ({count},)"
    try:
        weights = np.asarray(unpacked(sample_weight), np.float64)
    except (OverflowError, TypeError, ValueError):
        raise ValueError(
            f"sample_weight must have shape {rule}, one number per sequence, got lists of "
            "different lengths or no numbers"
        ) from None
    if weights.shape != (count,):
        raise ValueError(f"sample_weight must have shape {rule}, got {weights.shape}")
    return _checked(weights)


def step_weights(sample_weight: Any, lengths: NDArray[np.int64]) -> Weights | Sequences | None:
    """Return the weight of every sequence, or of every step.

    Parameters
    ----------
    sample_weight : array (B,), list of B arrays (T,), or padded array (B, T), optional
        Weights.
    lengths : int64 array (B,)
        Number of steps of each sequence. Rows of a padded array may be longer.

    Raises
    ------
    ValueError
        If they have another shape, are negative or not finite, or all 0.
    """
    sample_weight = unpacked(sample_weight)
    rows = _rows(sample_weight)
    if rows is None:
        return sequence_weights(sample_weight, len(lengths))
    if len(rows) != len(lengths):
        raise ValueError(f"sample_weight must have {len(lengths)} sequences, got {len(rows)}")
    is_padded = isinstance(sample_weight, np.ndarray) and sample_weight.ndim == 2
    for i, (row, count) in enumerate(zip(rows, lengths.tolist(), strict=True)):
        if len(row) < count or (len(row) > count and not is_padded):
            rule = f"a weight for each of the {count} steps of X[{i}]"
            raise ValueError(f"sample_weight[{i}] must have {rule}, got {len(row)}")
    cut = [row[:count] for row, count in zip(rows, lengths.tolist(), strict=True)]
    return Sequences.from_lengths(_checked(np.concatenate(cut)), lengths)


def _rows(sample_weight: Any) -> list[Weights] | None:
    """Return the weights of the steps of every sequence; None if they are those of sequences."""
    if not isinstance(sample_weight, (list, tuple, np.ndarray)) or not len(sample_weight):
        return None
    if isinstance(sample_weight, np.ndarray) and sample_weight.dtype != object:
        sample_weight = list(sample_weight) if sample_weight.ndim == 2 else [0.0]
    try:
        rows = [np.asarray(row, np.float64) for row in sample_weight]
    except (OverflowError, TypeError, ValueError):
        return None
    return rows if all(row.ndim == 1 for row in rows) else None


def _checked(weights: Weights) -> Weights:
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError("sample_weight must be finite and >= 0, and not zero everywhere")
    return weights
