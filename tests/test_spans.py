"""Spans, their F1, and the likeliest labels against a search through all of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.metrics import likeliest_labels, span_f1, spans

CLASSES = ["B-loc", "B-per", "I-loc", "I-per", "O"]


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


def test_f1():
    wanted = [spans(["B-loc", "I-loc", "O", "B-per"]), spans(["O", "B-per"])]
    found = [spans(["B-loc", "I-loc", "O", "O"]), spans(["B-per", "I-per"])]
    assert span_f1(found, wanted) == pytest.approx(2 * 1 / (2 + 3))
    assert span_f1(found, wanted, "loc") == 1
    assert span_f1(found, wanted, "per") == 0
    assert span_f1([set()], [set()]) == 0
    with pytest.raises(ValueError, match="found must have 2 sets, as wanted, got 1"):
        span_f1(found[:1], wanted)


def fits(labels):
    return all(b[0] != "I" or a[1:] == b[1:] for a, b in zip(["O", *labels], labels, strict=False))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_likeliest_of_all_that_fit(seed, steps):
    probabilities = np.random.default_rng(seed).dirichlet(np.full(5, 0.5), steps)
    allowed = [way for way in product(range(5), repeat=steps) if fits([CLASSES[k] for k in way])]
    best = max(allowed, key=lambda way: np.prod(probabilities[np.arange(steps), way]))
    assert likeliest_labels(probabilities, CLASSES).tolist() == [CLASSES[k] for k in best]


def test_nothing_to_label():
    assert likeliest_labels(np.empty((0, 5)), CLASSES).tolist() == []


def test_what_is_wrong():
    with pytest.raises(ValueError, match="labels must be 'O', 'B-kind' or 'I-kind', got 'NOUN'"):
        spans(["O", "NOUN"])
    with pytest.raises(ValueError, match="labels must be 'O', 'B-kind' or 'I-kind', got 'B-'"):
        likeliest_labels(np.ones((1, 1)), ["B-"])
    with pytest.raises(ValueError, match=r"\(T, number of classes\) = \(T, 5\), got \(2, 3\)"):
        likeliest_labels(np.ones((2, 3)), CLASSES)
