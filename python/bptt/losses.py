"""Losses: what training makes small."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt import checks
from bptt._loader import kernels
from bptt.checks import FloatArray


class Loss(NamedTuple):
    """A loss and its gradient."""

    value: float
    """The loss, accumulated in float64."""
    d_logits: FloatArray
    """Its gradient with respect to the logits, of their shape and dtype."""


def softmax_cross_entropy(
    logits: FloatArray,
    targets: NDArray[np.integer[Any]],
    *,
    lengths: NDArray[np.integer[Any]] | None = None,
    time_major: bool = False,
    reduction: str = "sum",
) -> Loss:
    """Return the cross-entropy of softmax(logits), summed over batch and time, and its gradient.

    L = −Σ_t log y_tc with y_t = softmax(logits_t) and c the target of step t, and
    dL/dlogits_t = y_t − onehot(c). Softmax and logarithm are one function here, which is exact
    where the two after each other would overflow or lose all digits.

    Parameters
    ----------
    logits : array (B, T, K), or (B, K), float32 or float64
        Scores of the K classes, at every step or once a sequence.
    targets : integer array (B, T), or (B,)
        The right class of each, in [0, K).
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. Steps beyond it count 0, get gradient 0, and
        their targets are not read. Only with (B, T, K).
    time_major : bool
        Whether logits are (T, B, K) and targets (T, B).
    reduction : "sum" or "mean"
        "mean" divides value and gradient by the number of targets that count; if there are none,
        both are 0.

    Returns
    -------
    Loss
        The named tuple ``(value, d_logits)``.

    Raises
    ------
    TypeError
        If an argument is not an array of a right dtype.
    ValueError
        If a shape does not fit, or a target, a length or `reduction` is out of its range.
    """
    checks.one_of("sum", "mean")("reduction", reduction)
    swapped = checks.flag("time_major", time_major)
    for name, array in (("logits", logits), ("targets", targets)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}")
    if logits.ndim not in (2, 3):
        rule = "(batch, steps, classes) or (batch, classes)"
        raise ValueError(f"logits must have shape {rule}, got {logits.shape}")
    once = logits.ndim == 2
    if once and (lengths is not None or swapped):
        what = "lengths" if lengths is not None else "time_major"
        raise ValueError(
            f"{what} needs logits of shape (batch, steps, classes), got {logits.shape}"
        )
    if targets.shape != logits.shape[:-1]:
        rule = "(batch,)" if once else "(steps, batch)" if swapped else "(batch, steps)"
        expected = f"{rule} = {logits.shape[:-1]}"
        raise ValueError(f"targets must have shape {expected}, got {targets.shape}")
    if once:
        logits, targets = logits[:, np.newaxis], targets[:, np.newaxis]
    elif swapped:
        logits, targets = logits.swapaxes(0, 1), targets.swapaxes(0, 1)
    value, d_logits, count = kernels.softmax_cross_entropy(logits, targets, lengths)
    if reduction == "mean":
        factor = 1.0 / max(count, 1)
        kernels.scale(d_logits.reshape(-1), factor)
        value *= factor
    if once:
        d_logits = d_logits[:, 0]
    elif swapped:
        d_logits = d_logits.swapaxes(0, 1)
    return Loss(value, d_logits)
