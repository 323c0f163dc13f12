"""Linear layer: y = V x + c, the same at every step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt.losses import Loss
from bptt.nn import initializers
from bptt.nn.module import Gradients, Layout, Module, Shapes, output_gradient


class Linear(Module):
    """Affine layer: y = V x + c, with V = ``weight`` and c = ``bias``.

    Parameters
    ----------
    in_features : int
        D, the size of the last axis of the input.
    out_features : int
        K, the size of the last axis of the output.
    bias : bool, default True
        Whether there is a c.
    dtype : float32 or float64, default float32
        Type of parameters, input and output.
    seed : int, optional
        Seed of the initial weight. Unpredictable by default.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Notes
    -----
    Parameters: ``weight`` (K, D), initially Glorot uniform, and ``bias`` (K,), initially 0.
    """

    in_features: int
    out_features: int
    bias: bool

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            {
                "in_features": checks.integer("in_features", in_features),
                "out_features": checks.integer("out_features", out_features),
                "bias": checks.flag("bias", bias),
                "dtype": checks.dtype("dtype", dtype),
                "seed": checks.seed("seed", seed),
            }
        )

    def _shapes(self) -> Shapes:
        rows = ("out_features", self.out_features)
        weight = {"weight": (rows, ("in_features", self.in_features))}
        return {**weight, "bias": (rows,)} if self.bias else weight

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        parameters["weight"][...] = initializers.glorot_uniform(
            self._random, 1, self.out_features, self.in_features
        )

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return y = V x + c.

        Parameters
        ----------
        x : array (..., in_features)
            Any number of leading axes; of the layer's dtype.

        Returns
        -------
        array (..., out_features)

        Raises
        ------
        TypeError
            If `x` is not an array of the layer's dtype.
        ValueError
            If its last axis is not `in_features` long.
        """
        checks.array("x", x, self.dtype, layer=True)
        if x.shape[-1:] != (self.in_features,):
            rule = f"(..., in_features) = (..., {self.in_features})"
            raise ValueError(f"x must have shape {rule}, got {x.shape}")
        rows = x.reshape(-1, self.in_features)
        bias = self["bias"] if self.bias else None
        y: FloatArray = loader.kernels.linear_forward(rows, self["weight"], bias)
        return y.reshape(*x.shape[:-1], self.out_features)

    def forward(self, x: FloatArray) -> LinearRun:
        """Return y = V x + c, ready for `LinearRun.backward`.

        Parameters
        ----------
        x : array (..., in_features)
            Any number of leading axes; of the layer's dtype. It is kept, not copied.

        Returns
        -------
        LinearRun

        Raises
        ------
        TypeError
            If `x` is not an array of the layer's dtype.
        ValueError
            If its last axis is not `in_features` long.
        """
        return LinearRun(self._layout, x, self["weight"].copy(), self(x))


class LinearRun:
    """Forward pass of a `Linear`, as `Linear.forward` returns it.

    It holds a copy of the weight, and the input itself, which must not change before `backward`.

    Attributes
    ----------
    output : array (..., out_features)
        y.
    """

    output: FloatArray

    def __init__(
        self, layout: Layout, x: FloatArray, weight: FloatArray, output: FloatArray
    ) -> None:
        self.output = output
        self._layout = layout
        self._x = x
        self._weight = weight

    def backward(self, d_output: FloatArray | Loss, *, input: bool = True) -> Gradients:
        """Return the gradients of parameters and input.

        dL/dV = Σ dL/dy ⊗ x and dL/dc = Σ dL/dy over all leading axes; dL/dx = Vᵀ dL/dy.

        Parameters
        ----------
        d_output : array (..., out_features), or Loss
            dL/dy.
        input : bool, default True
            Whether to compute the gradient of the input.

        Returns
        -------
        Gradients
            ``["weight"]``, ``["bias"]`` and, if requested, ``.input``, of the shape of x.

        Raises
        ------
        TypeError
            If `d_output` is not an array of the layer's dtype.
        ValueError
            If its shape is not that of `output`.
        """
        input = checks.flag("input", input)
        features, columns = self._weight.shape
        d_output = checks.array("d_output", output_gradient(d_output), self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        flat = np.empty(self._layout.size, self._layout.dtype)
        d = self._layout.views(flat)
        d_x: FloatArray | None = loader.kernels.linear_backward(
            self._x.reshape(-1, columns),
            self._weight,
            d_output.reshape(-1, features),
            d["weight"],
            d.get("bias"),
            input,
        )
        return Gradients(self._layout, flat, None if d_x is None else d_x.reshape(self._x.shape))
