"""Draw call_path.svg: from the call of a layer to the register tile.

    python docs/figures/call_path.py

Every box is a function, the file it is in, and what it adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

WIDTH, HEIGHT = 7.4, 8.05
PYTHON, BINDING, NETWORK, LOOP, KERNEL = "#dddddd", "#cfe0ee", "#f3ecc8", "#cfe6d3", "#f6d0d4"


@dataclass(frozen=True)
class Box:
    """A function; x is the center, y the upper edge, in inches from the upper left corner."""

    x: float
    y: float
    function: str
    file: str
    what: str
    color: str
    width: float = 3.2
    height: float = 0.78

    @property
    def bottom(self) -> tuple[float, float]:
        """Return the middle of the lower edge."""
        return self.x, self.y + self.height

    @property
    def top(self) -> tuple[float, float]:
        """Return the middle of the upper edge."""
        return self.x, self.y


LEFT, RIGHT, MIDDLE = 1.9, 5.5, 3.7
CALL = Box(
    MIDDLE,
    0.15,
    "layer(x)",
    "python/bptt/nn/recurrent_base.py",
    "packs the weights anew if they changed",
    PYTHON,
)
BINDING_CALL = Box(
    MIDDLE,
    1.2,
    "infer, forward, backward",
    "cpp/bindings/network.cpp",
    "check arguments, release the GIL",
    BINDING,
)
FORWARD = Box(
    LEFT,
    2.25,
    "Network::infer, forward",
    "cpp/core/network.cpp",
    "a ForwardTask for each layer, direction",
    NETWORK,
)
BACKWARD = Box(
    RIGHT,
    2.25,
    "Network::backward",
    "cpp/core/network.cpp",
    "a BackwardTask, the last layer first",
    NETWORK,
)
EXECUTOR = Box(
    MIDDLE,
    3.3,
    "Executor::run",
    "cpp/core/parallel/executor.hpp",
    "a Worker on each thread of the plan",
    NETWORK,
)
FORWARD_LOOP = Box(
    LEFT,
    4.35,
    "ForwardLoop::run",
    "cpp/core/forward_loop.hpp",
    "project_input for a chunk, then its steps",
    LOOP,
)
BACKWARD_LOOP = Box(
    RIGHT,
    4.35,
    "BackwardLoop::run",
    "cpp/core/backward_loop.hpp",
    "differentiate, propagate; steps in reverse",
    LOOP,
)
FINISH = Box(
    1.05,
    5.65,
    "CellSteps::forward",
    "cell_steps.hpp",
    "Cell::forward on\nfinished sums",
    LOOP,
    1.75,
    0.95,
)
GEMM = Box(
    3.05,
    5.65,
    "gemm_packed",
    "gemm_packed.cpp",
    "panels in K blocks,\nrows in tiles",
    KERNEL,
    1.75,
    0.95,
)
WEIGHTS = Box(
    5.75,
    5.65,
    "WeightGradients::add",
    "weight_gradients.hpp",
    "all rows of a chunk\nonce it is complete",
    LOOP,
    2.3,
    0.95,
)
TILE = Box(3.05, 7.15, "multiply_tile", "gemm_packed.cpp", "the register tile", KERNEL, 1.95)
TN = Box(5.75, 7.15, "GemmTn::run", "gemm_tn.cpp", "sums over rows, in registers", KERNEL, 2.3)

BOXES = (
    CALL,
    BINDING_CALL,
    FORWARD,
    BACKWARD,
    EXECUTOR,
    FORWARD_LOOP,
    BACKWARD_LOOP,
    FINISH,
    GEMM,
    WEIGHTS,
    TILE,
    TN,
)
ARROWS = (
    (CALL, BINDING_CALL),
    (BINDING_CALL, FORWARD),
    (BINDING_CALL, BACKWARD),
    (FORWARD, EXECUTOR),
    (BACKWARD, EXECUTOR),
    (EXECUTOR, FORWARD_LOOP),
    (EXECUTOR, BACKWARD_LOOP),
    (FORWARD_LOOP, FINISH),
    (FORWARD_LOOP, GEMM),
    (BACKWARD_LOOP, GEMM),
    (BACKWARD_LOOP, WEIGHTS),
    (GEMM, TILE),
    (WEIGHTS, TN),
)  # fmt: skip


def draw_box(ax: Axes, box: Box) -> None:
    """Draw a box with its three texts."""
    left = box.x - box.width / 2
    shape = "round,pad=0,rounding_size=0.08"
    ax.add_patch(
        FancyBboxPatch(
            (left, box.y),
            box.width,
            box.height,
            boxstyle=shape,
            facecolor=box.color,
            edgecolor="0.4",
        )
    )
    ax.text(box.x, box.y + 0.17, box.function, ha="center", va="center", size=9.5, weight="bold")
    ax.text(box.x, box.y + 0.37, box.file, ha="center", va="center", size=7.5, family="monospace")
    ax.text(box.x, box.y + 0.48, box.what, ha="center", va="top", size=8.5, linespacing=1.15)


def draw_arrow(ax: Axes, start: Box, end: Box) -> None:
    """Draw an arrow from a box down to the next; where boxes differ in x, towards each other."""
    shift = 0.45 if end.width > 2 and start.width > 2 else 0.25
    towards = (end.x > start.x) - (end.x < start.x)
    tail = (start.x + towards * shift, start.bottom[1])
    head = (end.x - towards * shift, end.y)
    ax.add_patch(
        FancyArrowPatch(
            tail, head, arrowstyle="-|>", mutation_scale=10, color="0.35", shrinkA=0, shrinkB=0
        )
    )


def main() -> None:
    """Draw and save it."""
    mpl.rcParams["svg.hashsalt"] = "bptt"  # the same drawing is the same file
    figure = plt.figure(figsize=(WIDTH, HEIGHT))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    ax.axis("off")
    for box in BOXES:
        draw_box(ax, box)
    for start, end in ARROWS:
        draw_arrow(ax, start, end)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
