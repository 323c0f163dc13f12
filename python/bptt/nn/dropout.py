"""Dropout: random zeros in training, a regularizer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt.losses import Loss
from bptt.nn.module import Gradients, Layout, Module, Shapes, output_gradient


class Dropout(Module):
    """Inverted dropout, a module without parameters.

    `forward` zeroes each element with probability `rate` and scales the others by 1/(1 − rate);
    calling the module is the identity. N. Srivastava et al. (2014), Dropout: a simple way to
    prevent neural networks from overfitting.

    Parameters
    ----------
    rate : float
        Probability of zeroing an element, in [0, 1).
    dtype : float32 or float64, default float32
        Type of input and output.
    seed : int, optional
        Seed of the masks. Unpredictable by default.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """

    rate: float

    def __init__(
        self, rate: float, *, dtype: DTypeLike = np.float32, seed: int | None = None
    ) -> None:
        super().__init__(
            {
                "rate": checks.fraction("rate", rate),
                "dtype": checks.dtype("dtype", dtype),
                "seed": checks.seed("seed", seed),
            }
        )

    def _shapes(self) -> Shapes:
        return {}

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        pass

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return `x` unchanged: inference.

        Parameters
        ----------
        x : array of any shape
            Of the module's dtype.

        Returns
        -------
        array
            `x` itself.

        Raises
        ------
        TypeError
            If `x` is not an array of the module's dtype.
        """
        return checks.array("x", x, self.dtype, layer=True)

    def forward(self, x: FloatArray) -> DropoutRun:
        """Apply a new random mask, ready for `DropoutRun.backward`: training.

        Parameters
        ----------
        x : array of any shape
            Of the module's dtype.

        Returns
        -------
        DropoutRun

        Raises
        ------
        TypeError
            If `x` is not an array of the module's dtype.
        """
        checks.array("x", x, self.dtype, layer=True)
        key = int(self._random.integers(1 << 63)) if self.rate else 0
        return DropoutRun(self._layout, self.rate, key, x)


class DropoutRun:
    """Forward pass of a `Dropout`, as `Dropout.forward` returns it.

    Attributes
    ----------
    output : array of the shape of x
        Masked and scaled input; x itself if the rate is 0.
    """

    output: FloatArray

    def __init__(self, layout: Layout, rate: float, key: int, x: FloatArray) -> None:
        self._layout = layout
        self._rate = rate
        self._key = key  # of the counter-based generator: key and position decide an element
        self.output = self._drop(x)

    def backward(self, d_output: FloatArray | Loss) -> Gradients:
        """Return the gradient of the input: `d_output` with the mask of the forward pass.

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
        return Gradients(self._layout, flat, self._drop(d_output))

    def _drop(self, values: FloatArray) -> FloatArray:
        if not self._rate:
            return values
        dropped: FloatArray = loader.kernels.dropout(values, self._rate, self._key)
        return dropped
