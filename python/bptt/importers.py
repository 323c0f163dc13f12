"""Importers of trained weights: PyTorch, Keras, ONNX.

The equations are the same; the order of the gates, the orientation of matrices and the number of
biases differ. Shapes: I input_size, H hidden_size, P proj_size, D directions, G gates (RNN 1,
LSTM 4, GRU 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._core import checks
from bptt.nn.recurrent import GRU, LSTM, RNN
from bptt.nn.recurrent_base import Recurrent

__all__ = [
    "from_keras",
    "from_onnx",
    "from_torch",
]


_Layer = TypeVar("_Layer", bound=Recurrent[Any])

# Gates, by the names of `bptt.nn.cells`, in the order of the other library's blocks.
_Gates = Mapping[type[Recurrent[Any]], tuple[str, ...]]
_TORCH: _Gates = {
    RNN: ("hidden",),
    LSTM: ("input", "forget", "cell", "output"),
    GRU: ("reset", "update", "candidate"),
}
_KERAS: _Gates = {**_TORCH, GRU: ("update", "reset", "candidate")}
_ONNX: _Gates = {**_KERAS, LSTM: ("input", "output", "forget", "cell")}

_NO_PROJECTION = "the library's LSTM has no projection"


class _Weights(NamedTuple):
    """Weights of one layer and direction, as in PyTorch, with any order of the gates."""

    ih: NDArray[Any]  # (G*H, I)
    hh: NDArray[Any]  # (G*H, H)
    bias_ih: NDArray[Any]  # (G*H,)
    bias_hh: NDArray[Any]  # (G*H,)
    hr: NDArray[Any] | None = None  # (P, H), of a projection


def from_torch(
    kind: type[_Layer], tensors: Mapping[str, ArrayLike], prefix: str = "", **options: Any
) -> _Layer:
    """Return a layer with the weights of a PyTorch module.

    Parameters
    ----------
    kind : type
        `RNN`, `LSTM` or `GRU`.
    tensors : mapping of str to array
        The module's ``state_dict()``, or tensors of a safetensors file: ``weight_ih_l0`` (G*H, I),
        ``weight_hh_l0`` (G*H, H), ``bias_ih_l0`` and ``bias_hh_l0`` (G*H,), likewise ``_l1``, … for
        stacked layers and the suffix ``_reverse``; without ``_l0`` for a single cell (LSTMCell). Of
        an LSTM with ``proj_size`` also ``weight_hr_l0`` (P, H), and ``weight_hh_l0`` is (G*H, P).
        Biases are optional. Other names are ignored.
    prefix : str, default ""
        Prefix of all names, such as ``"encoder."``.
    **options
        Further arguments of the layer, such as `activation` or `time_major`.

    Returns
    -------
    RNN, LSTM or GRU
        With the sizes, number of layers, directions and dtype of the tensors.

    Raises
    ------
    KeyError
        If a weight is missing.
    TypeError, ValueError
        If the library has no such layer or option, a dtype is not float32 or float64, or a shape
        does not fit.
    """
    order = _order(_TORCH, kind)
    _check_plain(options)
    checks.fields("tensors", tensors)
    prefix = checks.instance("prefix", prefix, str)
    names = ["" if f"{prefix}weight_ih" in tensors else "_l0"]
    while f"{prefix}weight_ih_l{len(names)}" in tensors:
        names.append(f"_l{len(names)}")
    both = f"{prefix}weight_ih{names[0]}_reverse" in tensors
    suffixes = ("", "_reverse")[: 1 + both]
    projects = issubclass(kind, LSTM) and f"{prefix}weight_hr{names[0]}" in tensors
    layers = [[_of_torch(tensors, prefix, name + s, projects) for s in suffixes] for name in names]
    first = layers[0][0].hr
    _check_projection(options, 0 if first is None else len(first), "that of the tensors")
    if kind is GRU:
        options["reset_after"] = True
    return _build(kind, layers, order, options)


def from_keras(
    kind: type[_Layer], weights: Sequence[ArrayLike], *, cudnn: bool = False, **options: Any
) -> _Layer:
    """Return a layer with the weights of a Keras layer.

    Parameters
    ----------
    kind : type
        `RNN`, `LSTM` or `GRU`.
    weights : sequence of 3 or 6 arrays
        The layer's ``get_weights()``: kernel (I, G*H), recurrent_kernel (H, G*H) and bias (G*H,),
        or (2, G*H) for a GRU with ``reset_after=True``; for a ``Bidirectional`` layer these three
        of each direction.
    cudnn : bool, default False
        Whether the weights are those of a CuDNNLSTM or CuDNNGRU of Keras before 3, in which the
        block of each gate is stored as its transpose and the bias is (2*G*H,).
    **options
        Further arguments of the layer: `gate_activation` is "hard_sigmoid_keras2" for the
        hard_sigmoid of Keras before 3, the default there before 2.3; `merge` for a
        ``Bidirectional`` layer.

    Returns
    -------
    RNN, LSTM or GRU
        With the sizes, directions and dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        If the library has no such layer or option, there are not three or six arrays, a dtype is
        not float32 or float64, or a shape does not fit.
    """
    order = _order(_KERAS, kind)
    _check_plain(options)
    _check_projection(options, 0, _NO_PROJECTION)
    cudnn = checks.flag("cudnn", cudnn)
    weights = checks.items("weights", weights)
    if len(weights) not in (3, 6):
        rule = "kernel, recurrent_kernel and bias, of one direction or of two"
        raise ValueError(f"weights must be {rule}, got {len(weights)} arrays")
    directions = []
    for i in range(0, len(weights), 3):
        kernel, recurrent = (_array("kernel", w, 2) for w in weights[i : i + 2])
        bias = checks.floats("bias", np.asarray(weights[i + 2]))
        if cudnn:
            parts = np.hsplit(kernel, len(order))
            kernel = np.hstack([part.T.reshape(part.shape, order="F") for part in parts])
            recurrent = np.hstack([part.T for part in np.hsplit(recurrent, len(order))])
            bias = bias.reshape(2, -1)
        if kind is GRU:
            options["reset_after"] = bias.ndim == 2
        ih, hh = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
        directions.append(_Weights(kernel.T, recurrent.T, ih, hh))
    return _build(kind, [directions], order, options)


def from_onnx(
    kind: type[_Layer],
    W: ArrayLike,
    R: ArrayLike,
    B: ArrayLike | None = None,
    P: ArrayLike | None = None,
    **options: Any,
) -> _Layer:
    """Return a layer with the weights of an ONNX node.

    Parameters
    ----------
    kind : type
        `RNN`, `LSTM` or `GRU`.
    W : array (D, G*H, I)
        Input weights.
    R : array (D, G*H, H)
        Recurrent weights.
    B : array (D, 2*G*H), optional
        Biases of the input and of the recurrent product. Zero by default.
    P : array (D, 3*H), optional
        Peepholes of an LSTM.
    **options
        Further arguments of the layer: `reset_after` is the node's ``linear_before_reset``,
        `coupled` its ``input_forget``; ``time_major=True`` corresponds to ``layout`` 0.

    Returns
    -------
    RNN, LSTM or GRU
        With the sizes, directions and dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        If ONNX has no such layer, a dtype is not float32 or float64, a shape does not fit, or
        `peephole` is not whether there is a `P`.
    """
    order = _order(_ONNX, kind)
    _check_projection(options, 0, _NO_PROJECTION)
    W, R = _array("W", W, 3), _array("R", R, 3)
    B = np.zeros((len(W), 2 * W.shape[1]), W.dtype) if B is None else _array("B", B, 2)
    rows = W.shape[1]
    if not len(W) == len(R) == len(B) or B.shape[1] != 2 * rows:
        rule = f"(D, G*H, I), (D, G*H, H) and (D, 2*G*H) with G*H = {rows}"
        got = f"{W.shape}, {R.shape} and {B.shape}"
        raise ValueError(f"W, R and B must have the shapes {rule}, got {got}")
    directions = [_Weights(w, r, *np.split(b, 2)) for w, r, b in zip(W, R, B, strict=True)]
    if not issubclass(kind, LSTM):
        if P is not None:
            raise ValueError(f"P needs an LSTM, got {kind.__name__}")
        return _build(kind, [directions], order, options)
    peephole = checks.flag("peephole", options.pop("peephole", P is not None))
    if peephole != (P is not None):
        raise ValueError(f"peephole must be whether there is a P, got peephole={peephole}")
    coupled = checks.flag("coupled", options.get("coupled", False))
    if coupled:
        order = tuple(block - 1 for block in order[1:])  # without that of the input gate
        directions = [_coupled(weights) for weights in directions]
    layer = _build(kind, [directions], order, {**options, "peephole": peephole})
    if P is not None:
        P, H = _array("P", P, 2), layer.hidden_size
        if P.shape != (len(W), 3 * H):
            raise ValueError(f"P must have shape (D, 3*H) = ({len(W)}, {3 * H}), got {P.shape}")
        for peepholes, reverse in zip(P, ("", "_reverse"), strict=False):
            of_input, of_output, of_forget = np.split(peepholes, 3)
            layer[f"peephole_output_l0{reverse}"] = of_output
            layer[f"peephole_forget_l0{reverse}"] = -of_input if coupled else of_forget
            if not coupled:
                layer[f"peephole_input_l0{reverse}"] = of_input
    return layer


def _order(gates: _Gates, kind: type[Recurrent[Any]]) -> tuple[int, ...]:
    """Return where the blocks of rows of our layer are in the other library's arrays."""
    if not isinstance(kind, type):
        raise TypeError(f"kind must be a class such as LSTM, got {type(kind).__name__}")
    known = next((layer for layer in gates if issubclass(kind, layer)), None)
    if known is None:
        names = ", ".join(layer.__name__ for layer in gates)
        raise ValueError(f"kind must be one of {names}, which the library has, got {kind.__name__}")
    return tuple(gates[known].index(gate) for gate in known.variants[0].gates)


