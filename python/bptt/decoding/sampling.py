"""Choosing among tokens: the likeliest, or at random by their probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray


def distribution(
    logits: FloatArray,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> NDArray[np.float64]:
    """Return the probabilities with which tokens are drawn.

    Softmax of logits/temperature, then only the `top_k` likeliest, then of these only the nucleus:
    the fewest of the likeliest whose probabilities sum to at least `top_p`.

    A. Holtzman et al. (2020), The curious case of neural text degeneration.

    Parameters
    ----------
    logits : array (B, K)
        Scores of K tokens; -inf for one that must not come.
    temperature : float
        >= 0. Below 1 what is likely becomes likelier; 0 leaves the likeliest alone.
    top_k : int, optional
    top_p : float, optional
        In (0, 1].

    Returns
    -------
    float64 array (B, K)
        Each row sums to 1. Of equally likely tokens, the one with the lowest id counts as likelier.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """
    temperature = checks.number("temperature", temperature, 0.0)
    scores = _checked(logits).astype(np.float64)
    if top_k is not None:
        checks.integer("top_k", top_k)
    if top_p is not None and not 0.0 < checks.number("top_p", top_p) <= 1.0:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    scores -= scores.max(axis=1, keepdims=True)
    if temperature == 0.0:
        return largest(scores, 1).astype(np.float64)
    with np.errstate(over="ignore"):  # -inf is right
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
    """Draw a token for each row of `logits`, (B,), by `distribution`, which has the arguments."""
    p = distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    cumulative = np.cumsum(p, axis=1)
    cumulative /= cumulative[:, -1:]  # to 1 exactly, which is never drawn
    drawn: NDArray[np.int64] = (cumulative > random.random((len(p), 1))).argmax(axis=1)
    return drawn


def likeliest(logits: FloatArray) -> NDArray[np.int64]:
    """Return the likeliest token of each row of `logits`, (B,); of equals, the first."""
    best: NDArray[np.int64] = _checked(logits).argmax(axis=1)
    return best


def largest(values: FloatArray, count: int) -> NDArray[np.bool_]:
    """Return which values of each row are the `count` largest; of equals, the first.

    Vocabularies are large, and sorting all of them would take longer than the network.
    """
    if count >= values.shape[1]:
        return np.ones(values.shape, np.bool_)
    if count == 1:
        best: NDArray[np.bool_] = np.arange(values.shape[1]) == values.argmax(axis=1)[:, np.newaxis]
        return best
    least = np.partition(values, -count, axis=1)[:, [-count]]
    return _down_to(values, least, np.full(least.shape, count))


def _nucleus(p: NDArray[np.float64], top_p: float) -> NDArray[np.bool_]:
    """Return which are the fewest of the likeliest that sum to `top_p`."""
    falling = -np.sort(-p, axis=1)
    counts = 1 + (falling.cumsum(axis=1)[:, :-1] < top_p).sum(axis=1, keepdims=True)
    return _down_to(p, np.take_along_axis(falling, counts - 1, axis=1), counts)


def _down_to(values: FloatArray, least: FloatArray, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which are `counts` (B, 1) values of each row that are at least `least` (B, 1)."""
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
