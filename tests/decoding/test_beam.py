"""Beam search against an exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bptt.decoding.beam import beam_search, reordered
from bptt.nn.state import LSTMState

STOP, TOKENS, BATCH = 0, 3, 2


def language(seed):
    """P(next | sequence so far); the state encodes the whole sequence as a number."""
    tables = np.random.default_rng(seed).dirichlet(np.ones(TOKENS), (BATCH, 500))

    def log_p(i, read):
        return np.log(tables[i, read])

    def step(tokens, state):
        read, (rows,) = state  # nested, batch on axis 1
        read = read * TOKENS + tokens[np.newaxis, :, np.newaxis]
        chosen = np.stack([log_p(i, n) for i, n in zip(rows[0], read[0, :, 0], strict=True)])
        return chosen, (read, (rows,))

    state = (np.zeros((1, BATCH, 1), np.int64), (np.arange(BATCH)[np.newaxis],))
    return step, state, log_p


def all_sequences(log_p, i, start, max_length, penalty):
    """All sequences with their scores, the best first."""
    found = []
    for length in range(1, max_length + 1):
        for tokens in itertools.product(range(TOKENS), repeat=length):
            if STOP in tokens[:-1] or (tokens[-1] != STOP and length < max_length):
                continue
            read, total = start, 0.0
            for token in tokens:
                total += log_p(i, read)[token]
                read = read * TOKENS + token
            text = tokens[:-1] if tokens[-1] == STOP else tokens
            found.append((total / ((5 + length) / 6) ** penalty, text))
    return sorted(found, key=lambda one: -one[0])


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_wide_beam_finds_the_optimum(seed, penalty):
    step, state, log_p = language(seed)
    start = np.array([1, 2])
    found = beam_search(
        step,
        state,
        start,
        beam=60,
        stop=STOP,
        max_length=4,
        length_penalty=penalty,
    )
    for i in range(BATCH):
        expected = all_sequences(log_p, i, start[i], 4, penalty)
        assert sum(np.exp(s) for s, _ in all_sequences(log_p, i, start[i], 4, 0)) == pytest.approx(
            1
        )
        assert len(found[i]) == len(expected) == 31
        for hypothesis, (score, text) in zip(found[i], expected, strict=True):
            assert hypothesis.score == pytest.approx(score)
            tokens = len(text) + (len(text) < 4)
            found_log_p = hypothesis.log_probability
            assert found_log_p == pytest.approx(score * ((5 + tokens) / 6) ** penalty)
            assert tuple(hypothesis.tokens) == text


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_early_stopping_is_exact(seed, penalty):
    step, state, log_p = language(seed)
    start = np.array([1, 2])
    options = {"stop": STOP, "max_length": 4, "length_penalty": penalty}
    few = beam_search(step, state, start, beam=60, count=2, **options)
    for i in range(BATCH):
        expected = all_sequences(log_p, i, start[i], 4, penalty)[:2]
        assert [tuple(hypothesis.tokens) for hypothesis in few[i]] == [text for _, text in expected]


@pytest.mark.parametrize("seed", range(5))
def test_beam_of_one_is_greedy(seed):
    step, state, log_p = language(seed)
    found = beam_search(step, state, np.array([1, 2]), beam=1, stop=STOP, max_length=4)
    for i, read in enumerate([1, 2]):
        text = []
        while len(text) < 4:
            token = int(log_p(i, read).argmax())
            if token == STOP:
                break
            text.append(token)
            read = read * TOKENS + token
        assert list(found[i][0].tokens) == text


def test_forbidden_tokens_are_not_generated():
    def step(tokens, state):
        return np.log(np.array([[0.1, 0.9, 0.0]] * len(tokens)) + 0.0), state

    with np.errstate(divide="ignore"):
        found = beam_search(step, None, np.array([2]), beam=5, stop=0, max_length=3, count=5)
    assert [list(hypothesis.tokens) for hypothesis in found[0]] == [[1, 1, 1], [], [1], [1, 1]]


def test_reordering_keeps_the_structure_of_states():
    h = np.arange(6.0).reshape(1, 3, 2)
    state = (LSTMState(h, -h), None)
    found = reordered(state, np.array([2, 2, 0]))
    assert isinstance(found[0], LSTMState)
    assert found[1] is None
    np.testing.assert_array_equal(found[0].c, -h[:, [2, 2, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam must be"),
        ({"max_length": 0}, "max_length must be"),
        ({"length_penalty": -1.0}, "length_penalty must be"),
        ({"count": 3}, r"count must be in \[1, beam\] = \[1, 2\], got 3"),
    ],
)
def test_wrong_options(options, message):
    step, state, _ = language(0)
    arguments = {"beam": 2, "max_length": 3, **options}
    with pytest.raises(ValueError, match=message):
        beam_search(step, state, np.array([1, 2]), stop=STOP, **arguments)
