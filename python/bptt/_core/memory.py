"""Memory of large arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bptt._core import loader
from bptt._core.checks import FloatArray


def new_array(shape: int | tuple[int, ...], dtype: np.dtype[np.floating[Any]]) -> FloatArray:
    """Return an uninitialized array of float32 or float64.

    Memory of large arrays is reused when they are freed: the system maps and clears new memory page
    by page, which can take longer than the work done in it.
    """
    size = shape if isinstance(shape, int) else math.prod(shape)
    return loader.kernels.new_array(size, dtype).reshape(shape)


def side_by_side(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return arrays that differ in the last axis alone as one, joined along it."""
    joined = new_array((*a.shape[:-1], a.shape[-1] + b.shape[-1]), a.dtype)
    return np.concatenate([a, b], axis=-1, out=joined)