def _check_plain(options: Mapping[str, Any]) -> None:
    """Check that there are no peepholes or coupled gates, which the library does not have."""
    for name in ("peephole", "coupled"):
        if options.get(name, False) is not False:
            rule = f"{name} must be False: the library's LSTM has no such option"
            raise ValueError(f"{rule}, got {checks.shown(options[name])}")


def _check_projection(options: dict[str, Any], size: int, why: str) -> None:
    """Check that a `proj_size` among the options is this one, and put it there if it is not 0."""
    given = checks.integer("proj_size", options.pop("proj_size", size), 0)
    if given != size:
        raise ValueError(f"proj_size must be {size}, {why}, got {checks.shown(given)}")
    if size:
        options["proj_size"] = size


def _coupled(weights: _Weights) -> _Weights:
    """Return the weights of o, f and g if ONNX couples i and f: f = 1 − σ(a_i) = σ(−a_i)."""

    def without_input(array: NDArray[Any]) -> NDArray[Any]:
        if len(array) % 4:
            raise ValueError(f"weights must have 4*hidden_size rows, 4 gates, got {len(array)}")
        of_input, of_output, _, of_cell = np.split(array, 4)
        return np.concatenate([of_output, -of_input, of_cell])

    return _Weights(*map(without_input, weights[:4]))


