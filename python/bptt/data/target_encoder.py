"""Sequences of tokens as a decoder reads and writes them: ids, a start token and a stop token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt.data.sequences import SequenceEncoder, Sequences
from bptt.data.vocabulary import START, STOP, UNKNOWN

Text: TypeAlias = Any  # a string, a list of tokens, or an array of ids: as it was learned


class TargetEncoder:
    """Turns texts, token lists or id arrays into ids, and what a decoder has written back.

    Parameters
    ----------
    tokens : "characters", "words" or None
        What strings are cut into.
    min_count : int
        How often a token must come to be known.

    Attributes
    ----------
    size : int
        Number of different ids, with those of "<start>", "<stop>" and, for text, "<unk>".
    start, stop : int
    forbidden : tuple of int
        What must never be written: "<start>" and "<unk>".
    """

    size: int
    start: int
    stop: int
    forbidden: tuple[int, ...]

    def __init__(self, *, tokens: str | None = "characters", min_count: int = 1) -> None:
        self._encoder = SequenceEncoder(tokens=tokens, min_count=min_count, special=(START, STOP))

    def fit(self, X: Any, lengths: Any = None) -> TargetEncoder:
        """Learn the tokens, and whether there are texts, token lists or id arrays.

        Parameters
        ----------
        X : list of strings, of token lists or of id arrays, or a padded array of ids (B, T)
        lengths : integer array (B,), optional
            Number of tokens of each row of a padded array.

        Raises
        ------
        TypeError, ValueError
            If X is something else.
        """
        self._encoder.fit(X, lengths)
        self._strings = isinstance(next(iter(X)), str)
        self._finish()
        return self

    def _finish(self) -> None:
        encoder = self._encoder
        if encoder.kind != "ids":
            raise TypeError("sequences to write must be of tokens or integer ids, got numbers")
        vocabulary = encoder.vocabulary
        if vocabulary is None:
            self.start, self.stop = encoder.size, encoder.size + 1
            self.size, self.forbidden = encoder.size + 2, (self.start,)
            return
        unknown, self.start, self.stop = map(int, vocabulary.ids((UNKNOWN, START, STOP)))
        self.size, self.forbidden = encoder.size, (unknown, self.start)

    @property
    def tokens(self) -> list[str | int]:
        """All tokens, in the order of their ids."""
        vocabulary = self._encoder.vocabulary
        if vocabulary is None:
            return [*range(self._encoder.size), START, STOP]
        return list(vocabulary.tokens)

    def transform(self, X: Any, lengths: Any = None) -> Sequences:
        """Return the ids, without start and stop tokens; see `fit`.

        Raises
        ------
        TypeError, ValueError
            If X is not of the kind that was learned.
        """
        return self._encoder.transform(X, lengths)

    def decode(self, ids: NDArray[np.integer[Any]], prefix: Text = ()) -> Text:
        """Return ids as a string, a token list or an id array, appended to `prefix`."""
        vocabulary = self._encoder.vocabulary
        if vocabulary is None:
            return np.concatenate([np.asarray(prefix, np.int64), ids]) if len(prefix) else ids
        begun = self._encoder.cut(prefix)
        tokens = [*begun, *vocabulary.text(ids)]
        if not self._strings:
            return tokens
        return ("" if self._encoder.tokens == "characters" else " ").join(tokens)

    def to_dict(self) -> dict[str, Any]:
        """Return all that was given and learned, fit for JSON."""
        return {"encoder": self._encoder.to_dict(), "strings": self._strings}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TargetEncoder:
        """Return what `to_dict` has described."""
        encoder = cls()
        encoder._encoder = SequenceEncoder.from_dict(content["encoder"])
        encoder._strings = content["strings"]
        encoder._finish()
        return encoder
