"""What diagnostics see of a fitted estimator: its chain of modules, its data and its loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from bptt._core.checks import FloatArray
from bptt.data.sequences import SequenceEncoder
from bptt.data.vocabulary import START
from bptt.diagnostics.float64_copies import chain_twin, gradient_of, in_float64, twin
from bptt.diagnostics.flow import GradientFlow, Part, flow_of, gradient_flow
from bptt.diagnostics.probe import Inside
from bptt.estimators._autoregressive import WritingEstimator
from bptt.estimators._base import SequenceEstimator
from bptt.estimators.generator import SequenceGenerator
from bptt.losses import Loss
from bptt.nn.decoder import Decoder
from bptt.nn.dropout import Dropout
from bptt.nn.module import Gradients
from bptt.nn.seq2seq import EncoderDecoderNetwork, EncoderDecoderRun
from bptt.nn.sequential import Sequential
from bptt.training.label_feedback import Feedback
from bptt.training.sequence_to_sequence import Pairs, Translator
from bptt.training.teacher_forcing import Writer
from bptt.training.truncated_bptt_task import StreamBatch


def flow_of_estimator(estimator: Any, X: Any, y: Any, lengths: Any) -> GradientFlow:
    """Return the flow of the estimator's own loss: see `bptt.diagnostics.estimator_flow`."""
    if not isinstance(estimator, SequenceEstimator):
        rule = "estimator must be one of this package"
        raise TypeError(f"{rule}, got {type(estimator).__name__}")
    check_is_fitted(estimator)
    estimator._check_target(y)
    data = estimator._data(X, y, lengths)
    learner: Any = estimator._learner()
    batch = data.batch(np.arange(len(data.lengths)))
    if isinstance(batch, StreamBatch):  # the windows of long texts: the first k2 steps of each
        learner, batch = learner._writer, batch.whole.part(slice(0, learner._k2))
    if isinstance(learner, Translator):
        return _flow_of_translator(learner, batch)
    if isinstance(learner, Writer):
        loss_of: Callable[[FloatArray], Loss] = partial(learner.loss, batch=batch)
        state = learner.begin(batch.condition)
        initial = None if state is None else (state,)
        model = _chain(learner.decoder)
        return gradient_flow(model, batch.tokens, loss_of, lengths=batch.lengths, state=initial)
    loss_of = partial(_loss, learner, batch)
    if isinstance(learner, Feedback):
        x = learner._with_labels(learner._input(batch.x), batch.y)
        return gradient_flow(learner.chain, x, loss_of, lengths=batch.lengths)
    return gradient_flow(learner.model, batch.x, loss_of, lengths=batch.lengths)


def inside_of_estimator(estimator: Any, sequence: Any) -> Inside:
    """Return the chain of an estimator in float64, and one sequence as it reads it.

    Raises
    ------
    TypeError, ValueError
        If it reads no sequences, or the sequence is not such as it has learned from, or is empty.
    """
    check_is_fitted(estimator)
    if isinstance(estimator, SequenceGenerator):
        raise TypeError("model must read a sequence, which a SequenceGenerator does not")
    values = estimator._sequences([sequence], None)[0]
    if isinstance(estimator, WritingEstimator):
        encoder = estimator.target_encoder_
        tokens = (START, *_tokens(encoder._encoder, sequence, values))
        x = np.concatenate([[encoder.start], values])[np.newaxis]
        return Inside(chain_twin(_chain(estimator.decoder_)), x, tokens, encoder.tokens)
    if not len(values):
        raise ValueError("x must have at least one step, got none")
    x, labels = values[np.newaxis], _tokens(estimator.encoder_, sequence, values)
    answers = estimator.classes_.tolist() if hasattr(estimator, "classes_") else None
    learner = estimator._learner()
    if isinstance(learner, Translator):
        model = learner.network.encoder
    elif isinstance(learner, Feedback):
        likeliest = learner.predict(x, np.array([len(values)])).argmax(axis=2)
        model, x = learner.chain, learner._with_labels(learner._input(x), likeliest)
    else:
        model = learner.model
    return Inside(chain_twin(model), in_float64(x), labels or None, answers)


def _tokens(encoder: SequenceEncoder, sequence: Any, values: NDArray[Any]) -> tuple[Any, ...]:
    """Return what to call the steps of a sequence: as it was written; nothing for numbers."""
    if encoder.vocabulary is not None:
        return tuple(encoder.cut(sequence))
    return tuple(values.tolist()) if encoder.kind == "ids" else ()


def _chain(decoder: Decoder) -> Sequential:
    """Return a decoder without attention as a chain."""
    return Sequential(*decoder.modules.values())


def _loss(learner: Any, batch: Any, output: FloatArray) -> Loss:
    loss: Loss = learner.loss_of(output, batch)
    return loss


def _flow_of_translator(learner: Translator, batch: Pairs) -> GradientFlow:
    """Return the flow through decoder and encoder."""
    modules = learner.network.modules
    network = EncoderDecoderNetwork.of(
        {name: twin(module) for name, module in modules.items() if not isinstance(module, Dropout)}
    )
    targets = batch.targets

    def forward() -> EncoderDecoderRun:
        x = in_float64(batch.x)
        return network.forward(x, batch.lengths, targets.tokens, targets.lengths)

    def gradients_of(d: FloatArray) -> list[Gradients]:
        return forward().backward(d, steps=True)

    dtype = learner.network.decoder.output.dtype
    d_output = gradient_of(partial(learner._writer.loss, batch=targets), forward().output, dtype)
    lengths = {"encoder": batch.lengths, "bridge": None, "decoder": targets.lengths}
    names = [name.partition("-")[0] for name in network.modules]
    parts = [
        Part(f"{name} ", i, module, lengths[name])
        for i, (name, module) in enumerate(zip(names, network.modules.values(), strict=True))
    ]
    return flow_of(parts, gradients_of, d_output, targets.lengths)
