"""Decay of the hidden state by the times since the last observations: the factors of every step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bptt._core import loader
from bptt._core.checks import FloatArray
from bptt._core.lengths import Lengths, padding_of


class HiddenDecay(NamedTuple):
    """Parameters of γ_t = exp(min(0, −V δ_t − b)), those of the directions one below the other."""

    weight: FloatArray
    """−V, (directions*H, D)."""
    bias: FloatArray
    """−b, (directions*H,)."""

    def at(self, x: FloatArray) -> Decayed:
        """Return the factors (..., directions*H) for x (..., I), whose last D features are δ_t.

        The bits of a row do not depend on the others: steps have those of whole sequences.
        """
        rows, size = self.weight.shape
        times = np.array(x[..., x.shape[-1] - size :], order="C").reshape(-1, size)
        factors: FloatArray = loader.kernels.linear_rows(times, self.weight, self.bias)
        np.minimum(factors, 0.0, out=factors)
        np.exp(factors, out=factors)
        return Decayed(self, times, factors.reshape(*x.shape[:-1], rows))


class Decayed(NamedTuple):
    """Factors of a forward pass, and what their gradients need."""

    parameters: HiddenDecay
    times: FloatArray
    """δ, (B·T, D)."""
    factors: FloatArray
    """γ, (B, T, directions*H)."""

    def state(self, h: Any) -> Any:
        """Return h (num_layers, B, H) with that of layer 0 decayed, in a new array.

        What the kernels refuse is returned as it is.
        """
        if not isinstance(h, np.ndarray) or h.dtype != self.factors.dtype:
            return h
        if h.shape[1:] != self.factors.shape or not len(h):
            return h
        decayed = h.copy()
        decayed[0] *= self.factors
        return decayed

    def clear(self, lengths: Lengths, *, time_major: bool) -> None:
        """Write values that have no effect on gradients to the padding."""
        batch, steps = self.factors.shape[:2][:: -1 if time_major else 1]
        padding = padding_of(lengths, batch, steps)
        if padding is None:
            return
        padding = padding.T if time_major else padding
        self.times[padding.ravel()] = 0.0
        self.factors[padding] = 1.0

    def backward(self, d_factors: FloatArray, d_x: FloatArray | None) -> FloatArray:
        """Return the gradients of V and b, flat, from those of the factors, which are overwritten.

        Those of the times become the last D features of `d_x` (B, T, I), if it is given.
        """
        weight, bias = self.parameters
        factors = self.factors
        d_factors *= factors  # the gradient of -(V δ + b)
        np.copyto(d_factors, 0.0, where=factors >= 1.0)  # V δ + b <= 0: γ is 1, whatever they are
        flat = np.empty(weight.size + bias.size, weight.dtype)
        d_weight, d_bias = flat[: weight.size].reshape(weight.shape), flat[weight.size :]
        d: Any = loader.kernels.linear_backward(
            self.times, weight, d_factors.reshape(-1, len(bias)), d_weight, d_bias, d_x is not None
        )
        np.negative(flat, out=flat)
        if d_x is not None:
            d_times = d_x[..., d_x.shape[-1] - weight.shape[1] :]
            d_times[...] = d.reshape(d_times.shape)
        return flat
