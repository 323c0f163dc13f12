"""Plots of results.json: python benchmarks/plots.py DIR."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from grid import SWEEP_BASE, SWEEPS
from measurements import (
    REGIMES,
    Measurement,
    geometric_mean,
    pairs,
    read,
    regime,
    run_report_script,
    select,
)

# Colors of Okabe and Ito, distinguishable with color vision deficiency; markers for grayscale.
LOOK = {
    "inference": {"color": "#0072B2", "marker": "o"},
    "training": {"color": "#D55E00", "marker": "s"},
    "step": {"color": "#009E73", "marker": "D"},
}
GREY = "#6E6E6E"
WIDTH = 7.5  # inches; text of 9 points is legible in a column
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 150,
}
COMPARED = ("grid", "step", "ragged")


def plain(axis: Any, values: Sequence[float] | None = None) -> None:
    """Label a logarithmic axis with decimal numbers instead of powers."""
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())
    if values is not None:
        axis.set_ticks(values)
        axis.set_ticks([], minor=True)


def ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10, .. within [low, high]; only powers of 10 over a wide range."""
    steps = (1, 2, 5) if high / low < 200 else (1,)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]


def thread_label(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def marks(modes: Sequence[str]) -> list[Line2D]:
    return [Line2D([], [], linestyle="", markersize=5, label=m, **LOOK[m]) for m in modes]


def category(entry: Measurement) -> str:
    return "float64" if entry.row.dtype == "float64" else regime(entry.row)


def ratios(entries: Sequence[Measurement]) -> Figure | None:
    """Plot the ratio of every row to the best peer, by regime."""
    entries = [e for e in entries if e.row.group in COMPARED and e.ratio is not None]
    names = [n for n in [*REGIMES, "float64"] if any(category(e) == n for e in entries)]
    if not entries:
        return None
    counts = sorted({e.threads for e in entries})
    height = 1.3 + 0.5 * len(names)
    figure, axes = plt.subplots(
        1,
        len(counts),
        figsize=(WIDTH, height),
        sharey=True,
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, threads in zip(axes[0], counts, strict=True):
        draw_ratios(ax, [e for e in entries if e.threads == threads], names)
        ax.set_title(thread_label(threads), fontsize=10)
    found = [e.ratio for e in entries if e.ratio is not None]
    low, high = min(0.8, 0.9 * min(found)), 1.15 * max(found)
    axes[0][0].set_xlim(low, high)
    plain(axes[0][0].xaxis, ticks(low, high))
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].set_ylim(len(names) - 0.5, -0.5)
    figure.supxlabel(
        "time of the best peer ÷ time of bptt (right of 1: bptt is faster)", fontsize=9
    )
    handles = marks([m for m in LOOK if any(e.row.mode == m for e in entries)])
    handles.append(
        Line2D(
            [],
            [],
            linestyle="",
            marker="|",
            markersize=11,
            markeredgewidth=2.2,
            color="black",
            label="geometric mean",
        )
    )
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def draw_ratios(ax: Axes, entries: Sequence[Measurement], names: Sequence[str]) -> None:
    ax.set_xscale("log")
    ax.axvline(1, color="black", linewidth=1)
    ax.grid(axis="y", visible=False)
    for y in range(1, len(names)):
        ax.axhline(y - 0.5, color="#E4E4E4", linewidth=0.8)
    shift = {"inference": -0.18, "training": 0.18, "step": 0.0}
    for y, name in enumerate(names):
        for mode, look in LOOK.items():
            part = [e.ratio for e in entries if category(e) == name and e.row.mode == mode]
            mean = geometric_mean(part)
            if mean is None:
                continue
            height = np.full(len(part), y + shift[mode])
            ax.plot(part, height, linestyle="", markersize=4.5, alpha=0.55, mew=0, **look)
            ax.plot(mean, height[0], marker="|", markersize=11, mew=2.2, color="black", zorder=1)


def cost(entries: Sequence[Measurement]) -> Figure | None:
    """Plot the time against T, B and H, and the speedup by threads."""
    sweeps = select(entries, group="sweep", threads=1) or select(entries, group="sweep")
    if not sweeps:
        return None
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.6), layout="constrained")
    for ax, (letter, values) in zip(axes.flat, SWEEPS.items(), strict=False):
        draw_sweep(ax, sweeps, letter, values)
    draw_scaling(axes[1, 1], entries)
    handles = [
        Line2D([], [], markersize=4, label=f"bptt, {mode}", **LOOK[mode])
        for mode in ("inference", "training")
    ]
    handles += [
        Line2D(
            [],
            [],
            markersize=4,
            label=f"best peer, {mode}",
            linestyle="--",
            markerfacecolor="white",
            **LOOK[mode],
        )
        for mode in ("inference", "training")
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def draw_sweep(
    ax: Axes, entries: Sequence[Measurement], letter: str, values: Sequence[int]
) -> None:
    T, B, _, H = SWEEP_BASE
    base = {"T": T, "B": B, "H": H}
    index = {"T": 0, "B": 1, "H": 3}
    for mode in ("inference", "training"):
        line = {}
        for e in entries:
            others = all(e.row.size[index[n]] == v for n, v in base.items() if n != letter)
            if e.row.mode == mode and others:
                line[e.row.size[index[letter]]] = e
        found = sorted(line.items())
        x = [value for value, _ in found]
        ax.plot(x, [1e3 * e.seconds for _, e in found], markersize=4, **LOOK[mode])
        peers = [1e3 * e.best[1] if e.best else np.nan for _, e in found]
        ax.plot(x, peers, "--", markersize=4, markerfacecolor="white", **LOOK[mode])
    fixed = ", ".join(f"{name} = {value}" for name, value in base.items() if name != letter)
    names = {"T": "steps T", "B": "batch B", "H": "hidden units H = inputs I"}
    ax.set(xscale="log", yscale="log", xlabel=names[letter], ylabel="time of a call (ms)")
    ax.set_title(f"LSTM, {fixed}, {thread_label(entries[0].threads)}", fontsize=9)
    plain(ax.xaxis, values)
    plain(ax.yaxis)


def draw_scaling(ax: Axes, entries: Sequence[Measurement]) -> None:
    """Plot the speedup by all threads against the work of a call, in float32."""
    threads = max(e.threads for e in entries)
    matched = [
        (one, many)
        for one, many in pairs(entries, threads)
        if one.row.group in COMPARED and one.row.dtype == "float32"
    ]
    ax.set(xscale="log", xlabel="work of a call (MFLOP)")
    if threads == 1 or not matched:
        ax.set_axis_off()
        return
    for mode, look in LOOK.items():
        part = [(one, many) for one, many in matched if one.row.mode == mode]
        work = [one.flops / 1e6 for one, _ in part]
        own = [one.seconds / many.seconds for one, many in part]
        ax.plot(work, own, linestyle="", markersize=4, alpha=0.7, mew=0, **look)
    for value, style in ((1, "-"), (threads, ":")):
        ax.axhline(value, color="black", linewidth=1, linestyle=style)
    ax.set_ylabel("time on 1 thread ÷ time")
    ax.set_title(f"bptt on {thread_label(threads)}, all rows (green: step)", fontsize=9)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,g}"))


def roofline(entries: Sequence[Measurement], content: Mapping[str, Any]) -> Figure | None:
    """Plot FLOP/s against operations per byte, with the limits of the machine."""
    entries = [e for e in entries if e.row.group in COMPARED and e.row.dtype == "float32"]
    if not entries:
        return None
    counts = sorted({e.threads for e in entries})
    figure, axes = plt.subplots(
        1, len(counts), figsize=(WIDTH, 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, threads in zip(axes[0], counts, strict=True):
        part = [e for e in entries if e.threads == threads]
        draw_roof(ax, part, content["bandwidth"][str(threads)])
        for e in part:
            if e.best:
                ax.plot(
                    e.flops / e.bytes,
                    e.flops / e.best[1] / 1e9,
                    ".",
                    color=GREY,
                    markersize=4,
                    alpha=0.6,
                )
        for e in part:
            ax.plot(
                e.flops / e.bytes,
                e.rate / 1e9,
                markersize=4.5,
                mew=0,
                alpha=0.75,
                **LOOK[e.row.mode],
            )
        ax.set_title(thread_label(threads), fontsize=10)
    axes[0][0].set_ylabel("GFLOP/s of the products")
    rates = [e.rate / 1e9 for e in entries]
    slowest = min([*rates, *(e.flops / e.best[1] / 1e9 for e in entries if e.best)])
    axes[0][0].set_ylim(max(0.7 * slowest, 0.1), None)
    plain(axes[0][0].yaxis, ticks(*axes[0][0].get_ylim()))
    figure.supxlabel("FLOP per byte, if W is read once a step and all else once", fontsize=9)
    handles = marks([m for m in LOOK if any(e.row.mode == m for e in entries)])
    handles.append(Line2D([], [], linestyle="", marker=".", color=GREY, label="best peer"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def draw_roof(ax: Axes, entries: Sequence[Measurement], bandwidth: Mapping[str, float]) -> None:
    """Plot the rate of the matrix product and the bandwidth limit of every level of memory."""
    peak = float(np.median([e.gemm for e in entries])) / 1e9
    intensities = [e.flops / e.bytes for e in entries]
    x = np.geomspace(0.8 * min(intensities), 1.3 * max(intensities), 200)
    ax.set(xscale="log", yscale="log", xlim=(x[0], x[-1]))
    ax.axhline(peak, color="black", linewidth=1.2)
    ax.annotate(
        f"product {peak:,.0f} GFLOP/s",
        (x[-1], peak),
        xytext=(0, 3),
        ha="right",
        textcoords="offset points",
        fontsize=8,
    )
    lines = []
    for (size, speed), style in zip(bandwidth.items(), ("-", "--", ":"), strict=False):
        roof = np.minimum(speed / 1e9 * x, peak)
        count = int(size)
        words = f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
        label = f"{speed / 1e9:,.0f} GB/s ({words})"
        lines += ax.plot(x, roof, style, color="black", linewidth=1, label=label)
    ax.legend(handles=lines, loc="lower right", fontsize=8, title="reading", title_fontsize=8)
    plain(ax.xaxis, ticks(x[0], x[-1]))


def write(content: Mapping[str, Any], output: Path) -> None:
    """Write the plots for the available rows as PNG to `output`."""
    entries = read(content)
    with plt.rc_context(STYLE):
        figures = {
            "ratios": ratios(entries),
            "cost": cost(entries),
            "roofline": roofline(entries, content),
        }
        for name, figure in figures.items():
            if figure is not None:
                figure.savefig(output / f"{name}.png")
                plt.close(figure)


if __name__ == "__main__":
    sys.exit(run_report_script("plots.py", write))
