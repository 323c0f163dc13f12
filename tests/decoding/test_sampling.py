"""Sampling of tokens against plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bptt.decoding.sampling import largest, most_likely, sample, sampling_distribution

P = np.array([[0.1, 0.4, 0.2, 0.3]])
LOGITS = np.log(P) + 7.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_temperature_one_is_softmax(dtype):
    found = sampling_distribution(LOGITS.astype(dtype))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, P, rtol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 0.0}, [0, 1, 0, 0]),
        ({"temperature": 0.5}, np.array([0.01, 0.16, 0.04, 0.09]) / 0.30),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 3}, np.array([0, 4, 2, 3]) / 9),
        ({"top_k": 9}, P[0]),
        ({"top_p": 0.3}, [0, 1, 0, 0]),
        ({"top_p": 0.65}, np.array([0, 4, 0, 3]) / 7),
        ({"top_p": 0.75}, np.array([0, 4, 2, 3]) / 9),
        ({"top_p": 1.0}, P[0]),
        ({"top_k": 2, "top_p": 0.5}, [0, 1, 0, 0]),  # 4/7 of what top_k has left
    ],
)
def test_top_k_and_top_p_by_hand(options, expected):
    np.testing.assert_allclose(sampling_distribution(LOGITS, **options)[0], expected, atol=1e-12)


def test_ties_go_to_the_lowest_id():
    logits = np.zeros((2, 5))
    np.testing.assert_array_equal(most_likely(logits), [0, 0])
    for options in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.1}):
        np.testing.assert_array_equal(sampling_distribution(logits, **options), np.eye(5)[[0, 0]])


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e300])
def test_extreme_temperatures_and_logits(temperature):
    logits = np.array([[1e4, -1e4, -np.inf], [-np.inf, -np.inf, 0.0]])
    found = sampling_distribution(logits, temperature=temperature)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found[np.isinf(logits)] == 0.0).all()


def test_frequencies_of_samples():
    count = 40_000
    random = np.random.default_rng(0)
    ids = sample(np.repeat(LOGITS, count, axis=0), random, top_k=3)
    shares = np.bincount(ids, minlength=4) / count
    assert shares[0] == 0.0
    np.testing.assert_allclose(shares[1:], np.array([4, 2, 3]) / 9, atol=4 / np.sqrt(count) / 2)
    again = sample(np.repeat(LOGITS, count, axis=0), np.random.default_rng(0), top_k=3)
    np.testing.assert_array_equal(ids, again)


def test_rows_are_sampled_independently():
    logits = np.where(np.eye(6, dtype=bool), 0.0, -np.inf)
    np.testing.assert_array_equal(sample(logits, np.random.default_rng(1)), np.arange(6))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"temperature": -1.0}, ValueError, "temperature must be in"),
        ({"temperature": "hot"}, TypeError, "temperature must be a real number"),
        ({"top_k": 0}, ValueError, "top_k must be an integer >= 1, got 0"),
        ({"top_p": 0.0}, ValueError, r"top_p must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.1}, ValueError, r"top_p must be in \(0, 1\], got 1.1"),
    ],
)
def test_wrong_options(options, kind, message):
    with pytest.raises(kind, match=message):
        sampling_distribution(LOGITS, **options)


@pytest.mark.parametrize(
    ("logits", "kind", "message"),
    [
        ([[1.0]], TypeError, "logits must be a NumPy array, got list"),
        (np.zeros((2, 3), np.int32), TypeError, "logits must be of floats, got int32"),
        (np.zeros(3), ValueError, r"logits must have shape \(batch, tokens\)"),
        (np.array([[0.0, np.nan]]), ValueError, "logits must be finite or -inf"),
        (np.array([[-np.inf, -np.inf]]), ValueError, "logits must be finite or -inf"),
    ],
)
def test_wrong_logits(logits, kind, message):
    with pytest.raises(kind, match=message):
        sampling_distribution(logits)


def plain(logits, temperature, top_k, top_p):
    """The same for one row, in plain Python."""
    order = sorted(range(len(logits)), key=lambda k: (-logits[k], k))
    if temperature == 0:
        return [float(k == order[0]) for k in range(len(logits))]
    p = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    total = sum(p[k] for k in order[:top_k])
    kept, together = {}, 0.0
    for k in order[:top_k]:
        if together < (top_p or math.inf):
            kept[k] = p[k] / total
            together += kept[k]
    return [kept.get(k, 0.0) / sum(kept.values()) for k in range(len(p))]


HALVES = st.integers(-18, 18).map(lambda i: i / 2)  # equal or clearly different


@given(
    arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 8)), elements=HALVES),
    st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    st.none() | st.integers(1, 9),
    st.none() | st.floats(0.01, 0.99),
)
def test_distribution_matches_plain_python(logits, temperature, top_k, top_p):
    p = sampling_distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    for row, others in zip(p, logits.tolist(), strict=True):
        expected = np.array(plain(others, temperature, top_k, top_p))
        if (row > 0).sum() == (expected > 0).sum():
            np.testing.assert_allclose(row, expected, rtol=1e-13)
        else:  # the nucleus sums to `top_p` up to rounding
            whole = np.array(plain(others, temperature, top_k, None))
            fewer = min(row, expected, key=np.count_nonzero) > 0
            np.testing.assert_allclose(whole[fewer].sum(), top_p, rtol=1e-13)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=st.integers(0, 4)),
    st.integers(1, 10),
)
def test_largest_matches_a_stable_sort(values, count):
    expected = np.zeros(values.shape, np.bool_)
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    np.put_along_axis(expected, order, True, axis=1)
    np.testing.assert_array_equal(largest(values, count), expected)


class Always(np.random.Generator):
    """Random generator that returns one number only."""

    def __init__(self, value):
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self, size):
        return np.full(size, self.value)


@given(st.integers(1, 40), st.integers(0, 2**32), st.sampled_from([0.0, 1 - 2**-53]))
def test_samples_have_positive_probability_at_both_ends(size, seed, drawn):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(1, size)) * 3
    logits[0, random.random(size) < 0.5] = -np.inf
    logits[0, random.integers(size)] = 0.0
    possible = np.flatnonzero(np.isfinite(logits[0]))
    assert sample(logits, Always(drawn))[0] == possible[-1 if drawn else 0]
