"""Tensors from files of PyTorch and ONNX, read without these libraries; no code is executed."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Fields of ONNX's protocol buffers: ModelProto, GraphProto, TensorProto.
GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
FLOAT = 1


def onnx_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the float32 tensors that an ONNX file stores as raw data."""
    found = {}
    for field, graph in _fields(memoryview(path.read_bytes())):
        for inner, tensor in _fields(graph) if field == GRAPH else ():
            if inner != INITIALIZER:
                continue
            fields = list(_fields(tensor))
            values = dict(fields)
            shape = [size for field, size in fields if field == DIMS]
            if values[DATA_TYPE] == FLOAT and RAW_DATA in values:
                array = np.frombuffer(values[RAW_DATA], "<f4").reshape(shape)
                found[bytes(values[NAME]).decode()] = array
    return found


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """Split a protocol buffers message into (field number, integer or bytes)."""
    at = 0

    def integer() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = message[at], at + 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        field, kind = divmod(integer(), 8)
        if kind == 0:
            yield field, integer()
            continue
        size = {1: 8, 5: 4}.get(kind) or integer()
        yield field, message[at : at + size]
        at += size


def torch_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a state_dict in a file of torch.save, a zip archive of a pickle.

    The pickle may use only the three types of a state_dict; anything else is an error.
    """
    with zipfile.ZipFile(path) as archive:
        (index,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = index.removesuffix("data.pkl")
        tensors = _StateDict(archive, folder).load()
    return dict(tensors)


class _StateDict(pickle.Unpickler):
    """Unpickler of a float32 state_dict, which rejects everything else."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")))
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch.FloatStorage": np.dtype("<f4"),
        }
        if f"{module}.{name}" not in known:
            raise ValueError(f"a state_dict must be of {', '.join(known)}, got {module}.{name}")
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        _, dtype, key, _, _ = pid
        return np.frombuffer(self._archive.read(f"{self._folder}data/{key}"), dtype)


def _tensor(
    storage: NDArray[Any], offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """Return a contiguous tensor of a storage."""
    size = math.prod(shape)
    usual = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    if stride != usual:
        raise ValueError(f"tensors must be contiguous, got strides {stride} of {shape}")
    return storage[offset : offset + size].reshape(shape)
