"""Sampling of tokens: temperature, top-k and nucleus sampling, and the most likely token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray


def sampling_distribution(
    logits: FloatArray,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> NDArray[np.float64]:
    """Return the probabilities with which tokens are sampled.

    The softmax of logits/temperature is restricted to the `top_k` most likely tokens, and then to
    the nucleus: the smallest set of the most likely tokens whose probabilities sum to `top_p`.

    A. Holtzman et al. (2020), The curious case of neural text degeneration.

    Parameters
    ----------
    logits : array (B, K)
        Logits of K tokens; -inf for forbidden tokens.
    temperature : float
        Divisor of the logits, >= 0. Values below 1 sharpen the distribution; 0 leaves only the
        most likely token.
    top_k : int, optional
        Number of most likely tokens to sample from. All by default.
    top_p : float, optional
        Probability of the nucleus, in (0, 1]. No restriction by default.

    Returns
    -------
    float64 array (B, K)
        Probabilities; each row sums to 1. Ties are broken in favor of the lower id.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """
    temperature = checks.number("temperature", temperature, 0.0)
    scores = _checked(logits).astype(np.float64)
    if top_k is not None:
        top_k = checks.integer("top_k", top_k)
    if top_p is not None:
        top_p = checks.number("top_p", top_p)
        if not 0.0 < top_p <= 1.0:
            raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    scores -= scores.max(axis=1, keepdims=True)
    if temperature == 0.0:
        return largest(scores, 1).astype(np.float64)
    with np.errstate(over="ignore"):  # overflow to -inf is the correct limit
        p = np.exp(scores / temperature)
    if top_k is not None:
        p[~largest(scores, top_k)] = 0.0
    p /= p.sum(axis=1, keepdims=True)
    if top_p is not None and top_p < 1.0:
        p[~_nucleus(p, top_p)] = 0.0
        p /= p.sum(axis=1, keepdims=True)
    return p


def sample(
    logits: FloatArray,
    random: np.random.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> NDArray[np.int64]:
    """Sample one token per row.

    Parameters
    ----------
    logits : array (B, K)
        Logits of K tokens; -inf for forbidden tokens.
    random : numpy.random.Generator
        Source of randomness.
    temperature : float
        Divisor of the logits, >= 0; see `sampling_distribution`.
    top_k : int, optional
        Number of most likely tokens to sample from. All by default.
    top_p : float, optional
        Probability of the nucleus, in (0, 1]. No restriction by default.

    Returns
    -------
    int64 array (B,)
        Token ids.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """
    checks.instance("random", random, np.random.Generator)
    p = sampling_distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    cumulative = np.cumsum(p, axis=1)
    cumulative /= cumulative[:, -1:]  # exactly 1, which is never drawn
    drawn: NDArray[np.int64] = (cumulative > random.random((len(p), 1))).argmax(axis=1)
    return drawn


def most_likely(logits: FloatArray) -> NDArray[np.int64]:
    """Return the most likely token of each row.

    Parameters
    ----------
    logits : array (B, K)
        Logits of K tokens; -inf for forbidden tokens.

    Returns
    -------
    int64 array (B,)
        Token ids; of equal logits, the first.

    Raises
    ------
    TypeError, ValueError
        If the logits have the wrong type or an invalid value.
    """
    best: NDArray[np.int64] = _checked(logits).argmax(axis=1)
    return best


def largest(values: FloatArray, count: int) -> NDArray[np.bool_]:
    """Return a mask of the `count` largest values of each row; of equals, the first.

    Partitioning is used because sorting a large vocabulary would take longer than the network.
    """
    if count >= values.shape[1]:
        return np.ones(values.shape, np.bool_)
    if count == 1:
        best: NDArray[np.bool_] = np.arange(values.shape[1]) == values.argmax(axis=1)[:, np.newaxis]
        return best
    least = np.partition(values, -count, axis=1)[:, [-count]]
    return _down_to(values, least, np.full(least.shape, count))


def _nucleus(p: NDArray[np.float64], top_p: float) -> NDArray[np.bool_]:
    """Return a mask of the smallest set of most likely tokens that sum to `top_p`."""
    falling = -np.sort(-p, axis=1)
    counts = 1 + (falling.cumsum(axis=1)[:, :-1] < top_p).sum(axis=1, keepdims=True)
    return _down_to(p, np.take_along_axis(falling, counts - 1, axis=1), counts)


def _down_to(values: FloatArray, least: FloatArray, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask of `counts` (B, 1) values per row that are at least `least` (B, 1)."""
    above, equal = values > least, values == least
    missing = counts - above.sum(axis=1, keepdims=True)
    chosen: NDArray[np.bool_] = above | (equal & (equal.cumsum(axis=1) <= missing))
    return chosen


def _checked(logits: FloatArray) -> FloatArray:
    if not isinstance(logits, np.ndarray):
        raise TypeError(f"logits must be a NumPy array, got {type(logits).__name__}")
    if logits.dtype.kind != "f":
        raise TypeError(f"logits must be of floats, got {logits.dtype}")
    if logits.ndim != 2 or not logits.shape[1]:
        rule = "(batch, tokens) with tokens >= 1"
        raise ValueError(f"logits must have shape {rule}, got {logits.shape}")
    if not np.isfinite(logits.max(axis=1)).all():  # NaN passes through max
        raise ValueError("logits must be finite or -inf, and not -inf for all tokens of a row")
    return logits
