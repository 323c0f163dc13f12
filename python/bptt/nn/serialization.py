"""Serialization of modules to safetensors files.

A file holds the tensors ``module/parameter`` and, in its metadata, as JSON under the key ``bptt``,
class and constructor arguments of every module. It contains no code, and loading executes none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from bptt._core.tensor_files import as_path, read_file, write_file
from bptt.nn.attention import Attention
from bptt.nn.dropout import Dropout
from bptt.nn.elementwise import ReLU, Sigmoid, Tanh
from bptt.nn.embedding import Embedding, EmbeddingBag
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.normalization import LayerNorm
from bptt.nn.recurrent import LAYERS

_CLASSES: dict[str, type[Module]] = {
    kind.__name__: kind
    for kind in (
        *LAYERS,
        Linear,
        Embedding,
        EmbeddingBag,
        Dropout,
        Attention,
        LayerNorm,
        ReLU,
        Tanh,
        Sigmoid,
    )
}


def save_modules(
    path: str | os.PathLike[str],
    modules: Mapping[str, Module],
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Write modules and metadata to a safetensors file.

    Writing is atomic: if it fails or is interrupted, a file that was at `path` before is unchanged.

    Parameters
    ----------
    path : str or path
        File to write; replaced if it exists.
    modules : mapping of str to Module
        Modules of the library's classes, by name.
    metadata : mapping of str to object, optional
        JSON-serializable data that belong to the model, such as a vocabulary.

    Raises
    ------
    TypeError
        If an argument has the wrong type, a module is of another class, or `metadata` is not
        JSON-serializable.
    ImportError
        If safetensors is not installed.
    """
    file = as_path(path)
    _check_mapping("modules", modules, "a mapping of names to modules")
    metadata = {} if metadata is None else metadata
    _check_mapping("metadata", metadata, "a mapping")
    tensors, description = pack_modules(modules)
    header = {"format": 1, "modules": description, "metadata": dict(metadata)}
    write_file(file, tensors, header)


def load_modules(path: str | os.PathLike[str]) -> tuple[dict[str, Module], dict[str, Any]]:
    """Read a file written by `save_modules`.

    Parameters
    ----------
    path : str or path
        File to read.

    Returns
    -------
    modules : dict of str to Module
        Modules by name.
    metadata : dict
        Metadata as given to `save_modules`.

    Raises
    ------
    TypeError
        If `path` is neither a string nor a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is corrupt or was not written by `save_modules`, a class is unknown, or tensors
        are missing, unexpected, or of the wrong shape or dtype.
    ImportError
        If safetensors is not installed.
    """
    tensors, header = read_file(path, 1, "bptt.save_modules, format 1")
    try:
        modules = unpack_modules(header["modules"], tensors)
        if tensors:
            raise ValueError(f"tensors must belong to modules, got others: {', '.join(tensors)}")
        metadata: dict[str, Any] = header["metadata"]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"cannot load {path}: {error}") from error
    return modules, metadata


def pack_modules(
    modules: Mapping[str, Module],
) -> tuple[dict[str, NDArray[Any]], dict[str, dict[str, Any]]]:
    """Return the parameters as tensors "module/parameter", and a JSON-serializable description."""
    tensors: dict[str, NDArray[Any]] = {}
    description: dict[str, dict[str, Any]] = {}
    for name, module in modules.items():
        if not isinstance(name, str):
            raise TypeError(f"names of modules must be strings, got {type(name).__name__}")
        if type(module) not in _CLASSES.values():  # attributes of a subclass would be lost
            kinds, kind = ", ".join(_CLASSES), type(module).__name__
            raise TypeError(f"modules[{name!r}] must be one of {kinds}, got {kind}")
        description[name] = {"class": type(module).__name__, "config": module.config}
        for parameter, value in module.parameters.items():
            tensors[f"{name}/{parameter}"] = value
    return tensors, description


def unpack_modules(
    description: Mapping[str, dict[str, Any]], tensors: dict[str, NDArray[Any]]
) -> dict[str, Module]:
    """Make the modules that `pack_modules` described; remove their tensors from `tensors`."""
    return {name: _rebuild(name, entry, tensors) for name, entry in description.items()}


def _check_mapping(name: str, value: object, rule: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be {rule}, got {type(value).__name__}")


def _rebuild(name: str, entry: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Module:
    """Make the module that `entry` describes; remove its tensors from `tensors`."""
    if entry["class"] not in _CLASSES:
        raise ValueError(f"{name} must be one of {', '.join(_CLASSES)}, got {entry['class']}")
    module = _CLASSES[entry["class"]](**entry["config"])
    for parameter in module.parameters:
        key = f"{name}/{parameter}"
        if key not in tensors:
            raise ValueError(f"tensor {key} is missing")
        module[parameter] = tensors.pop(key)
    return module
