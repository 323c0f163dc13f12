"""Updates of one parameter array, and gradient clipping. Nothing is changed in place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .activations import Array


def sgd_step(
    p: Array,
    g: Array,
    v: Array,
    *,
    learning_rate: float = 0.01,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """Gradient descent: v ← momentum v + g, p ← p - learning_rate v.

    With Nesterov's momentum, p ← p - learning_rate (g + momentum v); with weight decay, g is
    g + weight_decay p throughout.
    """
    g = g + weight_decay * p
    v = momentum * v + g
    return p - learning_rate * (g + momentum * v if nesterov else v), v


def rmsprop_step(
    p: Array,
    g: Array,
    s: Array,
    v: Array,
    *,
    learning_rate: float = 0.01,
    decay: float = 0.99,
    epsilon: float = 1e-8,
    momentum: float = 0.0,
) -> tuple[Array, Array, Array]:
    """RMSProp (Tieleman & Hinton 2012): p ← p - learning_rate v with v ← momentum v + g / (√s + ε).

    s ← decay s + (1 - decay) g² is the running mean of the squared gradient.
    """
    s = decay * s + (1 - decay) * g * g
    v = momentum * v + g / (np.sqrt(s) + epsilon)
    return p - learning_rate * v, s, v


def adam_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int,
    *,
    learning_rate: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> tuple[Array, Array, Array]:
    """Adam (Kingma & Ba 2015, algorithm 1), step t = 1, 2, ...; m and v start as zeros."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), m, v


def adamw_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int,
    *,
    learning_rate: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[Array, Array, Array]:
    """AdamW (Loshchilov & Hutter 2019): p ← p - learning_rate weight_decay p, then Adam."""
    p = p - learning_rate * weight_decay * p
    options = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    return adam_step(p, g, m, v, t, **options)


def clip_by_value(gradients: Mapping[str, Array], limit: float) -> dict[str, Array]:
    """Every value into [-limit, limit]."""
    return {name: np.clip(g, -limit, limit) for name, g in gradients.items()}


def clip_by_global_norm(
    gradients: Mapping[str, Array], max_norm: float
) -> tuple[dict[str, Array], float]:
    """All gradients by one factor, so that their common norm is at most `max_norm`.

    Returns them with the norm before. A norm that is NaN or infinite changes nothing.
    """
    norm = float(np.sqrt(sum(float(np.sum(g * g, dtype=np.float64)) for g in gradients.values())))
    factor = max_norm / norm if max_norm < norm < np.inf else 1.0
    return {name: g * factor for name, g in gradients.items()}, norm
