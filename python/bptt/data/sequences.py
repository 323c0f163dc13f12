"""Sequences of any kind that users have, in the one form that layers take.

A list of strings, of token lists, of id arrays or of float arrays, or a padded array with lengths:
`SequenceEncoder` learns what the training data are (which tokens, how many features) and makes
`Sequences` of them and of everything that comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data._inputs import KINDS, count_features, count_ids, flat_features, flat_ids, read
from bptt.data._word_features import affixes_of
from bptt.data.scaling import Scaling
from bptt.data.vocabulary import UNKNOWN, Vocabulary


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of ids or of feature vectors in one array, of which minibatches are cut."""

    values: NDArray[Any]
    """(steps of all,) ids, or (steps of all, I) features; padding between them is never read."""
    starts: NDArray[np.int64]
    """(B,) where in `values` each begins."""
    lengths: NDArray[np.int64]
    """(B,)"""

    @classmethod
    def of(cls, rows: Iterable[NDArray[Any]]) -> Sequences:
        """Join arrays (T, ..), at least one."""
        arrays = list(rows)
        lengths = np.fromiter(map(len, arrays), np.int64, len(arrays))
        return cls(np.concatenate(arrays), np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return one sequence, (T,) or (T, I), as a view."""
        first = self.starts[index]
        return self.values[first : first + self.lengths[index]]

    def take(self, indices: NDArray[np.int64]) -> Sequences:
        """Return some of the sequences, in the given order, without a copy."""
        return Sequences(self.values, self.starts[indices], self.lengths[indices])

    def pad(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return some of the sequences as one array (B, T) or (B, T, I), and their lengths.

        T is the longest of these; beyond a length the array is 0.
        """
        lengths = self.lengths[indices]
        steps = np.arange(lengths.max(initial=0))
        at = self.starts[indices][:, np.newaxis] + steps
        padded = self.values.take(at, axis=0, mode="clip")
        padded[steps >= lengths[:, np.newaxis]] = 0
        return padded, lengths


class SequenceEncoder:
    """Learns what a user's sequences are, and turns them into `Sequences`.

    They are a list, or a one-dimensional array of objects, of

    - strings, which are cut into `tokens`, or lists of strings, which are tokens;
    - integer arrays or lists (T,): ids;
    - other arrays or lists of numbers, (T, I), or (T,) for one feature a step;

    or one array of strings (B,) or (B, T), of integers (B, T): ids, or of other numbers (B, T) or
    (B, T, I), padded if there are `lengths`; or a table of one of these. So integers (T,) or (B, T)
    are always ids: measured numbers must be floats.

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
    scale : bool
        Whether every feature is brought to mean 0 and deviation 1, as those of the sequences to
        `fit` are.
    affixes : int, optional
        If given, tokens must be words, and every step has several ids: the word's, and those of
        what `affixes_of` finds in it, in a vocabulary of their own whose ids come behind.

    Attributes
    ----------
    kind : "ids" or "features"
    size : int
        Number of different ids, or of features.
    vocabulary : Vocabulary or None
        None if the sequences are not text.
    scaling : Scaling or None
        None if features stay as they are.
    parts : Vocabulary or None
        That of affixes and shapes.
    tokens, affixes : as given
    """

    kind: str
    size: int
    vocabulary: Vocabulary | None
    scaling: Scaling | None
    parts: Vocabulary | None

    def __init__(
        self,
        *,
        tokens: str | None = "characters",
        min_count: int = 1,
        special: Sequence[str] = (),
        dtype: str = "float32",
        scale: bool = False,
        affixes: int | None = None,
    ) -> None:
        if tokens is not None:
            checks.one_of("characters", "words")("tokens", tokens)
        self.tokens = tokens
        self._min_count = checks.integer("min_count", min_count)
        self._special = tuple(special)
        self._dtype = checks.dtype("dtype", dtype)
        self._scale = checks.flag("scale", scale)
        self.affixes = None if affixes is None else checks.integer("affixes", affixes, 0)
        if affixes is not None and tokens == "characters":
            raise ValueError("affixes need words: tokens='words' or None, got 'characters'")

    def fit(self, X: Any, lengths: Any = None) -> SequenceEncoder:
        """Learn the kind of the sequences, and their tokens or the number of their features.

        Parameters
        ----------
        X : list or array
            Sequences, at least one with a step.
        lengths : integer array (B,), optional
            Number of steps of each sequence that count, in [0, T]; what is behind is not read.

        Raises
        ------
        TypeError, ValueError
            If X is something else, or its sequences are of different kinds. Single ids and
            features are not looked at before `transform`.
        """
        raw = read(X, lengths, tokens=self.tokens)
        if raw.kind is None or not raw.lengths.any():
            # scikit-learn's checks of estimators look for these words
            raise ValueError(
                "X must have at least one step, got none: "
                f"0 feature(s) (shape=({len(raw.lengths)}, 0)) while a minimum of 1 is required."
            )
        vocabulary = parts = None
        if self.affixes is not None and raw.kind != "tokens":
            raise TypeError(f"X must hold strings, to have affixes, got {KINDS[raw.kind]}")
        if raw.kind == "tokens":
            special = (UNKNOWN, *self._special)
            vocabulary = Vocabulary.of(raw.items, special=special, min_count=self._min_count)
            size = len(vocabulary)
            if self.affixes is not None:
                found = (part for item in raw.items for part in self._parts_of(item))
                parts = Vocabulary.of(found, special=(UNKNOWN,), min_count=self._min_count)
                size += len(parts)
        else:
            size = count_ids(raw) if raw.kind == "ids" else count_features(raw)
        self.kind, self.size = "features" if raw.kind == "features" else "ids", size
        self.vocabulary, self.parts = vocabulary, parts
        self.scaling = None
        if self._scale and self.kind == "features":
            sequences = self.transform(X, lengths)
            steps = [sequences[i] for i in range(len(sequences))]
            self.scaling = Scaling.of(np.concatenate(steps))
        return self

    def transform(self, X: Any, lengths: Any = None) -> Sequences:
        """Return the sequences, which may share memory with X; see `fit`.

        Raises
        ------
        TypeError, ValueError
            If they are not of the kind and size that was learned, an id is not in [0, size), or a
            feature is not finite.
        """
        raw = read(X, lengths, tokens=self.tokens)
        learned = "tokens" if self.vocabulary is not None else self.kind
        integers = raw.kind == "ids" and learned == "features"  # are numbers too
        if raw.kind not in (learned, None) and not integers:
            raise TypeError(f"X must hold {KINDS[learned]}, as in fit, got {KINDS[raw.kind]}")
        if self.vocabulary is not None:
            return Sequences.of(map(self._ids, raw.items))
        if self.kind == "ids":
            return Sequences(*flat_ids(raw, self.size), raw.lengths)
        flat, starts = flat_features(raw, self.size, self._dtype)
        if self.scaling is not None:
            flat = self.scaling.apply(flat)
        return Sequences(flat, starts, raw.lengths)

    def _ids(self, words: list[str]) -> NDArray[np.int32]:
        """Return the ids of one text, (T,), or with affixes (T, 1 + number of parts)."""
        assert self.vocabulary is not None
        ids = self.vocabulary.ids(words)
        if self.parts is None or self.affixes is None:
            return ids
        count = len(affixes_of("", self.affixes))
        flat = chain.from_iterable(self._parts_of(words))
        parts = self.parts.ids(flat).reshape(len(ids), count) + np.int32(len(self.vocabulary))
        return np.concatenate([ids[:, np.newaxis], parts], axis=1)

    def _parts_of(self, words: list[str]) -> Iterator[tuple[str, ...]]:
        assert self.affixes is not None
        return (affixes_of(word, self.affixes) for word in words)

    def cut(self, text: Any) -> list[str]:
        """Return the tokens of one text, or of what has been cut already.

        Raises
        ------
        TypeError
            If it is no text.
        """
        raw = read([text], tokens=self.tokens)
        if raw.kind not in ("tokens", None):
            raise TypeError(f"text must be a string or a list of tokens, got {KINDS[raw.kind]}")
        return list(raw.items[0])

    def to_dict(self) -> dict[str, Any]:
        """Return all that was given and learned, fit for JSON."""
        return {
            "tokens": self.tokens,
            "min_count": self._min_count,
            "special": list(self._special),
            "dtype": self._dtype.name,
            "scale": self._scale,
            "kind": self.kind,
            "size": self.size,
            "vocabulary": None if self.vocabulary is None else list(self.vocabulary.tokens),
            "scaling": None if self.scaling is None else self.scaling.to_dict(),
            "affixes": self.affixes,
            "parts": None if self.parts is None else list(self.parts.tokens),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SequenceEncoder:
        """Return what `to_dict` has described.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it has described no such thing.
        """
        names = ("tokens", "min_count", "special", "dtype", "scale", "affixes")
        encoder = cls(**{name: content[name] for name in names})
        encoder.kind = checks.one_of("ids", "features")("kind", content["kind"])
        encoder.size = checks.integer("size", content["size"])
        scaling = content["scaling"]
        encoder.scaling = None if scaling is None else Scaling.from_dict(scaling)
        tokens, parts = content["vocabulary"], content["parts"]
        encoder.vocabulary = None if tokens is None else Vocabulary(tokens)
        encoder.parts = None if parts is None else Vocabulary(parts)
        count = len(tokens or ()) + len(parts or ())
        if tokens is not None and encoder.size != count:
            raise ValueError(f"size must be the number of tokens, {count}, got {encoder.size}")
        return encoder
