"""Files of other libraries: the reader of each format, by the first bytes of the file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

from bptt._core.tensor_files import as_path
from bptt.importers._foreign import ForeignModel
from bptt.importers._keras_files import read_keras
from bptt.importers._onnx_files import read_onnx
from bptt.importers._safetensors_files import read_safetensors
from bptt.importers._torch_files import read_torch

_ZIP = b"PK\x03\x04"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LEGACY_TORCH = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # the number in the pickle at its beginning
_ONNX = b"\x08"  # the field ir_version
_OWN = b'{"__metadata__":{"bptt":'  # header of safetensors

OWN = "bptt"
READERS: dict[str, Callable[[Path], ForeignModel]] = {
    "Keras": read_keras,
    "PyTorch": read_torch,
    "safetensors": read_safetensors,
    "ONNX": read_onnx,
}
"""Name of the format -> its reader."""


def read_file(path: str | os.PathLike[str]) -> ForeignModel:
    """Read a file of another library; nothing in it is executed.

    Parameters
    ----------
    path : path
        Of PyTorch (``.pt``, ``.pth``, in both formats), safetensors, Keras (``.h5``, ``.keras``) or
        ONNX. The content decides, not the name.

    Returns
    -------
    ForeignModel
        Its tensors and layers; `ForeignModel.chain` makes a network of them.

    Raises
    ------
    TypeError
        If `path` is neither a string nor a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or of no such format.
    ImportError
        If a package that reads the format is not installed.
    """
    file = as_path(path)
    if file.is_dir():
        raise IsADirectoryError(f"Is a directory: {file}")
    format = format_of(file)
    if format == OWN:
        hint = "bptt.load_modules or bptt.load_estimator"
        raise ValueError(f"cannot load {file}: it is a file of bptt: use {hint}")
    if format is None:
        known = "PyTorch, safetensors, Keras or ONNX"
        raise ValueError(f"cannot load {file}: it is not a file of {known}")
    return READERS[format](file)


def format_of(path: Path) -> str | None:
    """Return the name of a file's format, `OWN` for a model of bptt; None if it is unknown."""
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(_ZIP):
        return _format_of_zip(path)
    if start.startswith(_HDF5):
        return "Keras"
    if _LEGACY_TORCH in start:
        return "PyTorch"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return OWN if start[8:].startswith(_OWN) else "safetensors"
    return "ONNX" if start.startswith(_ONNX) or path.suffix == ".onnx" else None


def _format_of_zip(path: Path) -> str:
    """Return "Keras" or "PyTorch", whose files are ZIP archives."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "Keras" if "config.json" in archive.namelist() else "PyTorch"
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return "PyTorch"  # a damaged one, of which its reader says what is wrong
