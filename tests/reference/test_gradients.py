"""Gradients of the NumPy reference against central differences, in float64."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bptt import reference
from bptt.nn.state import arrays_of
from cases import (
    CELLS,
    GATE_ACTIVATIONS,
    MERGES,
    Array,
    Case,
    all_cells,
    can_decay,
    can_project,
    every_cell,
    forward_reference,
    has_cell_state,
    is_normalized,
    make,
    run_reference,
)
from derivatives import EPSILON, differences


def loss_of(case: Case, problem: Any) -> Callable[[], float]:
    """L = ⟨d_output, output⟩ + ⟨d_state, state⟩, whose gradients are d_output and d_state."""

    def loss() -> float:
        result = forward_reference(case, problem)
        pairs = zip(arrays_of(result.state), arrays_of(problem.d_state), strict=False)
        return float(
            np.sum(result.output * problem.d_output) + sum(np.sum(s * d) for s, d in pairs)
        )

    return loss


def assert_gradient(actual: Array, expected: Array, name: str) -> None:
    assert actual.shape == expected.shape, name
    error, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    assert error <= 1e-6 * scale, f"{name}: {error:.1e} of {scale:.1e}"


SMALL: dict[str, Any] = {"steps": 4, "batch": 3, "input_size": 3, "hidden_size": 2}
STACKED: dict[str, Any] = {
    **SMALL, "num_layers": 2, "bidirectional": True, "lengths": "ragged", "state": True
}  # fmt: skip


def with_units(case: Case) -> Case:
    """The case, with more than two units if they are normalized: of two, each becomes ±1."""
    return replace(case, hidden_size=3) if is_normalized(case.cell) else case


GRADIENT_CASES = [
    with_units(case)
    for case in (
        *(replace(case, **SMALL, state=True) for case in all_cells()),
        *(Case(cell, **STACKED, merge=merge) for cell in CELLS for merge in MERGES),
        *(Case(cell, **STACKED, dropout=0.4) for cell in CELLS),
        *(Case(cell, **STACKED, ids=True) for cell in CELLS),
        *(
            Case(cell, **{**STACKED, "hidden_size": 3}, proj_size=2, merge=merge)
            for cell in CELLS
            if can_project(cell)
            for merge in MERGES
        ),
        *(
            Case(cell, **{**STACKED, "input_size": 4}, decay_size=2, merge=merge, zoneout=zoneout)
            for cell in CELLS
            if can_decay(cell)
            for merge in MERGES[:2]
            for zoneout in (0, 0.4)
        ),
        Case("slstm", **{**STACKED, "hidden_size": 6}, num_heads=3),
    )
]


@pytest.mark.parametrize("case", GRADIENT_CASES, ids=str)
def test_gradients_match_central_differences(case: Case) -> None:
    problem = make(case, scale=3)  # activations saturate and are clipped
    _, gradients = run_reference(case, problem)
    loss = loss_of(case, problem)
    assert list(gradients.parameters) == list(problem.parameters)
    for name, array in problem.parameters.items():
        assert_gradient(gradients.parameters[name], differences(loss, array), name)
    for actual, array in zip(arrays_of(gradients.state), arrays_of(problem.state), strict=True):
        assert_gradient(actual, differences(loss, array), "state")
    if case.ids:
        assert gradients.input is None
    else:
        assert gradients.input is not None
        assert_gradient(gradients.input, differences(loss, problem.x), "input")


def nudged(cell: Any, call: int, part: int, at: tuple[int, int], amount: float) -> Any:
    """`cell` with a change of one element of h_t (part 0) or c_t (part 1) in one call of its step.

    h_t is moved after it was made, so everything that reads it sees it move: the output and the
    next step. c_t is moved before h_t = o ⊙ φ(c_t), of its normalization, or o ⊙ c_t / n_t, is made
    of it.
    """
    calls = iter(range(sys.maxsize))

    def step(ux: Array, state: Any, weights: Any, functions: Any) -> Any:
        new, saved = cell.step(ux, state, weights, functions)
        if next(calls) == call:
            new[part][at] += amount
            if part == 1:
                o = saved.output
                if "peephole_output" in weights.extra:  # o sees c_t
                    a = np.log(o / (1 - o))
                    a[at] += weights.extra["peephole_output"][at[1]] * amount
                    o = functions.sigma.function(a)
                if len(new) == 4:
                    return (o * new[1] / new[2], *new[1:]), saved
                seen = new[1]
                if "gain_cell" in weights.extra:
                    gain, bias = weights.extra["gain_cell"], weights.extra["bias_cell"]
                    seen = reference.layer_norm(seen, gain, bias)
                new = (o * functions.phi.function(seen), new[1])
        return new, saved

    return replace(cell, step=step)


@every_cell
@pytest.mark.parametrize("merge", MERGES)
def test_gradients_of_every_step_match_central_differences(
    cell: str, merge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = with_units(Case(cell, **STACKED, merge=merge, dropout=0.4))
    problem = make(case)
    assert problem.lengths is not None
    _, gradients = run_reference(case, problem)
    loss, original = loss_of(case, problem), reference.CELLS[cell]

    def moved(amount: float, *where: Any) -> float:
        monkeypatch.setitem(reference.CELLS, cell, nudged(original, *where, amount))
        return loss()

    for part, actual in enumerate(
        [gradients.hidden_steps, gradients.cell_steps][: original.states]
    ):
        assert actual is not None
        expected = np.zeros_like(actual)
        for run, row, t, unit in np.ndindex(actual.shape):
            # the reverse direction reaches time t in another call
            length = problem.lengths[row]
            call = length - 1 - t if run % 2 and t < length else t
            where = run * case.steps + call, part, (row, unit)
            expected[run, row, t, unit] = (moved(EPSILON, *where) - moved(-EPSILON, *where)) / (
                2 * EPSILON
            )
        assert_gradient(actual, expected, ("hidden_steps", "cell_steps")[part])
        for row, length in enumerate(problem.lengths):
            assert not actual[:, row, length:].any()
    assert (gradients.cell_steps is None) == (not has_cell_state(cell))


def test_cases_cover_both_sides_of_the_kinks() -> None:
    for gate_activation in GATE_ACTIVATIONS[1:]:
        case = Case("lstm", "relu", gate_activation, **STACKED)
        gates = run_reference(case, make(case, scale=3))[0].gates()
        used = np.concatenate([gates["input"].ravel(), gates["forget"].ravel()])
        assert (used == 0).any()
        assert (used == 1).any()
        assert ((used > 0) & (used < 1)).any()
        assert (gates["cell"] == 0).any()
        assert (gates["cell"] > 0).any()


def test_bptt_is_the_double_sum_of_the_ordered_derivative() -> None:
    """∂L/∂W = Σ_t Σ_k ∂L_t/∂s_t · ∂s_t/∂s_k · ∂⁺s_k/∂W, term by term for one row of an RNN."""
    case = Case("rnn", steps=5, batch=1, state=True)
    problem = make(case)
    result, gradients = run_reference(case, replace(problem, d_state=None))
    W = problem.parameters["weight_hh_l0"]
    assert isinstance(problem.state, np.ndarray)
    s = [problem.state[0, 0], *result.output[0]]  # s[0] is the initial state
    d_W = np.zeros_like(W)
    for t in range(1, case.steps + 1):
        d_L_t = problem.d_output[0, t - 1]  # ∂L_t/∂s_t
        for k in range(1, t + 1):
            d_s = np.eye(case.hidden_size)  # ∂s_t/∂s_k
            for step in range(k + 1, t + 1):
                d_s = np.diag(1 - s[step] ** 2) @ W @ d_s
            d_W += np.outer((d_L_t @ d_s) * (1 - s[k] ** 2), s[k - 1])
    np.testing.assert_allclose(gradients.parameters["weight_hh_l0"], d_W, rtol=1e-12, atol=1e-14)


def test_gradients_of_the_head_match_central_differences() -> None:
    rng = np.random.default_rng(0)
    x, V, c = rng.normal(size=(3, 4, 5)), rng.normal(size=(6, 5)), rng.normal(size=6)
    targets = rng.integers(0, 6, (3, 4))

    def loss() -> float:
        return reference.softmax_cross_entropy(reference.linear(x, V, c), targets)[0]

    _, d_y = reference.softmax_cross_entropy(reference.linear(x, V, c), targets)
    for actual, array in zip(reference.linear_backward(x, V, d_y), (x, V, c), strict=True):
        assert_gradient(actual, differences(loss, array), "head")
