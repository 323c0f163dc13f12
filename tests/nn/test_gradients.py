"""Exact gradients without the reference: central differences, and decomposition of runs.

All in float64, on every instruction set, for layers as a user calls them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt import reference
from bptt.nn.state import arrays_of, as_state
from cases import (
    ACTIVATIONS,
    CELLS,
    EVERYTHING,
    MERGES,
    Case,
    every_form,
    gate_activations,
    has_cell_state,
    make,
    make_layer,
)
from derivatives import EPSILON, differences

pytestmark = pytest.mark.usefixtures("isa")

ALLOWED = 1e-6  # relative to the largest of an array

SMALL = replace(EVERYTHING, steps=5, batch=4, input_size=3, hidden_size=3)


class Problem:
    """A layer, its arguments, and a nonlinear loss of all its results."""

    def __init__(self, case, **more):
        self.given = make(case)
        self.layer = make_layer(case, self.given, **more)
        self._generator = self.layer._random.bit_generator
        self._state = self._generator.state
        if self.layer.time_major:
            for name in ("x", "d_output"):
                setattr(self.given, name, getattr(self.given, name).swapaxes(0, 1).copy())

    def run(self):
        self._generator.state = self._state  # the same dropout masks in every run
        return self.layer.forward(self.given.x, lengths=self.given.lengths, state=self.given.state)

    def loss(self):
        run, given = self.run(), self.given
        pairs = [(run.output, given.d_output)]
        if given.d_state is not None:
            pairs += zip(arrays_of(run.state), arrays_of(given.d_state), strict=True)
        return sum(np.sum(np.sin(y) * d) for y, d in pairs)

    def gradients(self):
        run, given = self.run(), self.given
        d_state = None
        if given.d_state is not None:
            pairs = zip(arrays_of(run.state), arrays_of(given.d_state), strict=True)
            d_state = as_state(*(np.cos(s) * d for s, d in pairs))
        return run.backward(np.cos(run.output) * given.d_output, d_state)

    def differences(self, array, changed=lambda array: None):
        """dL/d array, element by element; `changed` is called after every change."""

        def moved():
            changed(array)
            return self.loss()

        found = differences(moved, array)
        changed(array)
        return found


def assert_same_gradient(name, actual, expected):
    error, scale = np.abs(actual - expected).max(), np.abs(expected).max()
    assert error <= ALLOWED * scale, f"{name}: {error / scale:.1e} relative"


def check(case, random=True, only="", **more):
    problem = Problem(case, **more)
    problem.layer._random_masks = random
    gradients, given, layer = problem.gradients(), problem.given, problem.layer
    for name, parameter in layer.parameters.items():
        if not name.startswith(only):
            continue
        expected = problem.differences(
            parameter.copy(), lambda array, name=name: layer.__setitem__(name, array)
        )
        assert_same_gradient(name, gradients[name], expected)
    if case.ids:
        assert gradients.input is None
    else:
        assert_same_gradient("input", gradients.input, problem.differences(given.x))
    if case.state:
        pairs = zip(arrays_of(given.state), arrays_of(gradients.state), strict=True)
        for name, (array, d) in zip("hcnm", pairs, strict=False):
            assert_same_gradient(name, d, problem.differences(array))


@every_form
def test_one_layer(form):
    check(Case(**form, hidden_size=9))


@pytest.mark.parametrize("merge", MERGES)
@every_form
def test_everything_at_once(form, merge):
    check(replace(SMALL, **form, merge=merge))


@pytest.mark.parametrize("merge", MERGES)
@every_form
def test_fixed_dropout(form, merge):
    check(replace(SMALL, **form, merge=merge, dropout=0.4), time_major=True)


@every_form
def test_fixed_zoneout_and_recurrent_dropout(form):
    check(replace(SMALL, **form, merge="sum", zoneout=0.3))
    check(replace(SMALL, **form, recurrent_dropout=0.4))
    check(replace(SMALL, **form, dropout=0.2, zoneout=0.3, recurrent_dropout=0.4, hidden_size=5))


@every_form
def test_expected_values_of_zoneout(form):
    """As diagnostics see the network."""
    case = replace(SMALL, **form, dropout=0.2, zoneout=0.3, recurrent_dropout=0.4)
    check(case, random=False)
    problem = Problem(case)
    problem.layer._random_masks, given = False, problem.given
    y, _ = problem.layer(given.x, lengths=given.lengths, state=given.state)
    np.testing.assert_array_equal(problem.run().output, y)


@every_form
def test_learned_initial_state(form):
    only = ("h0", "c0")
    case = replace(SMALL, **form, steps=3, batch=3, learn_initial_state=True, zoneout=0.2)
    check(replace(case, state=False), only=only, time_major=True)
    check(replace(case, hidden_size=3), only=only)  # a given state: no gradient of the learned one
    ids = {"ids": True, "hidden_size": 3}
    check(Case(**form, steps=2, learn_initial_state=True, **ids), only=only)


@every_form
def test_ids(form):
    check(replace(SMALL, **form, ids=True, input_size=6))


@pytest.mark.parametrize(
    "case",
    [
        Case(cell, activation, gate, steps=3, batch=2, input_size=2, hidden_size=5, state=True)
        for cell in CELLS
        for activation in ACTIVATIONS
        for gate in gate_activations(cell)
    ],
    ids=str,
)
def test_activations(case):
    check(case)


@every_form
def test_gradient_of_the_padding_is_zero(form):
    case = replace(SMALL, **form, lengths="ragged", batch=7)
    problem = Problem(case)
    gradients = problem.gradients()
    padding = np.arange(case.steps) >= problem.given.lengths[:, None]
    assert padding.any()
    assert not gradients.input[padding].any()
    assert gradients.input[~padding].all()


@every_form
def test_gradients_of_the_state_at_every_step(form):
    """dL/ds_t is the gradient of the initial state of a run of the later steps."""
    case = Case(**form, steps=7, hidden_size=10, state=True)
    given = make(case)
    layer = make_layer(case, given)
    x, d_output, d_state = given.x, given.d_output, as_state(*arrays_of(given.d_state))
    run = layer.forward(x, state=given.state)
    steps = run.backward(d_output, d_state, steps=True, retain=True).steps
    for t in range(case.steps):
        head = layer.forward(x[:, : t + 1], state=given.state)
        d_later = d_state
        if t + 1 < case.steps:
            tail = layer.forward(x[:, t + 1 :], state=head.state)
            d_later = tail.backward(d_output[:, t + 1 :], d_state).state
        if not has_cell_state(case.cell):
            d_h = d_later + d_output[:, t]
        else:
            d_h = d_later.h + d_output[:, t]
            c, o = run.cells()[:, t], run.gates()["output"][:, t]
            d_m = d_h @ layer["weight_hr_l0"] if case.proj_size else d_h
            if case.cell == "slstm":  # c_t also acts through h_t = o ⊙ c_t / n_t
                d_c = d_later.c + d_m * o / head.state.n
            elif "gain_cell_l0" in layer:  # … through h_t = o ⊙ φ(gain ⊙ normalized c_t + bias)
                gain, bias = layer["gain_cell_l0"], layer["bias_cell_l0"]
                phi_c = np.tanh(reference.layer_norm(c, gain, bias))
                d_seen = d_m * o * (1 - phi_c**2)
                d_c = d_later.c + reference.layer_norm_backward(c, gain, d_seen[0])[0]
            else:  # … or through h_t = o ⊙ φ(c_t)
                phi_c = np.tanh(c)
                d_c = d_later.c + d_m * o * (1 - phi_c**2)
            if "peephole_output_l0" in layer:
                d_c = d_c + d_m * phi_c * o * (1 - o) * layer["peephole_output_l0"]
            np.testing.assert_allclose(steps.cell[:, :, t], d_c, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(steps.hidden[:, :, t], d_h, rtol=1e-12, atol=1e-14)


@every_form
def test_gradient_of_a_batch_is_the_sum_over_its_rows(form):
    case = replace(SMALL, **form, batch=6)
    given = make(case)
    layer = make_layer(case, given)

    def gradients(rows):
        def part(state):
            return as_state(*(s[:, rows] for s in arrays_of(state)))

        run = layer.forward(given.x[rows], lengths=given.lengths[rows], state=part(given.state))
        return run.backward(given.d_output[rows], part(given.d_state))

    whole = gradients(slice(None))
    rows = [gradients(slice(b, b + 1)) for b in range(case.batch)]
    for name in layer:
        expected = np.sum([row[name] for row in rows], axis=0)
        np.testing.assert_allclose(whole[name], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(whole.input, np.concatenate([row.input for row in rows]))


def test_gradients_of_a_network_with_loss():
    """Ids, recurrent layer, output layer and loss, as in training; ragged and time-major."""
    rng = np.random.default_rng(0)
    gru = bptt.GRU(5, 6, num_layers=2, dtype="float64", seed=0, time_major=True)
    head = bptt.Linear(6, 5, dtype="float64", seed=1)
    x, targets = rng.integers(0, 5, (7, 3)), rng.integers(0, 5, (7, 3))
    lengths = np.array([4, 7, 0])
    options = {"lengths": lengths, "time_major": True, "reduction": "mean"}

    def loss():
        y, _ = gru(x, lengths=lengths)
        return bptt.softmax_cross_entropy(head(y), targets, **options).value

    run = gru.forward(x, lengths=lengths)
    scores = head.forward(run.output)
    d_logits = bptt.softmax_cross_entropy(scores.output, targets, **options).gradient
    d_head = scores.backward(d_logits)
    d_gru = run.backward(d_head.input)
    for module, gradients in [(head, d_head), (gru, d_gru)]:
        for name in module:
            direction = rng.standard_normal(module[name].shape)
            middle, losses = module[name].copy(), []
            for sign in (1, -1):
                module[name] = middle + sign * EPSILON * direction
                losses.append(loss())
            module[name] = middle
            expected = (losses[0] - losses[1]) / (2 * EPSILON)
            assert np.sum(gradients[name] * direction) == pytest.approx(expected, rel=ALLOWED)
