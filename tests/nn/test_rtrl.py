"""Real-time recurrent learning: its gradients against those of backpropagation through time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bptt
from bptt.nn import RTRL
from bptt.nn.cells import CELLS
from bptt.nn.recurrent import make_recurrent
from bptt.nn.state import arrays_of, as_state
from cases import FORMS, every_cell, every_form

LOCAL = [name for name, cell in CELLS.items() if not cell.mixes_units]


def sequence(layer, steps, seed=0):
    """An input, and a gradient of the output."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((1, steps, layer.input_size))
    return x.astype(layer.dtype), random.standard_normal((1, steps, layer.output_size)).astype(
        layer.dtype
    )


def summed(rtrl, x, d_output):
    """Outputs, and the sum of the gradients of all steps."""
    outputs, total = [], 0.0
    for x_t, d_t in zip(np.swapaxes(x, 0, 1), np.swapaxes(d_output, 0, 1), strict=True):
        outputs.append(rtrl.step(x_t))
        total = total + rtrl.gradients(d_t)._flat
    return np.stack(outputs, axis=1), total


def assert_equal_to_bptt(layer, steps, approximation=None, state=None, seed=0):
    x, d_output = sequence(layer, steps, seed)
    outputs, total = summed(RTRL(layer, approximation=approximation, state=state), x, d_output)
    run = layer.forward(x, state=state)
    np.testing.assert_allclose(outputs, run.output, rtol=0, atol=1e-12)
    expected = run.backward(d_output)._flat
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("learned", [False, True])
@every_form
def test_sum_over_steps_is_the_gradient_of_bptt(form, learned):
    layer = make_recurrent(
        form["cell"],
        3,
        5,
        dtype="float64",
        seed=1,
        learn_initial_state=learned,
        **{name: value for name, value in form.items() if name != "cell"},
    )
    assert_equal_to_bptt(layer, steps=20)


@every_cell
def test_from_a_given_state(cell):
    layer = make_recurrent(cell, 2, 4, dtype="float64", seed=2, learn_initial_state=True)
    random = np.random.default_rng(0)
    state = as_state(*(random.uniform(0.2, 1.0, (1, 1, 4)) for _ in layer.cell.states))
    assert_equal_to_bptt(layer, steps=7, state=state)


@given(
    st.sampled_from(["rnn", "lstm", "gru"]),
    st.sampled_from(["tanh", "sigmoid", "relu", "identity"]),
    *[st.integers(1, 7)] * 3,
    st.integers(0, 99),
)
def test_any_shape(cell, activation, inputs, hidden, steps, seed):
    layer = make_recurrent(cell, inputs, hidden, activation=activation, dtype="float64", seed=seed)
    assert_equal_to_bptt(layer, steps, seed=seed)


def test_heads():
    assert_equal_to_bptt(bptt.SLSTM(3, 6, num_heads=2, dtype="float64", seed=0), steps=9)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_ids_and_one_hot_vectors_are_the_same(cell, time_major):
    layer = make_recurrent(cell, 4, 5, dtype="float64", seed=0, time_major=time_major)
    by_id, by_vector = RTRL(layer), RTRL(layer)
    for i in (3, 0, 0, 2):
        np.testing.assert_allclose(
            by_id.step(np.array([i])), by_vector.step(np.eye(4)[[i]]), rtol=0, atol=1e-14
        )
    np.testing.assert_allclose(by_id.influence, by_vector.influence, rtol=0, atol=1e-14)


def test_float32():
    layer = bptt.LSTM(3, 5, seed=0)
    x, d_output = sequence(layer, 20)
    _, total = summed(RTRL(layer), x, d_output)
    assert total.dtype == np.float32
    expected = layer.forward(x).backward(d_output)._flat
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@every_cell
def test_influence_is_the_derivative_of_the_state(cell):
    """Central differences of the state after some steps, by every parameter."""
    layer = make_recurrent(cell, 2, 3, dtype="float64", seed=0)
    x, _ = sequence(layer, 4)
    rtrl, epsilon = RTRL(layer), 1e-6
    for x_t in x[0, :, np.newaxis]:
        rtrl.step(x_t)
    visible = 3 if cell == "slstm" else None  # its c, n and m may have any scale
    column = 0
    for name, value in layer.parameters.items():
        original = value.copy()
        for place in np.ndindex(original.shape):
            ends = []
            for sign in (1.0, -1.0):
                changed = original.copy()
                changed[place] += sign * epsilon
                layer[name] = changed
                ends.append(np.concatenate([a.ravel() for a in arrays_of(layer(x)[1])]))
            layer[name] = original
            np.testing.assert_allclose(
                rtrl.influence[:visible, column],
                (ends[0] - ends[1])[:visible] / (2 * epsilon),
                rtol=1e-4,
                atol=1e-7,
            )
            column += 1


