"""Layers of Keras: what their configuration and their arrays become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bptt.importers._foreign import ForeignLayer, embedding, layer_norm, linear
from bptt.importers._keras_config import TIME_DISTRIBUTED, LayerConfig, layer_config
from bptt.importers._keras_parts import (
    FUNCTIONS,
    Arrays,
    RefusedError,
    Version,
    check_expected,
    function_name,
    named,
    shapes_of,
)
from bptt.importers._keras_recurrent import RECURRENT, of_both_directions, of_one_direction

PASSED = (
    *("InputLayer", "Masking", "Dropout", "SpatialDropout1D", "GaussianDropout", "AlphaDropout"),
    *("GaussianNoise", "ActivityRegularization"),
)
"""Layers that do nothing at inference, or mark padding."""

_POOLS = {"GlobalAveragePooling1D": "mean", "GlobalMaxPooling1D": "max"}


def foreign_layer(layer: LayerConfig, arrays: Arrays, version: Version) -> ForeignLayer:
    """Return a layer of the file; one that bptt does not have is refused by its `build`.

    Parameters
    ----------
    layer : LayerConfig
    arrays : mapping of str to array
        The layer's, by the names of `split`.
    version : tuple or None
        Version of Keras, if it is known.
    """
    try:
        if layer.custom:
            raise RefusedError(f"{layer.custom} is not a class of Keras")
        if layer.kind not in _MAKERS:
            raise RefusedError(_no_such_layer(layer.kind))
        return _MAKERS[layer.kind](layer, arrays, version)
    except RefusedError as refused:
        return refused_layer(layer.name, layer.kind, arrays, str(refused))


def refused_layer(name: str, kind: str, arrays: Arrays, why: str) -> ForeignLayer:
    """Return a layer that `build` refuses."""
    shapes = shapes_of(arrays)
    return ForeignLayer(name=name, kind=kind, shapes=shapes, becomes="–", note=why, refusal=why)


def _no_such_layer(kind: str) -> str:
    if kind == "Lambda":
        return "a Lambda is code, which is never loaded"
    if kind in (*_POOLS, "Activation", "ReLU", "Softmax"):
        return f"{kind} is read only after a layer that has neither a function nor a pooling"
    return f"bptt has no {kind}"


def folded(before: ForeignLayer | None, layer: LayerConfig) -> ForeignLayer | None:
    """Return the layer before with the function or pooling of this one; None if it has neither.

    Such layers have no weights: a Sequential has them after another layer.
    """
    if before is None or before.refusal or layer.custom:
        return None
    if before.activation not in (None, "identity"):
        return None
    function, config = _function_of(layer), layer.config
    if function is not None:
        note = "; ".join(filter(None, (before.note, _then(function))))
        return replace(before, activation=function, note=note)
    is_pool = layer.kind in _POOLS and before.gates and before.pool is None
    if is_pool and not config.get("keepdims") and config.get("data_format") != "channels_first":
        return replace(before, pool=_POOLS[layer.kind])
    return None


def _function_of(layer: LayerConfig) -> str | None:
    """Return the function of a layer that is nothing else, by its name in bptt."""
    config = layer.config
    if layer.kind == "Activation":
        return function_name(config.get("activation"))
    if layer.kind == "Softmax" and config.get("axis", -1) == -1:
        return "softmax"
    others = ("max_value", "negative_slope", "threshold")
    return "relu" if layer.kind == "ReLU" and not any(map(config.get, others)) else None


def _then(function: str) -> str:
    """Return the note of a function after a layer."""
    if function == "identity":
        return ""
    left = "" if function in FUNCTIONS.values() else ", which is left out"
    return f"then {function}{left}"


def _dense(layer: LayerConfig, arrays: Arrays, version: Version) -> ForeignLayer:
    function = function_name(layer.config.get("activation"))
    return dense(layer.name, arrays, function, layer.config)


def dense(
    name: str, arrays: Arrays, function: str | None, expected: Mapping[str, Any]
) -> ForeignLayer:
    """Return a Dense layer; `function` follows it, None if it is unknown."""
    found = named(arrays, ("kernel", "bias"))
    kernel, bias = found.get("kernel"), found.get("bias")
    if kernel is None or kernel.ndim != 2:
        raise RefusedError("it has no kernel of two dimensions")
    if bias is not None and bias.shape != kernel.shape[1:]:
        raise RefusedError(f"its bias has shape {bias.shape}, its kernel {kernel.shape}")
    check_expected(expected, kernel.shape[1], bias is not None)
    note = "its activation is not in the file" if function is None else _then(function)
    return linear(name, kernel.T, bias, shapes_of(found), activation=function, note=note)


def _time_distributed(layer: LayerConfig, arrays: Arrays, version: Version) -> ForeignLayer:
    inner = layer_config(layer.config["layer"])
    if inner.custom or inner.kind != "Dense":
        raise RefusedError(f"the layer inside is {inner.custom or inner.kind}, not Dense")
    return _dense(inner._replace(name=layer.name), arrays, version)


def _embedding(layer: LayerConfig, arrays: Arrays, version: Version) -> ForeignLayer:
    masked = layer.config.get("mask_zero")
    return token_embedding(
        layer.name, arrays, "id 0 was masked as padding: give lengths" if masked else ""
    )


def token_embedding(name: str, arrays: Arrays, note: str = "") -> ForeignLayer:
    """Return an Embedding."""
    found = named(arrays, ("embeddings",))
    weight = found.get("embeddings")
    if weight is None or weight.ndim != 2:
        raise RefusedError("it has no embeddings of two dimensions")
    return embedding(name, weight, shapes_of(found), note=note)


def _layer_norm(layer: LayerConfig, arrays: Arrays, version: Version) -> ForeignLayer:
    config = layer.config
    names = [
        n for n, option in (("gamma", "scale"), ("beta", "center")) if config.get(option, True)
    ]
    found, axis = named(arrays, names), config.get("axis", -1)
    if axis not in (-1, [-1]):
        raise RefusedError(f"its axis is {axis!r}, not the last one")
    if config.get("rms_scaling"):
        raise RefusedError("it has rms_scaling=True, and LayerNorm has no such option")
    if not names or set(found) != set(names) or len({a.shape for a in found.values()}) != 1:
        raise RefusedError("its arrays are not gamma and beta of a LayerNormalization")
    first = next(iter(found.values()))
    if first.ndim != 1:
        raise RefusedError(f"its arrays must have one dimension, they have {first.ndim}")
    weights = {
        "weight": found.get("gamma", np.ones_like(first)),
        "bias": found.get("beta", np.zeros_like(first)),
    }
    epsilon = config.get("epsilon", 1e-3)
    return layer_norm(layer.name, weights, shapes_of(found), epsilon, activation="identity")


_MAKERS: dict[str, Callable[[LayerConfig, Arrays, Version], ForeignLayer]] = {
    **dict.fromkeys(RECURRENT, of_one_direction),
    "Bidirectional": of_both_directions,
    "Dense": _dense,
    TIME_DISTRIBUTED: _time_distributed,
    "Embedding": _embedding,
    "LayerNormalization": _layer_norm,
}
