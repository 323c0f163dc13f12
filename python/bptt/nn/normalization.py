"""Layer normalization."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt.losses import Loss
from bptt.nn.module import Gradients, Layout, Module, Shapes, output_gradient


class LayerNorm(Module):
    """Layer normalization: y = w ⊙ (x − μ) / √(σ² + ε) + b, with w = ``weight`` and b = ``bias``.

    μ and σ² are mean and variance of the features of each step, so that steps and sequences do not
    influence each other: J. Ba, J. Kiros and G. Hinton (2016), Layer normalization.

    Parameters
    ----------
    num_features : int
        D, the size of the last axis.
    epsilon : float, default 1e-5
        ε, > 0.
    dtype : float32 or float64, default float32
        Type of parameters, input and output.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Notes
    -----
    Parameters: ``weight`` (D,), initially 1, and ``bias`` (D,), initially 0.
    """

    num_features: int
    epsilon: float
    seed = None  # nothing is random

    def __init__(
        self, num_features: int, *, epsilon: float = 1e-5, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(
            {
                "num_features": checks.integer("num_features", num_features),
                "epsilon": checks.positive("epsilon", epsilon),
                "dtype": checks.dtype("dtype", dtype),
            }
        )

    def _shapes(self) -> Shapes:
        features = (("num_features", self.num_features),)
        return {"weight": features, "bias": features}

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        parameters["weight"][...] = 1.0

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return the normalized, scaled and shifted features.

        Parameters
        ----------
        x : array (..., num_features)
            Any number of leading axes; of the layer's dtype.

        Returns
        -------
        array (..., num_features)

        Raises
        ------
        TypeError
            If `x` is not an array of the layer's dtype.
        ValueError
            If its last axis is not `num_features` long.
        """
        return self.forward(x).output

    def forward(self, x: FloatArray) -> LayerNormRun:
        """Return the same as calling the layer, ready for `LayerNormRun.backward`.

        Parameters
        ----------
        x : array (..., num_features)
            Any number of leading axes; of the layer's dtype.

        Returns
        -------
        LayerNormRun

        Raises
        ------
        TypeError
            If `x` is not an array of the layer's dtype.
        ValueError
            If its last axis is not `num_features` long.
        """
        checks.array("x", x, self.dtype, layer=True)
        if x.shape[-1:] != (self.num_features,):
            rule = f"(..., num_features) = (..., {self.num_features})"
            raise ValueError(f"x must have shape {rule}, got {x.shape}")
        return self._whole(self._normalize, x)

    def _normalize(self, x: FloatArray) -> LayerNormRun:
        weight = self["weight"].copy()
        rows = x.reshape(-1, self.num_features)
        output, normalized, scale = loader.kernels.normalize_forward(
            rows, weight, self["bias"], self.epsilon
        )
        return LayerNormRun(self._layout, normalized, scale, weight, output.reshape(x.shape))


class LayerNormRun:
    """Forward pass of a `LayerNorm`, as `LayerNorm.forward` returns it.

    Attributes
    ----------
    output : array (..., num_features)
        y.
    """

    output: FloatArray

    def __init__(
        self,
        layout: Layout,
        normalized: FloatArray,
        scale: FloatArray,
        weight: FloatArray,
        output: FloatArray,
    ) -> None:
        self.output = output
        self._layout = layout
        self._normalized = normalized
        self._scale = scale
        self._weight = weight

    def backward(self, d_output: FloatArray | Loss, *, input: bool = True) -> Gradients:
        """Return the gradients of parameters and input.

        With z = (x − μ) / √(σ² + ε) and d = w ⊙ dL/dy: dL/dw = Σ z ⊙ dL/dy and dL/db = Σ dL/dy over
        all leading axes, and dL/dx = (d − mean(d) − z mean(z ⊙ d)) / √(σ² + ε).

        Parameters
        ----------
        d_output : array (..., num_features), or Loss
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
        d_output = checks.array("d_output", output_gradient(d_output), self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        rows = d_output.reshape(self._normalized.shape)
        d_x, d_weight, d_bias = loader.kernels.normalize_backward(
            self._normalized, self._weight, self._scale, rows, input
        )
        flat = np.concatenate([d_weight, d_bias])
        return Gradients(self._layout, flat, None if d_x is None else d_x.reshape(d_output.shape))
