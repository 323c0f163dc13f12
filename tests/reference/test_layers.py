"""NumPy reference: lengths, directions, stacked layers, ids and errors."""

from __future__ import annotations

import ast
import doctest
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt import reference
from bptt.nn.state import arrays_of
from cases import (
    DTYPES,
    MERGES,
    Array,
    Case,
    all_cases,
    assert_close,
    dtype_id,
    every_cell,
    every_form,
    is_normalized,
    make,
    run_reference,
)


def rows_alone(case: Case, problem: Any) -> Iterator[tuple[int, int, Any, Any]]:
    """Each row of a ragged batch, cut to its own length and run as a batch of one."""
    alone = replace(case, batch=1, lengths="full")
    for row, length in enumerate(problem.lengths):
        one = slice(row, row + 1)

        def cut(state: Any, one: slice = one) -> Any:
            found = tuple(part[:, one] for part in arrays_of(state))
            return found if isinstance(state, tuple) else found[0]

        yield (
            row,
            int(length),
            *run_reference(
                alone,
                replace(
                    problem,
                    x=problem.x[one, :length],
                    lengths=None,
                    state=cut(problem.state),
                    d_output=problem.d_output[one, :length],
                    d_state=cut(problem.d_state),
                ),
            ),
        )


@every_form
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_rows_of_a_ragged_batch_are_independent(form: dict[str, Any], data: st.DataObject) -> None:
    T, B = data.draw(st.integers(1, 6), "T"), data.draw(st.integers(1, 4), "B")
    case = Case(
        **form,
        num_layers=data.draw(st.integers(1, 2)),
        bidirectional=data.draw(st.booleans()),
        merge=data.draw(st.sampled_from(MERGES)),
        steps=T,
        batch=B,
        state=True,
    )
    lengths = np.array(data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B), "lengths"))
    problem = replace(make(case, seed=data.draw(st.integers(0, 99))), lengths=lengths)
    padding = np.arange(T) >= lengths[:, None]
    problem.x[padding] = np.nan  # must not be read
    problem.d_output[padding] = np.nan
    result, gradients = run_reference(case, problem)
    assert not result.output[padding].any()
    assert gradients.input is not None
    assert not gradients.input[padding].any()

    total = {name: np.zeros_like(p) for name, p in problem.parameters.items()}
    for row, length, one, d_one in rows_alone(case, problem):
        close = {"rtol": 1e-10, "atol": 1e-13}
        np.testing.assert_allclose(result.output[row, :length], one.output[0], **close)
        np.testing.assert_allclose(gradients.input[row, :length], d_one.input[0], **close)
        for whole, single in (
            *zip(arrays_of(result.state), arrays_of(one.state), strict=True),
            *zip(arrays_of(gradients.state), arrays_of(d_one.state), strict=True),
        ):
            np.testing.assert_allclose(whole[:, row], single[:, 0], **close)
        for reverse in range(case.directions):
            for name, gate in result.gates(0, bool(reverse)).items():
                alone = one.gates(0, bool(reverse))[name][0]
                np.testing.assert_allclose(gate[row, :length], alone, **close)
                assert not gate[row, length:].any()
        for name, d in d_one.parameters.items():
            total[name] += d
        if length == 0:
            for last, first in zip(arrays_of(result.state), arrays_of(problem.state), strict=True):
                np.testing.assert_array_equal(last[:, row], first[:, row])
    for name, d in total.items():
        np.testing.assert_allclose(gradients.parameters[name], d, rtol=1e-9, atol=1e-12)


@every_form
def test_sequence_in_two_pieces(form: dict[str, Any]) -> None:
    """The final state of the first piece is the initial state of the second, also backwards."""
    case = Case(**form, num_layers=2, state=True)
    problem = make(case)
    whole, d_whole = run_reference(case, problem)
    cut = 2
    x, d_output = problem.x, problem.d_output
    first = replace(problem, x=x[:, :cut], d_output=d_output[:, :cut])
    result, _ = run_reference(case, first)
    second = replace(problem, x=x[:, cut:], d_output=d_output[:, cut:], state=result.state)
    result_2, d_second = run_reference(case, second)
    _, d_first = run_reference(case, replace(first, d_state=d_second.state))
    np.testing.assert_allclose(
        np.concatenate([result.output, result_2.output], axis=1), whole.output, rtol=1e-12
    )
    assert d_whole.input is not None
    np.testing.assert_allclose(
        np.concatenate([d_first.input, d_second.input], axis=1), d_whole.input, rtol=1e-10
    )
    for name, d in d_whole.parameters.items():
        both = d_first.parameters[name] + d_second.parameters[name]
        np.testing.assert_allclose(both, d, rtol=1e-10, atol=1e-13)


