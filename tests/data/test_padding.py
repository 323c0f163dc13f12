"""Padding of minibatches: the same as row by row, whatever the dtype and the places."""

from __future__ import annotations

import numpy as np
import pytest

from bptt._core import loader
from bptt.data import Sequences


@pytest.mark.parametrize("features", [(), (3,), (0,), (2, 5)])
@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "float32", "float64"])
def test_rows_are_the_sequences_and_zeros(dtype, features):
    rng = np.random.default_rng(0)
    values = (10 * rng.standard_normal((40, *features))).astype(dtype)
    starts, lengths = np.array([30, 0, 12, 40, 5]), np.array([10, 4, 0, 0, 7])
    padded, found = Sequences(values, starts, lengths).pad(np.array([4, 0, 3, 1]))
    assert padded.dtype == values.dtype
    assert padded.shape == (4, 10, *features)
    assert padded.flags.writeable
    assert found.tolist() == [7, 10, 0, 4]
    for row, start, length in zip(padded, [5, 30, 40, 0], found, strict=True):
        assert np.array_equal(row[:length], values[start : start + length])
        assert not row[length:].any()


def test_values_of_any_strides():
    values = np.random.default_rng(0).standard_normal((2, 30, 6))[1, ::2, ::-2]
    padded, _ = Sequences(values, np.array([0, 9]), np.array([9, 6])).pad(np.array([1, 0]))
    assert np.array_equal(padded[0, :6], values[9:])
    assert np.array_equal(padded[1], values[:9])


def test_empty_sequences_and_none():
    sequences = Sequences(np.arange(4), np.array([4, 0]), np.array([0, 0]))
    assert sequences.pad(np.array([0, 1]))[0].shape == (2, 0)
    assert sequences.pad(np.array([], int))[0].shape == (0, 0)


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0, 6), (6, 0), (3, 3), (2, -1)])
def test_places_outside_of_the_values(start, length):
    with pytest.raises(ValueError, match=r"sequences must lie in the 5 values"):
        loader.kernels.pad(np.arange(5), np.array([0, start]), np.array([5, length]), np.arange(2))


@pytest.mark.parametrize("index", [-1, 2, 2**40])
def test_indices_of_no_sequence(index):
    sequences = Sequences(np.arange(4), np.array([4, 0]), np.array([0, 0]))
    with pytest.raises(ValueError, match=rf"indices must lie in \[0, 2\), got {index}"):
        sequences.pad(np.array([0, index]))


def test_objects_and_wrong_shapes():
    one = np.array([1])
    with pytest.raises(TypeError, match="values must be an array of numbers, got object"):
        loader.kernels.pad(np.array([None, "a"]), one, one, one)
    with pytest.raises(TypeError, match="values must be an array of numbers"):
        loader.kernels.pad(np.array(3), one, one, one)
    with pytest.raises(ValueError, match="lengths must have shape"):
        loader.kernels.pad(np.arange(5), one, np.array([1, 2]), one)
