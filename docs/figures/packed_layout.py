"""Draw packed_layout.svg: how the recurrent weights lie in memory.

    python docs/figures/packed_layout.py

The drawing has the sizes of a toy, so that every weight can be seen: an LSTM with 8 hidden units
and registers of 4 lanes.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

GATES = {"i": "#4477aa", "f": "#ccbb44", "g": "#228833", "o": "#ee6677"}
HIDDEN, LANES, ROWS = 8, 4, 3
CELL = 0.26  # width of a packed weight, inches
LINE = 0.19  # and its height
LIGHT = 0.45  # opacity of the second block of units
WIDTH, HEIGHT = 6.6, 6.85

Point = tuple[float, float]


def grid(
    ax: Axes,
    at: Point,
    cell: Point,
    shape: tuple[int, int],
    color: str,
    alpha: float = 1.0,
) -> None:
    """Draw (rows, columns) cells, the upper left corner `at`, y downwards."""
    (x, y), (width, height), (rows, columns) = at, cell, shape
    right, bottom = x + columns * width, y + rows * height
    ax.add_patch(Rectangle(at, right - x, bottom - y, facecolor=color, alpha=alpha, linewidth=0))
    ax.vlines([x + i * width for i in range(columns + 1)], y, bottom, color="w", linewidth=0.6)
    ax.hlines([y + i * height for i in range(rows + 1)], x, right, color="w", linewidth=0.6)


def label(ax: Axes, x: float, y: float, text: str) -> None:
    """Write a small text around a point."""
    ax.text(x, y, text, ha="center", va="center", size=8)


def arrow(ax: Axes, start: Point, end: Point) -> None:
    """Draw an arrow."""
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=10, color="0.35", shrinkA=0, shrinkB=0
        )
    )


def frame(ax: Axes, at: Point, size: Point) -> None:
    """Draw an outline."""
    ax.add_patch(Rectangle(at, *size, fill=False, edgecolor="0.2", linewidth=1.2))


def plain_matrix(ax: Axes, left: float, top: float) -> None:
    """Draw weight_hh as the user sees it: gate after gate, a row for each unit."""
    cell, line = 0.13, 0.11
    ax.text(left, top - 0.42, "weight_hh", size=10, weight="bold")
    ax.text(left, top - 0.22, "(4H, H), row-major", size=9)
    ax.text(left + HIDDEN * cell / 2, top - 0.03, "depth k", ha="center", va="bottom", size=8)
    for g, (gate, color) in enumerate(GATES.items()):
        start = top + g * HIDDEN * line
        for half, alpha in enumerate((1.0, LIGHT)):
            at = (left, start + half * LANES * line)
            grid(ax, at, (cell, line), (LANES, HIDDEN), color, alpha)
        y = start + HIDDEN * line / 2
        ax.text(left - 0.08, y, gate, ha="right", va="center", size=10, weight="bold")
    bottom = top + len(GATES) * HIDDEN * line
    ax.text(left, bottom + 0.06, "dark: units 0-3\nlight: units 4-7", va="top", size=8)


def panel(ax: Axes, left: float, top: float, first_unit: int) -> None:
    """Draw all gates of W units, depth after depth."""
    alpha = 1.0 if first_unit == 0 else LIGHT
    for g, (gate, color) in enumerate(GATES.items()):
        x = left + g * LANES * CELL
        grid(ax, (x, top), (CELL, LINE), (HIDDEN, LANES), color, alpha)
        for lane in range(LANES):
            label(ax, x + (lane + 0.5) * CELL, top + LINE / 2, f"{gate}{first_unit + lane}")
    for k, text in ((0, "k = 0"), (1, "k = 1"), (HIDDEN - 1, "k = H-1")):
        ax.text(left - 0.06, top + (k + 0.5) * LINE, text, ha="right", va="center", size=8)
    frame(ax, (left, top), (len(GATES) * LANES * CELL, HIDDEN * LINE))


def packed(ax: Axes, left: float, top: float) -> None:
    """Draw the same weights in the order of memory."""
    ax.text(left, top - 0.42, "packed: [panel][k][block][gate][W]", size=10, weight="bold")
    ax.text(left, top - 0.22, "memory runs along each line, then down", size=9)
    panel(ax, left, top, 0)
    second = top + HIDDEN * LINE + 0.45
    ax.text(left, second - 0.08, "next panel: the next W units", size=9)
    panel(ax, left, second, LANES)


def tile(ax: Axes, left: float, top: float, packed_left: float) -> None:
    """Draw what the registers hold: R rows of the batch times all gates of W units."""
    title = "register tile: at every k, R rows of h times one line of a panel"
    ax.text(0.35, top - 0.55, title, size=10, weight="bold")
    packet = LANES * CELL
    for g, (gate, color) in enumerate(GATES.items()):
        x = packed_left + g * packet
        grid(ax, (x, top - 0.3), (CELL, LINE), (1, LANES), color)
        for lane in range(LANES):
            label(ax, x + (lane + 0.5) * CELL, top - 0.3 + LINE / 2, f"{gate}{lane}")
        grid(ax, (x, top), (packet, 1.3 * LINE), (ROWS, 1), color, 0.7)
        for r in range(ROWS):
            label(ax, x + packet / 2, top + (r + 0.5) * 1.3 * LINE, f"+= {gate} of row {r}")
    grid(ax, (left, top), (1.6 * CELL, 1.3 * LINE), (ROWS, 1), "0.8")
    for r in range(ROWS):
        label(ax, left + 0.8 * CELL, top + (r + 0.5) * 1.3 * LINE, f"h[{r}][k]")
    height = ROWS * 1.3 * LINE
    label(ax, (left + 1.6 * CELL + packed_left) / 2, top + height / 2, "each of R × 4 sums\n")
    label(ax, (left + 1.6 * CELL + packed_left) / 2, top + height / 2, "\nis one register")
    end = (packed_left + 2 * packet, top + height + 0.4)
    for g in range(len(GATES)):
        arrow(ax, (packed_left + (g + 0.5) * packet, top + height + 0.04), end)
    ax.text(
        *(end[0], end[1] + 0.04),
        "after the last k, all gates of these units are known:\n"
        "c = f c + i g,   h = o tanh(c),   for W units at once",
        ha="center",
        va="top",
        size=9,
    )


def main() -> None:
    """Draw and save it."""
    mpl.rcParams["svg.hashsalt"] = "bptt"  # the same drawing is the same file
    figure = plt.figure(figsize=(WIDTH, HEIGHT))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    ax.axis("off")
    packed_left, top = 2.3, 0.75
    plain_matrix(ax, 0.35, top)
    packed(ax, packed_left, top)
    arrow(ax, (1.5, top + 0.4), (packed_left - 0.55, top + 0.4))
    tile(ax, 0.6, top + 2 * HIDDEN * LINE + 1.55, packed_left)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
