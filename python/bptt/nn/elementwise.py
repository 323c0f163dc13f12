"""Activation functions as modules: ReLU, Tanh, Sigmoid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.losses import Loss, sigmoid
from bptt.nn.module import Gradients, Layout, Module, Shapes, output_gradient


class Elementwise(Module):
    """Base class of the activation functions: y = φ(x), element by element, without parameters.

    Parameters
    ----------
    dtype : float32 or float64, default float32
        Type of input and output.

    Raises
    ------
    TypeError
        If `dtype` is another type.
    """

    seed = None  # nothing is random

    def __init__(self, *, dtype: DTypeLike = np.float32) -> None:
        super().__init__({"dtype": checks.dtype("dtype", dtype)})

    def _shapes(self) -> Shapes:
        return {}

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        pass

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return φ(x).

        Parameters
        ----------
        x : array of any shape
            Of the module's dtype.

        Returns
        -------
        array of the shape of x

        Raises
        ------
        TypeError
            If `x` is not an array of the module's dtype.
        """
        return self._function(checks.array("x", x, self.dtype, layer=True))

    def forward(self, x: FloatArray) -> ElementwiseRun:
        """Return φ(x), ready for `ElementwiseRun.backward`.

        Parameters
        ----------
        x : array of any shape
            Of the module's dtype.

        Returns
        -------
        ElementwiseRun

        Raises
        ------
        TypeError
            If `x` is not an array of the module's dtype.
        """
        return ElementwiseRun(self, self(x))

    @staticmethod
    def _function(x: FloatArray) -> FloatArray:
        """Return y = φ(x)."""
        raise NotImplementedError

    @staticmethod
    def _backward(y: FloatArray, d_y: FloatArray) -> FloatArray:
        """Return φ′(x) d_y, of the output y."""
        raise NotImplementedError


class ReLU(Elementwise):
    """Rectifier: y = max(x, 0). Its derivative at 0 is 0.

    Parameters
    ----------
    dtype : float32 or float64, default float32
        Type of input and output.

    Raises
    ------
    TypeError
        If `dtype` is another type.
    """

    @staticmethod
    def _function(x: FloatArray) -> FloatArray:
        y: FloatArray = np.maximum(x, x.dtype.type(0))
        return y

    @staticmethod
    def _backward(y: FloatArray, d_y: FloatArray) -> FloatArray:
        return np.where(y > 0, d_y, d_y.dtype.type(0))


class Tanh(Elementwise):
    """Hyperbolic tangent: y = tanh(x), with dy/dx = 1 − y².

    Parameters
    ----------
    dtype : float32 or float64, default float32
        Type of input and output.

    Raises
    ------
    TypeError
        If `dtype` is another type.
    """

    @staticmethod
    def _function(x: FloatArray) -> FloatArray:
        y: FloatArray = np.tanh(x)
        return y

    @staticmethod
    def _backward(y: FloatArray, d_y: FloatArray) -> FloatArray:
        # With the dtype: NumPy 1.x would make float64 of a scalar.
        d_x: FloatArray = d_y * np.subtract(1, y * y, dtype=y.dtype)
        return d_x


class Sigmoid(Elementwise):
    """Logistic function: y = 1 / (1 + exp(−x)), with dy/dx = y (1 − y).

    For the last layer of a network use logits and `binary_cross_entropy` instead, which is exact
    for logits of any size.

    Parameters
    ----------
    dtype : float32 or float64, default float32
        Type of input and output.

    Raises
    ------
    TypeError
        If `dtype` is another type.
    """

    @staticmethod
    def _function(x: FloatArray) -> FloatArray:
        return sigmoid(x)

    @staticmethod
    def _backward(y: FloatArray, d_y: FloatArray) -> FloatArray:
        d_x: FloatArray = d_y * y * np.subtract(1, y, dtype=y.dtype)
        return d_x


class ElementwiseRun:
    """Forward pass of an activation function, as its `forward` returns it.

    Attributes
    ----------
    output : array of the shape of x
        y, which must not change before `backward`.
    """

    output: FloatArray

    def __init__(self, module: Elementwise, output: FloatArray) -> None:
        self.output = output
        self._layout: Layout = module._layout
        self._backward = module._backward

    def backward(self, d_output: FloatArray | Loss) -> Gradients:
        """Return the gradient of the input: dL/dx = φ′(x) dL/dy.

        Parameters
        ----------
        d_output : array of the shape of `output`, or Loss
            Gradient of the loss with respect to `output`.

        Returns
        -------
        Gradients
            ``.input``; there are no parameters.

        Raises
        ------
        TypeError
            If `d_output` is not an array of the module's dtype.
        ValueError
            If its shape is not that of `output`.
        """
        d_output = checks.array("d_output", output_gradient(d_output), self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        flat = np.empty(0, self._layout.dtype)
        return Gradients(self._layout, flat, self._backward(self.output, d_output))
