"""Connectionist temporal classification (CTC), in logarithms."""

from __future__ import annotations

import numpy as np

from .activations import Array
from .arguments import check_lengths, require


def ctc_loss(
    logits: Array,
    targets: Array,
    lengths: Array | None = None,
    target_lengths: Array | None = None,
    blank: int = 0,
) -> tuple[float, Array]:
    """L = −Σ_b log p(targets_b), and ∂L/∂logits.

    p sums over all paths, a class for every step, that are the targets without repetitions and then
    without blanks. With z = blank, l_1, blank, l_2, …, blank, and y = softmax(logits):

    α_t(s) = y_t[z_s] (α_{t−1}(s) + α_{t−1}(s−1) + [z_s is no blank and not z_{s−2}] α_{t−1}(s−2))

    and β_t(s) likewise from the end; ∂L/∂logits_t = y_t − Σ_s onehot(z_s) α_t(s) β_t(s) / p.
    A. Graves et al. (2006), Connectionist temporal classification.

    Parameters
    ----------
    logits : array (B, T, K)
    targets : integer array (B, U)
        Labels, in [0, K), without the blank.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. T by default.
    target_lengths : integer array (B,), optional
        Number of labels of each sequence, in [0, U]. U by default.
    blank : int, default 0
        Class of the blank.

    Returns
    -------
    value : float
        L; infinite if a sequence has no path.
    d_logits : array (B, T, K)
        ∂L/∂logits; 0 in the padding, and for sequences without a path.

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape is wrong, or a length is out of its range.
    """
    batch, steps, _ = logits.shape
    require(len(targets) == batch, f"targets must have shape (B, U), B = {batch}", targets.shape)
    lengths = np.full(batch, steps) if lengths is None else lengths
    counts = np.full(batch, targets.shape[1]) if target_lengths is None else target_lengths
    lengths = check_lengths(lengths, batch, steps)
    counts = check_lengths(counts, batch, targets.shape[1])
    value, d_logits = 0.0, np.zeros_like(logits)
    for b, (n, count) in enumerate(zip(lengths, counts, strict=True)):
        z = np.full(2 * count + 1, blank)
        z[1::2] = targets[b, :count]
        if n == 0:
            value += np.inf if count else 0.0
            continue
        x = logits[b, :n] - logits[b, :n].max(axis=1, keepdims=True)
        log_y = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
        log_alpha = _log_alpha(log_y[:, z], z, blank)
        log_p = np.logaddexp(log_alpha[-1, -1], log_alpha[-1, -2] if count else -np.inf)
        value -= log_p
        if np.isfinite(log_p):
            # From the end, without the class of the step itself.
            log_beta = _log_alpha(log_y[::-1, z[::-1]], z[::-1], blank)[::-1, ::-1] - log_y[:, z]
            gamma = np.exp(log_alpha + log_beta - log_p)
            d = np.exp(log_y)
            for s, k in enumerate(z):
                d[:, k] -= gamma[:, s]
            d_logits[b, :n] = d
    return float(value), d_logits


def _log_alpha(log_y: Array, z: Array, blank: int) -> Array:
    """Return log α (n, S), from the log-probabilities of the states' classes (n, S)."""
    may_skip = np.zeros(len(z), bool)
    may_skip[2:] = (z[2:] != blank) & (z[2:] != z[:-2])
    log_alpha = np.full(log_y.shape, -np.inf)
    log_alpha[0, :2] = log_y[0, :2]
    for t in range(1, len(log_y)):
        before = np.concatenate([np.full(2, -np.inf), log_alpha[t - 1]])
        skip = np.where(may_skip, before[:-2], -np.inf)
        log_alpha[t] = log_y[t] + np.logaddexp(np.logaddexp(before[2:], before[1:-1]), skip)
    return log_alpha
