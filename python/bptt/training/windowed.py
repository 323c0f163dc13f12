"""Data that are read in windows: a dataset that is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data.batching import shuffled_batches
from bptt.training.protocols import Dataset

Batches = Sequence[NDArray[np.int64]]  # of an epoch, as indices


class WindowedDataset:
    """Sequences that are read in windows, one after the other.

    Minibatches consist of sequences of one window, in which they are shuffled and batched by
    length. The windows that a group of minibatches needs are open at a time: one, or at a border
    two.

    Parameters
    ----------
    read : function
        Number of a window -> iterator of this window and those that follow, each a `Dataset`.
    count : int
        Number of sequences of all windows.
    window : int
        Number of sequences of a window; the last one may have fewer. If it is no multiple of the
        minibatch size, the last minibatch of every window is smaller.
    description : str
        Text that is the same for the same data, such as with a digest: a training that is resumed
        needs the same.
    """

    def __init__(
        self, read: Callable[[int], Iterator[Dataset]], count: int, window: int, description: str
    ) -> None:
        if not callable(read):
            raise TypeError(f"read must be a function, got {type(read).__name__}")
        self._read = read
        self.count = checks.integer("count", count)
        self.window = checks.integer("window", window)
        self.description = str(description)
        self._open: dict[int, Dataset] = {}

    def windows(self, first: int = 0) -> Iterator[Dataset]:
        """Read the windows.

        Parameters
        ----------
        first : int
            Number of the first one.

        Yields
        ------
        Dataset

        Raises
        ------
        TypeError, ValueError
            If there is no such window, or they have more or fewer sequences than before.
        """
        first, windows = checks.integer("first", first, 0), -(-self.count // self.window)
        if first >= windows:
            raise ValueError(f"first must be in [0, {windows}), got {checks.shown(first)}")
        found = self._read(first)
        for number in range(first, windows):
            expected = min(self.window, self.count - number * self.window)
            part = next(found, None)
            got = 0 if part is None else len(part.lengths)
            if part is None or got != expected:
                raise self._changed(number, expected, got)
            yield part
            del part  # the caller may forget it before the next one is read
        extra = next(found, None)
        if extra is not None:
            raise self._changed(number + 1, 0, len(extra.lengths))

    def _changed(self, number: int, expected: int, got: int) -> ValueError:
        return ValueError(
            f"the source must yield the same sequences in every pass, {self.count}: "
            f"{expected} from {number * self.window} on, got {got}"
        )

    def epoch_batches(self, batch_size: int, seed: int, epoch: int) -> Batches:
        """Return the minibatches of an epoch, whose windows are read when they are asked for.

        Parameters
        ----------
        batch_size : int
            Minibatch size, in sequences.
        seed : int
            Seed of the order, >= 0.
        epoch : int
            Number of the epoch, >= 0.

        Returns
        -------
        sequence of int64 arrays
            Indices of each minibatch; slices are lists.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        """
        batch_size = checks.integer("batch_size", batch_size)
        self._open = {}
        return _Batches(self, batch_size, checks.integer("seed", seed, 0), epoch)

    def batch(self, indices: NDArray[Any]) -> Any:
        """Return a minibatch of these sequences, which are in one window that is open.

        Parameters
        ----------
        indices : integer array (B,)
            Indices from `epoch_batches`.

        Returns
        -------
        object
            Minibatch of the window's dataset.

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer, or not in an open window.
        """
        indices = checks.indices("indices", indices, self.count)
        number = int(indices[0]) // self.window if len(indices) else -1
        if number not in self._open:
            opened = ", ".join(map(str, self._open)) or "none"
            raise ValueError(f"indices must be in an open window ({opened}), got window {number}")
        return self._open[number].batch(indices - number * self.window)


class _Batches(Sequence[NDArray[np.int64]]):
    """Minibatches of an epoch."""

    def __init__(self, data: WindowedDataset, batch_size: int, seed: int, epoch: int) -> None:
        self._data, self._size = data, batch_size
        self._each = -(-data.window // batch_size)  # minibatches of a whole window
        self._seed, self._epoch = seed, epoch
        self._reading: tuple[int, Iterator[Dataset]] | None = None  # the next window
        self._orders: dict[int, list[NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        whole, rest = divmod(self._data.count, self._data.window)
        return whole * self._each - (-rest // self._size)

    @overload
    def __getitem__(self, key: int) -> NDArray[np.int64]: ...
    @overload
    def __getitem__(self, key: slice) -> list[NDArray[np.int64]]: ...
    def __getitem__(self, key: int | slice) -> NDArray[np.int64] | list[NDArray[np.int64]]:
        if not isinstance(key, slice):
            return self[slice(key, key + 1)][0]
        chosen = range(len(self))[key]
        each = self._each
        self._need(sorted({i // each for i in chosen}))
        return [self._orders[i // each][i % each] for i in chosen]

    def _need(self, numbers: list[int]) -> None:
        """Open these windows, and close all others, before."""
        opened = self._data._open
        for number in set(opened).difference(numbers):
            del opened[number], self._orders[number]
        for number in numbers:
            if number in opened:
                continue
            if self._reading is None or self._reading[0] != number:
                self._reading = (number, self._data.windows(number))
            part = next(self._reading[1])
            self._reading = (number + 1, self._reading[1])
            opened[number] = part
            batches = shuffled_batches(part.lengths, self._size, self._seed, self._epoch, number)
            self._orders[number] = [batch + number * self._data.window for batch in batches]


def parts_of(data: Dataset | WindowedDataset) -> Iterator[Dataset]:
    """Yield the windows of a dataset, or the dataset itself.

    Parameters
    ----------
    data : Dataset or WindowedDataset
        The data.

    Yields
    ------
    Dataset
    """
    if isinstance(data, WindowedDataset):
        yield from data.windows()
    else:
        yield data


def count_of(data: Dataset | WindowedDataset) -> int:
    """Return the number of sequences."""
    return data.count if isinstance(data, WindowedDataset) else len(data.lengths)
