"""Linear-chain conditional random field: label sequences whose neighbors depend on each other.

Shapes: B batch, T steps, K labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths, Padding
from bptt._core.memory import new_array
from bptt._loss_inputs import SequenceLossArguments, integer_targets
from bptt.losses import Loss
from bptt.nn.linear import OutputLoss
from bptt.nn.module import Gradients, Layout, Module, Shapes, output_gradient


class CRF(Module):
    """Linear-chain conditional random field (CRF), after an output layer.

    The probability of a label sequence y, given the emissions x_t (K), the output at every step, is

    p(y) = exp(score(y)) / Z, score(y) = s[y_1] + Σ_t x_t[y_t] + Σ_t A[y_{t−1}, y_t] + e[y_T],

    with the transitions A, the scores s and e of the first and the last label, and Z the sum of
    exp(score) over all label sequences: J. Lafferty, A. McCallum and F. Pereira (2001), Conditional
    random fields; G. Lample et al. (2016), Neural architectures for named entity recognition.

    Parameters
    ----------
    num_labels : int
        K, the size of the last axis of the emissions.
    dtype : float32 or float64, default float32
        Type of parameters, emissions and gradients.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Notes
    -----
    Parameters: ``transitions`` (K, K), from the label of the row to that of the column, ``start``
    (K,) and ``end`` (K,), all initially 0: labels then do not depend on each other. −∞ forbids a
    transition, a first or a last label.

    As the last module of a `Sequential` it passes the emissions through; the loss is that of
    `SequentialRun.cross_entropy`.

    Examples
    --------
    >>> model = Sequential(LSTM(16, 32, bidirectional=True), Linear(64, 9), CRF(9))
    >>> run = model.forward(x, lengths=lengths)
    >>> loss = run.cross_entropy(labels, reduction="mean")
    >>> optimizer.step(run.backward(loss))
    >>> emissions, _ = model(x, lengths=lengths)
    >>> labels = model[-1].decode(emissions, lengths=lengths)
    """

    num_labels: int
    seed = None  # nothing is random

    def __init__(self, num_labels: int, *, dtype: DTypeLike = np.float32) -> None:
        super().__init__(
            {
                "num_labels": checks.integer("num_labels", num_labels),
                "dtype": checks.dtype("dtype", dtype),
            }
        )

    def _shapes(self) -> Shapes:
        labels = ("num_labels", self.num_labels)
        return {"transitions": (labels, labels), "start": (labels,), "end": (labels,)}

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        pass  # all 0

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return the emissions as they are, for chains of modules.

        Parameters
        ----------
        x : array (..., num_labels)
            Emissions, with any number of leading axes.

        Returns
        -------
        array (..., num_labels)
            `x`.

        Raises
        ------
        TypeError
            If `x` is not an array of the module's dtype.
        ValueError
            If its last axis is not `num_labels` long.
        """
        checks.array("x", x, self.dtype, layer=True)
        if x.shape[-1:] != (self.num_labels,):
            rule = f"(..., num_labels) = (..., {self.num_labels})"
            raise ValueError(f"x must have shape {rule}, got {x.shape}")
        return x

    def forward(self, x: FloatArray) -> CRFRun:
        """Return the emissions as they are, ready for the backward pass of a chain.

        Parameters
        ----------
        x : array (B, T, num_labels)
            Emissions. They are kept, not copied.

        Returns
        -------
        CRFRun

        Raises
        ------
        TypeError
            If `x` is not an array of the module's dtype.
        ValueError
            If its shape does not fit.
        """
        return CRFRun(self, self._check(x))

    def decode(self, x: FloatArray, *, lengths: Lengths | None = None) -> NDArray[np.int32]:
        """Return the most likely label sequences (Viterbi algorithm).

        A. Viterbi (1967), Error bounds for convolutional codes and an asymptotically optimum
        decoding algorithm. Of several sequences with the highest score, the one whose last label
        that differs is lower.

        Parameters
        ----------
        x : array (B, T, num_labels)
            Emissions. Padding is not read.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T]. T by default.

        Returns
        -------
        int32 array (B, T)
            Labels; 0 in the padding.

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If a shape does not fit, or a length is out of its range.
        """
        self._check(x)
        return self._whole(_viterbi, x, self.parameters, lengths)

    def marginals(self, x: FloatArray, *, lengths: Lengths | None = None) -> FloatArray:
        """Return the probability of each label at each step (forward-backward algorithm).

        p(y_t = k), the sum of p(y) over all label sequences with this label at this step.

        Parameters
        ----------
        x : array (B, T, num_labels)
            Emissions. Padding is not read.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T]. T by default.

        Returns
        -------
        array (B, T, num_labels)
            Probabilities; 0 in the padding.

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If a shape does not fit, or a length is out of its range.
        """
        self._check(x)
        return self._whole(_marginals, x, self.parameters, lengths)

    def cross_entropy(
        self,
        x: FloatArray,
        targets: Ids,
        *,
        lengths: Lengths | None = None,
        mask: NDArray[np.bool_] | None = None,
        weights: FloatArray | None = None,
        reduction: str = "sum",
        gradients: bool = True,
        predictions: bool = True,
    ) -> OutputLoss:
        """Return the negative log-likelihood of label sequences, and its gradients.

        L = −Σ_b w_b log p(targets_b). The gradients are differences of expected counts: dL/dx_t is
        w_b (p(y_t = k) − [targets_t = k]), that of a transition sums the same over pairs of steps.

        Parameters
        ----------
        x : array (B, T, num_labels)
            Emissions. Padding is not read.
        targets : integer array (B, T)
            Labels, in [0, num_labels). Padding is not read.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T]. T by default.
        mask : bool array (B, T), optional
            False for steps whose label is not known. p then sums over all labels of these steps:
            Y. Tsuboi et al. (2008), Training conditional random fields using incomplete
            annotations.
        weights : float array (B,), optional
            Weight of each sequence, finite and >= 0. All 1 by default.
        reduction : {"sum", "mean"}, default "sum"
            "mean" divides value and gradients by the number of steps, each with the weight of its
            sequence; all are 0 if there are none.
        gradients : bool, default True
            Whether to compute the gradients.
        predictions : bool, default True
            Whether to decode the most likely label sequences; without, they are 0.

        Returns
        -------
        OutputLoss
            Value, gradients, losses of the sequences (B,), and the most likely label sequences.

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If a shape does not fit, or a target, a length, a weight or an option is out of its
            range.
        """
        self._check(x)
        given = _Targets.check(x, targets, lengths, mask, weights, reduction)
        wanted = checks.flag("gradients", gradients)
        decoded = checks.flag("predictions", predictions)
        return self._whole(_cross_entropy, self._layout, x, self.parameters, given, wanted, decoded)

    def _check(self, x: FloatArray) -> FloatArray:
        checks.array("x", x, self.dtype, layer=True)
        if x.ndim != 3 or x.shape[-1] != self.num_labels:
            rule = f"(batch, steps, num_labels) with num_labels = {self.num_labels}"
            raise ValueError(f"x must have shape {rule}, got {x.shape}")
        return x


