"""Weights of Keras' recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._core import checks
from bptt.importers._weights import (
    KERAS,
    Kind,
    Layer,
    Weights,
    array_of,
    build,
    check_option,
    check_plain,
    check_shape,
    hidden_size,
)


def from_keras(
    kind: type[Layer],
    weights: Sequence[ArrayLike],
    *,
    bidirectional: bool = False,
    cudnn: bool = False,
    **options: Any,
) -> Layer:
    """Return a layer with the weights of a Keras layer.

    Parameters
    ----------
    kind : type
        `RNN`, `LSTM` or `GRU`.
    weights : sequence of arrays
        The layer's ``get_weights()``: kernel (I, G*H), recurrent_kernel (H, G*H) and bias (G*H,),
        or (2, G*H) for a GRU with ``reset_after=True``; without the bias of ``use_bias=False``. For
        a ``Bidirectional`` layer these of each direction. Half precision becomes float32.
    bidirectional : bool, default False
        Whether they are those of a ``Bidirectional`` layer.
    cudnn : bool, default False
        Whether the weights are those of a CuDNNLSTM or CuDNNGRU of Keras before 3, in which the
        block of each gate is stored as its transpose and the bias is (2*G*H,).
    **options
        Further arguments of the layer: `gate_activation` is "hard_sigmoid_keras2" for the
        hard_sigmoid of Keras before 3, the default there before 2.3; `merge` for a
        ``Bidirectional`` layer; `reset_after`, which a GRU without bias needs and which the bias of
        others shows.

    Returns
    -------
    RNN, LSTM or GRU
        With the sizes, directions and dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        If the library has no such layer or option, there is another number of arrays, a dtype is
        not one of floats, or a shape does not fit.
    """
    cell = Kind.of(KERAS, kind)
    check_plain(options)
    check_option(options, "proj_size", 0, "the library's LSTM has no projection")
    del options["proj_size"]
    both, cudnn = checks.flag("bidirectional", bidirectional), checks.flag("cudnn", cudnn)
    weights = checks.items("weights", weights)
    counts = {2: (4, 6), 1: (2, 3)}[1 + both]
    if len(weights) not in counts:
        raise ValueError(_wrong_number(len(weights), both))
    of_one = len(weights) // (1 + both)
    directions, forms = [], []
    for start in range(0, len(weights), of_one):
        where = "" if not both else f" of direction {start // of_one}"
        found, form = _direction(weights[start : start + of_one], where, cell, cudnn)
        directions.append(found)
        forms.append(form)
    if both:
        _check_alike(directions)
    if cell.name == "GRU":
        _set_reset_after(options, forms)
    return build(kind, [directions], cell.order, options)


def _wrong_number(count: int, both: bool) -> str:
    rule = "kernel, recurrent_kernel and bias (or the first two)"
    if both:
        return f"weights must be {rule} of each direction, got {count} arrays"
    hint = ""
    if count in (4, 6):
        hint = (
            ": of a Bidirectional layer they need bidirectional=True, of two layers each layer "
            "has its own"
        )
    return f"weights must be {rule} of one layer, got {count} arrays{hint}"


def _direction(
    weights: Sequence[ArrayLike], where: str, cell: Kind, cudnn: bool
) -> tuple[Weights, bool | None]:
    """Return the weights of one direction, and whether there are two biases (None: none at all)."""
    kernel = array_of(f"kernel{where}", weights[0], 2)
    recurrent = array_of(f"recurrent_kernel{where}", weights[1], 2)
    gates, columns = len(cell.order), kernel.shape[1]
    if columns % gates and not len(kernel) % gates:
        raise ValueError(
            f"kernel{where} must have shape (inputs, {gates}*hidden_size), got {kernel.shape}: is "
            "it the transpose, as PyTorch has it? Then use from_torch"
        )
    size = hidden_size(f"the transpose of kernel{where}", columns, cell)
    symbols = f"(hidden_size, {gates}*hidden_size)"
    check_shape(f"recurrent_kernel{where}", recurrent, symbols, (size, columns))
    bias, two = np.zeros(columns, kernel.dtype), None
    if len(weights) == 3:
        bias, two = _bias(f"bias{where}", weights[2], columns, cell, cudnn)
    if cudnn:
        parts = np.hsplit(kernel, gates)
        kernel = np.hstack([part.T.reshape(part.shape, order="F") for part in parts])
        recurrent = np.hstack([part.T for part in np.hsplit(recurrent, gates)])
    ih, hh = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    return Weights(kernel.T, recurrent.T, ih, hh), two


def _bias(
    name: str, value: ArrayLike, columns: int, cell: Kind, cudnn: bool
) -> tuple[NDArray[Any], bool]:
    """Return a bias, (G*H,) or (2, G*H), and whether it is the latter."""
    dimensions = np.ndim(value)
    bias = array_of(name, value, 2 if dimensions == 2 else 1)
    gates = len(cell.order)
    if cudnn:
        check_shape(name, bias, f"(2*{gates}*hidden_size,)", (2 * columns,))
        return bias.reshape(2, -1), True
    if bias.ndim == 2 and cell.name != "GRU":
        raise ValueError(f"{name} must have shape ({columns},), got {bias.shape}: is it of a GRU?")
    if bias.ndim == 2:
        check_shape(name, bias, f"(2, {gates}*hidden_size)", (2, columns))
        return bias, True
    hint = " (a CuDNN layer's: cudnn=True?)" if len(bias) == 2 * columns else ""
    check_shape(f"{name}{hint}", bias, f"({gates}*hidden_size,)", (columns,))
    return bias, False


def _check_alike(directions: Sequence[Weights]) -> None:
    """Check that the two directions have the same sizes."""
    shapes = [weights.ih.T.shape for weights in directions]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the kernels of the two directions must have the same shape, got {shapes[0]} and "
            f"{shapes[1]}: are they of two layers? Then each layer has its own"
        )


def _set_reset_after(options: dict[str, Any], forms: Sequence[bool | None]) -> None:
    """Set what the biases of a GRU show, or check what is given."""
    if len(set(forms)) > 1:
        raise ValueError("the biases of the two directions must have the same shape")
    if forms[0] is None:
        if "reset_after" not in options:
            raise ValueError("a GRU without bias needs reset_after: Keras' default is True")
        return
    shape = "(2, 3*hidden_size)" if forms[0] else "(3*hidden_size,)"
    check_option(options, "reset_after", forms[0], f"as the bias of shape {shape} shows")
