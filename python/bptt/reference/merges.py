"""How the two directions of a layer become one output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .activations import Array


class Merge(NamedTuple):
    """y = function(there, back), and backward(∂L/∂y, there, back) -> ∂L/∂there, ∂L/∂back."""

    function: Callable[[Array, Array], Array]
    backward: Callable[[Array, Array, Array], Sequence[Array]]


MERGES = {
    "concat": Merge(
        lambda there, back: np.concatenate([there, back], axis=-1),
        lambda d, there, back: np.split(d, 2, axis=-1),
    ),
    "sum": Merge(lambda there, back: there + back, lambda d, there, back: (d, d)),
    "mean": Merge(lambda there, back: (there + back) / 2, lambda d, there, back: (d / 2, d / 2)),
    "mul": Merge(lambda there, back: there * back, lambda d, there, back: (d * back, d * there)),
}
