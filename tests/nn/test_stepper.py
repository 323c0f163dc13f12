"""Steppers: the bits of `step`, buffers that stay, parameters that change, and what is refused."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import bptt
from bptt.nn import Stepper
from bptt.nn.state import arrays_of, as_state
from cases import DTYPES, FORMS, Case, dtype_id, every_form, make, make_layer

SIZES = (3, 5, 8, 13, 16, 24, 33, 48, 70)


def bytes_of(y, state):
    return [y.tobytes(), *(part.tobytes() for part in arrays_of(state))]


def small_layer(**options):
    return bptt.LSTM(3, 8, seed=0, **options)


def rows(count, batch=1, size=3, dtype=np.float32):
    return np.random.default_rng(0).standard_normal((count, batch, size)).astype(dtype)


# ---- bits


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("ids", [False, True], ids=["values", "ids"])
@every_form
def test_steps_of_one_row_are_those_of_the_whole_sequence(form, ids, dtype):
    for i, hidden in enumerate(SIZES):
        options = {"num_layers": 1 + i % 2, "zoneout": 0.1 * (i % 4 == 3)}
        case = Case(**form, **options, batch=1, steps=4, hidden_size=hidden, state=True, ids=ids)
        problem = make(case, dtype)
        layer, state = make_layer(case, problem), problem.state
        expected, final = layer(problem.x, state=state)
        for t in range(case.steps):
            y, state = layer.step(problem.x[:, t], state)
            assert y.tobytes() == expected[:, t].tobytes(), f"H = {hidden}, t = {t}"
        assert bytes_of(y, state) == bytes_of(expected[:, -1], final)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    "options",
    [
        {"activation": "relu"},
        {"gate_activation": "hard_sigmoid"},
        {"peephole": True},
        {"learn_initial_state": True},
        {"num_layers": 3},
    ],
    ids=str,
)
def test_options_of_an_lstm_have_the_same_bits(options):
    layer = bptt.LSTM(3, 21, seed=1, **options)
    x = rows(5)
    expected, final = layer(x.transpose(1, 0, 2))
    state = None
    for x_t, y in zip(x, expected[0], strict=True):
        y_t, state = layer.step(x_t, state)
        assert y_t.tobytes() == y.tobytes()
    assert bytes_of(y_t, state) == bytes_of(expected[:, -1], final)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("heads", [1, 2, 5])
def test_heads_have_the_same_bits(heads):
    layer = bptt.SLSTM(3, 40, num_heads=heads, seed=0)
    x = rows(4)
    expected, _ = layer(x.transpose(1, 0, 2))
    stepper = layer.stepper()
    for x_t, y in zip(x, expected[0], strict=True):
        assert stepper(x_t).tobytes() == y.tobytes()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("ids", [False, True], ids=["values", "ids"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_stepper_has_the_bits_of_step(form, batch, ids, dtype):
    case = Case(
        **form, batch=batch, hidden_size=19, num_layers=2, ids=ids, learn_initial_state=True
    )
    problem = make(case, dtype)
    layer = make_layer(case, problem)
    stepper, state = layer.stepper(batch), None
    assert isinstance(stepper, Stepper)
    assert stepper.batch == batch
    for t in range(case.steps):
        x_t = np.ascontiguousarray(problem.x[:, t]) if t % 2 else problem.x[:, t]
        y, state = layer.step(x_t, state)
        assert bytes_of(stepper(x_t), stepper.state) == bytes_of(y, state)


def test_inputs_need_not_be_dense():
    layer = small_layer()
    x = rows(1)[0]
    wide = np.zeros((1, 6), np.float32)
    wide[:, ::2] = x
    expected = layer.step(x)[0].tobytes()
    assert layer.step(wide[:, ::2])[0].tobytes() == expected
    assert layer.stepper()(wide[:, ::2]).tobytes() == expected


@pytest.mark.parametrize("which", [0, 1], ids=["h", "c"])
def test_the_input_may_be_what_the_step_overwrites(which):
    layer = bptt.LSTM(40, 40, seed=0)
    out = layer.step(rows(1, size=40)[0])
    expected = bytes_of(*layer.step(out[1][which][0].copy(), out[1]))
    assert bytes_of(*layer.step(out[1][which][0], out[1], out=out)) == expected
    expected = bytes_of(*layer.step(out[0].copy(), out[1]))
    assert bytes_of(*layer.step(out[0], out[1], out=out)) == expected


def test_states_may_change_places():
    layer = bptt.LSTM(3, 40, seed=0)
    out = layer.step(rows(1)[0])
    swapped = out[1][::-1]
    expected = bytes_of(*layer.step(rows(1)[0], tuple(part.copy() for part in swapped)))
    assert bytes_of(*layer.step(rows(1)[0], swapped, out=out)) == expected


def test_nan_and_infinity_stay_in_their_unit():
    layer = bptt.RNN(2, 5, seed=0)
    weight = layer["weight_ih_l0"].copy()
    weight[1:] = 0
    layer["weight_ih_l0"] = weight
    y = layer.stepper()(np.array([[np.nan, 0]], np.float32))
    assert np.isnan(y[0, 0])
    assert not np.isnan(layer.step(np.zeros((1, 2), np.float32))[0]).any()


# ---- buffers


def test_the_output_is_one_array_and_the_state_a_copy():
    stepper = small_layer().stepper()
    x = rows(2)
    first = stepper(x[0])
    kept, state = first.copy(), stepper.state
    assert stepper(x[1]) is first
    assert not np.array_equal(first, kept)
    assert np.array_equal(state.h[0], kept)
    assert np.array_equal(stepper.state.h[0], first)
    with pytest.raises(ValueError, match="does not own its data"):
        first.resize((4, 8), refcheck=False)


def test_reset_begins_again_from_the_initial_or_a_given_state():
    stepper = small_layer(learn_initial_state=True).stepper()
    x = rows(3)
    outputs = [stepper(x_t).copy() for x_t in x]
    stepper.reset()
    assert np.array_equal(stepper(x[0]), outputs[0])
    middle = stepper.state
    assert np.array_equal(stepper(x[1]), outputs[1])
    stepper.reset(middle)
    assert np.array_equal(stepper(x[1]), outputs[1])
    middle.h[...] = 0  # was copied
    assert np.array_equal(stepper(x[2]), outputs[2])


def test_parameters_that_change_are_seen_at_the_next_step():
    layer = small_layer()
    stepper, state = layer.stepper(), None
    for i, x_t in enumerate(rows(4)):
        layer["bias_l0"] = np.full(32, 0.1 * i, np.float32)
        y, state = layer.step(x_t, state)
        assert np.array_equal(stepper(x_t), y)


def test_the_stepper_keeps_its_layer():
    layer = small_layer()
    expected = layer.step(rows(1)[0])[0]
    alive = weakref.ref(layer)
    stepper = layer.stepper()
    del layer
    gc.collect()
    assert np.array_equal(stepper(rows(1)[0]), expected)
    del stepper
    gc.collect()
    assert alive() is None


def test_references_and_memory_do_not_grow():
    layer = small_layer()
    stepper = layer.stepper()
    x_t = rows(1)[0]
    wrong = np.zeros((2, 3), np.float32)
    y = stepper(x_t)

    def work():
        for _ in range(200):
            stepper(x_t)
            layer.step(x_t, stepper._buffers, out=(y, stepper._buffers))
            with pytest.raises(ValueError, match="batch of the stepper"):
                stepper(wrong)
        layer["bias_l0"] = layer["bias_l0"]

    objects = (x_t, y, layer, stepper, wrong, *stepper._buffers)
    work()
    gc.collect()
    before = [sys.getrefcount(one) for one in objects]
    tracemalloc.start()
    work()
    gc.collect()
    first = tracemalloc.get_traced_memory()[0]
    work()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - first
    tracemalloc.stop()
    assert [sys.getrefcount(one) for one in objects] == before
    assert grown < 2000


# ---- what is refused


@pytest.mark.parametrize(
    ("x_t", "error", "message"),
    [
        (np.zeros((1, 3)), TypeError, "x_t must have dtype float32 as the layer"),
        ([[0.0, 0.0, 0.0]], TypeError, "x_t must be a NumPy array, got list"),
        (None, TypeError, "x_t must be a NumPy array, got None"),
        (np.zeros((1, 4), np.float32), ValueError, "x_t must have shape .batch, input_size. with"),
        (np.zeros((2, 3), np.float32), ValueError, "batch of the stepper, 1, got .* shape .2, 3."),
        (np.zeros(3, np.float32), ValueError, "x_t must have shape .batch, input_size. with"),
        (np.zeros((), np.float32), ValueError, "x_t must have shape"),
        (np.array([3]), ValueError, "token ids must lie in"),
        (np.array([1, 2]), ValueError, "batch of the stepper, 1, got .* shape .2,."),
    ],
    ids=str,
)
def test_wrong_inputs_change_nothing(x_t, error, message):
    stepper = small_layer().stepper()
    y = stepper(rows(1)[0])
    before = bytes_of(y, stepper.state)
    with pytest.raises(error, match=message):
        stepper(x_t)
    assert bytes_of(y, stepper.state) == before
    assert not np.array_equal(stepper(rows(1)[0]), np.frombuffer(before[0], np.float32))


def test_wrong_calls():
    layer = small_layer()
    stepper = layer.stepper()
    x_t = rows(1)[0]
    assert stepper(x_t=x_t) is stepper(x_t)
    for wrong in (lambda: stepper(), lambda: stepper(x_t, x_t), lambda: stepper(x=x_t)):
        with pytest.raises(TypeError, match="a stepper takes one argument, x_t"):
            wrong()
    with pytest.raises(TypeError, match="made by the method stepper of a layer"):
        Stepper(layer)
    with pytest.raises(TypeError, match="made by the method stepper of a layer"):
        type(stepper).__new__(type(stepper))(x_t)
    with pytest.raises(TypeError, match="keeps its layer"):
        stepper.__init__(layer, x_t, x_t)
    other = bptt.LSTM(3, 9, seed=0)._current(False)
    with pytest.raises(ValueError, match="buffers of a stepper must be those of its layer"):
        stepper._bind(other.version, other.network)
    assert stepper(x_t).shape == (1, 8)  # bound again
    for refused in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            refused(stepper)


@pytest.mark.parametrize("option", ["bidirectional", "reverse"])
def test_layers_that_need_whole_sequences_have_no_stepper(option):
    with pytest.raises(
        ValueError, match=f"stepper needs a layer with {option}=False, got {option}=True"
    ):
        small_layer(**{option: True}).stepper()


def test_buffers_that_do_not_fit_into_memory():
    with pytest.raises(ValueError, match="buffers of a stepper must fit into memory, got batch = "):
        small_layer().stepper(1 << 64)


def test_one_call_at_a_time(monkeypatch):
    stepper = small_layer().stepper()
    x_t, found = rows(1)[0], []
    general = Stepper._general

    def inside(self, given):
        with pytest.raises(RuntimeError, match="serves one stream at a time"):
            self(given)
        found.append(given)
        return general(self, given)

    monkeypatch.setattr(Stepper, "_general", inside)
    stepper(x_t)  # the first step packs the weights
    stepper(x_t)
    assert len(found) == 1


def test_a_wrong_state_is_refused():
    stepper = small_layer().stepper()
    h = np.zeros((1, 1, 8), np.float32)
    with pytest.raises(TypeError, match=r"state of an LSTM must be a pair \(h, c\)"):
        stepper.reset(h)
    with pytest.raises(ValueError, match=r"state\.c must have the shape of the state"):
        stepper.reset((h, h[..., :7]))
    assert as_state(h, h).c is h


# ---- chains


def test_a_chain_has_the_bits_of_its_step():
    for modules, x in (
        (
            (bptt.Embedding(5, 3, seed=0), bptt.LSTM(3, 8, seed=1), bptt.Linear(8, 2, seed=2)),
            np.array([[1], [4], [0], [2]]),
        ),
        (
            (bptt.LayerNorm(3), bptt.GRU(3, 8, seed=1), bptt.Dropout(0.5), bptt.RNN(8, 4, seed=0)),
            rows(4),
        ),
    ):
        model, states = bptt.Sequential(*modules, pool="last"), None
        stepper = model.stepper()
        for x_t in x:
            y, states = model.step(x_t, states)
            assert np.array_equal(stepper(x_t), y)
        kept = stepper.state
        assert [bytes_of(y, one) for one in kept] == [bytes_of(y, one) for one in states]
        expected = model.step(x[0], kept)[0].copy()
        stepper(x[1])
        stepper.reset(kept)
        assert np.array_equal(stepper(x[0]), expected)
        stepper.reset()
        assert np.array_equal(stepper(x[0]), model.step(x[0])[0])


def test_chains_that_have_no_stepper():
    layer, head = small_layer(), bptt.Linear(11, 2, seed=0)
    with pytest.raises(ValueError, match="stepper needs pool=None or pool='last', got pool='mean'"):
        bptt.Sequential(layer, pool="mean").stepper()
    with pytest.raises(ValueError, match="stepper needs modules that follow each other"):
        bptt.Sequential(layer, head, skip_input=True).stepper()
    stepper = bptt.Sequential(layer).stepper()
    with pytest.raises(TypeError, match="x_t must be a NumPy array"):
        stepper([1.0])
    with pytest.raises(ValueError, match="state must be a tuple of states"):
        stepper.reset(())


def test_large_layers_have_the_bits_of_any_number_of_threads():
    """One thread takes a row in one pass, several share its units in a loop."""
    layer = bptt.LSTM(8, 512, num_layers=2, seed=0)
    x = np.random.default_rng(0).standard_normal((4, 1, 8), dtype=np.float32)
    expected = [y.tobytes() for y in layer(x.transpose(1, 0, 2))[0].transpose(1, 0, 2)]
    for count in (1, 2):
        with bptt.threads(count):
            stepper, state, found = layer.stepper(), None, []
            for x_t in x:
                y_t, state = layer.step(x_t, state)
                assert stepper(x_t).tobytes() == y_t.tobytes()
                found.append(y_t.tobytes())
        assert found == expected
