"""Output layer and loss against the reference, in every form that a user may call them."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt import reference

DTYPES = [np.float32, np.float64]


def rounding(dtype):
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-13}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---- Linear --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(), (1,), (4,), (2, 3), (2, 0), (2, 3, 2)])
def test_linear(leading, bias, dtype, rng):
    layer = bptt.Linear(6, 5, bias=bias, dtype=dtype, seed=0)
    if bias:
        layer["bias"] = rng.standard_normal(5).astype(dtype)
    x = rng.standard_normal((*leading, 6)).astype(dtype)
    d_output = rng.standard_normal((*leading, 5)).astype(dtype)
    run = layer.forward(x)
    expected = x @ layer["weight"].T + (layer["bias"] if bias else 0)
    for y in (layer(x), run.output):
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, **rounding(dtype))
    for _ in range(2):  # nothing to release: as often as you like
        gradients = run.backward(d_output)
    rows, d_rows = x.reshape(-1, 6), d_output.reshape(-1, 5)
    assert list(gradients) == list(layer.parameters)
    np.testing.assert_allclose(gradients["weight"], d_rows.T @ rows, **rounding(dtype))
    if bias:
        np.testing.assert_allclose(gradients["bias"], d_rows.sum(0), **rounding(dtype))
    np.testing.assert_allclose(gradients.input, d_output @ layer["weight"], **rounding(dtype))


def test_linear_reads_any_strides(rng):
    layer = bptt.Linear(6, 5, dtype=np.float64, seed=0)
    x = rng.standard_normal((6, 4, 3)).transpose(1, 2, 0)
    d_output = rng.standard_normal((8, 3, 5))[::2]
    run, copied = layer.forward(x), layer.forward(x.copy())
    np.testing.assert_array_equal(run.output, copied.output)
    gradients, expected = run.backward(d_output), copied.backward(d_output.copy())
    np.testing.assert_array_equal(gradients["weight"], expected["weight"])
    np.testing.assert_array_equal(gradients.input, expected.input)


def test_linear_run_belongs_to_its_forward(rng):
    layer = bptt.Linear(6, 5, dtype=np.float64, seed=0)
    weight = layer["weight"].copy()
    run = layer.forward(rng.standard_normal((2, 6)))
    layer["weight"] = np.zeros((5, 6))
    d_output = np.ones((2, 5))
    np.testing.assert_allclose(run.backward(d_output).input, d_output @ weight, rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            np.ones((2, 4)),
            ValueError,
            "x must have shape (..., in_features) = (..., 6), got (2, 4)",
        ),
        (np.ones(()), ValueError, "x must have shape (..., in_features) = (..., 6), got ()"),
        (np.ones(6, np.float32), TypeError, "x must have dtype float64, got float32"),
        ([1.0] * 6, TypeError, "x must be a NumPy array, got list"),
    ],
)
def test_linear_errors(x, error, message):
    layer = bptt.Linear(6, 5, dtype=np.float64)
    for call in (layer, layer.forward):
        with pytest.raises(error) as raised:
            call(x)
        assert str(raised.value) == message


@pytest.mark.parametrize(
    ("d_output", "error", "message"),
    [
        (
            np.ones((3, 5)),
            ValueError,
            "d_output must have the shape of the output, (2, 5), got (3,",
        ),
        (
            np.ones((2, 6)),
            ValueError,
            "d_output must have the shape of the output, (2, 5), got (2,",
        ),
        (np.ones((2, 5), np.float32), TypeError, "d_output must have dtype float64, got float32"),
        (None, TypeError, "d_output must be a NumPy array, got NoneType"),
    ],
)
def test_linear_backward_errors(d_output, error, message):
    run = bptt.Linear(6, 5, dtype=np.float64).forward(np.ones((2, 6)))
    with pytest.raises(error) as raised:
        run.backward(d_output)
    assert str(raised.value).startswith(message)


# ---- softmax_cross_entropy -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("lengths", [None, (5, 0, 2, 4)])
def test_softmax_cross_entropy(dtype, reduction, time_major, lengths, rng):
    logits = (3 * rng.standard_normal((4, 5, 7))).astype(dtype)
    targets = rng.integers(0, 7, (4, 5))
    if lengths is not None:
        lengths = np.array(lengths)
        targets[np.arange(5) >= lengths[:, np.newaxis]] = -1  # never read
    value, d_logits = reference.softmax_cross_entropy(
        logits.astype(np.float64), targets, lengths=lengths
    )
    count = 20 if lengths is None else lengths.sum()
    if reduction == "mean":
        value, d_logits = value / count, d_logits / count
    if time_major:
        logits, targets, d_logits = (a.swapaxes(0, 1) for a in (logits, targets, d_logits))
    loss = bptt.softmax_cross_entropy(
        logits, targets, lengths=lengths, time_major=time_major, reduction=reduction
    )
    assert isinstance(loss.value, float)
    assert loss.d_logits.dtype == dtype
    np.testing.assert_allclose(loss.value, value, **rounding(dtype))
    np.testing.assert_allclose(loss.d_logits, d_logits, **rounding(dtype))


def test_once_a_sequence(rng):
    logits, targets = rng.standard_normal((4, 7)), rng.integers(0, 7, 4)
    loss = bptt.softmax_cross_entropy(logits, targets)
    steps = bptt.softmax_cross_entropy(logits[:, np.newaxis], targets[:, np.newaxis])
    assert loss.value == steps.value
    np.testing.assert_array_equal(loss.d_logits, steps.d_logits[:, 0])


def test_mean_of_nothing_is_nothing():
    logits, targets = np.ones((2, 3, 4)), np.zeros((2, 3), int)
    lengths = np.zeros(2, int)
    loss = bptt.softmax_cross_entropy(logits, targets, lengths=lengths, reduction="mean")
    assert loss.value == 0
    assert not loss.d_logits.any()


def test_large_logits_neither_overflow_nor_vanish():
    logits, targets = np.array([[1e4, 0.0], [0.0, 800.0]], np.float32), np.array([0, 0])
    loss = bptt.softmax_cross_entropy(logits, targets)
    assert loss.value == 800
    np.testing.assert_array_equal(loss.d_logits, [[0, 0], [-1, 1]])


LOGITS, TARGETS = np.zeros((2, 3, 4)), np.zeros((2, 3), int)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"logits": [[0.0]]}, TypeError, "logits must be a NumPy array, got list"),
        (
            {"logits": LOGITS.astype(int)},
            TypeError,
            "logits must have dtype float32 or float64, go",
        ),
        (
            {"logits": np.zeros(3)},
            ValueError,
            "logits must have shape (batch, steps, classes) or (batch, classes), got (3,)",
        ),
        ({"targets": [0]}, TypeError, "targets must be a NumPy array, got list"),
        ({"targets": TARGETS.astype(float)}, TypeError, "targets must"),
        (
            {"targets": TARGETS[:, :2]},
            ValueError,
            "targets must have shape (batch, steps) = (2, 3), got (2",
        ),
        (
            {"targets": TARGETS.T, "time_major": True},
            ValueError,
            "targets must have shape (steps, batch) = (2, 3), got (3, 2)",
        ),
        ({"logits": LOGITS[0]}, ValueError, "targets must have shape (batch,) = (3,), got (2, 3)"),
        ({"targets": TARGETS + 4}, ValueError, "targets must"),
        ({"targets": TARGETS - 1}, ValueError, "targets must"),
        ({"lengths": np.array([1, 4])}, ValueError, "lengths must"),
        ({"lengths": np.array([1, -1])}, ValueError, "lengths must"),
        ({"lengths": np.array([1])}, ValueError, "lengths must"),
        ({"lengths": np.array([1.0, 2.0])}, TypeError, "lengths must"),
        (
            {"logits": LOGITS[0], "targets": TARGETS[0], "lengths": np.ones(3, int)},
            ValueError,
            "lengths needs logits of shape (batch, steps, classes), got (3, 4)",
        ),
        (
            {"logits": LOGITS[0], "targets": TARGETS[0], "time_major": True},
            ValueError,
            "time_major needs logits of shape (batch, steps, classes), got (3, 4)",
        ),
        ({"reduction": "none"}, ValueError, "reduction must be one of 'sum', 'mean', got 'none'"),
        ({"time_major": 1}, TypeError, "time_major must be True or False, got int"),
    ],
)
def test_loss_errors(arguments, error, message):
    with pytest.raises(error) as raised:
        bptt.softmax_cross_entropy(**{"logits": LOGITS, "targets": TARGETS, **arguments})
    assert str(raised.value).startswith(message)
