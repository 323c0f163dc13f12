"""Metrics: examples from the literature, the axioms of a distance, spans by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptt.metrics import edit_distance, error_rate, span_f1, spans

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
def test_known_edit_distances(a, b, distance):
    assert edit_distance(a, b) == distance


@given(words, words, words)
def test_edit_distance_is_a_metric(a, b, c):
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


@given(words, words)
def test_edit_distance_by_its_recursive_definition(a, b):
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
    with pytest.raises(ValueError, match="predicted must have 2 sequences, as expected, got 1"):
        error_rate(["a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"tokens in expected must be an integer >= 1, got 0"):
        error_rate(["a"], [""])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("", set()),
        ("O O", set()),
        ("B-loc I-loc O B-per", {(0, 2, "loc"), (3, 4, "per")}),
        ("B-loc B-loc I-loc", {(0, 1, "loc"), (1, 3, "loc")}),
        ("O I-per I-per", {(1, 3, "per")}),
        ("B-loc I-per", {(0, 1, "loc"), (1, 2, "per")}),
    ],
)
def test_spans(labels, expected):
    assert spans(labels.split()) == expected


def test_span_f1():
    expected = [spans(["B-loc", "I-loc", "O", "B-per"]), spans(["O", "B-per"])]
    predicted = [spans(["B-loc", "I-loc", "O", "O"]), spans(["B-per", "I-per"])]
    assert span_f1(predicted, expected) == pytest.approx(2 * 1 / (2 + 3))
    assert span_f1(predicted, expected, "loc") == 1
    assert span_f1(predicted, expected, "per") == 0
    assert span_f1([set()], [set()]) == 0
    with pytest.raises(ValueError, match="predicted must have 2 sets, as expected, got 1"):
        span_f1(predicted[:1], expected)
    message = r"^expected must hold sets of spans, got list: use \[spans\(labels\) for labels in ex"
    with pytest.raises(TypeError, match=message):
        span_f1(predicted, [["B-loc"], ["O"]])


def test_labels_that_are_not_iob():
    with pytest.raises(ValueError, match="labels must be 'O', 'B-kind' or 'I-kind', got 'NOUN'"):
        spans(["O", "NOUN"])
