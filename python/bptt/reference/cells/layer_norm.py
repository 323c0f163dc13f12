"""LSTM and GRU with layer normalization; the blocks of rows of the parameters are those without.

N(a) = (a - μ) / √(σ² + ε), with the mean and the variance of a over its elements: all gates of all
units, or all units of the cell state. Each product has its own gain γ:

LSTM: a     = γ_ih ⊙ N(U x_t) + γ_hh ⊙ N(W h_{t-1}) + b
      i, f, g, o, c_t as without
      h_t   = o ⊙ φ(γ_c ⊙ N(c_t) + β_c)
GRU:  the form with the reset gate after the product, of
      u     = γ_ih ⊙ N(U x_t) + b   and   w = γ_hh ⊙ N(W h_{t-1})

`ux` is γ_ih ⊙ N(U x_t) + b: it is computed beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..activations import Array
from ..normalization import normalize, normalize_backward
from . import gru
from .cell import Cell, Functions, State, Weights, split, sum_over_steps

Normalized = tuple[Array, Array]  # N(a) and √(σ² + ε)


def product_gradients(
    d_w: Array, h: Array, products: Sequence[Normalized], p: Weights
) -> dict[str, Array]:
    """Return ∂L/∂W and ∂L/∂γ_hh, from ∂L/∂(γ_hh ⊙ N(W h_{t-1})) of all steps (T, B, G*H)."""
    z = np.reshape([z for z, _ in products], d_w.shape)
    deviation = np.reshape([deviation for _, deviation in products], (*d_w.shape[:2], 1))
    d_product = normalize_backward(z, deviation, d_w * p.extra["gain_hh"])
    return {"weight_hh": sum_over_steps(d_product, h), "gain_hh": (d_w * z).sum(axis=(0, 1))}


# ---------------------------------------------------------------------------------------- LSTM


class SavedLSTM(NamedTuple):
    """Values of a step that backward needs; each (B, H)."""

    input: Array
    forget: Array
    cell: Array
    output: Array
    phi_c: Array  # of the normalized cell state
    product: Normalized  # (B, 4*H)
    c: Normalized


def lstm_step(ux: Array, state: State, p: Weights, functions: Functions) -> tuple[State, SavedLSTM]:
    """Return s_t, from `ux` (B, G*H) and s_{t-1}."""
    phi, sigma = functions.phi.function, functions.sigma.function
    h, c = state
    product = normalize(h @ p.W.T)
    a_i, a_f, a_g, a_o = split(ux + p.extra["gain_hh"] * product[0], 4)
    i, f, g, o = sigma(a_i), sigma(a_f), phi(a_g), sigma(a_o)
    c = f * c + i * g
    normalized = normalize(c)
    phi_c = phi(p.extra["gain_cell"] * normalized[0] + p.extra["bias_cell"])
    return (o * phi_c, c), SavedLSTM(i, f, g, o, phi_c, product, normalized)


def lstm_step_backward(
    d_state: State, previous: State, saved: SavedLSTM, p: Weights, functions: Functions
) -> tuple[Array, State, State]:
    """Return ∂L/∂a_t, ∂L/∂s_{t-1} and ∂L/∂s_t.

    The loss depends on c_t through c_{t+1} and through h_t, whose φ has the last pre-activation:
    ∂L/∂a_t (B, 5*H) ends with it.
    """
    d_phi, d_sigma = functions.phi.derivative, functions.sigma.derivative
    d_h, d_c = d_state
    _, c = previous
    i, f, g, o, phi_c, product, normalized = saved
    d_a_c = d_h * o * d_phi(phi_c)
    d_c = d_c + normalize_backward(*normalized, d_a_c * p.extra["gain_cell"])
    d_a_i = d_c * g * d_sigma(i)
    d_a_f = d_c * c * d_sigma(f)
    d_a_g = d_c * i * d_phi(g)
    d_a_o = d_h * phi_c * d_sigma(o)
    d_a = np.concatenate([d_a_i, d_a_f, d_a_g, d_a_o], axis=1)
    d_product = normalize_backward(*product, d_a * p.extra["gain_hh"])
    return np.concatenate([d_a, d_a_c], axis=1), (d_product @ p.W, d_c * f), (d_h, d_c)


def lstm_weight_gradients(
    d_a: Array, h: Array, saved: Sequence[SavedLSTM], p: Weights
) -> dict[str, Array]:
    """Return the gradients of all parameters but those of `ux`."""
    d_a, d_a_c = np.split(d_a, [len(p.b)], axis=2)
    c = np.reshape([s.c[0] for s in saved], h.shape)
    return {
        **product_gradients(d_a, h, [s.product for s in saved], p),
        "gain_cell": (d_a_c * c).sum(axis=(0, 1)),
        "bias_cell": d_a_c.sum(axis=(0, 1)),
    }


# ----------------------------------------------------------------------------------------- GRU


class SavedGRU(NamedTuple):
    """Values of a step that backward needs; each (B, H)."""

    reset: Array
    update: Array
    candidate: Array
    plain: gru.Saved  # of the equations without normalization
    product: Normalized  # (B, 3*H)


def gru_step(ux: Array, state: State, p: Weights, f: Functions) -> tuple[State, SavedGRU]:
    """Return s_t, from `ux` (B, G*H) and s_{t-1}."""
    (h,) = state
    product = normalize(h @ p.W.T)
    h_next, saved = gru.reset_after(ux, p.extra["gain_hh"] * product[0], h, p, f)
    return (h_next,), SavedGRU(*saved[:3], saved, product)


def gru_step_backward(
    d_state: State, previous: State, saved: SavedGRU, p: Weights, f: Functions
) -> tuple[Array, State, State]:
    """Return ∂L/∂a_t, ∂L/∂s_{t-1} and ∂L/∂s_t."""
    (d_h,), (h,) = d_state, previous
    d_a, d_w, d_direct = gru.reset_after_backward(d_h, h, saved.plain, f)
    d_product = normalize_backward(*saved.product, d_w * p.extra["gain_hh"])
    return d_a, (d_direct + d_product @ p.W,), d_state


def gru_weight_gradients(
    d_a: Array, h: Array, saved: Sequence[SavedGRU], p: Weights
) -> dict[str, Array]:
    """Return the gradients of all parameters but those of `ux`."""
    d_w, d_bias_hn = gru.reset_after_products(d_a, [s.reset for s in saved])
    return {**product_gradients(d_w, h, [s.product for s in saved], p), "bias_hn": d_bias_hn}


CELLS = {
    "lstm_layer_norm": Cell(
        4,
        SavedLSTM._fields[:4],
        2,
        lstm_step,
        lstm_step_backward,
        lstm_weight_gradients,
        pre_activations=5,
        gate_parameters=("gain_ih", "gain_hh"),
        extra_parameters=("gain_cell", "bias_cell"),
    ),
    "gru_layer_norm": Cell(
        3,
        SavedGRU._fields[:3],
        1,
        gru_step,
        gru_step_backward,
        gru_weight_gradients,
        gate_parameters=("gain_ih", "gain_hh"),
        extra_parameters=("bias_hn",),
    ),
}
