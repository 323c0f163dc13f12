"""Words of a text, and their characters as numbers: what a model of words reads."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

STOP = "<stop>"
"""The symbol that ends every word."""

LONGEST = 32
"""Letters of the longest word that counts as one; beyond are data, not words."""


def normalise(text: str) -> str:
    """Return `text` in lower case, with every accented letter as one character (NFC)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def words_of(text: str) -> list[str]:
    """Return the words of `text` in their order, normalised.

    A word is a run of 2 to `LONGEST` letters. Names of programs, as ``x2`` and ``__init__``, and
    contractions, as ``don't``, are left out whole, not cut into letters that are no words.
    """
    runs = (run.strip("'’") for run in re.findall(r"[\w'’]+", normalise(text)))
    return [run for run in runs if run.isalpha() and 2 <= len(run) <= LONGEST]


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"text must be UTF-8, got byte 0x{error.object[error.start]:02x} at {error.start}"
        ) from None


def python_documentation() -> str:
    """Return the English prose that comes with every Python: what ``help("topics")`` shows.

    Raises
    ------
    ImportError
        If this Python came without it.
    """
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


class Batch(NamedTuple):
    """Words as arrays, one a row: from every character on, the next one has to be predicted."""

    inputs: NDArray[Any]
    """Ids of the characters, (B, T); what lies behind a word is 0. Or their one-hot vectors."""
    targets: NDArray[np.integer[Any]]
    """Ids of the characters one step later, and the stop at the end, (B, T)."""
    lengths: NDArray[np.integer[Any]]
    """Number of characters of each word, (B,)."""

    def rows(self, index: NDArray[np.integer[Any]]) -> Batch:
        """Return the words at `index`, with as many steps as the longest of them has."""
        lengths = self.lengths[index]
        steps = int(lengths.max())
        return Batch(self.inputs[index, :steps], self.targets[index, :steps], lengths)

    def shuffled(self, size: int, random: np.random.Generator) -> list[Batch]:
        """Return all words in random batches of `size`, together with others of like length.

        Ragged batches are slower: of the last steps, few rows are left to share the work.
        """
        order = random.permutation(len(self.lengths))
        order = order[np.argsort(self.lengths[order], kind="stable")]
        starts = random.permutation(np.arange(0, len(order), size))
        return [self.rows(order[start : start + size]) for start in starts]


class Vocabulary:
    """The characters that a model knows, each with its place as its id, and the stop behind them.

    Parameters
    ----------
    characters : str
        Each once.

    Raises
    ------
    ValueError
        If there is none, or one comes twice.
    """

    def __init__(self, characters: str) -> None:
        if not characters or len(set(characters)) < len(characters):
            raise ValueError(f"characters must be there, each once, got {characters!r}")
        self.characters = characters
        self.stop = len(characters)
        self.symbols = (*characters, STOP)
        self._ids = {character: number for number, character in enumerate(characters)}

    @classmethod
    def of(cls, words: Sequence[str]) -> Vocabulary:
        """Return the vocabulary of `words`, in alphabetical order."""
        return cls("".join(sorted(set().union(*words))))

    def ids(self, word: str) -> list[int]:
        """Return the ids of the characters of `word`.

        Raises
        ------
        ValueError
            If it is empty, or has a character that is not in the vocabulary.
        """
        if not word:
            raise ValueError("a word must have at least one character")
        try:
            return [self._ids[character] for character in word]
        except KeyError as error:
            known = self.characters if self.stop <= 60 else f"{self.characters[:60]}..."
            raise ValueError(
                f"characters must be among {known}, got {error.args[0]!r} in {word!r}"
            ) from None

    def encode(self, words: Sequence[str]) -> Batch:
        """Return `words` as arrays.

        Raises
        ------
        ValueError
            If there is no word, or `ids` does not take one of them.
        """
        if not words:
            raise ValueError("words must not be empty")
        lengths = np.array([len(word) for word in words])
        inputs = np.zeros((len(words), lengths.max()), np.int32)
        for row, word in zip(inputs, words, strict=True):
            row[: len(word)] = self.ids(word)
        targets = np.zeros_like(inputs)
        targets[:, :-1] = inputs[:, 1:]
        targets[np.arange(len(words)), lengths - 1] = self.stop
        return Batch(inputs, targets, lengths)


def count_bits(
    words: Sequence[str], others: Sequence[str], vocabulary: Vocabulary, *, pairs: bool
) -> float:
    """Return the bits per character that a model of mere counts needs: a baseline.

    It has counted in `words` how often every character follows, at all or, with `pairs`, every
    other one; each count is one more, so that nothing is impossible. It then predicts `others`.
    """
    follows: Counter[tuple[str, str]] = Counter()
    totals: Counter[str] = Counter()
    for word in words:
        for before, after in _steps(word, pairs):
            follows[before, after] += 1
            totals[before] += 1
    size = len(vocabulary.symbols)
    bits = [
        math.log2((totals[before] + size) / (follows[before, after] + 1))
        for word in others
        for before, after in _steps(word, pairs)
    ]
    return sum(bits) / len(bits)


def _steps(word: str, pairs: bool) -> list[tuple[str, str]]:
    """Return what comes before, if it is to matter, and after, of all that is predicted."""
    before = word if pairs else [""] * len(word)
    return list(zip(before, [*word[1:], STOP], strict=True))
