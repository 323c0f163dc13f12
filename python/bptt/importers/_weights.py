"""Weights of one layer and direction, which the importers of every library fill in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.nn.recurrent import GRU, LSTM, RNN
from bptt.nn.recurrent_base import Recurrent

Layer = TypeVar("Layer", bound=Recurrent[Any])

# Gates, by the names of `bptt.nn.cells`, in the order of the other library's blocks.
Gates: TypeAlias = Mapping[type[Recurrent[Any]], tuple[str, ...]]
TORCH: Gates = {
    RNN: ("hidden",),
    LSTM: ("input", "forget", "cell", "output"),
    GRU: ("reset", "update", "candidate"),
}
KERAS: Gates = {**TORCH, GRU: ("update", "reset", "candidate")}
ONNX: Gates = {**KERAS, LSTM: ("input", "output", "forget", "cell")}


class Weights(NamedTuple):
    """Weights of one layer and direction, as in PyTorch, with any order of the gates."""

    ih: NDArray[Any]  # (G*H, I)
    hh: NDArray[Any]  # (G*H, H), or (G*H, P) if h is projected
    bias_ih: NDArray[Any]  # (G*H,)
    bias_hh: NDArray[Any]  # (G*H,)
    hr: NDArray[Any] | None = None  # (P, H), of a projection


class Kind(NamedTuple):
    """A cell of the other library.

    Attributes
    ----------
    name : str
        "RNN", "LSTM" or "GRU".
    order : tuple of int
        Where the blocks of rows of our layer are in the other library's arrays.
    """

    name: str
    order: tuple[int, ...]

    @classmethod
    def of(cls, gates: Gates, kind: Any) -> Kind:
        """Return the cell that a class of layers stands for.

        Raises
        ------
        TypeError, ValueError
            If `kind` is not a class of layers that the library has.
        """
        if not isinstance(kind, type):
            raise TypeError(f"kind must be a class such as LSTM, got {type(kind).__name__}")
        known = next((layer for layer in gates if issubclass(kind, layer)), None)
        if known is None:
            names = ", ".join(layer.__name__ for layer in gates)
            raise ValueError(
                f"kind must be one of {names}, which the library has, got {kind.__name__}"
            )
        order = tuple(gates[known].index(gate) for gate in known.variants[0].gates)
        return cls(known.__name__, order)


def array_of(name: str, value: Any, dimensions: int) -> NDArray[Any]:
    """Return an array of floats in the machine's byte order.

    Half precision (float16, bfloat16) becomes float32, which has all its numbers.

    Raises
    ------
    TypeError, ValueError
        If `value` is no array of floats, or has another number of dimensions.
    """
    if hasattr(value, "detach"):  # of PyTorch, where it is needed for gradients
        value = value.detach()
        if str(getattr(value, "dtype", "")) == "torch.bfloat16":
            value = value.float()
    checks.not_masked(name, value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be an array: {error}") from None
    if array.dtype == np.float16 or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    checks.floats(name, array)
    if array.ndim != dimensions:
        raise ValueError(f"{name} must have {dimensions} dimensions, got shape {array.shape}")
    return array


def check_shape(name: str, array: NDArray[Any], symbols: str, shape: tuple[int, ...]) -> None:
    """Check the shape of one of the arrays, by its name in the other library."""
    if array.shape != shape:
        guess = ""
        if array.ndim == 2 and array.T.shape == shape:
            guess = ": it is the transpose, as another library has it"
        raise ValueError(f"{name} must have shape {symbols} = {shape}, got {array.shape}{guess}")


def hidden_size(name: str, rows: int, kind: Kind) -> int:
    """Return H from the number of rows (or columns) of all gates."""
    gates = len(kind.order)
    if rows % gates or not rows:
        raise ValueError(
            f"{name} must have {gates}*hidden_size rows, {gates} gates of the {kind.name}, got "
            f"{rows}: are they of another kind of cell?"
        )
    return rows // gates


def check_plain(options: Mapping[str, Any]) -> None:
    """Check that there are no peepholes or coupled gates, which the library does not have."""
    for name in ("peephole", "coupled", "layer_norm"):
        if options.get(name, False) is not False:
            rule = f"{name} must be False: the library's layers have no such option"
            raise ValueError(f"{rule}, got {checks.shown(options[name])}")


def check_option(options: dict[str, Any], name: str, value: Any, why: str) -> None:
    """Check that an option, if it is given, has the value of the arrays; put it there."""
    given = options.pop(name, value)
    if given != value or type(given) is not type(value):
        rule = f"{name} must be {value}, {why}"
        raise ValueError(f"{rule}, got {checks.shown(given)}")
    options[name] = value


def build(
    kind: type[Layer],
    layers: Sequence[Sequence[Weights]],
    order: Sequence[int],
    options: Mapping[str, Any],
) -> Layer:
    """Return a layer with the weights of each layer and direction; `order` sorts their gates."""
    first = layers[0][0]
    shape: dict[str, Any] = {
        "input_size": first.ih.shape[1],
        "hidden_size": len(first.ih) // len(order),
        "num_layers": len(layers),
        "bidirectional": len(layers[0]) == 2,
        "dtype": first.ih.dtype.name,
    }
    arguments = dict(options)
    for name, value in shape.items():
        check_option(arguments, name, value, "that of the weights")
    layer = kind(**arguments)
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


def _reorder(array: NDArray[Any], order: Sequence[int]) -> NDArray[Any]:
    """Return a copy with the blocks of rows in the order of the layer."""
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[i] for i in order])
