"""Words of a text, and the default text: Python's documentation."""

from __future__ import annotations

import re
import unicodedata

MAX_WORD_LENGTH = 32
"""Letters of the longest word that counts as one; beyond are data, not words."""


def normalize(text: str) -> str:
    """Return `text` in lower case, with every accented letter as one character (NFC)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def extract_words(text: str) -> list[str]:
    """Return the words of `text` in their order, normalized.

    A word is a run of 2 to `MAX_WORD_LENGTH` letters. Identifiers such as ``x2`` and ``__init__``
    and contractions such as ``don't`` are dropped, not split.
    """
    runs = (run.strip("'’") for run in re.findall(r"[\w'’]+", normalize(text)))
    return [run for run in runs if run.isalpha() and 2 <= len(run) <= MAX_WORD_LENGTH]


def python_documentation() -> str:
    """Return the English prose that comes with every Python: what ``help("topics")`` shows.

    Raises
    ------
    ImportError
        If this Python came without it.
    """
    from pydoc_data.topics import topics

    return "\n".join(topics.values())
