"""n-gram models with Kneser-Ney smoothing: the baseline of the language models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
START, STOP, UNKNOWN = range(3)


class NGram:
    """Interpolated n-gram model with Kneser-Ney smoothing, of `order` - 1 tokens of context.

    Each count is discounted; the freed mass goes to the distribution of the next shorter context,
    where a token counts by the number of distinct tokens it follows.
    S. Chen and J. Goodman (1998), An empirical study of smoothing techniques for language modeling,
    section 3: interpolated, with three discounts per order.
    """

    def __init__(self, order: int, sequences: Sequence[Sequence[str]]) -> None:
        tokens = sorted({token for sequence in sequences for token in sequence})
        self._ids = {token: i for i, token in enumerate(tokens, UNKNOWN + 1)}
        self._size, self._order = UNKNOWN + 1 + len(tokens), order
        assert self._size**order < 2**63, "an n-gram must fit into 64 bits"
        grams, counts = np.unique(self._grams(sequences), return_counts=True)
        self._orders = [_Counts(grams, counts, self._size)]
        for n in range(order - 1, 0, -1):
            shorter = grams % self._size**n
            # The beginning of a sequence follows nothing else: its count stays.
            weights = np.where(shorter < self._size ** (n - 1), counts, 1)
            grams, places = np.unique(shorter, return_inverse=True)
            counts = np.bincount(places, weights).astype(np.int64)
            self._orders.append(_Counts(grams, counts, self._size))

    def bits(self, sequences: Sequence[Sequence[str]]) -> list[Array]:
        """Return -log2 p of each token of each sequence and of the final stop."""
        grams = self._grams(sequences)
        p = np.full(len(grams), 1 / (self._size - 1))  # START is never predicted
        for n, counts in enumerate(reversed(self._orders), 1):
            p = counts.probability(grams % self._size**n, p)
        ends = np.cumsum([len(sequence) + 1 for sequence in sequences])
        return np.split(-np.log2(p), ends[:-1])

    def _grams(self, sequences: Sequence[Sequence[str]]) -> Array:
        """Encode each token and the stop with their context as one integer of base `size`."""
        n, ids = self._order, []
        for sequence in sequences:
            ids += [START] * (n - 1) + [self._ids.get(t, UNKNOWN) for t in sequence] + [STOP]
        windows = np.lib.stride_tricks.sliding_window_view(np.array(ids), n)
        return windows[windows[:, -1] != START] @ self._size ** np.arange(n)[::-1]


class _Counts:
    """Counts of the n-grams of one order."""

    def __init__(self, grams: Array, counts: Array, size: int) -> None:
        self._grams, self._size = grams, size
        n1, n2, n3, n4 = np.maximum(np.bincount(counts, minlength=5)[1:5], 1)
        y = n1 / (n1 + 2 * n2)
        found = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        discounts = np.clip(found, 0.1, None)[np.minimum(counts, 3)]
        self._contexts, first = np.unique(grams // size, return_index=True)
        totals = np.add.reduceat(counts, first)
        self._left = np.add.reduceat(discounts, first) / totals
        self._p = (counts - discounts) / np.repeat(totals, np.diff([*first, len(grams)]))

    def probability(self, grams: Array, shorter: Array) -> Array:
        """Return the probabilities of n-grams, given those of the shorter context."""
        place, known = _find(self._contexts, grams // self._size)
        left = np.where(known, self._left[place], 1.0)
        place, known = _find(self._grams, grams)
        return np.where(known, self._p[place], 0.0) + left * shorter


def _find(keys: Array, wanted: Array) -> tuple[Array, Array]:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted
