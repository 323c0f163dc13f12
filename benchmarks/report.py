"""Markdown tables of results.json: python benchmarks/report.py DIR."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measurements import (
    REGIMES,
    Measurement,
    geometric_mean,
    pairs,
    ragged_pairs,
    read,
    regime,
    run_report_script,
    select,
)

GROUPS = {  # group -> suffix of the title
    "grid": "",
    "step": "",
    "ragged": ", ragged",
    "lecture": ", against the lecture's loop",
    "models": ", whole models",
}
MODES = ("inference", "training", "step")


def number(value: float | None, digits: int = 3) -> str:
    """Format with at least `digits` significant digits, without exponents."""
    if value is None:
        return "–"
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if value >= 1 else f"{value:.{digits - 1}f}"


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def microseconds(seconds: float | None) -> str:
    return number(None if seconds is None else 1e6 * seconds)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table; numeric columns are right-aligned."""
    lines = list(lines)
    if not lines:
        return []
    words = {"rows", "row", "worst row", "best peer", "regime", "model"}
    rule = ["---" if name in words else "--:" for name in head]
    return [f"| {' | '.join(line)} |" for line in (head, rule, *lines)] + [""]


def about(content: Mapping[str, Any]) -> list[str]:
    """Return machine, versions and command."""
    machine, versions = content["machine"], content["versions"]
    own = versions.get("bptt", "")
    others = ", ".join(f"{name} {v}" for name, v in sorted(versions.items()) if name != "bptt")
    others = others.replace("numpy loop", "NumPy loop")
    hidden = ", AVX-512 hidden from all libraries" if machine.get("hides_avx512") else ""
    return [
        f"{machine['processor']}{hidden}, {machine['cores']} cores, {machine['system']}, Python "
        f"{machine['python']}; bptt {own} with instruction set {machine['isa']}, "
        f"{machine['compiler']}; {others}. {content['started'][:10]}.",
        "",
        f"`{content['command']}`",
        "",
    ]


def sections(entries: Sequence[Measurement]) -> list[tuple[str, list[Measurement]]]:
    """Return the groups of measurements that are averaged, with their titles."""
    found = []
    for threads in sorted({e.threads for e in entries}):
        for group, name in GROUPS.items():
            for mode in MODES:
                for dtype in ("float32", "float64"):
                    wanted = {"group": group, "mode": mode, "dtype": dtype, "threads": threads}
                    part = select(entries, **wanted)
                    words = f"{mode}{name}, {dtype}, {threads} thread{'s' * (threads > 1)}"
                    if part:
                        found.append((words, part))
    return found


def summary(entries: Sequence[Measurement]) -> list[str]:
    lines = []
    for name, part in sections(entries):
        ratios = [(e.ratio, e.row.label) for e in part if e.ratio is not None]
        if not ratios:
            continue
        worst, label = min(ratios)
        lines.append(
            (
                name,
                str(len(part)),
                times(geometric_mean(e.ratio for e in part)),
                times(geometric_mean(e.torch_ratio for e in part)),
                str(sum(ratio < 1 for ratio, _ in ratios)),
                times(worst),
                label,
            )
        )
    head = ("rows", "number", "× best peer", "× torch", "below 1.0", "worst", "worst row")
    return ["## Summary", "", SUMMARY, "", *table(head, lines)] if lines else []


def behind(entries: Sequence[Measurement]) -> list[str]:
    """Return the rows on which a peer is the fastest, the slowest of bptt first."""
    ratios = [(e.best[1] / e.seconds, e.best[0], e) for e in entries if e.best]
    lines = [
        (
            f"{e.row.label}, {e.row.mode}, {e.row.dtype}, {e.threads} thr",
            peer,
            times(ratio),
            f"{100 * e.rate / e.products['numpy']:.0f} %",
        )
        for ratio, peer, e in sorted(ratios, key=lambda one: one[0])
        if ratio < 1
    ]
    head = ("row", "best peer", "× best peer", "% of NumPy")
    return ["## Rows below one", "", BEHIND, "", *table(head, lines)] if lines else []


BEHIND = "% of NumPy: rate of arithmetic, relative to NumPy's product of two 1024 × 1024 matrices."
SUMMARY = (
    "Geometric means of the time of the fastest peer per row, and of PyTorch, relative to the time "
    "of bptt. Above 1, bptt is faster."
)


def scaling(entries: Sequence[Measurement]) -> list[str]:
    """Compare all threads with one, by regime."""
    threads = max((e.threads for e in entries), default=1)
    matched = [p for p in pairs(entries, threads) if p[0].row.group != "sweep"]
    if threads == 1 or not matched:
        return []
    lines = []
    for name in REGIMES:
        for mode in MODES:
            part = [
                (one.seconds / many.seconds, one.row)
                for one, many in matched
                if regime(one.row) == name and one.row.mode == mode
            ]
            if part:
                worst, row = min(part, key=lambda pair: pair[0])
                mean = geometric_mean(ratio for ratio, _ in part)
                label = f"{row.label} {row.dtype}"
                words = name if mode == "step" else f"{name}, {mode}"
                lines.append((words, str(len(part)), times(mean), times(worst), label))
    head = ("regime", "number", "faster ×", "worst", "worst row")
    return [f"## {threads} threads against one", "", *table(head, lines)]


