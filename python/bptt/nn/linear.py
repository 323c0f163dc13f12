"""Linear layer: y = V x + c, the same at every step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths, Padding
from bptt._core.memory import new_array
from bptt._loss_inputs import LossArguments
from bptt.losses import Loss, loss_of_layer
from bptt.nn import initializers
from bptt.nn.module import Gradients, Layout, Module, Shapes, Snapshot, output_gradient
from bptt.nn.sampled_softmax import Sample, draw, sampled_cross_entropy


class OutputLoss(NamedTuple):
    """Loss of an output layer or a CRF, with its gradients and predictions.

    ``float(loss)`` and ``f"{loss:.3f}"`` are of its value.
    """

    value: float
    """Loss, accumulated in float64."""
    gradients: Gradients | None
    """Gradients of the parameters and, as ``.input``, of the input; None if not requested."""
    losses: NDArray[np.float64]
    """Loss of each step, times its weight, (B, T) or (B,), or of a CRF's sequences; 0 if none."""
    predicted: NDArray[np.int32]
    """Most likely class of each step, of a CRF in sequence, (B, T) or (B,); 0 for ignored steps."""

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, specification: str) -> str:
        """Format the value: ``f"{loss:.3f}"``."""
        return format(self.value, specification)


class Linear(Module):
    """Affine layer: y = V x + c, with V = ``weight`` and c = ``bias``.

    Parameters
    ----------
    in_features : int
        D, the size of the last axis of the input.
    out_features : int
        K, the size of the last axis of the output.
    bias : bool, default True
        Whether there is a c.
    dtype : float32 or float64, default float32
        Type of parameters, input and output.
    seed : int, optional
        Seed of the initial weight. Unpredictable by default.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.

    Notes
    -----
    Parameters: ``weight`` (K, D), initially Glorot uniform, and ``bias`` (K,), initially 0.
    """

    in_features: int
    out_features: int
    bias: bool
    _compressible = ("weight",)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            {
                "in_features": checks.integer("in_features", in_features),
                "out_features": checks.integer("out_features", out_features),
                "bias": checks.flag("bias", bias),
                "dtype": checks.dtype("dtype", dtype),
                "seed": checks.seed("seed", seed),
            }
        )

    def _shapes(self) -> Shapes:
        rows = ("out_features", self.out_features)
        weight = {"weight": (rows, ("in_features", self.in_features))}
        return {**weight, "bias": (rows,)} if self.bias else weight

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        parameters["weight"][...] = initializers.glorot_uniform(
            self._random, 1, self.out_features, self.in_features
        )

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return y = V x + c.

        Parameters
        ----------
        x : array (..., in_features)
            Any number of leading axes; of the layer's dtype.

        Returns
        -------
        array (..., out_features)

        Raises
        ------
        TypeError
            If `x` is not an array of the layer's dtype.
        ValueError
            If its last axis is not `in_features` long.
        """
        self._check(x)
        if self._narrow is not None:
            rows = x.reshape(-1, self.in_features)
            bias = self._views.get("bias")
            y: FloatArray = loader.kernels.linear_compressed_forward(
                self._kernel_weight, rows, bias
            )
            return y.reshape(*x.shape[:-1], self.out_features)
        return self._whole(_output, x, self.parameters)

    def _of_rows(self, x: FloatArray) -> FloatArray:
        """Return V x + c for single steps of streams (B, in_features).

        The bits of a row do not depend on the others, which those of a call do in the last places.
        """
        if self._narrow is not None:  # its product sums in order
            return self(x)
        self._check(x)
        return self._whole(_output_of_rows, x, self.parameters)

    @cached_property
    def _kernel_weight(self) -> Any:
        """The weight of a compressed layer, packed."""
        assert self._narrow is not None
        kind, scales = self._narrow.kind, self._narrow.scales()
        return loader.kernels.linear_compress(self["weight"], kind, scales)

    def forward(self, x: FloatArray) -> LinearRun:
        """Return y = V x + c, ready for `LinearRun.backward`.

        Parameters
        ----------
        x : array (..., in_features)
            Any number of leading axes; of the layer's dtype. It is kept, not copied.

        Returns
        -------
        LinearRun

        Raises
        ------
        TypeError
            If `x` is not an array of the layer's dtype.
        ValueError
            If its last axis is not `in_features` long.
        """
        run = self._delayed(x)
        run.output  # noqa: B018 - computes it
        return run

    def cross_entropy(
        self,
        x: FloatArray,
        targets: Ids,
        *,
        lengths: Lengths | None = None,
        mask: NDArray[np.bool_] | None = None,
        weights: FloatArray | None = None,
        label_smoothing: float = 0.0,
        time_major: bool = False,
        reduction: str = "sum",
        gradients: bool = True,
    ) -> OutputLoss:
        """Return the softmax cross-entropy of the logits y = V x + c, and its gradients.

        The logits are computed in blocks and never in memory at once: for large numbers of classes.
        Ignored steps take no time.

        Parameters
        ----------
        x : array (B, T, in_features), or (B, in_features)
            Input, at every step or once per sequence; of the layer's dtype.
        targets : integer array (B, T) or (B,)
            Class of each step, in [0, out_features).
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T]; only with (B, T, in_features). Steps beyond
            it are ignored: they add 0 to the value, their gradients are 0, and neither `x` nor the
            target is read.
        mask : bool array (B, T) or (B,), optional
            False for steps that are ignored.
        weights : float array (B, T), or (B,) for whole sequences, optional
            Weight of each step, finite and >= 0; steps of weight 0 are ignored.
        label_smoothing : float, default 0
            ε in [0, 1): see `bptt.softmax_cross_entropy`.
        time_major : bool, default False
            Whether x, targets, mask and weights per step are (T, B, ..).
        reduction : {"sum", "mean"}, default "sum"
            "mean" divides value and gradients by the sum of the weights (without weights: the
            number) of the steps that are not ignored; all are 0 if there are none.
        gradients : bool, default True
            Whether to compute the gradients; False takes a third of the time.

        Returns
        -------
        OutputLoss
            Value, gradients, losses of the steps and predicted classes.

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If a shape does not fit, or a target, a length, a weight or an option is out of its
            range.
        """
        self._check(x)
        names = ("x", "in_features")
        given = LossArguments.check(names, x, lengths, mask, weights, time_major, reduction)
        smoothing = checks.fraction("label_smoothing", label_smoothing)
        wanted = checks.flag("gradients", gradients)
        ids = given.ids(targets)
        arguments = (self._layout, self.parameters, given, ids, smoothing, wanted)
        return self._whole(_cross_entropy, *arguments)

    def _delayed(self, x: FloatArray) -> LinearRun:
        """Return the forward pass, whose output is computed when it is first read."""
        self._check(x)
        return LinearRun(self, x)

    def _check(self, x: FloatArray) -> None:
        checks.array("x", x, self.dtype, layer=True)
        if x.shape[-1:] != (self.in_features,):
            rule = f"(..., in_features) = (..., {self.in_features})"
            raise ValueError(f"x must have shape {rule}, got {x.shape}")


class LinearRun:
    """Forward pass of a `Linear`, as `Linear.forward` returns it.

    It holds the input itself, which must not change before `backward`, and the parameters, which
    are copied when they change.

    Attributes
    ----------
    dtype : dtype
        Of input and output.
    shape : tuple of int
        Shape of `output`.
    """

    def __init__(self, module: Linear, x: FloatArray) -> None:
        self._module = module
        self._version = module._version
        self._kept: Snapshot | None = module._snapshot()
        self._x = x
        self._layout = module._layout
        self.dtype = module.dtype
        self.shape = (*x.shape[:-1], module.out_features)
        self._output: FloatArray | None = None

    @property
    def output(self) -> FloatArray:
        """Output y, (..., out_features)."""
        if self._output is None:
            self._output = self._parameters.compute(lambda named: _output(self._x, named))
        return self._output

    def release(self) -> None:
        """Hold the parameters no longer, so that they need not be copied when they change."""
        self._kept = None

    @property
    def _parameters(self) -> Snapshot:
        if self._kept is not None:
            return self._kept
        if self._module._version is not self._version:
            raise RuntimeError(
                "output needs the parameters of the forward pass, which backward has released and "
                "which have changed since: read it before they change, or call backward(..., "
                "retain=True)"
            )
        return self._module._snapshot()

    def _cross_entropy(
        self,
        targets: Ids,
        padding: Padding,
        *,
        mask: NDArray[np.bool_] | None = None,
        weights: FloatArray | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "sum",
        num_sampled: int | None = None,
    ) -> OutputLoss:
        """Return the loss of `Linear.cross_entropy`, at the parameters of the forward pass.

        With `num_sampled` the classes of the softmax are a sample, drawn anew in each call.
        """
        names = ("x", "in_features")
        given = LossArguments.check(
            names, self._x, None, mask, weights, False, reduction, padding=padding
        )
        smoothing = checks.fraction("label_smoothing", label_smoothing)
        ids = given.ids(targets)
        if num_sampled is not None:
            sample = self._sample(num_sampled, smoothing)
            return self._parameters.compute(
                lambda named: _sampled(self._layout, named, given, ids, sample)
            )
        return self._parameters.compute(
            lambda named: _cross_entropy(self._layout, named, given, ids, smoothing, True)
        )

    def _sample(self, num_sampled: int, smoothing: float) -> Sample:
        """Draw classes with the generator of the layer, whose state checkpoints keep."""
        count, classes = checks.integer("num_sampled", num_sampled), self._module.out_features
        if count > classes:
            rule = f"num_sampled must be an integer <= the number of classes, {classes}"
            raise ValueError(f"{rule}, got {checks.shown(count)}")
        if smoothing > 0.0:
            raise ValueError(f"label_smoothing must be 0 with num_sampled, got {smoothing}")
        return draw(classes, count, self._module._random.random())

    def backward(self, d_output: FloatArray | Loss, *, input: bool = True) -> Gradients:
        """Return the gradients of parameters and input.

        dL/dV = Σ dL/dy ⊗ x and dL/dc = Σ dL/dy over all leading axes; dL/dx = Vᵀ dL/dy.

        Parameters
        ----------
        d_output : array (..., out_features), or Loss
            dL/dy.
        input : bool, default True
            Whether to compute the gradient of the input.

        Returns
        -------
        Gradients
            ``["weight"]``, ``["bias"]`` and, if requested, ``.input``, of the shape of x.

        Raises
        ------
        TypeError
            If `d_output` is not an array of the layer's dtype.
        ValueError
            If its shape is not that of `output`.
        """
        input = checks.flag("input", input)
        d_output = checks.array("d_output", output_gradient(d_output), self._layout.dtype)
        checks.same_shape("d_output", d_output, "the output", self.shape)
        rows, d_rows = (a.reshape(-1, a.shape[-1]) for a in (self._x, d_output))
        flat = new_array(self._layout.size, self._layout.dtype)
        d = self._layout.views(flat)

        def compute(named: Mapping[str, FloatArray]) -> FloatArray | None:
            return loader.kernels.linear_backward(
                rows, named["weight"], d_rows, d["weight"], d.get("bias"), input
            )

        d_x = self._parameters.compute(compute)
        return Gradients(self._layout, flat, None if d_x is None else d_x.reshape(self._x.shape))


def output_gradients(run: Any, loss: OutputLoss, *, retain: bool) -> Gradients:
    """Return the gradients of the loss of a `LinearRun` or `CRFRun`, a copy if `retain`."""
    found = loss.gradients
    if found is None or found.input is None or found.input.shape != run._x.shape:
        raise ValueError("d_output must be what cross_entropy of this run returned, got another")
    return copy.deepcopy(found) if retain else found


def _cross_entropy(
    layout: Layout,
    parameters: Mapping[str, FloatArray],
    given: LossArguments,
    targets: Ids,
    smoothing: float,
    wanted: bool,
) -> OutputLoss:
    """Return the loss and, if `wanted`, its gradients."""
    flat = new_array(layout.size if wanted else 0, layout.dtype)
    d = layout.views(flat) if wanted else {}
    layer = parameters["weight"], parameters.get("bias")
    loss = loss_of_layer(given, targets, smoothing, layer, (d.get("weight"), d.get("bias")))
    gradients = Gradients(layout, flat, loss.gradient) if wanted else None
    return OutputLoss(loss.value, gradients, loss.losses, loss.predicted)


def _sampled(
    layout: Layout,
    parameters: Mapping[str, FloatArray],
    given: LossArguments,
    targets: Ids,
    sample: Sample,
) -> OutputLoss:
    """Return the loss with a sample of the classes, and its gradients."""
    shape = targets.shape
    weights = np.ones(shape) if given.weights is None else given.weights
    counted = weights > 0.0
    ids = checks.indices("targets", targets[counted], len(parameters["weight"]))
    flat = layout.zeros()
    factors = weights[counted] / given.divisor
    x = given.output[counted]
    found = sampled_cross_entropy(x, ids, factors, sample, parameters, layout.views(flat))
    d_x, losses = np.zeros_like(given.output), np.zeros(shape)
    predicted = np.zeros(shape, np.int32)
    d_x[counted], predicted[counted] = found.d_x, found.predicted
    losses[counted] = found.losses * weights[counted]
    value, restore = float(losses.sum()) / given.divisor, given.layout.restore
    gradients = Gradients(layout, flat, restore(d_x))
    return OutputLoss(value, gradients, restore(losses), restore(predicted))


def _output(x: FloatArray, parameters: Mapping[str, FloatArray]) -> FloatArray:
    rows = x.reshape(-1, x.shape[-1])
    weight = parameters["weight"]
    y: FloatArray = loader.kernels.linear_forward(rows, weight, parameters.get("bias"))
    return y.reshape(*x.shape[:-1], len(weight))


def _output_of_rows(x: FloatArray, parameters: Mapping[str, FloatArray]) -> FloatArray:
    y: FloatArray = loader.kernels.linear_rows(x, parameters["weight"], parameters.get("bias"))
    return y
