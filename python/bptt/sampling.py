"""Choosing among tokens: the likeliest, or at random by their probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bptt import checks
from bptt.checks import FloatArray


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
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)  # from 0 down
    if temperature == 0.0:
        kept = np.zeros_like(ranked)
        kept[:, 0] = 1.0
    else:
        with np.errstate(over="ignore"):  # -inf is right
            kept = np.exp(ranked / temperature)
    if top_k is not None:
        kept[:, top_k:] = 0.0
    kept /= kept.sum(axis=1, keepdims=True)
    if top_p is not None:
        before = np.cumsum(kept, axis=1) - kept
        kept[:, 1:][before[:, 1:] >= top_p] = 0.0
        kept /= kept.sum(axis=1, keepdims=True)
    probabilities = np.empty_like(kept)
    np.put_along_axis(probabilities, order, kept, axis=1)
    return probabilities


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