def _of_torch(tensors: Mapping[str, ArrayLike], prefix: str, name: str, projects: bool) -> _Weights:
    kinds = ("weight_ih", "weight_hh", "weight_hr")[: 2 + projects]
    checks.fields("tensors", tensors, *(f"{prefix}{kind}{name}" for kind in kinds))
    ih = _array("weight_ih", tensors[f"{prefix}weight_ih{name}"], 2)
    hh = _array("weight_hh", tensors[f"{prefix}weight_hh{name}"], 2)
    none = np.zeros(len(ih), ih.dtype)
    bias_ih, bias_hh = (
        _array(b, tensors.get(f"{prefix}{b}{name}", none), 1) for b in ("bias_ih", "bias_hh")
    )
    hr = _array("weight_hr", tensors[f"{prefix}weight_hr{name}"], 2) if projects else None
    return _Weights(ih, hh, bias_ih, bias_hh, hr)


def _build(
    kind: type[_Layer],
    layers: Sequence[Sequence[_Weights]],
    order: tuple[int, ...],
    options: Mapping[str, Any],
) -> _Layer:
    """Return a layer with the weights of each layer and direction; `order` sorts their gates."""
    first = layers[0][0]
    layer = kind(
        input_size=first.ih.shape[1],
        hidden_size=max(len(first.ih) // len(order), 1),
        num_layers=len(layers),
        bidirectional=len(layers[0]) == 2,
        dtype=first.ih.dtype,
        **options,
    )
    for index, directions in enumerate(layers):
        for weights, reverse in zip(directions, ("", "_reverse"), strict=False):
            suffix = f"_l{index}{reverse}"
            ih, hh, bias_ih, bias_hh = (_reorder(array, order) for array in weights[:4])
            layer[f"weight_ih{suffix}"], layer[f"weight_hh{suffix}"] = ih, hh
            if f"bias_hn{suffix}" in layer:  # r multiplies it
                size = layer.hidden_size
                layer[f"bias_hn{suffix}"] = bias_hh[-size:]
                bias_hh[-size:] = 0
            layer[f"bias{suffix}"] = bias_ih + bias_hh
            if weights.hr is not None:
                layer[f"weight_hr{suffix}"] = weights.hr
    return layer


def _reorder(array: NDArray[Any], order: tuple[int, ...]) -> NDArray[Any]:
    """Return a copy with the blocks of rows in the order of the layer."""
    if len(array) % len(order):
        rule = f"weights must have {len(order)}*hidden_size rows, {len(order)} gates"
        raise ValueError(f"{rule}, got {len(array)}")
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[i] for i in order])


def _array(name: str, value: ArrayLike, dimensions: int) -> NDArray[Any]:
    array = checks.floats(name, np.asarray(value))
    if array.ndim != dimensions:
        raise ValueError(f"{name} must have {dimensions} dimensions, got shape {array.shape}")
    return array
