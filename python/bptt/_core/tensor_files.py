"""Files of tensors with a header: safetensors, with all else as JSON in its metadata.

No code is in such a file, and none is run to read it.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def as_path(path: object, name: str = "path") -> Path:
    """Check that something is a path."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a string or a path, got {type(path).__name__}")
    return Path(path)


def need_safetensors(what: str) -> None:
    """Raise an ImportError that says what to install, if safetensors is not."""
    if find_spec("safetensors") is None:
        raise ImportError(f"{what} needs safetensors: pip install 'bptt[train]'")


def write_file(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]
) -> None:
    """Write tensors and header, whole or not at all.

    Raises
    ------
    TypeError
        If `path` is no path, or the header does not fit JSON.
    ImportError
        If safetensors is not installed.
    """
    need_safetensors("saving")
    from safetensors.numpy import save

    # One key only: safetensors writes several in any order, and equal models should be equal files.
    metadata = {"bptt": json.dumps(header)}
    _write_atomically(as_path(path), save(dict(tensors), metadata))


def read_file(
    path: str | os.PathLike[str], expected: Any, what: str
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return tensors and header of a file whose header has the `expected` "format".

    Raises
    ------
    TypeError
        If `path` is no path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is broken, or something else than `what`.
    ImportError
        If safetensors is not installed.
    """
    need_safetensors("loading")
    from safetensors import SafetensorError, safe_open

    file_path = as_path(path)
    try:
        with safe_open(file_path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("bptt", "{}"))
            if header.get("format") != expected:
                raise ValueError(f"it is no file of {what}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"cannot load {file_path}: {error}") from error
    return tensors, header


def remove_leftovers(path: Path) -> None:
    """Remove what processes left behind that were killed while they wrote `path`."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


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
