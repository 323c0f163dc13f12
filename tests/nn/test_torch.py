"""Layers and losses against PyTorch: nn.RNN, nn.LSTM and nn.GRU with the same weights.

PyTorch has two biases, of which we keep the sum; but the GRU's second bias of n is our `bias_hn`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bptt
from bptt.nn.state import arrays_of
from cases import (
    DTYPES,
    Case,
    assert_all_close,
    assert_close,
    dtype_id,
    in_float64,
    make,
    make_layer,
)

torch = pytest.importorskip("torch")
rnn = torch.nn.utils.rnn

CELLS = [
    Case("rnn", hidden_size=18),
    Case("rnn", activation="relu", hidden_size=18),
    Case("lstm", hidden_size=18),
    Case("lstm", hidden_size=18, proj_size=7),
    Case("gru_reset_after", hidden_size=18),
]
OPTIONS = [
    {},
    {"state": True},
    {"num_layers": 2, "bidirectional": True, "state": True},
    {"num_layers": 3, "steps": 50, "batch": 5, "state": True},
    {"bidirectional": True, "steps": 1, "batch": 1},
]
CASES = [replace(cell, **options) for cell in CELLS for options in OPTIONS]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def torch_layer(case, parameters, seed=0):
    """PyTorch's layer in float64: our bias is split at random into its two."""
    kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM}.get(case.cell, torch.nn.GRU)
    options = {"nonlinearity": case.activation} if case.cell == "rnn" else {}
    if case.proj_size:
        options["proj_size"] = case.proj_size
    layer = kind(
        case.input_size,
        case.hidden_size,
        num_layers=case.num_layers,
        bidirectional=case.bidirectional,
        batch_first=True,
        dtype=torch.float64,
        **options,
    )
    rng, n = np.random.default_rng(seed), slice(2 * case.hidden_size, None)
    values = {}
    for name, value in parameters.items():
        kind, _, place = name.rpartition("_l")
        if kind.startswith("weight"):
            values[name] = value
        elif kind == "bias":
            second = rng.normal(size=value.shape)
            values[f"bias_hh_l{place}"] = second
            values[f"bias_ih_l{place}"] = value - second
        else:  # bias_hn comes after its bias: that of n stands inside the product with r
            values[f"bias_hh_l{place}"][n] = value
            values[f"bias_ih_l{place}"][n] = parameters[f"bias_l{place}"][n]
    layer.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    return layer


def torch_gradients(case, layer):
    """The gradients of PyTorch's parameters, by our names."""
    found = {}
    for name, parameter in layer.named_parameters():
        kind, _, place = name.rpartition("_l")
        gradient = parameter.grad.numpy()
        if kind.startswith("weight"):
            found[name] = gradient
        elif kind == "bias_ih":
            found[f"bias_l{place}"] = gradient
        elif case.cell == "gru_reset_after":
            found[f"bias_hn_l{place}"] = gradient[2 * case.hidden_size :]
    return found


def tensors(arrays):
    return [torch.tensor(array, requires_grad=True) for array in arrays]


def run_torch(case, problem, packed):
    """Output, final state and all gradients, in float64 from the numbers of the problem."""
    exact = in_float64(problem)
    layer = torch_layer(case, exact.parameters)
    (x,), initial = tensors([exact.x]), tensors(arrays_of(exact.state))
    state = None if not initial else initial[0] if len(initial) == 1 else tuple(initial)
    if packed:
        sequence = rnn.pack_padded_sequence(
            x, torch.tensor(exact.lengths), batch_first=True, enforce_sorted=False
        )
        sequence, final = layer(sequence, state)
        y, _ = rnn.pad_packed_sequence(sequence, batch_first=True, total_length=case.steps)
    else:
        y, final = layer(x, state)
    final = arrays_of(final)
    loss = (y * torch.tensor(exact.d_output)).sum()
    for s, d in zip(final, arrays_of(exact.d_state), strict=bool(case.state)):
        loss = loss + (s * torch.tensor(d)).sum()
    loss.backward()
    results = {"y": y, **dict(zip("hc", final, strict=False))}
    gradients = {"x": x.grad, **{name: s.grad for name, s in zip("hc", initial, strict=False)}}
    return (
        {name: value.detach().numpy() for name, value in results.items()},
        {name: value.numpy() for name, value in gradients.items()},
        torch_gradients(case, layer),
    )


