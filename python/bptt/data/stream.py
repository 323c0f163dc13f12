"""Sequences that do not fit in memory: read in windows, in every epoch anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data._arrow_files import FileSource, Paths
from bptt.data._record_sources import ArrayOrPath, ArraySource, Part, Records, RecordSource, Source

Keep: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Numbers of sequences -> which of them belong to this part of the data."""

_PARTS = 8  # of a window: what is read at once is in memory beside it
_MAX_PART = 1024  # sequences
_INDEX = re.compile(r"\b([Xy])\[(\d+)\]")


class Stream:
    """Sequences that do not fit in memory, the X of `fit`, with their targets.

    `fit` reads them once to learn the vocabulary, scaling and classes, and once in every epoch, in
    windows: `window` sequences are in memory at a time, are shuffled and batched by length as all
    sequences of a list are, and are forgotten. The windows follow each other in the order of the
    source: sequences in an order that matters, such as sorted by class, must be shuffled before.
    With a window of all sequences, training ends with the same weights as from a list, bit for bit.

    Parameters
    ----------
    source : function or iterable
        A function without arguments that returns an iterator, or an object that can be iterated
        repeatedly, of sequences x or of pairs (x, y), as tuples: the same ones every time. What x
        and y may be is what lists of them may have in `fit`.
    window : int
        Number of sequences in memory at a time; `fit` rounds it up to whole minibatches.

    Attributes
    ----------
    window : int
        The parameter.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value, such as an iterator that can be read
        only once.

    Examples
    --------
    >>> from bptt import LanguageModel
    >>> from bptt.data import Stream
    >>> lines = Stream(lambda: (line.rstrip() for line in open("corpus.txt")), window=50_000)
    >>> model = LanguageModel(epochs=2, random_state=0).fit(lines)
    """

    _source: Source

    def __init__(self, source: Records, *, window: int = 10_000) -> None:
        self.window = checks.integer("window", window)
        self._source = RecordSource(source)

    @classmethod
    def from_files(
        cls, path: Paths, x: str, y: str | None = None, *, window: int = 10_000
    ) -> Stream:
        """Return the stream of Parquet and Arrow files, one sequence a row.

        Needs pyarrow: ``pip install 'bptt[arrow]'``.

        Parameters
        ----------
        path : path, or iterable of paths
            A folder, whose files are read in the order of their paths, without hidden ones; or
            files, with the suffix .parquet, .pq, .arrow, .feather or .ipc.
        x : str
            Name of the column of the sequences: texts, or lists of tokens, ids, numbers or lists of
            numbers.
        y : str, optional
            Name of the column of the targets.
        window : int
            Number of sequences in memory at a time.

        Returns
        -------
        Stream

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, there is no file or no such column, or a file is
            broken.
        FileNotFoundError
            If a file does not exist.
        ImportError
            If pyarrow is not installed.
        """
        return cls._of(FileSource(path, x, y), window)

    @classmethod
    def from_arrays(
        cls,
        x: ArrayOrPath,
        y: ArrayOrPath | None = None,
        *,
        lengths: Any = None,
        offsets: Any = None,
        window: int = 10_000,
    ) -> Stream:
        """Return the stream of arrays that are mapped into memory, or any other arrays.

        Parameters
        ----------
        x : array (B, T) or (B, T, I), with `offsets` (total steps,) or (total steps, I), or path
            Ids, numbers or tokens; padded, or one sequence after the other. A path is that of a
            .npy file, which is mapped into memory.
        y : array (B, ..), or of the steps of x, or path, optional
            Targets of the sequences, or of their steps.
        lengths : integer array (B,), optional
            Number of steps of each row of a padded array. All T by default.
        offsets : integer array (B + 1,) or path, optional
            Sequence i consists of the steps ``offsets[i]`` to ``offsets[i + 1]``.
        window : int
            Number of sequences in memory at a time.

        Returns
        -------
        Stream

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, or a file holds no array.
        FileNotFoundError
            If a file does not exist.
        """
        return cls._of(ArraySource(x, y, lengths, offsets), window)

    @classmethod
    def _of(cls, source: Source, window: int) -> Stream:
        stream = cls.__new__(cls)
        stream.window = checks.integer("window", window)
        stream._source = source
        return stream

    def windows(self) -> Iterator[tuple[list[Any], list[Any] | None]]:
        """Iterate over the windows, for `predict`, `score` and `partial_fit`.

        Yields
        ------
        tuple of two lists
            Sequences, and their targets, or None without targets.

        Raises
        ------
        TypeError, ValueError
            If a record is no sequence and no pair, or a file is broken.

        Examples
        --------
        >>> labels = [model.predict(x) for x, _ in stream.windows()]
        """
        for window in self._windows(self.window):
            pair = [(window.x, window.y)]
            del window
            yield pair.pop()  # and keep no reference while the caller computes

    def _windows(
        self, size: int, start: int = 0, keep: Keep | None = None
    ) -> Iterator[StreamWindow]:
        """Yield windows of `size` sequences of those that are kept, from number `start` on."""
        window, number = StreamWindow(), start
        at_once = min(_MAX_PART, -(-size // _PARTS))
        for part in self._source.parts(start, at_once):
            chosen = np.arange(len(part.x))
            if keep is not None:
                chosen = np.flatnonzero(keep(number + chosen))
            number += len(part.x)
            while len(chosen):
                room = size - len(window.x)
                window.add(part, chosen[:room])
                chosen = chosen[room:]
                if len(window.x) == size:
                    full, window = [window], StreamWindow()
                    yield full.pop()  # and keep no reference while the caller computes
        if window.x:
            yield window


@dataclass
class StreamWindow:
    """Sequences of a stream that are in memory, and their places in it."""

    x: list[Any] = field(default_factory=list)
    """The sequences."""
    y: list[Any] | None = None
    """Their targets."""
    places: list[tuple[str, NDArray[np.int64]]] = field(default_factory=list)
    """Files, and the numbers of their rows."""

    def add(self, part: Part, chosen: NDArray[np.int64]) -> None:
        """Add these sequences of a part."""
        self.places.append((part.place, part.row + chosen))
        whole = len(chosen) == len(part.x)
        self.x += part.x if whole else [part.x[i] for i in chosen]
        if part.y is not None:
            targets = part.y if whole else [part.y[i] for i in chosen]
            self.y = [] if self.y is None else self.y
            self.y += targets

    @contextmanager
    def located(self) -> Iterator[None]:
        """Name the file and the row in errors about these sequences."""
        try:
            yield
        except (TypeError, ValueError) as error:
            if type(error) not in (TypeError, ValueError):
                raise
            found = _INDEX.search(str(error))
            if found is None:
                first, last = self._place(0), self._place(len(self.x) - 1)
                raise type(error)(f"{first} to {last}: {error}") from error
            place = self._place(int(found[2]))
            text = _INDEX.sub(r"\1", str(error))  # without its number in the window
            raise type(error)(f"{place}: {text}") from error

    def _place(self, index: int) -> str:
        for place, rows in self.places:
            if index < len(rows):
                return f"{place}{'row' if place else 'sequence'} {rows[index]}"
            index -= len(rows)
        return "a sequence"
