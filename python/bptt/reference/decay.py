"""Decay of last observations and of the hidden state by the time since then, of GRU-D.

x̂ = (m + (1 - m) γ) x with γ = exp(-max(0, w δ + b)), and γ ⊙ h with γ = exp(-max(0, V δ + b)).
"""

from __future__ import annotations

import numpy as np

from .activations import Array


def input_decay(x: Array, w: Array, b: Array) -> Array:
    """Return decayed values, masks and further features, step by step.

    Parameters
    ----------
    x : array (B, T, 3I + J)
        Last observed values, masks, times since the observation before, and J further features.
    w, b : array (I,)
        Rate and bias of every feature.

    Returns
    -------
    array (B, T, 2I + J)
    """
    B, T, _ = x.shape
    y = np.empty((B, T, x.shape[2] - len(w)), x.dtype)
    y[..., 2 * len(w) :] = x[..., 3 * len(w) :]
    for i, (rate, bias) in enumerate(zip(w, b, strict=True)):
        value, mask, time = (x[..., i + k * len(w)] for k in range(3))
        gamma = np.exp(-np.maximum(0, rate * time + bias))
        y[..., i] = mask * value + (1 - mask) * gamma * value
        y[..., len(w) + i] = mask
    return y


def input_decay_backward(x: Array, w: Array, b: Array, d_y: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of `input_decay`.

    Parameters
    ----------
    x : array (B, T, 3I + J)
    w, b : array (I,)
    d_y : array (B, T, 2I + J)
        ∂L/∂y.

    Returns
    -------
    d_x : array (B, T, 3I + J)
    d_w, d_b : array (I,)
    """
    d_x, d_w, d_b = np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    n = len(w)
    d_x[..., 3 * n :] = d_y[..., 2 * n :]
    for i in range(n):
        value, mask, time = (x[..., i + k * n] for k in range(3))
        gamma = np.exp(-np.maximum(0, w[i] * time + b[i]))
        d = d_y[..., i]
        d_gamma = (1 - mask) * value * d
        d_sum = np.where(w[i] * time + b[i] > 0, -gamma * d_gamma, 0)
        d_w[i], d_b[i] = (d_sum * time).sum(), d_sum.sum()
        d_x[..., i] = (mask + (1 - mask) * gamma) * d
        d_x[..., n + i] = d_y[..., n + i] + (1 - gamma) * value * d
        d_x[..., 2 * n + i] = d_sum * w[i]
    return d_x, d_w, d_b


def hidden_decay(times: Array, V: Array, b: Array) -> Array:
    """Return the factors of h_{t-1}, γ_t = exp(-max(0, V δ_t + b)).

    Parameters
    ----------
    times : array (T, B, D)
        δ_t.
    V : array (H, D)
    b : array (H,)

    Returns
    -------
    array (T, B, H)
    """
    gamma: Array = np.exp(-np.maximum(0, times @ V.T + b))
    return gamma


def hidden_decay_backward(
    times: Array, V: Array, b: Array, d_gamma: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of `hidden_decay`.

    Parameters
    ----------
    times : array (T, B, D)
    V : array (H, D)
    b : array (H,)
    d_gamma : array (T, B, H)
        ∂L/∂γ.

    Returns
    -------
    d_times : array (T, B, D)
    d_V : array (H, D)
    d_b : array (H,)
    """
    exponent = times @ V.T + b
    d_exponent = np.where(exponent > 0, -np.exp(-np.maximum(0, exponent)) * d_gamma, 0)
    return d_exponent @ V, np.einsum("tbh,tbd->hd", d_exponent, times), d_exponent.sum(axis=(0, 1))
