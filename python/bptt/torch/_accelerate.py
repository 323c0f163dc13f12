"""Acceleration of the recurrent layers of any PyTorch model, in place."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bptt._core.interleaved_timing import interleave, seconds_per_call
from bptt.torch._layers import GRU, LSTM, RNN, Recurrent

_OURS: dict[type[nn.Module], type[Recurrent]] = {nn.RNN: RNN, nn.LSTM: LSTM, nn.GRU: GRU}
_TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-10}  # relative to the largest value
_SECONDS = 0.6  # of measurement, for each layer and kind of call
_LEAST_ROUNDS = 3

_Call = Callable[[], list[Tensor]]


class AcceleratedLayer(NamedTuple):
    """A recurrent layer of a model, and what an example has shown of it.

    Attributes
    ----------
    name : str
        Its name in ``model.named_modules()``.
    layer : str
        What it is.
    kept : {"bptt", "PyTorch"}
        Which of the two it runs on now.
    reason : str
        Why PyTorch was kept; "" otherwise.
    training : tuple of 2 floats, or None
        Milliseconds of forward and backward with PyTorch and with bptt, medians.
    inference : tuple of 2 floats, or None
        Milliseconds of forward without gradients, the same.
    difference : float or None
        Largest difference of outputs and gradients, relative to the largest value of each.
    """

    name: str
    layer: str
    kept: str
    reason: str = ""
    training: tuple[float, float] | None = None
    inference: tuple[float, float] | None = None
    difference: float | None = None


class Acceleration(NamedTuple):
    """Report of `accelerate`, which prints as a table.

    Attributes
    ----------
    layers : tuple of AcceleratedLayer
        The recurrent layers of the model.
    """

    layers: tuple[AcceleratedLayer, ...]

    def __str__(self) -> str:
        """Return the table."""
        if not self.layers:
            return "no recurrent layers of torch.nn in the model"
        head = ("name", "layer", "runs on", "training, ms", "inference, ms", "difference")
        rows = [head, *map(_row, self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)


def accelerate(model: nn.Module, example: Any = None) -> Acceleration:
    """Let the recurrent layers of a model run on bptt's kernels, in place.

    Every `torch.nn.RNN`, `torch.nn.LSTM` and `torch.nn.GRU` among the modules becomes one of
    `bptt.torch`. Parameters, their names, hooks and optimizers are untouched; so are subclasses of
    the three, whose forward may be another. With an example, the model runs once, in evaluation
    mode and without gradients, and each layer is then tried on what it got: outputs and gradients
    are compared, forward with backward and inference are timed, and the faster layer is kept: in
    training, if the model is in training mode, else in inference.

    Parameters
    ----------
    model : nn.Module
        The model, or a recurrent layer itself.
    example : tensor, tuple or mapping, optional
        Input of the model: one argument, all positional, or all named ones.

    Returns
    -------
    Acceleration
        Report on every layer; print it for a table.

    Raises
    ------
    TypeError
        If `model` is not a module.
    """
    layers = dict(_plain_layers(model))
    inputs = {} if example is None else _inputs(model, example, layers)
    reports = []
    for name, layer in layers.items():
        calls = inputs.get(name)
        if calls is None:
            reason = "" if example is None else "not called by the example"
            _use(layer, _OURS[type(layer)])
            reports.append(AcceleratedLayer(name, str(layer), "bptt", reason))
        else:
            reports.append(_faster(name, layer, calls, model.training))
    return Acceleration(tuple(reports))


def restore(model: nn.Module) -> nn.Module:
    """Let the recurrent layers of a model run in PyTorch again, in place.

    Parameters
    ----------
    model : nn.Module
        The model, or a recurrent layer itself.

    Returns
    -------
    nn.Module
        The same model.

    Raises
    ------
    TypeError
        If `model` is not a module.
    """
    for module in _checked(model).modules():
        if type(module) in _OURS.values():
            _use(module, module._original)
    return model


def _checked(model: Any) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    return model


def _plain_layers(model: nn.Module) -> Iterator[tuple[str, nn.RNNBase]]:
    for name, module in _checked(model).named_modules():
        if type(module) in _OURS:
            yield name, module


def _use(layer: nn.Module, kind: type[nn.Module]) -> None:
    """Turn a layer into one of the other class: they have the same attributes."""
    layer.__class__ = kind
    layer.__dict__.pop("_bptt_packed", None)


def _inputs(
    model: nn.Module, example: Any, layers: Mapping[str, nn.RNNBase]
) -> dict[str, tuple[Any, Any]]:
    """Return input and initial state of the layers' first calls."""
    found: dict[str, tuple[Any, Any]] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            values = dict(zip(("input", "hx"), args, strict=False)) | kwargs
            found.setdefault(name, (values["input"], values.get("hx")))

        return keep

    handles = [
        layer.register_forward_pre_hook(hook(name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            if isinstance(example, Mapping):
                model(**example)
            else:
                model(*(example if type(example) is tuple else (example,)))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    return found


def _faster(
    name: str, layer: nn.RNNBase, call: tuple[Any, Any], is_training: bool
) -> AcceleratedLayer:
    """Compare the two on one call; keep the faster."""
    original, ours, mode = type(layer), _OURS[type(layer)], layer.training
    description = str(layer)

    def run(kind: type[nn.Module], differentiate: bool) -> _Call:
        def once() -> list[Tensor]:
            _use(layer, kind) if type(layer) is not kind else None
            return _outputs(layer, call, differentiate)

        return once

    layer.train(False)  # without dropout, which differs
    try:
        trained, inferred = (
            [run(kind, differentiate) for kind in (original, ours)]
            for differentiate in (True, False)
        )
        difference = _difference(*(once() for once in trained))
        layer.train(mode)
        training, inference = _milliseconds(*trained), _milliseconds(*inferred)
    finally:
        layer.train(mode)
    dtype = next(layer.parameters()).dtype
    times = training if is_training else inference
    reason = ""
    if not difference <= _TOLERANCES.get(dtype, 0.0):
        reason = "other results"
    elif times[1] > times[0]:
        reason = "faster"
    _use(layer, original if reason else ours)
    kept = "PyTorch" if reason else "bptt"
    return AcceleratedLayer(name, description, kept, reason, training, inference, difference)


def _outputs(layer: nn.Module, call: tuple[Any, Any], differentiate: bool) -> list[Tensor]:
    """Return output and final state, and with `differentiate` all gradients."""
    if not differentiate:
        with torch.no_grad():
            return _tensors(layer(*call))
    x, hx = ([t.detach().requires_grad_() for t in _tensors(part)] for part in call)
    found = _tensors(layer(_like(call[0], x), _like(call[1], hx)))
    inputs = [*x, *hx, *(p for p in layer.parameters() if p.requires_grad)]
    loss = sum((t * _weights(t)).sum() for t in found)
    return [*(t.detach() for t in found), *torch.autograd.grad(loss, inputs)]


def _weights(tensor: Tensor) -> Tensor:
    """Return weights of an output in the loss that are neither equal nor random."""
    return torch.linspace(-1, 1, max(tensor.numel(), 1), dtype=tensor.dtype)[
        : tensor.numel()
    ].view_as(tensor)


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in an input, an output or a state."""
    if value is None:
        return []
    if isinstance(value, PackedSequence):
        return [value.data]
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in _tensors(part)]


def _like(value: Any, tensors: list[Tensor]) -> Any:
    """Return the same input or state with other tensors."""
    if value is None:
        return None
    if isinstance(value, PackedSequence):
        return value._replace(data=tensors[0])
    return tensors[0] if isinstance(value, Tensor) else tuple(tensors)


def _difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """Return the largest difference, relative to the largest value of each tensor."""
    worst = 0.0
    for a, b in zip(expected, found, strict=True):
        if a.numel():
            scale = max(float(a.abs().max()), torch.finfo(a.dtype).tiny)
            worst = max(worst, float((a - b).abs().max()) / scale)
    return worst


def _milliseconds(*calls: _Call) -> tuple[float, float]:
    """Return median times of two calls, which take turns."""
    measures = {i: partial(seconds_per_call, call) for i, call in enumerate(calls)}
    times = interleave(measures, _LEAST_ROUNDS, min_seconds=_SECONDS)
    first, second = (1e3 * statistics.median(some) for some in times.values())
    return first, second


def _row(layer: AcceleratedLayer) -> tuple[str, ...]:
    kept = f"{layer.kept} ({layer.reason})" if layer.reason else layer.kept
    difference = "" if layer.difference is None else f"{layer.difference:.0e}"
    times = map(_times, (layer.training, layer.inference))
    return (layer.name or "model", layer.layer, kept, *times, difference)


def _times(pair: tuple[float, float] | None) -> str:
    """Return "12.3 -> 4.1 (3.0 x)"."""
    if pair is None:
        return ""
    before, after = pair
    return f"{before:.3g} -> {after:.3g} ({before / after:.1f} x)"
