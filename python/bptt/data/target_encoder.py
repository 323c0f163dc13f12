"""Encoder of generated sequences: ids with a start token and a stop token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.sequences import Sequences
from bptt.data.vocabulary import START, STOP, UNKNOWN, Vocabulary

Text: TypeAlias = Any  # a string, a token list or an id array, as in `TargetEncoder.fit`


class TargetEncoder:
    """Encodes strings, token lists or id arrays as ids, and decodes generated ids.

    Parameters
    ----------
    tokens : {"characters", "words"}, optional
        Unit into which strings are split. With None, sequences are lists of tokens.
    min_count : int
        Minimum frequency; rarer tokens map to ``<unk>``.

    Attributes
    ----------
    size : int
        Number of ids, including "<start>", "<stop>" and for text "<unk>".
    start : int
        Id of "<start>".
    stop : int
        Id of "<stop>".
    forbidden : tuple of int
        Ids that are never generated: "<start>" and "<unk>".
    longest : int
        Number of tokens of the longest sequence in `fit`.
    """

    size: int
    start: int
    stop: int
    forbidden: tuple[int, ...]
    longest: int

    def __init__(self, *, tokens: str | None = "characters", min_count: int = 1) -> None:
        self._encoder = SequenceEncoder(tokens=tokens, min_count=min_count, special=(START, STOP))

    def fit(self, X: Any, lengths: Any = None, *, name: str = "X") -> TargetEncoder:
        """Learn the vocabulary, and the type of the sequences.

        Parameters
        ----------
        X : list of strings, token lists or id arrays, or a padded array of ids (B, T)
            Sequences.
        lengths : integer array (B,), optional
            Number of tokens of each row of a padded array. All T by default.
        name : str
            Name of `X` in error messages.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If X has another type or an invalid value.
        """
        self._begin()
        self._learn(X, lengths, name=name)
        return self._finish(name=name)

    def _begin(self) -> None:
        self._encoder._begin()

    def _learn(self, X: Any, lengths: Any = None, *, name: str = "X", check: bool = False) -> None:
        """Learn from further sequences; see `SequenceEncoder`."""
        self._encoder._learn(X, lengths, name=name, check=check)

    def _finish(self, *, name: str = "X") -> TargetEncoder:
        self._encoder._finish(name=name)
        self.longest = self._encoder._longest
        self._set_special_ids()
        return self

    def _set_special_ids(self) -> None:
        encoder = self._encoder
        if encoder.kind != "ids":
            raise TypeError("target sequences must hold tokens or integer ids, got numbers")
        vocabulary = encoder.vocabulary
        if vocabulary is None:
            self.start, self.stop = encoder.size, encoder.size + 1
            self.size, self.forbidden = encoder.size + 2, (self.start,)
            return
        unknown, self.start, self.stop = map(int, vocabulary.encode((UNKNOWN, START, STOP)))
        self.size, self.forbidden = encoder.size, (unknown, self.start)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Vocabulary of text; None for ids."""
        return self._encoder.vocabulary

    @property
    def tokens(self) -> list[str | int]:
        """All tokens, in the order of their ids."""
        vocabulary = self._encoder.vocabulary
        if vocabulary is None:
            return [*range(self._encoder.size), START, STOP]
        return list(vocabulary.tokens)

    def tokenize(self, text: Text) -> list[str]:
        """Return the tokens of a string or a token list.

        Parameters
        ----------
        text : string or token list
            One sequence.

        Returns
        -------
        list of str
            Its tokens.

        Raises
        ------
        TypeError
            If it is neither.
        """
        return self._encoder.tokenize(text)

    def transform(self, X: Any, lengths: Any = None, *, name: str = "X") -> Sequences:
        """Return the sequences as ids, without start and stop tokens.

        Parameters
        ----------
        X : list of strings, token lists or id arrays, or a padded array of ids (B, T)
            Sequences of the type in `fit`.
        lengths : integer array (B,), optional
            Number of tokens of each row of a padded array. All T by default.
        name : str
            Name of `X` in error messages.

        Returns
        -------
        Sequences
            The ids.

        Raises
        ------
        TypeError, ValueError
            If X has another type than in `fit`, or an invalid value.
        """
        return self._encoder.transform(X, lengths, name=name)

    def decode(self, ids: NDArray[np.integer[Any]], prefix: Text = ()) -> Text:
        """Return ids as a sequence of the type in `fit`.

        Parameters
        ----------
        ids : integer array (T,)
            Ids without start and stop tokens.
        prefix : string, token list or id array
            Beginning of the sequence, to which the tokens are appended.

        Returns
        -------
        string, token list or id array

        Raises
        ------
        TypeError, ValueError
            If an id is not an integer, or not in [0, size), or the prefix is of another type.
        """
        ids = checks.indices("ids", ids, self.size)
        vocabulary = self._encoder.vocabulary
        if vocabulary is None:
            first = () if len(prefix) == 0 else checks.indices("prefix", prefix, self.size)
            return np.concatenate([first, ids]) if len(first) else ids
        tokens = [*self._encoder.tokenize(prefix), *vocabulary.decode(ids)]
        if not self._encoder.are_strings:
            return tokens
        return ("" if self._encoder.tokens == "characters" else " ").join(tokens)

    def describe(self) -> str:
        """Return what the sequences in `fit` were understood as; see `SequenceEncoder.describe`.

        Returns
        -------
        str
        """
        return self._encoder.describe()

    def to_dict(self) -> dict[str, Any]:
        """Return parameters and vocabulary in JSON types.

        Returns
        -------
        dict
        """
        return {"encoder": self._encoder.to_dict()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TargetEncoder:
        """Return the encoder that `to_dict` described.

        Parameters
        ----------
        content : mapping
            Result of `to_dict`.

        Returns
        -------
        TargetEncoder

        Raises
        ------
        KeyError, TypeError, ValueError
            If the content is incomplete or invalid.
        """
        encoder = cls()
        checks.fields("content", content, "encoder")
        encoder._encoder = SequenceEncoder.from_dict(content["encoder"])
        encoder._set_special_ids()
        if encoder._encoder._special != (START, STOP):
            raise ValueError(f"special must be {START}, {STOP}, got {encoder._encoder._special}")
        return encoder
