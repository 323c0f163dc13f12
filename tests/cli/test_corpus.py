"""Words of a text."""

from __future__ import annotations

import pytest

from bptt.cli.corpus import MAX_WORD_LENGTH, extract_words, normalize, python_documentation


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Deep learning,\n  deep!", ["deep", "learning", "deep"]),
        ("the 'quoted' and \"quoted\" word’s", ["the", "quoted", "and", "quoted"]),
        ("x don't self.x2 __init__ re.sub a_b 42nd", ["self", "re", "sub"]),
        ("Straße ÉTÉ e\u0301te\u0301 ŁÓDŹ", ["straße", "été", "été", "łódź"]),
        ("well-known, and/or", ["well", "known", "and", "or"]),
        (f"{'a' * MAX_WORD_LENGTH} {'b' * (MAX_WORD_LENGTH + 1)}", ["a" * MAX_WORD_LENGTH]),
        ("", []),
        ("1 2 3 ...", []),
    ],
)
def test_words_are_runs_of_letters(text, words):
    assert extract_words(text) == words


def test_normalized_letters_are_single_characters():
    assert normalize("E\u0301") == "é"
    assert all(len(normalize(letter)) == 1 for letter in "ÀÉÎÕÜ")


def test_documentation_of_python_has_enough_words():
    words = extract_words(python_documentation())
    assert len(words) > 20_000
    assert {"default", "dictionary", "return"} <= set(words)
