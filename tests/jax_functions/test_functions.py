"""`bptt.jax` against the NumPy reference, parameters of layers, and errors."""

from __future__ import annotations

import re

import numpy as np
import pytest

import bptt
from bptt.nn.recurrent import LAYER_OF_CELL
from bptt.nn.state import arrays_of
from cases import EVERYTHING, Case, assert_all_close, assert_close, make, run_reference
from child_process import check_done, run_code

jax = pytest.importorskip("jax")
functions = pytest.importorskip("bptt.jax")
jnp = jax.numpy
jax.config.update("jax_enable_x64", True)  # float32 stays float32

FUNCTIONS = {bptt.RNN: functions.rnn, bptt.LSTM: functions.lstm, bptt.GRU: functions.gru}

every_kind = pytest.mark.parametrize("kind", FUNCTIONS, ids=lambda kind: kind.__name__)


SMALL = {"num_layers": 2, "bidirectional": True, "lengths": "ragged", "batch": 4, "state": True}
CASES = [
    *(Case(name) for name, kind in LAYER_OF_CELL.items() if kind in FUNCTIONS),
    *(Case(name, **SMALL) for name, kind in LAYER_OF_CELL.items() if kind in FUNCTIONS),
    *(Case("rnn", "relu", bidirectional=True, merge=merge) for merge in ("sum", "mean", "mul")),
    Case("gru", "identity", "hard_sigmoid", ids=True, num_layers=2, lengths="short"),
    Case("lstm_peephole_coupled", "sigmoid", "hard_sigmoid_keras2", proj_size=3, **SMALL),
]


def problem_of(kind, **more):
    """Return a function, parameters and x."""
    options = {"num_layers": 2, "bidirectional": True, "dtype": "float64", "seed": 0, **more}
    params = functions.params_of(kind(4, 5, **options))
    return FUNCTIONS[kind], params, np.random.default_rng(0).normal(size=(3, 6, 4))


# ---- values and gradients


@pytest.mark.parametrize(
    ("case", "dtype"),
    [*((case, "float64") for case in CASES), (EVERYTHING, "float32")],
    ids=str,
)
def test_values_and_gradients_are_those_of_the_reference(case, dtype):
    problem = make(case, dtype)
    function = FUNCTIONS[LAYER_OF_CELL[case.cell]]
    chosen = {"activation": case.activation, "merge": case.merge, "lengths": problem.lengths}
    if case.cell != "rnn":
        chosen["gate_activation"] = case.gate_activation

    def run(params, x, state):
        y, last = function(params, x, state, **chosen)
        return y, arrays_of(last)

    def differentiate(params, x, state):
        inputs = (params, state) if case.ids else (params, state, x)
        found, pullback = jax.vjp(lambda p, s, x=x: run(p, x, s), *inputs)
        d_last = arrays_of(problem.d_state) or jax.tree.map(jnp.zeros_like, found[1])
        return found, pullback((problem.d_output, d_last))

    inputs = (problem.parameters, problem.x, problem.state)
    inferred = run(*inputs)
    found, (d_params, d_state, *d_x) = jax.jit(differentiate)(*inputs)
    expected, gradients = run_reference(case, problem)
    for y, last in (inferred, found):
        assert_close(y, expected.output, dtype, case.steps)
        for part, other in zip(last, arrays_of(expected.state), strict=True):
            assert_close(part, other, dtype, case.steps)
    assert_all_close(d_params, gradients.parameters, dtype, case.steps, True)
    for part in d_x:
        assert_close(part, gradients.input, dtype, case.steps, True)
    for part, other in zip(arrays_of(d_state), arrays_of(gradients.state), strict=False):
        assert_close(part, other, dtype, case.steps, True)


@every_kind
def test_time_major_and_input_without_a_batch(kind):
    function, params, x = problem_of(kind)
    y, last = function(params, x)
    swapped, same = function(params, x.swapaxes(0, 1), time_major=True)
    np.testing.assert_array_equal(swapped, y.swapaxes(0, 1))
    jax.tree.map(np.testing.assert_array_equal, last, same)
    start = jax.tree.map(lambda part: part[:, 1], last)
    one, state = function(params, x[1], start)
    expected, all_states = function(params, x, last)
    np.testing.assert_allclose(one, expected[1], rtol=0, atol=1e-14)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b[:, 1], rtol=0, atol=1e-14), state, all_states
    )


