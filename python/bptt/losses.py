"""Losses with their gradients, and the output functions softmax and sigmoid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths, steps_of
from bptt._core.memory import new_array
from bptt._distribution_losses import gaussian_nll, ordinal_cross_entropy, pinball_loss
from bptt._loss_inputs import (
    LossArguments,
    Rows,
    SequenceLossArguments,
    check_ctc_logits,
    integer_targets,
)
from bptt._loss_results import LinearLoss, Loss

__all__ = [
    "LinearLoss",
    "Loss",
    "binary_cross_entropy",
    "ctc_loss",
    "gaussian_nll",
    "linear_cross_entropy",
    "mean_squared_error",
    "ordinal_cross_entropy",
    "pinball_loss",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
]


def softmax_cross_entropy(
    logits: FloatArray,
    targets: Ids | FloatArray,
    *,
    lengths: Lengths | None = None,
    mask: NDArray[np.bool_] | None = None,
    weights: FloatArray | None = None,
    label_smoothing: float = 0.0,
    time_major: bool = False,
    reduction: str = "sum",
) -> Loss:
    """Return the softmax cross-entropy, summed over batch and time, and its gradient.

    L = −Σ_t w_t Σ_k q_tk log y_tk with y_t = softmax(logits_t), target distribution q_t and weight
    w_t; dL/dlogits_t = w_t (y_t − q_t). Softmax and logarithm are computed together, without the
    overflow and cancellation of the two in turn.

    Parameters
    ----------
    logits : array (B, T, K), or (B, K), float32 or float64
        Logits of the K classes, at every step or once per sequence.
    targets : integer array (B, T) or (B,), or float array of the logits' shape and dtype
        Class of each step, in [0, K); or the probabilities of all classes (>= 0, with sum 1).
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]; only with (B, T, K). Steps beyond it are
        ignored: they add 0 to the value, their gradients are 0, and their targets are not read.
    mask : bool array (B, T) or (B,), optional
        False for steps that are ignored.
    weights : float array (B, T), or (B,) for whole sequences, optional
        Weight of each step, finite and >= 0; steps of weight 0 are ignored.
    label_smoothing : float, default 0
        ε in [0, 1): q = (1−ε) target + ε/K, with one-hot targets for classes. C. Szegedy et al.
        (2016), Rethinking the inception architecture for computer vision, section 7.
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
    smoothing = checks.fraction("label_smoothing", label_smoothing)
    given = LossArguments.check(
        ("logits", "classes"), logits, lengths, mask, weights, time_major, reduction
    )
    if _are_floats(targets) and targets.ndim == logits.ndim:
        return _row_loss("cross_entropy", given, targets, smoothing, _check_probabilities)
    ids = given.ids(targets, f"integers (classes) or {logits.dtype} (probabilities)")
    value, gradient = loader.kernels.softmax_cross_entropy(
        given.output, ids, given.weights, smoothing, given.divisor
    )
    return Loss(value, given.layout.restore(gradient))


