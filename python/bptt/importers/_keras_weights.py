"""Arrays in files of Keras: to which layer they belong, and what it is without a configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bptt.importers._foreign import ForeignLayer
from bptt.importers._keras_layers import dense, refused_layer, token_embedding
from bptt.importers._keras_parts import Arrays, RefusedError, Version
from bptt.importers._keras_recurrent import DIRECTIONS, NAMES, Cell, recurrent
from bptt.nn.recurrent import GRU, LSTM, RNN

_KINDS: dict[int, Any] = {1: RNN, 3: GRU, 4: LSTM}  # by the number of gates
_SIGMOID = (2, 3)  # the version since which it is the default of gates


def split(path: str) -> tuple[str, str]:
    """Return the layer and the name of an array by its path.

    Arrays of recurrent layers are named "kernel", "recurrent_kernel" and "bias", with "forward/" or
    "backward/" before it in a Bidirectional layer; those of others Keras 3 numbers.

    Examples
    --------
    >>> split("lstm_1/lstm_1/lstm_cell/kernel:0")
    ('lstm_1/lstm_1', 'kernel')
    >>> split("layers/bidirectional/forward_layer/cell/vars/0")
    ('layers/bidirectional', 'forward/kernel')
    """
    *parts, last = path.split("/")
    name, direction = last.partition(":")[0], ""
    numbers = parts[-1:] == ["vars"]
    if numbers:
        parts.pop()
    if len(parts) > 1 and (parts[-1] == "cell" or parts[-1].endswith("_cell")):
        parts.pop()
        if numbers and name in ("0", "1", "2"):
            name = NAMES[int(name)]
    if len(parts) > 1 and parts[-1] == "layer":  # of a TimeDistributed
        parts.pop()
    if len(parts) > 1:
        first, _, rest = parts[-1].partition("_")
        if first in DIRECTIONS and (rest == "layer" or not numbers):
            parts.pop()
            direction = f"{first}/"
    return "/".join(parts), f"{direction}{name}"


def guessed(name: str, path: str, arrays: Arrays, version: Version) -> ForeignLayer | None:
    """Return a layer by the names and shapes of its arrays; None if it is none that is known.

    Parameters
    ----------
    name : str
        Name of the layer.
    path : str
        That of `split`, in which Keras 3 has the class of the layer.
    arrays : mapping of str to array
    version : tuple or None
        Version of Keras; files without one are of 2.12 or newer.
    """
    names = {array.rpartition("/")[2] for array in arrays}
    kind = path.rpartition("/")[2].rstrip("0123456789").removesuffix("_")
    numbered = names in ({"0"}, {"0", "1"})
    try:
        if "recurrent_kernel" in names:
            return _recurrent(name, arrays, version)
        if names == {"embeddings"} or (numbered and kind == "embedding"):
            return token_embedding(name, arrays)
        is_dense = names in ({"kernel"}, {"kernel", "bias"})
        if is_dense or (numbered and kind in ("dense", "time_distributed")):
            return dense(name, arrays, None, {})
    except RefusedError as refused:
        return refused_layer(name, kind, arrays, str(refused))
    return None


def _recurrent(name: str, arrays: Arrays, version: Version) -> ForeignLayer:
    """Return a recurrent layer: the number of its gates shows its kind."""
    both = all(f"{direction}/recurrent_kernel" in arrays for direction in DIRECTIONS)
    if not both:  # a layer with such a name
        arrays = {array.rpartition("/")[2]: value for array, value in arrays.items()}
    before = f"{DIRECTIONS[0]}/" if both else ""
    weight, bias = arrays[f"{before}recurrent_kernel"], arrays.get(f"{before}bias")
    hidden, columns = weight.shape if weight.ndim == 2 else (0, 0)
    kind = _KINDS.get(columns // hidden if hidden and not columns % hidden else 0)
    if kind is None:
        raise RefusedError(f"its recurrent_kernel has shape {weight.shape}")
    cudnn = kind is not RNN and bias is not None and bias.shape == (2 * columns,)
    made = recurrent(name, Cell(kind, cudnn, {}), arrays, both=both, expected={})
    unknown = ["pool"] + ["merge"] * both + ["activation"] * (not cudnn)
    note = f"not in the file: {', '.join(unknown)}"
    if kind is RNN or cudnn:
        return replace(made, note=note)
    needed = version is not None and version < _SIGMOID
    return _asking(made, note, needed, kind is GRU and bias is None)


def _asking(layer: ForeignLayer, note: str, gates: bool, reset: bool) -> ForeignLayer:
    """Return a layer whose `build` asks for what the file does not have."""
    needs = {
        "gate_activation": gates and "Keras before 2.3 has hard_sigmoid_keras2 by default",
        "reset_after": reset and "Keras has True by default since 2.3",
    }
    make = layer.make
    assert make is not None

    def asking(**options: Any) -> Any:
        for option, why in needs.items():
            if why and option not in options:
                raise ValueError(f"{layer.name!r} needs {option}, which is not in the file: {why}")
        return make(**options)

    texts = [note, *(f"needs {option}: {why}" for option, why in needs.items() if why)]
    if not gates:
        texts[0] += ", gate_activation"
    return replace(layer, note="; ".join(texts), make=asking)
