"""Losses of distributions, in NumPy: quantiles, normal distributions, and ordered classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths
from bptt._loss_inputs import LossArguments
from bptt._loss_results import Loss


def pinball_loss(
    output: FloatArray,
    targets: FloatArray,
    quantiles: Sequence[float],
    *,
    lengths: Lengths | None = None,
    mask: NDArray[np.bool_] | None = None,
    weights: FloatArray | None = None,
    time_major: bool = False,
    reduction: str = "sum",
) -> Loss:
    """Return the pinball loss of Q quantiles, averaged over a step, and its gradient.

    L = Σ_t w_t/(K Q) Σ_k Σ_q max(q e, (q−1) e) with the error e = z_tk − y_tkq, for K targets z and
    K Q outputs y. The expected loss is smallest if y_tkq is the q-quantile of z_tk. dL/dy_tkq is
    −q w_t/(K Q) below the target, (1−q) w_t/(K Q) above it, and 0 at it: R. Koenker and G. Bassett
    (1978), Regression quantiles.

    Parameters
    ----------
    output : array (B, T, K Q), or (B, K Q), float32 or float64
        Quantiles of the first target, of the second, .., at every step or once per sequence.
    targets : array (B, T, K), or (B, K), of the output's dtype, or without the last axis if K = 1
        Target values.
    quantiles : sequence of float
        The Q levels q, increasing, in (0, 1).
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]; only with (B, T, ..). Steps beyond it are
        ignored: they add 0 to the value, their gradients are 0, and their targets are not read.
    mask : bool array (B, T) or (B,), optional
        False for steps that are ignored.
    weights : float array (B, T), or (B,) for whole sequences, optional
        Weight of each step with all its K targets, finite and >= 0; steps of weight 0 are ignored.
    time_major : bool, default False
        Whether output, targets, mask and weights per step are (T, B, ..).
    reduction : {"sum", "mean"}, default "sum"
        "mean" divides value and gradient by the sum of the weights (without weights: the number) of
        the steps that are not ignored; both are 0 if there are none.

    Returns
    -------
    Loss
        Named tuple ``(value, gradient)``.

    Raises
    ------
    TypeError
        If an argument is not an array or has the wrong dtype.
    ValueError
        If a shape does not fit, or a length, a weight or an option is out of its range.
    """
    levels = check_quantiles(quantiles)
    given = LossArguments.check(
        ("output", "outputs"), output, lengths, mask, weights, time_major, reduction
    )
    batch, steps, outputs = given.output.shape
    if outputs % len(levels):
        rule = f"outputs for each of {len(levels)} quantiles of every target"
        raise ValueError(f"output must have {rule}, got {output.shape}")
    columns = outputs // len(levels)
    z = given.values(targets, columns).astype(np.float64)[..., np.newaxis]
    q = np.array(levels)
    with np.errstate(all="ignore"):  # ignored steps may have any values
        error = z - given.output.reshape(batch, steps, columns, len(levels))
        each = np.maximum(q * error, (q - 1.0) * error).mean(axis=(2, 3))
        slope = np.where(error > 0.0, -q, np.where(error < 0.0, 1.0 - q, 0.0 * error))
    return _loss(given, each, slope.reshape(given.output.shape) / outputs)


def gaussian_nll(
    output: FloatArray,
    targets: FloatArray,
    *,
    lengths: Lengths | None = None,
    mask: NDArray[np.bool_] | None = None,
    weights: FloatArray | None = None,
    time_major: bool = False,
    reduction: str = "sum",
) -> Loss:
    """Return the negative log-likelihood of normal distributions, and its gradient.

    L = Σ_t w_t/K Σ_k ½ [log 2π + s_tk + (z_tk − μ_tk)² exp(−s_tk)] for K targets z, means μ and
    logarithms of the variance s = log σ². dL/dμ = w_t/K (μ − z) exp(−s) and
    dL/ds = w_t/(2K) [1 − (z − μ)² exp(−s)]: D. Nix and A. Weigend (1994), Estimating the mean and
    variance of the target probability distribution.

    Parameters
    ----------
    output : array (B, T, 2K), or (B, 2K), float32 or float64
        K means, then K logarithms of variances, at every step or once per sequence.
    targets : array (B, T, K), or (B, K), of the output's dtype, or without the last axis if K = 1
        Target values.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]; only with (B, T, ..). Steps beyond it are
        ignored: they add 0 to the value, their gradients are 0, and their targets are not read.
    mask : bool array (B, T) or (B,), optional
        False for steps that are ignored.
    weights : float array (B, T), or (B,) for whole sequences, optional
        Weight of each step with all its K targets, finite and >= 0; steps of weight 0 are ignored.
    time_major : bool, default False
        Whether output, targets, mask and weights per step are (T, B, ..).
    reduction : {"sum", "mean"}, default "sum"
        "mean" divides value and gradient by the sum of the weights (without weights: the number) of
        the steps that are not ignored; both are 0 if there are none.

    Returns
    -------
    Loss
        Named tuple ``(value, gradient)``.

    Raises
    ------
    TypeError
        If an argument is not an array or has the wrong dtype.
    ValueError
        If a shape does not fit, or a length, a weight or an option is out of its range.
    """
    given = LossArguments.check(
        ("output", "outputs"), output, lengths, mask, weights, time_major, reduction
    )
    outputs = given.output.shape[-1]
    if outputs % 2:
        rule = "an even number of outputs, means and logarithms of variances"
        raise ValueError(f"output must have {rule}, got {output.shape}")
    columns = outputs // 2
    z = given.values(targets, columns).astype(np.float64)
    with np.errstate(all="ignore"):  # ignored steps may have any values
        mean, log_variance = np.split(given.output.astype(np.float64), 2, axis=-1)
        scaled = (mean - z) * np.exp(-log_variance)
        square = scaled * (mean - z)
        each = 0.5 * (math.log(2.0 * math.pi) + log_variance + square).mean(axis=2)
        slope = np.concatenate([scaled, 0.5 * (1.0 - square)], axis=-1) / columns
    return _loss(given, each, slope)


def ordinal_cross_entropy(
    logits: FloatArray,
    targets: Ids,
    *,
    lengths: Lengths | None = None,
    mask: NDArray[np.bool_] | None = None,
    weights: FloatArray | None = None,
    time_major: bool = False,
    reduction: str = "sum",
) -> Loss:
    """Return the cross-entropy of ordered classes, and its gradient.

    L = −Σ_t w_t log p_t(z_t) for K classes z in their order and K−1 logits x, with the continuation
    ratios p(z > k | z >= k) = σ(x_k): p(z) = (1 − σ(x_z)) Π_{k<z} σ(x_k), without the first factor
    for the last class. dL/dx_tk = w_t (σ(x_tk) − 1) for k < z_t, w_t σ(x_tk) for k = z_t, and 0 for
    k > z_t: S. Fienberg (1980), The analysis of cross-classified categorical data; for networks
    X. Shi, W. Cao and S. Raschka (2023), Deep neural networks for rank-consistent ordinal
    regression based on conditional probabilities.

    Parameters
    ----------
    logits : array (B, T, K-1), or (B, K-1), float32 or float64
        Logits of the continuation ratios, at every step or once per sequence.
    targets : integer array (B, T) or (B,)
        Class of each step, in [0, K).
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]; only with (B, T, K-1). Steps beyond it are
        ignored: they add 0 to the value, their gradients are 0, and their targets are not read.
    mask : bool array (B, T) or (B,), optional
        False for steps that are ignored.
    weights : float array (B, T), or (B,) for whole sequences, optional
        Weight of each step, finite and >= 0; steps of weight 0 are ignored.
    time_major : bool, default False
        Whether logits, targets, mask and weights per step are (T, B, ..).
    reduction : {"sum", "mean"}, default "sum"
        "mean" divides value and gradient by the sum of the weights (without weights: the number) of
        the steps that are not ignored; both are 0 if there are none.

    Returns
    -------
    Loss
        Named tuple ``(value, gradient)``.

    Raises
    ------
    TypeError
        If an argument is not an array or has the wrong dtype.
    ValueError
        If a shape does not fit, or a target, a length, a weight or an option is out of its range.
    """
    given = LossArguments.check(
        ("logits", "classes - 1"), logits, lengths, mask, weights, time_major, reduction
    )
    z = given.ids(targets)[..., np.newaxis]
    classes = given.output.shape[-1] + 1
    outside = z[(z < 0) | (z >= classes)]
    if outside.size:
        raise ValueError(f"targets must lie in [0, classes) = [0, {classes}), got {outside[0]}")
    k = np.arange(classes - 1)
    with np.errstate(all="ignore"):  # ignored steps may have any values
        x = given.output.astype(np.float64)
        counted = (k <= z) | np.isnan(x)  # NaN is never without effect
        each = np.where(counted, np.logaddexp(0.0, np.where(k < z, -x, x)), 0.0).sum(axis=2)
        slope = np.where(counted, 1.0 / (1.0 + np.exp(-x)) - (k < z), 0.0)
    return _loss(given, each, slope)


def ordinal_log_probabilities(logits: FloatArray) -> FloatArray:
    """Return the logarithms (.., K) of the probabilities of K ordered classes from their logits."""
    beyond = -np.logaddexp(0.0, -logits)  # log p(z > k | z >= k)
    result = np.zeros((*logits.shape[:-1], logits.shape[-1] + 1), logits.dtype)
    np.cumsum(beyond, axis=-1, out=result[..., 1:])
    result[..., :-1] -= np.logaddexp(0.0, logits)
    return result


def check_quantiles(quantiles: Any) -> list[float]:
    """Check that quantiles are increasing numbers in (0, 1), at least one."""
    levels = checks.real_numbers("quantiles", quantiles)
    if not levels or not all(a < b for a, b in zip([0.0, *levels], [*levels, 1.0], strict=True)):
        raise ValueError(f"quantiles must be increasing numbers in (0, 1), got {quantiles}")
    return levels


def _loss(given: LossArguments, each: NDArray[np.float64], slope: NDArray[np.float64]) -> Loss:
    """Return the loss of the values (B, T) and gradients (B, T, ..) of single steps."""
    if given.weights is not None:
        counted = given.weights > 0.0
        each = np.where(counted, each * given.weights, 0.0)
        slope = np.where(counted[..., np.newaxis], slope * given.weights[..., np.newaxis], 0.0)
    gradient = (slope / given.divisor).astype(given.output.dtype)
    return Loss(float(each.sum()) / given.divisor, given.layout.restore(gradient))
