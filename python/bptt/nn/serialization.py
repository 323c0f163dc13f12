"""Serialization of modules to safetensors files.

A file holds the tensors ``module/parameter`` and, in its metadata, as JSON under the key ``bptt``,
class and constructor arguments of every module. The tensors of a `Sequential` are
``model/0.parameter``, with the index of the module. It contains no code, and loading executes none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from bptt._core.tensor_files import as_path, checked_metadata
from bptt.nn import packing
from bptt.nn.module import Module
from bptt.nn.packing import CLASSES, Description, Packed, Tensors
from bptt.nn.sequential import Sequential


def save_modules(
    path: str | os.PathLike[str],
    modules: Mapping[str, Module | Sequential],
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Write modules and metadata to a safetensors file.

    Writing is atomic: if it fails or is interrupted, a file that was at `path` before is unchanged.

    Parameters
    ----------
    path : str or path
        File to write; replaced if it exists.
    modules : mapping of str to Module or Sequential
        Modules of the library's classes, by name.
    metadata : mapping of str to object, optional
        JSON-serializable data that belong to the model, such as a vocabulary.

    Raises
    ------
    TypeError
        If an argument has the wrong type, a module is of another class, or `metadata` is not
        JSON-serializable.
    ValueError
        If a name or the path is not valid Unicode.
    ImportError
        If safetensors is not installed.
    """
    file = as_path(path)
    if isinstance(modules, (Module, Sequential)):
        kind = type(modules).__name__
        rule = "modules must be a mapping of names to modules"
        raise TypeError(f'{rule}, got {kind}: use {{"model": model}}')
    _check_mapping("modules", modules, "a mapping of names to modules")
    packing.write(file, _packed(modules), checked_metadata(metadata))


def load_modules(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file written by `save_modules` or `Sequential.save`.

    Parameters
    ----------
    path : str or path
        File to read.

    Returns
    -------
    modules : dict of str to Module or Sequential
        Modules by name; that of `Sequential.save` is called "model".
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
    with packing.reading(path) as content:
        modules = unpack_modules(content.descriptions, content.tensors)
    return modules, content.metadata


def pack_modules(modules: Mapping[str, Module]) -> tuple[Tensors, dict[str, Description]]:
    """Return the parameters as tensors "module/parameter", and a JSON-serializable description."""
    packed = _packed(modules)
    tensors = {key: value for one in packed.values() for key, value in one.tensors.items()}
    return tensors, {name: one.description for name, one in packed.items()}


def unpack_modules(description: Mapping[str, Description], tensors: Tensors) -> dict[str, Any]:
    """Make the modules that `pack_modules` described; remove their tensors from `tensors`."""
    return {
        name: Sequential._unpack(name, entry, tensors)
        if entry["class"] == Sequential.__name__
        else packing.unpack(f"{name}/", entry, tensors)
        for name, entry in description.items()
    }


def _packed(modules: Mapping[str, Any]) -> dict[str, Packed]:
    packed = {}
    for name, module in modules.items():
        if not isinstance(name, str):
            raise TypeError(f"names of modules must be strings, got {type(name).__name__}")
        kinds = {**CLASSES, Sequential.__name__: Sequential}
        if type(module) not in kinds.values():  # attributes of a subclass would be lost
            kind = type(module).__name__
            raise TypeError(f"modules[{name!r}] must be one of {', '.join(kinds)}, got {kind}")
        chain = isinstance(module, Sequential)
        packed[name] = module._pack(name) if chain else packing.pack(f"{name}/", module)
    return packed


def _check_mapping(name: str, value: object, rule: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be {rule}, got {type(value).__name__}")
