"""Truncated backpropagation through time against full BPTT and its definition."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

import bptt
from bptt import reference
from bptt.nn.state import arrays_of

T, B, H, K = 11, 3, 4, 3
I = 2  # noqa: E741
F8 = {"dtype": "float64", "seed": 0}
WINDOWS = [
    (1, 1),
    (1, 3),
    (2, 2),
    (3, 3),
    (2, 4),
    (2, 5),
    (3, 5),
    (4, 9),
    (5, 7),
    (11, 11),
    (4, 10),
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make(kind="GRU", **options):
    layer = getattr(bptt, kind)(I, H, num_layers=2, **F8, **options)
    return bptt.Sequential(layer, bptt.Linear(H, K, **F8))


class Squares(NamedTuple):
    """Half the squared distance from the targets."""

    targets: np.ndarray

    def __call__(self, output, steps):
        error = output - self.targets[:, steps]
        return 0.5 * float(np.sum(error**2)), error


def total(windows):
    """The sum over all windows, of the loss and of each module's gradients."""
    loss, flats = 0.0, None
    for window in windows:
        loss += window.loss
        found = [gradient._flat for gradient in window.gradients]
        flats = found if flats is None else [a + b for a, b in zip(flats, found, strict=True)]
    return loss, flats


def assert_all_close(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * np.abs(b).max(initial=1))


# ---- against full BPTT ---------------------------------------------------------------------------


def chains():
    head = bptt.Linear(H, K, **F8)
    layers = {kind: getattr(bptt, kind)(I, H, **F8) for kind in ("RNN", "LSTM", "GRU")}
    lower = bptt.LSTM(I, 5, **F8)
    return {
        **{kind: bptt.Sequential(layer, head) for kind, layer in layers.items()},
        "no head": bptt.Sequential(bptt.LSTM(I, K, **F8)),
        "stacked": bptt.Sequential(bptt.LSTM(I, H, num_layers=3, **F8), head),
        "layers": bptt.Sequential(lower, bptt.Linear(5, 2, **F8), bptt.GRU(2, H, **F8), head),
        "skip": bptt.Sequential(lower, bptt.Linear(5 + I, K, **F8), skip_input=True),
        "ids": bptt.Sequential(bptt.GRU(7, H, **F8), head),
        "embedded": bptt.Sequential(
            bptt.Embedding(7, I, **F8), bptt.Dropout(0.0, **F8), layers["LSTM"], head
        ),
    }


@pytest.mark.parametrize(("k1", "k2"), [(1, T), (3, T), (4, T), (5, 12), (T, T), (20, 30)])
@pytest.mark.parametrize("lengths", [None, np.array([11, 0, 6], "u1")], ids=["full", "ragged"])
@pytest.mark.parametrize("name", chains())
def test_without_truncation_gradients_sum_to_full_bptt(name, lengths, k1, k2, rng):
    model = chains()[name]
    ids = name in ("ids", "embedded")
    x = rng.integers(0, 7, (B, T)) if ids else rng.standard_normal((B, T, I))
    targets = rng.standard_normal((B, T, K))
    state = model(x[:, :4])[1]
    run = model.forward(x, lengths=lengths, state=state)
    if lengths is not None:
        targets = np.where((np.arange(T) < lengths[:, None])[..., None], targets, 0)
    loss, d_output = Squares(targets)(run.output, slice(0, T))
    whole = run.backward(d_output)
    windows = list(
        bptt.truncated_bptt(model, x, Squares(targets), k1, k2, lengths=lengths, state=state)
    )
    found_loss, found = total(windows)
    assert found_loss == pytest.approx(loss, rel=1e-12)
    assert_all_close(found, [gradient._flat for gradient in whole.modules])
    assert_all_close([np.concatenate([w.output for w in windows], 1)], [run.output])
    for actual, expected in zip(windows[-1].state, run.state, strict=True):
        assert_all_close(arrays_of(actual), arrays_of(expected))
    places = [(window.steps.start, window.steps.stop) for window in windows]
    assert places == [(t, min(t + k1, T)) for t in range(0, T, k1)]


# ---- against the definition, by the reference ----------------------------------------------------


