"""Dropout: rate, independence and reproducibility of the masks."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import bptt
from cases import DTYPES, dtype_id


def mask(module, shape):
    return module.forward(np.ones(shape, module.dtype)).output


def test_inference_is_the_identity():
    module, x = bptt.Dropout(0.5, seed=0), np.ones((2, 3), np.float32)
    assert module(x) is x
    assert bptt.Dropout(0.0).forward(x).output is x


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 0), (3, 5, 33), (4, 1023), (2, 1025)])
def test_backward_uses_the_mask_of_forward(shape, dtype):
    module = bptt.Dropout(0.4, dtype=dtype, seed=0)
    rng = np.random.default_rng(0)
    x, d = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    run = module.forward(x)
    factors = run.backward(np.ones_like(x)).input
    assert set(np.unique(factors)) <= {dtype(0), dtype(1 / (1 - 0.4))}
    np.testing.assert_array_equal(run.output, x * factors)
    gradients = run.backward(d)
    np.testing.assert_array_equal(gradients.input, d * factors)
    assert len(gradients) == 0
    for array in (run.output, gradients.input):
        assert array.dtype == dtype
        assert array.shape == shape


@pytest.mark.usefixtures("isa")
def test_same_mask_for_every_instruction_set_dtype_and_stride():
    double, single = (mask(bptt.Dropout(0.5, dtype=t, seed=3), (70, 90)) for t in DTYPES[::-1])
    np.testing.assert_array_equal(double, single)
    wide = bptt.Dropout(0.5, seed=3).forward(np.ones((90, 70), np.float32).T)
    np.testing.assert_array_equal(wide.output, single)
    # Fixed values: training resumed on another machine relies on them.
    assert np.flatnonzero(single == 0)[:12].tolist() == [0, 1, 2, 4, 5, 10, 13, 17, 20, 23, 24, 25]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_fraction_of_zeros_is_the_rate(rate):
    masks = np.stack([mask(bptt.Dropout(rate, seed=seed), 40_000) for seed in range(10)])
    dropped = masks == 0
    error = math.sqrt(rate * (1 - rate) / dropped.size)
    assert abs(dropped.mean() - rate) < 4 * error
    # neighbors, and the same positions of other masks and blocks, are uncorrelated
    for a, b in [
        (dropped[:, 1:], dropped[:, :-1]),
        (dropped[1:], dropped[:-1]),
        (dropped[:, 1024:], dropped[:, :-1024]),
    ]:
        both = rate**2
        assert abs((a & b).mean() - both) < 5 * math.sqrt(both * (1 - both) / a.size)


@pytest.mark.usefixtures("isa")
def test_masks_of_consecutive_keys_are_independent():
    x = np.ones(50_000, np.float32)
    keys = (0, 1, 2, 1 << 32, (1 << 63) - 1)
    masks = np.stack([bptt._core.loader.kernels.dropout(x, 0.5, key) == 0 for key in keys])
    together = np.corrcoef(masks)[np.triu_indices(len(masks), 1)]
    assert np.abs(together).max() < 5 / math.sqrt(x.size)


def test_seed_determines_the_masks():
    first, second = mask(bptt.Dropout(0.5, seed=1), 100), mask(bptt.Dropout(0.5, seed=2), 100)
    assert (first != second).any()
    module = bptt.Dropout(0.5, seed=1)
    np.testing.assert_array_equal(mask(module, 100), first)
    other = copy.deepcopy(module)
    again = mask(module, 100)
    assert (again != first).any()
    np.testing.assert_array_equal(mask(other, 100), again)


def test_without_parameters():
    """Functions of modules accept one without parameters."""
    dropout, linear = bptt.Dropout(0.5, seed=0), bptt.Linear(3, 2, seed=0)
    assert dict(dropout.parameters) == {}
    assert list(dropout) == []
    assert type(dropout)(**dropout.config).config == dropout.config
    for make in (bptt.SGD, bptt.Adam, lambda m: bptt.SGD(m, momentum=0.5)):
        optimizer = make([dropout, linear])
        run = dropout.forward(np.ones((4, 3), np.float32))
        top = linear.forward(run.output)
        d_top = top.backward(np.ones((4, 2), np.float32))
        gradients = [run.backward(d_top.input), d_top]
        norm = bptt.clip_by_global_norm(gradients, 0.5)
        assert norm > 0.5
        bptt.clip_by_value(gradients, 0.1)
        before = linear["weight"].copy()
        optimizer.step(gradients)
        assert (linear["weight"] != before).any()
    with pytest.raises(KeyError, match=r"seed=0\) has no parameter 'weight', it has none"):
        dropout["weight"]


def test_nan_propagates():
    x = np.full(64, np.nan, np.float32)
    assert np.isnan(bptt.Dropout(0.5, seed=0).forward(x).output).all()