@every_cell
@pytest.mark.parametrize("merge", MERGES)
def test_directions_and_merge(cell: str, merge: str) -> None:
    """A bidirectional layer is two layers, the second of the reversed sequence."""
    case = Case(cell, bidirectional=True, merge=merge)
    problem = make(case)
    result, _ = run_reference(case, problem)
    there, back = (
        reference.forward(
            cell,
            x,
            {f"{n.removesuffix('_reverse')}": p for n, p in problem.parameters.items() if mine(n)},
        ).output
        for x, mine in (
            (problem.x, lambda n: not n.endswith("_reverse")),
            (problem.x[:, ::-1], lambda n: n.endswith("_reverse")),
        )
    )
    back = back[:, ::-1]
    expected = {
        "concat": np.concatenate([there, back], axis=2),
        "sum": there + back,
        "mean": (there + back) / 2,
        "mul": there * back,
    }
    np.testing.assert_allclose(result.output, expected[merge], rtol=1e-13)
    h = arrays_of(result.state)[0]
    np.testing.assert_allclose(h, [there[:, -1], back[:, 0]], rtol=1e-13)


@every_cell
def test_stacked_layers_are_layers_in_turn(cell: str) -> None:
    """Dropout multiplies the outputs between layers, not that of the last."""
    case = Case(cell, num_layers=2, dropout=0.5, input_size=5)
    problem = make(case)
    assert problem.dropout_masks is not None
    below, above = (
        {f"{n[:-1]}0": p for n, p in problem.parameters.items() if n.endswith(f"l{layer}")}
        for layer in (0, 1)
    )
    between = reference.forward(cell, problem.x, below).output * problem.dropout_masks[0]
    expected = reference.forward(cell, between, above).output
    np.testing.assert_array_equal(run_reference(case, problem)[0].output, expected)


@every_cell
def test_ids_are_one_hot_vectors(cell: str) -> None:
    case = Case(cell, ids=True)
    problem = make(case)
    vectors = replace(problem, x=reference.one_hot(problem.x, case.input_size, np.float64))
    (result, gradients), (expected, d_expected) = (
        run_reference(case, problem),
        run_reference(case, vectors),
    )
    np.testing.assert_array_equal(result.output, expected.output)
    assert gradients.input is None
    for name, d in d_expected.parameters.items():
        np.testing.assert_array_equal(gradients.parameters[name], d)


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_shapes_dtypes_and_float32(case: Case) -> None:
    """Shapes and dtypes are as documented, float32 is as close to float64 as in kernels."""
    results = [run_reference(case, make(case, dtype)) for dtype in DTYPES]
    problem = make(case, np.float32)
    layers, B, P = case.state_shapes[0]
    H = case.hidden_size
    for (result, gradients), dtype in zip(results, DTYPES, strict=True):
        assert result.output.shape == (case.batch, case.steps, case.output_size)
        for state in (result.state, gradients.state):
            for d, shape in zip(arrays_of(state), case.state_shapes, strict=True):
                assert (d.shape, d.dtype) == (shape, dtype)
        assert gradients.hidden_steps.shape == (layers, B, case.steps, P)
        for name, p in problem.parameters.items():
            assert gradients.parameters[name].shape == p.shape
        for gate in result.gates(case.num_layers - 1, case.bidirectional).values():
            assert (gate.shape, gate.dtype) == ((B, case.steps, H), dtype)
    (single, d_single), (double, d_double) = results

    def close(actual: Array, expected: Array, gradient: bool = True) -> None:
        assert_close(actual, expected, np.float32, case.steps, gradient)

    close(single.output, double.output, gradient=False)
    close(d_single.hidden_steps, d_double.hidden_steps)
    if d_single.input is not None and d_double.input is not None:
        close(d_single.input, d_double.input)
    for name, d in d_double.parameters.items():
        close(d_single.parameters[name], d)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_cell
def test_huge_inputs_and_nan(cell: str, dtype: Any) -> None:
    """Huge inputs saturate without a warning; NaN stays in its row, from its step on."""
    problem = make(Case(cell, batch=3), dtype)
    problem.x[0] *= 1e15 if is_normalized(cell) else 1e30  # a variance has their squares
    problem.x[1, 2, 0] = np.nan
    result = reference.forward(cell, problem.x, problem.parameters)
    reference.backward(result, problem.d_output)
    assert np.isfinite(result.output[[0, 2]]).all()
    assert np.isfinite(result.output[1, :2]).all()
    assert np.isnan(result.output[1, 2:]).all()