@every_cell
def test_cells_say_whether_units_mix(cell):
    """Within one step, from h and c, do the parameters of unit 0 act on unit 1?"""
    layer = make_recurrent(cell, 3, 4, dtype="float64", seed=0)
    states = as_state(*(np.full((1, 1, 4), 0.5 + 0.1 * i) for i, _ in enumerate(layer.cell.states)))
    run = layer.forward(np.ones((1, 1, 3)), state=states)
    d_output = np.zeros((1, 1, 4))
    d_output[..., 1] = 1.0
    gradients = run.backward(d_output)
    of_unit_0 = np.concatenate([gradients[name][::4].ravel() for name in gradients])
    assert bool(np.any(of_unit_0)) == layer.cell.mixes_units


# ---- the diagonal approximation ------------------------------------------------------------------


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("cell", LOCAL)
def test_diagonal_is_exact_for_diagonal_recurrent_weights(cell, learned):
    layer = make_recurrent(cell, 3, 5, dtype="float64", seed=1, learn_initial_state=learned)
    layer["weight_hh_l0"] = layer["weight_hh_l0"] * np.tile(np.eye(5), (len(layer.cell.gates), 1))
    x, d_output = sequence(layer, 15)
    _, total = summed(RTRL(layer, approximation="diagonal"), x, d_output)
    expected = layer.forward(x).backward(d_output)._flat  # of weights off the diagonal as well
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", LOCAL)
def test_diagonal_is_exact_for_one_step_and_biased_after(cell):
    layer = make_recurrent(cell, 3, 5, dtype="float64", seed=1)
    assert_equal_to_bptt(layer, 1, approximation="diagonal")
    x, d_output = sequence(layer, 10)
    _, total = summed(RTRL(layer, approximation="diagonal"), x, d_output)
    expected = layer.forward(x).backward(d_output)._flat
    assert not np.allclose(total, expected, rtol=1e-3)
    assert total @ expected > 0.5 * np.linalg.norm(total) * np.linalg.norm(expected)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_diagonal_by_its_definition(cell):
    """The exact influence, with ∂s_t/∂s_{t-1} cut to the blocks of a unit at every step."""
    layer = make_recurrent(cell, 2, 3, dtype="float64", seed=3)
    approximate = RTRL(layer, approximation="diagonal")
    arrays, units = len(layer.cell.states), approximate._units
    blocks = np.tile(np.eye(3), (arrays, arrays))
    cut = np.zeros((3 * arrays, len(units)))
    x, _ = sequence(layer, 6)
    for x_t in x[0, :, np.newaxis]:
        before = approximate.state
        approximate.step(x_t)
        (transition,) = bptt.diagnostics.jacobian_products(layer, x_t, state=before).steps
        direct = RTRL(layer, state=before)  # influence of the parameters at this step alone
        direct.step(x_t)
        cut = (transition * blocks) @ cut + direct.influence
    rows = 3 * np.arange(arrays)[:, np.newaxis] + units
    own = np.take_along_axis(cut, rows, axis=0)
    np.testing.assert_allclose(approximate.influence, own, rtol=0, atol=1e-12)


# ---- use -----------------------------------------------------------------------------------------


def test_reset_begins_anew():
    layer = bptt.GRU(3, 4, dtype="float64", seed=0, learn_initial_state=True)
    rtrl = RTRL(layer)
    x, d_output = sequence(layer, 5)
    first = summed(rtrl, x, d_output)
    rtrl.reset()
    np.testing.assert_array_equal(summed(rtrl, x, d_output)[1], first[1])


