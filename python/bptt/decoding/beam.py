"""Beam search: approximate search for the most likely token sequences.

Shapes: B sequences, W beam, N = B*W, K tokens.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids
from bptt.decoding.sampling import largest

BeamState: TypeAlias = Any  # arrays with the batch on axis 1, in tuples of tuples; or None


class Hypothesis(NamedTuple):
    """A sequence found by beam search."""

    tokens: NDArray[np.int64]
    """Token ids, without the start token and the stop token."""
    log_probability: float
    """Natural logarithm of the probability of the tokens and the stop token."""
    score: float
    """Log-probability divided by the length penalty: the order of the hypotheses."""


def beam_search(
    step: Callable[[Ids, BeamState], tuple[FloatArray, BeamState]],
    state: BeamState,
    start: Ids,
    *,
    stop: int,
    max_length: int,
    beam: int = 5,
    count: int | None = None,
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """Search for the most likely continuations of each of B sequences.

    A continuation ends with the stop token, or without it after `max_length` tokens. At every step
    all unfinished hypotheses are extended by one token, and the `beam` most likely are kept. The
    search for a sequence ends when no unfinished hypothesis can exceed those returned.

    Scores are log-probabilities divided by ((5 + n) / 6)**length_penalty, where n is the number of
    tokens including the stop token: Y. Wu et al. (2016), Google's neural machine translation
    system, equation 14.

    Parameters
    ----------
    step : function
        Last tokens (N,) and states -> log-probabilities (N, K) of the next token, -inf for
        forbidden tokens, and the next states. Rows i*beam to (i+1)*beam are the hypotheses of
        sequence i.
    state : arrays (.., B, ..) with the batch on axis 1, in tuples, or None
        States before `start`.
    start : integer array (B,)
        Start tokens.
    stop : int
        Id of the stop token.
    max_length : int
        Maximum number of tokens.
    beam : int
        Number of hypotheses per sequence, W. With 1 the search is greedy.
    count : int, optional
        Number of hypotheses to return per sequence, in [1, beam]; fewer if fewer are found. All
        `beam` by default.
    length_penalty : float
        Exponent of the length penalty, >= 0. With 0 hypotheses are ordered by log-probability,
        which favors short sequences; larger values favor longer ones.

    Returns
    -------
    list of B lists of Hypothesis
        In descending order of their scores.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """
    if not callable(step):
        raise TypeError(f"step must be a function, got {type(step).__name__}")
    stop = checks.integer("stop", stop, 0)
    beam = checks.integer("beam", beam)
    max_length = checks.integer("max_length", max_length)
    length_penalty = checks.number("length_penalty", length_penalty, 0.0)
    count = beam if count is None else checks.integer("count", count)
    if count > beam:
        raise ValueError(f"count must be in [1, beam] = [1, {beam}], got {checks.shown(count)}")
    first = np.asarray(start)
    if first.ndim != 1 or first.dtype.kind not in "iu":
        got = f"dtype {first.dtype} and shape {first.shape}"
        raise TypeError(f"start must be an array (B,) of integers, got {got}")
    rows = np.repeat(np.arange(len(first)), beam)
    search = _Search(len(first), beam, stop, max_length, length_penalty, count)
    tokens, state = first[rows], reordered(state, rows)
    for length in range(1, max_length + 1):
        found: Any = step(tokens, state)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"step must return log-probabilities and a state, got {type(found).__name__}"
            )
        log_p, state = found
        _check_log_p(log_p, len(rows))
        tokens, parents = search.extend(log_p, length)
        if search.done():
            break
        state = reordered(state, parents)
    return search.best()


def reordered(state: BeamState, rows: NDArray[np.int64]) -> BeamState:
    """Return these rows of the batch, axis 1, of all arrays of a state."""
    if state is None:
        return None
    if isinstance(state, tuple):
        parts = [reordered(part, rows) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    if not isinstance(state, np.ndarray) or state.ndim < 2:
        got = state.shape if isinstance(state, np.ndarray) else type(state).__name__
        raise TypeError(f"state must be arrays with the batch on axis 1, in tuples, got {got}")
    return np.take(state, rows, axis=1)


def _check_log_p(log_p: Any, rows: int) -> None:
    """Check the log-probabilities that a step returns."""
    checks.floats("log-probabilities", log_p)
    if log_p.ndim != 2 or len(log_p) != rows or not log_p.shape[1]:
        rule = f"shape (B*beam, tokens) = ({rows}, tokens)"
        raise ValueError(f"log-probabilities must have {rule}, got {log_p.shape}")
    if np.isnan(log_p).any():
        raise ValueError("log-probabilities must be numbers, got NaN")


class _Search:
    """Unfinished and finished hypotheses of all sequences."""

    def __init__(
        self, batch: int, beam: int, stop: int, max_length: int, penalty: float, count: int
    ) -> None:
        self._beam, self._stop, self._max_length = beam, stop, max_length
        self._penalty, self._count = penalty, count
        self._found: list[list[Hypothesis]] = [[] for _ in range(batch)]
        self._tokens = np.empty((batch, beam, 0), np.int64)
        # All hypotheses of a sequence are identical at first: one is enough.
        self._scores = np.full((batch, beam), -math.inf)
        self._scores[:, 0] = 0.0

    def extend(self, log_p: FloatArray, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Extend every hypothesis by a token; return tokens (N,) and parent rows (N,)."""
        batch, beam = self._scores.shape
        tokens_count = log_p.shape[1]
        total = (self._scores.reshape(-1, 1) + log_p).reshape(batch, -1)
        best = np.nonzero(largest(total, beam))[1].reshape(batch, beam)
        order = np.argsort(-np.take_along_axis(total, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        parents, tokens = np.divmod(best, tokens_count)
        self._scores = np.take_along_axis(total, best, axis=1)
        histories = np.take_along_axis(self._tokens, parents[..., np.newaxis], axis=1)
        self._tokens = np.concatenate([histories, tokens[..., np.newaxis]], axis=2)
        ended = (tokens == self._stop) | (length == self._max_length)
        for i, j in np.argwhere(ended & np.isfinite(self._scores)):
            self._add(i, self._tokens[i, j], self._scores[i, j])
        self._scores[ended] = -math.inf
        for i, found in enumerate(self._found):
            highest = self._scores[i].max() / self._divisor(self._max_length)
            if len(found) >= self._count and found[self._count - 1].score >= highest:
                self._scores[i] = -math.inf
        rows = parents + beam * np.arange(batch)[:, np.newaxis]
        return tokens.reshape(-1), rows.reshape(-1)

    def done(self) -> bool:
        """Return whether all hypotheses are finished."""
        return not np.isfinite(self._scores).any()

    def best(self) -> list[list[Hypothesis]]:
        """Return the best hypotheses of every sequence."""
        return [found[: self._count] for found in self._found]

    def _add(self, i: int, tokens: NDArray[np.int64], log_p: float) -> None:
        score = float(log_p) / self._divisor(len(tokens))
        content = tokens[:-1] if tokens[-1] == self._stop else tokens
        self._found[i].append(Hypothesis(content.copy(), float(log_p), score))
        self._found[i].sort(key=lambda hypothesis: -hypothesis.score)  # stable

    def _divisor(self, length: int) -> float:
        with np.errstate(over="ignore"):
            divisor = np.float64((5.0 + length) / 6.0) ** self._penalty
        return min(float(divisor), sys.float_info.max)  # scores stay numbers
