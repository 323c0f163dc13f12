"""Decay of the hidden state (GRU-D): its factors, and every way in which a layer is run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt.diagnostics import contributions, jacobian_products
from bptt.diagnostics._trajectory import Trajectory
from cases import CELLS, Case, can_decay, make, make_layer
from derivatives import check_chain

STACKED = {"num_layers": 2, "steps": 7, "decay_size": 2}

every_decaying_cell = pytest.mark.parametrize("cell", [cell for cell in CELLS if can_decay(cell)])


def factors(layer, x_t, suffix=""):
    """γ_t = exp(−max(0, V δ_t + b))"""
    times = x_t[:, -layer.decay_size :]
    V, b = (layer[f"{kind}_decay_l0{suffix}"] for kind in ("weight", "bias"))
    return np.exp(-np.maximum(0.0, times @ V.T + b))


def without_decay(layer):
    """The same layer, which reads everything but the times, and has no decay."""
    config = {**layer.config, "input_size": layer.input_size - layer.decay_size, "decay_size": 0}
    return type(layer)._with_parameters(config, layer.__getitem__)


@pytest.mark.usefixtures("isa")
@every_decaying_cell
def test_it_is_a_layer_without_decay_between_decayed_states(cell):
    """Also with zoneout, whose expected value is of the decayed state."""
    case = Case(cell, zoneout=0.3, state=True, **STACKED)
    problem = make(case)
    layer = make_layer(case, problem)
    plain, state, y = without_decay(layer), problem.state.copy(), []
    for x_t in problem.x.swapaxes(0, 1):
        state[0] *= factors(layer, x_t)
        y_t, state = plain.step(x_t[:, :-2], state)
        y.append(y_t)
    found, last = layer(problem.x, state=problem.state)
    np.testing.assert_allclose(found, np.stack(y, axis=1), rtol=1e-12)
    np.testing.assert_allclose(last, state, rtol=1e-12)


@pytest.mark.usefixtures("isa")
@every_decaying_cell
def test_recurrent_dropout_acts_on_the_decayed_state(cell):
    """With random zoneout as well; the recurrent weights alone see the dropped state."""
    case = Case(cell, recurrent_dropout=0.4, zoneout=0.2, decay_size=2, steps=1, state=True)
    problem = make(case)
    layer = make_layer(case, problem)
    plain = without_decay(layer)
    decayed = problem.state * factors(layer, problem.x[:, 0])
    for _ in range(3):
        run, other = layer.forward(problem.x, state=problem.state), None
        other = plain.forward(problem.x[..., :-2], state=decayed)
        np.testing.assert_array_equal(run.recurrent_dropout_mask(), other.recurrent_dropout_mask())
        np.testing.assert_allclose(run.output, other.output, rtol=1e-12)


@pytest.mark.usefixtures("isa")
@every_decaying_cell
def test_steps(cell):
    """Single steps leave the state that they are given as it was."""
    case = Case(cell, state=True, **STACKED)
    problem = make(case, np.float32)
    layer, x = make_layer(case, problem), problem.x
    expected, last = layer(x, state=problem.state)
    given = problem.state.copy()
    y, state = layer.step(x[:, 0], given)
    np.testing.assert_array_equal(given, problem.state)
    out = None
    for t in range(1, case.steps):
        y, state = out = layer.step(x[:, t], state, out=out)
        np.testing.assert_allclose(y, expected[:, t], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state, last, rtol=1e-5, atol=1e-6)
    again = layer.step(x[:, 0])[0]  # from zero, which does not decay
    np.testing.assert_array_equal(again, layer.step(x[:, 0], np.zeros_like(given))[0])


@every_decaying_cell
def test_a_learned_initial_state_decays(cell):
    case = Case(cell, learn_initial_state=True, **STACKED)
    problem = make(case)
    layer = make_layer(case, problem)
    learned = np.stack([layer["h0_l0"], layer["h0_l1"]])
    state = np.repeat(learned[:, np.newaxis], case.batch, axis=1)
    np.testing.assert_array_equal(layer(problem.x)[0], layer(problem.x, state=state)[0])
    x_t = problem.x[:, 0]
    np.testing.assert_array_equal(layer.step(x_t)[0], layer.step(x_t, state)[0])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("batch", [1, 40])
@every_decaying_cell
def test_results_do_not_depend_on_recomputation_and_threads(cell, batch):
    """Of one sequence the threads split the hidden units, of many the sequences."""
    units = 300 if batch == 1 else 9
    case = Case(cell, batch=batch, steps=30, hidden_size=units, decay_size=2, zoneout=0.2)
    case = replace(case, recurrent_dropout=0.1, lengths="full" if batch == 1 else "ragged")
    problem, found = make(case, np.float32), []
    for threads, every in ((1, None), (3, None), (1, 4), (3, 4)):
        with bptt.threads(threads):
            layer = make_layer(case, problem)
            run = layer.forward(problem.x, lengths=problem.lengths, recompute_every=every)
            gates = run.gates()
            gradients = run.backward(problem.d_output)
            found.append({**gradients, **gates, "x": gradients.input, "h": gradients.state})
    for other in found[1:]:
        for name, expected in found[0].items():
            np.testing.assert_array_equal(other[name], expected)


def test_the_padding_is_not_read():
    case = Case("gru", bidirectional=True, decay_size=2, lengths="ragged", batch=6)
    for time_major in (False, True):
        problem, found = make(case), []
        padding = np.arange(case.steps) >= problem.lengths[:, np.newaxis]
        layer = make_layer(case, problem, time_major=time_major)
        for value in (np.nan, 1.0):
            problem.x[padding] = value
            x, d = (a.swapaxes(0, time_major).copy() for a in (problem.x, problem.d_output))
            run = layer.forward(x, lengths=problem.lengths)
            gradients = run.backward(d)
            found.append({**gradients, "x": gradients.input, "y": run.output})
        for name, expected in found[1].items():
            np.testing.assert_array_equal(found[0][name], expected)


def test_both_directions_decay_by_the_times_of_the_same_steps():
    case = Case("gru", bidirectional=True, decay_size=2, steps=2, batch=1)
    problem = make(case)
    layer, x = make_layer(case, problem), problem.x
    y = layer(x)[0][0]
    plain = without_decay(layer)
    first = plain(x[:, 1:, :-2])[0][0, 0, 5:]  # of the second direction, from zero
    state = np.zeros((2, 1, 5))
    state[1] = first * factors(layer, x[:, 0], "_reverse")
    np.testing.assert_allclose(y[0, 5:], plain(x[:, :1, :-2], state=state)[0][0, 0, 5:], rtol=1e-12)


def test_h_halves_in_seven_steps_without_observations_at_first():
    layer = bptt.GRU(5, 4, decay_size=2, seed=0)
    times = np.full((1, 5), 7.0, np.float32)
    np.testing.assert_allclose(factors(layer, times), np.exp(-0.7), rtol=1e-6)
    assert layer["weight_ih_l0"].shape == (12, 3)
    assert list(layer)[-2:] == ["weight_decay_l0", "bias_decay_l0"]


def test_errors_name_all_features():
    layer = bptt.GRU(5, 4, decay_size=2, seed=0)
    with pytest.raises(ValueError, match=r"input_size\) with input_size = 5, got \(2, 3, 3\)"):
        layer(np.zeros((2, 3, 3), np.float32))
    with pytest.raises(ValueError, match=r"x_t must have shape .* input_size = 5, got \(2, 3\)"):
        layer.step(np.zeros((2, 3), np.float32), np.zeros((1, 2, 4), np.float32))
    for call in (layer, layer.forward):
        with pytest.raises(TypeError, match="its last decay_size features are times, got int64"):
            call(np.zeros((2, 3), np.int64))
        with pytest.raises(TypeError, match="x must have dtype float32"):
            call(np.zeros((2, 3, 5)))
    with pytest.raises(ValueError, match="state must have shape"):
        layer.step(np.zeros((2, 5), np.float32), np.zeros((1, 3, 4), np.float32))
    with pytest.raises(TypeError, match="state must have dtype float32"):
        layer.step(np.zeros((2, 5), np.float32), np.zeros((1, 2, 4)))
    with pytest.raises(ValueError, match="decay_size must be < input_size = 5, got 5"):
        bptt.GRU(5, 4, decay_size=5)


def test_kernels_need_the_factors():
    kernels = bptt._core.loader.kernels
    layer = bptt.GRU(5, 4, decay_size=2, seed=0)
    network, x = layer._current(True).network, np.zeros((2, 3, 5), np.float32)
    rule = r"decay must be given if and only if decay_size > 0, got NoneType with decay_size = 2"
    with pytest.raises(ValueError, match=rule):
        kernels.infer(network, x, None, None)
    shape = r"decay must have shape \(batch, steps, directions\*P\) = \(2, 3, 4\), got \(2, 3, 3\)"
    with pytest.raises(ValueError, match=shape):
        kernels.infer(network, x, None, None, x[..., :3])
    plain = bptt.GRU(5, 4, seed=0)._current(True).network
    with pytest.raises(ValueError, match="got ndarray with decay_size = 0"):
        kernels.forward(plain, x, None, None, None, 0, x[..., :4])


def test_gru_d_in_a_chain():
    """The input decay passes the times on."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 7))
    x[..., 2:4] = rng.random((3, 4, 2)) < 0.5
    x[..., 4:6] = rng.integers(1, 5, (3, 4, 2))
    decay = bptt.InputDecay(2, num_others=1, pass_times=True, dtype="float64")
    model = bptt.Sequential(
        decay,
        bptt.GRU(decay.output_size, 3, decay_size=2, dtype="float64", seed=0),
        bptt.Linear(3, 2, dtype="float64", seed=1),
    )
    d_output = rng.normal(size=(3, 4, 2))
    check_chain(model, x, d_output, lengths=np.array([4, 0, 2]))


