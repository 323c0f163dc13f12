"""Activation functions as modules against the reference and central differences."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt import reference
from cases import DTYPES, dtype_id
from derivatives import assert_gradient, check_chain, differences

KINDS = [bptt.ReLU, bptt.Tanh, bptt.Sigmoid]
every_kind = pytest.mark.parametrize("kind", KINDS)
F8 = {"dtype": "float64", "seed": 0}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rounding(dtype):
    return {"rtol": 1e-6, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-13, "atol": 1e-15}


@every_kind
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 5, 3)])
def test_values_and_derivatives_are_those_of_the_reference(kind, dtype, shape, rng):
    x = np.asarray(4 * rng.standard_normal(shape)).astype(dtype)
    d = np.asarray(rng.standard_normal(shape)).astype(dtype)
    expected = reference.ACTIVATIONS[kind.__name__.lower()]
    module = kind(dtype=dtype)
    run = module.forward(x)
    for y in (module(x), run.output):
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected.function(x), **rounding(dtype))
    for _ in range(2):  # repeatable: nothing is released
        gradients = run.backward(d)
    assert gradients.input.dtype == dtype
    y = expected.function(x)
    np.testing.assert_allclose(gradients.input, d * expected.derivative(y), **rounding(dtype))
    assert list(gradients) == list(module.parameters) == []


@every_kind
def test_gradient_against_central_differences(kind, rng):
    x, d = rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    module = kind(dtype="float64")
    expected = differences(lambda: float(np.sum(module(x) * d)), x)
    assert_gradient(module.forward(x).backward(d).input, expected)


@every_kind
@pytest.mark.filterwarnings("error")
def test_large_numbers(kind):
    x = np.array([-np.inf, -1e30, 0.0, 1e30, np.inf], np.float32)
    high, middle = {"ReLU": (np.inf, 0), "Tanh": (1, 0), "Sigmoid": (1, 0.5)}[kind.__name__]
    y = kind()(x)
    assert (y[0], y[2], y[4]) == (-1 if kind is bptt.Tanh else 0, middle, high)
    assert np.isnan(kind()(np.array([np.nan], np.float32))[0])


@every_kind
def test_input_is_unchanged(kind, rng):
    x = rng.standard_normal((2, 5, 3))
    before = x.copy()
    kind(dtype="float64").forward(x).backward(np.ones_like(x))
    np.testing.assert_array_equal(x, before)


@every_kind
@pytest.mark.parametrize("pool", [None, "last", "mean", "max"])
def test_in_a_chain_with_ragged_lengths(kind, pool, rng):
    """Exact gradients; padding is 0 in the output and not read, wherever the module stands."""
    model = bptt.Sequential(
        kind(dtype="float64"),
        bptt.GRU(2, 3, **F8),
        kind(dtype="float64"),
        bptt.LSTM(3, 2, bidirectional=True, **F8),
        kind(dtype="float64"),
        bptt.Linear(4, 3, **F8),
        kind(dtype="float64"),
        pool=pool,
    )
    # An empty sequence would be at the kink of the rectifier.
    model.modules[5]["bias"] = rng.standard_normal(3)
    lengths = np.array([3, 0, 5])
    x = rng.standard_normal((3, 5, 2))
    padding = np.arange(5) >= lengths[:, np.newaxis]
    y, _ = model(x, lengths=lengths)
    if pool is None:
        assert not y[padding].any()
    d = rng.standard_normal(y.shape)
    check_chain(model, x, d, lengths=lengths)
    x[padding] = np.nan
    np.testing.assert_array_equal(model(x, lengths=lengths)[0], y)
    np.testing.assert_array_equal(model.forward(x, lengths=lengths).output, y)


@every_kind
def test_step_by_step_is_the_same(kind, rng):
    model = bptt.Sequential(bptt.GRU(2, 3, **F8), kind(dtype="float64"), bptt.Linear(3, 2, **F8))
    x = rng.standard_normal((2, 4, 2))
    whole, _ = model(x)
    state = None
    for t in range(4):
        y_t, state = model.step(x[:, t], state)
        np.testing.assert_allclose(y_t, whole[:, t], rtol=1e-12)


def test_a_chain_may_begin_without_parameters_and_without_the_gradient_of_its_input(rng):
    model = bptt.Sequential(bptt.ReLU(), bptt.Tanh())
    run = model.forward(rng.standard_normal((2, 3), np.float32))
    assert run.backward(run.output, input=False).input is None
    assert run.backward(run.output).input.shape == (2, 3)


@every_kind
def test_description(kind):
    module = kind(dtype="float64")
    assert repr(module) == f"{kind.__name__}(dtype=float64)"
    assert repr(kind()) == f"{kind.__name__}()"
    assert type(module)(**module.config).dtype == np.float64
