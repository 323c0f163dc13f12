"""One training step in C++ and in the NumPy reference, side by side.

Both start from the same weights and take the same steps on the same batch: forward, loss, backward,
clipping, Adam. The words of the batch are equally long, and their characters are one-hot vectors on
both sides, so that neither saves work that the other has to do: padding, or products with zeros.
Both have one thread, in a process of its own: ``python -m bptt.comparison``.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bptt import measure, reference
from bptt.autocomplete import MAX_NORM, Autocomplete
from bptt.checks import FloatArray
from bptt.optimisers import Adam
from bptt.text import Batch


class Comparison(NamedTuple):
    """What `compare` found."""

    words: int
    length: int
    """Of each of the words: time steps."""
    rounds: int
    compiled: float
    """Median seconds of a training step in C++."""
    numpy: float
    """And in NumPy."""
    difference: float
    """Largest difference of any element of the first gradients."""
    largest: float
    """Largest element of these gradients."""


class NumpyTwin:
    """The same model with the same training step in `bptt.reference`."""

    def __init__(self, model: Autocomplete, learning_rate: float) -> None:
        layer = model.recurrent
        self.cell = layer._cell  # the reference has the kernels' names
        arguments = ("num_layers", "activation", "gate_activation")
        self.options = {name: layer.config[name] for name in arguments if name in layer.config}
        self.learning_rate = learning_rate
        self.parameters = {
            f"{part}/{name}": value.copy()
            for part, module in model.modules.items()
            for name, value in module.parameters.items()
        }
        self.first = {key: np.zeros_like(p) for key, p in self.parameters.items()}
        self.second = {key: np.zeros_like(p) for key, p in self.parameters.items()}
        self.steps = 0

    def gradients(self, batch: Batch) -> dict[str, FloatArray]:
        """Gradients of the mean loss of a character, as `Autocomplete.gradients`."""
        V, c = self.parameters["output/weight"], self.parameters["output/bias"]
        weights = {
            key.removeprefix("recurrent/"): p
            for key, p in self.parameters.items()
            if key.startswith("recurrent/")
        }
        run = reference.forward(self.cell, batch.inputs, weights, **self.options)
        logits = reference.linear(run.output, V, c)
        _, d_logits = reference.softmax_cross_entropy(logits, batch.targets)
        d_logits /= batch.targets.size
        d_output, d_V, d_c = reference.linear_backward(run.output, V, d_logits)
        d_weights = reference.backward(run, d_output).parameters
        found = {f"recurrent/{name}": d for name, d in d_weights.items()}
        return {**found, "output/weight": d_V, "output/bias": d_c}

    def train_step(self, batch: Batch) -> None:
        """Learn from one batch, as `Autocomplete.train_step`."""
        gradients, _ = reference.clip_by_global_norm(self.gradients(batch), MAX_NORM)
        self.steps += 1
        for key, p in self.parameters.items():
            self.parameters[key], self.first[key], self.second[key] = reference.adam_step(
                p,
                gradients[key],
                self.first[key],
                self.second[key],
                self.steps,
                learning_rate=self.learning_rate,
            )


def compare(
    model: Autocomplete, words: Sequence[str], learning_rate: float, seconds: float
) -> Comparison:
    """Measure the training steps of `model`, which learns, and of its twin, in turn."""
    layer = model.recurrent
    batch = model.vocabulary.encode(words)
    batch = batch._replace(inputs=reference.one_hot(batch.inputs, layer.input_size, layer.dtype))
    twin = NumpyTwin(model, learning_rate)
    optimiser = Adam(list(model.modules.values()), learning_rate=learning_rate)
    difference, largest = _differ(model, twin, batch)

    times = measure.take_turns(
        {
            "compiled": lambda: measure.seconds_per_call(
                lambda: model.train_step(batch, optimiser)
            ),
            "numpy": lambda: measure.seconds_per_call(lambda: twin.train_step(batch)),
        },
        rounds=5,
        least=seconds,
    )
    ours, theirs = map(statistics.median, times.values())
    count, length = batch.targets.shape
    return Comparison(count, length, len(times["numpy"]), ours, theirs, difference, largest)


def compare_apart(
    path: Path,
    words: Sequence[str],
    *,
    batch_size: int,
    learning_rate: float,
    seconds: float = 2.0,
) -> Comparison:
    """Compare, in a process with one thread, how the model in a file learns some of `words`."""
    with measure.Apart("bptt.comparison", threads=1) as child:
        task = [str(path), _equally_long(words, batch_size), learning_rate, seconds]
        return Comparison(*child.ask(task))


def _equally_long(words: Sequence[str], count: int) -> list[str]:
    """Return `count` words of the length that most characters are in."""
    characters: Counter[int] = Counter()
    for word in words:
        characters[len(word)] += len(word)
    length, _ = characters.most_common(1)[0]
    chosen = [word for word in words if len(word) == length]
    return [chosen[k % len(chosen)] for k in range(count)]


def _differ(model: Autocomplete, twin: NumpyTwin, batch: Batch) -> tuple[float, float]:
    """Return the largest difference of the two gradients, and their largest element."""
    _, compiled = model.gradients(batch)
    ours = dict(zip(model.modules, compiled, strict=True))
    difference = largest = 0.0
    for key, theirs in twin.gradients(batch).items():
        part, name = key.split("/")
        difference = max(difference, float(np.abs(ours[part][name] - theirs).max()))
        largest = max(largest, float(np.abs(theirs).max()))
    return difference, largest


def _answer(task: Any) -> Comparison:
    """Do the task of `compare_apart`, in the other process."""
    path, words, learning_rate, seconds = task
    return compare(Autocomplete.load(path), words, learning_rate, seconds)


if __name__ == "__main__":
    measure.answer(_answer)
