"""Layer normalization y = w ⊙ (x - μ) / √(σ² + ε) + b, over the features of each step."""

from __future__ import annotations

import math

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
    y: Array = w * normalize(x, epsilon)[0] + b
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
    z, deviation = normalize(x, epsilon)
    d_z = w * d_y
    # The Jacobian ∂z/∂x of a step is (1 - 1/D - z zᵀ/D) / deviation.
    D = x.shape[-1]
    jacobian = np.eye(D) - 1 / D - z[..., :, None] * z[..., None, :] / D
    d_x = np.einsum("...i,...ij->...j", d_z, jacobian / deviation[..., None])
    rows, z_rows = d_y.reshape(-1, D), z.reshape(-1, D)
    return d_x, (rows * z_rows).sum(axis=0), rows.sum(axis=0)


def normalize(x: Array, epsilon: float = 1e-5) -> tuple[Array, Array]:
    """Return z = (x - μ) / √(σ² + ε) (..., D) and √(σ² + ε) (..., 1)."""
    centered = x - x.mean(axis=-1, keepdims=True)
    largest = np.abs(centered).max(axis=-1, keepdims=True)
    largest = np.where(largest > 0, largest, 1)  # squares of huge elements would overflow
    sigma = largest * np.sqrt(np.mean((centered / largest) ** 2, axis=-1, keepdims=True))
    deviation = np.hypot(sigma, math.sqrt(epsilon))
    return centered / deviation, deviation


def normalize_backward(z: Array, deviation: Array, d_z: Array) -> Array:
    """Return ∂L/∂x of `normalize`, from its results and ∂L/∂z."""
    slope = (d_z * z).mean(axis=-1, keepdims=True)
    d_x: Array = (d_z - d_z.mean(axis=-1, keepdims=True) - z * slope) / deviation
    return d_x