def linear_cross_entropy(
    x: FloatArray,
    weight: FloatArray,
    targets: Ids,
    *,
    bias: FloatArray | None = None,
    lengths: Lengths | None = None,
    mask: NDArray[np.bool_] | None = None,
    weights: FloatArray | None = None,
    label_smoothing: float = 0.0,
    time_major: bool = False,
    reduction: str = "sum",
    gradients: bool = True,
) -> LinearLoss:
    """Return the softmax cross-entropy of a linear layer, and its gradients.

    The same as `softmax_cross_entropy` of the logits V x + c, with V = `weight` and c = `bias`, but
    the logits are computed in blocks and never in memory at once: for large numbers of classes.
    Ignored steps take no time. `bptt.Linear.cross_entropy` and
    `bptt.SequentialRun.cross_entropy` are the same for modules.

    Parameters
    ----------
    x : array (B, T, D), or (B, D), float32 or float64
        Input of the layer, at every step or once per sequence.
    weight : array (K, D)
        V, of the dtype of `x`; K classes.
    targets : integer array (B, T) or (B,)
        Class of each step, in [0, K).
    bias : array (K,), optional
        c, of the dtype of `x`. None by default.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]; only with (B, T, D). Steps beyond it are
        ignored: they add 0 to the value, their gradients are 0, and neither `x` nor the target is
        read.
    mask : bool array (B, T) or (B,), optional
        False for steps that are ignored.
    weights : float array (B, T), or (B,) for whole sequences, optional
        Weight of each step, finite and >= 0; steps of weight 0 are ignored.
    label_smoothing : float, default 0
        ε in [0, 1): see `softmax_cross_entropy`.
    time_major : bool, default False
        Whether x, targets, mask and weights per step are (T, B, ..).
    reduction : {"sum", "mean"}, default "sum"
        "mean" divides value and gradients by the sum of the weights (without weights: the number)
        of the steps that are not ignored; all are 0 if there are none.
    gradients : bool, default True
        Whether to compute the gradients; False takes a third of the time.

    Returns
    -------
    LinearLoss
        Named tuple ``(value, gradient, weight_gradient, bias_gradient, losses, predicted)``.

    Raises
    ------
    TypeError
        If an argument is not an array or has the wrong dtype.
    ValueError
        If a shape does not fit, or a target, a length, a weight or an option is out of its range.
    """
    wanted = checks.flag("gradients", gradients)
    smoothing = checks.fraction("label_smoothing", label_smoothing)
    given = LossArguments.check(("x", "features"), x, lengths, mask, weights, time_major, reduction)
    features = x.shape[-1]
    checks.array("weight", weight, x.dtype)
    if weight.ndim != 2 or weight.shape[1] != features or not len(weight):
        rule = f"shape (classes, features) with features = {features} and classes >= 1"
        raise ValueError(f"weight must have {rule}, got {weight.shape}")
    if bias is not None:
        checks.array("bias", bias, x.dtype)
        checks.shape("bias", bias, [("classes", len(weight))])
    d_weight = new_array(weight.shape, x.dtype) if wanted else None
    d_bias = None if bias is None or not wanted else new_array(bias.shape, x.dtype)
    return loss_of_layer(given, given.ids(targets), smoothing, (weight, bias), (d_weight, d_bias))


def loss_of_layer(
    given: LossArguments,
    targets: Ids,
    smoothing: float,
    layer: tuple[FloatArray, FloatArray | None],
    d_layer: tuple[FloatArray | None, FloatArray | None],
) -> LinearLoss:
    """Return the loss of checked arguments; write the gradients of weight and bias, or none."""
    (weight, bias), (d_weight, d_bias) = layer, d_layer
    value, losses, d_x, predicted = loader.kernels.linear_cross_entropy(
        given.output,
        weight,
        bias,
        targets,
        given.weights,
        smoothing,
        given.divisor,
        d_weight,
        d_bias,
    )
    restore = given.layout.restore
    d_input = None if d_x is None else restore(d_x)
    return LinearLoss(value, d_input, d_weight, d_bias, restore(losses), restore(predicted))


