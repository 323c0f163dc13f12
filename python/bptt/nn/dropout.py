"""Dropout: in training, some elements are 0, so that no unit can rely on a single other one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt.nn.module import Gradients, Layout, Module, Shapes


class Dropout(Module):
    """Inverted dropout, a module without parameters.

    `forward` sets each element to 0 with probability `rate` and scales the others by 1/(1-rate);
    calling the module changes nothing. N. Srivastava et al. (2014), Dropout: a simple way to
    prevent neural networks from overfitting.

    Parameters
    ----------
    rate : float
        In [0, 1).
    dtype : float32 or float64
        Of input and output.
    seed : int, optional
        Seed of what is dropped. Different ones every time by default.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
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
        """Return `x` itself: nothing is dropped at inference.

        Parameters
        ----------
        x : array, of any shape and of the module's dtype

        Raises
        ------
        TypeError
            If `x` is something else.
        """
        return checks.array("x", x, self.dtype)

    def forward(self, x: FloatArray) -> DropoutRun:
        """Drop elements of `x`, others at every call, and return a `DropoutRun`.

        Arguments and errors are those of calling the module.
        """
        checks.array("x", x, self.dtype)
        key = int(self._random.integers(1 << 63)) if self.rate else 0
        return DropoutRun(self._layout, self.rate, key, x)


class DropoutRun:
    """A forward pass of a `Dropout`, ready to go backward.

    Attributes
    ----------
    output : array, of the shape of x; x itself if the rate is 0
    """

    output: FloatArray

    def __init__(self, layout: Layout, rate: float, key: int, x: FloatArray) -> None:
        self._layout = layout
        self._rate = rate
        self._key = key  # with the position, it decides what is dropped
        self.output = self._drop(x)

    def backward(self, d_output: FloatArray) -> Gradients:
        """Return the gradient, from the gradient of the output: what was dropped has none.

        Parameters
        ----------
        d_output : array, of the shape and dtype of `output`

        Returns
        -------
        Gradients
            Of no parameters; ``.input`` has the shape of x.

        Raises
        ------
        TypeError
            If `d_output` is not an array of the module's dtype.
        ValueError
            If its shape is not that of `output`.
        """
        checks.array("d_output", d_output, self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        flat = np.empty(0, self._layout.dtype)
        return Gradients(self._layout, flat, self._drop(d_output))

    def _drop(self, values: FloatArray) -> FloatArray:
        if not self._rate:
            return values
        dropped: FloatArray = loader.kernels.dropout(values, self._rate, self._key)
        return dropped
