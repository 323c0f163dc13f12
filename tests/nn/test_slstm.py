"""sLSTM: against the equations without a stabilizer, at extreme gates, and with heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt.nn.state import SLSTMState
from cases import DTYPES, EVERYTHING, Case, dtype_id, make, make_layer
from layer_results import results

pytestmark = pytest.mark.usefixtures("isa")

CASE = Case("slstm", steps=12, batch=4, input_size=3, hidden_size=20, state=True)
# The exponentials of gates up to 5000 are numbers of this type only.
LONG = np.finfo(np.longdouble).maxexp > 10_000
NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_l0")


def unstabilized(layer, x, state=None):
    """Output (B, T, H), and C and N after the last step: exponentials as they are."""
    U, W, b = (layer[name].astype(np.longdouble) for name in NAMES)
    size = layer.hidden_size // layer.num_heads
    head = np.arange(layer.hidden_size) // size
    W = np.tile(W, layer.num_heads) * np.tile(head[:, None] == head, (4, 1))
    h = C = N = np.zeros((len(x), layer.hidden_size), np.longdouble)
    if state is not None:
        h, c, n, m = (part[0].astype(np.longdouble) for part in state)
        C, N = c * np.exp(m), n * np.exp(m)
    output = []
    for t in range(x.shape[1]):
        i, f, z, o = np.split(x[:, t] @ U.T + h @ W.T + b, 4, axis=1)
        f, o = 1 / (1 + np.exp(-f)), 1 / (1 + np.exp(-o))
        C, N = f * C + np.exp(i) * np.tanh(z), f * N + np.exp(i)
        h = o * C / N
        output.append(h)
    return np.stack(output, axis=1), C, N


@pytest.mark.parametrize("num_heads", [1, 2, 5])
def test_equations_without_a_stabilizer(num_heads):
    problem = make(replace(CASE, num_heads=num_heads))
    layer = make_layer(replace(CASE, num_heads=num_heads), problem)
    for state in (None, problem.state):
        y, last = layer(problem.x, state=state)
        expected, C, N = unstabilized(layer, problem.x, state)
        np.testing.assert_allclose(y, expected.astype(float), rtol=1e-10, atol=1e-12)
        for part, value in ((last.c, C), (last.n, N)):
            unscaled = part[0] * np.exp(last.m[0])
            np.testing.assert_allclose(unscaled, value.astype(float), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("num_heads", [1, 4])
def test_gradients_of_pytorch(num_heads):
    """Automatic differentiation of the equations without a stabilizer."""
    torch = pytest.importorskip("torch")
    case = replace(CASE, num_heads=num_heads)
    problem = make(case)
    layer = make_layer(case, problem)
    U, blocks, b, x, *state = (
        torch.tensor(value, requires_grad=True)
        for value in (*(layer[name] for name in NAMES), problem.x, *problem.state)
    )
    heads = blocks.reshape(4, num_heads, -1, blocks.shape[1])
    h, c, n, m = (part[0] for part in state)
    C, N = c * torch.exp(m), n * torch.exp(m)
    loss = 0
    for t in range(case.steps):
        recurrent = torch.einsum("gkij,bkj->bgki", heads, h.reshape(len(h), num_heads, -1))
        i, f, z, o = (x[:, t] @ U.T + recurrent.reshape(len(h), -1) + b).chunk(4, dim=1)
        C = torch.sigmoid(f) * C + torch.exp(i) * torch.tanh(z)
        N = torch.sigmoid(f) * N + torch.exp(i)
        h = torch.sigmoid(o) * C / N
        loss = loss + (h * torch.tensor(problem.d_output[:, t])).sum()
    loss.backward()
    run = layer.forward(problem.x, state=problem.state)
    gradients = run.backward(problem.d_output)
    pairs = [(gradients[name], value) for name, value in zip(NAMES, (U, blocks, b), strict=True)]
    pairs += [(gradients.input, x), *zip(gradients.state, state, strict=True)]
    for actual, variable in pairs:
        expected = variable.grad.numpy()
        error = np.abs(actual - expected).max()
        assert error <= 1e-11 * np.abs(expected).max()


@pytest.mark.skipif(not LONG, reason="long double has the exponents of float64 here")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("gate", [0, 1], ids=["input", "forget"])
@pytest.mark.parametrize("scale", [50, 1000, 5000])
def test_exponents_that_overflow(gate, scale, dtype):
    """Pre-activations of thousands: i = exp(.) and f = σ(.) are no numbers of the layer's dtype."""
    problem = make(CASE, dtype)
    layer = make_layer(CASE, problem)
    rows = slice(gate * CASE.hidden_size, (gate + 1) * CASE.hidden_size)
    weight = layer["weight_ih_l0"].copy()
    weight[rows] *= scale
    layer["weight_ih_l0"] = weight
    found = results(layer, problem.x, problem.d_output, problem.d_state, state=problem.state)
    assert all(np.isfinite(array).all() for array in found.values())
    assert (found["state2"] >= 1).all()  # n: with a stabilizer that is too large it would be 0
    expected, _, _ = unstabilized(layer, problem.x, problem.state)
    # exponents of that size are rounded to that many ulp, and h is a mean of values within ±1
    allowed = 40 * scale * np.finfo(dtype).eps
    np.testing.assert_allclose(found["output"], expected.astype(float), rtol=0, atol=allowed)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_inputs_of_one_step_alone(dtype):
    """An input gate of exp(1000) forgets all before it; one of exp(-1000) is forgotten."""
    layer = bptt.SLSTM(2, 3, dtype=dtype, seed=0)
    bias = layer["bias_l0"].copy()
    x = np.zeros((1, 5, 2), dtype)
    x[0, :, 1] = np.linspace(-1, 1, 5)
    weight = layer["weight_ih_l0"].copy()
    layer["weight_hh_l0"] = np.zeros_like(layer["weight_hh_l0"])
    weight[:3] = [1000, 0]
    layer["weight_ih_l0"], layer["bias_l0"] = weight, bias
    x[0, 2, 0] = 1
    _, alone = layer(x[:, 2:3])
    _, after = layer(x[:, :3])
    np.testing.assert_array_equal(after.h, alone.h)
    x[0, 2, 0] = -1
    _, before = layer(x[:, :2])
    _, after = layer(x[:, :3])
    np.testing.assert_array_equal(after.c / after.n, before.c / before.n)


