"""Features of words: shape, lower-case form, prefixes and suffixes, which unknown words share."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

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