def by_definition(model, x, targets, k1, k2, change=lambda gradients: None):
    """Losses and gradients of each window, by the reference and the definition."""
    layer, head = model.modules
    cell = layer.cell.name
    options = {"num_layers": layer.num_layers}

    def forward(first, last, state):
        return reference.forward(
            cell, x[:, first:last], dict(layer.parameters), state=state, **options
        )

    states = {0: None}  # by step, as computed when the step was new
    for new in range(0, T, k1):
        end = min(new + k1, T)
        begin = max(0, end - k2)
        result = forward(begin, end, states[begin])
        for step in range(new + 1, end + 1):
            states[step] = forward(begin, step, states[begin]).state
        seen = result.output[:, new - begin :]
        error = seen @ head["weight"].T + head["bias"] - targets[:, new:end]
        d_output = np.zeros_like(result.output)
        d_output[:, new - begin :] = error @ head["weight"]
        d_layer = reference.backward(result, d_output).parameters
        d_head = {
            "weight": np.tensordot(error, seen, ([0, 1], [0, 1])),
            "bias": error.sum((0, 1)),
        }
        yield 0.5 * float(np.sum(error**2)), (d_layer, d_head)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("k1", "k2"), WINDOWS)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_truncated_gradients_match_the_definition(kind, k1, k2, rng):
    model = make(kind)
    x, targets = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, K))
    windows = bptt.truncated_bptt(model, x, Squares(targets), k1, k2)
    expected = by_definition(model, x, targets, k1, k2)
    for window, (loss, gradients) in zip(windows, expected, strict=True):
        assert window.loss == pytest.approx(loss, rel=1e-12)
        for found, by_name in zip(window.gradients, gradients, strict=True):
            assert_all_close([found[name] for name in by_name], by_name.values())


@pytest.mark.parametrize(("k1", "k2"), WINDOWS)
def test_gradients_end_after_k2_steps(k1, k2, rng):
    """The gradient of a window's loss ends k2 steps before the window's end."""
    model = make("LSTM")
    x, targets = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, K))
    _, whole = total(bptt.truncated_bptt(model, x, Squares(targets), k1, T))
    _, found = total(bptt.truncated_bptt(model, x, Squares(targets), k1, k2))
    assert np.allclose(found[0], whole[0]) == (k2 >= T)
    np.testing.assert_allclose(
        found[1], whole[1], rtol=1e-9
    )  # the output layer depends on single steps


@pytest.mark.parametrize(("k1", "k2"), WINDOWS)
def test_parameters_updated_between_windows(k1, k2, rng):
    """Parameters change between windows; states are kept."""
    model, twin = make("LSTM"), make("LSTM")
    x, targets = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, K))
    optimizer = bptt.SGD(model.modules, learning_rate=0.01)
    expected = by_definition(twin, x, targets, k1, k2)
    for window in bptt.truncated_bptt(model, x, Squares(targets), k1, k2):
        optimizer.step(window.gradients)
        loss, gradients = next(expected)
        assert window.loss == pytest.approx(loss, rel=1e-9)
        for module, by_name in zip(twin.modules, gradients, strict=True):
            for name, value in by_name.items():
                module[name] = module[name] - 0.01 * value
    for module, other in zip(model.modules, twin.modules, strict=True):
        assert_all_close([module._flat], [other._flat])


# ---- input and output ----------------------------------------------------------------------------


def test_continued_from_a_state(rng):
    """A sequence in two parts, with no gradient across the border in either case."""
    model = make("LSTM")
    x, targets = rng.standard_normal((B, 8, I)), rng.standard_normal((B, 8, K))

    def windows(first, last, state=None):
        loss_fn = Squares(targets[:, first:last])
        return list(bptt.truncated_bptt(model, x[:, first:last], loss_fn, 2, 2, state=state))

    head = windows(0, 4)
    for a, b in zip(windows(0, 8), head + windows(4, 8, head[-1].state), strict=True):
        assert a.loss == b.loss
        for found, expected in zip(a.gradients, b.gradients, strict=True):
            np.testing.assert_array_equal(found._flat, expected._flat)


def test_one_sequence_of_ids_with_softmax_cross_entropy(rng):
    model = bptt.Sequential(
        bptt.Embedding(7, I, seed=0), bptt.LSTM(I, H, seed=0), bptt.Linear(H, 7, seed=0)
    )
    adam = bptt.Adam(model.modules, learning_rate=0.03)
    ids = np.arange(400) % 7

    def loss_fn(output, steps):
        targets = ids[np.newaxis, 1:][:, steps]
        return bptt.softmax_cross_entropy(output, targets, reduction="mean")

    losses = []
    for _ in range(3):
        for window in bptt.truncated_bptt(model, ids[:-1], loss_fn, 5, 10):
            bptt.clip_by_global_norm(window.gradients, 1.0)
            adam.step(window.gradients)
            losses.append(window.loss)
    assert np.mean(losses[-20:]) < 0.05 < np.mean(losses[:20])


