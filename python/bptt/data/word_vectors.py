"""Files of pretrained word vectors: text and binary formats of word2vec, and text of GloVe.

- word2vec, text: a line with the number of words and of columns, then a line for each word, with
  the word and its numbers between spaces. fastText's files (.vec) are the same.
- word2vec, binary: the same line, then for each word its bytes, a space, and little-endian float32.
- GloVe, text: as word2vec's text without the first line.

T. Mikolov et al. (2013), Distributed representations of words and phrases and their
compositionality; J. Pennington, R. Socher and C. Manning (2014), GloVe: global vectors for word
representation.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.tensor_files import as_path
from bptt.data.vocabulary import strings

_Numbers: TypeAlias = "list[bytes] | bytes"  # in text, or binary
_Entry: TypeAlias = "tuple[str, bytes, _Numbers]"  # place in the file, word and numbers

_LONGEST_WORD = 2**16  # bytes, and characters of a number
_MOST_COLUMNS = 2**20
_CHUNK = 2**20  # bytes that are read at a time
_GZIP = b"\x1f\x8b"
_NUMBER_BYTES = frozenset(b"0123456789+-.eEinfaINFAN \t\r")


class _Header(NamedTuple):
    """First line of word2vec's formats."""

    words: int
    columns: int


def read_word_vectors(
    path: str | os.PathLike[str],
    words: Iterable[str] | None = None,
    *,
    binary: bool | None = None,
    skip_invalid: bool = False,
    dtype: str = "float32",
) -> dict[str, FloatArray]:
    """Read pretrained word vectors, for `bptt.Embedding.set_vectors`.

    The file is read as a stream, and only the vectors of `words` are kept. Formats are the text and
    the binary format of word2vec (also of fastText's .vec files), and GloVe's text, without a first
    line of sizes; compressed with gzip or not.

    Parameters
    ----------
    path : path
        The file.
    words : iterable of str, optional
        Words to keep, such as the tokens of a vocabulary. All by default.
    binary : bool, optional
        Whether the format is word2vec's binary one. By default the beginning of the file decides.
    skip_invalid : bool
        Leave out words that are not UTF-8, and all but the first vector of a repeated word, instead
        of raising an error.
    dtype : {"float32", "float64"}
        Type of the vectors.

    Returns
    -------
    dict of str to array (columns,)
        The vectors of the words in the file, in its order.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is truncated or of another format, a vector has another number of columns or a
        value that is not finite, a word is not UTF-8, or a word is repeated; of repeated words,
        only those in `words` are found.
    """
    file = as_path(path)
    wanted = None if words is None else frozenset(strings("words", words))
    if binary is not None:
        binary = checks.flag("binary", binary)
    lenient = checks.flag("skip_invalid", skip_invalid)
    kind = checks.dtype("dtype", dtype)
    found: dict[str, FloatArray] = {}
    try:
        with closing(_opened(file)) as stream:
            for place, name, numbers in _entries(stream, binary):
                word = _decoded(name, place, lenient)
                if word is None or (wanted is not None and word not in wanted):
                    continue
                if word in found:
                    if lenient:
                        continue
                    raise ValueError(f"words must be distinct, got {word!r} again {place}")
                found[word] = _vector(numbers, place, kind)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"cannot read {path}: the compressed file is broken: {error}") from None
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    return found


def _opened(path: Path) -> IO[bytes]:
    """Open a file, through gzip if it begins as one."""
    with open(path, "rb") as stream:
        is_compressed = stream.read(2) == _GZIP
    return gzip.open(path) if is_compressed else open(path, "rb")  # type: ignore[return-value]


def _entries(stream: IO[bytes], binary: bool | None) -> Iterator[_Entry]:
    """Yield place, word and numbers of every entry; numbers of text have spaces between them."""
    first = stream.readline(_MOST_COLUMNS * 32)
    header = _header(first)
    if header is None:
        if binary:
            raise ValueError(f"the first line must have two sizes, got {first[:40]!r}")
        yield from _text_entries(stream, first, None)
        return
    start = stream.readline(_CHUNK)
    if binary is None:
        binary = not _is_text(start, header.columns)
    if binary:
        yield from _binary_entries(stream, start, header)
    else:
        yield from _text_entries(stream, start, header)


