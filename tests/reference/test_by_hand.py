"""NumPy reference against results computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt import reference
from bptt.nn.state import arrays_of
from cases import DTYPES, Array, Case, make, run_reference


def scalars(cell: str, **values: list[float]) -> dict[str, Array]:
    """Parameters of one unit with one input: one value per gate, 0 by default."""
    shapes = reference.parameter_shapes(cell, input_size=1, hidden_size=1)
    return {
        name: np.array(values.get(name[:-3], np.zeros(shape)), float).reshape(shape)
        for name, shape in shapes.items()
    }


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_rnn_by_hand() -> None:
    """h_1 = x_1/2, h_2 = x_2/2 + h_1/4 with x = (1, 2), and L = h_2."""
    parameters = scalars("rnn", weight_ih=[0.5], weight_hh=[0.25])
    x = np.array([[[1.0], [2.0]]])
    result = reference.forward("rnn", x, parameters, activation="identity")
    assert result.output.ravel().tolist() == [0.5, 1.125]
    gradients = reference.backward(result, d_state=np.ones((1, 1, 1)))
    assert gradients.parameters["weight_hh_l0"].item() == 0.5  # h_1
    assert gradients.parameters["weight_ih_l0"].item() == 2.25  # x_2 + W x_1
    assert gradients.parameters["bias_l0"].item() == 1.25  # 1 + W
    assert gradients.input is not None
    assert gradients.input.ravel().tolist() == [0.125, 0.5]  # W U, U
    assert np.ravel(gradients.state).tolist() == [0.0625]  # W²
    assert gradients.hidden_steps.ravel().tolist() == [0.25, 1]


def test_lstm_by_hand() -> None:
    biases = [0.1, 0.2, 0.3, 0.4]  # i f g o
    result = reference.forward(
        "lstm",
        np.zeros((1, 1, 1)),
        scalars("lstm", bias=biases),
        state=(np.full((1, 1, 1), 9.0), np.full((1, 1, 1), 0.5)),
    )
    i, f, g, o = logistic(0.1), logistic(0.2), math.tanh(0.3), logistic(0.4)
    c = f * 0.5 + i * g
    gates = {name: value.item() for name, value in result.gates().items()}
    assert gates == pytest.approx({"input": i, "forget": f, "cell": g, "output": o}, rel=1e-15)
    assert result.cells().item() == pytest.approx(c, rel=1e-15)
    assert result.output.item() == pytest.approx(o * math.tanh(c), rel=1e-15)


def test_lstm_gradient_does_not_vanish() -> None:
    """Input gate closed, forget gate open: c and ∂L/∂c are constant over any number of steps."""
    parameters = scalars("lstm", bias=[-10, 10, 0.5, 10])
    result = reference.forward(
        "lstm",
        np.zeros((1, 200, 1)),
        parameters,
        gate_activation="hard_sigmoid_keras2",
        state=(np.zeros((1, 1, 1)), np.full((1, 1, 1), 0.7)),
    )
    assert (result.cells() == 0.7).all()
    gradients = reference.backward(result, d_state=(np.zeros((1, 1, 1)), np.ones((1, 1, 1))))
    assert gradients.cell_steps is not None
    assert (gradients.cell_steps == 1).all()
    assert arrays_of(gradients.state)[1].item() == 1


@pytest.mark.parametrize(("cell", "n", "h"), [("gru", 1.0, 1.0), ("gru_reset_after", 1.5, 1.25)])
def test_gru_by_hand(cell: str, n: float, h: float) -> None:
    """r = z = 1/2 and h_0 = 1, W_n = 2: n = 2 (r h_0), or r (2 h_0 + b_hn) with b_hn = 1."""
    parameters = scalars(cell, weight_hh=[0, 0, 2], bias_hn=[1])
    result = reference.forward(
        cell, np.zeros((1, 1, 1)), parameters, activation="identity", state=np.ones((1, 1, 1))
    )
    gates = {name: value.item() for name, value in result.gates().items()}
    assert gates == {"reset": 0.5, "update": 0.5, "candidate": n}
    assert result.output.item() == h


@pytest.mark.parametrize("cell", ["gru", "gru_reset_after"])
def test_gru_keeps_its_state_when_the_update_gate_is_1(cell: str) -> None:
    parameters = scalars(cell, bias=[0, 10, 3])  # r z n
    result = reference.forward(
        cell,
        np.zeros((1, 50, 1)),
        parameters,
        gate_activation="hard_sigmoid",
        state=np.full((1, 1, 1), 0.25),
    )
    assert (result.output == 0.25).all()


def test_gru_forms_coincide_without_a_recurrent_candidate() -> None:
    case = Case("gru", num_layers=2, bidirectional=True, lengths="ragged", state=True)
    problem = make(case)
    after = dict(problem.parameters)
    for name, W in problem.parameters.items():
        if name.startswith("weight_hh"):
            W[2 * case.hidden_size :] = 0
            after[name.replace("weight_hh", "bias_hn")] = np.zeros(case.hidden_size)
    before, d_before = run_reference(case, problem)
    other = replace(problem, parameters=after)
    after_result, d_after = run_reference(replace(case, cell="gru_reset_after"), other)
    np.testing.assert_allclose(after_result.output, before.output, rtol=1e-13)
    np.testing.assert_allclose(d_after.state, d_before.state, rtol=1e-12)
    assert d_before.input is not None
    np.testing.assert_allclose(d_after.input, d_before.input, rtol=1e-12)


def test_gru_forms_coincide_with_one_unit() -> None:
    """With H = 1, W_n (r h) = r (W_n h)."""
    case = Case("gru", hidden_size=1, state=True)
    problem = make(case)
    before, d_before = run_reference(case, problem)
    after = replace(problem, parameters={**problem.parameters, "bias_hn_l0": np.zeros(1)})
    after_result, d_after = run_reference(replace(case, cell="gru_reset_after"), after)
    np.testing.assert_allclose(after_result.output, before.output, rtol=1e-13)
    for name, d in d_before.parameters.items():
        np.testing.assert_allclose(d_after.parameters[name], d, rtol=1e-12)


def test_activations_by_hand() -> None:
    x = np.array([-4.0, -3, -2.5, -1, 0, 1, 2.5, 3, 4])
    keras2 = reference.GATE_ACTIVATIONS["hard_sigmoid_keras2"]
    keras3 = reference.GATE_ACTIVATIONS["hard_sigmoid"]
    np.testing.assert_allclose(keras2.function(x), [0, 0, 0, 0.3, 0.5, 0.7, 1, 1, 1], atol=1e-16)
    np.testing.assert_allclose(
        keras3.function(x), [0, 0, 1 / 12, 1 / 3, 0.5, 2 / 3, 11 / 12, 1, 1], rtol=1e-15
    )
    assert keras2.derivative(keras2.function(x[[0, 4, 8]])).tolist() == [0, 0.2, 0]
    assert keras3.derivative(keras3.function(x[[0, 2, 8]])).tolist() == [0, 1 / 6, 0]
    np.testing.assert_allclose(reference.sigmoid(x), [logistic(v) for v in x], rtol=1e-14)


@given(st.floats(width=32))
def test_activations_of_all_numbers_without_warnings(value: float) -> None:
    for dtype in DTYPES:
        x = np.array([value], dtype)
        for activation in (*reference.ACTIVATIONS.values(), *reference.GATE_ACTIVATIONS.values()):
            y = activation.function(x)
            assert y.dtype == dtype
            assert activation.derivative(np.clip(y, -1, 1)).dtype == dtype
            assert np.isnan(y[0]) == math.isnan(value)
        if not math.isnan(value):
            expected = 1 / (1 + math.exp(-value)) if value > -700 else 0
            assert abs(reference.sigmoid(x)[0] - expected) <= 2 * np.finfo(dtype).eps


@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.floats(0, 1e4), st.integers(0, 9)
)
@settings(deadline=None)
def test_softmax_cross_entropy_matches_its_formula(
    B: int, T: int, K: int, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = scale * rng.normal(size=(B, T, K)), rng.integers(0, K, (B, T))
    lengths = rng.integers(0, T + 1, B)
    value, d_logits = reference.softmax_cross_entropy(logits, targets, lengths)
    expected = 0.0
    for b in range(B):
        for t in range(lengths[b]):
            top = logits[b, t].max()
            p = np.exp(logits[b, t] - top) / np.sum(np.exp(logits[b, t] - top))
            expected += top + math.log(np.sum(np.exp(logits[b, t] - top)))
            expected -= logits[b, t, targets[b, t]]
            p[targets[b, t]] -= 1
            np.testing.assert_allclose(d_logits[b, t], p, rtol=1e-12, atol=1e-15)
        assert not d_logits[b, lengths[b] :].any()
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-12 * max(scale, 1))


def test_padding_of_a_loss_is_not_read() -> None:
    logits, targets = np.zeros((2, 3, 4), np.float32), np.full((2, 3), -1)
    logits[:, 1:] = np.nan
    targets[:, 0] = 2
    value, d_logits = reference.softmax_cross_entropy(logits, targets, np.array([1, 0]))
    assert value == pytest.approx(math.log(4), rel=1e-7)
    assert d_logits.dtype == np.float32
    np.testing.assert_array_equal(d_logits[0, 0], np.float32([0.25, 0.25, -0.75, 0.25]))
    assert not d_logits[0, 1:].any()
    assert not d_logits[1].any()


def test_loss_once_per_sequence() -> None:
    value, d_logits = reference.softmax_cross_entropy(np.zeros((3, 4)), np.array([0, 1, 3]))
    assert value == pytest.approx(3 * math.log(4), rel=1e-15)
    assert d_logits.sum() == 0


def test_sgd_by_hand() -> None:
    p, v = np.array([1.0]), np.zeros(1)
    p, v = reference.sgd_step(p, np.array([2.0]), v, learning_rate=0.5, momentum=0.25)
    assert (p.item(), v.item()) == (0, 2)
    p, v = reference.sgd_step(p, np.array([1.0]), v, learning_rate=0.5, momentum=0.25)
    assert (p.item(), v.item()) == (-0.75, 1.5)


def test_nesterov_and_weight_decay_by_hand() -> None:
    """g = 1 + 2·0.5 = 2, v = 0.5·4 + 2 = 4; p = 2 - 0.25 (2 + 0.5·4) = 1."""
    p, v = reference.sgd_step(
        np.array([2.0]),
        np.array([1.0]),
        np.array([4.0]),
        learning_rate=0.25,
        momentum=0.5,
        nesterov=True,
        weight_decay=0.5,
    )
    assert (p.item(), v.item()) == (1, 4)


def test_rmsprop_by_hand() -> None:
    """s = 0.75·4 + 0.25·52 = 16, v = 0.5·2 + √52/4; the momentum is of the scaled gradient."""
    p, s, v = reference.rmsprop_step(
        np.array([1.0]),
        np.sqrt([52.0]),
        np.array([4.0]),
        np.array([2.0]),
        learning_rate=0.5,
        decay=0.75,
        momentum=0.5,
    )
    assert s.item() == pytest.approx(16)
    assert v.item() == pytest.approx(1 + math.sqrt(52) / 4)
    assert p.item() == pytest.approx(1 - 0.5 * v.item())


def test_weight_decay_of_adamw_by_hand() -> None:
    """Without a gradient only the decay is left: p ← p - 0.5·0.1·p."""
    zero = np.zeros(1)
    p, m, v = reference.adamw_step(
        np.array([2.0]), zero, zero, zero, 1, learning_rate=0.5, weight_decay=0.1
    )
    assert (p.item(), m.item(), v.item()) == (1.9, 0, 0)


def test_adam_by_hand() -> None:
    """The first step is learning_rate · sign(g); the second follows from m and v by hand."""
    p, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    p, m, v = reference.adam_step(p, np.array([4.0]), m, v, 1, learning_rate=0.1)
    assert p.item() == pytest.approx(0.9, rel=1e-8)
    assert (m.item(), v.item()) == pytest.approx((0.4, 0.016))
    p, m, v = reference.adam_step(p, np.array([-2.0]), m, v, 2, learning_rate=0.1)
    m_hat, v_hat = (0.9 * 0.4 - 0.2) / 0.19, (0.999 * 0.016 + 0.004) / (1 - 0.999**2)
    assert p.item() == pytest.approx(0.9 - 0.1 * m_hat / math.sqrt(v_hat), rel=1e-8)


def test_clipping_by_hand() -> None:
    gradients = {"a": np.array([3.0, -0.5]), "b": np.array([[4.0]])}
    clipped = reference.clip_by_value(gradients, 1)
    assert (clipped["a"].tolist(), clipped["b"].tolist()) == ([1, -0.5], [[1]])
    gradients["a"][1] = 0
    scaled, norm = reference.clip_by_global_norm(gradients, 1)
    assert norm == 5
    np.testing.assert_allclose(scaled["a"], [0.6, 0])
    np.testing.assert_allclose(scaled["b"], [[0.8]])
    assert reference.clip_by_global_norm(gradients, 6)[0]["b"].item() == 4
    gradients["b"][0, 0] = np.nan
    same, norm = reference.clip_by_global_norm(gradients, 1)
    assert math.isnan(norm)
    assert same["a"].tolist() == [3, 0]