def test_scale_of_the_memory_is_free():
    """c, n and exp(-m) times any number are the same memory."""
    problem = make(CASE)
    layer = make_layer(CASE, problem)
    h, c, n, m = problem.state
    expected, _ = layer(problem.x, state=problem.state)
    for shift in (-20, 3, 300):
        scaled = SLSTMState(h, c * np.exp(-shift), n * np.exp(-shift), m + shift)
        y, _ = layer(problem.x, state=scaled)
        np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [0.0, -1.0, -1e30])
def test_memory_that_holds_nothing(n):
    """Whatever c and m are, and without a gradient."""
    problem = make(CASE)
    layer = make_layer(CASE, problem)
    h, c, _, m = problem.state
    empty = SLSTMState(h, c, np.full_like(c, n), m)
    run = layer.forward(problem.x, state=empty)
    expected = layer.forward(problem.x, state=SLSTMState(h, *np.zeros((3, *h.shape))))
    np.testing.assert_array_equal(run.output, expected.output)
    gradients = run.backward(problem.d_output, problem.d_state)
    assert gradients.state.h.any()
    assert not any(d.any() for d in gradients.state[1:])


def test_nan_stays_in_its_row():
    problem = make(replace(CASE, state=False))
    layer = make_layer(CASE, problem)
    expected, _ = layer(problem.x)
    problem.x[1, 3, 0] = np.nan
    y, last = layer(problem.x)
    assert np.isnan(y[1, 3:]).all()
    assert all(np.isnan(part[0, 1]).all() for part in last)
    np.testing.assert_array_equal(y[[0, 2, 3]], expected[[0, 2, 3]])
    np.testing.assert_array_equal(y[1, :3], expected[1, :3])


@pytest.mark.parametrize("num_heads", [2, 3, 11, 22])
def test_heads_are_blocks_of_a_dense_layer(num_heads):
    case = replace(EVERYTHING, cell="slstm", hidden_size=66, num_heads=num_heads)
    problem = make(case)
    layer = make_layer(case, problem)
    dense_case = replace(case, num_heads=1)
    dense = make_layer(dense_case, replace_weights(problem, dense_case))
    found, expected = (
        results(each, problem.x, problem.d_output, problem.d_state, state=problem.state)
        for each in (layer, dense)
    )
    for name, value in expected.items():
        if name.startswith("weight_hh"):
            value = blocks(value, num_heads)
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-11, err_msg=name)


def replace_weights(problem, case):
    """The problem with the recurrent weights of its heads in whole matrices."""
    parameters = dict(problem.parameters)
    for name, value in parameters.items():
        if name.startswith("weight_hh"):
            size = value.shape[1]
            whole = np.zeros((len(value), case.hidden_size))
            for row in range(len(value)):
                first = row % case.hidden_size // size * size
                whole[row, first : first + size] = value[row]
            parameters[name] = whole
    return replace(problem, parameters=parameters)


def blocks(whole, num_heads):
    """The blocks on the diagonal of each gate's matrix, (4H, H/num_heads)."""
    size = whole.shape[1] // num_heads
    first = np.arange(len(whole)) % whole.shape[1] // size * size
    return np.take_along_axis(whole, first[:, None] + np.arange(size), axis=1)


def test_initial_recurrent_weights_are_orthogonal_in_each_head():
    layer = bptt.SLSTM(3, 12, num_heads=4, dtype="float64", seed=0)
    for block in layer["weight_hh_l0"].reshape(-1, 3, 3):
        np.testing.assert_allclose(block @ block.T, np.eye(3), atol=1e-12)


def test_heads_of_saved_and_copied_layers(tmp_path):
    layer = bptt.SLSTM(3, 12, num_heads=4, seed=0)
    path = tmp_path / "layer.safetensors"
    bptt.save_modules(path, {"layer": layer})
    loaded = bptt.load_modules(path)[0]["layer"]
    x = np.ones((2, 5, 3), np.float32)
    assert loaded.num_heads == 4
    np.testing.assert_array_equal(loaded(x)[0], layer(x)[0])


def test_heads_must_divide_the_units():
    with pytest.raises(ValueError, match="num_heads must divide hidden_size = 8, got 3"):
        bptt.SLSTM(2, 8, num_heads=3)
