"""Embedding against NumPy indexing, and its gradient against one-hot vectors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from cases import DTYPES, dtype_id

N, E = 7, 5


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def one_hot(ids, dtype):
    return (ids[..., None] == np.arange(N)).astype(dtype)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (2, 0), (0, 3), (2, 3, 4), (30, 40)])
def test_lookup_and_gradient(shape, dtype, rng):
    module = bptt.Embedding(N, E, dtype=dtype, seed=0)
    ids = rng.integers(0, N, shape)
    d_output = rng.standard_normal((*shape, E)).astype(dtype)
    run = module.forward(ids)
    for y in (module(ids), run.output):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, module["weight"][ids])
    for _ in range(2):  # repeatable: nothing is released
        gradients = run.backward(d_output)
    assert list(gradients) == ["weight"]
    assert gradients.input is None
    rows = one_hot(ids, np.float64).reshape(-1, N)
    expected = rows.T @ d_output.reshape(-1, E)
    tolerance = np.finfo(dtype).eps * np.sqrt(max(ids.size, 1)) * 4
    np.testing.assert_allclose(gradients["weight"], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("features", [33, 9000])  # many rows of a block, and one
def test_gradient_is_summed_in_order(features, dtype, rng):
    module = bptt.Embedding(N, features, dtype=dtype, seed=0)
    ids = rng.integers(0, N, (9, 50))
    d_output = rng.standard_normal((9, 50, features)).astype(dtype)
    expected = np.zeros((N, features), dtype)
    for id_, d in zip(ids.reshape(-1), d_output.reshape(-1, features), strict=True):
        expected[id_] += d
    for count in (1, 2, 3):
        with bptt.threads(count):
            found = module.forward(ids).backward(d_output)["weight"]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint64", ">i4"])
def test_any_integers_with_any_strides(kind, rng):
    module = bptt.Embedding(N, E, seed=0)
    ids = rng.integers(0, N, (6, 8)).astype(kind).T[::2]
    np.testing.assert_array_equal(module(ids), module["weight"][ids.astype(int)])
    d_output = rng.standard_normal((E, 4, 6), dtype=np.float32).transpose(1, 2, 0)
    found, copied = (module.forward(ids).backward(d) for d in (d_output, d_output.copy()))
    np.testing.assert_array_equal(found["weight"], copied["weight"])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_padding_is_not_read(data):
    batch, steps = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 6))
    lengths = np.array(data.draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch)))
    module = bptt.Embedding(N, E, dtype="float64", seed=0)
    rng = np.random.default_rng(0)
    ids, d_output = rng.integers(0, N, (batch, steps)), rng.standard_normal((batch, steps, E))
    exists = np.arange(steps) < lengths.reshape(-1, 1)
    dirty = np.where(exists, ids, data.draw(st.sampled_from([-1, N, 2**40])))
    run = module.forward(dirty, lengths=lengths)
    expected = module["weight"][ids] * exists[..., None]
    np.testing.assert_array_equal(run.output, expected)
    np.testing.assert_array_equal(module(dirty, lengths=lengths), expected)
    dirty_d = np.where(exists[..., None], d_output, np.nan)
    found = run.backward(dirty_d)["weight"]
    clean = module.forward(ids).backward(d_output * exists[..., None])["weight"]
    np.testing.assert_allclose(found, clean, rtol=1e-12, atol=1e-13)


def test_same_as_a_product_with_one_hot_vectors(rng):
    """A layer after an embedding is a layer of one-hot ids with the product of both weights."""
    module = bptt.Embedding(N, E, dtype="float64", seed=0)
    inner = bptt.GRU(E, 4, dtype="float64", seed=0)
    outer = bptt.GRU(N, 4, dtype="float64", seed=0)
    for name, value in inner.parameters.items():
        outer[name] = value if name != "weight_ih_l0" else value @ module["weight"].T
    ids = rng.integers(0, N, (2, 5))
    run = module.forward(ids)
    top, alone = inner.forward(run.output), outer.forward(ids)
    np.testing.assert_allclose(top.output, alone.output, rtol=1e-12)
    d = run.backward(top.backward(top.output).input)
    d_alone = alone.backward(alone.output)
    expected = d_alone["weight_ih_l0"].T @ inner["weight_ih_l0"]
    np.testing.assert_allclose(d["weight"], expected, rtol=1e-10, atol=1e-13)


def test_initial_weights():
    weight = bptt.Embedding(400, 50, dtype="float64", seed=0)["weight"]
    assert np.std(weight) == pytest.approx(1 / np.sqrt(50), rel=0.02)
    assert np.mean(weight) == pytest.approx(0, abs=0.005)


def test_training_changes_only_the_vectors_of_occurring_ids(rng):
    """Adam changes the vectors of occurring ids only."""
    module = bptt.Embedding(N, E, dtype="float64", seed=0)
    before = module["weight"].copy()
    run = module.forward(np.array([1, 4, 4]))
    bptt.Adam(module).step(run.backward(np.ones((3, E))))
    moved = (module["weight"] != before).any(1)
    np.testing.assert_array_equal(np.flatnonzero(moved), [1, 4])


# ---- pretrained vectors, frozen ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bptt.Embedding, bptt.EmbeddingBag])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_set_vectors(kind, dtype, rng):
    module = kind(N, E, dtype=dtype, seed=0)
    before = module["weight"].copy()
    vectors = {word: rng.standard_normal(E).astype(np.float32) for word in ("a", "b", "<unk>", "x")}
    known = module.set_vectors(("<unk>", "A", "c", "b"), vectors)
    assert known.tolist() == [True, True, False, True]
    for i, word in ((0, "<unk>"), (1, "a"), (3, "b")):
        np.testing.assert_array_equal(module["weight"][i], vectors[word].astype(dtype))
    np.testing.assert_array_equal(module["weight"][[2, 4, 5, 6]], before[[2, 4, 5, 6]])
    assert module.set_vectors(["b", "B"], {"B": before[0]}).tolist() == [False, True]  # exact first


def test_set_vectors_changes_nothing_after_an_error():
    module = bptt.Embedding(N, E, seed=0)
    before = module["weight"].copy()
    good = np.zeros(E)
    for tokens, vectors, message in (
        (["a", "b"], {"a": good, "b": np.zeros(4)}, "embedding_dim,) = (5,), got (4,)"),
        (["a", "b"], {"a": good, "b": np.full(E, np.nan)}, "must be finite in float32"),
        (["a", "b"], {"a": good, "b": np.full(E, 1e99)}, "must be finite in float32"),
        (["a"] * 8, {"a": good}, "tokens must be at most num_embeddings = 7, got 8"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            module.set_vectors(tokens, vectors)
    np.testing.assert_array_equal(module["weight"], before)


@pytest.mark.parametrize("kind", [bptt.Embedding, bptt.EmbeddingBag])
@pytest.mark.parametrize(
    "optimizer", [bptt.Adam, bptt.AdamW, bptt.LazyAdam, bptt.RMSProp, bptt.SGD]
)
def test_frozen_embedding_is_not_trained(kind, optimizer, rng):
    """Weight decay and moments included; the other modules learn as behind a constant input."""
    options = {"weight_decay": 0.1} if optimizer in (bptt.AdamW, bptt.LazyAdam, bptt.SGD) else {}
    frozen = kind(N, E, frozen=True, seed=0)
    modules = [
        bptt.Sequential(first, bptt.GRU(E, 3, seed=1)) for first in (frozen, kind(N, E, seed=0))
    ]
    ids = rng.integers(0, N, (2, 4) if kind is bptt.Embedding else (2, 4, 3))
    before = frozen["weight"].copy()
    found = []
    for model in modules:
        made = optimizer(model, learning_rate=0.01, **options)
        run = model.forward(ids, lengths=np.array([4, 2]))
        gradients = run.backward(np.ones_like(run.output), input=False)
        if model is modules[0]:
            assert not gradients.modules[0]["weight"].any()
            assert bptt.clip_by_global_norm(gradients, 1e9) > 0.0
            bptt.clip_by_value(gradients, 1e9)
            gradients.modules[0]._add(gradients.modules[0])
        made.step(gradients)
        found.append(model[1]["weight_ih_l0"])
        state = made.state()
        made.restore(state)
        sizes = {name: array.size for name, array in state.items() if name.endswith("/0")}
        assert set(sizes.values()) <= {0 if model is modules[0] else N * E}
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(frozen["weight"], before)


def test_frozen_is_an_argument_of_the_module(tmp_path):
    module = bptt.Embedding(N, E, frozen=True, seed=0)
    assert module.frozen
    assert not bptt.Linear(2, 3).frozen
    assert "frozen=True" in repr(module)
    with pytest.raises(AttributeError, match="frozen of Embedding is fixed"):
        module.frozen = False
    pytest.importorskip("safetensors")
    bptt.save_modules(tmp_path / "file", {"a": module})
    assert bptt.load_modules(tmp_path / "file")[0]["a"].frozen