PARAMETERS = make(Case("lstm", hidden_size=2, input_size=3)).parameters
X, STATE = np.zeros((2, 4, 3)), np.zeros((1, 2, 2))
ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"cell": "elman"}, ValueError, "cell must be one of .*, got 'elman'"),
    ({"merge": "max"}, ValueError, "merge must be one of concat, sum, mean, mul, got 'max'"),
    ({"activation": "elu"}, ValueError, "activation must be one of tanh"),
    ({"gate_activation": "tanh"}, ValueError, "gate_activation must be one of sigmoid"),
    ({"parameters": {}}, ValueError, "parameters must hold a matrix weight_ih_l0, got NoneType"),
    ({"num_layers": 2}, ValueError, "parameters must be named weight_ih_l0, .*bias_l1, got"),
    (
        {"parameters": {**PARAMETERS, "weight_hr_l0": np.zeros((1, 2))}},
        ValueError, r"weight_hh_l0 must have shape \(G\*H, P\) = \(8, 1\), got \(8, 2",
    ),
    (
        {"parameters": {**PARAMETERS, "weight_hr_l0": np.zeros((1, 2))}, "cell": "gru"},
        ValueError, "proj_size needs an LSTM, got gru",
    ),
    ({"zoneout_masks": [(X,)]}, ValueError, "a layer must have 2 zoneout masks, one for each"),
    ({"cell": "gru"}, ValueError, r"weight_ih_l0 must have shape \(G\*H, I\) = \(6, 3\), got \(8"),
    ({"x": X[0]}, ValueError, r"x must have shape \(B, T, I\) = \(4, 3, 3\), got \(4, 3\)"),
    ({"x": X[..., :2]}, ValueError, r"x must have shape \(B, T, I\) = \(2, 4, 3\), got \(2, 4"),
    ({"x": X.astype(np.float32)}, TypeError, "x must be a NumPy array of float64, got float32"),
    ({"x": X.tolist()}, TypeError, "x must be a NumPy array of float64, got list"),
    ({"x": np.full((2, 4), 3)}, ValueError, r"ids must be in \[0, size\) = \[0, 3\), got \[3\]"),
    ({"lengths": np.array([1.0, 2])}, TypeError, "lengths must be integers, got float64"),
    ({"lengths": np.array([1])}, ValueError, r"lengths must have shape \(B,\) = \(2,\), got \(1"),
    ({"lengths": np.array([1, 5])}, ValueError, r"lengths must be in \[0, T\] = \[0, 4\], got"),
    ({"lengths": np.array([-1, 2])}, ValueError, r"lengths must be in \[0, T\] = \[0, 4\], got"),
    ({"state": STATE}, TypeError, r"state of an LSTM must be a tuple \(h, c\), got ndarray"),
    ({"state": (STATE,)}, ValueError, r"tuple \(h, c\), got a tuple of 1"),
    ({"state": (STATE, STATE[0])}, ValueError, r"= \(1, 2, 2\), got \(2, 2\)"),
    ({"dropout_masks": [X]}, ValueError, "dropout_masks must be num_layers - 1 = 0 arrays, got 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "message"), ERRORS)
def test_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        reference.forward(**{"cell": "lstm", "x": X, "parameters": PARAMETERS, **change})


def test_errors_of_backward() -> None:
    result = reference.forward("lstm", X, PARAMETERS)
    with pytest.raises(
        ValueError, match=r"d_output must have shape \(B, T, D\) = \(2, 4, 2\), got"
    ):
        reference.backward(result, X)
    with pytest.raises(
        TypeError, match=r"d_state of an LSTM must be a tuple \(h, c\), got ndarray"
    ):
        reference.backward(result, None, STATE)
    with pytest.raises(ValueError, match=r"layer must be in \[0, num_layers\) = \[0, 1\), got 1"):
        result.gates(1)
    with pytest.raises(ValueError, match="reverse needs a bidirectional layer"):
        result.gates(0, reverse=True)
    rnn = reference.forward("rnn", X, {name: p[:2] for name, p in PARAMETERS.items()})
    with pytest.raises(ValueError, match="cells needs an LSTM"):
        rnn.cells()


def test_zero_gradient_of_the_output_gives_zero_gradients() -> None:
    gradients = reference.backward(reference.forward("lstm", X, PARAMETERS))
    assert not any(d.any() for d in gradients.parameters.values())


def test_docstring_example() -> None:
    assert doctest.testmod(reference).failed == 0


def test_reference_imports_only_numpy() -> None:
    assert reference.__file__ is not None
    files = sorted(Path(reference.__file__).parent.rglob("*.py"))
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1 + (file.parent.name == "cells"), file  # its own files
                names = [] if node.level else [str(node.module)]
            for name in names:
                top = name.split(".")[0]
                assert top == "numpy" or top in sys.stdlib_module_names, f"{file}: {name}"
