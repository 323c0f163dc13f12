"""Words of a text, and the default text: the documentation of Python."""

from __future__ import annotations

import re
import unicodedata

MAX_WORD_LENGTH = 32
"""Maximum number of letters; longer runs are data, not words."""


def normalize(text: str) -> str:
    """Return `text` in lower case and normalization form C, one character per accented letter."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def extract_words(text: str) -> list[str]:
    """Return the normalized words of `text` in order.

    A word is a run of 2 to `MAX_WORD_LENGTH` letters. Identifiers such as ``x2`` and ``__init__``
    and contractions such as ``don't`` are dropped, not split.
    """
    runs = (run.strip("'’") for run in re.findall(r"[\w'’]+", normalize(text)))
    return [run for run in runs if run.isalpha() and 2 <= len(run) <= MAX_WORD_LENGTH]


def python_documentation() -> str:
    """Return the English text of ``help("topics")``, which comes with Python.

    Raises
    ------
    ImportError
        If this Python installation does not have it.
    """
    from pydoc_data.topics import topics

    return "\n".join(topics.values())