def test_only_windows_of_a_memory_map_are_read(tmp_path, rng):
    """A sequence on disk, of which only one window is in memory."""
    x = rng.standard_normal((1, T, I))
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    model, targets = make(), rng.standard_normal((1, T, K))
    _, found = total(bptt.truncated_bptt(model, mapped, Squares(targets), 3, 5))
    _, expected = total(bptt.truncated_bptt(model, x, Squares(targets), 3, 5))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_empty_sequence():
    assert list(bptt.truncated_bptt(make(), np.zeros((B, 0, I)), Squares(None), 3, 5)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_sequence():
    script = """
import sys
import numpy as np, bptt
steps = int(sys.argv[1])
model = bptt.Sequential(bptt.LSTM(50, 64, seed=0), bptt.Linear(64, 50, seed=0))
x = np.zeros((8, steps), np.uint8)
def loss_fn(output, steps):
    return bptt.softmax_cross_entropy(output, x[:, steps], reduction="mean")
for window in bptt.truncated_bptt(model, x, loss_fn, 20, 50):
    pass
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""
    peaks = []
    for steps in (400, 8000):
        command = [sys.executable, "-c", script, str(steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) * 1024)
    whole = 8 * 7600 * 64 * 4 * 6  # the gates of the additional steps
    assert peaks[1] - peaks[0] < 0.05 * whole


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (bptt.Sequential(bptt.Linear(I, K)), "model must have a recurrent layer, got Sequential("),
        (
            bptt.Sequential(bptt.GRU(I, H), pool="last"),
            "model must have pool=None, got pool='last'",
        ),
        (
            bptt.Sequential(bptt.GRU(I, H, bidirectional=True)),
            "model must have layers with bidirectional=False, got Sequential(",
        ),
    ],
)
def test_wrong_models(model, sentence):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        bptt.truncated_bptt(model, np.zeros((B, T, I), np.float32), Squares(None), 1, 1)
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    ("result", "error", "sentence"),
    [
        (3.0, TypeError, "loss_fn must return a pair, the loss and its gradient, got float"),
        ((1, 2, 3), TypeError, "loss_fn must return a pair, the loss and its gradient, got tuple"),
        (
            (1.0, None),
            TypeError,
            "the gradient that loss_fn returns must be a NumPy array, got NoneType",
        ),
        (
            (1.0, np.zeros((B, 2, K), np.float32)),
            TypeError,
            "the gradient that loss_fn returns must have dtype float64, got float32",
        ),
        (
            (1.0, np.zeros((B, T, K))),
            ValueError,
            "the gradient that loss_fn returns must have the shape of the output, (3, 2, 3), got "
            "(3, 11, 3)",
        ),
    ],
)
def test_wrong_results_of_loss_fn(result, error, sentence):
    windows = bptt.truncated_bptt(make(), np.zeros((B, T, I)), lambda *_: result, 2, 4)
    with pytest.raises(error) as raised:
        next(windows)
    assert str(raised.value) == sentence


# ---- states that are not finite ------------------------------------------------------------------


@pytest.mark.parametrize("layer", [bptt.RNN, bptt.LSTM])
def test_an_overflow_ends_with_its_window(layer):
    """Left out by `nonfinite="skip"`; a state of NaN would do the same to all later windows."""
    decoder = bptt.nn.Decoder(
        embedding=bptt.Embedding(2, 1, **F8),
        recurrent=layer(1, 1, activation="relu", **F8),
        output=bptt.Linear(1, 2, **F8),
    )
    decoder.embedding["weight"] = np.array([[0.0], [1e300]])
    decoder.recurrent["weight_ih_l0"] = np.full_like(decoder.recurrent["weight_ih_l0"], 1e300)
    sequences = bptt.data.Sequences.from_arrays([np.array([1, 0, 0, 0, 0]), np.zeros(5, int)])
    data = bptt.training.TokenDataset(sequences, 0, 0)
    task = bptt.training.TruncatedBPTTTask(bptt.training.DecoderTask(decoder), k1=2, k2=2)
    windows = bptt.training.WindowDataset(data, 2)
    losses = [task.training_step(windows.batch(i)).loss for i in windows.batches()]
    np.testing.assert_array_equal(np.isfinite(losses), [False, True, True])
