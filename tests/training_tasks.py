"""Tasks for the tests of the training loop: a tagger, and one with scripted losses."""

from __future__ import annotations

import math

import numpy as np

import bptt
from bptt.data.sequences import Sequences
from bptt.nn.module import Gradients
from bptt.nn.sequential import Sequential
from bptt.training import (
    Evaluation,
    SequenceDataset,
    SupervisedTask,
    TrainingOptions,
    TrainingStep,
    make_optimizer,
    train,
)

SEED = 3
_OPTIONS = TrainingOptions.__dataclass_fields__


def parity(count=60, longest=7, seed=0):
    """Bits, and at every step the parity of the bits so far."""
    random = np.random.default_rng(seed)
    rows = [random.integers(0, 2, n) for n in random.integers(1, longest + 1, count)]
    targets = Sequences.from_arrays([np.cumsum(row) % 2 for row in rows])
    return SequenceDataset(Sequences.from_arrays(rows), targets, random.uniform(0.5, 2.0, count))


def targets_of(batch):
    """The weight of each target, (B, T)."""
    exists = np.arange(batch.x.shape[1]) < batch.lengths[:, np.newaxis]
    return exists * batch.weights[:, np.newaxis]


def loss_fn(output, batch):
    return bptt.softmax_cross_entropy(
        output, batch.y, lengths=batch.lengths, weights=batch.weights, reduction="mean"
    )


def accuracy(output, batch):
    return float(np.average(output.argmax(axis=-1) == batch.y, weights=targets_of(batch)))


def tagger(dtype=np.float64, dropout=0.2, hidden_size=8, metric_fn=accuracy):
    """Two layers of LSTM with dropout between them, and before the output layer."""
    model = Sequential(
        bptt.LSTM(2, hidden_size, num_layers=2, dropout=dropout, dtype=dtype, seed=0),
        bptt.Dropout(dropout, dtype=dtype, seed=1),
        bptt.Linear(hidden_size, 2, dtype=dtype, seed=2),
    )
    return SupervisedTask(model, loss_fn, metric_fn, lambda batch: float(targets_of(batch).sum()))


class ScriptedTask:
    """A task with one parameter, which is the number of updates, if the learning rate is 1.

    Its training and validation losses are given, one a call; a gradient can be given, too.
    """

    def __init__(self, losses=(), validation=(), gradients=()):
        self.module = bptt.Linear(1, 1, bias=False, dtype="float64", seed=0)
        self.module["weight"] = np.zeros((1, 1))
        self._losses = iter(losses)
        self._validation = iter(validation)
        self._gradients = iter(gradients)

    @property
    def modules(self):
        return {"counter": self.module}

    @property
    def updates(self):
        return self.module["weight"].item()

    def training_step(self, batch):
        flat = np.array([next(self._gradients, -1.0)], np.float64)
        found = Gradients(self.module._layout, flat, None)
        return TrainingStep(next(self._losses, 1.0), math.nan, float(len(batch)), [found])

    def evaluate(self, batch):
        return Evaluation(next(self._validation), math.nan, float(len(batch)))


class IndexDataset:
    """A dataset whose minibatches are the indices themselves."""

    def __init__(self, count):
        self.lengths = np.ones(count, np.int64)

    def batch(self, indices):
        return indices


def run(task, data, optimizer="adam", learning_rate=0.01, **arguments):
    """Train with the given options and arguments of `train`."""
    options = {name: arguments.pop(name) for name in list(arguments) if name in _OPTIONS}
    return train(
        task,
        data,
        options=TrainingOptions(**options),
        optimizer=make_optimizer(optimizer, task.modules, learning_rate),
        **{"seed": SEED, **arguments},
    )


def count_updates(task, **arguments):
    """Train a scripted task, with one minibatch per epoch and a learning rate of 1."""
    return run(task, IndexDataset(1), "sgd", 1.0, **{"clip_norm": None, **arguments})


def weights(task):
    """All parameters of a task."""
    return np.concatenate([module._flat for module in task.modules.values()])


def without_seconds(history):
    return [epoch._replace(seconds=0.0) for epoch in history]
