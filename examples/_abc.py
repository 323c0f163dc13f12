"""ABC notation: parsing of tunes, checks of bars, notes and sound."""

from __future__ import annotations

import re
import wave
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

NOTE = r"([=_^]?)([A-Ga-gz])([,']*)(\d*/*\d*)([<>]*)"
BAR = r"\|\||:\|:?|\|:|::|\||\[[12]"
TIDY = (
    (r"%.*", ""),
    (r'"[^"]*"|\{[^}]*\}|!\w+!|[~.uvTHMOPRSJL\\`\s)-]|\((?![23])', ""),  # ornaments, slurs, beams
    (r"\[\||\|\]|\|{3,}", "||"),
    (r"\|([12])", r"|[\1"),
    (r":\|+:", "::"),
    (r":\|+", ":|"),
    (r"\|+:", "|:"),
)
METERS = {"C": "4/4", "C|": "2/2"}
MODES = {"": 0, "maj": 0, "mix": -1, "dor": -2, "m": -3, "min": -3, "aeo": -3}
FIFTHS = "FCGDAEB"
SEMITONES = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))


class Tune(NamedTuple):
    """A tune with the eighth as its unit; `body` holds notes and bars only."""

    title: str
    meter: str
    key: str
    body: str

    def __str__(self) -> str:
        bars = re.findall(rf".*?(?:{BAR})+", self.body)
        lines = ["".join(bars[i : i + 4]) for i in range(0, len(bars), 4)]
        head = f"X:1\nT:{self.title}\nM:{self.meter}\nL:1/8\nK:{self.key}\n"
        return head + "\n".join(lines) + "\n"


class Note(NamedTuple):
    """Start and length of a note, in eighths, and its MIDI number."""

    start: Fraction
    length: Fraction
    pitch: int


def parse(text: str) -> Iterable[Tune]:
    """Yield the tunes of a collection that have one voice, one key and bars of one length."""
    for part in re.split(r"(?m)^(?=X:)", text)[1:]:
        fields = re.findall(r"(?m)^([A-Za-z]):[ \t]*([^%\n]*?)[ \t]*(?:%.*)?$", part)
        once = dict(reversed(fields))  # the first of each
        if sum(name in "KLM" for name, _ in fields) != 3 or once.get("L") != "1/8":
            continue
        key = re.match(r"([A-G][b#]?)\s*([A-Za-z]*)$", once["K"])
        lines = [x for x in part.splitlines() if not re.match(r"[A-Za-z]:|%", x)]
        body = "\n".join(lines)
        for old, new in TIDY:
            body = re.sub(old, new, body)
        mode = key[2][:3].lower() if key else "none"
        if not key or mode not in MODES or re.sub(rf"{NOTE}|\([23]|{BAR}", "", body):
            continue
        mode = {"maj": "", "min": "m", "aeo": "m"}.get(mode, mode)
        yield Tune(once.get("T", ""), METERS.get(once["M"], once["M"]), key[1] + mode, body)


def bars(tune: Tune) -> list[tuple[str, str, str]]:
    """Return every bar with the bar lines before and after it."""
    parts = re.split(rf"((?:{BAR})+)", tune.body)
    before = ["|:", *parts[1::2]]
    found = zip(before, parts[::2], parts[1::2], strict=False)  # a bar must end
    return [bar for bar in found if bar[1]]


def notes(tune: Tune) -> list[Note]:
    """Return the notes of a tune, each part played once."""
    found: list[Note] = []
    start = Fraction(0)
    for _, bar, _ in bars(tune):
        sharps = _signature(tune.key)
        for length, accidental, letter, octave in _lengths(bar):
            if letter != "z":
                name = letter.upper()
                height = SEMITONES[name] + 12 * (letter.islower() + octave.count("'"))
                if accidental:  # until the end of the bar
                    sharps[letter + octave] = "_=^".index(accidental) - 1
                change = sharps.get(letter + octave, sharps.get(name + "*", 0))
                found.append(Note(start, length, 60 + height - 12 * octave.count(",") + change))
            start += length
    return found


def starts(tune: Tune) -> list[Fraction]:
    """Return the start of each bar, in eighths."""
    lengths = [sum((note[0] for note in _lengths(bar)), Fraction(0)) for _, bar, _ in bars(tune)]
    return [sum(lengths[:i], Fraction(0)) for i in range(len(lengths))]


def complete(tune: Tune) -> bool:
    """Return whether all bars between single lines are full, none too long, and the tune ends."""
    whole = 8 * Fraction(tune.meter)
    for before, bar, after in (found := bars(tune)):
        length = sum((note[0] for note in _lengths(bar)), Fraction(0))
        if length > whole or (before == after == "|" and length < whole):
            return False
    return len(found) > 4 and bool(re.search(rf"(?:{BAR})$", tune.body))


def parsed_by_music21(tune: Tune) -> bool:
    """Return whether music21 parses the same number of notes, of the same total length."""
    from music21 import converter

    found = converter.parse(str(tune), format="abc").flatten().notes
    ours = notes(tune)
    length = float(sum(note.length for note in ours))
    return len(found) == len(ours) and abs(2 * sum(n.quarterLength for n in found) - length) < 0.01


@cache
def _lengths(bar: str) -> tuple[tuple[Fraction, str, str, str], ...]:
    """Return length, accidental, letter and octave of each note; in "a>b" a takes half of b."""
    found = []
    factor, triplet = Fraction(1), 0
    for group, accidental, letter, octave, length, broken in re.findall(rf"\(([23])|{NOTE}", bar):
        if group:
            triplet = 3 if group == "3" else 0
            continue
        above, slashes, below = re.match(r"(\d*)(/*)(\d*)", length).groups()
        time = Fraction(int(above or 1), int(below or 2 ** len(slashes))) * factor
        factor = Fraction(1)
        if broken:
            short = Fraction(1, 2 ** len(broken))
            first, factor = (2 - short, short) if broken[0] == ">" else (short, 2 - short)
            time *= first
        if triplet:
            time, triplet = time * Fraction(2, 3), triplet - 1
        found.append((time, accidental, letter, octave))
    return tuple(found)


def _signature(key: str) -> dict[str, int]:
    """Return "F*" -> 1 for a key with f sharp, -1 for flat."""
    tonic, mode = re.match(r"([A-G][b#]?)(.*)", key).groups()
    place = FIFTHS.index(tonic[0]) - 1 + 7 * (tonic[1:] == "#") - 7 * (tonic[1:] == "b")
    place += MODES[mode]
    names = FIFTHS[:place] if place > 0 else FIFTHS[place:] if place < 0 else ""
    return {name + "*": 1 if place > 0 else -1 for name in names}


def sound(tune: Tune, path: Path, *, eighths: float = 5.0, rate: int = 11_025) -> None:
    """Write the tune as a WAV file of plucked notes, at `eighths` per second."""
    played = notes(tune)
    end = max(note.start + note.length for note in played)
    samples = np.zeros(int(rate * (float(end) / eighths + 1)))
    for note in played:
        time = np.arange(int(rate * (float(note.length) / eighths + 0.3))) / rate
        phase = 2 * np.pi * 440 * 2 ** ((note.pitch - 69) / 12) * time
        tone = sum(np.sin(n * phase) / n**2 for n in (1, 2, 3, 4)) * np.exp(-5 * time)
        first = int(rate * float(note.start) / eighths)
        samples[first : first + len(tone)] += tone[: len(samples) - first]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples / np.abs(samples).max() * 30_000).astype("<i2").tobytes())
