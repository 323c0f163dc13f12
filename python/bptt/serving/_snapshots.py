"""Files of all sessions: safetensors with the states, and a header with the keys."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.tensor_files import broken_file_errors, read_file, write_file
from bptt.serving._network import SteppedNetwork

_FORMAT = "sessions 1"
_OPTIONS = ("capacity", "idle", "when_full")


class Snapshot(NamedTuple):
    """All sessions at one time, the one stepped longest ago first."""

    keys: list[Hashable]
    ages: NDArray[np.float64]
    """Seconds since the last step of each."""
    states: Sequence[FloatArray]
    """(num_layers, sessions, H) each."""
    options: Mapping[str, Any]
    """Arguments of `Sessions`."""


def write_snapshot(path: str | os.PathLike[str], snapshot: Snapshot, digest: str) -> None:
    """Write a snapshot of sessions of the model with this digest."""
    for key in snapshot.keys:
        if type(key) not in (str, int):  # JSON has no others, and True would be read as 1
            rule = "keys in a file must be strings or integers"
            raise TypeError(f"{rule}, got {key!r} of type {type(key).__name__}")
    tensors = {f"state/{i}": array for i, array in enumerate(snapshot.states)}
    header = {
        "format": _FORMAT,
        "model": digest,
        "options": snapshot.options,
        "keys": snapshot.keys,
    }
    write_file(path, {**tensors, "ages": snapshot.ages}, header, allow_nan=True)


def read_snapshot(path: str | os.PathLike[str], network: SteppedNetwork) -> Snapshot:
    """Read a snapshot of sessions of this model."""
    tensors, header = read_file(path, _FORMAT, "bptt.Sessions", allow_nan=True, need_checksum=True)
    with broken_file_errors(f"cannot load {path}"):
        checks.fields("the header", header, "model", "options", "keys")
        keys = _keys(header["keys"])
        _check_shapes(tensors, network, len(keys))
        if header["model"] != network.digest():
            raise ValueError("its sessions are of another model, with other parameters")
        ages = tensors["ages"]
        if not (np.isfinite(ages) & (ages >= 0)).all():
            raise ValueError("ages must be finite and >= 0")
        states = [tensors[f"state/{i}"] for i in range(len(network.shapes))]
        given = checks.fields("options", header["options"], *_OPTIONS)
        options = {name: given[name] for name in _OPTIONS}
    return Snapshot(keys, ages, states, options)


def _keys(found: Any) -> list[Hashable]:
    keys: list[Hashable] = checks.instance("keys", found, list)
    for key in keys:
        if type(key) not in (str, int):
            raise TypeError(f"keys must be strings or integers, got {type(key).__name__}")
    if len(set(keys)) < len(keys):
        raise ValueError("keys must be distinct")
    return keys


def _check_shapes(tensors: Mapping[str, NDArray[Any]], network: SteppedNetwork, count: int) -> None:
    """Check that the tensors are those of `count` sessions of this model."""
    dtype = network.dtype.name
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        f"state/{i}": ((n, count, s), dtype) for i, (n, s) in enumerate(network.shapes)
    }
    expected["ages"] = ((count,), "float64")
    found = {name: (array.shape, array.dtype.name) for name, array in tensors.items()}
    if found != expected:
        raise ValueError(
            f"its sessions are of another model: they have states {_shown(found)}, "
            f"not {_shown(expected)}"
        )


def _shown(tensors: Mapping[str, tuple[tuple[int, ...], str]]) -> str:
    shapes = [f"{shape} of {dtype}" for name, (shape, dtype) in tensors.items() if name != "ages"]
    return ", ".join(shapes) or "none"
