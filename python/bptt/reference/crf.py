"""Linear-chain conditional random field: forward-backward and Viterbi, in logarithms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .activations import Array
from .arguments import check_lengths, require


class CRFGradients(NamedTuple):
    """Gradients of `crf_loss`."""

    emissions: Array
    """∂L/∂x (B, T, K); 0 in the padding."""
    transitions: Array
    """∂L/∂A (K, K)."""
    start: Array
    """∂L/∂s (K,)."""
    end: Array
    """∂L/∂e (K,)."""


class _Chain(NamedTuple):
    """log Z, log α_t and log β_t (n, K), and probabilities of labels and of pairs of labels."""

    log_z: float
    labels: Array  # (n, K)
    pairs: Array  # (n - 1, K, K)


def forward_backward(x: Array, A: Array) -> _Chain:
    """Return log Z, and the probabilities of the labels of one sequence.

    log α_t[j] = x_t[j] + log Σ_i exp(log α_{t−1}[i] + A[i, j]) is that of all ways to label j;
    log β_t[i] = log Σ_j exp(A[i, j] + x_{t+1}[j] + log β_{t+1}[j]) of all ways from label i on.

    Parameters
    ----------
    x : array (n, K)
        Scores of the labels of each step, with those of the first and the last label; n >= 1.
    A : array (K, K)
        Transitions.

    Returns
    -------
    tuple
        log Z, probabilities of labels (n, K) and of pairs of labels (n - 1, K, K).
    """
    log_alpha, log_beta = x.copy(), np.zeros_like(x)
    for t in range(1, len(x)):
        log_alpha[t] += _log_sum_exp(log_alpha[t - 1][:, None] + A, axis=0)
    for t in range(len(x) - 2, -1, -1):
        log_beta[t] = _log_sum_exp(A + x[t + 1] + log_beta[t + 1], axis=1)
    log_z = _log_sum_exp(log_alpha[-1], axis=0)
    pairs = log_alpha[:-1, :, None] + A + (x + log_beta)[1:, None, :] - log_z
    return _Chain(float(log_z), np.exp(log_alpha + log_beta - log_z), np.exp(pairs))


def crf_loss(
    emissions: Array,
    targets: Array,
    transitions: Array,
    start: Array,
    end: Array,
    lengths: Array | None = None,
) -> tuple[float, CRFGradients]:
    """L = −Σ_b log p(targets_b), with p(y) = exp(score(y)) / Z, and its gradients.

    score(y) = s[y_1] + Σ_t x_t[y_t] + Σ_t A[y_{t−1}, y_t] + e[y_n]. The gradients are
    probabilities minus those in which the labels are the targets.

    Parameters
    ----------
    emissions : array (B, T, K)
        x.
    targets : integer array (B, T)
        Labels in [0, K); negative where they are not known: p sums over all labels there.
    transitions : array (K, K)
        A.
    start, end : array (K,)
        s and e.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. Padding is ignored. T by default.

    Returns
    -------
    value : float
        L.
    gradients : CRFGradients

    Raises
    ------
    TypeError, ValueError
        If a dtype or shape is wrong, or a length is out of its range.
    """
    rule = f"targets must have shape {emissions.shape[:-1]}"
    require(targets.shape == emissions.shape[:-1], rule, targets.shape)
    arguments = (emissions, transitions, start, end)
    d = CRFGradients(*(np.zeros_like(array) for array in arguments))
    value = 0.0
    for b, n in enumerate(_lengths(lengths, *emissions.shape[:2])):
        if n == 0:
            continue
        x = _with_ends(emissions[b, :n], start, end)
        others = (targets[b, :n, None] >= 0) & (targets[b, :n, None] != np.arange(x.shape[1]))
        free = forward_backward(x, transitions)
        given = forward_backward(np.where(others, -np.inf, x), transitions)
        value += free.log_z - given.log_z
        d_x = free.labels - given.labels
        d.emissions[b, :n] = d_x
        d.start[...] += d_x[0]
        d.end[...] += d_x[-1]
        d.transitions[...] += (free.pairs - given.pairs).sum(axis=0)
    return value, d


def crf_marginals(
    emissions: Array, transitions: Array, start: Array, end: Array, lengths: Array | None = None
) -> Array:
    """Return the probability of each label at each step.

    Parameters
    ----------
    emissions : array (B, T, K)
    transitions : array (K, K)
    start, end : array (K,)
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. T by default.

    Returns
    -------
    array (B, T, K)
        0 in the padding.
    """
    p = np.zeros_like(emissions)
    for b, n in enumerate(_lengths(lengths, *emissions.shape[:2])):
        if n > 0:
            x = _with_ends(emissions[b, :n], start, end)
            p[b, :n] = forward_backward(x, transitions).labels
    return p


def crf_viterbi(
    emissions: Array, transitions: Array, start: Array, end: Array, lengths: Array | None = None
) -> Array:
    """Return the label sequences with the highest score.

    best_t[j] = x_t[j] + max_i (best_{t−1}[i] + A[i, j]), and the i for each j.

    Parameters
    ----------
    emissions : array (B, T, K)
    transitions : array (K, K)
    start, end : array (K,)
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. T by default.

    Returns
    -------
    integer array (B, T)
        0 in the padding.
    """
    labels = np.zeros(emissions.shape[:2], int)
    for b, n in enumerate(_lengths(lengths, *emissions.shape[:2])):
        if n == 0:
            continue
        x = _with_ends(emissions[b, :n], start, end)
        best, before = x[0], np.zeros(x.shape, int)
        for t in range(1, n):
            ways = best[:, None] + transitions
            before[t], best = ways.argmax(axis=0), x[t] + ways.max(axis=0)
        labels[b, n - 1] = best.argmax()
        for t in range(n - 1, 0, -1):
            labels[b, t - 1] = before[t, labels[b, t]]
    return labels


def _lengths(lengths: Array | None, batch: int, steps: int) -> Array:
    return check_lengths(np.full(batch, steps) if lengths is None else lengths, batch, steps)


def _with_ends(x: Array, start: Array, end: Array) -> Array:
    x = x.copy()
    x[0] += start
    x[-1] += end
    return x


def _log_sum_exp(a: Array, axis: int) -> Array:
    highest = np.maximum(a.max(axis=axis, keepdims=True), -1e30)  # all may be −∞
    with np.errstate(divide="ignore"):
        result: Array = np.log(np.exp(a - highest).sum(axis=axis)) + highest.squeeze(axis)
    return result
