"""Arguments of losses, and of the decoders that read the same outputs."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import Dimension, FloatArray
from bptt._core.lengths import Ids, Lengths, Padding, padding_of, steps_of

_Scalar = TypeVar("_Scalar", bound=np.generic)

# Values of the N steps that are not ignored: (N, K) or (N,).
Rows: TypeAlias = NDArray[np.float64]


class Layout(NamedTuple):
    """Axes of the caller: (B, ..) if `once`, (T, B, ..) if `time_major`, else (B, T, ..)."""

    once: bool
    time_major: bool

    def arrange(self, array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Return the caller's array with axes (B, T, ..)."""
        if self.once:
            return array[:, np.newaxis]
        return array.swapaxes(0, 1) if self.time_major else array

    def restore(self, array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Return an array (B, T, ..) with the caller's axes."""
        if self.once:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.time_major else array

    def dimensions(self, batch: int, steps: int) -> list[Dimension]:
        """Return symbols and sizes of an array with one value per step, in the caller's axes."""
        symbols = [("batch", batch)] if self.once else [("batch", batch), ("steps", steps)]
        return symbols[::-1] if self.time_major else symbols


class LossArguments(NamedTuple):
    """Checked arguments except the targets, with axes (B, T, ..)."""

    name: str  # of the argument `output`
    output: FloatArray  # (B, T, K)
    weights: NDArray[np.float64] | None  # (B, T), 0 for ignored steps; None for ones
    divisor: float  # of value and gradient
    layout: Layout

    @classmethod
    def check(
        cls,
        names: tuple[str, str],
        output: FloatArray,
        lengths: Lengths | None,
        mask: NDArray[np.bool_] | None,
        weights: FloatArray | None,
        time_major: bool,
        reduction: str,
        padding: Padding = None,
    ) -> LossArguments:
        """Check the arguments; `names` are those of `output` and of its last axis.

        Known `padding` stands in for `lengths`.
        """
        checks.one_of("sum", "mean")("reduction", reduction)
        swapped = checks.flag("time_major", time_major)
        name, last = names
        checks.floats(name, output)
        if output.ndim not in (2, 3) or output.shape[-1] == 0:
            rule = f"shape (batch, steps, {last}) or (batch, {last}) with {last} >= 1"
            raise ValueError(f"{name} must have {rule}, got {output.shape}")
        if output.ndim == 2 and (lengths is not None or swapped):
            what = "lengths" if lengths is not None else "time_major"
            rule = f"{name} of shape (batch, steps, {last})"
            raise ValueError(f"{what} needs {rule}, got {output.shape}")
        layout = Layout(output.ndim == 2, swapped)
        arranged = layout.arrange(output)
        batch, steps, _ = arranged.shape
        if padding is None:
            padding = padding_of(lengths, batch, steps)
        if padding is None and mask is None and weights is None:
            each, total = None, float(batch * steps)
        else:
            each = _weights(layout, batch, steps, padding, mask, weights)
            total = float(each.sum())
        divisor = total if reduction == "mean" and total > 0.0 else 1.0
        return cls(name, arranged, each, divisor, layout)

    def ids(self, targets: object, rule: str = "integers (classes)") -> Ids:
        """Check class ids; return them as (B, T), 0 for ignored steps."""
        given = integer_targets(targets, rule)
        batch, steps, _ = self.output.shape
        checks.shape("targets", given, self.layout.dimensions(batch, steps))
        ids = self.layout.arrange(given)
        return ids if self.weights is None else np.where(self.weights > 0.0, ids, 0)

    def values(self, targets: object, columns: int | None = None) -> FloatArray:
        """Check targets of the output's shape, or without the last axis if K = 1: (B, T, K).

        With `columns` the last axis has another size than that of the output.
        """
        array = checks.array("targets", targets, self.output.dtype)
        shape = self.layout.restore(self.output).shape
        shape = shape if columns is None else (*shape[:-1], columns)
        if shape[-1] == 1 and array.shape == shape[:-1]:
            array = array[..., np.newaxis]
        if array.shape != shape:
            rule = f"the shape of the {self.name}, {shape}" if columns is None else f"shape {shape}"
            raise ValueError(f"targets must have {rule}, got {array.shape}")
        return self.layout.arrange(array)

    def rows(self, values: FloatArray) -> Rows:
        """Return the steps of (B, T, K) that are not ignored."""
        counted = np.ones(values.shape[:2], bool) if self.weights is None else self.weights > 0.0
        return values[counted].astype(np.float64)


def check_ctc_logits(logits: FloatArray, blank: int) -> int:
    """Check the logits of CTC, and that the blank is one of their classes; return the blank."""
    checks.floats("logits", logits)
    if logits.ndim != 3 or logits.shape[2] == 0:
        rule = "shape (batch, steps, classes) with classes >= 1"
        raise ValueError(f"logits must have {rule}, got {logits.shape}")
    classes = logits.shape[2]
    blank = checks.integer("blank", blank, 0)
    if blank >= classes:
        got = checks.shown(blank)
        raise ValueError(f"blank must be in [0, classes) = [0, {classes}), got {got}")
    return blank


def integer_targets(targets: object, rule: str = "integers (labels)") -> Ids:
    """Check that targets are an integer array."""
    given = checks.numpy_array("targets", targets)
    if given.dtype.kind not in "iu":
        cure = ": use targets.astype(np.int64)" if given.dtype.kind == "f" else ""
        raise TypeError(f"targets must be {rule}, got dtype {given.dtype}{cure}")
    return given


class SequenceLossArguments(NamedTuple):
    """Checked arguments of a loss of whole sequences, except outputs and targets."""

    lengths: NDArray[np.int64]  # (B,)
    weights: NDArray[np.float64] | None  # (B,); None for ones
    divisor: float  # of value and gradients

    @classmethod
    def check(
        cls,
        batch: int,
        steps: int,
        lengths: Lengths | None,
        weights: FloatArray | None,
        reduction: str,
    ) -> SequenceLossArguments:
        checks.one_of("sum", "mean")("reduction", reduction)
        counts, each = steps_of(lengths, batch, steps), None
        if weights is not None:
            checks.floats("weights", weights)
            checks.shape("weights", weights, [("batch", batch)])
            _check_weights(weights)
            each = weights.astype(np.float64)
        total = float(counts.sum() if each is None else counts @ each)
        return cls(counts, each, total if reduction == "mean" and total > 0.0 else 1.0)


def _check_weights(weights: FloatArray) -> None:
    wrong = weights[~((weights >= 0.0) & (weights < np.inf))]
    if wrong.size:
        raise ValueError(f"weights must be finite and >= 0, got {wrong[0]}")


def _weights(
    layout: Layout,
    batch: int,
    steps: int,
    padding: Padding,
    mask: NDArray[np.bool_] | None,
    weights: FloatArray | None,
) -> NDArray[np.float64]:
    """Combine padding, mask and weights to one weight per step, (B, T)."""
    each = np.ones((batch, steps)) if padding is None else (~padding).astype(np.float64)
    dimensions = layout.dimensions(batch, steps)
    if mask is not None:
        checks.array("mask", mask, np.dtype(np.bool_))
        checks.shape("mask", mask, dimensions)
        each *= layout.arrange(mask)
    if weights is not None:
        checks.floats("weights", weights)
        whole = weights.ndim == 1 and not layout.once
        checks.shape("weights", weights, [("batch", batch)] if whole else dimensions)
        _check_weights(weights)
        each *= weights[:, np.newaxis] if whole else layout.arrange(weights)
    return each
