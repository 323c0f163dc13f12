"""Features of words, which unknown words share: shape, lower-case form, affixes, characters."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, count, groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from bptt.data.vocabulary import Vocabulary

_START, _END = "\x02", "\x03"  # not characters of words


@lru_cache(maxsize=2**16)  # words are repeated
def word_features(word: str, affixes: int) -> tuple[str, ...]:
    """Return the shape, the lower-case form, and the prefixes and suffixes of a word.

    Every word has the same number of features, 2 + 2 `affixes`, in the same order. Prefixes and
    suffixes as long as the word include a mark of its end or beginning. In the shape, upper-case
    letters are A, lower-case letters a, digits 0, and other letters the first word of their Unicode
    name (the script); repetitions are collapsed: "Aa-0" for "Covid-19".

    Parameters
    ----------
    word : str
        The word.
    affixes : int
        Maximum length of prefixes and suffixes, >= 0.

    Returns
    -------
    tuple of str
        The features.
    """
    marked = f"{_START}{word.lower()}{_END}"
    shape = "".join(map(itemgetter(0), groupby(map(_character_class, word))))
    return (f"{_END}{shape}", *map(marked.__getitem__, _parts(affixes)))


@lru_cache
def _parts(affixes: int) -> list[slice]:
    """Return the places of the whole word, its prefixes and its suffixes in the marked word."""
    lengths = range(2, affixes + 2)
    return [slice(None), *(slice(k) for k in lengths), *(slice(-k, None) for k in lengths)]


@lru_cache(maxsize=2**12)
def _character_class(character: str) -> str:
    """Return the symbol of a character in the shape of a word."""
    if character.isupper() or character.islower():
        return "A" if character.isupper() else "a"
    if character.isdigit():
        return "0"
    name = unicodedata.name(character, "") if character.isalpha() else ""
    return name.replace("-", " ").partition(" ")[0] or character


def distinct(tokens: Iterable[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct tokens, and the index of each of `tokens` among them."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    places = np.fromiter(map(numbers.__getitem__, tokens), np.int64)
    return list(numbers), places


def count_features_of_words(words: Mapping[str, int], affixes: int) -> dict[str, int]:
    """Return the frequencies of the features of words with these frequencies."""
    features, places = distinct(_features(words, affixes))
    each = np.fromiter(words.values(), np.int64, len(words))
    weights = np.repeat(each, len(places) // len(words))
    return dict(zip(features, np.bincount(places, weights).astype(int).tolist(), strict=True))


def count_characters(words: Mapping[str, int]) -> Mapping[str, int]:
    """Return the frequencies of the characters of words with these frequencies."""
    counts: Counter[str] = Counter()
    for word, number in words.items():
        for character in word:
            counts[character] += number
    return counts


def feature_ids(words: Sequence[str], affixes: int, vocabulary: Vocabulary) -> NDArray[np.int32]:
    """Return the ids of the features of words, (N, 2 + 2 affixes)."""
    shape = (len(words), len(word_features("", affixes)))
    return vocabulary.encode(_features(words, affixes)).reshape(shape)


def character_ids(words: Sequence[str], length: int, vocabulary: Vocabulary) -> NDArray[np.int32]:
    """Return the ids of the characters of words, (N, length), with 0 after the last.

    Of longer words the middle is left out.
    """
    start, end = length - length // 2, length // 2
    kept = [w if len(w) <= length else w[:start] + w[len(w) - end :] for w in words]
    counts = np.fromiter(map(len, kept), np.int64, len(kept))
    ids = np.zeros((len(kept), length), np.int32)
    ids[np.arange(length) < counts[:, np.newaxis]] = vocabulary.encode("".join(kept))
    return ids


def _features(words: Iterable[str], affixes: int) -> Iterable[str]:
    """Return the features of the first word, of the second, .."""
    return chain.from_iterable(word_features(word, affixes) for word in words)
