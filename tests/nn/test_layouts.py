"""Memory layouts and types of arguments: they change no bit of the results."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt._core import loader
from bptt.nn.cells import CELLS
from bptt.nn.state import arrays_of
from cases import (
    DTYPES,
    EVERYTHING,
    MERGES,
    Case,
    assert_all_close,
    dtype_id,
    every_cell,
    every_form,
    has_cell_state,
    make,
    make_layer,
)
from layer_results import assert_identical, results

# ---- memory --------------------------------------------------------------------------------------


def misaligned(x):
    memory = np.zeros(x.nbytes + 1, np.uint8)[1:]
    y = np.ndarray(x.shape, x.dtype, memory)
    y[...] = x
    return y


def read_only(x):
    y = x.copy()
    y.flags.writeable = False
    return y


def one_field(x):
    """Strides of 12 (or 9) bytes, which are no multiples of the item size."""
    y = np.zeros(x.shape, [("value", x.dtype), ("other", "u1")])
    y["value"] = x
    return y["value"]


def every_third(x):
    y = np.full((*x.shape[:-1], 3 * x.shape[-1]), np.nan, x.dtype)
    y[..., 1::3] = x
    return y[..., 1::3]


LAYOUTS = {
    "fortran": np.asfortranarray,
    "steps first": lambda x: x.swapaxes(0, 1).copy().swapaxes(0, 1),
    "features first": lambda x: np.moveaxis(np.moveaxis(x, -1, 0).copy(), 0, -1),
    "every third": every_third,
    "padded rows": lambda x: np.pad(x, [(1, 2)] * x.ndim)[(slice(1, -2),) * x.ndim],
    "backwards": lambda x: x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "read-only": read_only,
    "misaligned": misaligned,
    "one field": one_field,
    "subclass": lambda x: x.view(np.ma.MaskedArray),
}


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("layout", LAYOUTS)
@every_cell
def test_results_do_not_depend_on_memory_layout(cell, layout, dtype):
    case = replace(EVERYTHING, cell=cell)
    p, change = make(case, dtype), LAYOUTS[layout]
    layer = make_layer(case, p)

    def changed(value):
        return tuple(map(change, value)) if isinstance(value, tuple) else change(value)

    expected = results(layer, p.x, p.d_output, p.d_state, lengths=p.lengths, state=p.state)
    before = p.x.copy()
    assert_identical(
        results(
            layer,
            changed(p.x),
            changed(p.d_output),
            changed(p.d_state),
            lengths=np.repeat(p.lengths, 2)[::2],
            state=changed(p.state),
        ),
        expected,
    )
    np.testing.assert_array_equal(p.x, before)


@pytest.mark.usefixtures("isa")
@every_cell
def test_broadcast_input(cell):
    case = replace(EVERYTHING, cell=cell)
    p = make(case)
    layer = make_layer(case, p)
    shape, d_shape = p.x.shape, p.d_output.shape
    for x, d in [
        (p.x[:1], p.d_output[:1]),
        (p.x[:, :1], p.d_output[:, :1]),
        (p.x[..., :1], p.d_output[..., :1]),
        (np.ones(()), np.ones(())),
    ]:
        x, d = np.broadcast_to(x, shape), np.broadcast_to(d, d_shape)
        assert 0 in x.strides
        expected = results(layer, x.copy(), d.copy(), lengths=p.lengths)
        assert_identical(results(layer, x, d, lengths=p.lengths), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@every_form
def test_step_does_not_depend_on_memory_layout(form, layout):
    case = Case(**form, batch=6, input_size=7, hidden_size=11, state=True)
    p = make(case)
    layer, x = make_layer(case, p), p.x[:, :1]
    expected, _ = layer.step(x[:, 0], p.state)
    y, _ = layer.step(LAYOUTS[layout](x)[:, 0], p.state)
    np.testing.assert_array_equal(y, expected)


def allocated(call, *arguments, **options):
    """Return the result of a call and the peak of the memory that it allocates in NumPy."""
    tracemalloc.start()
    try:
        return call(*arguments, **options), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_misaligned_arrays_are_copied():
    """To read them in place is undefined behavior, even where the processor allows it."""
    layer = bptt.LSTM(40, 8, seed=0)
    linear, embedding = bptt.Linear(40, 1, seed=0), bptt.Embedding(9, 1, seed=0)
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 60, 40)).astype(np.float32)
    ids = random.integers(0, 9, (50, 60))
    h = np.ones((1, 50, 8), np.float32)
    run = layer.forward(x)
    cases = [
        (layer, x, lambda y: y[0]),
        (lambda d: run.backward(d, retain=True), np.ones_like(run.output), lambda g: g.input),
        (lambda h: layer(x, state=bptt.LSTMState(h, h)), h, lambda y: y[0]),
        (lambda x: layer.step(x), x[:, 0].copy(), lambda y: y[0]),
        (linear, x, lambda y: y),
        (lambda x: linear.forward(x).backward(np.ones((50, 60, 1), "f4")), x, lambda g: g["bias"]),
        (embedding, ids, lambda y: y),
        (bptt.Dropout(0.5, seed=0).forward, x, lambda run: run.output.shape),
        (lambda x: bptt.softmax_cross_entropy(x, ids), x, lambda loss: loss.gradient),
    ]
    for call, argument, value in cases:
        expected, memory = allocated(call, argument)
        found, more = allocated(call, misaligned(argument))
        np.testing.assert_array_equal(value(found), value(expected))
        assert more >= memory + argument.nbytes // 2


def test_misaligned_arrays_are_no_output():
    layer = bptt.GRU(3, 4, seed=0)
    x_t = np.ones((2, 3), np.float32)
    y_t, state = layer.step(x_t)
    for out in ((misaligned(y_t), state), (y_t, misaligned(state))):
        with pytest.raises(ValueError, match="out must be writeable, aligned, C-contiguous arr"):
            layer.step(x_t, out=out)
    flat, other = np.ones(4), misaligned(np.ones(4))
    matrix, table = np.ones((1, 2)), misaligned(np.ones((1, 2)))
    kernels = loader.kernels
    for call in (
        lambda: kernels.sgd_step(other, flat, None, 0.1, 0.0, 0.0, False),
        lambda: kernels.sgd_step(flat, other, None, 0.1, 0.0, 0.0, False),
        lambda: kernels.clip(other, 0.5),
        lambda: kernels.linear_backward(matrix, matrix, matrix[:, :1], table, None, False),
    ):
        with pytest.raises(TypeError, match=r"must be a (flat )?C-contiguous, aligned array"):
            call()
    assert (flat == 1.0).all()


def test_foreign_byte_order_is_accepted_for_integers_only():
    layer = bptt.GRU(3, 4, dtype="float64", seed=0)
    x, ids, lengths = np.ones((2, 5, 3)), np.ones((2, 5), int), np.array([3, 5])
    with pytest.raises(TypeError, match=r"x must have dtype float64 as the layer .*, got >f8"):
        layer(x.astype(">f8"))
    expected, _ = layer(ids, lengths=lengths)
    for kind in (">i8", "<i2", ">u4", "u1", "i1"):
        y, _ = layer(ids.astype(kind), lengths=lengths.astype(kind))
        np.testing.assert_array_equal(y, expected)


def test_results_are_not_overwritten_by_later_calls():
    case = replace(EVERYTHING, cell="lstm")
    p = make(case)
    layer = make_layer(case, p)
    first = results(layer, p.x, lengths=p.lengths)
    kept = {name: value.copy() for name, value in first.items()}
    results(layer, -p.x, state=p.state)
    layer.forward(p.x, lengths=p.lengths).backward(p.d_output, p.d_state)
    assert_identical(first, kept)
    y, state = layer(p.x)
    for array in (y, *state):
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert array.flags.owndata


# ---- equivalent arguments ------------------------------------------------------------------------


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("merge", MERGES)
@every_cell
def test_time_major_gives_the_same_results(cell, merge):
    case = replace(EVERYTHING, cell=cell, merge=merge)
    p = make(case)
    arguments = {"lengths": p.lengths, "state": p.state}
    expected = results(make_layer(case, p), p.x, p.d_output, p.d_state, **arguments)
    layer = make_layer(case, p, time_major=True)
    x, d_output = p.x.swapaxes(0, 1), p.d_output.swapaxes(0, 1)
    for copy in (np.asarray, np.ascontiguousarray):
        found = results(layer, copy(x), copy(d_output), p.d_state, **arguments)
        for name in ("output", "inference", "input", "hidden_steps", "cell_steps"):
            if name in found:
                found[name] = found[name].swapaxes(-2, -3)
        assert_identical(found, expected)
    run, other = layer.forward(x, **arguments), make_layer(case, p).forward(p.x, **arguments)
    for name, gate in run.gates(1, reverse=True).items():
        np.testing.assert_array_equal(gate.swapaxes(0, 1), other.gates(1, reverse=True)[name])
    if has_cell_state(cell):
        np.testing.assert_array_equal(run.cells(1).swapaxes(0, 1), other.cells(1))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_cell
def test_ids_are_one_hot_vectors(cell, dtype, time_major):
    case = replace(EVERYTHING, cell=cell, ids=True)
    p = make(case, dtype)
    layer = make_layer(case, p, time_major=time_major)
    ids = p.x.swapaxes(0, 1) if time_major else p.x
    arguments = {"lengths": p.lengths, "state": p.state}
    expected = results(layer, np.eye(case.input_size, dtype=dtype)[ids], **arguments)
    del expected["input"]
    found = results(layer, ids, **arguments)
    for name in ("output", "inference"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert_all_close(found, expected, dtype, case.steps, gradient=True)


@every_cell
def test_one_dimensional_ids_are_one_sequence(cell):
    for time_major in (False, True):
        case = Case(cell, num_layers=2, bidirectional=True, ids=True, batch=1)
        p = make(case)
        layer = make_layer(case, p, time_major=time_major)
        expected = results(layer, p.x.T if time_major else p.x)
        assert_identical(results(layer, p.x[0]), expected)


def assert_same_state(actual, expected):
    for part, same in zip(arrays_of(actual), arrays_of(expected), strict=True):
        np.testing.assert_array_equal(part, same)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("ids", [False, True], ids=["values", "ids"])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_form
def test_steps_give_the_results_of_the_sequence(form, dtype, ids):
    case = Case(**form, num_layers=2, steps=12, batch=5, hidden_size=21, state=True, ids=ids)
    p = make(case, dtype)
    layer, state = make_layer(case, p), p.state
    y, final = layer(p.x, state=state)
    for t in range(case.steps):
        y_t, state = layer.step(p.x[:, t], state)
        np.testing.assert_array_equal(y_t, y[:, t])
    assert_same_state(state, final)


@pytest.mark.parametrize("lengths", ["full", "ragged", "short"])
@every_form
def test_long_sequences_in_stacked_layers(form, lengths):
    """Inference processes them in chunks."""
    case = Case(**form, num_layers=3, steps=1500, batch=4, hidden_size=67, lengths=lengths)
    for ids in (False, True):
        case = replace(case, ids=ids)
        p = make(case)
        layer = make_layer(case, p)
        run = layer.forward(p.x, lengths=p.lengths)
        y, state = layer(p.x, lengths=p.lengths)
        np.testing.assert_array_equal(y, run.output)
        assert_same_state(state, run.state)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_form
def test_step_with_out_gives_the_same_results(form, dtype):
    case = Case(**form, num_layers=2, steps=12, batch=5, hidden_size=21)
    p = make(case, dtype)
    layer = make_layer(case, p)
    y, final = layer(p.x)
    out = layer.step(p.x[:, 0])
    for t in range(1, case.steps):
        assert layer.step(p.x[:, t], out[1], out=out) is out
        np.testing.assert_array_equal(out[0], y[:, t])
    assert_same_state(out[1], final)
    kinds = {1: np.ndarray, 2: bptt.LSTMState, 4: bptt.SLSTMState}
    assert type(out[1]) is kinds[len(CELLS[case.cell].states)]


def test_step_with_out_allocates_nothing():
    layer, x = bptt.LSTM(8, 16, seed=0), np.zeros((1, 8), np.float32)
    out = layer.step(x)
    tracemalloc.start()
    try:
        layer.step(x, out[1], out=out)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(100):
            layer.step(x, out[1], out=out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 200  # of the call itself: less than the smallest NumPy array


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_form
def test_training_and_inference_have_the_same_output(form, dtype):
    for merge in MERGES:
        case = replace(EVERYTHING, **form, merge=merge, hidden_size=21)
        p = make(case, dtype)
        found = results(make_layer(case, p), p.x, lengths=p.lengths, state=p.state)
        np.testing.assert_array_equal(found["output"], found["inference"])
        np.testing.assert_array_equal(found["state0"], found["inferred0"])


@every_form
def test_default_state_is_zero(form):
    case = replace(EVERYTHING, **form)
    p = make(case)
    layer = make_layer(case, p)
    state = case.states(np.zeros)
    expected = results(layer, p.x, p.d_output, state, state=state)
    assert_identical(results(layer, p.x, p.d_output), expected)
    if has_cell_state(case.cell):
        assert_identical(results(layer, p.x, p.d_output, state=list(state)), expected)


def test_lengths_of_any_integer_type():
    layer = bptt.RNN(3, 4, dtype="float64", seed=0)
    x = np.random.default_rng(0).normal(size=(3, 5, 3))
    expected, _ = layer(x, lengths=np.array([5, 0, 2]))
    for lengths in (
        [5, 0, 2],
        (5, 0, 2),
        np.array([5, 0, 2], np.uint8),
        np.array([[5, 0, 2]]).T[:, 0],
    ):
        np.testing.assert_array_equal(layer(x, lengths=lengths)[0], expected)
    full, _ = layer(x)
    np.testing.assert_array_equal(layer(x, lengths=[5, 5, 5])[0], full)
