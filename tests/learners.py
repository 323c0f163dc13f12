"""Learners for the tests of the training loop: a real one, and one that follows a script."""

from __future__ import annotations

import math

import numpy as np

import bptt
from bptt.data.sequences import Sequences
from bptt.nn.module import Gradients
from bptt.nn.sequential import Sequential
from bptt.training.loop import Score, Step, TrainingOptions, make_optimizer, train
from bptt.training.supervised import SequenceData, Supervised

SEED = 3
_OPTIONS = TrainingOptions.__dataclass_fields__


def parity(count=60, longest=7, seed=0):
    """Bits, ids 0 and 1; and at every step, whether the ones so far are odd in number."""
    random = np.random.default_rng(seed)
    rows = [random.integers(0, 2, n) for n in random.integers(1, longest + 1, count)]
    targets = Sequences.of([np.cumsum(row) % 2 for row in rows])
    return SequenceData(Sequences.of(rows), targets, random.uniform(0.5, 2.0, count))


def targets_of(batch):
    """The weight of each target, (B, T)."""
    exists = np.arange(batch.x.shape[1]) < batch.lengths[:, np.newaxis]
    return exists * batch.weights[:, np.newaxis]


def loss_of(output, batch):
    return bptt.softmax_cross_entropy(
        output, batch.y, lengths=batch.lengths, weights=batch.weights, reduction="mean"
    )


def accuracy(output, batch):
    return float(np.average(output.argmax(axis=-1) == batch.y, weights=targets_of(batch)))


def tagger(dtype=np.float64, dropout=0.2, hidden_size=8, metric_of=accuracy):
    """Two layers of LSTM with dropout between them, and before the output layer."""
    model = Sequential(
        bptt.LSTM(2, hidden_size, num_layers=2, dropout=dropout, dtype=dtype, seed=0),
        bptt.Dropout(dropout, dtype=dtype, seed=1),
        bptt.Linear(hidden_size, 2, dtype=dtype, seed=2),
    )
    return Supervised(model, loss_of, metric_of, lambda batch: float(targets_of(batch).sum()))


class Scripted:
    """A learner with one parameter, which is the number of updates, if the learning rate is 1.

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

    def gradients(self, batch):
        flat = np.array([next(self._gradients, -1.0)], np.float64)
        found = Gradients(self.module._layout, flat, None)
        return Step(next(self._losses, 1.0), math.nan, float(len(batch)), [found])

    def evaluate(self, batch):
        return Score(next(self._validation), math.nan, float(len(batch)))


class Rows:
    """Data that are nothing but indices."""

    def __init__(self, count):
        self.lengths = np.ones(count, np.int64)

    def batch(self, indices):
        return indices


def run(learner, data, optimizer="adam", learning_rate=0.01, **arguments):
    """Train; options and arguments of `train` together."""
    options = {name: arguments.pop(name) for name in list(arguments) if name in _OPTIONS}
    return train(
        learner,
        data,
        options=TrainingOptions(**options),
        optimizer=make_optimizer(optimizer, learner.modules, learning_rate),
        **{"seed": SEED, **arguments},
    )


def count_updates(learner, **arguments):
    """Train a scripted learner, one minibatch of one sequence an epoch."""
    return run(learner, Rows(1), "sgd", 1.0, **{"clip_norm": None, **arguments})


def weights(learner):
    """All parameters of a learner."""
    return np.concatenate([module._flat for module in learner.modules.values()])


def without_seconds(history):
    return [epoch._replace(seconds=0.0) for epoch in history]
