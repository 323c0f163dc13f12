"""Models prepared for inspection: a float64 chain and one encoded sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.vocabulary import START
from bptt.diagnostics._float64 import as_float64, decoder_chain, float64_chain, float64_copy
from bptt.nn.characters import CharacterEmbedding
from bptt.nn.embedding import EmbeddingBag
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential
from bptt.training.label_feedback import LabelFeedbackTask
from bptt.training.sequence_to_sequence import SequenceToSequenceTask


@dataclass(frozen=True)
class PreparedModel:
    """A float64 chain without dropout, and one sequence for it."""

    chain: Sequential
    x: NDArray[Any]
    """(1, T, I) in float64, or ids (1, T)."""
    tokens: tuple[Any, ...] | None
    """Labels of the T steps; None for vectors."""
    outputs: list[Any] | None = None
    """Labels of the outputs; None for their indices."""

    @classmethod
    def of(cls, model: Any, x: Any) -> PreparedModel:
        """Prepare a recurrent layer, a `Sequential` or a fitted estimator for one sequence.

        Parameters
        ----------
        model : RNN, LSTM, GRU, Sequential or SequenceEstimator
        x : array or sequence
            Float array (T, features); integer array (T,), or (T, F) for an `EmbeddingBag` or
            a `CharacterEmbedding`; or a sequence as for `fit` of an estimator.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape.
        """
        if isinstance(model, Recurrent):
            model = Sequential(float64_copy(model, time_major=False))
        elif isinstance(model, Sequential):
            model = float64_chain(model)
        elif hasattr(model, "_task"):
            return _prepare_estimator(model, x)
        else:
            rule = "model must be an RNN, LSTM, GRU, Sequential or an estimator"
            raise TypeError(f"{rule}, got {type(model).__name__}")
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a NumPy array, got {type(x).__name__}")
        ids = x.dtype.kind in "iu"
        if not ids:
            checks.floats("x", x)
        several = (EmbeddingBag, CharacterEmbedding)
        one_id = ids and not any(isinstance(m, several) for m in model.modules[:2])  # a step
        if x.ndim != (1 if one_id else 2) or not len(x):
            rule = "x must be one sequence, (T, features), or (T,) of token ids, with T >= 1"
            raise ValueError(f"{rule}, got shape {x.shape}")
        return cls(model, as_float64(x)[np.newaxis], tuple(x.tolist()) if one_id else None)


def step_labels(tokens: Sequence[Any] | None, prepared: PreparedModel) -> tuple[Any, ...] | None:
    """Return the labels given by the user, or else those of the prepared model."""
    if tokens is None:
        return prepared.tokens
    steps = prepared.x.shape[1]
    labels = checks.items("tokens", tokens, text=True)
    if len(labels) != steps:
        raise ValueError(f"tokens must have T = {steps} labels, got {len(labels)}")
    return tuple(labels)


def _prepare_estimator(estimator: Any, sequence: Any) -> PreparedModel:
    """Return the float64 chain of an estimator, and one sequence encoded for it.

    Raises
    ------
    TypeError, ValueError
        If it reads no sequences, or the sequence is empty or does not match those of `fit`.
    """
    from sklearn.utils.validation import check_is_fitted

    from bptt.estimators._autoregressive import DecoderEstimator
    from bptt.estimators.generator import SequenceGenerator

    check_is_fitted(estimator)
    if isinstance(estimator, SequenceGenerator):
        raise TypeError("model must read sequences, got SequenceGenerator")
    values = estimator._encode([sequence], None)[0]
    if isinstance(estimator, DecoderEstimator):
        encoder = estimator.target_encoder_
        tokens = (START, *_step_tokens(encoder._encoder, sequence, values))
        x = np.concatenate([[encoder.start], values])[np.newaxis]
        return PreparedModel(
            float64_chain(decoder_chain(estimator.decoder_)), x, tokens, encoder.tokens
        )
    if not len(values):
        raise ValueError("x must have at least one step, got none")
    x, labels = values[np.newaxis], _step_tokens(estimator.encoder_, sequence, values)
    outputs = estimator.classes_.tolist() if hasattr(estimator, "classes_") else None
    task = estimator._task()
    if isinstance(task, SequenceToSequenceTask):
        model = task.network.encoder
    elif isinstance(task, LabelFeedbackTask):
        predicted = task.predict(x, np.array([len(values)])).argmax(axis=2)
        model, x = task.chain, task.append_labels(task.embed(x), predicted)
    else:
        model = task.model
    return PreparedModel(float64_chain(model), as_float64(x), labels or None, outputs)


def _step_tokens(encoder: SequenceEncoder, sequence: Any, values: NDArray[Any]) -> tuple[Any, ...]:
    """Return the tokens or ids of a sequence; () for vectors."""
    if encoder.vocabulary is not None:
        return tuple(encoder.tokenize(sequence))
    return tuple(values.tolist()) if encoder.kind == "ids" else ()
