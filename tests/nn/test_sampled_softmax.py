"""Softmax of a sample of the classes: the estimate, exact gradients, and the full softmax."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt.nn.sampled_softmax import draw
from cases import DTYPES, dtype_id
from derivatives import assert_gradient, assert_gradients, differences

K, D = 12, 4
LENGTHS = np.array([5, 0, 3])


class FixedPosition:
    """The sample is the same in every call."""

    def random(self):
        return 0.3


def problem(dtype=np.float64, bias=True):
    rng = np.random.default_rng(0)
    layer = bptt.Linear(D, K, bias=bias, dtype=dtype, seed=1)
    if bias:
        layer["bias"] = rng.normal(size=K).astype(dtype)
    x = rng.normal(size=(3, 5, D)).astype(dtype)
    return layer, x, rng.integers(0, K, (3, 5)), np.array([1.0, 2.0, 0.5])


def loss_of(layer, x, targets, count, **options):
    return layer._delayed(x)._cross_entropy(targets, None, num_sampled=count, **options)


@pytest.mark.parametrize("count", [1, 3, 7, 11, 12])
def test_inclusion_probabilities(count):
    """Over all positions each class is in the sample as often as it says."""
    positions = (np.arange(2000) + 0.5) / 2000
    found = np.zeros(K)
    stated = np.zeros(K)
    for position in positions:
        sample = draw(K, count, position)
        assert len(sample.ids) == count
        assert (np.diff(sample.ids) > 0).all()
        found[sample.ids] += 1
        stated[sample.ids] = np.exp(sample.log_inclusion)
    np.testing.assert_allclose(found / len(positions), stated, atol=2e-3)
    assert (np.diff(stated) <= 1e-12).all()
    assert stated.sum() == pytest.approx(count)
    share = np.log1p(1 / np.arange(1, K + 1))
    free = stated < 1
    ratio = stated[free] / share[free]
    np.testing.assert_allclose(ratio, ratio.mean() if free.any() else ratio, rtol=1e-9)


def test_large_vocabularies():
    sample = draw(1_000_000, 5000, 0.7)
    assert len(sample.ids) == 5000
    assert sample.log_inclusion[0] == 0
    assert sample.ids[-1] > 900_000


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_all_classes_are_the_full_softmax(dtype, bias):
    layer, x, targets, weights = problem(dtype, bias)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-14}
    for reduction in ("sum", "mean"):
        options = {"weights": weights, "reduction": reduction}
        run = layer._delayed(x)
        expected = run._cross_entropy(targets, None, **options)
        found = loss_of(layer, x, targets, K, **options)
        assert found.value == pytest.approx(expected.value, rel=1e-5)
        np.testing.assert_allclose(found.losses, expected.losses, **close)
        np.testing.assert_array_equal(found.predicted, expected.predicted)
        np.testing.assert_allclose(found.gradients.input, expected.gradients.input, **close)
        for name in layer:
            np.testing.assert_allclose(found.gradients[name], expected.gradients[name], **close)


def test_the_sum_over_classes_is_estimated_without_bias():
    """Its mean over all samples is the sum over all classes."""
    layer, x, targets, _ = problem()
    x, targets = x[:1], targets[:1]
    full = layer._delayed(x)._cross_entropy(targets, None)
    logits = layer(x)
    own = np.take_along_axis(logits, targets[..., np.newaxis], 2)[..., 0]
    sums = []
    for position in (np.arange(5000) + 0.5) / 5000:
        layer._random = type("Position", (), {"random": lambda self, p=position: p})()
        sums.append(np.exp(loss_of(layer, x, targets, 4).losses + own))
    np.testing.assert_allclose(np.mean(sums, axis=0), np.exp(full.losses + own), rtol=2e-3)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_exact_for_the_sample(bias):
    layer, x, targets, weights = problem(bias=bias)
    layer._random = FixedPosition()
    options = {"weights": weights, "reduction": "mean"}

    def loss():
        return loss_of(layer, x, targets, 5, **options).value

    gradients = loss_of(layer, x, targets, 5, **options).gradients
    assert_gradients(gradients, loss, layer)
    assert_gradient(gradients.input, differences(loss, x), "input")


def test_chains_leave_out_padding():
    layer, x, targets, _ = problem()
    recurrent = bptt.GRU(D, D, dtype="float64", seed=2)
    model = bptt.Sequential(recurrent, layer)
    found = []
    for garbage in (0.0, 1e3):
        layer._random = FixedPosition()
        given = x.copy()
        for row, length in zip(given, LENGTHS, strict=True):
            row[length:] = garbage
        run = model.forward(given, lengths=LENGTHS)
        loss = run.cross_entropy(targets, num_sampled=5, reduction="mean")
        assert (loss.losses[1:2] == 0).all()
        found.append((loss.value, *run.backward(loss).parameters.values()))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_wrong_arguments():
    layer, x, targets, _ = problem()
    with pytest.raises(ValueError, match="num_sampled must be an integer >= 1, got 0"):
        loss_of(layer, x, targets, 0)
    with pytest.raises(ValueError, match="<= the number of classes, 12, got 13"):
        loss_of(layer, x, targets, 13)
    with pytest.raises(ValueError, match="label_smoothing must be 0 with num_sampled, got"):
        loss_of(layer, x, targets, 3, label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 12\), got 12"):
        loss_of(layer, x, np.full_like(targets, 12), 3)
    crf = bptt.Sequential(bptt.GRU(D, 3, dtype="float64"), bptt.CRF(3, dtype="float64"))
    with pytest.raises(ValueError, match="num_sampled must be None with a CRF, got 3"):
        crf.forward(x).cross_entropy(np.zeros((3, 5), int), num_sampled=3)
