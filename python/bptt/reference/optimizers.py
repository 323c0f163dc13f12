"""Optimizer steps for one parameter array, and gradient clipping; nothing changes in place."""

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
    """Stochastic gradient descent: v ← μ v + g; p ← p − η v.

    Nesterov momentum: p ← p − η (g + μ v). Weight decay λ adds λ p to g.

    Parameters
    ----------
    p : array
        Parameters.
    g : array
        Gradient of the loss.
    v : array
        Velocity, initially 0.
    learning_rate : float, default 0.01
        η.
    momentum : float, default 0
        μ.
    nesterov : bool, default False
        Whether to use Nesterov momentum.
    weight_decay : float, default 0
        λ.

    Returns
    -------
    p, v : arrays
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
    """RMSProp: s ← ρ s + (1−ρ) g²; v ← μ v + g / (√s + ε); p ← p − η v.

    T. Tieleman and G. Hinton (2012), Neural networks for machine learning, lecture 6.5.

    Parameters
    ----------
    p : array
        Parameters.
    g : array
        Gradient of the loss.
    s : array
        Running mean of the squared gradient, initially 0.
    v : array
        Velocity, initially 0.
    learning_rate : float, default 0.01
        η.
    decay : float, default 0.99
        ρ.
    epsilon : float, default 1e-8
        ε.
    momentum : float, default 0
        μ.

    Returns
    -------
    p, s, v : arrays
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
    """Adam: m ← β₁ m + (1−β₁) g; v ← β₂ v + (1−β₂) g²; p ← p − η m̂ / (√v̂ + ε).

    m̂ = m / (1−β₁ᵗ) and v̂ = v / (1−β₂ᵗ): D. Kingma and J. Ba (2015), Adam: a method for stochastic
    optimization, algorithm 1.

    Parameters
    ----------
    p : array
        Parameters.
    g : array
        Gradient of the loss.
    m : array
        Running mean of the gradient, initially 0.
    v : array
        Running mean of the squared gradient, initially 0.
    t : int
        Number of this step: 1, 2, …
    learning_rate : float, default 0.001
        η.
    beta1 : float, default 0.9
        β₁.
    beta2 : float, default 0.999
        β₂.
    epsilon : float, default 1e-8
        ε.

    Returns
    -------
    p, m, v : arrays
    """
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
    """AdamW: p ← p − η λ p, then a step of Adam.

    I. Loshchilov and F. Hutter (2019), Decoupled weight decay regularization, algorithm 2.

    Parameters
    ----------
    p : array
        Parameters.
    g : array
        Gradient of the loss.
    m : array
        Running mean of the gradient, initially 0.
    v : array
        Running mean of the squared gradient, initially 0.
    t : int
        Number of this step: 1, 2, …
    learning_rate : float, default 0.001
        η.
    beta1 : float, default 0.9
        β₁.
    beta2 : float, default 0.999
        β₂.
    epsilon : float, default 1e-8
        ε.
    weight_decay : float, default 0.01
        λ.

    Returns
    -------
    p, m, v : arrays
    """
    p = p - learning_rate * weight_decay * p
    options = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    return adam_step(p, g, m, v, t, **options)


def lazyadam_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int,
    *,
    rows: Array | None = None,
    learning_rate: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[Array, Array, Array]:
    """Lazy Adam: a step of AdamW for some rows, while p, m and v of the others stay.

    As LazyAdam of TensorFlow Addons and SparseAdam of PyTorch.

    Parameters
    ----------
    p : array
        Parameters.
    g : array
        Gradient of the loss.
    m : array
        Running mean of the gradient, initially 0.
    v : array
        Running mean of the squared gradient, initially 0.
    t : int
        Number of this step, of any rows: 1, 2, …
    rows : integer array, optional
        Indices of the rows that are updated. All by default.
    learning_rate : float, default 0.001
        η.
    beta1 : float, default 0.9
        β₁.
    beta2 : float, default 0.999
        β₂.
    epsilon : float, default 1e-8
        ε.
    weight_decay : float, default 0
        λ.

    Returns
    -------
    p, m, v : arrays
    """
    chosen = slice(None) if rows is None else rows
    options = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    new = adamw_step(
        p[chosen], g[chosen], m[chosen], v[chosen], t, **options, weight_decay=weight_decay
    )
    results = p.copy(), m.copy(), v.copy()
    for result, value in zip(results, new, strict=True):
        result[chosen] = value
    return results


def clip_by_value(gradients: Mapping[str, Array], limit: float) -> dict[str, Array]:
    """Clip every element of the gradients to [-limit, limit].

    Parameters
    ----------
    gradients : mapping of str to array
    limit : float
        Largest absolute value.

    Returns
    -------
    dict of str to array
    """
    return {name: np.clip(g, -limit, limit) for name, g in gradients.items()}


def clip_by_global_norm(
    gradients: Mapping[str, Array], max_norm: float
) -> tuple[dict[str, Array], float]:
    """Scale the gradients by one factor, so that their global norm is at most `max_norm`.

    Parameters
    ----------
    gradients : mapping of str to array
    max_norm : float
        Largest global norm √Σg².

    Returns
    -------
    gradients : dict of str to array
        Unchanged if their norm is NaN or infinite.
    norm : float
        Global norm before clipping.
    """
    norm = float(np.sqrt(sum(float(np.sum(g * g, dtype=np.float64)) for g in gradients.values())))
    factor = max_norm / norm if max_norm < norm < np.inf else 1.0
    return {name: g * factor for name, g in gradients.items()}, norm
