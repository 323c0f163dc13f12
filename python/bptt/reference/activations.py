"""Activation functions φ and σ, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


class Activation(NamedTuple):
    """Activation function y = function(x) and its derivative."""

    function: Callable[[Array], Array]
    """x -> y."""
    derivative: Callable[[Array], Array]
    """y -> dy/dx: a function of y, which the forward pass saves."""


def sigmoid(x: Array) -> Array:
    """Return σ(x) = 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2; the second form cannot overflow.

    Parameters
    ----------
    x : array

    Returns
    -------
    array
    """
    y: Array = 0.5 * np.tanh(0.5 * x) + 0.5
    return y


def hard_sigmoid(slope: float) -> Activation:
    """Y = clip(slope x + 1/2, 0, 1); the derivative is 0 where y is clipped."""
    return Activation(
        lambda x: np.clip(slope * x + 0.5, 0, 1),
        lambda y: slope * ((y > 0) & (y < 1)).astype(y.dtype),
    )


ACTIVATIONS = {
    "tanh": Activation(np.tanh, lambda y: 1 - y * y),
    "sigmoid": Activation(sigmoid, lambda y: y * (1 - y)),
    "relu": Activation(lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(y.dtype)),
    "identity": Activation(lambda x: x, np.ones_like),
}
GATE_ACTIVATIONS = {
    "sigmoid": ACTIVATIONS["sigmoid"],
    "hard_sigmoid": hard_sigmoid(1 / 6),  # PyTorch, Keras 3
    "hard_sigmoid_keras2": hard_sigmoid(1 / 5),  # Keras before 3, ONNX
}
