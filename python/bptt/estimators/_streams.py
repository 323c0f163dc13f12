"""Streams as the input of `fit`: data that do not fit in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data.stream import Keep, Stream, StreamWindow
from bptt.estimators._holdout import is_splitter
from bptt.estimators._network import MAX_SEED
from bptt.training.protocols import Dataset
from bptt.training.windowed import WindowedDataset

_NUMBERS = 1_000_000  # sequences whose split is decided at once

Encode = Callable[[Any, Any], Dataset]


class Reader:
    """A stream as one `fit` reads it.

    Parameters
    ----------
    stream : Stream
        The stream.
    batch_size : int
        Minibatch size, of which windows are multiples.
    estimator : str
        Name of the estimator, for errors.
    needs_targets : bool
        Whether the stream must yield pairs (x, y).
    """

    def __init__(
        self, stream: Stream, batch_size: int, estimator: str, needs_targets: bool
    ) -> None:
        size = checks.integer("batch_size", batch_size)
        self._stream = stream
        self._window = -(-stream.window // size) * size
        self._estimator, self._needs_targets = estimator, needs_targets
        self._count = 0
        self._digest = ""

    def windows(self) -> Iterator[StreamWindow]:
        """Read all windows, to learn from them. Errors of the caller name file and row."""
        digest, count = hashlib.sha256(), 0
        for window in self._stream._windows(self._window):
            self.check(window)
            lengths = np.fromiter(map(_size, window.x), "<i8", len(window.x))
            digest.update(lengths.tobytes())
            count += len(lengths)
            yield window
            window.x, window.y = [], None  # before the next one is read
        if not count:
            raise ValueError("X must have at least one sequence, got a stream of none")
        self._count, self._digest = count, digest.hexdigest()[:16]

    def check(self, window: StreamWindow) -> None:
        """Check that a window has targets, if they are needed."""
        if window.y is None and self._needs_targets:
            raise ValueError(
                f"{self._estimator} requires y to be passed: the stream must yield pairs "
                "(x, y), or have a column or an array y, got x alone"
            )

    def dataset(self, encode: Encode) -> StreamDataset:
        """Return the dataset of all sequences.

        Parameters
        ----------
        encode : function
            Sequences and targets of a window -> their dataset.
        """
        if not self._count:
            for _ in self.windows():
                pass
        return StreamDataset(self, encode)


class StreamDataset(WindowedDataset):
    """A stream in windows, all its sequences or those of a split.

    Parameters
    ----------
    reader : Reader
        The stream, read once.
    encode : function
        Sequences and targets of a window -> their dataset.
    keep : function, optional
        Numbers of sequences -> which of them belong to the data. All by default.
    name : str
        What `keep` keeps.
    """

    def __init__(
        self, reader: Reader, encode: Encode, keep: Keep | None = None, name: str = ""
    ) -> None:
        self._reader, self._encode, self._keep = reader, encode, keep
        count = reader._count if keep is None else self._number_of(reader._count)
        description = (
            f"{reader._count} sequences with lengths of digest {reader._digest}, "
            f"in windows of {reader._window}{name}"
        )
        super().__init__(self._read_from, count, reader._window, description)

    def hold_out(
        self, validation: Any, groups: Any, seeds: np.random.Generator, name: str
    ) -> tuple[StreamDataset, StreamDataset]:
        """Split by a hash of the numbers of the sequences, for training and for validation."""
        if groups is not None or is_splitter(validation):
            what = "groups" if groups is not None else "a splitter"
            raise ValueError(f"{name} of a stream must be a fraction or another stream, got {what}")
        fraction = float(validation)
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"{name} must be a fraction in (0, 1), got {validation}")
        seed = int(seeds.integers(MAX_SEED))
        parts = []
        for held_out in (False, True):

            def keep(numbers: NDArray[np.int64], held_out: bool = held_out) -> NDArray[np.bool_]:
                below: NDArray[np.bool_] = _uniform(numbers, seed) < fraction
                return below if held_out else ~below

            total, count = self._reader._count, self._number_of(self._reader._count, keep)
            if not count:
                rule = f"{name} = {fraction:g} of {total} sequences leaves none"
                raise ValueError(f"{rule} for {'validation' if held_out else 'training'}")
            text = f", {'only' if held_out else 'without'} {fraction:g} of seed {seed}"
            parts.append(StreamDataset(self._reader, self._encode, keep, text))
        return parts[0], parts[1]

    def _read_from(self, first: int) -> Iterator[Dataset]:
        """Yield the datasets of the windows from number `first` on."""
        reader = self._reader
        start = self._start_of(first * reader._window)
        for window in reader._stream._windows(reader._window, start, self._keep):
            reader.check(window)
            with window.located():
                found = self._encode(window.x, window.y)
            del window  # the encoded sequences remain
            yield found
            del found

    def _start_of(self, index: int) -> int:
        """Return the number in the stream of a sequence of this dataset."""
        if self._keep is None:
            return index
        for first, kept in self._masks(self._reader._count, self._keep):
            found = np.flatnonzero(kept)
            if index < len(found):
                return first + int(found[index])
            index -= len(found)
        return self._reader._count

    def _number_of(self, total: int, keep: Keep | None = None) -> int:
        """Return how many of the first `total` sequences are kept."""
        chosen = self._keep if keep is None else keep
        assert chosen is not None
        return sum(int(np.count_nonzero(kept)) for _, kept in self._masks(total, chosen))

    def _masks(self, total: int, keep: Keep) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        for first in range(0, total, _NUMBERS):
            yield first, keep(np.arange(first, min(first + _NUMBERS, total)))


def check_no_further(**arguments: Any) -> None:
    """Check that `fit` has no arguments that a stream holds itself, or cannot have.

    Raises
    ------
    TypeError
        If one of them is not None.
    """
    for name, value in arguments.items():
        if value is not None:
            cure = ": the stream yields pairs (x, y)" if name == "y" else ""
            got = type(value).__name__
            raise TypeError(f"{name} must be None with a stream, got {got}{cure}")


def _size(sequence: Any) -> int:
    """Return the length of a sequence; 0 if it has none, which is an error later."""
    return len(sequence) if hasattr(sequence, "__len__") else 0


def _uniform(numbers: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return a hash of each number, in [0, 1).

    G. Steele, D. Lea and C. Flood (2014), Fast splittable pseudorandom number generators: the
    finalizer of SplitMix64.
    """
    with np.errstate(over="ignore"):
        mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed += np.uint64(seed) * np.uint64(0xD1B54A32D192ED03)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    found: NDArray[np.float64] = (mixed >> np.uint64(11)) * 2.0**-53
    return found
