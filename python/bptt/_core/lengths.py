"""Lengths and padding of batches, for computations in NumPy."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray

Ids: TypeAlias = NDArray[np.integer[Any]]  # of tokens, in any shape
Lengths: TypeAlias = NDArray[np.integer[Any]]  # (batch,), the number of steps of each sequence
Padding: TypeAlias = NDArray[np.bool_] | None  # (batch, steps); None if there is none


def lengths_of(lengths: Any, batch: int, steps: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Check lengths of sequences; return them as an int64 array (batch,).

    Parameters
    ----------
    lengths : integer array (batch,)
        Number of steps of each sequence, in [0, steps].
    batch : int
        Number of sequences.
    steps : int, or integer array (batch,)
        Maximum number of steps, of all sequences or of each.

    Raises
    ------
    TypeError, ValueError
        If `lengths` has the wrong type, shape or values.
    """
    try:
        array = np.asarray(lengths)
    except ValueError:  # lists of different lengths
        raise TypeError(
            f"lengths must be an array of integers, got {type(lengths).__name__}"
        ) from None
    checks.not_masked("lengths", lengths)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"lengths must be integers, got dtype {array.dtype}")
    if array.shape != (batch,):
        raise ValueError(f"lengths must have shape (batch,) = ({batch},), got {array.shape}")
    wrong = (array < 0) | (array > steps)
    if wrong.any():
        first = int(wrong.argmax())
        most = np.broadcast_to(steps, batch)[first]
        raise ValueError(f"lengths must lie in [0, steps] = [0, {most}], got {array[first]}")
    return array.astype(np.int64)


def steps_of(lengths: Any, batch: int, steps: int) -> NDArray[np.int64]:
    """Return the number of steps of each sequence: `lengths`, checked, or all steps if None."""
    return np.full(batch, steps) if lengths is None else lengths_of(lengths, batch, steps)


def padding_of(lengths: Any, batch: int, steps: int) -> Padding:
    """Return the mask (batch, steps) of the padding, or None if there is none.

    Parameters
    ----------
    lengths : integer array (batch,), or None
        Number of steps of each sequence, in [0, steps]; None for `steps` each.
    batch, steps : int
        Shape of the batch.

    Raises
    ------
    TypeError, ValueError
        If `lengths` has the wrong type, shape or values.
    """
    if lengths is None:
        return None
    padding = np.arange(steps) >= lengths_of(lengths, batch, steps)[:, np.newaxis]
    return padding if padding.any() else None


def without_padding(values: FloatArray, padding: Padding) -> FloatArray:
    """Return `values` (batch, steps, ..) with 0 in the padding; copied only if necessary."""
    if padding is None or not values[padding].any():
        return values
    values = values.copy()
    values[padding] = 0.0
    return values