def test_optimizers_train_it_and_files_keep_it(tmp_path):
    layer = bptt.GRU(3, 4, decay_size=1, seed=0)
    before = layer["weight_decay_l0"].copy()
    model = bptt.Sequential(layer, bptt.Linear(4, 2, seed=0), pool="last")
    optimizer, x = bptt.Adam(model), np.ones((4, 5, 3), np.float32)
    for _ in range(3):
        run = model.forward(x)
        optimizer.step(run.backward(bptt.softmax_cross_entropy(run.output, np.array([0, 0, 1, 0]))))
    assert (layer["weight_decay_l0"] != before).all()
    model.save(tmp_path / "a.safetensors")
    loaded = bptt.Sequential.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded(x)[0], model(x)[0])


def test_windows_of_truncated_bptt_add_up_to_its_gradient():
    layer = bptt.GRU(3, 4, decay_size=1, dtype="float64", seed=0)
    model = bptt.Sequential(layer, bptt.Linear(4, 2, dtype="float64", seed=1))
    rng = np.random.default_rng(0)
    x, y = np.abs(rng.normal(size=(2, 9, 3))), rng.integers(0, 2, (2, 9))
    run = model.forward(x)
    whole = run.backward(bptt.softmax_cross_entropy(run.output, y)).modules[0]

    def loss_fn(output, steps):
        loss = bptt.softmax_cross_entropy(output, y[:, steps])
        return loss.value, loss.gradient

    windows = list(bptt.truncated_bptt(model, x, loss_fn, k1=4, k2=9))
    for name in ("weight_decay_l0", "bias_decay_l0"):
        total = sum(window.gradients[0][name] for window in windows)
        np.testing.assert_allclose(total, whole[name], rtol=1e-10)


