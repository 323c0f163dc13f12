"""InputDecay: against the reference, central differences, and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt import reference
from cases import DTYPES, assert_close, dtype_id
from derivatives import assert_gradient, assert_gradients, check_chain, differences

N, M = 3, 2


def inputs(dtype=np.float64, seed=0, shape=(3, 4)):
    """Last values, masks, times, and further features; and gradients of the output."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*shape, 3 * N + M))
    x[..., N : 2 * N] = rng.random((*shape, N)) < 0.5
    x[..., 2 * N : 3 * N] = rng.integers(0, 9, (*shape, N))
    return x.astype(dtype), rng.normal(size=(*shape, 2 * N + M)).astype(dtype)


def module(dtype=np.float64, seed=1):
    """One feature whose rate is negative: its values stay."""
    decay = bptt.InputDecay(N, num_others=M, dtype=dtype)
    rng = np.random.default_rng(seed)
    decay["rate"] = np.array([0.3, -0.2, 0.05], dtype)
    decay["bias"] = rng.uniform(-0.2, 0.2, N).astype(dtype)
    return decay


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_reference(dtype):
    (x, d), decay = inputs(dtype), module(dtype)
    wide = [array.astype(np.float64) for array in (x, decay["rate"], decay["bias"])]
    run = decay.forward(x)
    assert_close(run.output, reference.input_decay(*wide), dtype, 1)
    np.testing.assert_array_equal(run.output, decay(x))
    d_x, d_w, d_b = reference.input_decay_backward(*wide, d.astype(np.float64))
    gradients = run.backward(d)
    for found, expected in (
        (gradients.input, d_x),
        (gradients["rate"], d_w),
        (gradients["bias"], d_b),
    ):
        assert_close(found, expected, dtype, 24, gradient=True)
    assert run.backward(d, input=False).input is None


def test_central_differences():
    (x, d), decay = inputs(), module()

    def loss():
        return float(np.sum(np.sin(decay(x)) * d))

    gradients = decay.forward(x).backward(np.cos(decay(x)) * d)
    assert_gradients(gradients, loss, decay)
    assert_gradient(gradients.input, differences(loss, x), "input")


def test_central_differences_of_the_reference():
    (x, d), decay = inputs(), module()
    w, b = decay["rate"].copy(), decay["bias"].copy()

    def loss():
        return float(np.sum(reference.input_decay(x, w, b) * d))

    for array, found in zip((x, w, b), reference.input_decay_backward(x, w, b, d), strict=True):
        assert_gradient(found, differences(loss, array))


def test_times_pass_as_the_last_features():
    (x, d), decay = inputs(), module()
    passing = bptt.InputDecay(N, num_others=M, pass_times=True, dtype="float64")
    for name in decay:
        passing[name] = decay[name]
    run, d_times = passing.forward(x), np.random.default_rng(2).normal(size=(3, 4, N))
    times = x[..., 2 * N : 3 * N]
    np.testing.assert_array_equal(run.output, np.concatenate([decay(x), times], axis=-1))
    gradients = run.backward(np.concatenate([d, d_times], axis=-1))
    expected = decay.forward(x).backward(d)
    expected_x = expected.input.copy()
    expected_x[..., 2 * N : 3 * N] += d_times
    np.testing.assert_allclose(gradients.input, expected_x, rtol=1e-12)
    for name in decay:
        np.testing.assert_array_equal(gradients[name], expected[name])


def test_a_chain():
    x, _ = inputs(shape=(3, 3))
    model = bptt.Sequential(
        module(),
        bptt.GRU(2 * N + M, 3, dtype="float64", seed=0),
        bptt.Linear(3, 2, dtype="float64", seed=1),
    )
    d_output = np.random.default_rng(3).normal(size=(3, 3, 2))
    check_chain(model, x, d_output, lengths=np.array([3, 0, 2]))
    assert "0  InputDecay  (B, T, 8)  rate" in model.summary()


def test_a_value_halves_in_seven_steps_at_first():
    x = np.array([[2.0, 1.0, 3.0], [2.0, 0.0, 7.0]], np.float32)
    np.testing.assert_allclose(bptt.InputDecay(1)(x), [[2, 1], [2 * np.exp(-0.7), 0]], rtol=1e-6)


def test_pytorch():
    torch = pytest.importorskip("torch")
    (x, d), decay = inputs(), module()
    parts = torch.tensor(x, requires_grad=True)
    w, b = (torch.tensor(decay[name], requires_grad=True) for name in ("rate", "bias"))
    value, mask, time, others = torch.split(parts, [N, N, N, M], dim=-1)
    gamma = torch.exp(-torch.relu(w * time + b))
    y = torch.cat([mask * value + (1 - mask) * gamma * value, mask, others], dim=-1)
    (y * torch.tensor(d)).sum().backward()
    gradients = decay.forward(x).backward(d)
    found = (gradients.input, gradients["rate"], gradients["bias"])
    for ours, theirs in zip(found, (parts, w, b), strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_files(tmp_path):
    bptt.save_modules(tmp_path / "a.safetensors", {"decay": module(np.float32)})
    loaded = bptt.load_modules(tmp_path / "a.safetensors")[0]["decay"]
    x, _ = inputs(np.float32)
    np.testing.assert_array_equal(loaded(x), module(np.float32)(x))
