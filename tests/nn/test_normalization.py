"""Layer normalization against the reference, PyTorch and central differences."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt import reference
from cases import DTYPES, dtype_id
from derivatives import assert_gradient, assert_gradients, check_chain, differences

F8 = {"dtype": "float64", "seed": 0}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rounding(dtype):
    return {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-13}


def make(features, dtype, rng, **options):
    """Layer with random parameters."""
    layer = bptt.LayerNorm(features, dtype=dtype, **options)
    for name in layer:
        layer[name] = rng.standard_normal(features).astype(dtype)
    return layer


def test_initial_parameters():
    layer = bptt.LayerNorm(3)
    assert layer["weight"].tolist() == [1, 1, 1]
    assert layer["bias"].tolist() == [0, 0, 0]
    assert repr(layer) == "LayerNorm(num_features=3)"


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("leading", [(), (1,), (2, 5), (2, 0), (2, 3, 2)])
@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_values_and_gradients_are_those_of_the_reference(leading, dtype, epsilon, rng):
    layer = make(6, dtype, rng, epsilon=epsilon)
    x = (3 * rng.standard_normal((*leading, 6)) + 2).astype(dtype)
    d = rng.standard_normal((*leading, 6)).astype(dtype)
    w, b = (layer[name].astype(float) for name in ("weight", "bias"))
    run = layer.forward(x)
    expected = reference.layer_norm(x.astype(float), w, b, epsilon)
    for y in (layer(x), run.output):
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, **rounding(dtype))
    for _ in range(2):  # repeatable: nothing is released
        gradients = run.backward(d)
    d_x, d_w, d_b = reference.layer_norm_backward(x.astype(float), w, d.astype(float), epsilon)
    assert gradients.input.dtype == gradients["weight"].dtype == dtype
    np.testing.assert_allclose(gradients.input, d_x, **rounding(dtype))
    np.testing.assert_allclose(gradients["weight"], d_w, **rounding(dtype))
    np.testing.assert_allclose(gradients["bias"], d_b, **rounding(dtype))
    assert run.backward(d, input=False).input is None


def test_gradients_against_central_differences(rng):
    layer = make(5, "float64", rng)
    x, d = rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3, 5))

    def loss():
        return float(np.sum(layer(x) * d))

    gradients = layer.forward(x).backward(d)
    assert_gradients(gradients, loss, layer)
    assert_gradient(gradients.input, differences(loss, x))


def test_reference_gradients_against_central_differences(rng):
    x, d = rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3, 5))
    w, b = rng.standard_normal((2, 5))

    def loss():
        return float(np.sum(reference.layer_norm(x, w, b) * d))

    d_x, d_w, d_b = reference.layer_norm_backward(x, w, d)
    for actual, array in ((d_x, x), (d_w, w), (d_b, b)):
        assert_gradient(actual, differences(loss, array))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_against_torch(dtype, rng):
    torch = pytest.importorskip("torch")
    layer = make(6, dtype, rng)
    theirs = torch.nn.LayerNorm(6, dtype=getattr(torch, dtype))
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(layer["weight"]))
        theirs.bias.copy_(torch.tensor(layer["bias"]))
    x, d = (rng.standard_normal((2, 5, 6)).astype(dtype) for _ in range(2))
    x_torch = torch.tensor(x, requires_grad=True)
    y = theirs(x_torch)
    y.backward(torch.tensor(d))
    run = layer.forward(x)
    gradients = run.backward(d)
    for actual, expected in (
        (run.output, y.detach()),
        (gradients.input, x_torch.grad),
        (gradients["weight"], theirs.weight.grad),
        (gradients["bias"], theirs.bias.grad),
    ):
        np.testing.assert_allclose(actual, expected.numpy(), **rounding(np.dtype(dtype).type))


def test_constant_features_are_the_bias(rng):
    layer = make(4, np.float64, rng)
    run = layer.forward(np.full((2, 4), 7.0))
    np.testing.assert_array_equal(run.output, np.broadcast_to(layer["bias"], (2, 4)))
    assert np.isfinite(run.backward(np.ones((2, 4))).input).all()


def test_backward_uses_the_weight_of_forward(rng):
    layer = make(4, np.float64, rng)
    x, d = rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    run, expected = layer.forward(x), layer.forward(x).backward(d)
    layer["weight"] = np.zeros(4)
    x[...] = 0.0  # not kept either
    np.testing.assert_array_equal(run.backward(d).input, expected.input)


@pytest.mark.parametrize("pool", [None, "last", "mean", "max"])
def test_in_a_chain_with_ragged_lengths(pool, rng):
    """Exact gradients; padding is 0 in the output and not read, wherever the layer stands."""
    model = bptt.Sequential(
        make(3, "float64", rng),
        bptt.GRU(3, 4, **F8),
        make(4, "float64", rng),
        bptt.LSTM(4, 3, **F8),
        make(3, "float64", rng),
        bptt.Linear(3, 2, **F8),
        make(2, "float64", rng, epsilon=0.5),
        pool=pool,
    )
    lengths = np.array([3, 0, 5])
    x = rng.standard_normal((3, 5, 3))
    padding = np.arange(5) >= lengths[:, np.newaxis]
    y, _ = model(x, lengths=lengths)
    if pool is None:
        assert not y[padding].any()
    check_chain(model, x, rng.standard_normal(y.shape), lengths=lengths)
    x[padding] = np.nan
    np.testing.assert_array_equal(model(x, lengths=lengths)[0], y)
    run = model.forward(x, lengths=lengths)
    np.testing.assert_array_equal(run.output, y)
    assert run.backward(y, input=False).input is None


def test_sizes_in_a_chain():
    with pytest.raises(ValueError, match=r"modules\[1\] must take 4 features, got LayerNorm\(num"):
        bptt.Sequential(bptt.GRU(3, 4), bptt.LayerNorm(5))


def test_training_lowers_the_loss(rng):
    model = bptt.Sequential(
        bptt.GRU(2, 8, seed=0), bptt.LayerNorm(8), bptt.ReLU(), bptt.Linear(8, 1, seed=1)
    )
    optimizer = bptt.Adam(model, 0.01)
    x = rng.standard_normal((16, 10, 2), np.float32)
    targets = np.cumsum(x[..., :1], axis=1)
    losses = []
    for _ in range(60):
        run = model.forward(x)
        loss = bptt.mean_squared_error(run.output, targets, reduction="mean")
        optimizer.step(run.backward(loss))
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]


def test_gradient_flow_through_a_chain(rng):
    from bptt.diagnostics import gradient_flow

    model = bptt.Sequential(
        bptt.GRU(2, 3, seed=0), bptt.LayerNorm(3), bptt.Tanh(), bptt.Linear(3, 2, seed=0)
    )
    x = rng.standard_normal((2, 6, 2), np.float32)
    flow = gradient_flow(model, x, lambda y: bptt.mean_squared_error(y, np.zeros_like(y)))
    assert np.isfinite(flow.norms).all()
