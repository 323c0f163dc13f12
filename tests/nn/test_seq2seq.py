"""Encoder-decoder networks: gradients, batches, scheduled sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bptt import GRU, LSTM, RNN, SLSTM, Linear
from bptt.nn.attention import Attention
from bptt.nn.decoder import Decoder
from bptt.nn.embedding import Embedding
from bptt.nn.seq2seq import Bridge, EncoderDecoderNetwork
from bptt.nn.sequential import Sequential

WORDS, HIDDEN = 5, 3
LENGTHS, TOKEN_LENGTHS = np.array([4, 2, 3]), np.array([2, 4, 1])


def network(
    attention: str | None, cell: type[Any], bidirectional: bool, embedded: bool, layers: int = 2
) -> EncoderDecoderNetwork:
    seeds = iter(range(100))
    common: dict[str, Any] = {"dtype": np.float64}
    merge = "sum" if attention == "dot" else "concat"
    size = 2 if embedded else 6
    chain = [Embedding(6, 2, seed=next(seeds), **common)] if embedded else []
    options = {"num_layers": layers, **common}
    encoder = cell(
        size, HIDDEN, bidirectional=bidirectional, merge=merge, seed=next(seeds), **options
    )
    units, parts = HIDDEN * layers, len(encoder.cell.mapped_states)
    linears = [Linear(2 * units, units, seed=next(seeds), **common) for _ in range(parts)]
    memory = encoder.output_size
    return EncoderDecoderNetwork(
        Sequential(*chain, encoder),
        Bridge(linears, layers) if bidirectional else None,
        Decoder(
            embedding=Embedding(WORDS, 4, seed=next(seeds), **common),
            recurrent=cell(4, HIDDEN, seed=next(seeds), **options),
            attention=Attention(HIDDEN, memory, kind=attention, seed=next(seeds), **common)
            if attention
            else None,
            output=Linear(HIDDEN + (memory if attention else 0), WORDS, seed=next(seeds), **common),
        ),
    )


def inputs(embedded: bool = True) -> tuple[NDArray[Any], ...]:
    random = np.random.default_rng(5)
    x = random.integers(0, 6, (3, 4)) if embedded else random.normal(size=(3, 4, 6))
    return x, LENGTHS, random.integers(0, WORDS, (3, 4)), TOKEN_LENGTHS


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
@pytest.mark.parametrize(
    ("cell", "bidirectional", "embedded"),
    [
        (LSTM, True, True),
        (GRU, True, False),
        (RNN, False, True),
        (LSTM, False, False),
        (SLSTM, True, True),
        (SLSTM, False, True),
    ],
)
def test_gradients_are_those_of_central_differences(
    attention: str | None, cell: type[Any], bidirectional: bool, embedded: bool
) -> None:
    net = network(attention, cell, bidirectional, embedded)
    arguments = inputs(embedded)
    run = net.forward(*arguments)
    d = np.random.default_rng(7).normal(size=run.output.shape)
    d[np.arange(4) >= TOKEN_LENGTHS[:, np.newaxis]] = 0.0

    def loss() -> float:
        return float(np.vdot(net.forward(*arguments).output, d))

    found = run.backward(d)
    assert len(found) == len(net.modules)
    step = 1e-6
    for (name, module), gradients in zip(net.modules.items(), found, strict=True):
        expected = np.zeros_like(module._flat)
        for i in range(len(expected)):
            sides = []
            for sign in (1, -1):
                with module._changing() as flat:
                    flat[i] += sign * step
                sides.append(loss())
                with module._changing() as flat:
                    flat[i] -= sign * step
            expected[i] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(gradients._flat, expected, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
def test_logits_do_not_depend_on_the_batch(attention: str | None) -> None:
    net = network(attention, LSTM, True, True)
    x, lengths, tokens, token_lengths = inputs()
    together = net.forward(x, lengths, tokens, token_lengths).output
    for i, (read, written) in enumerate(zip(lengths, token_lengths, strict=True)):
        alone = net.forward(
            x[i : i + 1, :read],
            lengths[i : i + 1],
            tokens[i : i + 1, :written],
            np.array([written]),
        )
        np.testing.assert_allclose(together[i, :written], alone.output[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
def test_encoding_and_steps_match_the_training_pass(attention: str | None) -> None:
    net = network(attention, GRU, True, True)
    x, lengths, tokens, token_lengths = inputs()
    fused = net.forward(x, lengths, tokens, token_lengths).output
    memory = net.encode(x, lengths)
    state = memory.state
    for s in range(4):
        logits, state = net.decoder.step(tokens[:, s], state, **memory.decoder_arguments())
        alive = s < token_lengths
        np.testing.assert_allclose(fused[alive, s], logits[alive], rtol=0, atol=1e-14)


def test_forcing_all_tokens_is_teacher_forcing() -> None:
    net = network("additive", LSTM, True, True)
    arguments = inputs()
    forced = net.forward(*arguments, np.ones((3, 4), np.bool_))
    free = net.forward(*arguments)
    assert np.array_equal(forced.tokens, arguments[2])
    assert np.array_equal(forced.output, free.output)


def test_unforced_tokens_are_greedy_predictions() -> None:
    net = network("dot", LSTM, True, True)
    x, lengths, tokens, _ = inputs()
    full = np.full(3, 4)
    run = net.forward(x, lengths, tokens, full, np.zeros((3, 4), np.bool_))
    assert np.array_equal(run.tokens[:, 0], tokens[:, 0])
    assert np.array_equal(run.tokens[:, 1:], run.output[:, :-1].argmax(2))
    kept = np.random.default_rng(1).random((3, 4)) < 0.5
    run = net.forward(x, lengths, tokens, full, kept)
    expected = np.where(kept[:, 1:], tokens[:, 1:], run.output[:, :-1].argmax(2))
    assert np.array_equal(run.tokens[:, 1:], expected)


@pytest.mark.parametrize("attention", [None, "additive"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_network_from_its_modules(attention: str | None, bidirectional: bool) -> None:
    net = network(attention, GRU, bidirectional, True)
    same = EncoderDecoderNetwork.of(net.modules)
    assert list(same.modules) == list(net.modules)
    assert np.array_equal(same.forward(*inputs()).output, net.forward(*inputs()).output)


def test_attention_weights_are_those_of_the_training_pass() -> None:
    net = network("additive", LSTM, True, True)
    x, lengths, tokens, token_lengths = inputs()
    weights = net.attention_weights(net.encode(x, lengths), tokens, token_lengths)
    run = net.forward(x, lengths, tokens, token_lengths)
    assert run._decoded.attention is not None
    np.testing.assert_allclose(weights, run._decoded.attention, rtol=0, atol=1e-14)
    assert not weights[1, :, 2:].any()


def test_results_do_not_depend_on_recomputation() -> None:
    net = network("dot", LSTM, False, True)
    whole, sparse = net.forward(*inputs()), net.forward(*inputs(), recompute_every=2)
    d = np.random.default_rng(7).normal(size=whole.output.shape)
    for one, other in zip(whole.backward(d), sparse.backward(d), strict=True):
        assert np.array_equal(one._flat, other._flat)


@pytest.mark.parametrize("attention", [None, "dot"])
def test_a_target_for_each_source(attention: str | None) -> None:
    chain = network(attention, LSTM, False, True)
    x, lengths, tokens, token_lengths = inputs()
    rule = r"tokens must have shape \(B, S\) with B = 1, got \(3, 4\)"
    for call in (chain.forward, chain.features):
        with pytest.raises(ValueError, match=rule):
            call(x[:1], lengths[:1], tokens, token_lengths)
