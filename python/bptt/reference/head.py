"""Output layer y_t = V h_t + c and loss -Σ_t log softmax(y_t)[target_t]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .activations import Array
from .arguments import check_lengths, require


def one_hot(ids: Array, size: int, dtype: npt.DTypeLike = np.float64) -> Array:
    """Return one-hot vectors.

    Parameters
    ----------
    ids : integer array (...)
        Ids in [0, size).
    size : int
        Number of ids.
    dtype : dtype, default float64
        Type of the vectors.

    Returns
    -------
    array (..., size)

    Raises
    ------
    TypeError
        If the ids are not integers.
    ValueError
        If an id is out of its range.
    """
    rule = "ids must be integers"
    require(np.issubdtype(ids.dtype, np.integer), rule, ids.dtype, TypeError)
    outside = ids[(ids < 0) | (ids >= size)]
    require(outside.size == 0, f"ids must be in [0, size) = [0, {size})", outside[:1])
    vectors = np.zeros((*ids.shape, size), dtype)
    np.put_along_axis(vectors, ids[..., None], 1, axis=-1)
    return vectors


def linear(x: Array, V: Array, c: Array | None = None) -> Array:
    """Return V x + c.

    Parameters
    ----------
    x : array (..., D)
    V : array (K, D)
    c : array (K,), optional

    Returns
    -------
    array (..., K)
    """
    y: Array = x @ V.T
    return y if c is None else y + c


def linear_backward(x: Array, V: Array, d_y: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of `linear`.

    Parameters
    ----------
    x : array (..., D)
    V : array (K, D)
    d_y : array (..., K)
        ∂L/∂y.

    Returns
    -------
    d_x : array (..., D)
    d_V : array (K, D)
    d_c : array (K,)
    """
    rows = d_y.reshape(-1, d_y.shape[-1])
    return d_y @ V, rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(axis=0)


def softmax_cross_entropy(
    logits: Array, targets: Array, lengths: Array | None = None
) -> tuple[float, Array]:
    """L = -Σ_t log softmax(y_t)[target_t], and ∂L/∂y_t = softmax(y_t) - onehot(target_t).

    Parameters
    ----------
    logits : array (B, T, K), or (B, K) without `lengths`
        y.
    targets : integer array (B, T), or (B,)
        Classes in [0, K).
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. Padding is ignored. T by default.

    Returns
    -------
    value : float
        L, summed in float64.
    d_logits : array of the shape and dtype of the logits
        ∂L/∂y; 0 in the padding.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape is wrong, or a target or length is out of its range.
    """
    K = logits.shape[-1]
    rule = f"targets must have shape {logits.shape[:-1]}"
    require(targets.shape == logits.shape[:-1], rule, targets.shape)
    if lengths is not None:
        lengths = check_lengths(lengths, *targets.shape)
        counted = np.arange(targets.shape[1]) < lengths[:, None]
        logits = np.where(counted[..., None], logits, 0)
        targets = np.where(counted, targets, 0)
    else:
        counted = np.ones(targets.shape, bool)
    target = one_hot(targets, K, logits.dtype)
    # Subtracting the maximum of each row changes nothing, and exp cannot overflow.
    y = logits - logits.max(axis=-1, keepdims=True)
    total = np.exp(y).sum(axis=-1, keepdims=True)
    log_p = np.take_along_axis(y - np.log(total), targets[..., None], axis=-1)[..., 0]
    d_logits = np.where(counted[..., None], np.exp(y) / total - target, 0)
    return -float(log_p.sum(where=counted, dtype=np.float64)), d_logits