def test_state_of_the_lstm_is_an_lstm_state():
    function, params, x = problem_of(bptt.LSTM)
    _, state = jax.jit(function)(params, x)
    assert isinstance(state, bptt.LSTMState)
    assert isinstance(state.h, jax.Array)


# ---- parameters

FORMS = [
    (bptt.RNN, {}),
    (bptt.LSTM, {}),
    (bptt.LSTM, {"peephole": True, "coupled": True}),
    (bptt.LSTM, {"coupled": True}),
    (bptt.LSTM, {"proj_size": 3}),
    (bptt.LSTM, {"proj_size": 4, "coupled": True}),
    (bptt.LSTM, {"layer_norm": True}),
    (bptt.GRU, {}),
    (bptt.GRU, {"reset_after": True}),
    (bptt.GRU, {"reset_after": True, "layer_norm": True}),
]


@pytest.mark.parametrize(("kind", "form"), FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [{}, {"num_layers": 3, "bidirectional": True}])
def test_layers_become_parameters_and_parameters_layers(kind, form, dtype, sizes):
    layer = kind(4, 5, dtype=dtype, **form, **sizes)
    params = functions.params_of(layer)
    again = functions.from_params(kind, params)
    assert again.config | {"seed": None} == layer.config
    x = np.ones((2, 3, 4), dtype)
    np.testing.assert_array_equal(again(x)[0], layer(x)[0])
    np.testing.assert_allclose(FUNCTIONS[kind](params, x)[0], layer(x)[0], rtol=0, atol=1e-6)


def test_parameters_are_copies():
    layer = bptt.LSTM(4, 5)
    params = functions.params_of(layer)
    before = np.array(params["weight_hh_l0"])
    layer["weight_hh_l0"] = np.zeros_like(before)
    np.testing.assert_array_equal(params["weight_hh_l0"], before)


def test_options_of_a_layer_from_parameters():
    params = functions.params_of(bptt.LSTM(4, 5, num_layers=2))
    layer = functions.from_params(bptt.LSTM, params, dropout=0.5, activation="relu", seed=3)
    assert (layer.dropout, layer.activation, layer.seed) == (0.5, "relu", 3)


# ---- errors


def without(params, *names):
    return {name: value for name, value in params.items() if name not in names}


X = np.ones((2, 3, 4))
WRONG = [
    ({"x": [[1.0]]}, TypeError, "x must be an array of JAX or NumPy, got list"),
    ({"x": X.astype(np.float32)}, TypeError, "x must have dtype float64 as the parameters"),
    ({"x": X[0, 0]}, ValueError, r"x must have 2 or 3 dimensions, got shape (4,)"),
    ({"x": X[..., :3]}, ValueError, "x must have input_size = 4 features, got shape (2, 3, 3)"),
    ({"x": np.ones((2, 3, 4), int)}, ValueError, "x of token ids must have 2 dimensions, got sha"),
    ({"x": X[0], "lengths": [3]}, ValueError, "lengths need x of shape (B, T, I), got (T, I)"),
    ({"lengths": [1]}, ValueError, "lengths must have shape (batch,) = (2,), got (1,)"),
    ({"lengths": [1, 4]}, ValueError, "lengths must lie in [0, steps] = [0, 3], got 4"),
    ({"lengths": [1.0, 2.0]}, TypeError, "lengths must be integers, got dtype float64"),
    ({"state": np.ones((1, 2, 5))}, TypeError, "state must be a pair (h, c) of arrays, got ndarr"),
    ({"state": (X, 3)}, TypeError, "c of the state must be an array of JAX or NumPy, got int"),
    (
        {"state": (np.ones((1, 2, 5)), np.ones((1, 3, 5)))},
        ValueError,
        "c of the state must have shape (num_layers*directions, B, hidden_size) = (1, 2, 5)",
    ),
    ({"activation": "elu"}, ValueError, "activation must be one of 'tanh', 'sigmoid', 'relu'"),
    ({"gate_activation": 3}, TypeError, "gate_activation must be one of 'sigmoid'"),
    ({"merge": "max"}, ValueError, "merge must be one of 'concat', 'sum', 'mean', 'mul'"),
    ({"time_major": 1}, TypeError, "time_major must be True or False, got int"),
    ({"params": None}, TypeError, "params must be a mapping, got NoneType"),
    ({"params": {}}, KeyError, "'weight_ih_l0' is missing in params"),
]


