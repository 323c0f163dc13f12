"""What losses return."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray


class Loss(NamedTuple):
    """Value and gradient of a loss.

    ``value, gradient = loss`` unpacks it, ``float(loss)`` and ``f"{loss:.3f}"`` are of its value,
    and ``run.backward(loss)`` takes it as it is.
    """

    value: float
    """Loss, accumulated in float64."""
    gradient: FloatArray
    """Gradient with respect to the first argument (logits, output), of its shape and dtype."""

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, specification: str) -> str:
        """Format the value: ``f"{loss:.3f}"``."""
        return format(self.value, specification)


class LinearLoss(NamedTuple):
    """Value, gradients and predictions of an output layer with its loss.

    ``float(loss)`` and ``f"{loss:.3f}"`` are of its value.
    """

    value: float
    """Loss, accumulated in float64."""
    gradient: FloatArray | None
    """Gradient with respect to `x`, of its shape and dtype; None if not requested."""
    weight_gradient: FloatArray | None
    """Gradient with respect to `weight`, (K, D); None if not requested."""
    bias_gradient: FloatArray | None
    """Gradient with respect to `bias`, (K,); None if not requested, or without a bias."""
    losses: NDArray[np.float64]
    """Loss of each step, times its weight, (B, T) or (B,); 0 for ignored steps."""
    predicted: NDArray[np.int32]
    """Class with the highest logit at each step, (B, T) or (B,); 0 for ignored steps."""

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, specification: str) -> str:
        """Format the value: ``f"{loss:.3f}"``."""
        return format(self.value, specification)
