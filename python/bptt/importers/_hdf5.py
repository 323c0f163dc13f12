"""HDF5 files of other libraries: arrays and attributes of this file alone, as large as it is.

A file of HDF5 can name other files (links, external storage, virtual datasets), and hold much less
than it declares (compression, arrays that were never written, many names of one text). Both are
refused.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import re
from collections.abc import Iterator
from importlib.util import find_spec
from math import prod
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt.importers._buffers import BFLOAT16, numbers

MAX_EXPANSION = 16
"""Bytes of arrays for each byte of the file; weights compress to half at best."""

_MAX_TEXTS = 1 << 30  # bytes of all texts, if those of a small file refer to one long text
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}  # those of the HDF5 library itself
_HEAP = re.compile(rb"GCOL\x01...(.{8})", re.DOTALL)  # of texts: signature, version, size
_ERRORS = (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError)  # of h5py


class Content(NamedTuple):
    """Content of a file.

    Attributes
    ----------
    arrays : dict of str to array
        Arrays of numbers by path, such as "lstm/kernel:0"; of each group in alphabetical order.
    attributes : dict of str to dict
        Attributes of every group by its path, "" for the file: texts, or lists of texts.
    others : dict of str to str
        Kind of every object that is neither a group nor an array of numbers, by its path.
    """

    arrays: dict[str, NDArray[Any]]
    attributes: dict[str, dict[str, Any]]
    others: dict[str, str]


class _RefusedError(ValueError):
    """An error of this module, not of h5py."""


def need_h5py() -> None:
    """Raise ImportError if h5py is not installed."""
    if find_spec("h5py") is None:
        raise ImportError("reading files of Keras needs h5py: pip install 'bptt[keras]'")


def read_hdf5(
    file: BinaryIO, size: int, attributes: re.Pattern[str], skip: tuple[str, ...] = ()
) -> Content:
    """Read a file of HDF5; nothing in it is executed, and no other file is opened.

    Parameters
    ----------
    file : binary file
        Open for reading.
    size : int
        Bytes of the file on the disk, which bound those of the content.
    attributes : pattern
        Of the names of attributes that are read.
    skip : tuple of str, optional
        Groups that are not read.

    Returns
    -------
    Content

    Raises
    ------
    ValueError
        If it is damaged, refers to other files, or declares much more than it holds.
    """
    import h5py

    content = Content({}, {}, {})
    longest = _longest_text(file)
    with _broken_hdf5(), h5py.File(file, "r") as root:
        arrays = _Budget(MAX_EXPANSION * size, size)
        texts = _Budget(max(_MAX_TEXTS, MAX_EXPANSION * size), size)
        for path, item in _walk(root, skip):
            if isinstance(item, h5py.Group):
                names = [name for name in item.attrs if attributes.fullmatch(name)]
                found = {name: _attribute(item, name, texts, longest) for name in names}
                content.attributes[path] = found
            elif isinstance(item, h5py.Dataset) and _is_numeric(item):
                arrays.take(path, _checked_size(path, item, arrays))
                content.arrays[path] = _values(item)
            else:
                content.others[path] = type(item).__name__.lower()
    return content


class _Budget:
    """Bytes that the content of a file may have."""

    def __init__(self, limit: int, size: int) -> None:
        self.limit, self.left, self.size = limit, limit, size

    def take(self, path: str, count: int) -> None:
        """Take bytes, or raise ValueError if too few are left."""
        self.left -= count
        if self.left < 0:
            raise _RefusedError(
                f"its content must have at most {self.limit:,} bytes, as the file has "
                f"{self.size:,}: {path!r} has {count:,}"
            )


@contextlib.contextmanager
def _broken_hdf5() -> Iterator[None]:
    """Turn the errors of h5py into ValueError with a sentence."""
    try:
        yield
    except _RefusedError:
        raise
    except _ERRORS as error:
        text = str(error.args[0]) if error.args else type(error).__name__
        raise ValueError(f"its HDF5 is damaged: {text}") from error


def _walk(root: Any, skip: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the path of every object and the object, groups before their content."""
    import h5py

    known = {h5py.h5o.get_info(root.id).addr}
    stack = [("", root)]
    while stack:
        path, item = stack.pop()
        yield path, item
        if not isinstance(item, h5py.Group):
            continue
        below = []
        for name in item:
            where = f"{path}/{name}" if path else name
            if where in skip:
                continue
            if not isinstance(item.get(name, getlink=True), h5py.HardLink):
                raise _RefusedError(f"its objects must be in the file, {where!r} is a link")
            child = item[name]
            address = h5py.h5o.get_info(child.id).addr
            if address in known:
                rule = "its objects must have one name each"
                raise _RefusedError(f"{rule}, {where!r} is another name")
            known.add(address)
            below.append((where, child))
        stack += reversed(below)


