"""Viterbi decoding against a search through all consistent label sequences."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt.decoding import viterbi_decode

CLASSES = ["B-loc", "B-per", "I-loc", "I-per", "O"]


def is_consistent(labels):
    return all(b[0] != "I" or a[1:] == b[1:] for a, b in zip(["O", *labels], labels, strict=False))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_path_is_the_most_likely_consistent_one(seed, steps):
    probabilities = np.random.default_rng(seed).dirichlet(np.full(5, 0.5), steps)
    paths = product(range(5), repeat=steps)
    consistent = [path for path in paths if is_consistent([CLASSES[k] for k in path])]
    best = max(consistent, key=lambda path: np.prod(probabilities[np.arange(steps), path]))
    assert viterbi_decode(probabilities, CLASSES).tolist() == [CLASSES[k] for k in best]


def test_empty_sequence():
    assert viterbi_decode(np.empty((0, 5)), CLASSES).tolist() == []


def test_errors():
    with pytest.raises(ValueError, match="classes must be 'O', 'B-kind' or 'I-kind', got 'B-'"):
        viterbi_decode(np.ones((1, 1)), ["B-"])
    with pytest.raises(ValueError, match=r"\(T, number of classes\) = \(T, 5\), got \(2, 3\)"):
        viterbi_decode(np.ones((2, 3)), CLASSES)
