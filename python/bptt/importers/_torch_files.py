"""Files of PyTorch's ``torch.save``, in both formats.

The present one is a ZIP archive with the pickle ``data.pkl`` and one file ``data/KEY`` for every
storage; the older one is a row of pickles, the fourth of which is the object, then the storages.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from bptt._core.tensor_files import broken_file_errors
from bptt.importers._buffers import BFLOAT16, item_size, numbers
from bptt.importers._foreign import ForeignModel
from bptt.importers._torch_layers import layers_of
from bptt.importers._torch_pickle import Placeholder, Tensor, load, named_tensors

_BYTES = "UntypedStorage"
_STORAGES = {
    _BYTES: "uint8",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_UNSIGNED = ("uint16", "uint32", "uint64")  # which have no storages of their own
_MAX_DIMENSIONS = 32


def read_torch(path: Path) -> ForeignModel:
    """Read a file of PyTorch; its pickles are not executed.

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
    with _errors(path):
        root, storages = (_of_zip if content.startswith(b"PK") else _of_pickles)(content)
        for name, tensor in named_tensors(root):
            if name in tensors or name in others:
                raise ValueError(f"it has the tensor {name!r} twice")
            if isinstance(tensor, Tensor) and _dtype(tensor) is not None:
                tensors[name] = _strided(name, tensor, storages.elements(tensor), len(content))
            else:
                kind = tensor.kind if isinstance(tensor, Placeholder) else tensor.storage.kind
                others[name] = f"({kind})"
        layers, left = layers_of(tensors)
    return ForeignModel(
        path=path, library="PyTorch", tensors=tensors, layers=layers, others=left | others
    )


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged file into ValueError."""
    with broken_file_errors(f"cannot load {path}"):
        try:
            yield
        except (BadZipFile, EOFError, RuntimeError, struct.error) as error:  # of zipfile
            raise ValueError(f"its archive is damaged: {error}") from error


# ---- the two formats


class _Storages:
    """The storages of a file, each of which is read once.

    Parameters
    ----------
    part : function
        Returns the bytes of a storage by its key.
    order : {"<", ">"}
        Byte order.
    """

    def __init__(self, part: Callable[[str], memoryview], order: Literal["<", ">"]) -> None:
        self.part, self.order = part, order
        self.found: dict[str, tuple[str, NDArray[Any]]] = {}

    def elements(self, tensor: Tensor) -> NDArray[Any]:
        """Return the elements of the storage of a tensor."""
        kind, key, size, start, whole = tensor.storage
        if key not in self.found:
            data, dtype = self.part(key), _STORAGES[kind]
            if len(data) != whole * item_size(dtype):
                raise ValueError(
                    f"its storage {key} must have {whole:,} numbers, got {len(data):,} bytes"
                )
            self.found[key] = kind, numbers(data, dtype, self.order)
        same, array = self.found[key]
        if same != kind or start + size > len(array):
            raise ValueError(f"its storage {key} is described in two ways")
        part = array[start : start + size]
        return part.view(tensor.dtype) if tensor.dtype else part


def _of_zip(content: bytes) -> tuple[Any, _Storages]:
    """Return object and storages of a file of the present format."""
    entries = {entry.filename: entry for entry in ZipFile(BytesIO(content)).infolist()}
    pickle = next((name for name in entries if name.endswith("data.pkl")), None)
    if pickle is None:
        raise ValueError("it has no data.pkl")
    prefix = pickle.removesuffix("data.pkl")
    left = len(content)  # entries may overlap, so that their sum would be larger than the file

    def part(name: str) -> memoryview:
        nonlocal left
        if name not in entries:
            raise ValueError(f"it has no {name}")
        left -= entries[name].file_size
        if left < 0:
            raise ValueError("its parts are larger than the file")
        return _stored(content, entries[name])

    order = f"{prefix}byteorder"
    is_big = order in entries and bytes(part(order)) == b"big"
    root = load(BytesIO(part(pickle))).root
    return root, _Storages(lambda key: part(f"{prefix}data/{key}"), ">" if is_big else "<")


def _stored(content: bytes, entry: ZipInfo) -> memoryview:
    """Return an entry of an archive without a copy."""
    if entry.compress_type != ZIP_STORED:
        raise ValueError(f"its {entry.filename} is compressed, which PyTorch does not write")
    start = entry.header_offset + 30  # where name and extra field begin
    start += sum(struct.unpack("<HH", content[start - 4 : start]))
    data = memoryview(content)[start : start + entry.file_size]
    same = not entry.CRC or zlib.crc32(data) == entry.CRC  # 0 where no sums were written
    if len(data) != entry.file_size or not same:
        raise ValueError(f"its {entry.filename} is damaged")
    return data


def _of_pickles(content: bytes) -> tuple[Any, _Storages]:
    """Return object and storages of a file of the older format."""
    file = BytesIO(content)
    for _ in range(3):  # magic number, version of the format, the system that wrote it
        load(file)
    root, storages = load(file)
    kinds = {storage.key: storage.kind for storage in storages}
    keys = load(file).root
    data = memoryview(content)[file.tell() :]
    parts: dict[str, memoryview] = {}
    for key in keys if isinstance(keys, list) else ():
        if kinds.get(key) not in _STORAGES:
            raise ValueError(f"its storage {key} is of {kinds.get(key, 'no tensor')}")
        if len(data) < 8:
            raise ValueError(f"it ends before the storage {key}")
        count = int.from_bytes(data[:8], "little")
        end = 8 + count * item_size(_STORAGES[kinds[key]])
        if end > len(data):
            raise ValueError(f"it ends in the storage {key}")
        parts[key], data = data[8:end], data[end:]

    def part(key: str) -> memoryview:
        if key not in parts:
            raise ValueError(f"it has no storage {key}")
        return parts[key]

    return root, _Storages(part, "<")  # on every machine


# ---- tensors


def _dtype(tensor: Tensor) -> str | None:
    """Return NumPy's name of a tensor's type; None if there is none."""
    kind = tensor.storage.kind
    if tensor.dtype:
        return tensor.dtype if tensor.dtype in _UNSIGNED and kind == _BYTES else None
    return _STORAGES.get(kind)


def _strided(name: str, tensor: Tensor, storage: NDArray[Any], size: int) -> NDArray[Any]:
    """Return a view of a storage; `size` is that of the file."""
    shape, strides = tensor.shape, tensor.strides
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"{name!r} must have at most {_MAX_DIMENSIONS} axes, got {len(shape)}")
    count = math.prod(shape)
    if count * storage.itemsize > size or max(shape, default=0) > size:
        raise ValueError(f"{name!r} of shape {shape} is larger than the file")
    if not count:
        return np.zeros(shape, storage.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if last >= len(storage):
        raise ValueError(f"{name!r} of shape {shape} is beyond its storage")
    steps = [step * storage.itemsize for step in strides]
    place = tensor.offset * storage.itemsize
    view: NDArray[Any] = np.ndarray(shape, storage.dtype, storage, place, steps)
    return view