def assert_same(case, dtype, packed):
    problem = make(case, dtype)
    results, gradients, parameter_gradients = run_torch(case, problem, packed)
    layer = make_layer(case, problem)
    run = layer.forward(problem.x, lengths=problem.lengths, state=problem.state)
    found = {"y": run.output, **dict(zip("hc", arrays_of(run.state), strict=False))}
    assert_all_close(found, results, dtype, case.steps)
    d = run.backward(problem.d_output, problem.d_state)
    assert_all_close(d, parameter_gradients, dtype, case.steps, gradient=True)
    assert_close(d.input, gradients["x"], dtype, case.steps, gradient=True)
    if case.state:
        for name, gradient in zip("hc", arrays_of(d.state), strict=False):
            assert_close(gradient, gradients[name], dtype, case.steps, gradient=True)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_batches_match_pytorch(case, dtype):
    assert_same(case, dtype, packed=False)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize(
    "case",
    # PyTorch has no sequence of length 0
    [replace(c, lengths="short", batch=6) for c in CASES if c.steps > 1],
    ids=str,
)
def test_packed_sequences_match_pytorch(case, dtype):
    assert_same(case, dtype, packed=True)


@pytest.mark.parametrize("case", CELLS, ids=str)
def test_time_major_matches_pytorch(case):
    """(T, B, I) is PyTorch's default."""
    problem = make(case)
    layer = make_layer(case, problem, time_major=True)
    x = problem.x.swapaxes(0, 1)
    other = torch_layer(case, problem.parameters)
    other.batch_first = False
    expected, _ = other(torch.tensor(x.copy()))
    assert_close(layer(x)[0], expected.detach().numpy(), np.float64, case.steps)


def assert_same_loss(loss, expected, scores, dtype):
    """Value and gradient against a PyTorch loss of `scores`."""
    (gradient,) = torch.autograd.grad(expected, scores)
    assert loss.value == pytest.approx(expected.item(), rel=1e-6 if dtype == np.float32 else 1e-13)
    assert_close(loss.gradient, gradient.numpy(), dtype, 6, gradient=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_matches_pytorch(smoothing, reduction, dtype):
    rng = np.random.default_rng(0)
    logits, ids = (3 * rng.normal(size=(24, 30))).astype(dtype), rng.integers(0, 30, 24)
    probabilities = rng.dirichlet(np.ones(30), 24).astype(dtype)
    scores = torch.tensor(logits.astype(np.float64), requires_grad=True)
    for targets in (ids, probabilities):
        expected = torch.nn.functional.cross_entropy(
            scores,
            torch.tensor(targets if targets is ids else targets.astype(np.float64)),
            label_smoothing=smoothing,
            reduction=reduction,
        )
        loss = bptt.softmax_cross_entropy(
            logits, targets, label_smoothing=smoothing, reduction=reduction
        )
        assert_same_loss(loss, expected, scores, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_weighted_cross_entropy_matches_pytorch(dtype):
    """A weight of each class, in PyTorch, is a weight of each target."""
    rng = np.random.default_rng(0)
    logits, targets = (3 * rng.normal(size=(24, 5))).astype(dtype), rng.integers(0, 5, 24)
    scores, of_class = torch.tensor(logits.astype(np.float64), requires_grad=True), rng.random(5)
    expected = torch.nn.functional.cross_entropy(
        scores, torch.tensor(targets), weight=torch.tensor(of_class)
    )
    loss = bptt.softmax_cross_entropy(logits, targets, weights=of_class[targets], reduction="mean")
    assert_same_loss(loss, expected, scores, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_losses_of_real_targets_match_pytorch(dtype):
    rng = np.random.default_rng(0)
    output, targets = (3 * rng.normal(size=(4, 6, 5))).astype(dtype), rng.random((4, 6, 5))
    targets, weights = targets.astype(dtype), rng.random((4, 6))
    scores = torch.tensor(output.astype(np.float64), requires_grad=True)
    right, w = torch.tensor(targets.astype(np.float64)), torch.tensor(weights)
    functional = torch.nn.functional
    yes_or_no = functional.binary_cross_entropy_with_logits(scores, right, reduction="none")
    expected = (yes_or_no.sum(-1) * w).sum()
    loss = bptt.binary_cross_entropy(output, targets, weights=weights)
    assert_same_loss(loss, expected, scores, dtype)
    squared = functional.mse_loss(scores, right, reduction="none")
    expected = (squared.mean(-1) * w).sum() / w.sum()
    loss = bptt.mean_squared_error(output, targets, weights=weights, reduction="mean")
    assert_same_loss(loss, expected, scores, dtype)
