"""Edit distances: examples from the literature, and the rules of any distance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt.metrics import edit_distance, error_rate

words = st.text("abc", max_size=7)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("kitten", "sitting", 3),
        ("saturday", "sunday", 3),
        ("intention", "execution", 5),
        ("", "abc", 3),
        ("abc", "", 3),
        (["the", "cat"], ["the", "black", "cat"], 1),
    ],
)
def test_known_distances(a, b, distance):
    assert edit_distance(a, b) == distance


@given(words, words, words)
def test_it_is_a_distance(a, b, c):
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


@given(words, words)
def test_first_tokens(a, b):
    """The distance by its definition, from the first tokens on."""

    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return distance(a[1:], b[1:])
        return 1 + min(distance(a[1:], b), distance(a, b[1:]), distance(a[1:], b[1:]))

    assert edit_distance(a[:5], b[:5]) == distance(a[:5], b[:5])


def test_error_rate():
    assert error_rate(["abc", "xx"], ["abd", "xxxxx"]) == 4 / 8
    assert error_rate([["a", "b"]], [["a", "b"]]) == 0
    with pytest.raises(ValueError, match="found must have 2 sequences, as wanted, got 1"):
        error_rate(["a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"tokens in wanted must be an integer >= 1, got 0"):
        error_rate(["a"], [""])
