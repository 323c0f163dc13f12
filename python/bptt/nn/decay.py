"""Decay of the last observed values of features that may be missing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.memory import new_array
from bptt.losses import Loss
from bptt.nn.initializers import DECAY_RATE
from bptt.nn.module import Gradients, Layout, Module, Shapes, output_gradient


class InputDecay(Module):
    """Decay of last observations toward 0, with a trained rate of each feature.

    Of a feature with the last observed value x, the mask m (1 if observed at this step, else 0) and
    the time δ since the observation before, the next module reads m and

    x̂ = (m + (1 − m) γ) x, γ = exp(−max(0, w δ + b)), with w = ``rate`` and b = ``bias``:

    the input decay of GRU-D, for features with the mean 0. With `pass_times` it reads δ as well, by
    which the state of a `GRU` with ``decay_size=num_features`` decays: both together are GRU-D. Z.
    Che, S. Purushotham, K. Cho, D. Sontag and Y. Liu (2018), Recurrent neural networks for
    multivariate time series with missing values.

    Parameters
    ----------
    num_features : int
        I, the number of features that decay.
    num_others : int, default 0
        J, the number of further features, which pass through.
    pass_times : bool, default False
        Whether the times pass through as well, as the last features.
    dtype : float32 or float64, default float32
        Type of parameters, input and output.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Notes
    -----
    Parameters: ``rate`` (I,), initially 0.1, and ``bias`` (I,), initially 0.
    """

    num_features: int
    num_others: int
    pass_times: bool
    seed = None  # nothing is random

    def __init__(
        self,
        num_features: int,
        *,
        num_others: int = 0,
        pass_times: bool = False,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(
            {
                "num_features": checks.integer("num_features", num_features),
                "num_others": checks.integer("num_others", num_others, 0),
                "pass_times": checks.flag("pass_times", pass_times),
                "dtype": checks.dtype("dtype", dtype),
            }
        )

    @property
    def input_size(self) -> int:
        """3I + J, the size of the last axis of the input."""
        return 3 * self.num_features + self.num_others

    @property
    def output_size(self) -> int:
        """2I + J, or 3I + J with `pass_times`, the size of the last axis of the output."""
        return (2 + self.pass_times) * self.num_features + self.num_others

    def _shapes(self) -> Shapes:
        features = (("num_features", self.num_features),)
        return {"rate": features, "bias": features}

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        parameters["rate"][...] = DECAY_RATE

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return the decayed values, the masks, the further features and, if they pass, the times.

        Parameters
        ----------
        x : array (..., 3*num_features + num_others)
            Last values, masks, times since the observation before, and further features, as the
            encoder makes them with ``missing="decay"``; of the module's dtype.

        Returns
        -------
        array (..., output_size)

        Raises
        ------
        TypeError
            If `x` is not an array of the module's dtype.
        ValueError
            If its last axis has another length.
        """
        return self.forward(x).output

    def forward(self, x: FloatArray) -> InputDecayRun:
        """Return the same as calling the module, ready for `InputDecayRun.backward`.

        Parameters
        ----------
        x : array (..., 3*num_features + num_others)
            Last values, masks, times since the observation before, and further features. It is
            kept, not copied.

        Returns
        -------
        InputDecayRun

        Raises
        ------
        TypeError
            If `x` is not an array of the module's dtype.
        ValueError
            If its last axis has another length.
        """
        checks.array("x", x, self.dtype, layer=True)
        if x.shape[-1:] != (self.input_size,):
            rule = f"(..., 3*num_features + num_others) = (..., {self.input_size})"
            raise ValueError(f"x must have shape {rule}, got {x.shape}")
        return self._whole(self._decay, x)

    def _decay(self, x: FloatArray) -> InputDecayRun:
        count = self.num_features
        value, mask, time, others = np.split(x, [count, 2 * count, 3 * count], axis=-1)
        exponent = self["rate"] * time + self["bias"]
        gamma = np.exp(-np.maximum(exponent, 0.0))
        output = new_array((*x.shape[:-1], self.output_size), self.dtype)
        parts = [(mask + (1.0 - mask) * gamma) * value, mask, others]
        parts += [time] if self.pass_times else []
        np.concatenate(parts, axis=-1, out=output)
        falls = exponent > 0.0  # γ is 1 elsewhere, whatever the parameters
        return InputDecayRun(self._layout, x, self["rate"].copy(), gamma, falls, output)


class InputDecayRun:
    """Forward pass of an `InputDecay`, as `InputDecay.forward` returns it.

    Attributes
    ----------
    output : array (..., output_size)
        Decayed values, masks and further features, and with `pass_times` the times.
    """

    output: FloatArray

    def __init__(
        self,
        layout: Layout,
        x: FloatArray,
        rate: FloatArray,
        gamma: FloatArray,
        falls: NDArray[np.bool_],
        output: FloatArray,
    ) -> None:
        self.output = output
        self._layout = layout
        self._x = x
        self._rate = rate
        self._gamma = gamma
        self._falls = falls

    def backward(self, d_output: FloatArray | Loss, *, input: bool = True) -> Gradients:
        """Return the gradients of parameters and input.

        With d = dL/dx̂ and g = (1 − m) γ x d where w δ + b > 0, else 0: dL/dw = −Σ δ g and
        dL/db = −Σ g over all leading axes.

        Parameters
        ----------
        d_output : array (..., output_size), or Loss
            Gradient of the loss with respect to `output`.
        input : bool, default True
            Whether to compute the gradient of the input.

        Returns
        -------
        Gradients
            ``["rate"]``, ``["bias"]`` and, if requested, ``.input``, of the shape of x.

        Raises
        ------
        TypeError
            If `d_output` is not an array of the module's dtype.
        ValueError
            If its shape is not that of `output`.
        """
        input = checks.flag("input", input)
        d_output = checks.array("d_output", output_gradient(d_output), self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        count, gamma = len(self._rate), self._gamma
        value, mask, time, others = np.split(self._x, [count, 2 * count, 3 * count], axis=-1)
        ends = [count, 2 * count, 2 * count + others.shape[-1]]
        d, d_mask, d_others, d_time = np.split(d_output, ends, axis=-1)
        d_exponent = np.where(self._falls, (mask - 1.0) * gamma * value * d, 0.0)
        sums = [
            part.reshape(-1, count).sum(axis=0, dtype=np.float64)
            for part in (d_exponent * time, d_exponent)
        ]
        flat = np.concatenate(sums).astype(self._layout.dtype)
        if not input:
            return Gradients(self._layout, flat, None)
        d_value = (mask + (1.0 - mask) * gamma) * d
        d_mask = d_mask + (1.0 - gamma) * value * d
        d_rate = d_exponent * self._rate
        d_time = d_rate + d_time if d_time.shape[-1] else d_rate
        parts = [d_value, d_mask, d_time, d_others]
        return Gradients(self._layout, flat, np.concatenate(parts, axis=-1))
