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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt import reference
from bptt._core.checks import FloatArray
from bptt.cli import timing, worker_process
from bptt.losses import softmax_cross_entropy
from bptt.nn.module import Gradients
from bptt.nn.sequential import Sequential
from bptt.optim.clipping import clip_by_global_norm
from bptt.optim.optimizers import Adam

if TYPE_CHECKING:
    from bptt.estimators.language_model import LanguageModel

MAX_NORM = 1.0  # of the gradients of a step, to which they are clipped


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


class WordBatch(NamedTuple):
    """Words of one length, as arrays."""

    inputs: FloatArray
    """One-hot vectors of what goes in, (B, T, V)."""
    targets: NDArray[np.integer[Any]]
    """Ids of what is to come out, (B, T)."""

    @classmethod
    def of(cls, model: LanguageModel, words: Sequence[str]) -> WordBatch:
        """Encode words of one length as a model does, but for the one-hot vectors."""
        batch = model._token_dataset(words, None).batch(np.arange(len(words)))
        size = model.target_encoder_.size
        return cls(reference.one_hot(batch.tokens, size, model.dtype), batch.targets)


class CompiledTrainer:
    """The training step of a language model on the package's layers."""

    def __init__(self, model: LanguageModel, learning_rate: float) -> None:
        self._chain = Sequential(*model.decoder_.modules.values())
        self.modules = model.decoder_.modules
        self._optimizer = Adam(list(self.modules.values()), learning_rate=learning_rate)

    def gradients(self, words: WordBatch) -> list[Gradients]:
        """Return the gradients of the mean loss of a character, one for each module."""
        run = self._chain.forward(words.inputs)
        loss = softmax_cross_entropy(run.output, words.targets, reduction="mean")
        return run.backward(loss.gradient, input=False).modules

    def train_step(self, words: WordBatch) -> None:
        """Learn from some words."""
        gradients = self.gradients(words)
        clip_by_global_norm(gradients, MAX_NORM)
        self._optimizer.step(gradients)


class NumpyTrainer:
    """The same model with the same training step in `bptt.reference`."""

    def __init__(self, model: LanguageModel, learning_rate: float) -> None:
        layer = model.decoder_.recurrent
        self.cell = layer.cell.name
        arguments = ("num_layers", "activation", "gate_activation")
        self.options = {name: layer.config[name] for name in arguments if name in layer.config}
        self.learning_rate = learning_rate
        self.parameters = {
            f"{part}/{name}": value.copy()
            for part, module in model.decoder_.modules.items()
            for name, value in module.parameters.items()
        }
        self.first = {key: np.zeros_like(p) for key, p in self.parameters.items()}
        self.second = {key: np.zeros_like(p) for key, p in self.parameters.items()}
        self.steps = 0

    def gradients(self, words: WordBatch) -> dict[str, FloatArray]:
        """Gradients of the mean loss of a character, as `CompiledTrainer.gradients`."""
        V, c = self.parameters["output/weight"], self.parameters["output/bias"]
        weights = {
            key.removeprefix("recurrent/"): p
            for key, p in self.parameters.items()
            if key.startswith("recurrent/")
        }
        run = reference.forward(self.cell, words.inputs, weights, **self.options)
        logits = reference.linear(run.output, V, c)
        _, d_logits = reference.softmax_cross_entropy(logits, words.targets)
        d_logits /= words.targets.size
        d_output, d_V, d_c = reference.linear_backward(run.output, V, d_logits)
        d_weights = reference.backward(run, d_output).parameters
        found = {f"recurrent/{name}": d for name, d in d_weights.items()}
        return {**found, "output/weight": d_V, "output/bias": d_c}

    def train_step(self, words: WordBatch) -> None:
        """Learn from some words, as `CompiledTrainer.train_step`."""
        gradients, _ = reference.clip_by_global_norm(self.gradients(words), MAX_NORM)
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
    model: LanguageModel, words: Sequence[str], learning_rate: float, seconds: float
) -> Comparison:
    """Measure the training steps of a model, which learns, and of its twin, in turn."""
    batch = WordBatch.of(model, words)
    compiled, twin = CompiledTrainer(model, learning_rate), NumpyTrainer(model, learning_rate)
    difference, largest = _gradient_difference(compiled, twin, batch)

    times = timing.interleave(
        {
            "compiled": lambda: timing.seconds_per_call(lambda: compiled.train_step(batch)),
            "numpy": lambda: timing.seconds_per_call(lambda: twin.train_step(batch)),
        },
        rounds=5,
        min_seconds=seconds,
    )
    ours, theirs = map(statistics.median, times.values())
    count, length = batch.targets.shape
    return Comparison(count, length, len(times["numpy"]), ours, theirs, difference, largest)


def compare_in_worker(
    path: Path,
    words: Sequence[str],
    *,
    batch_size: int,
    learning_rate: float,
    seconds: float = 2.0,
) -> Comparison:
    """Compare, in a process with one thread, how the model in a file learns some of `words`."""
    with worker_process.WorkerProcess("bptt.cli.numpy_comparison", threads=1) as child:
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


def _gradient_difference(
    compiled: CompiledTrainer, twin: NumpyTrainer, words: WordBatch
) -> tuple[float, float]:
    """Return the largest difference of the two gradients, and their largest element."""
    ours = dict(zip(compiled.modules, compiled.gradients(words), strict=True))
    difference = largest = 0.0
    for key, theirs in twin.gradients(words).items():
        part, name = key.split("/")
        difference = max(difference, float(np.abs(ours[part][name] - theirs).max()))
        largest = max(largest, float(np.abs(theirs).max()))
    return difference, largest


def _handle(task: Any) -> Comparison:
    """Do the task of `compare_in_worker`, in the other process."""
    from bptt.estimators.language_model import LanguageModel  # needs scikit-learn

    path, words, learning_rate, seconds = task
    return compare(LanguageModel.load(path), words, learning_rate, seconds)


if __name__ == "__main__":
    worker_process.answer(_handle)
