"""Tensor files: safetensors with a JSON header in the metadata.

They contain no code, and reading executes none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def as_path(path: object, name: str = "path") -> Path:
    """Check that `path` is a string or a path; return it as a Path."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a string or a path, got {type(path).__name__}")
    return Path(path)


def need_safetensors(what: str) -> None:
    """Raise ImportError if safetensors is not installed; `what` begins the message."""
    if find_spec("safetensors") is None:
        raise ImportError(f"{what} needs safetensors: pip install 'bptt[train]'")


def write_file(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]
) -> None:
    """Write tensors and header to a file, atomically.

    Parameters
    ----------
    path : str or path
        File to write; replaced if it exists.
    tensors : mapping of str to array
        Tensors by name.
    header : mapping
        JSON-serializable data.

    Raises
    ------
    TypeError
        If `path` is not a path, or the header is not JSON-serializable.
    FileNotFoundError
        If there is no such directory.
    ImportError
        If safetensors is not installed.
    """
    need_safetensors("saving")
    import json

    from safetensors.numpy import save

    # One key only: the order of several is not defined, and equal models should give equal files.
    metadata = {"bptt": json.dumps(header)}
    _write_atomically(as_path(path), save(dict(tensors), metadata))


def read_file(
    path: str | os.PathLike[str], expected: Any, what: str
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read tensors and header of a file.

    Parameters
    ----------
    path : str or path
        File to read.
    expected : object
        Value of "format" in the header.
    what : str
        Kind of file, for the error message.

    Returns
    -------
    tensors : dict of str to array
    header : dict

    Raises
    ------
    TypeError
        If `path` is not a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is corrupt or has another format.
    ImportError
        If safetensors is not installed.
    """
    need_safetensors("loading")
    import json

    from safetensors import SafetensorError, safe_open

    file_path = as_path(path)
    try:
        with safe_open(file_path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("bptt", "{}"))
            if header.get("format") != expected:
                raise ValueError(f"it is not a file of {what}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"cannot load {file_path}: {error}") from error
    return tensors, header


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of processes that were killed while writing `path`."""
    import glob

    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file in the same directory and rename it, which is atomic."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"No such directory: {path.parent}")
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise the name could reach the disk before the content
        os.replace(temporary, path)
    except BaseException:  # KeyboardInterrupt as well
        temporary.unlink(missing_ok=True)
        raise
