"""Comparison of a training step in C++ and in the NumPy reference.

Both start from the same weights and run the same steps on the same minibatch: forward, loss,
backward, clipping, Adam. The words of the minibatch have the same length and their characters are
one-hot vectors on both sides, so that neither skips padding or products with zeros. Both use one
thread, in a worker process: ``python -m bptt.cli.numpy_comparison``.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt import reference
from bptt._core.checks import FloatArray
from bptt._core.interleaved_timing import interleave, seconds_per_call
from bptt.cli.worker_process import WorkerProcess, serve
from bptt.losses import softmax_cross_entropy
from bptt.nn.module import Gradients
from bptt.nn.sequential import Sequential
from bptt.optim.clipping import clip_by_global_norm
from bptt.optim.optimizers import Adam

if TYPE_CHECKING:
    from bptt.estimators.language_model import LanguageModel

MAX_NORM = 1.0  # of the clipped gradients


class StepComparison(NamedTuple):
    """Result of `compare_training_steps`."""

    words: int
    length: int
    """Steps of every word."""
    rounds: int
    cpp: float
    """Median seconds of a training step in C++."""
    numpy: float
    """Median seconds of a training step in NumPy."""
    difference: float
    """Largest difference between elements of the first gradients."""
    largest: float
    """Largest element of these gradients."""


class WordBatch(NamedTuple):
    """A minibatch of words of one length."""

    inputs: FloatArray
    """One-hot vectors of the input characters, (B, T, V)."""
    targets: NDArray[np.integer[Any]]
    """Ids of the next characters, (B, T)."""

    @classmethod
    def of(cls, model: LanguageModel, words: Sequence[str]) -> WordBatch:
        """Encode words of one length for a model, with one-hot vectors as input."""
        batch = model._token_dataset(words, None).batch(np.arange(len(words)))
        size = model.target_encoder_.size
        return cls(reference.one_hot(batch.tokens, size, model.dtype), batch.targets)


class CppTrainer:
    """Training step of a language model with the layers of bptt."""

    def __init__(self, model: LanguageModel, learning_rate: float) -> None:
        self._chain = Sequential(*model.decoder_.modules.values())
        self.modules = model.decoder_.modules
        self._optimizer = Adam(list(self.modules.values()), learning_rate=learning_rate)

    def gradients(self, words: WordBatch) -> list[Gradients]:
        """Return the gradients of the mean loss per character, one for each module."""
        run = self._chain.forward(words.inputs)
        loss = softmax_cross_entropy(run.output, words.targets, reduction="mean")
        return run.backward(loss.gradient, input=False).modules

    def train_step(self, words: WordBatch) -> None:
        """Update the parameters."""
        gradients = self.gradients(words)
        clip_by_global_norm(gradients, MAX_NORM)
        self._optimizer.step(gradients)


class NumpyTrainer:
    """The same training step of the same model with `bptt.reference`."""

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
        """Return the gradients of the mean loss per character, by name."""
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
        """Update the parameters."""
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


def compare_training_steps(
    model: LanguageModel, words: Sequence[str], learning_rate: float, min_seconds: float
) -> StepComparison:
    """Time training steps of a model, whose parameters change, in C++ and in NumPy.

    Parameters
    ----------
    model : LanguageModel
        Fitted, with characters as one-hot vectors.
    words : sequence of str
        Words of one length: the minibatch.
    learning_rate : float
    min_seconds : float
        Minimum duration of the measurement.
    """
    batch = WordBatch.of(model, words)
    cpp, numpy = CppTrainer(model, learning_rate), NumpyTrainer(model, learning_rate)
    difference, largest = _gradient_difference(cpp, numpy, batch)
    measures = {
        "cpp": partial(seconds_per_call, partial(cpp.train_step, batch)),
        "numpy": partial(seconds_per_call, partial(numpy.train_step, batch)),
    }
    samples = interleave(measures, rounds=5, min_seconds=min_seconds)
    medians = {name: statistics.median(seconds) for name, seconds in samples.items()}
    count, length = batch.targets.shape
    return StepComparison(
        words=count,
        length=length,
        rounds=len(samples["numpy"]),
        cpp=medians["cpp"],
        numpy=medians["numpy"],
        difference=difference,
        largest=largest,
    )


def compare_in_worker(
    path: Path,
    words: Sequence[str],
    *,
    batch_size: int,
    learning_rate: float,
    min_seconds: float = 2.0,
) -> StepComparison:
    """Run `compare_training_steps` for a saved model in a process with one thread.

    Parameters
    ----------
    path : Path
        File of the model.
    words : sequence of str
        Words of any length, from which a minibatch of equally long ones is chosen.
    batch_size : int
    learning_rate, min_seconds : float
    """
    with WorkerProcess("bptt.cli.numpy_comparison", threads=1) as worker:
        request = [str(path), _equally_long(words, batch_size), learning_rate, min_seconds]
        return StepComparison(*worker.request(request))


def _equally_long(words: Sequence[str], count: int) -> list[str]:
    """Return `count` words of the length that covers the most characters, repeated as needed."""
    characters: Counter[int] = Counter()
    for word in words:
        characters[len(word)] += len(word)
    length, _ = characters.most_common(1)[0]
    chosen = [word for word in words if len(word) == length]
    return [chosen[k % len(chosen)] for k in range(count)]


def _gradient_difference(
    cpp: CppTrainer, numpy: NumpyTrainer, words: WordBatch
) -> tuple[float, float]:
    """Return the largest difference of the gradients, and their largest element."""
    gradients = dict(zip(cpp.modules, cpp.gradients(words), strict=True))
    difference = largest = 0.0
    for key, expected in numpy.gradients(words).items():
        part, name = key.split("/")
        difference = max(difference, float(np.abs(gradients[part][name] - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    return difference, largest


def _handle_request(request: Any) -> StepComparison:
    """Run a comparison in the worker process."""
    from bptt.estimators.language_model import LanguageModel  # needs scikit-learn

    path, words, learning_rate, min_seconds = request
    model = LanguageModel.load(path)
    return compare_training_steps(model, words, learning_rate, min_seconds)


if __name__ == "__main__":
    serve(_handle_request)
