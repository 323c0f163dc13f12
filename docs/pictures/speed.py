"""The README's picture of speed, from the benchmark's stored results.

    python docs/pictures/speed.py

writes speed-light.png and speed-dark.png, for the two color schemes of a page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results" / "results.json"
THREADS = 1
CELLS = ("lstm", "gru")
SIZES = ((100, 1, 32, 64), (100, 16, 64, 64), (50, 32, 128, 128), (50, 64, 512, 512))
MODES = ("inference", "training")
# Colors of text and lines, and of PyTorch and the best peer; safe for color-blind readers.
SCHEMES = {
    "light": {
        "back": "white",
        "ink": "#1F2328",
        "grid": "#D8DEE4",
        "peers": ("#0072B2", "#D55E00"),
    },
    "dark": {
        "back": "#0D1117",
        "ink": "#E6EDF3",
        "grid": "#30363D",
        "peers": ("#56B4E9", "#E69F00"),
    },
}


def ratios(content: dict[str, Any], cell: str, size: tuple[int, ...], mode: str) -> dict[str, Any]:
    """Return the times of PyTorch and of the best peer, in units of the time of bptt."""
    names = ("steps", "batch", "input_size", "hidden_size")
    wanted = {"group": "grid", "cell": cell, "mode": mode, "num_layers": 1, "dtype": "float32"}
    wanted |= {"ragged": False, **dict(zip(names, size, strict=True))}
    (entry,) = (
        entry
        for entry in content["rows"]
        if entry["threads"] == THREADS and wanted.items() <= entry["row"].items()
    )
    times = {name: time["median"] for name, time in entry["peers"].items()}
    own = times.pop("bptt")
    best = min(times, key=times.__getitem__)
    return {"PyTorch": times["torch"] / own, "best peer": times[best] / own, "name": best}


def draw(ax: Axes, content: dict[str, Any], mode: str, scheme: dict[str, Any]) -> None:
    """Draw a row for each cell and size, and its two ratios at the right edge."""
    rows = [(cell, size) for cell in CELLS for size in SIZES]
    for y, (cell, size) in enumerate(rows):
        found = ratios(content, cell, size, mode)
        torch, best = found["PyTorch"], found["best peer"]
        ax.plot([1, torch], [y, y], color=scheme["grid"], linewidth=3, zorder=1)
        ax.plot(torch, y, "o", color=scheme["peers"][0], markersize=9, zorder=2)
        ax.plot(best, y, "D", color=scheme["peers"][1], markersize=6.5, zorder=3)
        for value, x, color in zip((torch, best), (1.15, 1.29), scheme["peers"], strict=True):
            ax.text(x, y, f"{value:.{2 if value < 10 else 1}f}", color=color, **at_the_edge(ax))
    ax.axvline(1, color=scheme["ink"], linewidth=1.2, zorder=0)
    ax.axhline(len(SIZES) - 0.5, color=scheme["grid"], linewidth=0.8)
    ax.set(xscale="log", xlim=(0.85, 60), ylim=(len(rows) - 0.5, -0.5))
    ax.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    ax.minorticks_off()
    ax.set_yticks(
        range(len(rows)),
        [f"{cell.upper()}  T {t}, B {b}, H {h}" for cell, (t, b, _, h) in rows],
    )
    ax.tick_params(length=0)
    ax.grid(axis="x", color=scheme["grid"], linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_title(mode.capitalize(), fontsize=12, fontweight="bold")


def at_the_edge(ax: Axes) -> dict[str, Any]:
    """Place a text by the fraction of the width, in the row of its data."""
    return {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center"}


def write(content: dict[str, Any], name: str, scheme: dict[str, Any]) -> None:
    """Write the picture in the colors of `scheme`."""
    style: dict[Any, Any] = {
        "font.size": 10.5,
        "text.color": scheme["ink"],
        "axes.edgecolor": scheme["grid"],
    }
    style |= {f"{part}.color": scheme["ink"] for part in ("xtick", "ytick")}
    style |= {"axes.titlecolor": scheme["ink"], "axes.facecolor": scheme["back"]}
    with plt.rc_context(style):
        figure, axes = plt.subplots(1, 2, figsize=(9, 4.3), sharey=True, layout="constrained")
        figure.set_facecolor(scheme["back"])
        for ax, mode in zip(axes, MODES, strict=True):
            draw(ax, content, mode, scheme)
        handles = [
            Line2D([], [], linestyle="", marker=m, color=c, markersize=8, label=text)
            for m, c, text in zip(
                "oD", scheme["peers"], ("PyTorch", "fastest of all other libraries"), strict=True
            )
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
        machine = content["machine"]
        figure.supxlabel(
            f"Time of a call ÷ time of bptt (right of 1: bptt is faster). {machine['processor']}, "
            f"{THREADS} thread, float32.",
            fontsize=10,
            color=scheme["ink"],
        )
        look = {"dpi": 170, "pad_inches": 0.1, "bbox_inches": "tight"}
        figure.savefig(HERE / f"speed-{name}.png", facecolor=scheme["back"], **look)
        plt.close(figure)


if __name__ == "__main__":
    stored = json.loads(RESULTS.read_text("utf-8"))
    for scheme_name, colors in SCHEMES.items():
        write(stored, scheme_name, colors)