def ctc_loss(
    logits: FloatArray,
    targets: Ids,
    *,
    lengths: Lengths | None = None,
    target_lengths: Lengths | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
    weights: FloatArray | None = None,
    time_major: bool = False,
    reduction: str = "sum",
) -> Loss:
    """Return the loss of connectionist temporal classification (CTC), and its gradient.

    L = −Σ_b w_b log p(targets_b), for label sequences without a time for each label. p sums over
    all paths, a class for every step, that are the targets without repetitions and then without
    blanks; a class at a step has the probability softmax(logits_t). dL/dlogits_t is w_b times the
    difference between these and the probabilities of the classes among the paths to the targets:
    A. Graves et al. (2006), Connectionist temporal classification. `bptt.decoding.ctc_greedy` and
    `bptt.decoding.ctc_beam_search` predict labels.

    Parameters
    ----------
    logits : array (B, T, K), float32 or float64
        Logits of the K classes, among them the blank. Padding is not read.
    targets : integer array (B, U)
        Labels of each sequence, in [0, K), without the blank; padding is not read.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. T by default.
    target_lengths : integer array (B,), optional
        Number of labels of each sequence, in [0, U]. U by default.
    blank : int, default 0
        Class of the blank, in [0, K).
    zero_infinity : bool, default False
        Whether a sequence without a path, since it has too few steps for its labels, has a loss of
        0 instead of infinity. Its gradient is 0 in either case.
    weights : float array (B,), optional
        Weight of each sequence, finite and >= 0. All 1 by default.
    time_major : bool, default False
        Whether the logits are (T, B, K).
    reduction : {"sum", "mean"}, default "sum"
        "mean" divides value and gradient by the number of steps, each with the weight of its
        sequence; both are 0 if there are none.

    Returns
    -------
    Loss
        Named tuple ``(value, gradient)``.

    Raises
    ------
    TypeError
        If an argument is not an array or has the wrong dtype.
    ValueError
        If a shape does not fit, a label is the blank, or a label, a length, a weight or an option
        is out of its range.
    """
    swapped = checks.flag("time_major", time_major)
    zero = checks.flag("zero_infinity", zero_infinity)
    blank = check_ctc_logits(logits, blank)
    x = logits.swapaxes(0, 1) if swapped else logits
    batch, steps, _ = x.shape
    arguments = SequenceLossArguments.check(batch, steps, lengths, weights, reduction)
    labels = integer_targets(targets)
    if labels.ndim != 2 or len(labels) != batch:
        rule = f"shape (batch, labels) with batch = {batch}"
        raise ValueError(f"targets must have {rule}, got {labels.shape}")
    most = labels.shape[1]
    try:
        sizes = steps_of(target_lengths, batch, most)
    except (TypeError, ValueError) as error:
        raise type(error)(f"target_{error}".replace("steps", "labels")) from None
    if (labels == blank)[np.arange(most) < sizes[:, np.newaxis]].any():
        raise ValueError(f"targets must not have the blank, {blank}")
    counts, each, divisor = arguments
    value, gradient = loader.kernels.ctc_loss(x, labels, counts, sizes, blank, zero, each, divisor)
    return Loss(value, gradient.swapaxes(0, 1) if swapped else gradient)


