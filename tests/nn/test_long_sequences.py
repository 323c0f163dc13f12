"""Rounding errors of long sequences, against a reference with more digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cases import DTYPES, Case, dtype_id, every_cell, make, make_layer, run_reference

MOST = 16  # units of the last place of the largest value; docs/pictures/accuracy.png has the growth


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="longdouble has no more digits")
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_cell
def test_errors_do_not_grow_with_the_steps(cell, dtype):
    case = Case(cell, steps=2000, batch=1, input_size=4, hidden_size=16)
    p = make(case, dtype)
    run = make_layer(case, p).forward(p.x)
    gradients = run.backward(p.d_output)
    exact = replace(
        p,
        parameters={name: value.astype(np.longdouble) for name, value in p.parameters.items()},
        x=p.x.astype(np.longdouble),
        d_output=p.d_output.astype(np.longdouble),
    )
    result, d = run_reference(case, exact)
    eps = float(np.finfo(dtype).eps)
    error = np.abs(run.output - result.output).max() / np.abs(result.output).max()
    assert error < MOST * eps
    largest = max(np.abs(value).max() for value in d.parameters.values())
    for name, value in d.parameters.items():
        assert np.abs(gradients[name] - value).max() < MOST * eps * largest, name
