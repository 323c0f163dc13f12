"""Beam search: the likeliest sequence of tokens, as far as a few candidates at a time show it.

Shapes: B sequences, W beam, N = B*W, K tokens.
"""

from __future__ import annotations

import math
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
    """A sequence that has been found."""

    tokens: NDArray[np.int64]
    """Without the first token and the stop token."""
    score: float
    """Its log-probability, with the stop token's, divided by the length penalty."""


def beam_search(
    step: Callable[[Ids, BeamState], tuple[FloatArray, BeamState]],
    state: BeamState,
    start: Ids,
    *,
    beam: int,
    stop: int,
    max_length: int,
    length_penalty: float = 0.0,
    count: int = 1,
) -> list[list[Hypothesis]]:
    """Search for the likeliest continuations of each of B sequences.

    A continuation ends with the stop token, or without it after `max_length` tokens. At every step,
    the `beam` likeliest of all those that have been begun, each with one token more, are kept. A
    sequence is done when what is still going on cannot be better than what has been found.

    Scores are divided by ((5 + n) / 6)**length_penalty, n being the number of tokens with the stop
    token: Y. Wu et al. (2016), Google's neural machine translation system, equation 14.

    Parameters
    ----------
    step : function
        From the last tokens (N,) and their states to the log-probabilities (N, K) of the next
        token, -inf for those that must not come, and the next states. The candidates for sequence
        i are always the rows i*beam to (i+1)*beam.
    state : arrays (.., B, ..) with the batch on axis 1, in tuples, or None
        Before the first tokens.
    start : integer array (B,)
        The first tokens.
    beam : int
        W. With 1 the search is greedy.
    stop : int
    max_length : int
    length_penalty : float
        >= 0. With 0 short sequences are preferred, as they are likelier.
    count : int
        How many to return for each sequence, up to `beam`; fewer if fewer have been found.

    Returns
    -------
    list of B lists of Hypothesis
        The best first.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.
    """
    checks.integer("beam", beam)
    checks.integer("max_length", max_length)
    checks.number("length_penalty", length_penalty, 0.0)
    if checks.integer("count", count) > beam:
        raise ValueError(f"count must be in [1, beam] = [1, {beam}], got {count}")
    rows = np.repeat(np.arange(len(start)), beam)
    search = _Search(len(start), beam, stop, max_length, length_penalty, count)
    tokens, state = np.asarray(start)[rows], reordered(state, rows)
    for length in range(1, max_length + 1):
        log_p, state = step(tokens, state)
        tokens, parents = search.extend(log_p, length)
        if search.done():
            break
        state = reordered(state, parents)
    return search.best()


def reordered(state: BeamState, rows: NDArray[np.int64]) -> BeamState:
    """Take these rows of the batch, axis 1, of all arrays of a state."""
    if state is None:
        return None
    if isinstance(state, tuple):
        parts = [reordered(part, rows) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return np.take(state, rows, axis=1)


class _Search:
    """The candidates of all sequences, and what has been found."""

    def __init__(
        self, batch: int, beam: int, stop: int, max_length: int, penalty: float, count: int
    ) -> None:
        self._beam, self._stop, self._max_length = beam, stop, max_length
        self._penalty, self._count = penalty, count
        self._found: list[list[Hypothesis]] = [[] for _ in range(batch)]
        self._texts = np.empty((batch, beam, 0), np.int64)
        # All candidates of a sequence are the same at first: one is enough.
        self._scores = np.full((batch, beam), -math.inf)
        self._scores[:, 0] = 0.0

    def extend(self, log_p: FloatArray, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Add a token to every candidate; return tokens (N,) and the rows (N,) they come from."""
        batch, beam = self._scores.shape
        tokens_count = log_p.shape[1]
        total = (self._scores.reshape(-1, 1) + log_p).reshape(batch, -1)
        best = np.nonzero(largest(total, beam))[1].reshape(batch, beam)
        order = np.argsort(-np.take_along_axis(total, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        parents, tokens = np.divmod(best, tokens_count)
        self._scores = np.take_along_axis(total, best, axis=1)
        texts = np.take_along_axis(self._texts, parents[..., np.newaxis], axis=1)
        self._texts = np.concatenate([texts, tokens[..., np.newaxis]], axis=2)
        ended = (tokens == self._stop) | (length == self._max_length)
        for i, j in np.argwhere(ended & np.isfinite(self._scores)):
            self._add(i, self._texts[i, j], self._scores[i, j])
        self._scores[ended] = -math.inf
        for i, found in enumerate(self._found):
            highest = self._scores[i].max() / self._divisor(self._max_length)
            if len(found) >= self._count and found[self._count - 1].score >= highest:
                self._scores[i] = -math.inf
        rows = parents + beam * np.arange(batch)[:, np.newaxis]
        return tokens.reshape(-1), rows.reshape(-1)

    def done(self) -> bool:
        """Whether nothing goes on."""
        return not np.isfinite(self._scores).any()

    def best(self) -> list[list[Hypothesis]]:
        """The best of every sequence."""
        return [found[: self._count] for found in self._found]

    def _add(self, i: int, tokens: NDArray[np.int64], log_p: float) -> None:
        score = float(log_p) / self._divisor(len(tokens))
        text = tokens[:-1] if tokens[-1] == self._stop else tokens
        self._found[i].append(Hypothesis(text.copy(), score))
        self._found[i].sort(key=lambda hypothesis: -hypothesis.score)  # stable

    def _divisor(self, length: int) -> float:
        return float(((5.0 + length) / 6.0) ** self._penalty)
