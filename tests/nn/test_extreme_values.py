"""Extreme values: huge states, and weights with which states and gradients explode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt.nn.state import arrays_of
from cases import (
    DTYPES,
    Case,
    assert_all_close,
    assert_close,
    dtype_id,
    every_cell,
    forward_reference,
    in_float64,
    make,
    make_layer,
    run_reference,
)
from layer_results import assert_identical, results


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_cell
def test_states_of_1e30(cell, dtype):
    """Gates saturate; outputs are right, gradients finite, and in float64 right as well.

    Not those of the MGU, whose h + f (n - h) is rounded to the size of h.
    """
    case = Case(cell, steps=6, batch=5, hidden_size=19, state=True)
    p = make(case, dtype)
    for array in arrays_of(p.state):
        array[...] = np.where(array < 0, -1e30, 1e30)
    found = results(make_layer(case, p), p.x, p.d_output, p.d_state, state=p.state)
    result, d = run_reference(case, in_float64(p))
    assert np.isfinite(found["output"]).all()
    assert_close(found["output"], result.output, dtype, case.steps)
    assert all(np.isfinite(array).all() for array in found.values())
    if dtype == np.float64 and cell != "mgu":
        parameters = {name: found[name] for name in d.parameters}
        assert_all_close(parameters, d.parameters, dtype, case.steps, gradient=True)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_cell
def test_huge_weights(cell, dtype):
    """Bounded activations stay bounded, whatever the weights, and nothing of them remains."""
    case = Case(cell, steps=300, batch=3, hidden_size=19, num_layers=2)
    p = make(case, dtype)
    layer = make_layer(case, p)
    expected = results(layer, p.x, p.d_output, p.d_state)
    weights = {name: value.copy() for name, value in layer.parameters.items()}
    for scale in (1e3, 1e30):
        for name, value in weights.items():
            layer[name] = value * dtype(scale)
        output = layer(p.x)[0]
        assert np.abs(output).max() <= 1
        layer.forward(p.x).backward(p.d_output)  # infinite where the gradients explode
    for name, value in weights.items():
        layer[name] = value
    assert_identical(results(layer, p.x, p.d_output, p.d_state), expected)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_exploding_states(activation, dtype):
    """States grow until they overflow: the steps before are right, and so are other rows."""
    case = Case("rnn", activation, steps=600, batch=4, hidden_size=16)
    p = make(case, dtype)
    p.parameters["weight_hh_l0"][...] = np.abs(p.parameters["weight_hh_l0"]) * 4
    p.x[[0, 2, 3]] = 0
    p.x[1] = np.abs(p.x[1])
    p.parameters["bias_l0"][...] = 0
    layer = make_layer(case, p)
    run = layer.forward(p.x)
    overflow = int(np.isfinite(run.output[1]).all(axis=1).argmin())
    assert 10 < overflow < case.steps - 10
    assert not np.isfinite(run.output[1, overflow:]).all(axis=1).any()
    assert not run.output[[0, 2, 3]].any()
    before = overflow - 1
    p.x = p.x[:, :before].copy()
    expected = forward_reference(replace(case, steps=before), in_float64(p)).output[1]
    error = np.abs(run.output[1, :before] - expected) / expected.max(axis=1, keepdims=True)
    assert error.max() < 8 * overflow * np.finfo(dtype).eps
    gradients = run.backward(np.ones_like(run.output))
    assert not np.isfinite(bptt.clip_by_global_norm(gradients, 1.0))
