"""Checks that the parts of an estimator from a file fit together."""

from __future__ import annotations

from typing import Any

from bptt._core import checks
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.nn.characters import CharacterEmbedding
from bptt.nn.crf import CRF
from bptt.nn.decay import InputDecay
from bptt.nn.decoder import Decoder
from bptt.nn.embedding import Embedding, EmbeddingBag
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.seq2seq import EncoderDecoderNetwork
from bptt.nn.sequential import Sequential


def check_module(name: str, module: Any, kind: type[Module], **sizes: object) -> None:
    """Check that a module is of a class, and some of its sizes."""
    if not isinstance(module, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {module!r}")
    for size, expected in sizes.items():
        if getattr(module, size) != expected:
            raise ValueError(f"{name} must have {size}={expected}, got {module}")


def check_input(module: Module, size: int, *, bag: bool = False) -> None:
    """Check that the first module of a network reads ids or features of this number.

    `bag` says whether every step has several ids.
    """
    if bag or isinstance(module, Embedding):
        kind = EmbeddingBag if bag else Embedding
        check_module("the embedding", module, kind, num_embeddings=size)
        if isinstance(module, EmbeddingBag) != bag:
            raise TypeError(f"the embedding must be an Embedding, got {module}")
    elif isinstance(module, InputDecay):
        check_module("the decay", module, InputDecay, input_size=size)
    else:
        check_module("the recurrent layer", module, Recurrent, input_size=size)


def check_chain(
    chain: Sequential, inputs: int, outputs: int, *, bag: bool = False, crf: bool = False
) -> None:
    """Check the number of inputs and of outputs of a chain; `crf` says whether it ends in a CRF."""
    check_input(chain.modules[0], inputs, bag=bag)
    modules = chain.modules
    if crf:
        check_module("the last module", modules[-1], CRF, num_labels=outputs)
        modules = modules[:-1]
    check_module("the output layer", modules[-1], Linear, out_features=outputs)


def check_characters(chain: Sequential, encoder: SequenceEncoder) -> None:
    """Check that a chain reads the characters of words as they are encoded, or none."""
    letters, second = encoder.character_vocabulary, chain.modules[1]
    if letters is None:
        if isinstance(second, CharacterEmbedding):
            raise TypeError(f"there must be no characters, got {second}")
        return
    assert encoder.word_length is not None
    sizes = {"num_embeddings": len(letters), "word_length": encoder.word_length}
    check_module("the module of characters", second, CharacterEmbedding, **sizes)


def check_decoder(decoder: Decoder, tokens: int) -> None:
    """Check the number of tokens of a decoder."""
    first = decoder.recurrent if decoder.embedding is None else decoder.embedding
    check_input(first, tokens)
    check_module("the output layer", decoder.output, Linear, out_features=tokens)


def check_network(network: EncoderDecoderNetwork, inputs: int, tokens: int) -> None:
    """Check the sizes of an encoder-decoder network, and of the states that connect both."""
    recurrent, last = network.decoder.recurrent, network.encoder.modules[-1]
    check_input(network.encoder.modules[0], inputs)
    check_module("the encoder", last, type(recurrent))
    assert isinstance(last, Recurrent)
    check_decoder(network.decoder, tokens)
    layers = last.num_layers * (2 if last.bidirectional else 1)
    sizes, count = recurrent.state_sizes, recurrent.num_layers
    if network.bridge is None:
        rule = {"hidden_size": recurrent.hidden_size, "num_layers": count, "bidirectional": False}
        check_module("the encoder", last, Recurrent, **rule, state_sizes=sizes)
    else:
        mapped = len(recurrent.cell.mapped_states)
        if len(network.bridge.linears) != mapped:
            raise ValueError(f"the bridge must map {mapped} states")
        for linear, source, target in zip(
            network.bridge.linears, last.state_sizes[:mapped], sizes[:mapped], strict=True
        ):
            features = {"in_features": layers * source, "out_features": count * target}
            check_module("the bridge", linear, Linear, **features)
    attention = network.decoder.attention
    if attention is not None and attention.key_size != last.output_size:
        raise ValueError(f"attention must have key_size={last.output_size}, got {attention}")


def default_length(state: Any) -> int:
    """Return the default maximum length of generated sequences."""
    length = checks.integer("max_length", state["max_length"])
    if length >= 2**31:
        raise ValueError(f"max_length must be less than 2**31, got {length}")
    return length
