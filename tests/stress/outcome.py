"""What a harness has tried, and what has failed."""

from __future__ import annotations

from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """The result of a harness."""

    count: int
    """Number of what was tried."""
    failures: list[str]
    """Sentences, one for each failure."""
    numbers: dict[str, Any]
    """Further figures, for the file of results."""
