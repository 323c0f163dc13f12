"""Recurrent layers of Keras: what their configuration and their arrays become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from bptt.importers._foreign import ForeignLayer
from bptt.importers._keras import from_keras
from bptt.importers._keras_config import LayerConfig, layer_config
from bptt.importers._keras_parts import (
    Arrays,
    RefusedError,
    Version,
    check_expected,
    function_name,
    named,
    shapes_of,
)
from bptt.importers._weights import KERAS, check_option
from bptt.nn.activations import ACTIVATIONS
from bptt.nn.recurrent import GRU, LSTM, RNN

NAMES = ("kernel", "recurrent_kernel", "bias")
"""Arrays of a recurrent layer, or of each direction, in the order of Keras."""

DIRECTIONS = ("forward", "backward")

_CELLS: dict[str, Any] = {"SimpleRNN": RNN, "LSTM": LSTM, "GRU": GRU}
_CUDNN: dict[str, Any] = {"CuDNNLSTM": LSTM, "CuDNNGRU": GRU}
_MERGES = {"concat": "concat", "sum": "sum", "mul": "mul", "ave": "mean"}
_DEFAULTS = {"activation": "tanh", "gate_activation": "sigmoid", "merge": "concat"}

RECURRENT = (*_CELLS, *_CUDNN)
"""Classes of Keras, without Bidirectional."""


class Cell(NamedTuple):
    """What is known of a recurrent layer beside its arrays.

    Attributes
    ----------
    kind : type
        `RNN`, `LSTM` or `GRU`.
    cudnn : bool
        Whether the arrays have CuDNN's layout.
    options : dict
        Arguments of the layer that the file has.
    pool : str or None
    """

    kind: Any
    cudnn: bool
    options: dict[str, Any]
    pool: str | None = None


def of_one_direction(layer: LayerConfig, arrays: Arrays, version: Version) -> ForeignLayer:
    """Return a SimpleRNN, LSTM, GRU, CuDNNLSTM or CuDNNGRU."""
    plain = {name.rpartition("/")[2]: value for name, value in arrays.items()}
    made = recurrent(layer.name, _cell(layer, version), plain, both=False, expected=layer.config)
    return replace(made, note=_rates(layer))


def of_both_directions(layer: LayerConfig, arrays: Arrays, version: Version) -> ForeignLayer:
    """Return a Bidirectional layer."""
    merge = layer.config.get("merge_mode", "concat")
    if not isinstance(merge, str) or merge not in _MERGES:
        raise RefusedError(f"merge_mode is {merge!r}, and bptt has {', '.join(_MERGES)}")
    inner = layer_config(layer.config["layer"])
    cell = _cell(inner, version)
    if layer.config.get("backward_layer") is not None:
        backward = layer_config(layer.config["backward_layer"])
        forward = backward._replace(config={**backward.config, "go_backwards": False})
        if not backward.config.get("go_backwards") or _cell(forward, version) != cell:
            raise RefusedError("layer and backward_layer differ in more than the direction")
    cell.options["merge"] = _MERGES[merge]
    made = recurrent(layer.name, cell, arrays, both=True, expected=inner.config)
    return replace(made, note=_rates(inner))


def recurrent(
    name: str, cell: Cell, arrays: Arrays, *, both: bool, expected: Mapping[str, Any]
) -> ForeignLayer:
    """Return a recurrent layer.

    Parameters
    ----------
    name : str
    cell : Cell
    arrays : mapping of str to array
        By `NAMES`, with "forward/" or "backward/" before it if there are both directions.
    both : bool
    expected : mapping
        Arguments of the layer, which must fit the arrays.
    """
    kind, before = cell.kind, [f"{d}/" for d in DIRECTIONS] if both else [""]
    found = named(arrays, [f"{direction}{array}" for direction in before for array in NAMES])
    weights, gates = list(found.values()), len(KERAS[kind])
    kernel, biased = found.get(f"{before[0]}kernel"), f"{before[0]}bias" in found
    if kernel is None or kernel.ndim != 2 or kernel.shape[1] % gates:
        raise RefusedError(f"its arrays are not those of a layer with {gates} gates")
    if len(weights) != len(before) * (2 + biased):
        raise RefusedError(f"it has the arrays {', '.join(found)} alone")
    inputs, hidden = kernel.shape[0], kernel.shape[1] // gates
    for direction in before:
        shape = found[f"{direction}recurrent_kernel"].shape
        if shape != (hidden, gates * hidden):
            rule = f"({hidden}, {gates * hidden}) of a layer with {gates} gates"
            raise RefusedError(f"its recurrent_kernel has shape {shape}, not {rule}")
    check_expected(expected, hidden, biased)
    shown = {option: v for option, v in cell.options.items() if v != _DEFAULTS.get(option, False)}
    if kind is GRU and biased:
        shown["reset_after"] = cell.cudnn or weights[2].ndim == 2
    shown = {"bidirectional": both, **shown}
    text = "".join(f", {option}={value!r}" for option, value in shown.items() if value)

    def make(**further: Any) -> Any:
        for option, value in cell.options.items():
            check_option(further, option, value, f"that of {name!r} in the file")
        return from_keras(kind, weights, bidirectional=both, cudnn=cell.cudnn, **further)

    concatenated = both and cell.options.get("merge", "concat") == "concat"
    return ForeignLayer(
        name=name,
        kind=kind.__name__,
        shapes=shapes_of(found),
        gates=KERAS[kind],
        becomes=f"{kind.__name__}({inputs}, {hidden}{text})",
        inputs=inputs,
        outputs=hidden * (1 + concatenated),
        pool=cell.pool,
        make=make,
    )


# ---- configuration -------------------------------------------------------------------------------


def _cell(layer: LayerConfig, version: Version) -> Cell:
    """Return what a recurrent layer's configuration says, or refuse it."""
    if layer.custom or layer.kind not in RECURRENT:
        raise RefusedError(f"the layer inside is {layer.custom or layer.kind}")
    config = layer.config
    if config.get("go_backwards"):
        raise RefusedError("it has go_backwards=True, and layers of bptt have no such option")
    options: dict[str, Any] = {}
    if layer.kind in _CELLS:
        options["activation"] = _activation(config)
    if layer.kind in ("LSTM", "GRU"):
        options["gate_activation"] = _gate_activation(config, version)
    if layer.kind == "GRU":
        options["reset_after"] = bool(config.get("reset_after", False))
    if config.get("time_major"):
        options["time_major"] = True
    pool = None if config.get("return_sequences", False) else "last"
    return Cell({**_CELLS, **_CUDNN}[layer.kind], layer.kind in _CUDNN, options, pool)


def _activation(config: Mapping[str, Any]) -> str:
    name = function_name(config.get("activation", "tanh"))
    if name not in ACTIVATIONS:
        raise RefusedError(f"its activation is {name}, and bptt has {', '.join(ACTIVATIONS)}")
    return name


def _gate_activation(config: Mapping[str, Any], version: Version) -> str:
    name = function_name(config.get("recurrent_activation", "sigmoid"))
    if name == "sigmoid":
        return name
    if name != "hard_sigmoid":
        rule = "and bptt has sigmoid and hard_sigmoid"
        raise RefusedError(f"its recurrent_activation is {name}, {rule}")
    if version is None:
        raise RefusedError(
            "its recurrent_activation is hard_sigmoid, which is another function since Keras 3, "
            "and the file does not have its version"
        )
    return "hard_sigmoid" if version[0] >= 3 else "hard_sigmoid_keras2"


def _rates(layer: LayerConfig) -> str:
    """Return the note of the dropout in training."""
    names = ("dropout", "recurrent_dropout")
    rates = [f"{name}={layer.config[name]}" for name in names if layer.config.get(name)]
    return f"was trained with {', '.join(rates)}" if rates else ""
