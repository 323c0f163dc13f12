"""Runs of a layer: saved values, gates, dropout masks, and single steps."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest

import bptt


@pytest.fixture
def lstm():
    return bptt.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.5, dtype="float64", seed=0)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 5, 3))


def test_backward_uses_the_parameters_of_forward(lstm, x):
    d_output = np.ones((2, 5, 8))
    other = copy.deepcopy(lstm)
    run, expected = lstm.forward(x), other.forward(x).backward(d_output)
    lstm["weight_hh_l1"] = np.zeros_like(lstm["weight_hh_l1"])
    gradients = run.backward(d_output)
    for name in lstm:
        np.testing.assert_array_equal(gradients[name], expected[name])


def test_saved_values_are_kept_until_backward(lstm, x):
    run = lstm.forward(x)
    with pytest.raises(ValueError, match="read-only"):
        run.output[...] = 0
    with pytest.raises(ValueError, match="backward needs d_output, d_state or both, got neither"):
        run.backward()
    first = run.backward(run.output, retain=True)
    gates, cells, mask = run.gates(1, reverse=True), run.cells(), run.dropout_mask(0)
    assert list(gates) == ["input", "forget", "cell", "output"]
    assert {gate.shape for gate in gates.values()} == {cells.shape} == {(2, 5, 4)}
    assert mask.shape == (2, 5, 8)
    assert set(np.unique(mask)) == {0.0, 2.0}
    second = run.backward(run.output)  # retained, then released
    np.testing.assert_array_equal(first._flat, second._flat)
    for use in (lambda: run.backward(run.output), run.gates, run.cells, run.dropout_mask):
        with pytest.raises(RuntimeError, match=r"released: call backward.*retain=True"):
            use()
    assert run.output.shape == (2, 5, 8)
    assert isinstance(run.state, bptt.LSTMState)


def test_release_frees_memory(lstm, x):
    x = x.copy()
    references = sys.getrefcount(x)
    run = lstm.forward(x)
    assert sys.getrefcount(x) > references
    run.release()
    assert sys.getrefcount(x) == references


def test_gates_by_name(x):
    gru = bptt.GRU(3, 4, dtype="float64", reset_after=True)
    assert list(gru.forward(x).gates()) == ["reset", "update", "candidate"]
    assert bptt.RNN(3, 4, dtype="float64").forward(x).gates() == {}


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda run: run.gates(1), ValueError, "layer must be in [0, num_layers) = [0, 1), got 1"),
        (lambda run: run.gates(-1), ValueError, "layer must be an integer >= 0, got -1"),
        (lambda run: run.gates("0"), TypeError, "layer must be an integer, got str"),
        (lambda run: run.gates(0, True), ValueError, "reverse=True needs a bidirectional layer"),
        (lambda run: run.cells(), ValueError, "cells needs an LSTM, got GRU(input_size=3, hidden"),
        (lambda run: run.dropout_mask(0), ValueError, "dropout_mask needs dropout after layer 0"),
    ],
)
def test_errors(x, ask, error, message):
    run = bptt.GRU(3, 4, dtype="float64").forward(x)
    with pytest.raises(error) as raised:
        ask(run)
    assert str(raised.value).startswith(message)


def test_gradients_of_every_step(x):
    lstm = bptt.LSTM(3, 4, dtype="float64", seed=0)
    gradients = lstm.forward(x).backward(np.ones((2, 5, 4)), steps=True)
    assert gradients.steps.hidden.shape == gradients.steps.cell.shape == (1, 2, 5, 4)
    assert isinstance(gradients.state, bptt.LSTMState)
    gru = bptt.GRU(3, 4, dtype="float64", seed=0)
    gradients = gru.forward(x).backward(np.ones((2, 5, 4)), steps=True)
    assert gradients.steps.cell is None
    assert gradients.input.shape == x.shape
    assert gru.forward(x).backward(np.ones((2, 5, 4))).steps is None


def test_dropout_masks_are_new_in_each_training_pass(lstm, x):
    assert not np.array_equal(lstm.forward(x).output, lstm.forward(x).output)
    np.testing.assert_array_equal(lstm(x)[0], lstm(x)[0])
    single = bptt.LSTM(3, 4, dropout=0.5, dtype="float64")  # there is only one layer
    np.testing.assert_array_equal(single.forward(x).output, single(x)[0])


def test_step_of_a_bidirectional_layer(lstm, x):
    with pytest.raises(ValueError, match="step needs a layer with bidirectional=False"):
        lstm.step(x[:, 0])


def test_steps_give_the_results_of_the_sequence(x):
    layer = bptt.LSTM(3, 4, num_layers=2, dtype="float64", seed=0)
    y, last = layer(x)
    state = None
    for t in range(5):
        y_t, state = layer.step(x[:, t], state)
        np.testing.assert_allclose(y_t, y[:, t], rtol=1e-12)
    np.testing.assert_allclose(state.h, last.h, rtol=1e-12)
    np.testing.assert_allclose(state.c, last.c, rtol=1e-12)
