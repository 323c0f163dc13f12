"""The compiled layers against the reference: every cell, option, shape, dtype, instruction set.

The reference always computes in float64, from the very numbers that the layer gets.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt import reference
from cases import (
    DTYPES,
    FORMS,
    MERGES,
    Case,
    all_cases,
    assert_all_close,
    assert_close,
    dtype_id,
    every_form,
    forward_reference,
    has_cell_state,
    in_float64,
    large,
    make,
    make_layer,
    run_reference,
)

pytestmark = [
    pytest.mark.usefixtures("isa"),
    pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id),
]


def assert_state_close(actual, expected, *rest, **more):
    """`assert_close` for h, or for all arrays of a state."""
    if isinstance(expected, tuple):
        named = dict(zip(actual._fields, expected, strict=True))
        assert_all_close(actual._asdict(), named, *rest, **more)
    else:
        assert_close(actual, expected, *rest, **more)


def forward(layer, problem):
    return layer.forward(problem.x, lengths=problem.lengths, state=problem.state)


def assert_gradients_close(gradients, expected, dtype, steps):
    close = {"dtype": dtype, "steps": steps, "gradient": True}
    assert_all_close(gradients, expected.parameters, **close)
    assert_state_close(gradients.state, expected.state, **close)
    if expected.input is None:
        assert gradients.input is None
    else:
        assert_close(gradients.input, expected.input, **close)
    assert_close(gradients.steps.hidden, expected.hidden_steps, **close)
    if expected.cell_steps is None:
        assert gradients.steps.cell is None
    else:
        assert_close(gradients.steps.cell, expected.cell_steps, **close)


@pytest.mark.parametrize("case", [*all_cases(), *large()], ids=str)
def test_training_matches_the_reference(case, dtype):
    problem = make(case, dtype)
    run = forward(make_layer(case, problem), problem)
    if case.dropout:  # the layer has its own masks
        problem.dropout_masks = [run.dropout_mask(i) for i in range(case.num_layers - 1)]
    if case.zoneout:
        problem.zoneout_masks = [
            run.zoneout_mask(i, reverse)
            for i in range(case.num_layers)
            for reverse in (False, True)[: case.directions]
        ]
    result, expected = run_reference(case, in_float64(problem))
    assert_close(run.output, result.output, dtype, case.steps)
    assert_state_close(run.state, result.state, dtype, case.steps)
    for layer in range(case.num_layers):
        for reverse in (False, True)[: case.directions]:
            here = layer, reverse
            assert_all_close(run.gates(*here), result.gates(*here), dtype, case.steps)
            if has_cell_state(case.cell):
                assert_close(run.cells(*here), result.cells(*here), dtype, case.steps)
    gradients = run.backward(problem.d_output, problem.d_state, steps=True)
    assert_gradients_close(gradients, expected, dtype, case.steps)


@pytest.mark.parametrize("case", [*all_cases(), *large()], ids=str)
def test_inference_matches_the_reference(case, dtype):
    case = replace(case, dropout=0.3 if case.num_layers > 1 else 0.0)
    problem = make(case, dtype)
    problem.dropout_masks = None  # none at inference
    if case.zoneout:  # the expected values
        problem.zoneout_masks = [
            tuple(np.full_like(mask, 1 - case.zoneout) for mask in masks)
            for masks in problem.zoneout_masks
        ]
    layer = make_layer(case, problem)
    y, state = layer(problem.x, lengths=problem.lengths, state=problem.state)
    result = forward_reference(case, in_float64(problem))
    assert_close(y, result.output, dtype, case.steps)
    assert_state_close(state, result.state, dtype, case.steps)


@pytest.mark.parametrize("ids", [False, True], ids=["values", "ids"])
@every_form
def test_step_matches_the_reference(form, ids, dtype):
    case = Case(**form, num_layers=3, hidden_size=19, state=True, ids=ids, zoneout=0.1)
    problem = make(case, dtype)
    problem.zoneout_masks = [
        tuple(np.full_like(mask, 0.9) for mask in masks) for masks in problem.zoneout_masks
    ]
    layer, state = make_layer(case, problem), problem.state
    result = forward_reference(case, in_float64(problem))
    for t in range(case.steps):
        y, state = layer.step(problem.x[:, t], state)
        assert_close(y, result.output[:, t], dtype, case.steps)
    assert_state_close(state, result.state, dtype, case.steps)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize(
    ("form", "which"),
    [
        *((form, which) for form in FORMS for which in ("d_output", "d_state")),
        *((form, d) for form in FORMS if has_cell_state(form["cell"]) for d in ("d_h", "d_c")),
    ],
)
def test_gradient_of_output_or_state_alone(form, merge, which, dtype):
    case = Case(**form, num_layers=2, bidirectional=True, merge=merge, batch=5, state=True)
    case = replace(case, lengths="ragged")
    problem = make(case, dtype)
    if which == "d_output":
        problem.d_state = None
    elif which != "d_state":
        h, *rest = problem.d_state
        zeros = [np.zeros_like(part) for part in rest]
        problem.d_state = (h, *zeros) if which == "d_h" else (np.zeros_like(h), *rest)
    if which != "d_output":
        problem.d_output[...] = 0
    d_output = problem.d_output if which == "d_output" else None
    _, expected = run_reference(case, in_float64(problem))
    gradients = forward(make_layer(case, problem), problem).backward(
        d_output, problem.d_state, steps=True
    )
    assert_gradients_close(gradients, expected, dtype, case.steps)


@every_form
def test_saturated_gates(form, dtype):
    """Weights so large that most activations are saturated."""
    case = Case(**form, num_layers=2, hidden_size=12, steps=20, state=True)
    problem = make(case, dtype, scale=30)
    run = forward(make_layer(case, problem), problem)
    result = forward_reference(case, in_float64(problem))
    # chaotic: only one step can be compared
    assert_close(run.output[:, :1], result.output[:, :1], dtype, case.steps)
    assert np.isfinite(run.backward(problem.d_output)._flat).all()


def test_fraction_of_zeros_is_the_dropout(dtype):
    case = Case("gru", num_layers=3, dropout=0.2, steps=20, batch=50, hidden_size=40)
    run = forward(make_layer(case, problem := make(case, dtype)), problem)
    masks = np.stack([run.dropout_mask(0), run.dropout_mask(1)])
    assert set(np.unique(masks)) == {dtype(0), dtype(1 / (1 - 0.2))}
    dropped = masks == 0
    # 40000 elements: five standard deviations are 0.01, for elements and for pairs
    assert dropped.mean((1, 2, 3)) == pytest.approx([0.2, 0.2], abs=0.01)
    for axis in range(4):
        pairs = dropped & np.roll(dropped, 1, axis)
        assert pairs.mean() == pytest.approx(0.04, abs=0.01)


def test_output_layer_and_loss_match_the_reference(dtype):
    """An output layer with many more classes than a register holds."""
    rng = np.random.default_rng(0)
    head = bptt.Linear(70, 301, dtype=dtype, seed=0)
    x = rng.standard_normal((7, 9, 70)).astype(dtype)
    targets, lengths = rng.integers(0, 301, (7, 9)), rng.integers(0, 10, 7)
    run = head.forward(x)
    loss = bptt.softmax_cross_entropy(run.output, targets, lengths=lengths)
    gradients = run.backward(loss.gradient)
    V, c = (head[name].astype(np.float64) for name in ("weight", "bias"))
    y = reference.linear(x.astype(np.float64), V, c)
    value, d_y = reference.softmax_cross_entropy(y, targets, lengths)
    assert loss.value == pytest.approx(value, rel=1e-12 if dtype is np.float64 else 1e-6)
    d_x, d_V, d_c = reference.linear_backward(x.astype(np.float64), V, d_y)
    for actual, expected in [
        (loss.gradient, d_y),
        (gradients.input, d_x),
        (gradients["weight"], d_V),
        (gradients["bias"], d_c),
    ]:
        assert_close(actual, expected, dtype, 9)