def _header(line: bytes) -> _Header | None:
    """Return the sizes in the first line; None if it is a word with its vector."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() and len(part) < 20 for part in parts):
        return None
    words, columns = map(int, parts)
    if not words or not 0 < columns <= _MOST_COLUMNS:
        rule = f"words must be >= 1, and columns in [1, {_MOST_COLUMNS:,}]"
        raise ValueError(f"{rule}, got {words:,} and {columns:,}")
    return _Header(words, columns)


def _is_text(line: bytes, columns: int) -> bool:
    """Return whether a line is a word and as many numbers in text."""
    numbers = line.rstrip(b"\r\n ").split(b" ")[-columns:]
    return len(numbers) == columns and _NUMBER_BYTES.issuperset(b"".join(numbers))


def _text_entries(stream: IO[bytes], first: bytes, header: _Header | None) -> Iterator[_Entry]:
    """Yield the entries of a text file; `first` is the line of its first entry."""
    columns = len(first.rstrip().split(b" ")) - 1 if header is None else header.columns
    longest = _LONGEST_WORD + 64 * columns
    number = count = 0
    line = first
    while line:
        number += 1
        place = f"in line {number + (header is not None)}"
        row = line.rstrip(b" \r\n")
        line = stream.readline(longest)
        if not row and not line:  # empty last line
            break
        # The word may have spaces: some of GloVe's have.
        parts = row.rsplit(b" ", columns)
        if columns < 1 or len(parts) <= columns or not parts[0] or _ends_in_number(parts[0]):
            given = len(row.split(b" ")) - 1
            raise ValueError(f"a vector must have {columns} columns, got {given} {place}")
        count += 1
        yield place, parts[0], parts[1:]
    if header is not None and count != header.words:
        raise ValueError(f"the file must have {header.words:,} words, got {count:,}")
    if not count:
        raise ValueError("the file must have at least one word, got none")


def _ends_in_number(word: bytes) -> bool:
    """Return whether the last part of a word with spaces is a number: of a longer vector."""
    _, space, last = word.rpartition(b" ")
    if not space:
        return False
    try:
        float(last)
    except ValueError:
        return False
    return True


def _binary_entries(stream: IO[bytes], start: bytes, header: _Header) -> Iterator[_Entry]:
    """Yield the entries of a binary file; `start` are the bytes after its first line."""
    size = 4 * header.columns
    rest, place = start, 0  # bytes that are read, and the place of the next entry in them
    for i in range(header.words):
        entry = f"at word {i + 1} of {header.words:,}"
        end = rest.find(b" ", place)
        while end < 0 or len(rest) < end + 1 + size:
            if end < 0 and len(rest) - place > _LONGEST_WORD:
                raise ValueError(f"a word must have at most {_LONGEST_WORD:,} bytes, {entry}")
            more = stream.read(_CHUNK)
            if not more:
                raise ValueError(f"the file is truncated {entry}")
            rest, place = rest[place:] + more, 0
            end = rest.find(b" ")
        yield entry, rest[place:end].lstrip(b"\n"), rest[end + 1 : end + 1 + size]
        place = end + 1 + size
    if (rest[place:] + stream.read(2)).strip(b"\n"):
        raise ValueError(f"the file must end after {header.words:,} words, got more bytes")


def _decoded(name: bytes, place: str, lenient: bool) -> str | None:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        if lenient:
            return None
        shown = repr(name[:40])
        raise ValueError(
            f"words must be UTF-8, got {shown} {place}: set skip_invalid=True"
        ) from None


def _vector(numbers: _Numbers, place: str, dtype: np.dtype[Any]) -> FloatArray:
    if isinstance(numbers, bytes):
        values = np.frombuffer(numbers, "<f4")
    else:
        try:
            values = np.array([float(one) for one in numbers])
        except ValueError as error:
            raise ValueError(f"{error} {place}") from None
    with np.errstate(over="ignore"):
        vector: FloatArray = values.astype(dtype)
    if not np.isfinite(vector).all():
        raise ValueError(f"vectors must be finite in {dtype}, got NaN or infinity {place}")
    return vector
