"""Sequences of any kind that users have, in the one form that layers take.

A list of strings, of token lists, of id arrays or of float arrays, or a padded array with lengths:
`SequenceEncoder` learns what the training data are (which tokens, how many features) and makes
`Sequences` of them and of everything that comes later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt import checks
from bptt.vocabulary import UNKNOWN, Vocabulary


@dataclass(frozen=True)
class Sequences:
    """Sequences of ids or of feature vectors, one after the other in one array."""

    values: NDArray[Any]
    """(steps of all,) ids, or (steps of all, I) features."""
    lengths: NDArray[np.int64]
    """(B,)"""

    def __post_init__(self) -> None:
        ends = np.cumsum(self.lengths)
        object.__setattr__(self, "_spans", list(zip(ends - self.lengths, ends, strict=True)))

    @classmethod
    def of(cls, rows: Sequence[NDArray[Any]]) -> Sequences:
        """Join arrays (T, ..), at least one."""
        return cls(np.concatenate(rows), np.array([len(row) for row in rows], np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return one sequence, (T,) or (T, I), as a view."""
        first, last = self._spans[index]  # type: ignore[attr-defined]
        return self.values[first:last]

    def take(self, indices: NDArray[np.int64]) -> Sequences:
        """Return some of the sequences, in the given order."""
        rows = [self[i] for i in indices]
        empty = self.values[:0]
        return Sequences(np.concatenate([empty, *rows]), self.lengths[indices])

    def pad(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return some of the sequences as one array (B, T) or (B, T, I), and their lengths.

        T is the longest of these; beyond a length the array is 0.
        """
        lengths = self.lengths[indices]
        steps = int(lengths.max(initial=0))
        padded = np.zeros((len(indices), steps, *self.values.shape[1:]), self.values.dtype)
        for row, i in zip(padded, indices, strict=True):
            one = self[i]
            row[: len(one)] = one
        return padded, lengths


class SequenceEncoder:
    """Learns what a user's sequences are, and turns them into `Sequences`.

    Parameters
    ----------
    tokens : "characters", "words" or None
        What strings are cut into; words are what white space separates. None: sequences are
        sequences of tokens already.
    min_count : int
        How often a token must come to be known.
    special : sequence of str
        Tokens that are always known, as "<start>"; "<unk>" for all unknown ones always is.
    dtype : float32 or float64
        Of features.

    Attributes
    ----------
    kind : "ids" or "features"
    size : int
        Number of different ids, or of features.
    vocabulary : Vocabulary or None
        None if the sequences are not text.
    """

    kind: str
    size: int
    vocabulary: Vocabulary | None

    def __init__(
        self,
        *,
        tokens: str | None = "characters",
        min_count: int = 1,
        special: Sequence[str] = (),
        dtype: str = "float32",
    ) -> None:
        if tokens is not None:
            checks.one_of("characters", "words")("tokens", tokens)
        self._tokens = tokens
        self._min_count = checks.integer("min_count", min_count)
        self._special = tuple(special)
        self._dtype = checks.dtype("dtype", dtype)

    def fit(self, X: Any, lengths: Any = None) -> SequenceEncoder:
        """Learn the kind of the sequences, and their tokens or the number of their features.

        Parameters
        ----------
        X : list of strings, of token lists, of id arrays or of float arrays, or a padded array
            At least one sequence.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array, in [0, T].

        Raises
        ------
        TypeError, ValueError
            If X is something else, or its sequences are of different kinds.
        """
        rows = _rows(X, lengths)
        if not rows:
            raise ValueError("X must have at least one sequence, got none")
        if _is_text(rows[0]):
            texts = [self._cut(row, i) for i, row in enumerate(rows)]
            special = (UNKNOWN, *self._special)
            self.vocabulary = Vocabulary.of(texts, special=special, min_count=self._min_count)
            self.kind, self.size = "ids", len(self.vocabulary)
            return self
        self.vocabulary = None
        arrays = [_array(row, i) for i, row in enumerate(rows)]
        first = next((a for a in arrays if len(a)), arrays[0])
        if first.ndim == 1 and first.dtype.kind in "iu":
            self.kind = "ids"
            self.size = 1 + max(int(a.max(initial=0)) for a in arrays)
        else:
            self.kind = "features"
            self.size = 1 if first.ndim == 1 else first.shape[1]
        return self

    def transform(self, X: Any, lengths: Any = None) -> Sequences:
        """Return the sequences; see `fit`.

        Raises
        ------
        TypeError, ValueError
            If they are not of the kind and size that was learned, an id is not in [0, size), or a
            feature is not finite.
        """
        rows = _rows(X, lengths)
        if not rows:
            raise ValueError("X must have at least one sequence, got none")
        if self.vocabulary is not None:
            vocabulary = self.vocabulary
            return Sequences.of([vocabulary.ids(self._cut(row, i)) for i, row in enumerate(rows)])
        convert = self._ids if self.kind == "ids" else self._features
        return Sequences.of([convert(_array(row, i), i) for i, row in enumerate(rows)])

    def to_dict(self) -> dict[str, Any]:
        """Return all that was given and learned, fit for JSON."""
        return {
            "tokens": self._tokens,
            "min_count": self._min_count,
            "special": list(self._special),
            "dtype": self._dtype.name,
            "kind": self.kind,
            "size": self.size,
            "vocabulary": None if self.vocabulary is None else list(self.vocabulary.tokens),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SequenceEncoder:
        """Return what `to_dict` has described."""
        names = ("tokens", "min_count", "special", "dtype")
        encoder = cls(**{name: content[name] for name in names})
        encoder.kind, encoder.size = content["kind"], content["size"]
        tokens = content["vocabulary"]
        encoder.vocabulary = None if tokens is None else Vocabulary(tokens)
        return encoder

    def _cut(self, row: Any, i: int) -> list[str]:
        """Cut a text into its tokens."""
        if isinstance(row, str):
            if self._tokens is None:
                raise ValueError(f"X[{i}] must be a sequence of tokens with tokens=None, got a str")
            return row.split() if self._tokens == "words" else list(row)
        if not _is_text(row):
            raise TypeError(f"X[{i}] must be text, as X[0] was in fit, got {_kind_of(row)}")
        for token in row:
            if not isinstance(token, str):
                kind = type(token).__name__
                raise TypeError(f"X[{i}] must hold strings only, got {kind} {token!r}")
        return list(row)

    def _ids(self, array: NDArray[Any], i: int) -> NDArray[np.int32]:
        if len(array) and (array.ndim != 1 or array.dtype.kind not in "iu"):
            got = f"shape {array.shape} of {array.dtype}"
            raise TypeError(f"X[{i}] must be a sequence of integer ids, got {got}")
        wrong = np.flatnonzero((array < 0) | (array >= self.size))
        if len(wrong):
            t = wrong[0]
            raise ValueError(f"X[{i}]: id {array[t]} at step {t} is not in [0, {self.size})")
        return array.astype(np.int32)

    def _features(self, array: NDArray[Any], i: int) -> NDArray[Any]:
        if array.ndim == 1 and (self.size == 1 or not len(array)):
            array = array.reshape(len(array), self.size if len(array) == 0 else 1)
        if array.ndim != 2 or array.shape[1] != self.size:
            raise ValueError(f"X[{i}] must have shape (steps, {self.size}), got {array.shape}")
        with np.errstate(over="ignore"):
            converted = array.astype(self._dtype)
        if not np.isfinite(converted).all():
            t, k = np.argwhere(~np.isfinite(converted))[0]
            value = "a NaN" if np.isnan(array[t, k]) else f"{array[t, k]}"
            raise ValueError(f"X[{i}] holds {value} at step {t}, feature {k}: it must be finite")
        return converted


def _rows(X: Any, lengths: Any) -> list[Any]:
    """The sequences of X, as they are."""
    if isinstance(X, (str, bytes)):
        raise TypeError(f"X must be a list of texts, got one {type(X).__name__}")
    if isinstance(X, np.ndarray) and X.dtype != object:
        return _padded_rows(X, lengths)
    if lengths is not None:
        raise ValueError("lengths needs a padded array (B, T) or (B, T, I), got a list")
    try:
        return list(X)
    except TypeError:
        raise TypeError(f"X must be a list or an array, got {type(X).__name__}") from None


def _padded_rows(X: NDArray[Any], lengths: Any) -> list[Any]:
    if X.dtype.kind == "U":
        return [str(text) for text in X] if X.ndim == 1 else [list(map(str, row)) for row in X]
    if X.ndim not in (2, 3) or X.dtype.kind not in "biuf":
        raise ValueError(
            "X must hold numbers and have shape (B, T) or (B, T, I), "
            f"got shape {X.shape} of {X.dtype}. Reshape your data"
        )
    if lengths is None:
        return list(X)
    ends = np.asarray(lengths)
    if ends.shape != X.shape[:1] or ends.dtype.kind not in "iu":
        raise ValueError(
            f"lengths must hold integers and have shape (B,) = ({len(X)},), "
            f"got shape {ends.shape} of {ends.dtype}"
        )
    if ((ends < 0) | (ends > X.shape[1])).any():
        wrong = ends[(ends < 0) | (ends > X.shape[1])][0]
        raise ValueError(f"lengths must be in [0, T] = [0, {X.shape[1]}], got {wrong}")
    return [row[:end] for row, end in zip(X, ends, strict=True)]


def _is_text(row: Any) -> bool:
    if isinstance(row, str):
        return True
    if isinstance(row, np.ndarray):
        return bool(row.dtype.kind == "U")
    return isinstance(row, (list, tuple)) and len(row) > 0 and isinstance(row[0], str)


def _kind_of(row: Any) -> str:
    kind = type(row).__name__
    return f"{kind} of {row.dtype}" if isinstance(row, np.ndarray) else kind


def _array(row: Any, i: int) -> NDArray[Any]:
    """One sequence of numbers as an array (T,) or (T, I)."""
    if _is_text(row):
        raise TypeError(f"X[{i}] must be a sequence of numbers, got text")
    try:
        array = np.asarray(row)
    except ValueError as error:
        raise ValueError(f"X[{i}] must be an array of numbers: {error}") from error
    if array.ndim not in (1, 2) or array.dtype.kind not in "biuf":
        raise ValueError(
            f"X[{i}] must hold numbers and have shape (T,) or (T, I), "
            f"got shape {array.shape} of {array.dtype}"
        )
    return array
