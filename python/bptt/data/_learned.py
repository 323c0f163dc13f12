"""What an encoder learns from sequences: counts, ids and moments, of one part after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bptt.data._categories import label
from bptt.data._inputs import INTEGER_CURE, KINDS, RawSequences
from bptt.data._moments import Moments, sum_of

MAX_IDS = 1_000_000
_SPARSE_IDS = 10_000  # from here on, ids must not be sparse
_MAX_SPARSITY = 100  # ids per id that occurs


@dataclass
class Learned:
    """Statistics of all sequences so far."""

    kind: str | None = None
    """One of `KINDS`; None if no sequence had a step."""
    names: tuple[str, ...] | None = None
    """Names of the columns of tables."""
    are_strings: bool = False
    """The first sequence is a string, not a list of tokens."""
    sequences: int = 0
    """Number of sequences."""
    longest: int = 0
    """Number of steps of the longest one."""
    counts: Counter[str] = field(default_factory=Counter)
    """Frequencies of tokens."""
    ids: IdCount = field(default_factory=lambda: IdCount())
    """Ids that occur."""
    columns: int = 0
    """Number of columns of numbers."""
    moments: Moments | None = None
    """Moments of the columns, for standardization."""
    places: tuple[int, ...] | None = None
    """Indices of the columns of categories."""
    labels: tuple[set[str], ...] = ()
    """Categories of each of them."""
    name: str = "X"
    """Name of the sequences in error messages."""

    def start(self, raw: RawSequences) -> bool:
        """Take the type of further sequences; return whether they have a step.

        Raises
        ------
        TypeError, ValueError
            If they are of another type, or have other columns, than those before.
        """
        if not self.sequences:
            self.names, self.are_strings, self.name = raw.names, raw.are_strings, raw.name
        self.sequences += len(raw.lengths)
        self.longest = max(self.longest, int(raw.lengths.max(initial=0)))
        if raw.kind is None or not raw.lengths.any():
            return False
        self._check(raw.kind, raw.names)
        self.kind = raw.kind
        return True

    def add_categories(
        self, categories: Sequence[NDArray[np.object_]], places: tuple[int, ...]
    ) -> None:
        """Add the categories of further tables, (T, features) each, at these places."""
        if self.places is None:
            self.places, self.labels = places, tuple(set() for _ in places)
        for k, known in enumerate(self.labels):
            known |= {label(value) for table in categories for value in table[:, k]}

    def __add__(self, other: Learned) -> Learned:
        """Return the statistics of the sequences of both.

        Raises
        ------
        TypeError, ValueError
            If they are of different types, or have different columns.
        """
        first, last = (self, other) if self.kind is not None else (other, self)
        if last.kind is not None:
            first._check(last.kind, last.names)
            for rule, before, got in (
                ("number of columns of numbers", first.columns, last.columns),
                ("columns of categories", first.places, last.places),
            ):
                if before != got:
                    raise ValueError(f"{self.name} must have the {rule} {before}, got {got}")
        labels = first.labels
        if last.labels:
            labels = tuple(a | b for a, b in zip(first.labels, last.labels, strict=True))
        return Learned(
            kind=first.kind,
            names=first.names,
            are_strings=first.are_strings,
            sequences=self.sequences + other.sequences,
            longest=max(self.longest, other.longest),
            counts=self.counts + other.counts,
            ids=self.ids + other.ids,
            columns=first.columns,
            moments=sum_of(self.moments, other.moments),
            places=first.places,
            labels=labels,
            name=self.name,
        )

    def _check(self, kind: str, names: tuple[str, ...] | None) -> None:
        """Check that sequences are of the type of those before, and have their columns."""
        if self.kind not in (None, kind):
            before = KINDS[self.kind or ""]
            raise TypeError(f"{self.name} must hold {before}, as before, got {KINDS[kind]}")
        if names != self.names:
            raise ValueError(f"{self.name} must have the columns {self.names}, got {names}")


class IdCount:
    """Number of ids, 1 + the largest, and how many of them occur."""

    def __init__(self) -> None:
        self.count = 0
        self._occurs: NDArray[np.bool_] | None = None  # once there are large ones

    def add(self, raw: RawSequences) -> None:
        """Add the ids of further sequences."""
        items = raw.items
        if isinstance(items, np.ndarray):
            items = [row[:length] for row, length in zip(items, raw.lengths, strict=True)]
        largest = max((int(item.max()) for item in items if len(item)), default=0)
        if largest >= _SPARSE_IDS and self._occurs is None:
            self._occurs = self._occurring()
        if self._occurs is not None:
            for item in items:
                self._occurs[item[(item >= 0) & (item < MAX_IDS)]] = True
        self.count = max(self.count, largest + 1)

    def __add__(self, other: IdCount) -> IdCount:
        """Return the count of the ids of both."""
        found = IdCount()
        found.count = max(self.count, other.count)
        if self._occurs is not None or other._occurs is not None:
            found._occurs = self._occurring() | other._occurring()
        return found

    def _occurring(self) -> NDArray[np.bool_]:
        """Return whether each id below `MAX_IDS` occurs; few ids all do, up to the largest."""
        return np.arange(MAX_IDS) < self.count if self._occurs is None else self._occurs

    def checked(self, name: str) -> int:
        """Return the number of ids.

        Raises
        ------
        ValueError
            If ids are too large, or sparse: layers have weights for every id up to the largest.
        """
        rule = ""
        if self.count > MAX_IDS:
            rule = f"ids must be below {MAX_IDS:,}"
        elif self._occurs is not None:
            occurring = int(np.count_nonzero(self._occurs))
            if self.count > _MAX_SPARSITY * occurring:
                rule = (
                    f"ids from {_SPARSE_IDS:,} on must be at most {_MAX_SPARSITY} times the number "
                    f"of ids that occur, {occurring:,}"
                )
        if rule:
            raise ValueError(
                f"{name} must hold dense ids, as every id has its own weights: {rule}, "
                f"got {self.count - 1:,}. {INTEGER_CURE}"
            )
        return max(self.count, 1)
