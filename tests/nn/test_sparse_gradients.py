"""Sparse gradients of embeddings against dense ones: the same bits, whatever is done with them."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt.nn.sparse_gradients import SparseGradients
from cases import DTYPES, dtype_id
from derivatives import assert_gradients

N, E = 7, 5


def same_bits(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def dense_sum(shape, ids, d_output):
    """The gradient of a table: rows added in the order of the ids."""
    total = np.zeros(shape, d_output.dtype)
    for id_, d in zip(ids.reshape(-1), d_output.reshape(-1, shape[1]), strict=True):
        total[id_] += d
    return total


@st.composite
def batches(draw):
    """Ids (B, T, F), lengths or None, and the shape of the table."""
    count, features = draw(st.sampled_from([1, 3, 64, 65, 200])), draw(st.sampled_from([1, 5, 33]))
    shape = draw(st.integers(0, 4)), draw(st.integers(0, 5)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    ids = rng.integers(0, count, shape)
    if draw(st.booleans()):
        ids[...] = draw(st.integers(0, count - 1))  # one id
    lengths = rng.integers(0, shape[1] + 1, shape[0]) if draw(st.booleans()) else None
    return ids, lengths, (count, features)


@settings(max_examples=150, deadline=None)
@given(batches(), st.sampled_from(DTYPES), st.booleans())
def test_rows_are_summed_as_in_a_dense_table(batch, dtype, bag):
    ids, lengths, shape = batch
    if not bag:
        ids = ids.reshape(len(ids), ids.shape[1] * ids.shape[2])
        lengths = None if lengths is None else lengths.clip(0, ids.shape[1])
    kind = bptt.EmbeddingBag if bag else bptt.Embedding
    module = kind(*shape, dtype=dtype, seed=0)
    run = module.forward(ids, lengths=lengths)
    d_output = np.random.default_rng(1).standard_normal(run.output.shape).astype(dtype)
    d_output[d_output < -1] = -0.0
    # Rows are added from the longest sequence to the shortest.
    steps = np.full(len(ids), ids.shape[1]) if lengths is None else lengths
    order = np.argsort(-steps, kind="stable")
    each = d_output if not bag else np.repeat(d_output[..., np.newaxis, :], ids.shape[2], axis=-2)
    expected = dense_sum(
        shape,
        np.concatenate([ids[row, : steps[row]].reshape(-1) for row in order] or [[]]).astype(int),
        np.concatenate(
            [each[row, : steps[row]].reshape(-1, shape[1]) for row in order]
            or [np.zeros((0, shape[1]), dtype)]
        ),
    )
    gradients = run.backward(d_output)
    values, rows = gradients._stored()
    exists = np.arange(ids.shape[1]) < steps.reshape(-1, 1)
    np.testing.assert_array_equal(rows, np.unique(ids[exists]))
    same_bits(values.reshape(-1, shape[1]), expected[rows])
    same_bits(gradients["weight"], expected)
    y = module["weight"][ids]
    total = y if not bag else sum((y[:, :, f] for f in range(ids.shape[2])), y[:, :, :0].sum(2))
    np.testing.assert_array_equal(run.output, total * exists[..., np.newaxis])


@pytest.mark.parametrize("bag", [False, True])
def test_central_differences(bag):
    module = (bptt.EmbeddingBag if bag else bptt.Embedding)(N, E, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    ids, lengths = rng.integers(0, N, (3, 4, 2) if bag else (3, 4)), np.array([4, 0, 2])
    d_output = rng.standard_normal((3, 4, E))

    def loss():
        return float((np.sin(module(ids, lengths=lengths)) * d_output).sum())

    run = module.forward(ids, lengths=lengths)
    assert_gradients(run.backward(np.cos(run.output) * d_output), loss, module)


def gradients_of(ids, dtype=np.float64, seed=0):
    module = bptt.Embedding(N, E, dtype=dtype, seed=0)
    d_output = np.random.default_rng(seed).standard_normal((len(ids), E)).astype(dtype)
    return module.forward(np.array(ids, int)).backward(d_output)


def test_dense_array_is_made_when_it_is_read_and_may_be_changed():
    gradients = gradients_of([1, 4, 4])
    assert isinstance(gradients, SparseGradients)
    assert len(gradients) == 1
    assert list(gradients) == ["weight"]
    assert "_flat" not in vars(gradients)
    weight = gradients["weight"]
    assert weight is gradients["weight"]
    assert weight.shape == (N, E)
    assert not weight[[0, 2, 3, 5, 6]].any()
    weight[0] = 1.0
    gradients["weight"][2, 3] = 2.0
    assert gradients._flat[:E].all()
    values, rows = gradients._stored()
    assert rows is None
    assert values is gradients._flat
    gradients["weight"] = np.ones((N, E))
    assert np.all(weight == 1)
    with pytest.raises(KeyError, match="has no parameter 'bias', it has weight"):
        gradients["bias"]
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        gradients.other  # noqa: B018


@pytest.mark.parametrize("dense", [False, True])
def test_copies_are_independent(dense):
    gradients = gradients_of([1, 4, 4])
    expected = gradients_of([1, 4, 4])["weight"]
    if dense:
        assert gradients["weight"].any()
    for twin in (
        copy.copy(gradients),
        copy.deepcopy(gradients),
        pickle.loads(pickle.dumps(gradients)),
    ):
        assert ("_flat" in vars(twin)) == dense
        same_bits(twin["weight"], expected)
        twin["weight"][...] = 0
        assert repr(twin) == repr(gradients)
    same_bits(gradients["weight"], expected)


def test_threads_get_the_same_dense_array():
    for _ in range(20):
        gradients = gradients_of(range(N))
        with ThreadPoolExecutor(4) as pool:
            arrays = list(pool.map(lambda _, g=gradients: g["weight"], range(8)))
        assert all(np.shares_memory(array, gradients._flat) for array in arrays)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("dense", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("ids", [([], []), ([1, 4, 4], []), ([0, 2], [2, 1, 6]), ([3], [3])])
def test_addition(ids, dense, dtype):
    parts = [gradients_of(some, dtype, seed) for seed, some in enumerate(ids)]
    expected = parts[0]["weight"] + parts[1]["weight"]
    parts = [gradients_of(some, dtype, seed) for seed, some in enumerate(ids)]
    for i in dense:
        assert parts[i]["weight"] is not None
    parts[0]._add(parts[1])
    occurring = np.union1d(*ids)
    values, rows = parts[0]._occurring()
    np.testing.assert_array_equal(rows, occurring)
    same_bits(values.reshape(-1, E), expected[occurring.astype(int)])
    same_bits(parts[0]["weight"], expected)


def test_addition_of_dense_gradients():
    sparse, module = gradients_of([1, 1, 3]), bptt.Embedding(N, E, dtype="float64")
    ones = bptt.Gradients(module._layout, np.ones(N * E), None)
    expected = gradients_of([1, 1, 3])["weight"] + 1
    ones._add(sparse)
    same_bits(ones["weight"], expected)
    other = gradients_of([1, 1, 3])
    other._add(bptt.Gradients(module._layout, np.ones(N * E), None))
    same_bits(other["weight"], expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_bits_do_not_depend_on_threads(dtype):
    rng = np.random.default_rng(0)
    count, features = 5000, 67
    module = bptt.Embedding(count, features, dtype=dtype, seed=0)
    bag = bptt.EmbeddingBag(count, features, dtype=dtype, seed=0)
    ids = np.minimum(rng.zipf(1.3, (60, 100)) - 1, count - 1)
    lengths = rng.integers(0, 101, 60)
    d_output = rng.standard_normal((60, 100, features)).astype(dtype)
    several = rng.integers(0, count, (60, 100, 3))

    def compute(threads):
        with bptt.threads(threads):
            runs = module.forward(ids, lengths=lengths), bag.forward(several, lengths=lengths)
            found = [run.backward(d_output)._stored() for run in runs]
        return [run.output for run in runs] + [array for pair in found for array in pair]

    expected = compute(1)
    for threads in (2, 3, 8):
        for found, array in zip(compute(threads), expected, strict=True):
            same_bits(found, array)
