"""Bilingual texts: English sentences with their translations, and a split that shares none."""

from __future__ import annotations

import gettext
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np

from examples._data import debian_file, user_file

Bitext: TypeAlias = list[tuple[str, list[str]]]  # English, and one or more translations

LANGUAGES = {"mr": "Marathi", "hi": "Hindi", "ta": "Tamil", "gu": "Gujarati"}
LONGEST = 80  # characters of a text of a program

_INDIC = re.compile("[\u0900-\u0dff]")
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")
_KEY = re.compile(r"\s*\([_~]\w\)|[_~](?=\w)")  # of a menu's entry: "(~F)", "_"


def read_tatoeba(data: Path) -> Bitext:
    """Return English sentences with their Marathi translations from tatoeba_en_mr/mar.txt."""
    lines = user_file(data, "tatoeba_en_mr/mar.txt").splitlines()
    return grouped(line.split("\t")[:2] for line in lines)


def read_packages(language: str) -> Bitext:
    """Return the texts of LibreOffice's windows and Unicode's names of emoji."""
    return grouped([*_libreoffice(language), *_emoji(language)])


def _libreoffice(language: str) -> Iterator[tuple[str, str]]:
    path = f"usr/lib/libreoffice/program/resource/{language}/LC_MESSAGES"
    for file in sorted(debian_file(f"libreoffice-l10n-{language}", path).glob("*.mo")):
        with file.open("rb") as stream:
            catalog = gettext.GNUTranslations(stream)._catalog  # type: ignore[attr-defined]
        for key, translation in catalog.items():
            if isinstance(key, tuple):  # of a plural
                continue
            english = key.rpartition("\x04")[2]  # after the context
            if len(english) <= LONGEST and not re.search(r"[%<$\n]", english + translation):
                yield _KEY.sub("", english), _KEY.sub("", translation)


def _emoji(language: str) -> Iterator[tuple[str, str]]:
    english, other = _names("en"), _names(language)
    for emoji in [emoji for emoji in english if emoji in other]:
        yield english[emoji], other[emoji]


def _names(language: str) -> dict[str, str]:
    """Return emoji and their names, without those of a color of skin."""
    names = {}
    for folder in ("annotations", "annotationsDerived"):
        path = f"usr/share/unicode/cldr/common/{folder}/{language}.xml"
        root = ElementTree.parse(debian_file("unicode-cldr-core", path))
        for entry in root.iterfind(".//annotation[@type='tts']"):
            if not _SKIN.search(emoji := entry.attrib["cp"]):
                names[emoji] = entry.text or ""
    return names


def grouped(pairs: Iterable[Iterable[str]]) -> Bitext:
    """Return each English text once with its distinct translations, as far as in their script."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for pair in pairs:
        english, other = (unicodedata.normalize("NFC", " ".join(text.split())) for text in pair)
        if normalized(english) and _INDIC.search(other):
            found[english][other] = None
    return [(english, list(others)) for english, others in sorted(found.items())]


def normalized(english: str) -> str:
    """Return a text without case and punctuation."""
    return " ".join(re.findall(r"\w+", english.lower()))


def split(bitext: Bitext, sizes: tuple[int, ...], seed: int) -> list[Bitext]:
    """Return random parts of these sizes, and the rest; no English text is in two of them.

    Texts that differ in case or punctuation alone count as one. It stands in the rest in all its
    forms, in a part of given size in the first of them.
    """
    groups: defaultdict[str, Bitext] = defaultdict(list)
    for english, others in bitext:
        groups[normalized(english)].append((english, others))
    order = np.random.default_rng(seed).permutation(len(groups))
    shuffled = [list(groups.values())[i] for i in order]
    parts = []
    for size in sizes:
        parts.append([forms[0] for forms in shuffled[:size]])
        shuffled = shuffled[size:]
    return [*parts, [form for forms in shuffled for form in forms]]