def models(entries: Sequence[Measurement]) -> list[str]:
    """Return one table for each mode of whole models, with the speedup of all threads."""
    entries = select(entries, group="models")
    text: list[str] = []
    for mode in MODES:
        part = select(entries, mode=mode)
        if not part:
            continue
        counts = sorted({e.threads for e in part})
        found = {(e.row.label, e.threads): e for e in part}
        lines = []
        for label in dict.fromkeys(e.row.label for e in part):
            those = [found.get((label, n)) for n in counts]
            cells = [cell for entry in those for cell in model_cells(entry)]
            first, last = those[0], those[-1]
            gain = first.seconds / last.seconds if first and last else None
            lines.append((label, *cells, *([times(gain)] if len(counts) > 1 else [])))
        means = [
            cell
            for n in counts
            for cell in (
                "",
                times(geometric_mean(e.torch_ratio for e in part if e.threads == n)),
                times(geometric_mean(e.ratio for e in part if e.threads == n)),
                "",
            )
        ]
        lines.append(("geometric mean", *means, *([""] if len(counts) > 1 else [])))
        heads = [
            f"{name}, {n} thr"
            for n in counts
            for name in ("tokens/s", "× torch", "× best peer", "% of NumPy")
        ]
        head = ("model", *heads, *(["gain"] if len(counts) > 1 else []))
        text += [f"### {mode[0].upper()}{mode[1:]}", "", *table(head, lines)]
    return ["## Whole models", "", MODELS, "", *text] if text else []


MODELS = (
    "Training is a whole update, with clipping and Adam; rows are (T, B, embedding size, H). % of "
    "NumPy: NumPy's time for all matrix products of the row, each as large as the model allows "
    "(those of all steps at once), relative to the time of bptt, which computes all else as well. "
    "Gain: one thread's time relative to that of all."
)


def model_cells(entry: Measurement | None) -> tuple[str, ...]:
    if entry is None:
        return ("–",) * 4
    share = f"{100 * entry.rate / entry.products['numpy']:.0f} %"
    return number(entry.tokens), times(entry.torch_ratio), times(entry.ratio), share


def ragged(entries: Sequence[Measurement]) -> list[str]:
    """Compare ragged batches with full ones of the same shape."""
    lines = []
    for full, part in ragged_pairs(entries):
        torch: float | None = None
        if full.torch_seconds and part.torch_seconds:
            torch = part.torch_seconds / full.torch_seconds
        lines.append(
            (
                f"{full.row.label} {full.row.mode}, {full.threads} thr",
                f"{part.row.sequence_steps / full.row.sequence_steps:.2f}",
                f"{part.seconds / full.seconds:.2f}",
                times(torch),
            )
        )
    head = ("row", "steps", "time", "time of torch")
    what = "Steps and time relative to a batch of sequences of T steps."
    return ["## Ragged against full", "", what, "", *table(head, lines)] if lines else []


def wins(entries: Sequence[Measurement]) -> list[str]:
    counted = [e for e in entries if e.row.group in ("grid", "step", "ragged") and e.best]
    best = Counter(e.best[0] for e in counted if e.best)
    if not best:
        return []
    words = ", ".join(f"{name} {count}" for name, count in best.most_common())
    return [f"Number of rows, of {len(counted)}, on which a peer is the fastest: {words}.", ""]


def details(entries: Sequence[Measurement]) -> list[str]:
    """Return the tables of all rows, those of the plots of cost last."""
    text = ["## All rows", "", DETAILS, ""]
    parts = sections(entries)
    sweeps = select(entries, group="sweep")
    parts += [
        (f"{mode}, LSTM at other sizes, {threads} thread{'s' * (threads > 1)}", part)
        for threads in sorted({e.threads for e in sweeps})
        for mode in MODES
        if (part := select(sweeps, threads=threads, mode=mode))
    ]
    for name, part in parts:
        text += [f"### {name[0].upper()}{name[1:]}", "", *table(HEAD, map(line, part))]
    return text


DETAILS = (
    "Rows are cell (T, B, I, H). Medians; ± is half the interquartile range. GFLOP/s count the "
    "operations of the matrix products; % is relative to the rate of one product of two "
    "1024 × 1024 matrices, measured in between; of whole models, to all their products."
)
HEAD = ("row", "bptt µs", "±", "GFLOP/s", "%", "best peer", "peer µs", "× best peer", "× torch")


def line(entry: Measurement) -> tuple[str, ...]:
    name, best = entry.best or ("–", None)
    return (
        entry.row.label,
        microseconds(entry.seconds),
        f"{50 * entry.spread:.0f} %",
        number(entry.rate / 1e9),
        f"{100 * entry.rate / entry.gemm:.0f} %",
        name,
        microseconds(best),
        times(entry.ratio),
        times(entry.torch_ratio),
    )


def failures(content: Mapping[str, Any]) -> list[str]:
    """Return the peers that failed on a row that they support."""
    found = {
        name: (message.strip().splitlines()[-1], entry)
        for entry in content["rows"]
        for name, message in entry["failed"].items()
    }
    if not found:
        return []
    text = ["## Failed", "", "Left out where they failed; the last error of each:", ""]
    return [*text, *(f"- {name}: {words}" for name, (words, _) in found.items()), ""]


def render(content: Mapping[str, Any]) -> str:
    entries = read(content)
    parts = [
        ["# Results", ""],
        about(content),
        summary(entries),
        behind(entries),
        models(entries),
        wins(entries),
        scaling(entries),
        ragged(entries),
        failures(content),
        details(entries),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def write(content: Mapping[str, Any], output: Path) -> None:
    """Write results.md to `output`."""
    (output / "results.md").write_text(render(content), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_report_script("report.py", write))
