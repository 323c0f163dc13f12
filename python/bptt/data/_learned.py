"""What an encoder learns from sequences: counts, ids and moments, of one part after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bptt.data._categories import label
from bptt.data._inputs import INTEGER_CURE, KINDS, RawSequences
from bptt.data._moments import Moments

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
    labels: list[set[str]] = field(default_factory=list)
    """Categories of each categorical feature."""

    def start(self, raw: RawSequences) -> bool:
        """Take the type of further sequences; return whether they have a step.

        Raises
        ------
        TypeError, ValueError
            If they are of another type, or have other columns, than those before.
        """
        if not self.sequences:
            self.names, self.are_strings = raw.names, raw.are_strings
        self.sequences += len(raw.lengths)
        self.longest = max(self.longest, int(raw.lengths.max(initial=0)))
        if raw.kind is None or not raw.lengths.any():
            return False
        if self.kind not in (None, raw.kind):
            before = KINDS[self.kind or ""]
            raise TypeError(f"{raw.name} must hold {before}, as before, got {KINDS[raw.kind]}")
        if raw.names != self.names:
            raise ValueError(f"{raw.name} must have the columns {self.names}, got {raw.names}")
        self.kind = raw.kind
        return True

    def add_moments(self, moments: Moments) -> None:
        """Add the moments of further sequences."""
        self.moments = moments if self.moments is None else self.moments + moments

    def add_categories(self, categories: Sequence[NDArray[np.object_]], features: int) -> None:
        """Add the categories of further tables, (T, features) each."""
        if not self.labels:
            self.labels = [set() for _ in range(features)]
        for k, known in enumerate(self.labels):
            known |= {label(value) for table in categories for value in table[:, k]}


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
            self._occurs = np.arange(MAX_IDS) < self.count  # all before, as they are few
        if self._occurs is not None:
            for item in items:
                self._occurs[item[(item >= 0) & (item < MAX_IDS)]] = True
        self.count = max(self.count, largest + 1)

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
