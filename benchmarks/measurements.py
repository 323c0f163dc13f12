"""Measurements read from results.json, for tables and plots."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import GROUP as MODELS
from models import AnyRow, row_from_json

BPTT = "bptt"


@dataclass(frozen=True)
class Measurement:
    """Measurement of a row with a number of threads."""

    row: AnyRow
    threads: int
    times: Mapping[str, Mapping[str, float]]  # peer or variant -> median, ..
    products: Mapping[str, float]  # library -> FLOP/s of its matrix product; of a model, of all
    flops: float
    bytes: float

    @property
    def gemm(self) -> float:
        """FLOP/s of the fastest matrix product."""
        return max(self.products.values())

    @property
    def seconds(self) -> float:
        return self.times[BPTT]["median"]

    @property
    def spread(self) -> float:
        """Interquartile range, relative to the median."""
        own = self.times[BPTT]
        return (own["high"] - own["low"]) / own["median"]

    @property
    def rate(self) -> float:
        """FLOP/s."""
        return self.flops / self.seconds

    @property
    def tokens(self) -> float:
        """Tokens, or steps of sequences, per second."""
        return self.row.sequence_steps / self.seconds

    @property
    def best(self) -> tuple[str, float] | None:
        """The fastest peer and its seconds."""
        others = [(t["median"], name) for name, t in self.times.items() if name != BPTT]
        return min(others)[::-1] if others else None

    @property
    def ratio(self) -> float | None:
        """Time of the best peer over that of bptt."""
        return self.best[1] / self.seconds if self.best else None

    @property
    def torch_seconds(self) -> float | None:
        """Seconds of the fastest variant of PyTorch."""
        found = [t["median"] for name, t in self.times.items() if name.split()[0] == "torch"]
        return min(found) if found else None

    @property
    def torch_ratio(self) -> float | None:
        return self.torch_seconds / self.seconds if self.torch_seconds else None


def read(content: Mapping[str, Any]) -> list[Measurement]:
    return [
        Measurement(
            row_from_json(entry["row"]),
            entry["threads"],
            entry["peers"],
            entry["gemm"],
            entry["flops"],
            entry["bytes"],
        )
        for entry in content["rows"]
    ]


def select(entries: Iterable[Measurement], **wanted: Any) -> list[Measurement]:
    """Return the measurements with these attributes of the row, or of their own."""

    def value(entry: Measurement, name: str) -> Any:
        return entry.threads if name == "threads" else getattr(entry.row, name)

    return [e for e in entries if all(value(e, name) == v for name, v in wanted.items())]


def geometric_mean(values: Iterable[float | None]) -> float | None:
    logs = [math.log(value) for value in values if value is not None]
    return math.exp(sum(logs) / len(logs)) if logs else None


def pairs(entries: Iterable[Measurement], threads: int) -> list[tuple[Measurement, Measurement]]:
    """Return pairs of the same row, on one thread and on `threads` threads."""
    entries = list(entries)
    one = {e.row: e for e in entries if e.threads == 1}
    return [(one[e.row], e) for e in entries if e.threads == threads and e.row in one]


def ragged_pairs(entries: Iterable[Measurement]) -> list[tuple[Measurement, Measurement]]:
    """Return pairs of rows that differ in being full and ragged."""
    entries = list(entries)

    def key(e: Measurement) -> tuple[Any, ...]:
        return e.row.cell, e.row.mode, e.row.size, e.row.dtype, e.row.num_layers, e.threads

    full = {key(e): e for e in entries if e.row.group == "grid"}
    ragged = [e for e in entries if e.row.group == "ragged"]
    return [(full[key(e)], e) for e in ragged if key(e) in full]


def run_report_script(script: str, write: Callable[[Mapping[str, Any], Path], None]) -> int:
    """Run a script that writes a report of DIR/results.json."""
    if len(sys.argv) != 2:
        print(f"usage: python benchmarks/{script} DIR  (with results.json)", file=sys.stderr)
        return 2
    output = Path(sys.argv[1])
    write(json.loads((output / "results.json").read_text(encoding="utf-8")), output)
    return 0


Condition = Callable[[AnyRow], bool]
REGIMES: dict[str, Condition] = {
    "whole models": lambda row: row.group == MODELS,
    "step": lambda row: row.mode == "step",
    "ragged": lambda row: row.ragged,
    "B = 1, H < 256": lambda row: row.batch == 1 and row.hidden_size < 256,
    "B = 1, H ≥ 256": lambda row: row.batch == 1,
    "H ≥ 512": lambda row: row.hidden_size >= 512,
    "1 < B ≤ 16": lambda row: row.batch <= 16,
    "B > 16": lambda row: True,
}


def regime(row: AnyRow) -> str:
    """Return the first of `REGIMES` that matches."""
    return next(name for name, fits in REGIMES.items() if fits(row))