def _longest_text(file: BinaryIO) -> int:
    """Return the bytes of the longest text of variable length."""
    if isinstance(file, io.BytesIO):
        return _longest_in(file.getbuffer())
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _longest_in(content)


def _longest_in(content: Any) -> int:
    """Return the largest size in the global heaps, where texts of variable length are.

    The HDF5 library never ends reading a heap whose objects do not fit into it: they are checked
    first. A heap has a header of 16 bytes, and 16 before each object: index, and size at the end.
    """
    longest = 0
    for found in _HEAP.finditer(content):
        start, size = found.start(), int.from_bytes(found[1], "little")
        if not 16 <= size <= len(content) - start:
            continue
        place = 16
        while place + 16 <= size:
            at = start + place
            index, length = (
                int.from_bytes(content[at + first : at + last], "little")
                for first, last in ((0, 2), (8, 16))
            )
            place += 16 + -(-length // 8) * 8 if index else length  # 0 is that of the free rest
            if place > size or (not index and place < size):
                raise _RefusedError("its HDF5 is damaged: a text ends outside of its heap")
            longest = max(longest, length)
    return longest


def _attribute(group: Any, name: str, budget: _Budget, longest: int) -> str | list[str] | None:
    """Return a text or a list of texts; None for other attributes."""
    import h5py

    attribute = h5py.h5a.open(group.id, name.encode("utf-8", "surrogateescape"))
    kind, count = attribute.get_type(), prod(attribute.shape)
    if not isinstance(kind, h5py.h5t.TypeStringID):
        return None
    each = longest if kind.is_variable_str() else kind.get_size()
    budget.take(f"attribute {name}", count * each)
    value = group.attrs[name]
    if isinstance(value, np.ndarray):
        return [_text(one) for one in value.reshape(-1)]
    return _text(value)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_numeric(dataset: Any) -> bool:
    """Return whether a dataset has numbers."""
    if dataset.shape is None:
        return False
    return dataset.dtype.kind in "fiub" or _is_bfloat16(dataset)


def _is_bfloat16(dataset: Any) -> bool:
    """Return whether a dataset has bfloat16, to HDF5 two bytes without a meaning."""
    raw = dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2 and not dataset.dtype.names
    return bool(raw and dataset.attrs.get("dtype") in ("bfloat16", b"bfloat16"))


def _checked_size(path: str, dataset: Any, budget: _Budget) -> int:
    """Return the bytes of a dataset, after checks of where and how they are stored."""
    if dataset.is_virtual or dataset.external is not None:
        raise _RefusedError(f"its arrays must be in the file, {path!r} is in another one")
    properties = dataset.id.get_create_plist()
    for i in range(properties.get_nfilters()):
        code = properties.get_filter(i)[0]
        if code not in _FILTERS:
            known = ", ".join(_FILTERS.values())
            raise _RefusedError(f"filters must be {known}, {path!r} has number {code}")
    item = int(dataset.dtype.itemsize)
    chunk = prod(dataset.chunks or ()) * item
    if chunk > budget.limit:  # all of a chunk is read for one of its elements
        raise _RefusedError(
            f"chunks must have at most {budget.limit:,} bytes, as the file has {budget.size:,}: "
            f"those of {path!r} have {chunk:,}"
        )
    return int(prod(dataset.shape)) * item


def _values(dataset: Any) -> NDArray[Any]:
    """Return the values of a dataset; bfloat16 as float32."""
    values: NDArray[Any] = np.asarray(dataset[()])
    if dataset.dtype.kind != "V":
        return values
    return numbers(values.tobytes(), BFLOAT16).reshape(values.shape)