def binary_cross_entropy(
    logits: FloatArray,
    targets: FloatArray,
    *,
    lengths: Lengths | None = None,
    mask: NDArray[np.bool_] | None = None,
    weights: FloatArray | None = None,
    time_major: bool = False,
    reduction: str = "sum",
) -> Loss:
    """Return the sigmoid cross-entropy of K binary outputs and its gradient.

    L = −Σ_t w_t Σ_k [z_tk log σ(x_tk) + (1−z_tk) log(1 − σ(x_tk))] for logits x and targets z;
    dL/dx_t = w_t (σ(x_t) − z_t). Sigmoid and logarithm are computed together, without overflow or
    cancellation.

    Parameters
    ----------
    logits : array (B, T, K), or (B, K), float32 or float64
        Logits of the K outputs, at every step or once per sequence.
    targets : array of the logits' shape and dtype, or without the last axis if K = 1
        Probabilities of the positive class, in [0, 1].
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]; only with (B, T, K). Steps beyond it are
        ignored: they add 0 to the value, their gradients are 0, and their targets are not read.
    mask : bool array (B, T) or (B,), optional
        False for steps that are ignored.
    weights : float array (B, T), or (B,) for whole sequences, optional
        Weight of each step with all its K outputs, finite and >= 0; steps of weight 0 are ignored.
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
        ("logits", "outputs"), logits, lengths, mask, weights, time_major, reduction
    )
    return _row_loss("binary_cross_entropy", given, targets, check=_check_in_unit_interval)


def mean_squared_error(
    output: FloatArray,
    targets: FloatArray,
    *,
    lengths: Lengths | None = None,
    mask: NDArray[np.bool_] | None = None,
    weights: FloatArray | None = None,
    time_major: bool = False,
    reduction: str = "sum",
) -> Loss:
    """Return the squared error, averaged over the K outputs of a step, and its gradient.

    L = Σ_t w_t/K Σ_k (y_tk − z_tk)² for outputs y and targets z; dL/dy_t = 2 w_t/K (y_t − z_t).
    Outputs are averaged as in scikit-learn; `reduction` concerns the steps.

    Parameters
    ----------
    output : array (B, T, K), or (B, K), float32 or float64
        K outputs, at every step or once per sequence.
    targets : array of the output's shape and dtype, or without the last axis if K = 1
        Target values.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]; only with (B, T, K). Steps beyond it are
        ignored: they add 0 to the value, their gradients are 0, and their targets are not read.
    mask : bool array (B, T) or (B,), optional
        False for steps that are ignored.
    weights : float array (B, T), or (B,) for whole sequences, optional
        Weight of each step with all its K outputs, finite and >= 0; steps of weight 0 are ignored.
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
        If a shape does not fit, or a target, a length, a weight or an option is out of its range.
    """
    given = LossArguments.check(
        ("output", "outputs"), output, lengths, mask, weights, time_major, reduction
    )
    return _row_loss("squared_error", given, targets)


def softmax(logits: FloatArray) -> FloatArray:
    """Return the softmax exp(x_k) / Σ_j exp(x_j) along the last axis.

    Parameters
    ----------
    logits : array (.., K), float32 or float64
        Logits of any size; −∞ has probability 0.

    Returns
    -------
    array (.., K)
        Probabilities, of the same dtype.

    Raises
    ------
    TypeError, ValueError
        If `logits` is not an array of float32 or float64, or has no classes.
    """
    x = checks.floats("logits", logits)
    if x.ndim == 0 or x.shape[-1] == 0:
        rule = "shape (..., classes) with classes >= 1"
        raise ValueError(f"logits must have {rule}, got {x.shape}")
    with np.errstate(all="ignore"):
        y: FloatArray = np.exp(x - x.max(axis=-1, keepdims=True))
        y /= y.sum(axis=-1, keepdims=True)
    return y


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return the sigmoid σ(x) = 1 / (1 + exp(−x)) of every element.

    Parameters
    ----------
    logits : array of any shape, float32 or float64
        Logits of any size, without overflow; small probabilities are accurate.

    Returns
    -------
    array
        Probabilities, of the same shape and dtype.

    Raises
    ------
    TypeError
        If `logits` is not an array of float32 or float64.
    """
    return loader.kernels.activate("sigmoid", checks.floats("logits", logits))


def _are_floats(targets: object) -> bool:
    return isinstance(targets, np.ndarray) and targets.dtype.kind == "f"


def _row_loss(
    name: str,
    given: LossArguments,
    targets: object,
    smoothing: float = 0.0,
    check: Callable[[Rows], None] | None = None,
) -> Loss:
    """Return a loss by its kernel; `check` raises for targets that the kernel finds invalid."""
    values = given.values(targets)
    value, gradient, valid = loader.kernels.row_loss(
        name, given.output, values, given.weights, smoothing, given.divisor
    )
    if not valid and check is not None:
        check(given.rows(values))
    return Loss(value, given.layout.restore(gradient))


def _check_in_unit_interval(z: Rows) -> None:
    outside = z[~((z >= 0.0) & (z <= 1.0))]
    if outside.size:
        raise ValueError(f"targets must lie in [0, 1], got {outside[0]}")


def _check_probabilities(q: Rows) -> None:
    """Check rows of probabilities; sums may be off by the rounding of float16."""
    rule = "targets must be probabilities, >= 0 with a sum of 1 over the classes"
    outside = q[~(q >= 0.0)]
    if outside.size:
        raise ValueError(f"{rule}, got {outside[0]}")
    sums = q.sum(axis=-1)
    wrong = sums[~(np.abs(sums - 1.0) <= 1e-3)]
    if wrong.size:
        raise ValueError(f"{rule}, got a sum of {wrong[0]}")
