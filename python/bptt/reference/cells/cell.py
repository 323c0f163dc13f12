"""Interface of a cell: three functions.

With a_t the pre-activations of step t (the arguments of φ and σ):

=================  ===========================  ==============================================
step               U x_t + b and s_{t-1}        s_t, and the values that backward needs
step_backward      ∂L/∂s_t from later steps     ∂L/∂a_t, ∂L/∂s_{t-1}, and the total ∂L/∂s_t
weight_gradients   ∂L/∂a_t of all steps         ∂L/∂W, and those of the extra parameters
=================  ===========================  ==============================================

U x_t + b is computed beforehand, with one product for all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..activations import Activation, Array

State: TypeAlias = tuple[Array, ...]  # s = (h,), (h, c) or (h, c, n, m); (B, H), h (B, P) projected


class Weights(NamedTuple):
    """Parameters of one layer and direction."""

    U: Array
    W: Array  # of heads, their blocks alone
    b: Array
    extra: Mapping[str, Array]  # by name; each (G*H,) or (H,)
    projection: Array | None = None  # W_hr (P, H)


class Functions(NamedTuple):
    """Activation functions of a cell."""

    phi: Activation
    sigma: Activation


@dataclass(frozen=True)
class Cell:
    """A cell: its functions, and what the time loop needs to know of it."""

    gates: int  # G
    gate_names: tuple[str, ...]  # the saved values that are gates
    states: int  # 1: h; 2: h and c; 4: h, c, n and m
    step: Callable[..., tuple[State, Any]]
    step_backward: Callable[..., tuple[Array, State, State]]
    weight_gradients: Callable[..., dict[str, Array]]
    extra_parameters: tuple[str, ...] = ()  # further parameters (H,)
    gate_parameters: tuple[str, ...] = ()  # further parameters (G*H,), before them
    pre_activations: int | None = None  # elements of ∂L/∂a_t per unit, if more than G
    has_heads: bool = False  # whether W may consist of blocks on the diagonal


def split(a: Array, gates: int) -> Array:
    """View of (B, G*H) as (G, B, H)."""
    views: Array = a.reshape(len(a), gates, a.shape[1] // gates).swapaxes(0, 1)
    return views


def block_diagonal(W: Array, H: int) -> Array:
    """Return the matrix (G*H, H) of whose diagonal blocks `W` (G*H, H/heads) consists."""
    if W.shape[1] == H:
        return W
    full = np.zeros((len(W), H), W.dtype)
    blocks = _blocks(full, W.shape[1])
    blocks[...] = W.reshape(blocks.shape)
    return full


def diagonal_blocks(full: Array, size: int) -> Array:
    """Return the inverse of `block_diagonal`: (G*H, H) -> (G*H, `size`)."""
    return full if full.shape[1] == size else _blocks(full, size).reshape(len(full), size)


def _blocks(full: Array, size: int) -> Array:
    """View of the blocks on the diagonal of each gate's matrix, (G, heads, size, size)."""
    heads = full.shape[1] // size
    view: Array = np.einsum("gkikj->gkij", full.reshape(-1, heads, size, heads, size))
    return view


def sum_over_steps(d_a: Array, s: Array) -> Array:
    """Σ_t d_a_tᵀ s_t over steps and batch, in one product: (T, B, M), (T, B, N) -> (M, N)."""
    product: Array = d_a.reshape(-1, d_a.shape[-1]).T @ s.reshape(-1, s.shape[-1])
    return product
