"""The cells for `numpy_layers`, as fast as NumPy makes them: forward and backward through time.

z (T, B, G·H) is the projected input, W_T the transposed recurrent weights. Forward turns z into
the gates, in place; backward returns the gradient of z, and leaves what depends on the step before
to as few operations as there can be. Σ over steps is one product, after the loop.

σ(a) = tanh(a/2)/2 + 1/2: one tanh does for all gates of an LSTM's step, whose weights come halved.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grid import Array


class Saved(NamedTuple):
    """Values saved for the backward pass."""

    gates: Array  # (T, B, G·H)
    h: Array  # (T+1, B, H), from the initial state on
    c: Array | None = None  # the same, of the LSTM
    tanh_c: Array | None = None  # (T, B, H)
    n_h: Array | None = None  # (T, B, H), W_n h + b_hn of the GRU


def zeros(z: Array, W_T: Array) -> Array:
    """Return an array for the states (T+1, B, H), the first one 0."""
    states = np.empty((len(z) + 1, z.shape[1], len(W_T)), z.dtype)
    states[0] = 0
    return states


def rnn_forward(z: Array, W_T: Array) -> Saved:
    h = zeros(z, W_T)
    for t in range(len(z)):
        z[t] += h[t] @ W_T
        np.tanh(z[t], out=h[t + 1])
    return Saved(h[1:], h)


def rnn_backward(saved: Saved, W: Array, d_output: Array) -> tuple[Array, Array]:
    slope = 1 - saved.h[1:] ** 2
    dz = np.empty_like(slope)
    d_h = np.zeros_like(dz[0])
    for t in reversed(range(len(dz))):
        d_h += d_output[t]
        np.multiply(d_h, slope[t], out=dz[t])
        np.matmul(dz[t], W, out=d_h)
    return dz, dz


def lstm_factor(H: int, dtype: npt.DTypeLike) -> Array:
    """Return the factors of the rows of i, f, g and o: 1/2 for σ, 1 for tanh."""
    return np.repeat(np.array([0.5, 0.5, 1, 0.5], dtype), H)


def lstm_forward(z: Array, W_T: Array) -> Saved:
    H = len(W_T)
    factor = lstm_factor(H, z.dtype)
    shift = 1 - factor
    h, c = zeros(z, W_T), zeros(z, W_T)
    tanh_c = np.empty_like(h[1:])
    for t in range(len(z)):
        a = z[t]
        a += h[t] @ W_T
        np.tanh(a, out=a)
        a *= factor
        a += shift
        np.multiply(a[:, H : 2 * H], c[t], out=c[t + 1])
        c[t + 1] += a[:, :H] * a[:, 2 * H : 3 * H]
        np.tanh(c[t + 1], out=tanh_c[t])
        np.multiply(a[:, 3 * H :], tanh_c[t], out=h[t + 1])
    return Saved(z, h, c, tanh_c)


def lstm_backward(saved: Saved, W: Array, d_output: Array) -> tuple[Array, Array]:
    gates, tanh_c = saved.gates, saved.tanh_c
    assert saved.c is not None
    assert tanh_c is not None
    i, f, g, o = np.split(gates, 4, axis=2)
    dz = np.empty_like(gates)  # at first the factors of d_c, or of d_h for the last gate
    d_i, d_f, d_g, d_o = np.split(dz, 4, axis=2)
    d_i[...] = i * (1 - i) * g
    d_f[...] = f * (1 - f) * saved.c[:-1]
    d_g[...] = i * (1 - g * g)
    d_o[...] = o * (1 - o) * tanh_c
    slope = o * (1 - tanh_c**2)
    T, B, H = slope.shape
    by_gate = dz[:, :, : 3 * H].reshape(T, B, 3, H)
    d_h, d_c = np.zeros_like(slope[0]), np.zeros_like(slope[0])
    for t in reversed(range(T)):
        d_h += d_output[t]
        d_c += d_h * slope[t]
        a = by_gate[t] * d_c[:, None]
        dz[t, :, : 3 * H] = a.reshape(B, 3 * H)
        d_o[t] *= d_h
        d_c *= f[t]
        np.matmul(dz[t], W, out=d_h)
    return dz, dz


def gru_forward(z: Array, W_T: Array, b_hn: Array) -> Saved:
    H = len(W_T)
    h, n_h = zeros(z, W_T), np.empty((len(z), z.shape[1], H), z.dtype)
    half = z.dtype.type(0.5)
    for t in range(len(z)):
        a, u = z[t], h[t] @ W_T
        np.add(u[:, 2 * H :], b_hn, out=n_h[t])
        gates, n = a[:, : 2 * H], a[:, 2 * H :]
        gates += u[:, : 2 * H]
        gates *= half
        np.tanh(gates, out=gates)
        gates *= half
        gates += half
        n += gates[:, :H] * n_h[t]
        np.tanh(n, out=n)
        np.subtract(h[t], n, out=h[t + 1])
        h[t + 1] *= gates[:, H:]
        h[t + 1] += n
    return Saved(z, h, n_h=n_h)


def gru_backward(saved: Saved, W: Array, d_output: Array) -> tuple[Array, Array]:
    """Return the gradients of z and of W h + b_hn; the latter includes the reset gate for n."""
    gates, n_h = saved.gates, saved.n_h
    assert n_h is not None
    r, z, n = np.split(gates, 3, axis=2)
    # Factors of d_h: of n, of z, and of the reset gate by way of n.
    by_n = (1 - z) * (1 - n * n)
    by_reset = by_n * n_h * r * (1 - r)
    by_update = (saved.h[:-1] - n) * z * (1 - z)
    H = r.shape[2]
    dz, d_u = np.empty_like(gates), np.empty_like(gates)
    d_u[:, :, :H], d_u[:, :, H : 2 * H], d_u[:, :, 2 * H :] = by_reset, by_update, by_n * r
    T, B, _ = d_u.shape
    by_gate = d_u.reshape(T, B, 3, H)
    d_h = np.zeros_like(r[0])
    totals = np.empty_like(r)
    for t in reversed(range(T)):
        d_h += d_output[t]
        totals[t] = d_h
        by_gate[t] *= d_h[:, None]
        d_h = d_h * z[t] + d_u[t] @ W
    dz[:, :, : 2 * H] = d_u[:, :, : 2 * H]
    np.multiply(by_n, totals, out=dz[:, :, 2 * H :])
    return dz, d_u
