"""Whole models of bptt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

import bptt
from bptt.nn import Attention, Decoder, Embedding, EncoderDecoderNetwork, Linear, Sequential
from bptt.nn.module import Gradients
from bptt.optim import Adam, clip_by_global_norm
from grid import Array
from models import CLASSIFIER, ENCODER_DECODER, LEARNING_RATE, MAX_NORM, ModelProblem, ModelRow
from peers.base import Peer, Task
from peers.bptt_layers import make_layer

Infer: TypeAlias = Callable[[], Array]
Differentiate: TypeAlias = Callable[[], tuple[float, list[Gradients]]]


class BpttModels(Peer):
    name = family = "bptt"
    version = bptt.__version__

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        bptt.set_num_threads(threads)

    def supports(self, row: Any) -> bool:
        return True

    def build(self, row: Any, problem: Any) -> Task:
        make = encoder_decoder if row.task == ENCODER_DECODER else sequential
        parts = make_parts(row, problem)
        infer, differentiate = make(row, problem, parts)
        if row.mode == "inference":
            return Task(infer, lambda logits: {"output": without_padding(logits, problem)})
        optimizer = Adam(list(parts.values()), learning_rate=LEARNING_RATE)
        first: dict[str, Array] = {}

        def update() -> Any:
            loss, gradients = differentiate()
            if not first:
                first.update(checked_arrays(row, loss, parts, gradients))
            clip_by_global_norm(gradients, MAX_NORM)
            optimizer.step(gradients)
            return first

        return Task(update, lambda found: found)


def make_parts(row: ModelRow, problem: ModelProblem) -> dict[str, Any]:
    """Return the modules of a model, from input to output."""
    parts: dict[str, Any] = {}
    for part, parameters in problem.parameters.items():
        if part.endswith("recurrent"):
            parts[part] = make_layer(row.layers, parameters, time_major=False)
            continue
        if part.endswith("embedding"):
            parts[part] = Embedding(row.vocabulary, row.embedding_size, dtype=row.dtype, seed=0)
        else:
            parts[part] = Linear(row.output_inputs, row.outputs, dtype=row.dtype, seed=0)
        for name, value in parameters.items():
            parts[part][name] = value
    return parts


def sequential(
    row: ModelRow, problem: ModelProblem, parts: Mapping[str, Any]
) -> tuple[Infer, Differentiate]:
    """Return the calls of a language model, a tagger or a classifier."""
    model = Sequential(*parts.values(), pool="last" if row.task == CLASSIFIER else None)
    lengths = problem.lengths

    def differentiate() -> tuple[float, list[Gradients]]:
        run = model.forward(problem.ids, lengths=lengths)
        loss = run.cross_entropy(problem.targets, reduction="mean")
        return loss.value, run.backward(loss).modules

    return lambda: model(problem.ids, lengths=lengths)[0], differentiate


def encoder_decoder(
    row: ModelRow, problem: ModelProblem, parts: Mapping[str, Any]
) -> tuple[Infer, Differentiate]:
    """Return the calls of an encoder-decoder whose decoder starts from the encoder's state."""
    decoder = Decoder(
        embedding=parts["decoder-embedding"],
        recurrent=parts["decoder-recurrent"],
        attention=Attention(row.hidden_size, row.hidden_size, dtype=row.dtype),
        output=parts["decoder-output"],
    )
    encoder = Sequential(parts["encoder-embedding"], parts["encoder-recurrent"])
    network = EncoderDecoderNetwork(encoder, None, decoder)
    arguments: Any = problem.ids, problem.lengths, problem.decoder_ids, problem.target_lengths

    def differentiate() -> tuple[float, list[Gradients]]:
        run = network.forward(*arguments)
        loss = run.decoded.cross_entropy(problem.targets, reduction="mean")
        gradients = dict(zip(network.modules, run.backward(loss), strict=True))
        del gradients["decoder-attention"]  # has no parameters
        return loss.value, list(gradients.values())

    return lambda: network(*arguments), differentiate


def without_padding(logits: Array, problem: ModelProblem) -> Array:
    """Return logits that are 0 in the padding."""
    padding = problem.padding
    return logits if padding is None else np.where(padding[..., np.newaxis], 0, logits)


def checked_arrays(
    row: ModelRow, loss: float, parts: Mapping[str, Any], gradients: list[Gradients]
) -> dict[str, Array]:
    """Return loss and gradients by name, for the comparison with other libraries."""
    found = {"loss": np.array(loss, row.dtype)}
    for part, gradient in zip(parts, gradients, strict=True):
        found.update({f"{part}.{name}": gradient[name].copy() for name in gradient})
    return found


def create(threads: int) -> list[Peer]:
    return [BpttModels(threads)]