def test_parameters_that_change_between_steps():
    """The next step uses the new parameters; its direct influence is theirs."""
    layer = bptt.RNN(3, 4, dtype="float64", seed=0)
    rtrl, optimizer = RTRL(layer), bptt.SGD(layer, 0.1)
    x, d_output = sequence(layer, 6)
    state = None
    for x_t, d_t in zip(x[0, :, np.newaxis], d_output[0, :, np.newaxis], strict=True):
        expected, state = layer.step(x_t, state)
        np.testing.assert_array_equal(rtrl.step(x_t), expected)
        optimizer.step(rtrl.gradients(d_t))


def test_a_loss_is_a_gradient():
    layer = bptt.RNN(3, 4, dtype="float64", seed=0)
    rtrl = RTRL(layer)
    loss = bptt.mean_squared_error(rtrl.step(np.ones((1, 3))), np.zeros((1, 4)))
    np.testing.assert_array_equal(
        rtrl.gradients(loss)["bias_l0"], rtrl.gradients(loss.gradient)["bias_l0"]
    )


@pytest.mark.parametrize(
    ("layer", "wrong"),
    [
        (bptt.RNN(3, 4, num_layers=2, seed=0), "num_layers=1"),
        (bptt.RNN(3, 4, bidirectional=True, seed=0), "bidirectional=False"),
        (bptt.RNN(3, 4, zoneout=0.1, seed=0), "zoneout=0"),
        (bptt.RNN(3, 4, recurrent_dropout=0.1, seed=0), "recurrent_dropout=0"),
    ],
)
def test_unsupported_layers(layer, wrong):
    with pytest.raises(ValueError, match=r"^layer must have ") as raised:
        RTRL(layer)
    assert raised.value.args[0] == f"layer must have {wrong}, got {layer}"


MIXED = [form for form in FORMS if form["cell"] not in LOCAL or "proj_size" in form]


@pytest.mark.parametrize("form", MIXED, ids=lambda form: form["cell"])
def test_diagonal_needs_units_that_do_not_mix(form):
    arguments = {"input_size": 3, "hidden_size": 4, **form}
    layer = make_recurrent(**arguments)
    with pytest.raises(ValueError, match="approximation='diagonal' needs a cell in which") as error:
        RTRL(layer, approximation="diagonal")
    assert str(error.value).endswith(": use reset_after=True") == (form["cell"] == "gru")


def test_wrong_arguments():
    layer = bptt.LSTM(3, 4, dtype="float64", seed=0)
    with pytest.raises(TypeError, match="layer must be of type Recurrent, got Linear"):
        RTRL(bptt.Linear(3, 4))
    with pytest.raises(ValueError, match="approximation must be one of 'diagonal', got 'x'"):
        RTRL(layer, approximation="x")
    with pytest.raises(TypeError, match="state of an LSTM must be a pair"):
        RTRL(layer, state=np.zeros((1, 1, 4)))
    rtrl = RTRL(layer)
    rtrl.step(np.ones((1, 3)))
    before = rtrl.influence.copy()
    wrong = [
        (np.ones((2, 3)), ValueError, r"x_t must have shape \(1, input_size\)"),
        (np.ones((1, 2)), ValueError, "x must have"),
        (np.ones(3), ValueError, r"x_t must have shape \(1, input_size\)"),
        (np.ones((1, 3), np.float32), TypeError, "x must have dtype float64"),
        (np.array([3]), ValueError, "ids"),
        ([[1.0]], TypeError, "x_t must be a NumPy array, got list"),
    ]
    for x_t, error, message in wrong:
        with pytest.raises(error, match=message):
            rtrl.step(x_t)
    with pytest.raises(ValueError, match="d_output must have the shape of the output"):
        rtrl.gradients(np.ones((1, 3)))
    with pytest.raises(TypeError, match="d_output must have dtype float64"):
        rtrl.gradients(np.ones((1, 4), np.float32))
    with pytest.raises(TypeError, match="state"):
        rtrl.reset(3)
    np.testing.assert_array_equal(rtrl.influence, before)
