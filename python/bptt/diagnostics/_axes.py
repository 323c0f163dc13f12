"""Elements of the plots: axes, colors, font sizes, labels, legends, scales and ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.image import AxesImage

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
COLORMAP = "cividis"
_MAX_DECADES = 12  # shown by a heat map of norms
_MIN_FONT_SIZE = 5.5  # points
_MAX_TOKEN = 14  # characters of a label
_MIN_LEVEL = 0.7  # of the font size, below which long labels are turned
_WIDE = 4.0  # inches of the axes, from which a legend has two columns


def make_axes(ax: Axes | None) -> Axes:
    """Return `ax`, or the axes of a new figure."""
    try:
        import matplotlib.pyplot as plt
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'bptt[plot]'") from error
    if ax is not None:
        checks.instance("ax", ax, Axes)
        return ax
    return plt.subplots(layout="constrained")[1]


def steps_back(names: Sequence[str]) -> str:
    """Return the label of an axis of steps back through layers."""
    is_reverse = [name.endswith("reverse") for name in names]
    if all(is_reverse):
        return "steps from each sequence's beginning"
    if any(is_reverse):
        return "steps from the end (reverse: beginning)"
    return "steps back from each sequence's end"


def verdict_summary(verdict: Verdict) -> str:
    return f"{verdict.kind}, ×{verdict.rate:.3g} per step"


def step_numbers(count: int) -> NDArray[np.int64]:
    """Return the steps 1 to T."""
    return np.arange(1, count + 1)


def font_size(ax: Axes) -> float:
    """Return the font size in points that suits the width of the axes."""
    from matplotlib import rcParams

    width = ax.bbox.width / ax.figure.dpi
    scale = math.sqrt(width / 5.0)  # inches, the width in a default figure
    return float(rcParams["font.size"]) * min(max(scale, 0.8), 1.4)


def label_axes(ax: Axes, title: str, x: str, y: str) -> None:
    size = font_size(ax)
    ax.set_title(title, fontsize=1.1 * size, wrap=True)
    ax.set_xlabel(x, fontsize=size)
    ax.set_ylabel(y, fontsize=size)
    ax.tick_params(labelsize=0.9 * size)


def draw_line(ax: Axes, x: NDArray[Any], y: NDArray[Any], label: str, i: int) -> None:
    color, dash = COLORS[i % len(COLORS)], DASHES[i % len(DASHES)]
    marker = "o" if len(x) == 1 else ""  # a single point has no line
    ax.plot(x, y, dash, marker=marker, color=color, label=label, linewidth=1.8)


def add_legend(
    ax: Axes, wanted: bool, handles: Sequence[Artist] | None = None, *, below: bool = False
) -> Axes:
    if wanted:
        size = 0.9 * font_size(ax)
        place: dict[str, Any] = {"framealpha": 0.9}
        if below:  # two axes have lines everywhere
            from matplotlib.transforms import ScaledTranslation

            under_label = ScaledTranslation(0.0, -3.2 * size / 72, ax.figure.dpi_scale_trans)
            columns = 2 if ax.bbox.width / ax.figure.dpi > _WIDE else 1
            place = {
                "loc": "upper center",
                "bbox_to_anchor": (0.5, 0.0),
                "bbox_transform": ax.transAxes + under_label,
                "ncols": columns,
                "frameon": False,
            }
        ax.legend(handles=handles, fontsize=size, **place)
    return ax


def set_log_scale(ax: Axes, values: NDArray[Any]) -> None:
    """Set a logarithmic y axis over the values > 0 and at least two decades."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return
    low, high = math.log10(positive.min()), math.log10(positive.max())
    pad = max(0.05 * (high - low), 1.0 - (high - low) / 2)
    ax.set_yscale("log")
    ax.set_ylim(10 ** (low - pad), 10 ** (high + pad))
    ax.grid(axis="y", alpha=0.3)


def draw_norm_map(
    ax: Axes, norms: FloatArray, label: str, *, downwards: bool = True, first: int = 1
) -> Axes:
    """Draw a matrix of norms with logarithmic colors, zeros blank; rows from 1, columns `first`."""
    from matplotlib.colors import LogNorm

    positive = norms[np.isfinite(norms) & (norms > 0)]
    high = float(positive.max()) if positive.size else 1.0
    low = min(max(float(positive.min(initial=high)), high * 10.0**-_MAX_DECADES), high / 100)
    rows, columns = norms.shape
    ends = (rows + 0.5, 0.5) if downwards else (0.5, rows + 0.5)
    image = ax.imshow(
        np.ma.masked_less_equal(norms, 0),
        norm=LogNorm(low, high),
        cmap=COLORMAP,
        aspect=ax.get_aspect(),
        interpolation="nearest",
        origin="upper" if downwards else "lower",
        extent=(first - 0.5, first + columns - 0.5, *ends),
    )
    add_colorbar(ax, image, label, extend="min" if (positive < low).any() else "neither")
    set_integer_ticks(ax.xaxis)
    set_integer_ticks(ax.yaxis)
    return ax


def add_colorbar(ax: Axes, image: AxesImage, label: str, extend: str = "neither") -> None:
    size = font_size(ax)
    bar = ax.figure.colorbar(image, ax=ax, extend=extend)
    bar.set_label(label, fontsize=size)
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=0.9 * size)


def set_integer_ticks(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def visible_token(token: object) -> str:
    """Return a token as text, with visible white space; a long one is abbreviated."""
    text = str(token).replace(" ", "␣").replace("\n", "↵")
    return text if len(text) <= _MAX_TOKEN else text[: _MAX_TOKEN - 1] + "…"


def set_token_ticks(ax: Axes, tokens: Sequence[object] | None) -> Axes:
    """Label the steps with tokens, horizontally or vertically; with numbers if there is no room."""
    if tokens is None:
        set_integer_ticks(ax.xaxis)
        return ax
    from matplotlib.ticker import ScalarFormatter

    shown = [visible_token(token) for token in tokens]
    size = font_size(ax)
    ax.set_xlabel("token", fontsize=size)
    ax.set_xticks(step_numbers(len(shown)), shown, fontsize=size, parse_math=False)
    ax.figure.canvas.figure.draw_without_rendering()  # settles the layout
    room = 0.87 * ax.bbox.width / len(shown)  # pixels, like the extents
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    widths, heights = [[getattr(box, side) for box in boxes] for side in ("width", "height")]
    widest = max(map(sum, pairwise(widths)), default=widths[0]) / 2  # of two adjacent labels
    if max(map(len, shown)) > 1:
        widest += 0.6 * size * ax.figure.dpi / 72  # words need a gap
    level, turned = min(1.0, room / widest), min(1.0, room / max(heights))
    if level >= min(_MIN_LEVEL, turned) and level * size >= _MIN_FONT_SIZE:
        ax.tick_params(axis="x", labelsize=level * size)
    elif turned * size >= _MIN_FONT_SIZE:
        ax.tick_params(axis="x", labelsize=turned * size, labelrotation=90)
    else:
        ax.set_xlabel("step $t$", fontsize=size)
        ax.xaxis.set_major_formatter(ScalarFormatter())
        set_integer_ticks(ax.xaxis)
    return ax
