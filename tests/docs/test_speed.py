"""docs/speed.md: the tables are those of the stored results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "speed.md").read_text("utf-8")
ROWS = json.loads((ROOT / "benchmarks" / "results" / "results.json").read_text("utf-8"))["rows"]
CELLS = ("rnn", "lstm", "gru")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def milliseconds(group: str, cell: str, mode: str, *size: int, dtype: str = "float32") -> float:
    names = ("steps", "batch", "input_size", "hidden_size")
    wanted: dict[str, Any] = dict(zip(names, size, strict=True))
    wanted |= {"group": group, "cell": cell, "mode": mode, "dtype": dtype, "num_layers": 1}
    (found,) = (
        entry["peers"]["bptt"]["median"]
        for entry in ROWS
        if entry["threads"] == 1 and wanted.items() <= entry["row"].items()
    )
    return 1e3 * float(found)


def test_times_of_cells() -> None:
    lines = re.findall(r"^\| \((.*)\), (\w+) \| (.*) \|$", section("Which cell"), re.MULTILINE)
    assert len(lines) == 6
    for size, mode, times in lines:
        for cell, time in zip(CELLS, times.split(" | "), strict=True):
            digits = 3 if size.startswith("100, 1,") else 2 if float(time) < 10 else 1
            digits = 0 if float(time) >= 100 else digits
            found = milliseconds("grid", cell, mode, *map(int, size.split(", ")))
            assert time == f"{found:.{digits}f}", (size, mode, cell)


def test_times_of_steps() -> None:
    shown = re.search(
        r"takes ([\d.]+) µs for an RNN of 64 units, ([\d.]+) µs for an LSTM, ([\d.]+) µs",
        " ".join(section("Which cell").split()),
    )
    assert shown
    for cell, time in zip(CELLS, shown.groups(), strict=True):
        found = 1e3 * milliseconds("step", cell, "step", 1, 1, 64, 64)
        assert abs(found - float(time)) < 0.01


def test_times_of_batch_sizes() -> None:
    header, *lines = re.findall(r"^\| (.*) \|$", section("Which batch size"), re.MULTILINE)
    batches = [int(cell) for cell in header.split(" | ")[1:]]
    assert len(lines) == 2
    for line in lines:
        mode, *times = line.split(" | ")
        for batch, time in zip(batches, times, strict=True):
            found = milliseconds("sweep", "lstm", mode, 100, batch, 128, 128) / batch
            assert time == f"{found:.2f}", (mode, batch)


def test_speedup_of_the_second_thread() -> None:
    results = (ROOT / "benchmarks" / "results" / "results.md").read_text("utf-8")
    stored = dict(
        re.findall(r"^\| (.*, (?:inference|training)) \| \d+ \| ([\d.]+) \|", results, re.M)
    )
    lines = re.findall(r"^\| (.*[<>≤≥].*) \| (.*) \| (.*) \|$", section("How many threads"), re.M)
    assert len(lines) == 5
    for regime, inference, training in lines:
        assert stored[f"{regime}, inference"] == inference
        assert stored[f"{regime}, training"] == training


def test_ratio_of_dtypes() -> None:
    (shown,) = re.findall(r"float64 takes ([\d.]+) times as long", PAGE)
    size = (50, 32, 128, 128)
    ratios = [
        milliseconds("grid", cell, mode, *size, dtype="float64")
        / milliseconds("grid", cell, mode, *size)
        for cell in CELLS
        for mode in ("inference", "training")
    ]
    assert f"{sum(ratios) / len(ratios):.1f}" == shown
