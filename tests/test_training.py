"""The training loop, and that it can be killed and resumed without a trace."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import bptt
from bptt import batches
from bptt.files import read_file
from bptt.history import History
from bptt.losses import softmax_cross_entropy
from bptt.sequences import Sequences
from bptt.sequential import Sequential
from bptt.supervised import SequenceData, Supervised
from bptt.training import Training, TrainingOptions, make_optimiser, train

SEED = 3


def parity(count=60, longest=7, dtype=np.float64):
    generator = np.random.default_rng(0)
    rows = [
        generator.integers(0, 2, n).astype(np.int32) for n in generator.integers(1, longest, count)
    ]
    targets = np.array([row.sum() % 2 for row in rows], np.int32)
    return SequenceData(Sequences.of(rows), targets)


def make_learner(dtype=np.float64, dropout=0.2):
    model = Sequential(
        bptt.LSTM(2, 8, num_layers=2, dropout=dropout, dtype=dtype, seed=0),
        bptt.Linear(8, 2, dtype=dtype, seed=1),
        pool="last",
    )
    return Supervised(
        model,
        lambda output, batch: softmax_cross_entropy(output, batch.y, reduction="mean"),
        lambda output, batch: float(np.mean(output.argmax(axis=1) == batch.y)),
        lambda batch: float(len(batch.y)),
    )


def run(learner=None, data=None, optimiser="adam", learning_rate=0.01, **arguments):
    learner = learner or make_learner()
    options = {name: arguments.pop(name) for name in list(arguments) if name in FIELDS}
    history = train(
        learner,
        data or parity(),
        options=TrainingOptions(**options),
        optimiser=make_optimiser(optimiser, learner.modules, learning_rate),
        seed=SEED,
        **arguments,
    )
    return learner, history


FIELDS = TrainingOptions.__dataclass_fields__


def weights(learner):
    return np.concatenate([module._flat for module in learner.modules.values()])


def without_seconds(history):
    return [epoch._replace(seconds=0, metric=0) for epoch in history]


# ---- minibatches


@pytest.mark.parametrize("count", [1, 7, 1000, 5003])
def test_every_sequence_comes_once_and_little_is_padded(count):
    lengths = np.random.default_rng(0).integers(1, 101, count)
    found = batches.shuffled(lengths, 16, SEED, 1)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(count))
    if count >= 1000:
        padded = sum(len(b) * lengths[b].max() for b in found)
        assert padded < 1.05 * lengths.sum()
    again = batches.shuffled(lengths, 16, SEED, 1)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)
    if count > 16:
        assert not np.array_equal(found[0], batches.shuffled(lengths, 16, SEED, 2)[0])


# ---- learning


def test_it_learns():
    _, history = run(make_learner(dropout=0.0), epochs=60, learning_rate=0.02)
    assert history[-1].loss < 0.1 < history[0].loss
    assert history[-1].metric > 0.97
    assert history["number"] == list(range(1, 61))


def test_accumulated_minibatches_are_one_large_one():
    """Of unequal numbers of targets, so that they must be weighted."""
    data = parity(50)
    found = []
    for batch_size, accumulate in ((50, 1), (20, 3)):
        learner = make_learner(dropout=0.0)
        run(
            learner,
            data,
            "sgd",
            epochs=3,
            batch_size=batch_size,
            accumulate=accumulate,
            clip_norm=None,
        )
        found.append(weights(learner))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)


def test_early_stopping_keeps_the_best_weights():
    data = parity(40)
    train_data, held_out = data.split(0.5, np.random.default_rng(0))
    learner, history = run(
        data=train_data, validation=held_out, epochs=300, patience=4, learning_rate=0.05
    )
    losses = history["validation_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 4 < 300
    score = np.average(
        [learner.evaluate(held_out.batch(b)).loss for b in np.split(np.arange(20), 2)]
    )
    np.testing.assert_allclose(score, losses[best], rtol=1e-9)


def test_clipping_and_schedule_are_used():
    _, history = run(epochs=4, schedule=bptt.schedules.StepDecay(1, 0.5), clip_value=1e-9)
    np.testing.assert_allclose(history["learning_rate"], [0.01, 0.005, 0.0025, 0.00125])
    assert max(history["gradient_norm"]) < 1e-6


def test_callbacks_hear_and_stop():
    heard = []

    class Callback:
        def on_train_begin(self, training: Training) -> None:
            heard.append("begin")

        def on_batch_end(self, training: Training) -> None:
            heard.append(training.updates)

        def on_epoch_end(self, training: Training) -> None:
            if len(training.history) == 2:
                training.stop()

        def on_train_end(self, training: Training) -> None:
            heard.append("end")

    _, history = run(epochs=9, callbacks=[Callback(), object()])
    assert len(history) == 2
    assert heard == ["begin", 1, 2, 3, 4, "end"]


def test_interruption_leaves_the_best_epoch():
    at_epoch = {}

    class Interrupt:
        def on_epoch_end(self, training: Training) -> None:
            at_epoch[len(training.history)] = weights(training.learner)

        def on_batch_end(self, training: Training) -> None:
            if len(training.history) == 2:
                raise KeyboardInterrupt

    learner = make_learner()
    with pytest.raises(KeyboardInterrupt):
        run(learner, epochs=9, callbacks=[Interrupt()])
    assert any(np.array_equal(weights(learner), at_epoch[n]) for n in (1, 2))


def test_a_loss_that_is_not_finite_is_an_error():
    learner = make_learner()
    learner.modules["1-linear"]["bias"] = np.array([np.nan, 0.0])
    with pytest.raises(FloatingPointError, match="the loss is nan in epoch 1, minibatch 1: try"):
        run(learner)


def test_progress_is_shown_on_request(capsys):
    run(epochs=2)
    assert capsys.readouterr().err == ""
    run(epochs=2, verbose=True)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "loss=" in shown


def test_history():
    _, history = run(epochs=2)
    assert str(history).splitlines()[0].split()[:2] == ["number", "loss"]
    copy = History.from_dict(history.to_dict())
    assert copy["loss"] == history["loss"]
    assert [e.number for e in history + history] == [1, 2, 3, 4]
    with pytest.raises(KeyError, match="an epoch has number, loss"):
        history["losses"]


@pytest.mark.parametrize(
    ("option", "value", "kind", "message"),
    [
        ("epochs", 0, ValueError, "epochs must be an integer >= 1, got 0"),
        ("batch_size", 2.5, TypeError, "batch_size must be an integer, got float"),
        ("patience", -1, ValueError, "patience must be an integer >= 1, got -1"),
        ("clip_norm", 0.0, ValueError, "clip_norm must be > 0, got 0.0"),
        ("schedule", 3, TypeError, "schedule must be a schedule of bptt.schedules, got int"),
        ("verbose", 1, TypeError, "verbose must be True or False, got int"),
    ],
)
def test_wrong_options(option, value, kind, message):
    with pytest.raises(kind, match=message):
        TrainingOptions(**{option: value})


# ---- checkpoints


def test_resuming_needs_the_same_training(tmp_path):
    path = tmp_path / "t.safetensors"
    run(epochs=1, checkpoint=path)
    before = path.read_bytes()
    learner = make_learner()
    untouched = weights(learner)
    with pytest.raises(ValueError, match=r"cannot resume .*: batch_size must be as it was, 32"):
        run(learner, batch_size=16, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="lengths of the data must be as it was"):
        run(learner, parity(61), checkpoint=path, resume=True)
    np.testing.assert_array_equal(weights(learner), untouched)
    assert path.read_bytes() == before


def test_a_finished_training_can_be_prolonged(tmp_path):
    path = tmp_path / "t.safetensors"
    whole, expected = run(epochs=5)
    run(epochs=3, checkpoint=path)
    learner, history = run(epochs=5, checkpoint=path, resume=True)
    np.testing.assert_array_equal(weights(learner), weights(whole))
    assert without_seconds(history) == without_seconds(expected)


CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
from test_training import run
print("ready", flush=True)
run(epochs=12, batch_size=4, checkpoint=sys.argv[1], checkpoint_updates=7, resume=True)
"""


def test_killed_ten_times_and_resumed_it_is_the_same(tmp_path):
    """SIGKILL at random moments; each child goes on where the last checkpoint was."""
    whole, undisturbed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    start = time.perf_counter()
    learner, history = run(epochs=12, batch_size=4, checkpoint=whole, checkpoint_updates=7)
    longest = time.perf_counter() - start
    moments = random.Random(SEED)
    kills = 0
    command = [sys.executable, "-c", CHILD, str(undisturbed), os.path.dirname(__file__)]
    for _ in range(10):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0, 0.3 * longest))
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert kills >= 5  # the others had come to the end already
    resumed, found = run(
        epochs=12, batch_size=4, checkpoint=undisturbed, checkpoint_updates=7, resume=True
    )
    np.testing.assert_array_equal(weights(resumed), weights(learner))
    assert without_seconds(found) == without_seconds(history)
    tensors, _ = read_file(undisturbed, "training 1", "a training")
    expected, _ = read_file(whole, "training 1", "a training")
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[name])
