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
    TypeError
        If a token is not a string.
    ValueError
        If a token is repeated.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = strings("tokens", tokens)
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
            If `min_count` is not an integer >= 1, or a token is not a string.
        """
        min_count = checks.integer("min_count", min_count)
        if not isinstance(sequences, Iterable):
            raise TypeError(f"sequences must be token sequences, got {type(sequences).__name__}")
        try:
            counts = Counter(chain.from_iterable(sequences))
        except TypeError as error:  # not iterable, or not hashable
            raise TypeError(f"sequences must be sequences of strings: {error}") from None
        strings("tokens", counts)
        return cls._from_counts(counts, strings("special", special), min_count)

    @classmethod
    def _from_counts(
        cls, counts: Mapping[str, int], special: Sequence[str], min_count: int
    ) -> Vocabulary:
        """Return the vocabulary of tokens with these frequencies."""
        frequent = {token for token, count in counts.items() if count >= min_count}
        others = sorted(frequent.difference(special))
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
        TypeError
            If a token is not a string.
        ValueError
            If a token is unknown and the vocabulary has no "<unk>".
        """
        unknown = self._ids.get(UNKNOWN, -1)
        given = (
            list(tokens) if isinstance(tokens, (list, tuple, str)) else strings("tokens", tokens)
        )
        try:
            ids = np.fromiter(map(self._ids.get, given, repeat(unknown)), np.int32, len(given))
        except TypeError:  # not hashable
            strings("tokens", given)
            raise
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

        Raises
        ------
        TypeError, ValueError
            If an id is not an integer, or not in [0, V).
        """
        given: Any = ids
        if isinstance(given, Iterable) and not isinstance(given, (np.ndarray, Sequence)):
            given = list(given)
        return [self.tokens[i] for i in checks.indices("ids", given, len(self.tokens))]


def strings(name: str, values: Any) -> tuple[str, ...]:
    """Check that `values` are strings; a string stands for its characters."""
    if not isinstance(values, Iterable) or isinstance(values, bytes):
        raise TypeError(f"{name} must be strings, got {type(values).__name__}")
    if isinstance(values, np.ndarray) and values.ndim == 0:
        raise TypeError(f"{name} must be strings, got an array without a dimension")
    found = tuple(values)
    for value in found:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be strings, got {type(value).__name__}")
    return found
