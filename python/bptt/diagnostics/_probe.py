"""What diagnostics look into: a chain of modules, and one sequence for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data.sequences import SequenceEncoder
from bptt.data.vocabulary import START
from bptt.diagnostics._float64 import chain_twin, decoder_chain, in_float64, twin
from bptt.nn.embedding import EmbeddingBag
from bptt.nn.recurrent import Recurrent
from bptt.nn.sequential import Sequential
from bptt.training.label_feedback import LabelFeedbackTask
from bptt.training.sequence_to_sequence import SequenceToSequenceTask


@dataclass(frozen=True)
class Inside:
    """A chain in float64, without dropout, and what it reads."""

    chain: Sequential
    x: NDArray[Any]
    """(1, T, I) in float64, or ids (1, T)."""
    tokens: tuple[Any, ...] | None
    """What to call the T steps; None if they are vectors of numbers."""
    answers: list[Any] | None = None
    """What to call the outputs; None for their numbers."""

    @classmethod
    def of(cls, model: Any, x: Any) -> Inside:
        """Look into a recurrent layer, a `Sequential`, or a fitted estimator.

        Parameters
        ----------
        model : RNN, LSTM, GRU, Sequential or SequenceEstimator
        x : float array (T, features), or integer array (T,), for an `EmbeddingBag` (T, F); or a
            sequence as for `fit`

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, or does not fit.
        """
        if isinstance(model, Recurrent):
            model = Sequential(twin(model, time_major=False))
        elif isinstance(model, Sequential):
            model = chain_twin(model)
        elif hasattr(model, "_task"):
            return _inside_of_estimator(model, x)
        else:
            rule = "model must be an RNN, LSTM, GRU, Sequential or an estimator"
            raise TypeError(f"{rule}, got {type(model).__name__}")
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a NumPy array, got {type(x).__name__}")
        ids = x.dtype.kind in "iu"
        if not ids:
            checks.floats("x", x)
        one_id = ids and not isinstance(model.modules[0], EmbeddingBag)  # a step
        if x.ndim != (1 if one_id else 2) or not len(x):
            rule = "x must be one sequence, (T, features), or (T,) of token ids, with T >= 1"
            raise ValueError(f"{rule}, got shape {x.shape}")
        return cls(model, in_float64(x)[np.newaxis], tuple(x.tolist()) if one_id else None)


def labels_of(tokens: Sequence[Any] | None, inside: Inside) -> tuple[Any, ...] | None:
    """Return what the user calls the steps, or else what they are called anyway."""
    if tokens is None:
        return inside.tokens
    steps = inside.x.shape[1]
    if len(tokens) != steps:
        raise ValueError(f"tokens must have T = {steps} labels, got {len(tokens)}")
    return tuple(tokens)


def _inside_of_estimator(estimator: Any, sequence: Any) -> Inside:
    """Return the chain of an estimator in float64, and one sequence as it reads it.

    Raises
    ------
    TypeError, ValueError
        If it reads no sequences, or the sequence is not such as it has learned from, or is empty.
    """
    from sklearn.utils.validation import check_is_fitted

    from bptt.estimators._autoregressive import AutoregressiveEstimator
    from bptt.estimators.generator import SequenceGenerator

    check_is_fitted(estimator)
    if isinstance(estimator, SequenceGenerator):
        raise TypeError("model must read a sequence, which a SequenceGenerator does not")
    values = estimator._sequences([sequence], None)[0]
    if isinstance(estimator, AutoregressiveEstimator):
        encoder = estimator.target_encoder_
        tokens = (START, *_tokens(encoder._encoder, sequence, values))
        x = np.concatenate([[encoder.start], values])[np.newaxis]
        return Inside(chain_twin(decoder_chain(estimator.decoder_)), x, tokens, encoder.tokens)
    if not len(values):
        raise ValueError("x must have at least one step, got none")
    x, labels = values[np.newaxis], _tokens(estimator.encoder_, sequence, values)
    answers = estimator.classes_.tolist() if hasattr(estimator, "classes_") else None
    task = estimator._task()
    if isinstance(task, SequenceToSequenceTask):
        model = task.network.encoder
    elif isinstance(task, LabelFeedbackTask):
        likeliest = task.predict(x, np.array([len(values)])).argmax(axis=2)
        model, x = task.chain, task.append_labels(task.embed(x), likeliest)
    else:
        model = task.model
    return Inside(chain_twin(model), in_float64(x), labels or None, answers)


def _tokens(encoder: SequenceEncoder, sequence: Any, values: NDArray[Any]) -> tuple[Any, ...]:
    """Return what to call the steps of a sequence: as it was written; nothing for numbers."""
    if encoder.vocabulary is not None:
        return tuple(encoder.cut(sequence))
    return tuple(values.tolist()) if encoder.kind == "ids" else ()
