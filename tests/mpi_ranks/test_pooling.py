"""What encoders learn from shards: the same as from all data."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.data import LabelEncoder, SequenceEncoder
from bptt.distributed import Communicator
from bptt.distributed._pooling import pooled_sum, pooling
from thread_ranks import run_ranks

RANDOM = np.random.default_rng(0)
SERIES = [RANDOM.standard_normal((n, 3)) * 9 + 5 for n in RANDOM.integers(1, 9, 12)]


def pooled(parts, function):
    """Return what each rank learns from its part."""

    def task(comm):
        with pooling(Communicator(comm, shards=True)):
            return function(parts[comm.Get_rank()])

    return run_ranks(len(parts), task)


@pytest.mark.parametrize(("missing", "scale"), [("mask", True), ("decay", True), ("decay", False)])
def test_a_column_without_values_on_a_rank_does_not_count(missing, scale):
    series = [one.copy() for one in SERIES]
    for one in series[:5]:
        one[:, 1] = np.nan

    def learn(X):
        encoder = SequenceEncoder(missing=missing, scale=scale, dtype="float64").fit(X)
        return encoder.standardizer

    whole = learn(series)
    for found in pooled([series[:5], series[5:7], series[7:]], learn):
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-13)
        np.testing.assert_allclose(found.std, whole.std, rtol=1e-13)


@pytest.mark.parametrize(
    "X",
    [
        ["the cat", "", "a catalog", "the end"],
        [np.array([3, 4]), np.zeros(0, int), np.array([20_000, *range(300)]), np.array([9])],
        [np.ones((2, 2)), np.zeros((0, 2)), np.full((3, 2), 4.0), np.zeros((1, 2))],
    ],
    ids=["tokens", "ids", "features"],
)
def test_a_rank_without_steps_learns_from_the_others(X):
    def learn(part):
        return SequenceEncoder().fit(part).to_dict()

    whole = learn(X)
    assert pooled([X[:1], X[1:2], X[2:]], learn) == [whole] * 3
    assert pooled([X[1:2], X[:1] + X[2:]], learn) == [whole] * 2


def test_sparse_ids_of_all_ranks_are_refused():
    with pytest.raises(ValueError, match="times the number of ids that occur, 3, got 19,999"):
        pooled(
            [[np.array([0, 1])], [np.array([19_999])]],
            lambda X: SequenceEncoder().fit(X),
        )


def test_categories():
    pandas = pytest.importorskip("pandas")

    def table(a, b):
        return pandas.DataFrame({"a": a, "b": b})

    def learn(X):
        return SequenceEncoder(categorical_features="from_dtype").fit(X).to_dict()

    parts = [[table([1.0], ["x"])], [table([2.0, 3.0], ["z", "y"])]]
    whole = learn([*parts[0], *parts[1]])
    assert whole["categories"] == [["<unk>", "x", "y", "z"]]
    assert pooled(parts, learn) == [whole] * 2
    rule = r"data of rank 1: X must have the columns of categories \(1,\), got \(0,\)"
    with pytest.raises(ValueError, match=rule):
        pooled([parts[0], [table(["x"], [1.0])]], learn)
    with pytest.raises(ValueError, match=r"data of rank 1: X must have the columns \('a', 'b'\)"):
        pooled([parts[0], [parts[1][0].rename(columns={"a": "c"})]], learn)


@pytest.mark.parametrize(
    ("parts", "dtype"),
    [
        ([np.array(["a", "b"]), np.array(["longer"])], "U6"),
        ([np.array([3, 1], np.int32), np.array([2], np.int32)], "int32"),
        ([np.array([3, 1], np.int32), np.array([2], np.int16)], "int32"),
        ([np.array(["a", "b"]), []], "U1"),
        ([np.array([3, 1], np.int16), [2]], "int64"),
    ],
)
def test_classes(parts, dtype):
    found = pooled(parts, lambda y: LabelEncoder().fit(y).classes_)
    expected = np.array(sorted({label for part in parts for label in list(part)}), dtype)
    for one in found:
        np.testing.assert_array_equal(one, expected, strict=True)


def test_classes_that_cannot_be_sorted_or_are_missing():
    with pytest.raises(TypeError, match="y must hold labels that can be sorted"):
        pooled([["a"], [1]], lambda y: LabelEncoder().fit(y))
    with pytest.raises(ValueError, match="y must have at least one label, got none"):
        pooled([[], []], lambda y: LabelEncoder().fit(y))


def test_values_of_different_types_are_refused():
    with pytest.raises(ValueError, match="of the same kind on all ranks, got list, int to learn"):
        pooled([[1], 2], pooled_sum)
