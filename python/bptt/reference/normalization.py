"""Layer normalization y = w ⊙ (x - μ) / √(σ² + ε) + b, over the features of each step."""

from __future__ import annotations

import numpy as np

from .activations import Array


def layer_norm(x: Array, w: Array, b: Array, epsilon: float = 1e-5) -> Array:
    """Return the normalized, scaled and shifted features.

    Parameters
    ----------
    x : array (..., D)
    w : array (D,)
    b : array (D,)
    epsilon : float, default 1e-5
        ε.

    Returns
    -------
    array (..., D)
    """
    y: Array = w * _normalize(x, epsilon)[0] + b
    return y


def layer_norm_backward(
    x: Array, w: Array, d_y: Array, epsilon: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Return the gradients of `layer_norm`.

    Parameters
    ----------
    x : array (..., D)
    w : array (D,)
    d_y : array (..., D)
        ∂L/∂y.
    epsilon : float, default 1e-5
        ε.

    Returns
    -------
    d_x : array (..., D)
    d_w : array (D,)
    d_b : array (D,)
    """
    z, deviation = _normalize(x, epsilon)
    d_z = w * d_y
    # The Jacobian ∂z/∂x of a step is (1 - 1/D - z zᵀ/D) / deviation.
    D = x.shape[-1]
    jacobian = np.eye(D) - 1 / D - z[..., :, None] * z[..., None, :] / D
    d_x = np.einsum("...i,...ij->...j", d_z, jacobian / deviation[..., None])
    rows, z_rows = d_y.reshape(-1, D), z.reshape(-1, D)
    return d_x, (rows * z_rows).sum(axis=0), rows.sum(axis=0)


def _normalize(x: Array, epsilon: float) -> tuple[Array, Array]:
    """Return (x - μ) / √(σ² + ε) and √(σ² + ε)."""
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
    return (x - x.mean(axis=-1, keepdims=True)) / deviation, deviation
