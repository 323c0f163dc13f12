"""Missing features: mask, last observation, and time since it, as in Che et al. (2018)."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bptt.data import SequenceEncoder

NAN = np.nan


def by_hand(x, mean=0.0, std=1.0):
    """Return values, masks and times of one sequence (T, I), step by step."""
    values, masks, times = (np.zeros(x.shape) for _ in range(3))
    for i in range(x.shape[1]):
        last = mean
        for t in range(len(x)):
            if t > 0:  # equation (2) of the paper, with steps of length 1
                times[t, i] = 1 + (0 if masks[t - 1, i] else times[t - 1, i])
            masks[t, i] = not np.isnan(x[t, i])
            last = x[t, i] if masks[t, i] else last
            values[t, i] = (last - mean) / std
    return np.concatenate([values, masks, times], axis=1)


def sequences(seed=0, missing=0.5, count=12):
    random = np.random.default_rng(seed)
    found = [10 + 3 * random.standard_normal((n, 2)) for n in random.integers(1, 9, count)]
    for x in found:
        x[random.random(x.shape) < missing] = NAN
    return found


def test_one_feature():
    found = SequenceEncoder(missing="mask").fit([[NAN, 2.0, NAN, NAN, 5.0, 6.0]])
    assert (found.kind, found.size, found.num_features) == ("features", 3, 1)
    values = found.transform([[NAN, 2.0, NAN, NAN, 5.0, 6.0]])[0]
    expected = [[0, 0, 0], [2, 1, 1], [2, 0, 1], [2, 0, 2], [5, 1, 3], [6, 1, 1]]
    np.testing.assert_array_equal(values, expected)
    assert found.describe() == "1 number per step, with masks"


@pytest.mark.parametrize("form", ["list", "padded", "views"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sequences_against_the_equations(dtype, form):
    X = sequences()
    lengths = None
    given = X
    if form == "padded":  # padding is not read, even if it is infinite
        lengths = np.array([len(x) for x in X])
        given = np.full((len(X), lengths.max() + 2, 2), np.inf)
        for row, x in zip(given, X, strict=True):
            row[: len(x)] = x
    elif form == "views":
        given = [np.repeat(x, 2, axis=0)[::2] for x in X]
    encoder = SequenceEncoder(missing="mask", dtype=dtype).fit(given, lengths)
    found = encoder.transform(given, lengths)
    assert len(found) == len(X)
    for i, x in enumerate(X):
        assert found[i].dtype == dtype
        np.testing.assert_allclose(found[i], by_hand(x), rtol=1e-6)


def test_statistics_are_those_of_observed_values():
    X = sequences(count=300)
    encoder = SequenceEncoder(missing="mask", scale=True, dtype="float64").fit(X)
    values = np.concatenate(X)
    mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    times = np.concatenate([by_hand(x)[:, 4:] for x in X])
    assert encoder.standardizer is not None
    np.testing.assert_allclose(encoder.standardizer.mean[:2], mean)
    np.testing.assert_allclose(encoder.standardizer.std[:2], std)
    np.testing.assert_array_equal(encoder.standardizer.mean[2:4], 0)
    np.testing.assert_array_equal(encoder.standardizer.std[2:4], 1)
    np.testing.assert_allclose(encoder.standardizer.mean[4:], times.mean(axis=0))
    found = encoder.transform(X)
    for i, x in enumerate(X):
        expected = np.concatenate([by_hand(x[:, [k]], mean[k], std[k])[:, :2] for k in (0, 1)], 1)
        np.testing.assert_allclose(found[i][:, [0, 2, 1, 3]], expected, atol=1e-12)
        expected_times = (by_hand(x)[:, 4:] - times.mean(axis=0)) / times.std(axis=0)
        np.testing.assert_allclose(found[i][:, 4:], expected_times, atol=1e-12)
    assert encoder.describe() == "2 numbers per step, standardized, with masks"


@pytest.mark.parametrize("scale", [False, True])
def test_decay_has_centered_values_and_times_as_they_are(scale):
    X = sequences(count=30)
    encoder = SequenceEncoder(missing="decay", scale=scale, dtype="float64").fit(X)
    values = np.concatenate(X)
    mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0) if scale else np.ones(2)
    found = encoder.transform(X)
    for i, x in enumerate(X):
        parts = [by_hand(x[:, [k]], mean[k], std[k]) for k in (0, 1)]
        expected = np.stack(parts, axis=2).reshape(len(x), 6)
        np.testing.assert_allclose(found[i], expected, atol=1e-12)
    again = SequenceEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    np.testing.assert_array_equal(again.transform(X)[0], found[0])
    scaled = "2 numbers per step, standardized" if scale else "2 numbers per step"
    assert encoder.describe() == f"{scaled}, with masks"


def test_columns_that_are_always_or_never_observed():
    X = [np.column_stack([np.arange(4.0), np.full(4, NAN)]), np.full((0, 2), NAN)]
    encoder = SequenceEncoder(missing="mask", scale=True).fit(X)
    found = encoder.transform(X)
    np.testing.assert_allclose(found[0][:, 0].std(), 1, rtol=1e-6)
    np.testing.assert_array_equal(found[0][:, 1], 0)
    np.testing.assert_array_equal(found[0][:, 2:4], [[1, 0]] * 4)
    assert np.isfinite(found[0]).all()
    assert len(found[1]) == 0


def test_files():
    encoder = SequenceEncoder(missing="mask", scale=True).fit(sequences())
    content = json.loads(json.dumps(encoder.to_dict()))
    again = SequenceEncoder.from_dict(content)
    X = sequences(1)
    for i in range(len(X)):
        np.testing.assert_array_equal(again.transform(X)[i], encoder.transform(X)[i])
    old = SequenceEncoder().fit([[1.0]]).to_dict()
    del old["missing"]
    assert SequenceEncoder.from_dict(old).num_features == 1
    with pytest.raises(ValueError, match="size must be 3 for each feature, got 7"):
        SequenceEncoder.from_dict({**content, "scale": False, "standardizer": None, "size": 7})


def test_errors():
    with pytest.raises(
        ValueError, match="missing must be one of 'error', 'mask', 'decay', got 'drop'"
    ):
        SequenceEncoder(missing="drop")
    with pytest.raises(ValueError, match="got NaN at step 0, feature 0: fill it in, or"):
        SequenceEncoder(scale=True).fit([[NAN, 1.0]])
    encoder = SequenceEncoder(missing="mask").fit([[NAN, 1.0]])
    with pytest.raises(ValueError, match="must be finite in float32, got inf at step 1, feature 0"):
        encoder.transform([[NAN, np.inf]])
    with pytest.raises(ValueError, match=r"X\[0\] must have shape \(steps, 1\), got \(1, 2\)"):
        encoder.transform([[[1.0, 2.0]]])
    with pytest.raises(ValueError, match="at least one step"):
        SequenceEncoder(missing="mask").fit([[]])