class CRFRun:
    """Forward pass of a `CRF`, as `CRF.forward` returns it: the emissions.

    It holds the parameters, which are copied when they change.

    Attributes
    ----------
    output : array (B, T, num_labels)
        Emissions.
    """

    output: FloatArray

    def __init__(self, module: CRF, x: FloatArray) -> None:
        self.output = self._x = x
        self._layout = module._layout
        self._parameters = module._snapshot()

    def _cross_entropy(
        self,
        targets: Ids,
        padding: Padding,
        *,
        mask: NDArray[np.bool_] | None = None,
        weights: FloatArray | None = None,
        reduction: str = "sum",
    ) -> OutputLoss:
        """Return the loss of `CRF.cross_entropy`, at the parameters of the forward pass."""
        lengths = None if padding is None else (~padding).sum(1)
        given = _Targets.check(self._x, targets, lengths, mask, weights, reduction)
        return self._parameters.compute(
            lambda named: _cross_entropy(self._layout, self._x, named, given, True, True)
        )

    def backward(self, d_output: FloatArray | Loss) -> Gradients:
        """Return the gradients of a loss of the emissions, on which the parameters have no effect.

        Parameters
        ----------
        d_output : array (B, T, num_labels), or Loss
            Gradient of the loss with respect to `output`.

        Returns
        -------
        Gradients
            0 for the parameters; ``.input`` is `d_output`.

        Raises
        ------
        TypeError
            If `d_output` is not an array of the module's dtype.
        ValueError
            If its shape is not that of `output`.
        """
        d_output = checks.array("d_output", output_gradient(d_output), self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.output.shape)
        return Gradients(self._layout, self._layout.zeros(), d_output)


class _Targets(NamedTuple):
    """Checked arguments of the loss besides the emissions."""

    labels: Ids  # (B, T), 0 where they are not known
    mask: NDArray[np.bool_] | None
    others: SequenceLossArguments

    @classmethod
    def check(
        cls,
        x: FloatArray,
        targets: object,
        lengths: Lengths | None,
        mask: NDArray[np.bool_] | None,
        weights: FloatArray | None,
        reduction: str,
    ) -> _Targets:
        batch, steps, _ = x.shape
        arguments = SequenceLossArguments.check(batch, steps, lengths, weights, reduction)
        labels = integer_targets(targets)
        dimensions = [("batch", batch), ("steps", steps)]
        checks.shape("targets", labels, dimensions)
        if mask is not None:
            checks.array("mask", mask, np.dtype(np.bool_))
            checks.shape("mask", mask, dimensions)
            labels = np.where(mask, labels, 0)
        return cls(labels, mask, arguments)


def _scores(named: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray, FloatArray]:
    return named["transitions"], named["start"], named["end"]


def _viterbi(
    x: FloatArray, named: Mapping[str, FloatArray], lengths: Lengths | None
) -> NDArray[np.int32]:
    return loader.kernels.crf_viterbi(x, *_scores(named), lengths)


def _marginals(
    x: FloatArray, named: Mapping[str, FloatArray], lengths: Lengths | None
) -> FloatArray:
    return loader.kernels.crf_marginals(x, *_scores(named), lengths)


def _cross_entropy(
    layout: Layout,
    x: FloatArray,
    named: Mapping[str, FloatArray],
    given: _Targets,
    wanted: bool,
    decoded: bool,
) -> OutputLoss:
    """Return the loss, if `wanted` its gradients, and if `decoded` the most likely labels."""
    lengths, weights, divisor = given.others
    flat = new_array(layout.size if wanted else 0, layout.dtype)
    d = layout.views(flat) if wanted else {}
    value, losses, d_x = loader.kernels.crf_loss(
        x,
        *_scores(named),
        lengths,
        given.labels,
        given.mask,
        weights,
        divisor,
        *(d.get(name) for name in layout.shapes),
    )
    gradients = Gradients(layout, flat, d_x) if wanted else None
    labels = _viterbi(x, named, lengths) if decoded else np.zeros(x.shape[:2], np.int32)
    return OutputLoss(value, gradients, losses, labels)
