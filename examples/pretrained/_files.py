"""Tensors from files of ONNX, read without this library."""

from __future__ import annotations

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
