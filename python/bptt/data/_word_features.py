"""What a word looks like: its beginnings, its ends and its shape, which unknown words have too."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import groupby

_START, _END = "\x02", "\x03"  # no characters of words


@lru_cache(maxsize=2**16)  # words come again
def affixes_of(word: str, longest: int) -> tuple[str, ...]:
    """Return shape, lower-case form, and the prefixes and suffixes of `longest` letters at most.

    All words give the same number of strings, in the same order, 2 + 2 `longest`. A prefix is
    longer than the word if it holds the end of it; so is a suffix. In the shape, upper-case letters
    are A, lower-case ones a, digits 0, other letters the first word of their Unicode name (the
    script), and what comes several times in a row is there once: "Aa-0" for "Covid-19".

    Parameters
    ----------
    word : str
    longest : int
        >= 0.
    """
    marked = f"{_START}{word.lower()}{_END}"
    prefixes = [marked[: k + 1] for k in range(1, longest + 1)]
    suffixes = [marked[-k - 1 :] for k in range(1, longest + 1)]
    shape = "".join(sign for sign, _ in groupby(map(_sign, word)))
    return (f"{_END}{shape}", marked, *prefixes, *suffixes)


def _sign(character: str) -> str:
    """Return the kind of a character in the shape of a word."""
    if character.isupper() or character.islower():
        return "A" if character.isupper() else "a"
    if character.isdigit():
        return "0"
    name = unicodedata.name(character, "") if character.isalpha() else ""
    return name.replace("-", " ").partition(" ")[0] or character
