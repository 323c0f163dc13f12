"""Files of safetensors: a JSON header with type, shape and place of every tensor, then the numbers.

Read here, not by the package safetensors: it has no bfloat16 for NumPy.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bptt._core.tensor_files import broken_file_errors, without_duplicates
from bptt.importers._buffers import BFLOAT16, MAX_AXES, item_size, numbers
from bptt.importers._foreign import ForeignModel
from bptt.importers._torch_layers import layers_of

_DTYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": BFLOAT16,
    "BOOL": "bool",
}


def read_safetensors(path: Path) -> ForeignModel:
    """Read a file of safetensors, in which layers have PyTorch's names.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged.
    """
    tensors: dict[str, NDArray[Any]] = {}
    others: dict[str, str] = {}
    content = path.read_bytes()
    with broken_file_errors(f"cannot load {path}"):
        begin = 8 + int.from_bytes(content[:8], "little")
        data = memoryview(content)[begin:]
        left = len(data)  # tensors that overlap would be larger together
        for name, entry in _header(content[8:begin]).items():
            shape, start, end = _place(name, entry, len(data))
            left -= end - start
            if left < 0:
                raise ValueError("its tensors are larger than the file")
            dtype = _DTYPES.get(entry["dtype"])
            if dtype is None:
                others[name] = f"({entry['dtype']})"
            elif end - start != math.prod(shape) * item_size(dtype):
                raise ValueError(f"{name!r} of shape {shape} does not fit its place in the file")
            else:
                tensors[name] = numbers(data[start:end], dtype).reshape(shape)
        layers, rest = layers_of(tensors)
    return ForeignModel(
        path=path, library="PyTorch", tensors=tensors, layers=layers, others=rest | others
    )


def _header(text: bytes) -> dict[str, Any]:
    """Return type, shape and place of every tensor by its name."""
    try:
        header = json.loads(text, object_pairs_hook=without_duplicates)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its header is damaged") from None
    if not isinstance(header, dict):
        raise ValueError("its header must be an object of JSON")
    header.pop("__metadata__", None)
    return header


def _place(name: str, entry: Any, size: int) -> tuple[tuple[int, ...], int, int]:
    """Return shape, start and end of a tensor, which is in the `size` bytes of all."""
    if not isinstance(entry, dict) or not isinstance(entry["dtype"], str):
        raise ValueError(f"{name!r} must be described by an object")
    shape, place = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(place, list) or len(place) != 2:
        raise ValueError(f"{name!r} must have a shape and a place")
    sizes = (*shape, *place)
    if not all(type(n) is int and 0 <= n <= size for n in sizes) or place[0] > place[1]:
        raise ValueError(f"{name!r} must have a shape and a place in the file, got {sizes}")
    if len(shape) > MAX_AXES:
        raise ValueError(f"{name!r} must have at most {MAX_AXES} axes, got {len(shape)}")
    return tuple(shape), place[0], place[1]
