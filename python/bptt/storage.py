"""Save modules to a file and load them again.

The file is a safetensors file: tensors ``module/parameter``, and in its metadata, as JSON under the
key ``bptt``, the class and the constructor's arguments of every module. It holds no code, and none
is run to load it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bptt.attention import Attention
from bptt.dropout import Dropout
from bptt.embedding import Embedding
from bptt.linear import Linear
from bptt.module import Module
from bptt.recurrent import GRU, LSTM, RNN

_CLASSES: dict[str, type[Module]] = {
    kind.__name__: kind for kind in (RNN, LSTM, GRU, Linear, Embedding, Dropout, Attention)
}
_NEEDED = "needs safetensors: pip install 'bptt[train]'"


def save_modules(
    path: str | os.PathLike[str],
    modules: Mapping[str, Module],
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Write `modules` and `metadata` to one safetensors file.

    The file appears whole or not at all: if writing fails or is interrupted, what was at `path`
    before is still there.

    Parameters
    ----------
    path : path
        The file; replaced if it exists.
    modules : mapping of str to Module
        Names to be found again by `load_modules`.
    metadata : mapping of str to object, optional
        Anything else that belongs to the model, fit for JSON: a vocabulary, how it was trained.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, a module is of a class of your own, or `metadata` does
        not fit JSON.
    ImportError
        If safetensors is not installed.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise ImportError(f"save_modules {_NEEDED}") from error
    file = _as_path(path)
    _check_mapping("modules", modules, "a mapping of names to modules")
    metadata = {} if metadata is None else metadata
    _check_mapping("metadata", metadata, "a mapping")
    tensors: dict[str, NDArray[Any]] = {}
    description = {}
    for name, module in modules.items():
        if not isinstance(name, str):
            raise TypeError(f"names of modules must be strings, got {type(name).__name__}")
        if type(module) not in _CLASSES.values():  # of a subclass, only half would be saved
            kinds, kind = ", ".join(_CLASSES), type(module).__name__
            raise TypeError(f"modules[{name!r}] must be one of {kinds}, got {kind}")
        description[name] = {"class": type(module).__name__, "config": module.config}
        for parameter, value in module.parameters.items():
            tensors[f"{name}/{parameter}"] = value
    header = {"format": 1, "modules": description, "metadata": dict(metadata)}
    # One key only: safetensors writes several in any order, and equal models should be equal files.
    _write_atomically(file, save(tensors, {"bptt": json.dumps(header)}))


def load_modules(path: str | os.PathLike[str]) -> tuple[dict[str, Module], dict[str, Any]]:
    """Read what `save_modules` wrote.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    modules : dict of str to Module
    metadata : dict

    Raises
    ------
    TypeError
        If `path` is neither a string nor a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a whole file of `save_modules`: broken, of other origin, of an unknown class,
        with tensors missing, left over, or of wrong shape or dtype.
    ImportError
        If safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(f"load_modules {_NEEDED}") from error
    file_path = _as_path(path)
    try:
        with safe_open(file_path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("bptt", "{}"))
            if header.get("format") != 1:
                raise ValueError("it is no file of bptt.save_modules, format 1")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        modules = {
            name: _rebuild(name, entry, tensors) for name, entry in header["modules"].items()
        }
        if tensors:
            raise ValueError(f"it holds tensors of no module: {', '.join(tensors)}")
        metadata: dict[str, Any] = header["metadata"]
    except (SafetensorError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"cannot load {file_path}: {error}") from error
    return modules, metadata


def _as_path(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a string or a path, got {type(path).__name__}")
    return Path(path)


def _check_mapping(name: str, value: object, rule: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be {rule}, got {type(value).__name__}")


def _rebuild(name: str, entry: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Module:
    """Make the module that `entry` describes, and take its parameters out of `tensors`."""
    if entry["class"] not in _CLASSES:
        raise ValueError(f"{name} must be one of {', '.join(_CLASSES)}, got {entry['class']}")
    module = _CLASSES[entry["class"]](**entry["config"])
    for parameter in module.parameters:
        key = f"{name}/{parameter}"
        if key not in tensors:
            raise ValueError(f"the tensor {key} is missing")
        module[parameter] = tensors.pop(key)
    return module


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a new file beside `path` and rename it, which is one step for every reader."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or the name could reach the disk before the content
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C too
        temporary.unlink(missing_ok=True)
        raise
