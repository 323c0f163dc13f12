"""Zoneout and recurrent dropout: masks, expected values, equivalence with networks without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt.diagnostics._trajectory import Trajectory
from bptt.nn.state import arrays_of, as_state
from cases import (
    DTYPES,
    EVERYTHING,
    Case,
    assert_close,
    dtype_id,
    every_form,
    has_cell_state,
    make,
    make_layer,
)

MANY = Case("lstm", steps=20, batch=50, hidden_size=40, num_layers=2, bidirectional=True)
PLACES = [(layer, reverse) for layer in (0, 1) for reverse in (False, True)]


def forward(case, problem, **options):
    return make_layer(case, problem).forward(
        problem.x, lengths=problem.lengths, state=problem.state, **options
    )


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_form
def test_recurrent_dropout_is_a_network_of_each_row_with_scaled_weights(form, dtype):
    """A row's mask on h is a factor of the columns of its weight_hh."""
    case = replace(EVERYTHING, **form, recurrent_dropout=0.4)
    plain = replace(case, recurrent_dropout=0.0)
    problem = make(case, dtype)
    run = forward(case, problem)
    gradients = run.backward(problem.d_output, problem.d_state, retain=True)
    masks = {
        f"l{layer}{'_reverse' * reverse}": run.recurrent_dropout_mask(layer, reverse)
        for layer, reverse in PLACES
    }
    sums = {name: np.zeros(value.shape) for name, value in problem.parameters.items()}
    for b in range(case.batch):
        factors = {f"weight_hh_{place}": mask[b] for place, mask in masks.items()}
        layer = make_layer(plain, problem)
        for name, factor in factors.items():
            layer[name] = problem.parameters[name] * factor
        row = slice(b, b + 1)
        state, d_state = (
            as_state(*(s[:, row].copy() for s in arrays_of(given)))
            for given in (problem.state, problem.d_state)
        )
        alone = layer.forward(problem.x[row], lengths=problem.lengths[row], state=state)
        assert_close(run.output[row], alone.output.astype(np.float64), dtype, case.steps)
        found = alone.backward(problem.d_output[row], d_state)
        expected = found.input.astype(np.float64)
        assert_close(gradients.input[row], expected, dtype, case.steps, gradient=True)
        for name in sums:
            sums[name] += found[name] * factors.get(name, 1)
    for name, expected in sums.items():
        assert_close(gradients[name], expected, dtype, case.steps, gradient=True)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_fractions_of_the_masks(dtype):
    case = replace(MANY, zoneout=0.2, recurrent_dropout=0.3)
    run = forward(case, make(case, dtype))
    dropped = np.stack([run.recurrent_dropout_mask(*place) for place in PLACES])
    assert set(np.unique(dropped)) == {dtype(0), dtype(1 / (1 - 0.3))}
    zoned = np.stack([run.zoneout_mask(*place) for place in PLACES])
    assert set(np.unique(zoned)) == {dtype(0), dtype(1)}
    # 8000 and 320000 elements: five standard deviations, for elements and for pairs
    for mask, rate, axes in ((dropped == 0, 0.3, 3), (zoned == 0, 0.2, 5)):
        assert mask.mean() == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / mask.size))
        for axis in range(axes):
            pairs, both = (mask & np.roll(mask, 1, axis)).mean(), rate**2
            assert pairs == pytest.approx(both, abs=8 * np.sqrt(both / mask.size)), axis


@pytest.mark.usefixtures("isa")
@every_form
def test_elements_that_zoneout_keeps(form):
    case = Case(**form, steps=9, batch=4, hidden_size=19, zoneout=0.5, state=True)
    problem = make(case, np.float32)
    run = forward(case, problem)
    states = [run.output, *([run.cells()] if has_cell_state(case.cell) else [])]
    initial = arrays_of(problem.state)[:2]  # n and m have the mask of c
    for values, first, mask in zip(states, initial, run.zoneout_mask(), strict=True):
        before = np.concatenate([first.swapaxes(0, 1), values[:, :-1]], axis=1)
        if case.times:
            before *= run._factors
        np.testing.assert_array_equal(values == before, mask == 0)


@every_form
def test_threads_and_dtypes_have_the_same_masks(form):
    case = replace(MANY, **form, zoneout=0.2, recurrent_dropout=0.3, lengths="ragged")
    runs = []
    for threads, dtype in ((1, np.float32), (3, np.float32), (1, np.float64)):
        with bptt.threads(threads):
            runs.append(forward(case, make(case, dtype)))
    for place in PLACES:
        for found in (
            [(run.recurrent_dropout_mask(*place),) for run in runs],
            [run.zoneout_mask(*place) for run in runs],
        ):
            for first, *others in zip(*found, strict=True):
                for other in others:
                    np.testing.assert_array_equal(other == 0, first == 0)


def test_masks_are_new_in_each_training_pass_and_absent_from_inference():
    case = Case("gru", zoneout=0.3, recurrent_dropout=0.3, hidden_size=30)
    problem = make(case)
    layer = make_layer(case, problem)
    first, second = layer.forward(problem.x), layer.forward(problem.x)
    assert (first.zoneout_mask()[0] != second.zoneout_mask()[0]).any()
    assert (first.recurrent_dropout_mask() != second.recurrent_dropout_mask()).any()
    np.testing.assert_array_equal(layer(problem.x)[0], layer(problem.x)[0])
    without = make_layer(replace(case, recurrent_dropout=0.0), problem)
    np.testing.assert_array_equal(layer(problem.x)[0], without(problem.x)[0])


@every_form
def test_diagnostics_see_the_network_of_inference(form):
    case = Case(**form, zoneout=0.3, recurrent_dropout=0.3, hidden_size=4)
    problem = make(case)
    layer = make_layer(case, problem)
    states = Trajectory.of(layer, problem.x[0]).states[1:, : case.output_size]
    np.testing.assert_allclose(states, layer(problem.x[:1])[0][0], rtol=1e-12)


def test_masks_need_their_options():
    run = bptt.GRU(3, 4).forward(np.zeros((1, 2, 3), np.float32))
    with pytest.raises(ValueError, match="zoneout_mask needs a layer with zoneout, got GRU"):
        run.zoneout_mask()
    rule = "recurrent_dropout_mask needs a layer with recurrent_dropout, got GRU"
    with pytest.raises(ValueError, match=rule):
        run.recurrent_dropout_mask()
