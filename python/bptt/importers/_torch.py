"""Weights of PyTorch's recurrent modules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bptt._core import checks
from bptt.importers._weights import (
    TORCH,
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

_NAME = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_l(\d{1,4}))?(_reverse)?")


def from_torch(
    kind: type[Layer], tensors: Mapping[str, ArrayLike], prefix: str = "", **options: Any
) -> Layer:
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
        Modules without biases have none of both. Names of other modules are ignored. Half
        precision becomes float32.
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
        If a weight, or one of two biases, is missing.
    TypeError, ValueError
        If the library has no such layer or option, a name is none of such a module, a dtype is not
        one of floats, or a shape does not fit.
    """
    cell = Kind.of(TORCH, kind)
    check_plain(options)
    checks.fields("tensors", tensors)
    prefix = checks.instance("prefix", prefix, str)
    names = Names.of(tensors, prefix)
    if names.projects and cell.name != "LSTM":
        raise ValueError(f"weight_hr, a projection, needs an LSTM, got kind {cell.name}")
    names.check(tensors)
    layers: list[list[Weights]] = []
    for suffix in names.suffixes:
        below = len(layers[0]) * layers[0][0].hh.shape[1] if layers else None  # its outputs
        layers.append([_weights(tensors, names, suffix + d, cell, below) for d in names.directions])
    first = layers[0][0].hr
    projected = 0 if first is None else len(first)
    check_option(options, "proj_size", projected, "that of the tensors")
    if not projected:
        del options["proj_size"]
    if cell.name == "GRU":
        check_option(options, "reset_after", True, "as of all GRUs of PyTorch")
    return build(kind, layers, cell.order, options)


class Names(NamedTuple):
    """What the names of the tensors of a recurrent module say."""

    prefix: str
    suffixes: list[str]
    """Of every layer: "_l0", "_l1", .., or "" for a single cell."""
    directions: tuple[str, ...]
    """"" and, with two directions, "_reverse"."""
    biased: bool
    projects: bool
    found: frozenset[str]

    @classmethod
    def of(cls, tensors: Mapping[str, Any], prefix: str) -> Names:
        """Read the names that begin with a prefix."""
        found = {}
        for full in tensors:
            match = _NAME.fullmatch(full.removeprefix(prefix)) if _has(full, prefix) else None
            if match is not None:
                found[full] = match
        stacked = f"{prefix}weight_ih" not in found
        count = 1 + max((int(match[2] or 0) for match in found.values()), default=0)
        suffixes = [f"_l{i}" for i in range(min(count, 1 + len(found)))] if stacked else [""]
        both = any(match[3] for match in found.values())
        biased, projects = (
            any(match[1].startswith(name) for match in found.values())
            for name in ("bias", "weight_hr")
        )
        directions = ("", "_reverse")[: 1 + both]
        return cls(prefix, suffixes, directions, biased, projects, frozenset(found))

    def check(self, tensors: Mapping[str, Any]) -> None:
        """Check that all names are there, and that none looks like one of them but is not."""
        parts = ["weight_ih", "weight_hh"]
        parts += ["bias_ih", "bias_hh"] * self.biased + ["weight_hr"] * self.projects
        expected = [
            f"{self.prefix}{part}{suffix}{direction}"
            for suffix in self.suffixes
            for direction in self.directions
            for part in parts
        ]
        missing = [name for name in expected if name not in tensors]
        if missing and not self.found:
            raise KeyError(f"{missing[0]!r} is missing in tensors{_other_prefixes(tensors)}")
        looks = re.compile(r"(weight|bias)_?(ih|hh|hr)")
        place = len(self.prefix)
        for full in tensors:
            if _has(full, self.prefix) and full not in expected and looks.match(full[place:]):
                close = difflib.get_close_matches(full, expected, 1, 0.6)
                hint = f": is it {close[0]!r}?" if close else ""
                raise ValueError(f"{full!r} is no name of such a module{hint}")
        if missing:
            there = ", ".join(map(repr, sorted(self.found)))
            raise KeyError(f"{missing[0]!r} is missing in tensors, beside {there}")


def _has(name: Any, prefix: str) -> bool:
    return isinstance(name, str) and name.startswith(prefix)


def _other_prefixes(tensors: Mapping[Any, Any]) -> str:
    """Return a hint at the prefixes with which there are weights."""
    found = {
        name[: -len(match[0])]
        for name in tensors
        if isinstance(name, str)
        for match in re.finditer(r"weight_ih(_l0)?$", name)
    }
    return f"; prefixes with recurrent weights: {', '.join(map(repr, sorted(found)))}" * bool(found)


def _weights(
    tensors: Mapping[str, ArrayLike],
    names: Names,
    suffix: str,
    cell: Kind,
    inputs: int | None,
) -> Weights:
    """Return the weights of one layer and direction."""
    prefix = names.prefix

    def array(name: str, dimensions: int) -> Any:
        full = f"{prefix}{name}{suffix}"
        return array_of(full, tensors[full], dimensions) if full in names.found else None

    ih, hh = array("weight_ih", 2), array("weight_hh", 2)
    rows = len(ih)
    size = hidden_size(f"{prefix}weight_ih{suffix}", rows, cell)
    hr = array("weight_hr", 2)
    projected = size if hr is None else len(hr)
    columns = ih.shape[1] if inputs is None else inputs
    gates = len(cell.order)
    check_shape(f"{prefix}weight_ih{suffix}", ih, f"({gates}*hidden_size, inputs)", (rows, columns))
    symbol = "hidden_size" if hr is None else "proj_size"
    symbols = f"({gates}*hidden_size, {symbol})"
    check_shape(f"{prefix}weight_hh{suffix}", hh, symbols, (rows, projected))
    if hr is not None:
        check_shape(f"{prefix}weight_hr{suffix}", hr, "(proj_size, hidden_size)", (projected, size))
    biases = [array(name, 1) for name in ("bias_ih", "bias_hh")]
    for name, bias in zip(("bias_ih", "bias_hh"), biases, strict=True):
        if bias is not None:
            check_shape(f"{prefix}{name}{suffix}", bias, f"({gates}*hidden_size,)", (rows,))
    none = np.zeros(rows, ih.dtype)
    first, second = (none if bias is None else bias for bias in biases)
    return Weights(ih, hh, first, second, hr)
