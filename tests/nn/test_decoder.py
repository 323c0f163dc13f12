"""Decoder: gradients, greedy search, sampling and beam search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bptt
from bptt.nn.attention import Attention
from bptt.nn.decoder import Decoder, teacher_forcing
from bptt.nn.recurrent import make_recurrent
from bptt.nn.state import arrays_of, as_state
from derivatives import assert_gradient, assert_gradients, differences

V, E, H, M = 5, 3, 4, 4


def make(cell="lstm", embedding=True, attention=None, rate=0.0, layers=2, dtype="float64", seed=0):
    own = {"dtype": dtype, "seed": seed}
    size = E if embedding else V
    return Decoder(
        embedding=bptt.Embedding(V, E, **own) if embedding else None,
        recurrent=make_recurrent(cell, size, H, num_layers=layers, **own),
        attention=Attention(H, M, kind=attention, **own) if attention else None,
        dropout=bptt.Dropout(rate, **own) if rate else None,
        output=bptt.Linear(H + M if attention else H, V, **own),
    )


def inputs(decoder, random, batch=3, steps=5):
    dtype = decoder.output.dtype
    tokens = random.integers(0, V, (batch, steps)).astype(np.int32)
    h = random.standard_normal((decoder.recurrent.num_layers, batch, H)).astype(dtype)
    parts = (h, -h / 2, np.abs(h) + 1, h / 3)[: len(decoder.recurrent.cell.states)]
    state = as_state(*parts)
    given = {"state": state}
    if decoder.attention is not None:
        given["memory"] = random.standard_normal((batch, 6, M)).astype(dtype)
        given["memory_lengths"] = np.array([6, 2, 4])[:batch]
    return tokens, given


@pytest.mark.parametrize(
    ("cell", "embedding", "attention", "rate"),
    [
        ("lstm", True, None, 0.0),
        ("gru", False, None, 0.3),
        ("lstm", False, "dot", 0.0),
        ("rnn", True, "additive", 0.3),
    ],
)
def test_gradients(cell, embedding, attention, rate):
    random = np.random.default_rng(0)
    decoder = make(cell, embedding, attention, rate)
    tokens, given = inputs(decoder, random)
    lengths = np.array([5, 2, 4])
    d_logits = random.standard_normal((*tokens.shape, V))
    d_state = None
    if cell == "gru":
        d_state = random.standard_normal(given["state"].shape)
    padding = np.arange(5) >= lengths[:, np.newaxis]

    def forward():
        if rate:
            decoder.dropout._random = np.random.default_rng(3)  # the same masks
        return decoder.forward(tokens, lengths=lengths, **given)

    def loss():
        run = forward()
        found = np.sum(np.where(padding[..., np.newaxis], 0.0, run.output * d_logits))
        return float(found + (0.0 if d_state is None else np.sum(run.state * d_state)))

    gradients = forward().backward(d_logits, d_state)
    for module, found in zip(decoder.modules.values(), gradients.modules, strict=True):
        assert_gradients(found, loss, module)
    for array, found in zip(arrays_of(given["state"]), arrays_of(gradients.state), strict=True):
        assert_gradient(found, differences(loss, array), "state")
    if attention:
        assert_gradient(gradients.memory, differences(loss, given["memory"]), "memory")
    else:
        assert gradients.memory is None


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
@pytest.mark.parametrize("embedding", [True, False])
def test_inference_and_steps_match_the_forward_pass(attention, embedding):
    random = np.random.default_rng(1)
    decoder = make("lstm", embedding, attention)
    tokens, given = inputs(decoder, random)
    run = decoder.forward(tokens, **given)
    logits, state = decoder(tokens, **given)
    np.testing.assert_allclose(logits, run.output, rtol=1e-12)
    state_t = given.pop("state")
    for t in range(tokens.shape[1]):
        y, state_t = decoder.step(tokens[:, t], state_t, **given)
        np.testing.assert_allclose(y, run.output[:, t], rtol=1e-10)
    for one, other in zip(arrays_of(state_t), arrays_of(state), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
    if attention:
        np.testing.assert_allclose(run.attention.sum(axis=2), 1.0)
    else:
        assert run.attention is None


def test_attention_reads_the_memory():
    decoder = make(attention="dot")
    tokens, given = inputs(decoder, np.random.default_rng(2))
    before = decoder(tokens, **given)[0]
    given["memory"][1, 2:] = 99.0  # padding
    np.testing.assert_array_equal(decoder(tokens, **given)[0], before)
    given["memory"][1, 1] += 1.0
    changed = (decoder(tokens, **given)[0] != before).any(axis=(1, 2))
    np.testing.assert_array_equal(changed, [False, True, False])


def likelihood(decoder, start, text, stop, given, max_length):
    """Log-probability of a sequence, from one forward pass."""
    ids = np.array([[start, *text]], np.int32)
    logits, _ = decoder(ids, **given)
    log_p = logits[0] - np.log(np.exp(logits[0]).sum(axis=1, keepdims=True))
    wanted = [*text, stop] if len(text) < max_length else text
    return sum(log_p[t, token] for t, token in enumerate(wanted))


@pytest.mark.parametrize("attention", [None, "additive"])
def test_beam_search_and_greedy_search(attention):
    decoder = make("lstm", True, attention, seed=5)
    _, given = inputs(decoder, np.random.default_rng(3), batch=2)
    start, stop, most = np.array([1, 1]), 0, 3
    found = decoder.beam_search(start, beam=200, stop=stop, max_length=most, count=2, **given)
    greedy = decoder.greedy_search(start, stop=stop, max_length=most, **given)
    one = decoder.beam_search(start, beam=1, stop=stop, max_length=most, **given)
    texts = [t for n in range(most + 1) for t in itertools.product(range(1, V), repeat=n)]
    for i in range(2):
        own = {k: v[i : i + 1] for k, v in given.items() if k != "state"}
        own["state"] = tuple(a[:, i : i + 1] for a in given["state"])
        scores = [likelihood(decoder, 1, text, stop, own, most) for text in texts]
        order = np.argsort(scores)[::-1][:2]
        assert [tuple(h.tokens) for h in found[i]] == [texts[j] for j in order]
        np.testing.assert_allclose([h.log_probability for h in found[i]], np.array(scores)[order])
        np.testing.assert_array_equal(one[i][0].tokens, greedy[i])


def test_sampling_depends_on_the_generator_and_avoids_forbidden_tokens():
    decoder = make(seed=2)
    start = np.ones(50, np.int64)

    def write(seed, **options):
        random = np.random.default_rng(seed)
        return decoder.sample(start, stop=0, max_length=20, random=random, **options)

    texts, again, other = write(0), write(0), write(1)
    assert [list(t) for t in texts] == [list(t) for t in again] != [list(t) for t in other]
    assert all(0 not in text for text in texts)
    assert {len(text) for text in texts} > {0, 1, 2}
    assert {*np.concatenate(write(0, forbidden=(1, 3)))} == {2, 4}
    greedy = decoder.greedy_search(start, stop=0, max_length=20)
    assert all(list(a) == list(b) for a, b in zip(greedy, write(7, temperature=0.0), strict=True))


def test_teacher_forcing():
    ids = np.array([[5, 6, 7], [8, 0, 0], [0, 0, 0]])
    forced = teacher_forcing(ids, np.array([3, 1, 0]), start=1, stop=2)
    for row, (tokens, targets) in enumerate(
        [([1, 5, 6, 7], [5, 6, 7, 2]), ([1, 8], [8, 2]), ([1], [2])]
    ):
        length = forced.lengths[row]
        assert list(forced.tokens[row, :length]) == tokens
        assert list(forced.targets[row, :length]) == targets


def test_decoder_from_its_modules():
    decoder = make(attention="additive", rate=0.1)
    assert list(decoder.modules) == ["embedding", "recurrent", "attention", "dropout", "output"]
    tokens, given = inputs(decoder, np.random.default_rng(0))
    other = Decoder(**decoder.modules)
    np.testing.assert_array_equal(other(tokens, **given)[0], decoder(tokens, **given)[0])


def test_modules_that_do_not_fit():
    def check(kind, message, **changed):
        parts = {"recurrent": bptt.GRU(V, H), "output": bptt.Linear(H, V), **changed}
        with pytest.raises(kind, match=message):
            Decoder(**parts)

    check(
        ValueError,
        "recurrent must have bidirectional=False",
        recurrent=bptt.GRU(V, H, bidirectional=True),
    )
    check(
        ValueError, "recurrent must take the embedding's 3 features", embedding=bptt.Embedding(V, 3)
    )
    check(ValueError, "attention must have query_size = output_size = 4", attention=Attention(3, 3))
    check(ValueError, "output must take 8 features", attention=Attention(4, 4))
    check(TypeError, "modules must have one dtype", output=bptt.Linear(H, V, dtype="float64"))


def test_memory_is_required_with_attention_only():
    tokens = np.ones((1, 2), np.int32)
    with pytest.raises(ValueError, match="memory needs a decoder with attention"):
        make().forward(tokens, memory=np.zeros((1, 2, M)))
    with pytest.raises(ValueError, match="memory is required with attention, got None"):
        make(attention="dot").step(tokens[:, 0])
