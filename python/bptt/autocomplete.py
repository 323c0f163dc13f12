"""Auto-completion of words: a recurrent layer that predicts the next character.

The running example of the field: after "d" comes "e", after "de" comes "e", after "dee" comes "p",
and after "deep" the stop. An application on the public layers, and a model for others:

>>> from bptt import LSTM
>>> from bptt.autocomplete import Autocomplete
>>> from bptt.text import Vocabulary
>>> words = ["deep", "learning"] * 20
>>> vocabulary = Vocabulary.of(words)
>>> model = Autocomplete(vocabulary, LSTM(len(vocabulary.characters), 32, seed=0))
>>> epochs = model.fit(words, epochs=60, batch_size=8, seed=0)
>>> model.complete("d")
'deep'
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from bptt import checks
from bptt.checks import FloatArray
from bptt.clipping import clip_by_global_norm
from bptt.linear import Linear
from bptt.losses import softmax, softmax_cross_entropy
from bptt.module import Gradients, Module
from bptt.optimisers import Adam, Optimiser
from bptt.recurrent import GRU, LSTM, RNN
from bptt.storage import load_modules, save_modules
from bptt.text import LONGEST, STOP, Batch, Vocabulary

Recurrent: TypeAlias = RNN | LSTM | GRU
_Parameters: TypeAlias = dict[str, dict[str, FloatArray]]  # of every module, by name

MAX_NORM = 1.0  # of the gradients of a step, to which they are clipped
_MOST_PREFIXES = 10_000  # looked at for one list of completions


class Completion(NamedTuple):
    """A word, and its probability given how it begins."""

    word: str
    probability: float


class Epoch(NamedTuple):
    """One pass over all words: losses in bits per character."""

    number: int
    """From 1."""
    loss: float
    """Mean over the training words, while the model learnt from them."""
    held_out: float | None
    """Of the words that were held out, after the epoch; None if there were none."""

    @property
    def score(self) -> float:
        """What says how good the model is: the loss that it could not learn by heart."""
        return self.loss if self.held_out is None else self.held_out


class Autocomplete:
    """Characters, one at a time -> recurrent layer -> linear layer -> softmax: the next character.

    Parameters
    ----------
    vocabulary : Vocabulary
    layer : RNN, LSTM or GRU
        In one direction, batch-first, with ``input_size=len(vocabulary.characters)``.

    Attributes
    ----------
    recurrent, output : the layer, and the `Linear` on top of it
    about : dict
        What the user wants to be saved with the model, fit for JSON.

    Raises
    ------
    TypeError, ValueError
        If the layer is something else, or does not fit.
    """

    def __init__(self, vocabulary: Vocabulary, layer: Recurrent) -> None:
        if not isinstance(layer, (RNN, LSTM, GRU)):
            raise TypeError(f"layer must be an RNN, LSTM or GRU, got {type(layer).__name__}")
        if layer.bidirectional or layer.time_major:
            raise ValueError(f"layer must be batch-first and in one direction, got {layer}")
        count = len(vocabulary.characters)
        if layer.input_size != count:
            rule = f"len(vocabulary.characters) = {count}"
            raise ValueError(f"input_size must be {rule}, got {layer.input_size}")
        self.vocabulary = vocabulary
        self.recurrent = layer
        self.output = Linear(
            layer.output_size,
            len(vocabulary.symbols),
            dtype=layer.dtype,
            seed=None if layer.seed is None else layer.seed + 1,
        )
        self.about: dict[str, object] = {}

    @property
    def modules(self) -> Mapping[str, Module]:
        """All that has parameters, by name."""
        return {"recurrent": self.recurrent, "output": self.output}

    def gradients(self, batch: Batch) -> tuple[float, list[Gradients]]:
        """Return the mean loss of a character in nats, and its gradients, one for each module."""
        lengths = batch.lengths
        run = self.recurrent.forward(batch.inputs, lengths=lengths)
        top = self.output.forward(run.output)
        loss = softmax_cross_entropy(top.output, batch.targets, lengths=lengths, reduction="mean")
        d_top = top.backward(loss.gradient)
        return loss.value, [run.backward(d_top.input), d_top]

    def train_step(self, batch: Batch, optimiser: Optimiser) -> float:
        """Learn from one batch; return the mean loss of a character before, in nats."""
        loss, gradients = self.gradients(batch)
        clip_by_global_norm(gradients, MAX_NORM)
        optimiser.step(gradients)
        return loss

    def fit(
        self,
        words: Sequence[str],
        *,
        held_out: Sequence[str] = (),
        epochs: int = 8,
        batch_size: int = 64,
        learning_rate: float = 0.005,
        seed: int | None = None,
        on_batch: Callable[[int, float], None] | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> list[Epoch]:
        """Learn `words` with Adam, with a learning rate that falls from epoch to epoch.

        However it ends, by Ctrl-C too, the model is then as after its best whole epoch, if any.

        Parameters
        ----------
        words : sequence of str
            In any order; a word that comes often is learnt to be likely.
        held_out : sequence of str
            Words to judge the epochs by; by default the training words do.
        seed : int, optional
            Of the order of the words, which is another one in every epoch.
        on_batch, on_epoch : callable, optional
            Called after every batch, with its number of words and its mean bits per character,
            and after every epoch.

        Raises
        ------
        TypeError, ValueError
            If a number is of the wrong kind or out of its range, there are no words, or one has a
            character that is not in the vocabulary.
        FloatingPointError
            If the loss stops being finite.
        """
        checks.integer("epochs", epochs)
        checks.integer("batch_size", batch_size)
        encoded = self.vocabulary.encode(words)
        judged = self.vocabulary.encode(held_out) if held_out else None
        random = np.random.default_rng(seed)
        optimiser = Adam(list(self.modules.values()), learning_rate=learning_rate)
        done: list[Epoch] = []
        best: _Parameters = {}
        try:
            for number in range(1, epochs + 1):
                batches = encoded.shuffled(batch_size, random)
                loss = self._learn(batches, optimiser, on_batch)
                epoch = Epoch(number, loss, None if judged is None else self._bits(judged))
                if not math.isfinite(epoch.score):
                    raise FloatingPointError("the loss is not finite: learn more slowly")
                if epoch.score <= min((other.score for other in done), default=math.inf):
                    best = self._snapshot()
                done.append(epoch)
                if on_epoch is not None:
                    on_epoch(epoch)
                optimiser.learning_rate = learning_rate * (1 - number / epochs)
        finally:
            self._restore(best)
        return done

    def loss(self, words: Sequence[str]) -> float:
        """Return the mean loss of `words` in bits per character, where the stop is one too.

        What a word begins with is given, and not predicted.
        """
        return self._bits(self.vocabulary.encode(words))

    def next_character(self, prefix: str) -> dict[str, float]:
        """Return the probability of every character, and of ``"<stop>"``, to come after `prefix`.

        Returns
        -------
        dict of str to float
            The likeliest first. The sum is 1.

        Raises
        ------
        ValueError
            If `prefix` is empty, or has a character that is not in the vocabulary.
        """
        ids = np.array([self.vocabulary.ids(prefix)])
        y, _ = self.recurrent(ids)
        logits = self.output(y[0, -1]).astype(np.float64)
        likely = softmax(logits)
        order = np.argsort(-likely, kind="stable")
        return {self.vocabulary.symbols[k]: float(likely[k]) for k in order}

    def complete(self, prefix: str, *, max_length: int = LONGEST) -> str:
        """Return `prefix` with the likeliest character after it, again and again, to the stop."""
        word = prefix
        while len(word) < max_length:
            likeliest = next(iter(self.next_character(word)))
            if likeliest == STOP:
                break
            word += likeliest
        return word

    def completions(
        self, prefix: str, count: int = 5, *, max_length: int = LONGEST
    ) -> list[Completion]:
        """Return the likeliest words that begin with `prefix`, the likeliest first.

        No word is likelier than how it begins. So, if always the likeliest beginning that is left
        is followed up, words come to their stops in the order of their probability. Of a model that
        has learnt little, all beginnings are about as likely, and fewer than `count` may be found.
        """
        found: list[Completion] = []
        queue = [(-1.0, prefix, False)]
        for _ in range(_MOST_PREFIXES):
            if not queue or len(found) == count:
                break
            minus, word, whole = heapq.heappop(queue)
            if whole:
                found.append(Completion(word, -minus))
            elif len(word) < max_length:
                for symbol, probability in self.next_character(word).items():
                    longer = word if symbol == STOP else word + symbol
                    heapq.heappush(queue, (minus * probability, longer, symbol == STOP))
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file, whole or not at all; see `save_modules`."""
        metadata = {"autocomplete": 1, "characters": self.vocabulary.characters}
        save_modules(path, self.modules, {**metadata, "about": self.about})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Autocomplete:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError, ImportError
            As `load_modules`.
        ValueError
            If it is not a whole file of `save`.
        """
        modules, metadata = load_modules(path)
        try:
            if metadata.get("autocomplete") != 1 or set(modules) != {"recurrent", "output"}:
                raise ValueError("it is no file of Autocomplete.save")
            model = cls(Vocabulary(metadata["characters"]), modules["recurrent"])  # type: ignore[arg-type]
            for name, parameter in modules["output"].parameters.items():
                model.output[name] = parameter
            model.about = dict(metadata["about"])
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"cannot load {os.fspath(path)}: {error}") from error
        return model

    def _learn(
        self,
        batches: Sequence[Batch],
        optimiser: Optimiser,
        on_batch: Callable[[int, float], None] | None,
    ) -> float:
        """Learn all `batches`; return their mean bits per character."""
        bits, characters = 0.0, 0
        for batch in batches:
            loss = self.train_step(batch, optimiser) / math.log(2)
            count = int(batch.lengths.sum())
            bits += loss * count
            characters += count
            if on_batch is not None:
                on_batch(len(batch.lengths), loss)
        return bits / characters

    def _bits(self, words: Batch, size: int = 512) -> float:
        """Mean bits per character of all `words`, `size` of them at a time."""
        nats = 0.0
        order = np.argsort(words.lengths, kind="stable")
        for start in range(0, len(order), size):
            batch = words.rows(order[start : start + size])
            y, _ = self.recurrent(batch.inputs, lengths=batch.lengths)
            logits = self.output(y)
            nats += softmax_cross_entropy(logits, batch.targets, lengths=batch.lengths).value
        return nats / math.log(2) / int(words.lengths.sum())

    def _snapshot(self) -> _Parameters:
        return {
            name: {key: value.copy() for key, value in module.parameters.items()}
            for name, module in self.modules.items()
        }

    def _restore(self, snapshot: _Parameters) -> None:
        for name, parameters in snapshot.items():
            for key, value in parameters.items():
                self.modules[name][key] = value
