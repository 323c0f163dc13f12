"""Backpropagation through time as in a lecture: one sequence, step by step, not optimized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from grid import Array


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def zeros_like(p: Mapping[str, Array]) -> dict[str, Any]:
    return {name: np.zeros_like(value) for name, value in p.items()}


def rnn(p: Mapping[str, Array], x: Array) -> tuple[list[Array], ...]:
    U, W, b = p["weight_ih_l0"], p["weight_hh_l0"], p["bias_l0"]
    h, outputs = np.zeros(len(W), x.dtype), []
    for x_t in x:
        h = np.tanh(U @ x_t + W @ h + b)
        outputs.append(h)
    return (outputs,)


def rnn_backward(p: Mapping[str, Array], x: Array, saved: Any, G: Array) -> dict[str, Any]:
    U, W = p["weight_ih_l0"], p["weight_hh_l0"]
    (h,) = saved
    d = zeros_like(p)
    d["input"] = [np.empty(0)] * len(x)
    d_h = np.zeros(len(W), x.dtype)
    for t in reversed(range(len(x))):
        d_a = (G[t] + d_h) * (1 - h[t] ** 2)
        d["weight_ih_l0"] += np.outer(d_a, x[t])
        if t > 0:
            d["weight_hh_l0"] += np.outer(d_a, h[t - 1])
        d["bias_l0"] += d_a
        d["input"][t] = U.T @ d_a
        d_h = W.T @ d_a
    return d


def lstm(p: Mapping[str, Array], x: Array) -> tuple[list[Array], ...]:
    U, W, b = (np.split(p[name], 4) for name in ("weight_ih_l0", "weight_hh_l0", "bias_l0"))
    h = c = np.zeros(len(b[0]), x.dtype)
    outputs, cells, gates = [], [c], []
    for x_t in x:
        i = sigmoid(U[0] @ x_t + W[0] @ h + b[0])
        f = sigmoid(U[1] @ x_t + W[1] @ h + b[1])
        g = np.tanh(U[2] @ x_t + W[2] @ h + b[2])
        o = sigmoid(U[3] @ x_t + W[3] @ h + b[3])
        c = f * c + i * g
        h = o * np.tanh(c)
        outputs.append(h)
        cells.append(c)
        gates.append((i, f, g, o))
    return outputs, cells, gates


def lstm_backward(p: Mapping[str, Array], x: Array, saved: Any, G: Array) -> dict[str, Any]:
    U, W = (np.split(p[name], 4) for name in ("weight_ih_l0", "weight_hh_l0"))
    h, c, gates = saved
    d = zeros_like(p)
    d["input"] = [np.empty(0)] * len(x)
    d_U, d_W, d_b = (np.split(d[n], 4) for n in ("weight_ih_l0", "weight_hh_l0", "bias_l0"))
    d_h = d_c = np.zeros(len(d_b[0]), x.dtype)
    for t in reversed(range(len(x))):
        i, f, g, o = gates[t]
        tanh_c = np.tanh(c[t + 1])
        d_h = d_h + G[t]
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        d_gates = (
            d_c * g * i * (1 - i),
            d_c * c[t] * f * (1 - f),
            d_c * i * (1 - g**2),
            d_h * tanh_c * o * (1 - o),
        )
        for k, d_a in enumerate(d_gates):
            d_U[k] += np.outer(d_a, x[t])
            if t > 0:
                d_W[k] += np.outer(d_a, h[t - 1])
            d_b[k] += d_a
        d["input"][t] = sum(U[k].T @ d_a for k, d_a in enumerate(d_gates))
        d_h = sum(W[k].T @ d_a for k, d_a in enumerate(d_gates))
        d_c = d_c * f
    return d


CELLS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "rnn": (rnn, rnn_backward),
    "lstm": (lstm, lstm_backward),
}
