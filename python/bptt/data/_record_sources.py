"""Sources of the sequences of a stream: iterators and arrays.

A source gives consecutive parts, each with the place of its rows, from any sequence on.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.lengths import lengths_of

Records: TypeAlias = Iterable[Any] | Callable[[], Iterable[Any]]
ArrayOrPath: TypeAlias = NDArray[Any] | str | os.PathLike[str]


class Part(NamedTuple):
    """Consecutive sequences of a source."""

    x: list[Any]
    """The sequences."""
    y: list[Any] | None
    """Their targets, if there are any."""
    place: str
    """Name of the file with a comma, or nothing."""
    row: int
    """Number of the first one in its file, or of all."""


class Source(Protocol):
    """Sequences that can be read any number of times, in the same order."""

    def parts(self, start: int, size: int) -> Iterator[Part]:
        """Yield the sequences from number `start` on, at most `size` at once."""


class RecordSource:
    """Sequences of iterators: x, or pairs (x, y)."""

    def __init__(self, source: Records) -> None:
        is_factory = callable(source) and not hasattr(source, "__iter__")
        if isinstance(source, (str, bytes)) or not (is_factory or isinstance(source, Iterable)):
            got = type(source).__name__
            raise TypeError(f"source must be a function that returns an iterator, got {got}")
        if not is_factory and iter(source) is source:  # type: ignore[arg-type]
            raise TypeError(
                "source must give its sequences in every epoch anew, got the iterator "
                f"{type(source).__name__}: pass the function that makes it, or a list"
            )
        self._source = source
        self._is_factory = is_factory

    def parts(self, start: int, size: int) -> Iterator[Part]:
        """Yield the sequences from number `start` on, at most `size` at once."""
        source: Any = self._source() if self._is_factory else self._source  # type: ignore[operator]
        if not isinstance(source, Iterable):
            got = type(source).__name__
            raise TypeError(f"source must return an iterator of sequences, got {got}")
        records = islice(source, start, None)
        pairs: bool | None = None
        while chunk := list(islice(records, size)):
            if pairs is None:
                pairs = _is_pair(chunk[0])
            for i, record in enumerate(chunk):
                if _is_pair(record) != pairs:
                    rule = "a pair (x, y)" if pairs else "a sequence, and no pair (x, y)"
                    got = type(record).__name__
                    raise ValueError(f"sequence {start + i} must be {rule}, as before, got {got}")
            x, y = map(list, zip(*chunk, strict=True)) if pairs else (chunk, None)
            yield Part(x, y, "", start)
            start += len(chunk)


def _is_pair(record: Any) -> bool:
    return isinstance(record, tuple) and len(record) == 2


class ArraySource:
    """Sequences of arrays, which may be mapped into memory: padded, or one after the other."""

    def __init__(self, x: ArrayOrPath, y: ArrayOrPath | None, lengths: Any, offsets: Any) -> None:
        self._x = _array("x", x)
        self._lengths = None if lengths is None else np.asarray(_array("lengths", lengths))
        self._offsets = None if offsets is None else _array("offsets", offsets)
        if lengths is not None and offsets is not None:
            raise ValueError("lengths and offsets cannot be combined: lengths are those of padding")
        if self._offsets is None:
            rule, dimensions = "(B, T) or (B, T, I)", (2, 3)
            self._count = len(self._x) if self._x.ndim else 0
        else:
            rule, dimensions = "(total steps,) or (total steps, I) with offsets", (1, 2)
            checks.array_of("offsets", self._offsets, "iu", 1)
            self._count = max(len(self._offsets) - 1, 0)
        if self._x.ndim not in dimensions or self._x.dtype.kind not in "biufUS":
            got = f"{self._x.shape} of {self._x.dtype}"
            raise ValueError(f"x must have shape {rule} and hold numbers or strings, got {got}")
        if self._lengths is not None:
            self._lengths = lengths_of(self._lengths, self._count, self._x.shape[1])
        self._y = None if y is None else _array("y", y)
        self._of_steps = False
        if self._y is not None:
            sizes = {len(self._y)} if self._y.ndim else set()
            self._of_steps = self._count not in sizes or (
                offsets is None and self._y.shape[:2] == self._x.shape[:2]
            )
            if not sizes & {self._count, len(self._x)}:
                rule = f"a target for each of {self._count} sequences, or for each step"
                raise ValueError(f"y must have {rule}, got shape {self._y.shape}")

    def parts(self, start: int, size: int) -> Iterator[Part]:
        """Yield the sequences from number `start` on, at most `size` at once."""
        for first in range(start, self._count, size):
            last = min(first + size, self._count)
            yield Part(self._items(self._x, first, last), self._targets(first, last), "", first)
            for array in (self._x, self._y, self._offsets):
                _release(array)

    def _items(self, array: NDArray[Any], first: int, last: int) -> list[Any]:
        """Return the rows of every sequence, without padding."""
        if self._offsets is not None:
            borders = self._offsets[first : last + 1].astype(np.int64)
            if borders[0] < 0 or borders[-1] > len(array) or (np.diff(borders) < 0).any():
                rule = f"in ascending order and in [0, {len(array)}]"
                raise ValueError(f"offsets must be {rule}, got others from {first} to {last}")
            block = np.array(array[borders[0] : borders[-1]])  # a copy: the file is not kept
            return np.split(block, borders[1:-1] - borders[0])
        block = np.array(array[first:last])
        if self._lengths is None:
            return list(block)
        return [row[:n] for row, n in zip(block, self._lengths[first:last], strict=True)]

    def _targets(self, first: int, last: int) -> list[Any] | None:
        if self._y is None:
            return None
        if self._of_steps:
            return self._items(self._y, first, last)
        block = np.array(self._y[first:last])
        return list(block.tolist() if block.ndim == 1 else block)


def _array(name: str, value: Any) -> NDArray[Any]:
    """Return an array, or map that of a .npy file."""
    if isinstance(value, (str, os.PathLike)):
        path = Path(value)
        try:
            return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except ValueError as error:
            raise ValueError(f"{name} must be a .npy file, got {path}: {error}") from None
    if isinstance(value, (list, tuple, range)) and name in ("lengths", "offsets"):
        return np.asarray(value)
    return checks.numpy_array(name, value)


def _release(array: NDArray[Any] | None) -> None:
    """Let the system forget the pages of a file that were read: they count as memory in use."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if isinstance(array, np.memmap) and array.mode in ("r", "r+") and advice is not None:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None:
            mapped.madvise(advice)
