"""An initial state of batch 1 is that of all sequences; its gradient is the sum of theirs."""

import numpy as np
import pytest

import bptt
from bptt.nn.state import arrays_of, as_state
from cases import Case, every_form, make, make_layer
from derivatives import assert_gradient, differences

F8 = {"dtype": "float64", "seed": 0}


def shared(state):
    """The state of the first sequence, alone."""
    return as_state(*(part[:, :1].copy() for part in arrays_of(state)))


def repeated(state, batch):
    return as_state(*(np.repeat(part, batch, axis=1) for part in arrays_of(state)))


def same(ours, theirs):
    for one, other in zip(arrays_of(ours), arrays_of(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
        assert one.shape == other.shape


@every_form
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("direction", [{}, {"bidirectional": True}, {"reverse": True}], ids=str)
def test_repeated_and_summed(form, direction, time_major):
    case = Case(**form, **direction, num_layers=2, state=True, batch=4, lengths="ragged")
    problem = make(case)
    layer = make_layer(case, problem, time_major=time_major)
    x, d = problem.x, problem.d_output
    if time_major:
        x, d = np.swapaxes(x, 0, 1), np.swapaxes(d, 0, 1)
    one = shared(problem.state)
    all_ = repeated(one, 4)
    y, last = layer(x, lengths=problem.lengths, state=one)
    expected, final = layer(x, lengths=problem.lengths, state=all_)
    np.testing.assert_array_equal(y, expected)
    same(last, final)
    runs = [layer.forward(x, lengths=problem.lengths, state=state) for state in (one, all_)]
    found, others = (run.backward(d, problem.d_state) for run in runs)
    np.testing.assert_array_equal(found.input, others.input)
    same(found.state, as_state(*(part.sum(1, keepdims=True) for part in arrays_of(others.state))))
    for name in layer.parameters:
        np.testing.assert_array_equal(found[name], others[name])


def test_central_differences():
    layer = bptt.LSTM(3, 4, num_layers=2, **F8)
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(3, 5, 3)), rng.normal(size=(3, 5, 4))
    state = tuple(rng.normal(size=(2, 1, 4)) for _ in range(2))

    def loss():
        return float((layer(x, state=state)[0] * d).sum())

    gradients = layer.forward(x, state=state).backward(d)
    for found, array in zip(gradients.state, state, strict=True):
        assert_gradient(found, differences(loss, array))


def test_one_array_of_a_state_alone():
    layer = bptt.LSTM(3, 4, **F8)
    rng = np.random.default_rng(0)
    x, h, c = rng.normal(size=(3, 5, 3)), rng.normal(size=(1, 1, 4)), rng.normal(size=(1, 3, 4))
    run = layer.forward(x, state=(h, c))
    other = layer.forward(x, state=(np.repeat(h, 3, axis=1), c))
    d = rng.normal(size=run.output.shape)
    d_h, d_c = run.backward(d).state
    expected = other.backward(d).state
    np.testing.assert_allclose(d_h, expected.h.sum(1, keepdims=True), rtol=1e-12)
    np.testing.assert_array_equal(d_c, expected.c)


@pytest.mark.parametrize("batch", [0, 1])
def test_batches_of_none_and_one(batch):
    layer = bptt.GRU(3, 4, **F8)
    h = np.full((1, 1, 4), 0.5)
    run = layer.forward(np.zeros((batch, 5, 3)), state=h)
    gradient = run.backward(np.ones((batch, 5, 4))).state
    assert gradient.shape == (1, 1, 4)
    assert bool(gradient.any()) == (batch == 1)


def test_ids_of_one_sequence():
    layer = bptt.RNN(3, 4, **F8)
    h = np.full((1, 1, 4), 0.5)
    y, _ = layer(np.array([0, 2, 1]), state=h)
    np.testing.assert_array_equal(y, layer(np.array([[0, 2, 1]]), state=h)[0])


def test_in_a_chain():
    chain = bptt.Sequential(bptt.LSTM(3, 4, **F8), bptt.GRU(4, 5, **F8), bptt.Linear(5, 2, **F8))
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(3, 6, 3)), rng.normal(size=(3, 6, 2))
    states = (as_state(*rng.normal(size=(2, 1, 1, 4))), rng.normal(size=(1, 1, 5)))
    all_ = tuple(repeated(state, 3) for state in states)
    y, _ = chain(x, state=states)
    np.testing.assert_array_equal(y, chain(x, state=all_)[0])
    found, others = (chain.forward(x, state=s).backward(d).state for s in (states, all_))
    for one, other in zip(found, others, strict=True):
        same(one, as_state(*(part.sum(1, keepdims=True) for part in arrays_of(other))))
    d_state = (None, chain(x)[1][1])
    of_last = chain.forward(x[:, :1], state=states).backward(d_state=d_state).state
    same(of_last[1], of_last[1][:, :1])


def test_zero_gradient_has_the_shape_of_the_state():
    """The second layer has no influence on the final state of the first."""
    chain = bptt.Sequential(bptt.GRU(3, 4, **F8), bptt.GRU(4, 5, **F8))
    x, states = np.ones((3, 6, 3)), (np.ones((1, 1, 4)), np.ones((1, 1, 5)))
    run = chain.forward(x, state=states)
    gradients = run.backward(d_state=(np.ones((1, 3, 4)), None)).state
    assert [gradient.shape for gradient in gradients] == [(1, 1, 4), (1, 1, 5)]
    assert not gradients[1].any()


@pytest.mark.parametrize("batch", [2, 0, 4])
def test_other_batches_are_refused(batch):
    layer = bptt.GRU(3, 4, **F8)
    rule = r"state must have shape \(num_layers\*directions, batch, hidden_size\) = \(1, 3, 4\)"
    for call in (layer, layer.forward):
        with pytest.raises(ValueError, match=rule):
            call(np.zeros((3, 5, 3)), state=np.zeros((1, batch, 4)))


def test_a_step_needs_the_state_of_every_sequence():
    layer = bptt.GRU(3, 4, **F8)
    with pytest.raises(ValueError, match=r"= \(1, 3, 4\), got \(1, 1, 4\)"):
        layer.step(np.zeros((3, 3)), np.zeros((1, 1, 4)))