@every_decaying_cell
def test_diagnostics_see_the_decay(cell):
    case = Case(cell, bidirectional=True, **STACKED)
    problem = make(case)
    layer, x = make_layer(case, problem), problem.x[0]
    hidden = case.hidden_size
    for level in (0, 1):
        trajectory = Trajectory.of(layer, x, level=level)
        run = Trajectory.of(layer, x, level=level, reverse=True)
        top = layer(x[np.newaxis])[1][2 * level : 2 * level + 2, 0]
        np.testing.assert_allclose([trajectory.states[-1], run.states[-1]], top, rtol=1e-12)
    steps = jacobian_products(layer, x).steps
    plain = jacobian_products(without_decay(layer), x[:, :-2]).steps
    np.testing.assert_allclose(steps[0], plain[0] * factors(layer, x[:1]), rtol=1e-9)
    single = make_layer(replace(case, num_layers=1, bidirectional=False), make(replace(
        case, num_layers=1, bidirectional=False)))  # fmt: skip
    d = np.random.default_rng(1).normal(size=(1, case.steps, hidden))
    found = contributions(single, x, lambda h: (0.0, d))
    expected = single.forward(x[np.newaxis]).backward(d)["weight_hh_l0"]
    np.testing.assert_allclose(found.total, expected, rtol=1e-9)
