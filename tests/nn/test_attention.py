"""Attention against its equations and central differences."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from cases import DTYPES, dtype_id
from derivatives import assert_gradient, assert_gradients, differences

LENGTHS = np.array([4, 0, 1])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make(kind, dtype="float64", queries=3, keys=3):
    size = 5 if kind == "additive" else None
    return bptt.Attention(queries, keys, kind=kind, attention_size=size, dtype=dtype, seed=0)


def by_hand(module, queries, keys, lengths):
    """One query and one key at a time."""
    contexts = np.zeros((*queries.shape[:2], keys.shape[2]))
    weights = np.zeros((*queries.shape[:2], keys.shape[1]))
    for b, s in np.ndindex(queries.shape[:2]):
        scores = []
        for k in keys[b, : lengths[b]]:
            q = queries[b, s]
            if module.kind == "dot":
                scores.append(q @ k)
            else:
                hidden = np.tanh(module["weight_query"] @ q + module["weight_key"] @ k)
                scores.append(module["weight_score"] @ hidden)
        if scores:
            shares = np.exp(scores) / np.exp(scores).sum()
            weights[b, s, : lengths[b]] = shares
            contexts[b, s] = shares @ keys[b, : lengths[b]]
    return contexts, weights


kinds = pytest.mark.parametrize("kind", ["dot", "additive"])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@kinds
def test_equations(kind, lengths, dtype, rng):
    module = make(kind, dtype)
    queries = rng.standard_normal((3, 2, 3)).astype(dtype)
    keys = rng.standard_normal((3, 4, 3)).astype(dtype)
    run = module.forward(queries, keys, lengths=lengths)
    context, weights = module(queries, keys, lengths=lengths)
    np.testing.assert_array_equal(run.output, context)
    np.testing.assert_array_equal(run.weights, weights)
    expected = by_hand(module, queries, keys, [4] * 3 if lengths is None else lengths)
    tolerance = 50 * np.finfo(dtype).eps
    for actual, value in zip((context, weights), expected, strict=True):
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, value, rtol=tolerance, atol=tolerance)
    gradients = run.backward(run.output)
    for array in (*gradients.input, *gradients.values()):
        assert array.dtype == dtype


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize(
    ("kind", "sizes"), [("dot", (3, 3)), ("additive", (3, 3)), ("additive", (2, 4))]
)
def test_gradients(kind, sizes, lengths, rng):
    module = make(kind, "float64", *sizes)
    queries = rng.standard_normal((3, 2, sizes[0]))
    keys = rng.standard_normal((3, 4, sizes[1]))
    d_output = rng.standard_normal((3, 2, sizes[1]))

    def loss():
        return float(np.sum(module.forward(queries, keys, lengths=lengths).output * d_output))

    run = module.forward(queries, keys, lengths=lengths)
    for _ in range(2):  # repeatable: nothing is released
        gradients = run.backward(d_output)
    assert_gradients(gradients, loss, module)
    d_queries, d_keys = gradients.input
    assert_gradient(d_queries, differences(loss, queries), "queries")
    assert_gradient(d_keys, differences(loss, keys), "keys")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_sequences_are_independent(data):
    """Padding is not read, and sequences do not affect each other."""
    batch, steps, count = (data.draw(st.integers(low, 4)) for low in (1, 0, 0))
    lengths = np.array(data.draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch)))
    module = make(data.draw(st.sampled_from(["dot", "additive"])))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    queries, d = rng.standard_normal((2, batch, count, 3))
    keys = rng.standard_normal((batch, steps, 3))
    keys[np.arange(steps) >= lengths[:, None]] = np.nan
    run = module.forward(queries, keys, lengths=lengths)
    gradients = run.backward(d)
    total = np.zeros_like(gradients._flat)
    for i, length in enumerate(lengths):
        one = slice(i, i + 1)
        alone = module.forward(queries[one], keys[one, :length])
        np.testing.assert_allclose(run.output[one], alone.output, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            run.weights[one, :, :length], alone.weights, rtol=1e-12, atol=1e-14
        )
        assert not run.weights[i, :, length:].any()
        if length:
            np.testing.assert_allclose(run.weights[i].sum(-1), 1, rtol=1e-12)
        own = alone.backward(d[one])
        total += own._flat
        for found, expected in zip(gradients.input, own.input, strict=True):
            size = expected.shape[1]
            np.testing.assert_allclose(found[one, :size], expected, rtol=1e-10, atol=1e-12)
            assert not found[i, size:].any()
    np.testing.assert_allclose(gradients._flat, total, rtol=1e-10, atol=1e-12)


@kinds
def test_backward_uses_the_parameters_of_forward(kind, rng):
    module, (queries, keys, d) = make(kind), rng.standard_normal((3, 2, 4, 3))
    expected = copy.deepcopy(module).forward(queries, keys).backward(d)
    run = module.forward(queries, keys)
    for name in module:
        module[name] = np.zeros_like(module[name])
    found = run.backward(d)
    np.testing.assert_array_equal(found._flat, expected._flat)
    np.testing.assert_array_equal(found.input, expected.input)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_large_scores(dtype):
    """The largest score has all the weight, without overflow."""
    keys = np.array([[[1e4, 0], [0, 1e4], [-1e4, 0]]], dtype)
    context, weights = bptt.Attention(2, 2, dtype=dtype)(keys, keys)
    np.testing.assert_array_equal(weights[0], np.eye(3))
    np.testing.assert_array_equal(context, keys)
    keys[0, 0] = np.inf
    assert np.isnan(bptt.Attention(2, 2, dtype=dtype)(keys, keys)[0]).any()


def test_parameters():
    assert {n: p.shape for n, p in bptt.Attention(3, 4, kind="additive").parameters.items()} == {
        "weight_query": (4, 3),
        "weight_key": (4, 4),
        "weight_score": (4,),
    }
    assert dict(bptt.Attention(3, 3).parameters) == {}
    with pytest.raises(ValueError, match="kind='dot' needs key_size = query_size = 3, got 4"):
        bptt.Attention(3, 4)


def test_gradient_descent_learns_a_lookup(rng):
    """Gradient descent learns queries that select one key."""
    module = bptt.Attention(4, 8, kind="additive", attention_size=16, dtype="float64", seed=0)
    adam = bptt.Adam(module, learning_rate=0.02)
    for _ in range(300):
        names = np.stack([rng.permutation(4) for _ in range(16)])
        keys = np.concatenate([np.eye(4)[names], rng.standard_normal((16, 4, 4))], -1)
        wanted = rng.integers(0, 4, 16)
        run = module.forward(np.eye(4)[wanted][:, None], keys)
        target = keys[np.arange(16), (names == wanted[:, None]).argmax(1)]
        error = run.output[:, 0] - target
        adam.step(run.backward(error[:, None] / 16))
    assert np.abs(error).max() < 0.1
