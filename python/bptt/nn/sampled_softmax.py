"""Softmax over a sample of the classes, for the training of output layers with very many.

Shapes: N steps, D features, K classes, S of them in the sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids


class Sample(NamedTuple):
    """Classes that stand for all."""

    ids: NDArray[np.int64]
    """(S,), ascending."""
    log_inclusion: NDArray[np.float64]
    """(S,): logarithm of the probability with which each is in a sample."""


class SampledLoss(NamedTuple):
    """Cross-entropy of N steps, and its gradients."""

    losses: NDArray[np.float64]
    """(N,)."""
    predicted: NDArray[np.int64]
    """(N,): the most likely class of the sample and the target."""
    d_x: FloatArray
    """(N, D)."""


def draw(classes: int, count: int, position: float) -> Sample:
    """Return `count` of the classes 0, 1, …, with probabilities that fall as in Zipf's law.

    The inclusion probability of class k is π_k = min(1, λ log((k + 2)/(k + 1))), with λ such that
    the sum is `count`: the most frequent ones are in every sample, and with as many as there are
    classes all are. Systematic sampling: of the line on which the classes take up π_k each, those
    at `position`, `position` + 1, … W. Madow (1949), On the theory of systematic sampling, II.

    Parameters
    ----------
    classes : int
        K.
    count : int
        S, in [1, K].
    position : float
        Uniform in [0, 1).

    Returns
    -------
    Sample
    """
    inclusion, ends = _inclusion(classes, count)
    ids = np.unique(np.searchsorted(ends, position + np.arange(count), side="right"))
    ids = ids[ids < classes]
    return Sample(ids, np.log(inclusion[ids]))


@lru_cache(maxsize=8)
def _inclusion(classes: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the inclusion probabilities of all classes, and their running sums."""
    share = np.log1p(1.0 / np.arange(1, classes + 1))
    left = np.cumsum(share[::-1])[::-1]  # of class k and those after it
    always = np.arange(count)  # number of classes that are in every sample
    scales = (count - always) / left[:count]
    first = int(np.argmax(scales * share[:count] <= 1.0))  # if there are none, all have the same
    inclusion = np.minimum(1.0, scales[first] * share)
    inclusion[: count if count == classes else first] = 1.0
    ends = np.cumsum(inclusion)
    ends[-1] = count
    return inclusion, ends


def sampled_cross_entropy(
    x: FloatArray,
    targets: Ids,
    factors: NDArray[np.float64],
    sample: Sample,
    layer: Mapping[str, FloatArray],
    d_layer: Mapping[str, FloatArray],
) -> SampledLoss:
    """Return the softmax cross-entropy with the sum over all classes estimated from a sample.

    With logits o of x, L = −o_t + log(exp(o_t) + Σ_{k ≠ t} exp(o_k)/π_k), k in the sample: the
    expected value of the sum is that over all classes. Y. Bengio and J.-S. Senécal (2008), Adaptive
    importance sampling to accelerate training of a neural probabilistic language model; S. Jean, K.
    Cho, R. Memisevic and Y. Bengio (2015), On using very large target vocabulary for neural machine
    translation. The gradients are exact for the sample.

    Parameters
    ----------
    x : array (N, D)
        Input of the output layer.
    targets : integer array (N,)
        Classes t.
    factors : float64 array (N,)
        Factors of the gradients.
    sample : Sample
        The classes k.
    layer : mapping
        "weight" (K, D) and perhaps "bias" (K,).
    d_layer : mapping
        Zeros of the same names and shapes, in which the gradients are written. They stay 0 for
        classes that are neither in the sample nor targets.

    Returns
    -------
    SampledLoss
    """
    weight, ids = layer["weight"], sample.ids
    bias = layer.get("bias", np.zeros(len(weight), weight.dtype))
    rows, of_targets = weight[ids], weight[targets]
    own = np.einsum("nd,nd->n", x, of_targets) + bias[targets]
    others = x @ rows.T + bias[ids]
    place = np.minimum(np.searchsorted(ids, targets), len(ids) - 1)
    hits = np.flatnonzero(ids[place] == targets)
    others[hits, place[hits]] = -np.inf  # the target counts once
    best = others.argmax(axis=1)
    is_target = own >= others[np.arange(len(x)), best]
    predicted = np.where(is_target, targets, ids[best])
    others -= sample.log_inclusion.astype(x.dtype)
    largest = np.maximum(others.max(axis=1), own)
    p, p_own = np.exp(others - largest[:, np.newaxis]), np.exp(own - largest)
    total = p.sum(axis=1, dtype=np.float64) + p_own
    losses = np.log(total) + largest - own
    p *= (factors / total).astype(x.dtype)[:, np.newaxis]
    d_own = ((p_own / total - 1.0) * factors).astype(x.dtype)
    d_layer["weight"][ids] = p.T @ x
    np.add.at(d_layer["weight"], targets, d_own[:, np.newaxis] * x)
    if "bias" in d_layer:
        d_layer["bias"][ids] = p.sum(axis=0)
        np.add.at(d_layer["bias"], targets, d_own)
    d_x: FloatArray = p @ rows + d_own[:, np.newaxis] * of_targets
    return SampledLoss(losses, predicted, d_x)
