"""Merges: combinations of the two directions of a layer to one output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .activations import Array


class Merge(NamedTuple):
    """y = function(a, b) of the outputs a, forward, and b, reverse, and its backward pass.

    backward(∂L/∂y, a, b) -> ∂L/∂a, ∂L/∂b.
    """

    function: Callable[[Array, Array], Array]
    backward: Callable[[Array, Array, Array], Sequence[Array]]


MERGES = {
    "concat": Merge(
        lambda a, b: np.concatenate([a, b], axis=-1),
        lambda d, a, b: np.split(d, 2, axis=-1),
    ),
    "sum": Merge(lambda a, b: a + b, lambda d, a, b: (d, d)),
    "mean": Merge(lambda a, b: (a + b) / 2, lambda d, a, b: (d / 2, d / 2)),
    "mul": Merge(lambda a, b: a * b, lambda d, a, b: (d * b, d * a)),
}
