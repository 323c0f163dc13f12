"""Choosing among tokens."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.sampling import distribution, sample

P = np.array([[0.1, 0.4, 0.2, 0.3]])
LOGITS = np.log(P) + 7.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_temperature_one_is_softmax(dtype):
    found = distribution(LOGITS.astype(dtype))
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
def test_options(options, expected):
    np.testing.assert_allclose(distribution(LOGITS, **options)[0], expected, atol=1e-12)


def test_ties_go_to_the_lowest_id():
    logits = np.zeros((2, 5))
    for options in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.1}):
        np.testing.assert_array_equal(distribution(logits, **options), np.eye(5)[[0, 0]])


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 1e300])
def test_extreme_temperatures_and_logits(temperature):
    logits = np.array([[1e4, -1e4, -np.inf], [-np.inf, -np.inf, 0.0]])
    found = distribution(logits, temperature=temperature)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found[np.isinf(logits)] == 0.0).all()


def test_samples_come_as_often_as_they_should():
    count = 40_000
    random = np.random.default_rng(0)
    ids = sample(np.repeat(LOGITS, count, axis=0), random, top_k=3)
    shares = np.bincount(ids, minlength=4) / count
    assert shares[0] == 0.0
    np.testing.assert_allclose(shares[1:], np.array([4, 2, 3]) / 9, atol=4 / np.sqrt(count) / 2)
    again = sample(np.repeat(LOGITS, count, axis=0), np.random.default_rng(0), top_k=3)
    np.testing.assert_array_equal(ids, again)


def test_each_row_is_drawn_by_its_own_probabilities():
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
        distribution(LOGITS, **options)


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
        distribution(logits)
