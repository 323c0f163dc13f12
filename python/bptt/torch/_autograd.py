"""The kernels as a differentiable function: of autograd, and as an operator for torch.compile."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bptt._core.checks import FloatArray
from bptt.torch import _kernels as kernels
from bptt.torch._kernels import Options, Packed


class Recurrence(torch.autograd.Function):  # type: ignore[misc]
    """y, h[, c] of input, initial state and weights, with backpropagation through time."""

    @staticmethod
    def forward(
        ctx: Any,
        packed: Packed,
        split: Callable[[FloatArray], Sequence[Tensor]],
        lengths: Tensor | None,
        key: int | None,
        states: int,
        x: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """Run forward; `tensors` are `states` arrays of the state, then the weights.

        `split` returns the gradients of the weights from those in the kernels' order.
        """
        y, last, saved = kernels.forward(packed, x, tensors[:states], lengths, key, True)
        ctx.save_for_backward(x, y)  # which finds out whether they are changed before backward
        ctx.set_materialize_grads(False)
        ctx.packed, ctx.split, ctx.saved, ctx.states = packed, split, saved, states
        return (y, *last)

    @staticmethod
    def backward(ctx: Any, d_y: Tensor | None, *d_last: Tensor | None) -> tuple[Any, ...]:
        """Run backward: gradients for the arguments of `forward`."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "bptt.torch has no gradients of gradients (create_graph=True): "
                "use bptt.torch.restore(model) for them"
            )
        x, y = ctx.saved_tensors
        wants_input = ctx.needs_input_grad[5]
        found = kernels.backward(ctx.packed, ctx.saved, x, y, d_y, d_last, wants_input)
        d_x, d_initial, flat = found
        d_weights = ctx.split(flat)
        return (None, None, None, None, None, d_x, *d_initial[: ctx.states], *d_weights)


# ---- torch.compile
#
# The operator is opaque to the compiler. What forward keeps for backward cannot be among its
# outputs, which are tensors: one of them is a number by which it is found, and whose memory owns
# it, so that both live equally long.


class _Kept:
    """What backward needs, and an array of its number that keeps it alive."""

    def __init__(self, packed: Packed, saved: Any, number: int) -> None:
        self.packed, self.saved = packed, saved
        self._number = np.array([number], np.int64)
        self.__array_interface__ = self._number.__array_interface__


_numbers = itertools.count()
_kept: weakref.WeakValueDictionary[int, _Kept] = weakref.WeakValueDictionary()


def _number_of(packed: Packed, saved: Any) -> Tensor:
    number = next(_numbers)
    kept = _kept[number] = _Kept(packed, saved, number)
    return torch.from_numpy(np.asarray(kept))  # an array whose base is `kept`


def _options(sizes: Sequence[int], mode: str, dropout: float) -> Options:
    """Return options from the arguments of an operator, which are numbers."""
    features, hidden, projected, layers = sizes[:4]
    bias, both, first = map(bool, sizes[4:])
    return Options(mode, features, hidden, projected, layers, bias, both, first, dropout)


def _forward(
    x: Tensor,
    hx: list[Tensor],
    weights: list[Tensor],
    lengths: Tensor | None,
    key: Tensor | None,
    mode: str,
    sizes: list[int],
    dropout: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run forward; return y, h, c (empty if there is none) and the number of what is kept."""
    options = _options(sizes, mode, dropout)
    packed = kernels.pack(weights, options, keep or key is not None)
    number = None if key is None else int(key)
    y, last, saved = kernels.forward(packed, x, hx, lengths, number, keep)
    h, c = last if len(last) == 2 else (last[0], x.new_empty(0))
    return y, h, c, _number_of(packed, saved)


def _forward_shapes(x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return empty tensors of the shapes that `_forward` returns."""
    *_, mode, sizes, dropout, _ = arguments
    options = _options(sizes, mode, dropout)
    directions, h_size = 1 + options.bidirectional, options.proj_size or options.hidden_size
    rows = options.num_layers * directions
    batch = x.shape[0 if options.batch_first else 1]
    y = x.new_empty((*x.shape[:2], directions * h_size))
    h = x.new_empty((rows, batch, h_size))
    c = x.new_empty((rows, batch, options.hidden_size) if mode == "LSTM" else (0,))
    return y, h, c, torch.empty(1, dtype=torch.int64)


def _backward(
    number: Tensor,
    x: Tensor,
    y: Tensor,
    d_y: Tensor | None,
    d_last: list[Tensor],
    shapes: list[int],
    mode: str,
    sizes: list[int],
    dropout: float,
) -> list[Tensor]:
    """Run backward; return the gradients of x, of the state and of the weights."""
    kept = _kept.get(int(number))
    if kept is None:
        raise RuntimeError("bptt::recurrence must be differentiated in the process that ran it")
    options = _options(sizes, mode, dropout)
    d_x, d_initial, flat = kernels.backward(kept.packed, kept.saved, x, y, d_y, d_last, True)
    found = kernels.gradients(flat, _weight_shapes(shapes), options)
    return [d_x, *d_initial, *found]


def _backward_shapes(number: Tensor, x: Tensor, *arguments: Any) -> list[Tensor]:
    """Return empty tensors of the shapes that `_backward` returns."""
    *_, d_last, shapes, mode, sizes, dropout = arguments
    options = _options(sizes, mode, dropout)
    batch = x.shape[0 if options.batch_first else 1]
    rows = options.num_layers * (1 + options.bidirectional)
    states = [options.proj_size or options.hidden_size, options.hidden_size][: len(d_last)]
    d_initial = [x.new_empty((rows, batch, size)) for size in states]
    return [x.new_empty(x.shape), *d_initial, *map(x.new_empty, _weight_shapes(shapes))]


def _weight_shapes(flat: Sequence[int]) -> list[tuple[int, ...]]:
    """Return shapes from a list of pairs, where 0 stands for no second dimension."""
    return [(a, b) if b else (a,) for a, b in zip(flat[::2], flat[1::2], strict=True)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, hx, weights, _, _, ctx.mode, ctx.sizes, ctx.dropout, _ = inputs
    y, _, _, number = output
    ctx.save_for_backward(x, y, number)
    ctx.shapes = [size for weight in weights for size in (*weight.shape, 0)[:2]]
    ctx.states = len(hx)


def _differentiate(ctx: Any, d_y: Tensor, d_h: Tensor, d_c: Tensor, _: Tensor) -> tuple[Any, ...]:
    """Return the gradients for the arguments of `_forward`."""
    x, y, number = ctx.saved_tensors
    d_last = [d_h, d_c][: 1 + (ctx.mode == "LSTM")]
    d_x, *others = recurrence_backward(
        number, x, y, d_y, d_last, ctx.shapes, ctx.mode, ctx.sizes, ctx.dropout
    )
    d_initial, d_weights = others[: ctx.states], others[len(d_last) :]
    return (d_x, d_initial, d_weights, None, None, None, None, None, None)


recurrence = torch.library.custom_op("bptt::recurrence", _forward, mutates_args=())
recurrence.register_fake(_forward_shapes)
recurrence.register_autograd(_differentiate, setup_context=_keep)
recurrence_backward = torch.library.custom_op(
    "bptt::recurrence_backward", _backward, mutates_args=()
)
recurrence_backward.register_fake(_backward_shapes)
