"""Learned initial states: where they are used, as the state that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt.diagnostics._trajectory import Trajectory
from bptt.nn.state import arrays_of, as_state, state_of_mapped
from cases import Case, every_cell, make, make_layer

STACKED = {"num_layers": 2, "steps": 7, "learn_initial_state": True}


def initial(layer, batch):
    """The learned state, as one that is given."""
    parts = [
        np.stack([layer[name] for name in layer if name.startswith(f"{part}0_l")])
        for part in layer.cell.mapped_states
    ]
    parts = arrays_of(state_of_mapped(parts, len(layer.cell.states)))
    return as_state(*(np.repeat(part[:, np.newaxis], batch, axis=1) for part in parts))


def assert_same(found, expected):
    (y, state), (z, other) = found, expected
    for a, b in zip((y, *arrays_of(state)), (z, *arrays_of(other)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("ids", [False, True])
@every_cell
def test_calls_without_a_state_begin_with_it(cell, ids, time_major):
    case = Case(cell, bidirectional=True, lengths="ragged", ids=ids, **STACKED)
    problem = make(case, np.float32)
    layer = make_layer(case, problem, time_major=time_major)
    x = problem.x.swapaxes(0, 1).copy() if time_major else problem.x
    lengths, state = problem.lengths, initial(layer, case.batch)
    expected = layer(x, lengths=lengths, state=state)
    assert_same(layer(x, lengths=lengths), expected)
    run = layer.forward(x, lengths=lengths)
    assert_same((run.output, run.state), expected)
    if ids:
        alone = problem.x[0]
        assert_same(layer(alone), layer(alone, state=initial(layer, 1)))


@every_cell
def test_steps(cell):
    case = Case(cell, **STACKED)
    layer = make_layer(case, make(case))
    for x_t in (np.ones((3, case.input_size)), np.array([2, 0, 1])):
        assert_same(layer.step(x_t), layer.step(x_t, initial(layer, 3)))
    changed = initial(layer, 3)
    layer["h0_l1"] = layer["h0_l1"] + 1
    y, _ = layer.step(x_t)
    assert (y != layer.step(x_t, changed)[0]).all()


def test_wrong_input_has_the_error_of_a_layer_without_it():
    for learned in (False, True):
        layer = bptt.GRU(3, 4, learn_initial_state=learned)
        with pytest.raises(ValueError, match="x must have shape"):
            layer(np.zeros((2, 3), np.float32))
        with pytest.raises(TypeError, match="x must be a NumPy array"):
            layer([[1, 2]])
        with pytest.raises(ValueError, match="x_t must have shape"):
            layer.step(np.zeros(3, np.float32))


@every_cell
def test_the_gradient_does_not_depend_on_recomputation_and_threads(cell):
    case = Case(cell, batch=40, learn_initial_state=True, steps=20, lengths="ragged")
    problem = make(case, np.float32)
    found = []
    for threads, every in ((1, None), (3, 4)):
        with bptt.threads(threads):
            run = make_layer(case, problem).forward(
                problem.x, lengths=problem.lengths, recompute_every=every
            )
            found.append(run.backward(problem.d_output))
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_optimizers_train_it_and_files_keep_it(tmp_path):
    layer = bptt.LSTM(2, 3, learn_initial_state=True, seed=0)
    model = bptt.Sequential(layer, bptt.Linear(3, 2, seed=0), pool="last")
    optimizer, x = bptt.Adam(model), np.ones((4, 2, 2), np.float32)
    for _ in range(3):
        run = model.forward(x)
        optimizer.step(run.backward(bptt.softmax_cross_entropy(run.output, np.array([0, 0, 1, 0]))))
    assert all(np.abs(layer[name]).min() > 0 for name in ("h0_l0", "c0_l0"))
    model.save(tmp_path / "a.safetensors")
    loaded = bptt.Sequential.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded(x)[0], model(x)[0])


def test_windows_of_truncated_bptt_add_up_to_its_gradient():
    layer = bptt.GRU(3, 4, learn_initial_state=True, dtype="float64", seed=0)
    model = bptt.Sequential(layer, bptt.Linear(4, 2, dtype="float64", seed=1))
    rng = np.random.default_rng(0)
    layer["h0_l0"] = rng.normal(size=4)
    x, y = rng.normal(size=(2, 9, 3)), rng.integers(0, 2, (2, 9))
    run = model.forward(x)
    whole = run.backward(bptt.softmax_cross_entropy(run.output, y)).modules[0]

    def loss_fn(output, steps):
        loss = bptt.softmax_cross_entropy(output, y[:, steps])
        return loss.value, loss.gradient

    windows = list(bptt.truncated_bptt(model, x, loss_fn, k1=4, k2=9))
    total = sum(window.gradients[0]["h0_l0"] for window in windows)
    np.testing.assert_allclose(total, whole["h0_l0"], rtol=1e-10)


@every_cell
def test_diagnostics_begin_with_it(cell):
    case = Case(cell, bidirectional=True, **STACKED)
    problem = make(case)
    layer = make_layer(case, problem)
    first = [part[2] for part in arrays_of(initial(layer, 1))]
    trajectory = Trajectory.of(layer, problem.x[0], level=1)
    np.testing.assert_array_equal(trajectory.states[:1], np.concatenate(first, axis=-1))
    hidden, steps = case.hidden_size, case.steps
    expected = layer(problem.x[:1])[0][0, steps - 1, :hidden]
    np.testing.assert_allclose(trajectory.states[-1, :hidden], expected, rtol=1e-12)
