"""The table, and the results it is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any


@dataclass
class Row:
    """A line of the table."""

    wheel: str
    """Name of the file, which ends with the tag."""
    kilobytes: int = 0
    glibc: str = ""
    import_ms: str = ""
    tests: str = ""
    threads: str = ""
    isa: str = ""
    problems: list[str] = field(default_factory=list)


class Results:
    """Outcomes of the steps that have passed, in a file, each with the digest of its input.

    A run that resumes another one takes them from there where the input is the same.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self.kept: dict[str, Any] = {}
        if resume and path.exists():
            self.kept = json.loads(path.read_text("utf-8"))
        self.lock = Lock()

    def find(self, step: str, digest: str) -> dict[str, Any] | None:
        """Return the outcome of a step, or None if it has to be run."""
        kept = self.kept.get(step)
        return kept["outcome"] if kept and kept["digest"] == digest else None

    def keep(self, step: str, digest: str, outcome: dict[str, Any]) -> None:
        """Write the outcome of a step to the file."""
        with self.lock:
            self.kept[step] = {"digest": digest, "outcome": outcome}
            self.path.write_text(json.dumps(self.kept, indent=1), "utf-8")

    def once(self, step: str, digest: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the kept outcome of a step, or run it."""
        outcome = self.find(step, digest)
        if outcome is None:
            outcome = make()
            if not (outcome.get("failed") or outcome.get("problems")):
                self.keep(step, digest, outcome)
        return outcome


def summary(report: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the counts of a report of test_wheel.py."""
    counts = (
        f"{step} {figures.get('passed', 0):,}"
        + (f" ({figures['failed']} failed)" if figures.get("failed") else "")
        for step, figures in report.items()
    )
    return ", ".join(counts) or "–"


def table(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    head = ["wheel", "kB", "glibc", "import, ms", "tests passed", "threads", "instruction set"]
    cells = [
        [row.wheel, f"{row.kilobytes:,}", row.glibc, row.import_ms, row.tests, row.threads, row.isa]
        for row in rows
    ]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
