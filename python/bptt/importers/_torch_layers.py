"""Layers among tensors with PyTorch's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from numpy.typing import NDArray

from bptt.importers._foreign import ForeignLayer, embedding, layer_norm, linear
from bptt.importers._torch import Names, from_torch
from bptt.importers._weights import TORCH
from bptt.nn.recurrent import GRU, LSTM, RNN

Tensors = Mapping[str, NDArray[Any]]

_RECURRENT = re.compile(r"(?:^|(?<=\.))(?:weight|bias)_(?:ih|hh|hr)(?:_l\d+)?(?:_reverse)?$")
_KINDS = {1: RNN, 3: GRU, 4: LSTM}  # by the number of gates
_NOTES = {"RNN": 'activation="relu" if its nonlinearity is relu'}
_TWO_KINDS = "without bias: its place in a chain says which; else build one of its readings"
_NORM = (
    "in a chain a LayerNorm; a GroupNorm, which bptt does not have, has the same arrays; "
    "epsilon=1e-5 unless it is given"
)


def layers_of(tensors: Tensors) -> tuple[dict[str, ForeignLayer], dict[str, str]]:
    """Return the layers that the names of tensors show, and names and shapes of the others."""
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in tensors.items():
        match = _RECURRENT.search(name)
        end = match.start() if match else name.rfind(".") + 1
        groups.setdefault(name[:end], {})[name] = array
    layers: dict[str, ForeignLayer] = {}
    others: dict[str, str] = {}
    for prefix, group in groups.items():
        layer = _layer(prefix, group)
        used = set() if layer is None else {prefix + name for name in layer.shapes}
        if layer is not None:
            layers[layer.name] = layer
        others |= {name: str(a.shape) for name, a in group.items() if name not in used}
    return layers, others


def _layer(prefix: str, group: Tensors) -> ForeignLayer | None:
    """Return the layer of the tensors with a prefix, or None if they are of no known one."""
    if any(map(_RECURRENT.search, group)):
        return _recurrent(prefix, group)
    weight, bias = group.get(f"{prefix}weight"), group.get(f"{prefix}bias")
    if weight is not None and bias is not None and weight.ndim == 1 and len(group) == 2:
        return _norm(prefix.removesuffix("."), weight, bias)
    if weight is None or weight.ndim != 2 or not weight.size or weight.dtype.kind != "f":
        return None
    name, shapes = prefix.removesuffix("."), {"weight": weight.shape}
    if bias is None:
        readings = {
            "Embedding": embedding(name, weight, shapes),
            "Linear": linear(name, weight, None, shapes),
        }
        return ForeignLayer(
            name=name,
            kind="Embedding or Linear",
            shapes=shapes,
            becomes=" or ".join(one.becomes for one in readings.values()),
            inputs=weight.shape[1],
            outputs=weight.shape[0],
            note=_TWO_KINDS,
            readings=readings,
        )
    if bias.shape != weight.shape[:1] or bias.dtype != weight.dtype:
        return None
    return linear(name, weight, bias, shapes | {"bias": bias.shape})


def _norm(name: str, weight: NDArray[Any], bias: NDArray[Any]) -> ForeignLayer | None:
    """Return a normalization; that over batches has more arrays."""
    same = weight.shape == bias.shape and weight.dtype == bias.dtype
    if not same or not weight.size or weight.dtype.kind != "f":
        return None
    size, shapes = weight.size, {"weight": weight.shape, "bias": bias.shape}
    reading = layer_norm(name, {"weight": weight, "bias": bias}, shapes)
    return ForeignLayer(
        name=name,
        kind="LayerNorm or GroupNorm",
        shapes=shapes,
        becomes=reading.becomes,
        inputs=size,
        outputs=size,
        note=_NORM,
        readings={"LayerNorm": reading},
    )


def _recurrent(prefix: str, group: Tensors) -> ForeignLayer | None:
    """Return a recurrent layer; its kind follows from the number of gates."""
    names = Names.of(group, prefix)
    first = names.suffixes[0]
    arrays = [group.get(f"{prefix}{part}{first}") for part in ("weight_ih", "weight_hh")]
    ih, hh = arrays
    if ih is None or hh is None or ih.ndim != 2 or hh.ndim != 2 or ih.dtype.kind != "f":
        return None
    hr = group.get(f"{prefix}weight_hr{first}")
    of_hidden = hh if hr is None else hr
    size = of_hidden.shape[1] if of_hidden.ndim == 2 else 0
    gates, rest = divmod(len(ih), size) if size else (0, 0)
    if rest or gates not in _KINDS or not ih.size:
        return None
    kind = _KINDS[gates]
    note = _NOTES.get(kind.__name__, "")
    try:
        names.check(group)
    except (KeyError, ValueError) as error:
        note = str(error.args[0])
    directions, layers = len(names.directions), len(names.suffixes)
    options = {"num_layers": layers} if layers > 1 else {}
    options |= {"bidirectional": True} if directions > 1 else {}
    options |= {"proj_size": hh.shape[1]} if hr is not None else {}
    options |= {"reset_after": True} if kind is GRU else {}
    texts = [str(ih.shape[1]), str(size), *(f"{name}={value}" for name, value in options.items())]
    return ForeignLayer(
        name=prefix.removesuffix("."),
        kind=kind.__name__,
        shapes={name[len(prefix) :]: group[name].shape for name in group if name in names.found},
        gates=TORCH[kind],
        becomes=f"{kind.__name__}({', '.join(texts)})",
        inputs=ih.shape[1],
        outputs=directions * hh.shape[1],
        note=note,
        make=partial(from_torch, kind, group, prefix),
    )