@pytest.mark.parametrize(("change", "error", "message"), WRONG)
def test_wrong_arguments(change, error, message):
    _, params, _ = problem_of(bptt.LSTM, num_layers=1, bidirectional=False)
    arguments = {"params": params, "x": X} | change
    with pytest.raises(error, match=re.escape(message)):
        functions.lstm(**arguments)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weight_hh_l0": None}, TypeError, "params['weight_hh_l0'] must be an array of JAX"),
        ({"weight_ih_l0": X}, ValueError, "params['weight_ih_l0'] must have 2 dimensions, got"),
        ({"weight_ih_l0": X[0, :, :1].astype("f2")}, TypeError, "must have dtype float32 or"),
        ({"bias_l0": np.ones(20, "f4")}, TypeError, "params['bias_l0'] must have dtype float64"),
        ({"bias_l0": np.ones(5)}, ValueError, "params['bias_l0'] must have shape (4*hidden_size"),
        ({"weight_hr_l0": np.ones((7, 5))}, ValueError, "proj_size must be < hidden_size = 5"),
        (
            {"h0_l0": np.ones(5)},
            ValueError,
            "params must hold weight_ih_l0, weight_hh_l0, bias_l0,",
        ),
        ({"bias_l2": np.ones(20)}, ValueError, "params must hold weight_ih_l0, weight_hh_l0, bias"),
    ],
)
def test_wrong_parameters(change, error, message):
    _, params, _ = problem_of(bptt.LSTM, num_layers=1, bidirectional=False)
    with pytest.raises(error, match=re.escape(message)):
        functions.lstm(params | change, X)
    with pytest.raises(error, match=re.escape(message)):
        functions.from_params(bptt.LSTM, params | change)


def test_parameters_of_another_layer():
    with pytest.raises(
        ValueError, match=r"params\['weight_ih_l0'\] must have shape \(3\*hidden_si"
    ):
        functions.gru(functions.params_of(bptt.LSTM(4, 5)), X.astype("f4"))
    with pytest.raises(TypeError, match=r"kind must be bptt.RNN, LSTM or GRU, got MGU"):
        functions.from_params(bptt.MGU, {})
    with pytest.raises(ValueError, match="num_layers is shown by the parameters: leave it out"):
        functions.from_params(bptt.GRU, functions.params_of(bptt.GRU(4, 5)), num_layers=2)
    with pytest.raises(TypeError, match="nothing"):
        functions.from_params(bptt.GRU, functions.params_of(bptt.GRU(4, 5)), nothing=2)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (bptt.MGU(4, 5), TypeError, "layer must be of type RNN or LSTM or GRU, got MGU"),
        (bptt.LSTM(4, 5, zoneout=0.5), ValueError, "must have zoneout=0.0 for bptt.jax, got 0.5"),
        (bptt.RNN(4, 5, learn_initial_state=True), ValueError, "must have learn_initial_state=Fal"),
        (bptt.GRU(4, 5, decay_size=2), ValueError, "must have decay_size=0 for bptt.jax, got 2"),
    ],
)
def test_layers_with_what_the_functions_do_not_have(layer, error, message):
    with pytest.raises(error, match=re.escape(message)):
        functions.params_of(layer)


def test_float64_needs_its_switch():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(TypeError, match="layer must have dtype float32, got float64: use jax"):
            functions.params_of(bptt.LSTM(4, 5, dtype="float64"))
    finally:
        jax.config.update("jax_enable_x64", True)


def test_values_that_are_wrong_in_a_compiled_function():
    function, params, x = problem_of(bptt.GRU)
    run = jax.jit(lambda lengths: function(params, x, lengths=lengths)[0])
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"lengths.* 9"):
        run(np.array([1, 2, 9])).block_until_ready()
    np.testing.assert_array_equal(run(np.array([6, 6, 6])), function(params, x)[0])


def test_lengths_that_are_traced_are_checked():
    function, params, x = problem_of(bptt.GRU)
    with pytest.raises(TypeError, match="lengths must be integers, got dtype float64"):
        jax.jit(lambda lengths: function(params, x, lengths=lengths)[0])(np.ones(3))
    with pytest.raises(ValueError, match=re.escape("lengths must have shape (B,) = (3,)")):
        jax.jit(lambda lengths: function(params, x, lengths=lengths)[0])(np.ones(2, int))


def test_jax_is_imported_when_it_is_used():
    code = """
import sys
sys.modules["jax"] = None
import bptt
try:
    import bptt.jax
except ModuleNotFoundError as error:
    assert str(error) == "bptt.jax needs JAX: pip install 'bptt[jax]'", error
    print("done")
"""
    check_done(run_code(code))
