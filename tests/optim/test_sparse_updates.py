"""Optimizers and clipping with sparse gradients: the bits of dense ones, and Adam's lazy form."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt import reference
from bptt._core import loader
from bptt.nn.sparse_gradients import SparseGradients
from cases import DTYPES, dtype_id

EXACT = {
    "sgd": partial(bptt.SGD, learning_rate=0.3),
    "sgd-decay": partial(bptt.SGD, learning_rate=0.3, weight_decay=0.1),
    "momentum": partial(bptt.SGD, learning_rate=0.3, momentum=0.9),
    "nesterov": partial(bptt.SGD, momentum=0.9, nesterov=True, weight_decay=0.1),
    "rmsprop": bptt.RMSProp,
    "rmsprop-momentum": partial(bptt.RMSProp, momentum=0.7, decay=0.8),
    "adam": bptt.Adam,
    "adam-arguments": partial(bptt.Adam, learning_rate=0.02, beta1=0.4, beta2=0.5, epsilon=1e-3),
    "adamw": partial(bptt.AdamW, learning_rate=0.02, weight_decay=0.3),
}
every_optimizer = pytest.mark.parametrize("make", EXACT.values(), ids=EXACT.keys())


def same_bits(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def sparse(module, ids, seed=0):
    ids = np.asarray(ids, int).reshape(-1)
    rng = np.random.default_rng(seed)
    d_output = rng.standard_normal((ids.size, module.embedding_dim)).astype(module.dtype)
    gradients = module.forward(ids).backward(d_output)
    assert isinstance(gradients, SparseGradients)
    return gradients


def dense(gradients):
    """The same gradients, as those of any other module."""
    return bptt.Gradients(gradients._layout, copy.deepcopy(gradients)._flat.copy(), None)


def everything(module, optimizer):
    return module._flat.copy(), *optimizer.state().values()


@st.composite
def tables(draw):
    """Shape of a table, and the ids of some steps."""
    count = draw(st.sampled_from([1, 2, 9, 70, 1500]))
    features = draw(st.sampled_from([1, 3, 8, 33, 130]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    choices = {
        "none": np.zeros(0, int),
        "one": rng.integers(0, count, 1).repeat(5),
        "all": rng.permutation(count),
        "some": rng.integers(0, count, 40),
        "first": np.zeros(1, int),
        "last": np.full(2, count - 1),
    }
    kinds = draw(st.lists(st.sampled_from(list(choices)), min_size=1, max_size=4))
    return (count, features), [choices[kind] for kind in kinds]


@every_optimizer
@settings(max_examples=25, deadline=None)
@given(
    tables(),
    st.sampled_from(DTYPES),
    st.sampled_from([None, 1e-3, 1.0, 1e6]),
    st.sampled_from([None, 0.5]),
    st.sampled_from([1.0, 0.37, 2.0]),
)
def test_sparse_and_dense_updates_have_the_same_bits(make, table, dtype, norm, value, scale):
    shape, steps = table
    one, other = (bptt.Embedding(*shape, dtype=dtype, seed=0) for _ in range(2))
    optimizers = make(one), make(other)
    for seed, ids in enumerate(steps):
        few = sparse(one, ids, seed)
        all_rows = dense(few)
        if value is not None:
            for gradients in (few, all_rows):
                bptt.clip_by_value(gradients, value)
        if norm is not None:
            first = bptt.clip_by_global_norm(few, norm)
            assert first == bptt.clip_by_global_norm(all_rows, norm)
        for optimizer, gradients in zip(optimizers, (few, all_rows), strict=True):
            optimizer.step(gradients, gradient_scale=scale)
        assert "_flat" not in vars(few)
        same_bits(few["weight"], all_rows["weight"])
        for a, b in zip(
            everything(one, optimizers[0]), everything(other, optimizers[1]), strict=True
        ):
            same_bits(a, b)


@every_optimizer
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("scale", [0.3, 1e-30, 0.0, 7.0])
def test_gradient_scale_is_a_product_before_the_step(make, scale, dtype):
    modules = [bptt.LSTM(3, 17, dtype=dtype, seed=0), bptt.Embedding(50, 7, dtype=dtype, seed=1)]
    others = copy.deepcopy(modules)
    one, other = make(modules), make(others)
    rng = np.random.default_rng(0)
    for seed in range(3):
        flat = rng.standard_normal(modules[0]._flat.size).astype(dtype)
        table = sparse(modules[1], [3, 1, 1, 40], seed)
        scaled = [
            bptt.Gradients(modules[0]._layout, flat * np.dtype(dtype).type(scale), None),
            bptt.Gradients(modules[1]._layout, dense(table)._flat * dtype(scale), None),
        ]
        one.step([bptt.Gradients(modules[0]._layout, flat, None), table], gradient_scale=scale)
        other.step(scaled)
        for a, b in zip(modules, others, strict=True):
            same_bits(a._flat, b._flat)


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (-1.0, ValueError, r"gradient_scale must be in \[0, inf\), got -1.0"),
        (np.nan, ValueError, r"gradient_scale must be in \[0, inf\), got nan"),
        (np.inf, ValueError, r"gradient_scale must be in \[0, inf\), got inf"),
        ("1", TypeError, "gradient_scale must be a real number, got str"),
    ],
)
def test_bad_gradient_scale(scale, error, message):
    module = bptt.Embedding(5, 2, seed=0)
    before = module._flat.copy()
    with pytest.raises(error, match=message):
        bptt.Adam(module).step(sparse(module, [1]), gradient_scale=scale)
    same_bits(module._flat, before)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_bits_do_not_depend_on_threads(dtype):
    rng = np.random.default_rng(0)
    module = bptt.Embedding(6000, 131, dtype=dtype, seed=0)
    gradients = sparse(module, np.minimum(rng.zipf(1.2, 9000) - 1, 5999))
    every = {**EXACT, "lazyadam": bptt.LazyAdam}

    def compute(threads):
        found = []
        with bptt.threads(threads):
            for make in every.values():
                other = copy.deepcopy(module)
                optimizer = make(other)
                for scale in (1.0, 0.5):
                    optimizer.step(gradients, gradient_scale=scale)
                found += everything(other, optimizer)
            clipped = copy.deepcopy(gradients), dense(gradients)
            for some in clipped:
                found.append(np.array(bptt.clip_by_global_norm(some, 3.0)))
                bptt.clip_by_value(some, 0.01)
                found.append(some._stored().values)
        return found

    expected = compute(1)
    for threads in (2, 3, 8):
        for found, array in zip(compute(threads), expected, strict=True):
            same_bits(found, array)


# ---- lazy Adam -----------------------------------------------------------------------------------

LAZY = {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3, "weight_decay": 0.3}
STEPS = [[1, 4, 4], [], [0, 8, 1], [4], [8, 7]]
N, E = 9, 5


@pytest.mark.parametrize("arguments", [{}, LAZY], ids=["defaults", "arguments"])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_lazy_adam_matches_the_reference(dtype, arguments):
    module = bptt.Embedding(N, E, dtype=dtype, seed=0)
    optimizer = bptt.LazyAdam(module, **arguments)
    p = module["weight"].astype(np.float64)
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, ids in enumerate(STEPS, start=1):
        gradients = sparse(module, ids, t)
        g = dense(gradients)["weight"].astype(np.float64)
        before = module["weight"].copy()
        optimizer.step(gradients)
        rows = np.unique(np.array(ids, int))
        p, m, v = reference.lazyadam_step(p, g, m, v, t, rows=rows, **arguments)
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(module["weight"], p, rtol=tolerance, atol=tolerance)
        others = np.setdiff1d(np.arange(N), rows)
        same_bits(module["weight"][others], before[others])
    state = optimizer.state()
    for name, expected in (("first_moment/0", m), ("second_moment/0", v)):
        np.testing.assert_allclose(state[name].reshape(N, E), expected, rtol=tolerance, atol=1e-6)


def test_lazy_adam_matches_sparse_adam_of_pytorch():
    torch = pytest.importorskip("torch")
    module = bptt.Embedding(N, E, dtype="float64", seed=0)
    layer = torch.nn.Embedding(N, E, sparse=True, dtype=torch.float64)
    layer.weight.data = torch.tensor(module["weight"])
    options = {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3}
    optimizer = bptt.LazyAdam(module, **options)
    oracle = torch.optim.SparseAdam(layer.parameters(), lr=0.02, betas=(0.8, 0.9))
    rng = np.random.default_rng(0)
    for t, ids in enumerate(STEPS, start=1):
        run = module.forward(np.array(ids, int))
        d_output = rng.standard_normal(run.output.shape)
        optimizer.step(run.backward(d_output))
        oracle.zero_grad()
        layer(torch.tensor(ids, dtype=torch.int64)).backward(torch.tensor(d_output))
        # PyTorch adds epsilon before the bias correction of the second moment.
        oracle.param_groups[0]["eps"] = 1e-3 * np.sqrt(1 - 0.9**t)
        oracle.step()
        expected = layer.weight.detach().numpy()
        np.testing.assert_allclose(module["weight"], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_lazy_adam_is_adam_where_every_row_occurs(weight_decay):
    one, other = (bptt.Embedding(N, E, seed=0) for _ in range(2))
    layers = [bptt.GRU(2, 3, seed=1) for _ in range(2)]
    lazy = bptt.LazyAdam([one, layers[0]], weight_decay=weight_decay)
    exact = bptt.AdamW([other, layers[1]], weight_decay=weight_decay)
    for seed in range(3):
        table = sparse(one, range(N), seed)
        run = layers[0].forward(np.full((1, 2, 2), seed, np.float32))
        gradients = [table, run.backward(run.output)]
        lazy.step(gradients)
        exact.step(gradients)
        same_bits(one._flat, other._flat)
        same_bits(layers[0]._flat, layers[1]._flat)


def test_reading_the_gradients_does_not_change_a_lazy_update():
    modules = [bptt.Embedding(N, E, seed=0) for _ in range(3)]
    optimizers = [bptt.LazyAdam(module, weight_decay=0.1) for module in modules]
    for seed, ids in enumerate(STEPS):
        plain, read, added = (sparse(module, ids, seed) for module in modules)
        assert read["weight"].shape == (N, E)
        added._add(sparse(modules[2], [], seed))
        for optimizer, gradients in zip(optimizers, (plain, read, added), strict=True):
            optimizer.step(gradients)
        for module in modules[1:]:
            same_bits(module._flat, modules[0]._flat)
    # Rows to which the user adds a gradient are updated too.
    gradients = sparse(modules[0], [1])
    gradients["weight"][3] = 1.0
    before = modules[0]["weight"].copy()
    optimizers[0].step(gradients)
    changed = (modules[0]["weight"] != before).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(changed), [1, 3])


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("clip", [{}, {"clip_value": 0.01}, {"clip_norm": 0.05}])
@pytest.mark.parametrize("name", bptt.optim.OPTIMIZERS)
def test_training_with_sparse_gradients_has_the_bits_of_dense_ones(
    name, clip, accumulate, monkeypatch
):
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    x = [list(rng.choice(list("abcdefghij"), rng.integers(1, 9))) for _ in range(20)]
    y = [[letter in "aei" for letter in sequence] for sequence in x]
    weights = rng.uniform(0.1, 3, len(x))

    def fit():
        model = bptt.SequenceTagger(
            hidden_size=5,
            embedding_size=3,
            epochs=2,
            batch_size=6,
            optimizer=name,
            accumulate=accumulate,
            random_state=0,
            **clip,
        )
        model.fit(x, y, sample_weight=weights)
        return [module._flat for module in model.model_.modules]

    found = fit()
    if name == "lazyadam":  # padding and unknown tokens do not occur
        assert all(np.isfinite(flat).all() for flat in found)
        return
    backward = bptt.nn.EmbeddingRun.backward
    monkeypatch.setattr(bptt.nn.EmbeddingRun, "backward", lambda run, d: dense(backward(run, d)))
    for flat, expected in zip(found, fit(), strict=True):
        same_bits(flat, expected)


# ---- kernels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([1, 1], ValueError, r"rows must be ascending and in \[0, 5\), got 1 at 1"),
        ([3, 2], ValueError, r"rows must be ascending and in \[0, 5\), got 2 at 1"),
        ([0, 5], ValueError, r"rows must be ascending and in \[0, 5\), got 5 at 1"),
        ([-1, 0], ValueError, r"rows must be ascending and in \[0, 5\), got -1 at 0"),
        ([0, 1, 2, 3], ValueError, "gradients must be whole rows of 20 parameters, got 8 values f"),
        (
            [0, 1, 2],
            ValueError,
            "gradients must be whole rows of 20 parameters, got 8 values for 3",
        ),
        ([], ValueError, "gradients must be whole rows of 20 parameters, got 8 values for 0 rows"),
        (
            [0.0, 1.0],
            TypeError,
            "rows must be a flat C-contiguous, aligned array of int32, got float64",
        ),
    ],
)
def test_kernels_check_rows(rows, error, message):
    dtype = np.float64 if 0.0 in rows and isinstance(rows[0], float) else np.int32
    parameters, gradients = np.zeros(20), np.ones(8)
    given = np.array(rows, dtype)
    if len(rows) == 4:  # rows of 2 values, in a table of 10 rows
        parameters = np.zeros(7)
        message = message.replace("20", "7")
    with pytest.raises(error, match=message):
        loader.kernels.sgd_step(parameters, gradients, None, 0.1, 0.0, 0.0, False, given)
    assert not parameters.any()


@pytest.mark.parametrize("bag", [0, -1, 3])
def test_kernels_check_bags(bag):
    ids = np.zeros((1, 4), np.int32)
    with pytest.raises(ValueError, match=f"bag must be a divisor of steps = 4, got {bag}"):
        loader.kernels.embedding_forward(np.zeros((2, 3)), ids, None, bag)
