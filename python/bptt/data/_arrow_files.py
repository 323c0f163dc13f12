"""Sequences of columns of Parquet and Arrow files, which are read in parts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from bptt.data._record_sources import Part

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

_PARQUET = frozenset([".parquet", ".pq"])
_ARROW = frozenset([".arrow", ".feather", ".ipc"])


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        cure = "pip install 'bptt[arrow]'"
        raise ImportError(f"Stream.from_files needs pyarrow: {cure}") from error
    return pyarrow


class FileSource:
    """Sequences of one column of files, and targets of another."""

    def __init__(self, path: Paths, x: str, y: str | None) -> None:
        self._arrow = _pyarrow()
        self._columns = [_column("x", x)] + ([] if y is None else [_column("y", y)])
        self._files = _files(path)
        for file in self._files:
            with _naming(file):
                self._check_columns(file, self._names(file))

    def parts(self, start: int, size: int) -> Iterator[Part]:
        """Yield the sequences from number `start` on, at most `size` at once."""
        for file in self._files:
            with _naming(file):
                count = self._count(file) if start else 1
                if start >= count:
                    start -= count
                    continue
                for row, batch in self._batches(file, start, size):
                    columns = [batch.column(name) for name in self._columns]
                    x = _values(columns[0])
                    y = _values(columns[1]) if len(columns) > 1 else None
                    yield Part(x, y, f"{file}, ", row)
                start = 0

    def _check_columns(self, file: Path, names: list[str]) -> None:
        for name in self._columns:
            if name not in names:
                raise ValueError(f"{file} must have the column {name!r}, has {', '.join(names)}")

    def _names(self, file: Path) -> list[str]:
        if file.suffix in _PARQUET:
            return list(self._arrow.parquet.read_schema(file).names)
        with self._arrow.OSFile(os.fspath(file)) as opened:
            return list(self._reader(opened).schema.names)

    def _reader(self, opened: Any) -> Any:
        """Return the reader of a file of Arrow, or of a stream of Arrow in a file."""
        magic = opened.read(6)
        opened.seek(0)
        ipc = self._arrow.ipc
        return ipc.open_file(opened) if magic == b"ARROW1" else ipc.open_stream(opened)

    def _count(self, file: Path) -> int:
        """Return the number of rows, for which no rows of Parquet files are read."""
        if file.suffix in _PARQUET:
            return int(self._arrow.parquet.read_metadata(file).num_rows)
        with self._arrow.memory_map(os.fspath(file)) as opened:
            return sum(batch.num_rows for batch in _record_batches(self._reader(opened)))

    def _batches(self, file: Path, start: int, size: int) -> Iterator[tuple[int, Any]]:
        """Yield the number of the first row, and the rows, from row `start` on."""
        for row, batch in self._all_batches(file, start, size):
            for first in range(min(max(start - row, 0), batch.num_rows), batch.num_rows, size):
                yield row + first, batch.slice(first, size)

    def _all_batches(self, file: Path, start: int, size: int) -> Iterator[tuple[int, Any]]:
        """Yield batches and their first rows; some before `start` may be left out."""
        row = 0
        if file.suffix not in _PARQUET:
            with self._arrow.OSFile(os.fspath(file)) as opened:  # not mapped: mapped pages count
                for batch in _record_batches(self._reader(opened)):
                    yield row, batch
                    row += batch.num_rows
            return
        with self._arrow.parquet.ParquetFile(file, pre_buffer=False) as opened:
            groups = list(range(opened.num_row_groups))
            while groups and row + opened.metadata.row_group(groups[0]).num_rows <= start:
                row += opened.metadata.row_group(groups.pop(0)).num_rows
            options = {"row_groups": groups, "columns": self._columns}
            for batch in opened.iter_batches(batch_size=size, **options) if groups else ():
                yield row, batch
                row += batch.num_rows


def _record_batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "get_batch"):
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)
    else:
        yield from reader


def _values(column: Any) -> list[Any]:
    """Return the cells of a column: texts and scalars of Python, and lists of numbers as arrays."""
    kind = str(column.type)
    if "list" not in kind or "string" in kind or (column.flatten().null_count):
        return list(column.to_pylist())
    return list(column.to_numpy(zero_copy_only=False))


def _column(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be the name of a column, got {type(value).__name__}")
    return value


def _files(path: Paths) -> list[Path]:
    """Return the files of a folder, in the order of their names, or those that are given."""
    known = ", ".join(sorted(_PARQUET | _ARROW))
    is_one = isinstance(path, (str, os.PathLike))
    if not is_one and not isinstance(path, Iterable):
        raise TypeError(f"path must be a folder, a file or files, got {type(path).__name__}")
    given = [Path(path)] if is_one else [Path(one) for one in path]  # type: ignore[arg-type, union-attr]
    files: list[Path] = []
    for one in given:
        if one.is_dir():
            inside = (found for found in one.rglob("*") if found.suffix in _PARQUET | _ARROW)
            visible = (f for f in inside if not f.name.startswith((".", "_")))
            files += sorted(visible)
        elif not one.exists():
            raise FileNotFoundError(f"path must be a folder or a file that exists, got {one}")
        elif one.suffix not in _PARQUET | _ARROW:
            raise ValueError(f"path must have one of the suffixes {known}, got {one}")
        else:
            files.append(one)
    if not files:
        raise ValueError(f"path must have at least one file ({known}), got {path}")
    return files


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Name the file in errors of pyarrow, which are those of a broken file."""
    try:
        yield
    except (ValueError, OSError) as error:
        if type(error) is ValueError or isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"cannot read {file}: {error}") from error
