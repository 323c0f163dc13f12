"""Activation checkpointing: `recompute_every` saves memory and changes no bit of the results.

What a run has kept shows when its input becomes NaN after forward: what is computed again is NaN
from there on, up to the end of the segment, since the next one begins with a state that was kept.
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bptt
from bptt._core import loader
from bptt.nn.state import arrays_of
from cases import CELLS, DTYPES, Case, dtype_id, every_cell, every_form, make, make_layer
from layer_results import use_kernels

# A chunk of backward, and so a segment, has at least 256 rows: here some 11 steps.
LONG = Case("lstm", steps=57, batch=23, input_size=150, hidden_size=33, state=True)
CASES = {
    "full": LONG,
    "ragged": replace(LONG, lengths="ragged"),
    "layers": replace(LONG, num_layers=3, dropout=0.3, lengths="short"),
    "masks": replace(LONG, zoneout=0.2, recurrent_dropout=0.3, lengths="ragged"),
    "ids": replace(LONG, ids=True, num_layers=2, lengths="ragged"),
    "zero state": replace(LONG, state=False, input_size=250, hidden_size=7),
    "one row": replace(LONG, batch=1, steps=1000, input_size=300, hidden_size=9),
}
EVERY = (1, 30, 1000)


def all_of(run, d_output, d_state=None, *, retain=False):
    """All results of a run and its backward pass, by name."""
    layer, d = run._layer, run.backward(d_output, d_state, steps=True, retain=True)
    found = {"output": run.output, "input": d.input, **d}
    states = {"state": run.state, "d_state": d.state, "steps": d.steps}
    found |= {
        f"{name}{i}": part for name, s in states.items() for i, part in enumerate(arrays_of(s))
    }
    for index in range(layer.num_layers):
        found |= {f"{name}_l{index}": gate for name, gate in run.gates(index).items()}
        if isinstance(layer, bptt.LSTM):
            found[f"cells_l{index}"] = run.cells(index)
        if layer.dropout and index + 1 < layer.num_layers:
            found[f"mask_l{index}"] = run.dropout_mask(index)
    if not retain:
        run.release()
    return {name: value for name, value in found.items() if value is not None}


def assert_same_bits(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].tobytes() == value.tobytes(), name


def swapped(a, time_major):
    return a.swapaxes(0, 1).copy() if time_major else a


def train(case, problem, every, time_major=False):
    layer = make_layer(
        case, problem, time_major=time_major
    )  # a new layer, with the same dropout masks
    x, d_output = (swapped(a, time_major) for a in (problem.x, problem.d_output))
    given = {"lengths": problem.lengths, "state": problem.state, "recompute_every": every}
    return all_of(layer.forward(x, **given), d_output, problem.d_state)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@every_form
def test_results_do_not_depend_on_recomputation(form, case, dtype):
    case = replace(case, **form)
    problem = make(case, dtype)
    for time_major, numbers in ((False, EVERY), (True, (30,))):
        expected = train(case, problem, None, time_major)
        for every in numbers:
            assert_same_bits(train(case, problem, every, time_major), expected)


@pytest.mark.parametrize(
    "masks",
    [{"zoneout": 0.2}, {"recurrent_dropout": 0.3}, {"dropout": 0.3, "num_layers": 2}],
    ids=lambda masks: min(masks),
)
def test_masks_of_one_kind(masks):
    """Only random masks need the kernels of training to find the states."""
    case = replace(LONG, **masks)
    problem = make(case)
    assert_same_bits(train(case, problem, 30), train(case, problem, None))


@pytest.mark.parametrize("name", ["ragged", "layers", "masks", "one row"])
@every_form
def test_results_do_not_depend_on_threads(form, name):
    case = replace(CASES[name], **form, hidden_size=120)  # large enough to use them
    problem = make(case, np.float32)
    with bptt.threads(1):
        expected = train(case, problem, None)
    for count in (2, 3, 8):
        with bptt.threads(count):
            assert_same_bits(train(case, problem, 20), expected)


@st.composite
def problems(draw):
    num_layers = draw(st.integers(1, 3))
    case = Case(
        draw(st.sampled_from(CELLS)),
        num_layers=num_layers,
        steps=draw(st.integers(0, 90)),
        batch=draw(st.integers(0, 40)),
        input_size=(input_size := draw(st.integers(1, 250))),
        decay_size=draw(st.integers(0, input_size - 1)),
        hidden_size=(hidden_size := draw(st.integers(1, 40))),
        proj_size=draw(st.integers(0, hidden_size - 1)),
        state=draw(st.booleans()),
        ids=draw(st.booleans()),
        dropout=draw(st.sampled_from([0.0, 0.4])),
    )
    length = st.integers(0, draw(st.integers(0, case.steps)))
    lengths = draw(st.none() | st.lists(length, min_size=case.batch, max_size=case.batch))
    problem = make(case, draw(st.sampled_from(DTYPES)))
    problem.lengths = None if lengths is None else np.array(lengths, np.int64)
    if case.state and draw(st.booleans()):
        problem.d_output = None
    return case, problem, draw(st.integers(1, 100)), draw(st.sampled_from(loader.available()))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(problems(), st.integers(1, 3))
def test_results_of_random_cases_do_not_depend_on_recomputation(given, threads):
    case, problem, every, isa = given
    with pytest.MonkeyPatch.context() as patch:
        use_kernels(isa, patch)
        with bptt.threads(threads):
            expected = train(case, problem, None)
            assert_same_bits(train(case, problem, every), expected)


def lost(run, x):
    """Steps of the first segment: those with NaN in them once x has NaN in step 0."""
    x[:, 0] = np.nan
    cells = np.isnan(run.cells())
    assert (cells.all((0, 2)) == cells.any((0, 2))).all()
    return int(cells.any((0, 2)).sum())


@pytest.mark.usefixtures("isa")
def test_segments_have_at_least_k_steps():
    p = make(LONG, np.float32)
    layer = make_layer(LONG, p)

    def first_segment(every):
        x = p.x.copy()
        return lost(layer.forward(x, recompute_every=every), x)

    chunk = first_segment(1)
    assert 256 // LONG.batch <= chunk < 20
    assert first_segment(chunk) == chunk
    assert first_segment(chunk + 1) == first_segment(2 * chunk) == 2 * chunk
    assert first_segment(10**30) == first_segment(LONG.steps) == 0  # nothing is recomputed


def test_backward_twice_in_other_threads_after_changes():
    """Twice, in other threads, and after parameters and state have changed."""
    case = CASES["layers"]
    p = make(case)
    layer = make_layer(case, p)
    given = {"lengths": p.lengths, "state": bptt.LSTMState(*p.state), "recompute_every": 20}
    runs = [copy.deepcopy(layer).forward(p.x, **given) for _ in range(5)]
    expected = all_of(runs[0], p.d_output, retain=True)
    assert_same_bits(all_of(runs[0], p.d_output), expected)
    with pytest.raises(RuntimeError, match="have been released"):
        runs[0].gates()
    for part in p.state:
        part[...] = np.nan
    for run in runs[1:]:
        run._layer["weight_hh_l0"] = np.zeros_like(layer["weight_hh_l0"])
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda run: all_of(run, p.d_output), runs[1:]):
            assert_same_bits(found, expected)


@every_cell
def test_bidirectional_layers_are_refused(cell):
    case = Case(cell, bidirectional=True)
    p = make(case)
    with pytest.raises(ValueError, match=r"^recompute_every needs a layer with bidirectional=Fals"):
        make_layer(case, p).forward(p.x, recompute_every=2)
