"""ABC notation: parsing, notes, checks of bars, sound."""

from __future__ import annotations

import wave
from fractions import Fraction

import pytest

from examples import _abc
from examples._abc import Tune

COLLECTION = """X: 1
T: One
M: C
L: 1/8
K: D Minor
"Dm"A,>B ({g}f2) | (3def ^c/c/ c :|

X: 2
T: Of two keys
M: 6/8
L: 1/8
K: G
GAB d3 |
K: D
d3 D3 ||
"""


def test_ornaments_are_removed():
    (tune,) = _abc.parse(COLLECTION)
    assert tune == Tune("One", "4/4", "Dm", "A,>Bf2|(3def^c/c/c:|")
    assert str(tune) == "X:1\nT:One\nM:4/4\nL:1/8\nK:Dm\nA,>Bf2|(3def^c/c/c:|\n"


def test_notes():
    """Broken rhythm, triplets, the key's b flat, a sharp that holds until the end of its bar."""
    (tune,) = _abc.parse(COLLECTION)
    found = _abc.notes(tune)
    assert [note.pitch for note in found] == [57, 70, 77, 74, 76, 77, 73, 73, 73]
    lengths = ["3/2", "1/2", "2", "2/3", "2/3", "2/3", "1/2", "1/2", "1"]
    assert [note.length for note in found] == [Fraction(length) for length in lengths]
    assert found[-1].start == 7
    assert _abc.starts(tune) == [0, 4]


@pytest.mark.parametrize(
    ("key", "f", "c", "b"), [("D", 1, 1, 0), ("Dm", 0, 0, -1), ("Ador", 1, 0, 0)]
)
def test_key_signatures(key, f, c, b):
    pitches = [note.pitch for note in _abc.notes(Tune("", "3/4", key, "Fcb|"))]
    assert pitches == [65 + f, 72 + c, 83 + b]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("A|dfd efg|a3 f3|d3 d2:|A|dfd efg|a6||", True),
        ("A|dfd ef|a3 f3|d3 d2:|A|dfd efg|a6||", False),  # a short bar
        ("A|dfd efg|a3 f3|d3 d2:|A|dfd efg|a7||", False),  # a long bar
        ("A|dfd efg|a3 f3|d3 d2:|A|dfd efg|a6", False),  # no final bar line
        ("", False),
    ],
)
def test_complete_tunes(body, expected):
    assert _abc.complete(Tune("", "6/8", "D", body.replace(" ", ""))) is expected


def test_length_of_the_sound(tmp_path):
    (tune,) = _abc.parse(COLLECTION)
    _abc.sound(tune, tmp_path / "one.wav", eighths=4, rate=8000)
    with wave.open(str(tmp_path / "one.wav")) as file:
        assert file.getnframes() == 8000 * (8 / 4 + 1)
