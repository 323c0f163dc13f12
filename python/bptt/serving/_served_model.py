"""What is served: a network, with what makes rows of messages and results of its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data.vocabulary import UNKNOWN
from bptt.exporters._parts import Parts, Scaling, parts_of
from bptt.losses import softmax
from bptt.nn.characters import CharacterEmbedding
from bptt.nn.embedding import Embedding, EmbeddingBag
from bptt.nn.summary import feature_sizes
from bptt.serving._network import SteppedNetwork

TOKENS, IDS, NUMBERS = "tokens", "ids", "numbers"
"""What a step of the input is: a string, an integer, or numbers."""


class _Encoder(Protocol):
    """A `bptt.data.SequenceEncoder` or a `bptt.data.TargetEncoder`."""

    @property
    def vocabulary(self) -> Any: ...
    def tokenize(self, text: str) -> list[str]: ...
    def transform(self, X: Any) -> Any: ...


class ServedModel:
    """A network of streams, with the encoding of its input and the names of its outputs.

    Parameters
    ----------
    model : estimator, Sequential or recurrent layer
        A classifier, regressor, tagger or language model that reads forward, or a network.
    name : str
        Name that clients are shown.

    Attributes
    ----------
    network : Sequential
        What is stepped.
    input : {"tokens", "ids", "numbers"}
        What a step of the input is.
    input_size : int
        Numbers of a step; for ids their number.
    output_size : int
        Numbers of an output, K.
    dtype : numpy.dtype
        Of the outputs, and of an input of numbers.
    names : list of K str or int, or None
        Classes or tokens that the outputs are logits of.
    start : integer array (1,) or None
        Row that a stream begins with, wherever it comes: the token "<start>" of a language model.

    Raises
    ------
    TypeError
        If `model` is none of these.
    ValueError
        If it needs whole sequences, as with ``bidirectional=True``.
    """

    def __init__(self, model: Any, name: str = "model") -> None:
        SteppedNetwork(model)  # which checks that outputs depend on the steps before alone
        if getattr(getattr(model, "encoder_", None), "category_vocabularies", ()):
            raise ValueError("categorical features are not served")
        self.name = name
        parts = parts_of(model)
        self.network = parts.network
        self._scaling: tuple[Scaling | None, Scaling | None] = parts.features, parts.targets
        self._encoder: _Encoder | None = getattr(
            model, "target_encoder_", getattr(model, "encoder_", None)
        )
        self.is_language_model = hasattr(model, "target_encoder_")
        self.unit = None if self._encoder is None else getattr(model, "tokens", None)
        self._find_input(model, parts)
        row = self._probe()
        y, _ = self.network.step(row)
        self.output_size, self.dtype = y.shape[-1], y.dtype
        known = model.tokens_ if self.is_language_model else getattr(model, "classes_", None)
        several = getattr(model, "multi_label", False)
        if known is not None and (several or len(known) != self.output_size):
            known = None  # outputs are no logits of one of the classes
        self.names = None if known is None else [_plain(one) for one in known]
        self.start: NDArray[np.int32] | None = None
        if self.is_language_model:
            self.start = np.array([model.target_encoder_.start], np.int32)

    def _find_input(self, model: Any, parts: Parts) -> None:
        """Set what a step of the input is, and its number of ids or numbers."""
        encoder, first = self._encoder, parts.network.modules[0]
        self.features = False  # whether a row is several ids of one word
        if encoder is None:
            self.input = IDS if isinstance(first, Embedding) else NUMBERS
            size = first.num_embeddings if isinstance(first, Embedding) else feature_sizes(first)[0]
            if size is None or isinstance(first, (EmbeddingBag, CharacterEmbedding)):
                raise ValueError(f"the first module must read numbers or ids, got {first}")
            self.input_size: int = size
        elif encoder.vocabulary is not None:
            self.input, self.input_size = TOKENS, len(encoder.vocabulary)
            self.features = isinstance(first, (EmbeddingBag, CharacterEmbedding)) or any(
                isinstance(module, CharacterEmbedding) for module in parts.network.modules[:2]
            )
        else:
            ids = len(model.tokens_) if self.is_language_model else model.encoder_.size
            self.input, self.input_size = IDS if parts.ids else NUMBERS, ids

    def _probe(self) -> NDArray[Any]:
        """Return some valid row, (1, ..)."""
        if self.input == NUMBERS:
            parameters = next(iter(self.network.parameters.values()))
            return np.zeros((1, self.input_size), parameters.dtype)
        return self.encode([UNKNOWN]) if self.input == TOKENS else np.zeros(1, np.int32)

    def tokenize(self, text: str) -> list[str]:
        """Return the tokens of a text.

        Raises
        ------
        ValueError
            If the model does not read text.
        """
        if self.input != TOKENS or self._encoder is None or self.unit is None:
            raise ValueError(f"text needs a model of characters or words: inputs are {self.input}")
        return self._encoder.tokenize(text)

    def encode(self, inputs: Sequence[Any]) -> NDArray[Any]:
        """Return the rows of n inputs, as `network` takes them.

        Parameters
        ----------
        inputs : sequence of n str, int, or sequences of I numbers
            Steps, as they came from JSON; with one number a step, also the number.

        Returns
        -------
        int32 array (n,), for words with features (n, F), or float array (n, I)

        Raises
        ------
        TypeError, ValueError
            If an input is none of the model.
        """
        if self.input != TOKENS:
            return self.check_rows(_array_of(inputs, self.input))
        if not all(isinstance(token, str) for token in inputs):
            raise TypeError("inputs must be strings, one token each")
        assert self._encoder is not None
        if not self.features:
            missing = [token for token in inputs if token not in self._encoder.vocabulary]
            if not missing:  # what transform does, in a third of the time
                ids: NDArray[np.int32] = self._encoder.vocabulary.encode(inputs)
                return ids
        rows: NDArray[Any] = self._encoder.transform([list(inputs)])[0]
        return rows

    def check_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return rows of ids or numbers as the network takes them.

        Parameters
        ----------
        rows : integer array (n,), or array (n, I)
            Ids, or numbers, in the units of the training data.

        Returns
        -------
        int32 array (n,) or float array (n, I)
            Standardized, where the model does so.

        Raises
        ------
        TypeError, ValueError
            If a shape does not fit, a number is not finite, or an id out of its range.
        """
        if self.input != NUMBERS:
            if rows.ndim != 1 or rows.dtype.kind not in "iu":
                raise TypeError("inputs must be integers, one id each")
            wrong = rows[(rows < 0) | (rows >= self.input_size)]
            if len(wrong):
                raise ValueError(f"ids must be in [0, {self.input_size}), got {wrong[0]}")
            return rows.astype(np.int32)
        if rows.ndim == 1 and self.input_size == 1:
            rows = rows[:, np.newaxis]
        if len(rows) == 0:
            rows = rows.reshape(0, self.input_size)
        if rows.ndim != 2 or rows.shape[1] != self.input_size:
            got = f"{rows.shape[-1]}" if rows.ndim == 2 else f"shape {rows.shape}"
            raise ValueError(f"inputs must be {self.input_size} numbers each, got {got}")
        with np.errstate(over="ignore"):
            rows = rows.astype(self._probe().dtype)
        if not np.isfinite(rows).all():
            raise ValueError("inputs must be finite numbers")
        scaling: Any = self._scaling[0]
        result: FloatArray = rows if scaling is None else scaling.transform(rows)
        return result

    def outputs(self, y: FloatArray) -> FloatArray:
        """Return outputs (n, K) in the units of the targets."""
        scaling: Any = self._scaling[1]
        result: FloatArray = y if scaling is None else scaling.inverse_transform(y)
        return result

    def most_likely(self, y: FloatArray, count: int) -> list[list[tuple[str | int, float]]]:
        """Return the `count` most likely names of each row of logits, with their probabilities."""
        assert self.names is not None
        probabilities = softmax(y)
        order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :count]
        return [
            [(self.names[i], float(row[i])) for i in chosen]
            for row, chosen in zip(probabilities, order.tolist(), strict=True)
        ]

    def describe(self) -> Mapping[str, Any]:
        """Return in JSON types what a client needs to know."""
        kind = "language model" if self.is_language_model else "outputs"
        return {
            "name": self.name,
            "input": self.input,
            "unit": self.unit if self.input == TOKENS else None,
            "input_size": self.input_size,
            "output": kind if self.names is None or self.is_language_model else "labels",
            "output_size": self.output_size,
            "dtype": self.dtype.name,
            "names": self.names,
            "binary": not self.features,
        }


def _plain(name: Any) -> str | int:
    """Return a class or token as JSON has it."""
    value = name.item() if isinstance(name, np.generic) else name
    return value if isinstance(value, (str, int)) else str(value)


def _array_of(inputs: Sequence[Any], kind: str) -> NDArray[Any]:
    """Return numbers from JSON as an array; strings and bools are none."""
    try:
        rows = np.asarray(inputs)
    except (ValueError, OverflowError):
        raise ValueError(f"inputs must be {kind}, as many in each step") from None
    if not len(inputs):
        return np.empty(0, np.int32)
    if rows.dtype.kind not in "iuf":
        raise TypeError(f"inputs must be {kind}")
    return rows
