"""Vocabulary: tokens and their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks

UNKNOWN, START, STOP = "<unk>", "<start>", "<stop>"


class Vocabulary:
    """Mapping between tokens and ids.

    Parameters
    ----------
    tokens : sequence of str
        All tokens, without duplicates, in the order of their ids.

    Attributes
    ----------
    tokens : tuple of str
        All tokens, in the order of their ids.

    Raises
    ------
    ValueError
        If a token is repeated.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tuple(tokens)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            repeated = next(t for t, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f"tokens must be distinct, got {repeated!r} more than once")

    @classmethod
    def from_sequences(
        cls, sequences: Iterable[Iterable[str]], *, special: Sequence[str] = (), min_count: int = 1
    ) -> Vocabulary:
        """Return the vocabulary of token sequences.

        Parameters
        ----------
        sequences : iterable of iterables of str
            Token sequences.
        special : sequence of str
            Tokens with the first ids, whether they occur or not.
        min_count : int
            Minimum frequency of all other tokens, which follow in descending order of frequency.

        Returns
        -------
        Vocabulary

        Raises
        ------
        TypeError, ValueError
            If `min_count` is not an integer >= 1.
        """
        checks.integer("min_count", min_count)
        return cls._from_counts(Counter(chain.from_iterable(sequences)), special, min_count)

    @classmethod
    def _from_counts(
        cls, counts: Mapping[str, int], special: Sequence[str], min_count: int
    ) -> Vocabulary:
        """Return the vocabulary of tokens with these frequencies."""
        frequent = (token for token, count in counts.items() if count >= min_count)
        others = sorted(set(frequent).difference(special))
        return cls([*special, *sorted(others, key=counts.__getitem__, reverse=True)])  # stable

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: Hashable) -> bool:
        return token in self._ids

    def encode(self, tokens: Iterable[str]) -> NDArray[np.int32]:
        """Return the ids of tokens.

        Parameters
        ----------
        tokens : iterable of str
            Tokens; unknown ones get the id of "<unk>".

        Returns
        -------
        int32 array (T,)
            Their ids.

        Raises
        ------
        ValueError
            If a token is unknown and the vocabulary has no "<unk>".
        """
        unknown = self._ids.get(UNKNOWN, -1)
        given = list(tokens)
        ids = np.fromiter(map(self._ids.get, given, repeat(unknown)), np.int32, len(given))
        if unknown < 0 and unknown in ids:
            token = given[ids.tolist().index(unknown)]
            raise ValueError(f"tokens must be in the vocabulary, got {token!r}")
        return ids

    def decode(self, ids: Iterable[Any]) -> list[str]:
        """Return the tokens of ids.

        Parameters
        ----------
        ids : iterable of int
            Ids in [0, V).

        Returns
        -------
        list of str
            Their tokens.
        """
        return [self.tokens[i] for i in ids]
