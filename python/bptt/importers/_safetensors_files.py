"""Files of safetensors: a JSON header with type, shape and place of every tensor, then the numbers.

Read here, not by the package safetensors: it has no bfloat16 for NumPy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bptt._core.tensor_files import broken_file_errors
from bptt.importers._buffers import BFLOAT16, item_size, numbers
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
    with broken_file_errors(f"cannot load {path}"):
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header, data = json.loads(content[8:end]), memoryview(content)[end:]
        header.pop("__metadata__", None)
        left = len(data)  # tensors that overlap would be larger together
        for name, entry in header.items():
            left -= entry["data_offsets"][1] - entry["data_offsets"][0]
            if left < 0:
                raise ValueError("its tensors are larger than the file")
            if entry["dtype"] in _DTYPES:
                tensors[name] = _array(name, entry, data)
            else:
                others[name] = f"({entry['dtype']})"
        layers, rest = layers_of(tensors)
    return ForeignModel(
        path=path, library="PyTorch", tensors=tensors, layers=layers, others=rest | others
    )


def _array(name: str, entry: Mapping[str, Any], data: memoryview) -> NDArray[Any]:
    shape, (start, end) = tuple(entry["shape"]), entry["data_offsets"]
    dtype = _DTYPES[entry["dtype"]]
    if not all(type(size) is int and size >= 0 for size in (*shape, start, end)):
        raise ValueError(f"{name!r} must have integers >= 0 as its shape and place")
    size = math.prod(shape) * item_size(dtype)
    if end - start != size or end > len(data):
        raise ValueError(f"{name!r} of shape {shape} does not fit its place in the file")
    return numbers(data[start:end], dtype).reshape(shape)
