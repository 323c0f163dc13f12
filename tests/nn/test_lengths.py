"""Ragged batches: independence of rows, padding, empty batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt._core import loader
from bptt.nn.state import arrays_of, as_state
from cases import (
    CELLS,
    DTYPES,
    EVERYTHING,
    MERGES,
    Case,
    assert_all_close,
    assert_close,
    dtype_id,
    every_form,
    in_float64,
    make,
    make_layer,
    run_reference,
)
from layer_results import assert_identical, results, use_kernels


def part(state, rows):
    return as_state(*(s[:, rows] for s in arrays_of(state)))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("lengths", [None, "ragged"])
@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (4, 0), (0, 0)])
@every_form
def test_empty_batches_and_sequences(form, steps, batch, lengths):
    for merge in MERGES:
        case = Case(**form, num_layers=2, bidirectional=True, merge=merge, state=True)
        case = replace(case, steps=steps, batch=batch)
        p = make(case)
        layer = make_layer(case, p)
        arguments = {"lengths": lengths and np.zeros(batch, int), "state": p.state}
        found = results(layer, p.x, p.d_output, p.d_state, **arguments)
        for name, same in (("state0", p.state), ("inferred0", p.state), ("d_state0", p.d_state)):
            np.testing.assert_array_equal(found[name], arrays_of(same)[0])
        assert found["output"].shape == p.d_output.shape
        assert found["input"].shape == p.x.shape
        assert not any(found[name].any() for name in layer)
        if not case.times:
            assert results(layer, np.zeros((batch, steps), int), **arguments)["output"].size == 0


@pytest.mark.usefixtures("isa")
@every_form
def test_one_step_that_is_padding(form):
    """A single step of a single row has kernels of its own, which know no padding."""
    case = Case(**form, num_layers=2, steps=1, batch=1, state=True)
    p = make(case)
    layer = make_layer(case, p)
    output, last = layer(p.x, lengths=np.zeros(1, int), state=p.state)
    assert not output.any()
    for found, same in zip(arrays_of(last), arrays_of(p.state), strict=True):
        np.testing.assert_array_equal(found, same)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_form
def test_rows_do_not_depend_on_their_batch(form, dtype, merge):
    """Every row of a ragged batch gives the results of that row alone, cut to its length.

    The factors of a decay are a product of all rows, whose rounding may depend on their number.
    """

    def assert_same(actual, expected, name):
        if not case.times:
            return np.testing.assert_array_equal(actual, expected, err_msg=name)
        return assert_close(actual, expected, dtype, case.steps, gradient=True)

    case = replace(EVERYTHING, **form, merge=merge, batch=15)
    p = make(case, dtype)
    layer = make_layer(case, p)
    whole = results(layer, p.x, p.d_output, p.d_state, lengths=p.lengths, state=p.state)
    for b, length in enumerate(p.lengths):
        row = slice(b, b + 1)
        alone = results(
            layer,
            p.x[row, :length],
            p.d_output[row, :length],
            part(p.d_state, row),
            state=part(p.state, row),
        )
        for name in ("output", "inference", "input"):
            assert_same(whole[name][row, :length], alone[name], name)
            assert not whole[name][row, length:].any()
        for name in set(whole) & {"hidden_steps", "cell_steps"}:
            assert_same(whole[name][:, row, :length], alone[name], name)
            assert not whole[name][:, row, length:].any()
        for name in (name for name in whole if name[:-1] in ("state", "inferred", "d_state")):
            assert_same(whole[name][:, row], alone[name], name)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("batch", [2, 3, 4, 8, 16, 20, 21])
@pytest.mark.parametrize(
    ("cell", "hidden_size"), [("lstm", 61), ("gru_reset_after", 72), ("rnn", 210)]
)
def test_rows_do_not_depend_on_their_number(cell, hidden_size, batch, dtype):
    """Register tiles of all heights, of one panel and of several side by side."""
    case = Case(cell, steps=3, batch=batch, hidden_size=hidden_size, state=True)
    p = make(case, dtype)
    layer = make_layer(case, p)
    whole = results(layer, p.x, p.d_output, p.d_state, state=p.state)
    for b in range(batch):
        row = slice(b, b + 1)
        alone = results(
            layer, p.x[row], p.d_output[row], part(p.d_state, row), state=part(p.state, row)
        )
        for name in ("output", "inference", "input"):
            np.testing.assert_array_equal(whole[name][row], alone[name], err_msg=name)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("ids", [False, True], ids=["values", "ids"])
@every_form
def test_padding_is_not_read(form, ids):
    for merge in MERGES:
        case = replace(EVERYTHING, **form, merge=merge, ids=ids)
        p = make(case)
        layer = make_layer(case, p)
        arguments = {"lengths": p.lengths, "state": p.state}
        expected = results(layer, p.x, p.d_output, p.d_state, **arguments)
        padding = np.arange(case.steps) >= p.lengths[:, None]
        p.x[padding] = -1 if ids else np.nan
        p.d_output[padding] = np.nan
        assert_identical(results(layer, p.x, p.d_output, p.d_state, **arguments), expected)


@st.composite
def ragged_problems(draw):
    bidirectional = draw(st.booleans())
    case = Case(
        draw(st.sampled_from(CELLS)),
        num_layers=draw(st.integers(1, 3)),
        bidirectional=bidirectional,
        merge=draw(st.sampled_from(MERGES)) if bidirectional else "concat",
        steps=draw(st.integers(0, 12)),
        batch=draw(st.integers(0, 9)),
        input_size=(input_size := draw(st.integers(1, 40))),
        decay_size=draw(st.integers(0, input_size - 1)),
        hidden_size=(hidden_size := draw(st.integers(1, 40))),
        proj_size=draw(st.integers(0, hidden_size - 1)),
        state=draw(st.booleans()),
        ids=draw(st.booleans()),
    )
    length = st.integers(0, case.steps)
    lengths = draw(st.none() | st.lists(length, min_size=case.batch, max_size=case.batch))
    isa = draw(st.sampled_from(loader.available()))
    return case, lengths, draw(st.sampled_from(DTYPES)), isa


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(ragged_problems())
def test_random_shapes_and_lengths(problem):
    case, lengths, dtype, isa = problem
    # Many features into few units would saturate them, and 1 - n² loses its relative accuracy.
    p = make(case, dtype, scale=min(1, (case.hidden_size / case.input_size) ** 0.5))
    p.lengths = None if lengths is None else np.array(lengths, np.int64)
    with pytest.MonkeyPatch.context() as patch:
        use_kernels(isa, patch)
        found = results(
            make_layer(case, p), p.x, p.d_output, p.d_state, lengths=p.lengths, state=p.state
        )
    result, d = run_reference(case, in_float64(p))
    assert_close(found["output"], result.output, dtype, case.steps)
    assert_close(found["inference"], result.output, dtype, case.steps)
    if not case.ids:
        assert_close(found["input"], d.input, dtype, case.steps, gradient=True)
    parameters = {name: found[name] for name in d.parameters}
    assert_all_close(parameters, d.parameters, dtype, case.steps, gradient=True)
    assert_close(found["hidden_steps"], d.hidden_steps, dtype, case.steps, gradient=True)
