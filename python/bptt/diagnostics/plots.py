"""Pictures of what the diagnostics found, with matplotlib, which only this file needs.

Lines have the colors of M. Okabe and K. Ito (2008), Color universal design, and differ in their
dashes too; maps have cividis, of J. Nuñez, C. Anderton and R. Renslow (2018), Optimizing colormaps
with consideration for color vision deficiency. Text grows with the axes: the same call makes a
slide or a picture in a narrow column. Every function draws into `ax`, or into a figure of its own,
of the size that matplotlib is set to. Steps are numbered from 1, as in the equations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics._plot_data import (
    ContributionData,
    FlowData,
    GateData,
    JacobianData,
    SaliencyData,
)
from bptt.diagnostics.verdict import Verdict
from bptt.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.image import AxesImage

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
_MAP = "cividis"
_DECADES = 12  # that a map of positive numbers shows
_SMALLEST_TEXT = 5.5  # points


def plot_flow(flow: FlowData, ax: Axes | None = None) -> Axes:
    """Draw the norm of the gradient that reaches every step, a line a layer and direction."""
    ax = _axes(ax)
    for i, (name, norms) in enumerate(zip(flow.names, flow.norms, strict=True)):
        _line(ax, _steps(len(norms)), norms, name, i)
    _logarithmic(ax, np.concatenate(flow.norms))
    _describe(
        ax,
        f"Gradient flow: {_short(flow.verdict)}",
        "step $t$",
        r"gradient $\|\partial L/\partial h_t\|$",
    )
    return _legend(ax, len(flow.names) > 1)


def plot_flow_history(flows: Sequence[FlowData], ax: Axes | None = None, *, layer: int = 0) -> Axes:
    """Draw the gradient's norm at every step of every epoch as a map.

    Parameters
    ----------
    flows : sequence of GradientFlow
        One per epoch: ``GradientFlowRecorder.flows``.
    ax : Axes, optional
    layer : int
        Which of the layers and directions, in the order of `GradientFlow.names`.

    Raises
    ------
    ValueError
        If nothing has been recorded, or there is no such layer.
    """
    if not flows:
        raise ValueError("there must be at least one recorded epoch, got none")
    names = flows[0].names
    if checks.integer("layer", layer, 0) >= len(names):
        raise ValueError(f"layer must be in [0, {len(names)}), got {layer}")
    ax = _axes(ax)
    norms = np.stack([flow.norms[layer] for flow in flows])
    _describe(ax, f"Gradient flow while learning: {names[layer]}", "step $t$", "epoch")
    return _map(ax, norms, r"gradient $\|\partial L/\partial h_t\|$", downwards=False)


def plot_jacobians(products: JacobianData, ax: Axes | None = None) -> Axes:
    """Draw the norm of ∂s_T/∂s_k for every k, and the bound (γλ)^(T−k) where there is one."""
    ax = _axes(ax)
    norms = products.norms
    _line(ax, np.arange(len(norms)), norms, r"$\|\partial s_T/\partial s_k\|_2$", 0)
    shown = [norms]
    if products.bound is not None:
        bound = products.bound
        _line(ax, np.arange(len(bound)), bound, r"bound $(\gamma\lambda)^{T-k}$", 1)
        shown.append(bound)
    _logarithmic(ax, np.stack(shown))
    _describe(
        ax,
        f"Jacobian products: {_short(products.verdict)}",
        "step $k$",
        r"spectral norm",
    )
    return _legend(ax, True)


def plot_contributions(
    contributions: ContributionData, ax: Axes | None = None, *, what: str = "weights"
) -> Axes:
    """Draw the (t, k) map: what the loss at t says by way of the state at k.

    Parameters
    ----------
    contributions : Contributions
    ax : Axes, optional
    what : "weights" or "states"
        The part of the gradient of W, ‖∂L_t/∂s_t · ∂s_t/∂s_k · ∂⁺s_k/∂W‖, or ‖∂L_t/∂s_k‖.

    Raises
    ------
    TypeError, ValueError
        If `what` is something else.
    """
    chosen = checks.one_of("weights", "states")("what", what)
    ax = _axes(ax)
    if chosen == "weights":
        norms, label = contributions.weights, r"part of $\partial L/\partial W$ (norm)"
    else:
        norms, label = contributions.states, r"$\|\partial L_t/\partial s_k\|$"
    _describe(
        ax, "What the loss at $t$ teaches the state at $k$", "state at step $k$", "loss at step $t$"
    )
    ax.set_aspect("equal")
    return _map(ax, norms, label)


def plot_gates(trace: GateData, ax: Axes | None = None, *, gate: str | None = None) -> Axes:
    """Draw how far one gate of every unit is open at every step, or what may be written, as a map.

    Parameters
    ----------
    trace : GateTrace
    ax : Axes, optional
    gate : str, optional
        Its name in ``trace.gates``. By default the one that keeps the state: "forget" of an LSTM,
        "update" of a GRU. "cell" and "candidate" are no gates, but what a gate lets in.

    Raises
    ------
    ValueError
        If there is no such gate.
    """
    names = tuple(trace.gates)
    keeps = [name for name in ("forget", "update") if name in names]
    gate = keeps[0] if gate is None and keeps else gate
    if gate is None or gate not in names:
        raise ValueError(f"gate must be one of {', '.join(names) or 'none'}, got {gate!r}")
    ax = _axes(ax)
    values = trace.gates[gate]
    if gate in ("cell", "candidate"):
        high = float(np.abs(values).max())
        title, order, low, scale = f"{gate.capitalize()} input", "largest mean", -high, "value"
    else:
        low, high = 0.0, 1.0
        title, order, scale = f"{gate.capitalize()} gate", "widest open", "0 shut, 1 open"
    _describe(ax, title, "step $t$", f"units, {order} first")
    steps, units = values.shape
    image = ax.imshow(
        values[:, np.argsort(-values.mean(axis=0), kind="stable")].T,
        cmap=_MAP,
        aspect="auto",
        interpolation="nearest",
        vmin=low,
        vmax=high,
        extent=(0.5, steps + 0.5, units + 0.5, 0.5),
    )
    _color_bar(ax, image, scale)
    _whole_numbers(ax.yaxis)
    return _tokens(ax, trace.tokens)


def plot_saliency(saliency: SaliencyData, ax: Axes | None = None) -> Axes:
    """Draw how much the output would change with the input of every step."""
    ax = _axes(ax)
    norms = saliency.norms
    ax.bar(_steps(len(norms)), norms, width=0.8, color=COLORS[0])
    ax.set_ylim(bottom=0)
    at = "" if saliency.step is None else f" at step {saliency.step + 1}"
    output = saliency.output
    output = f'"{_shown(output)}"' if isinstance(output, str) else output
    _describe(ax, f"Saliency: output {output}{at}", "step $t$", r"$\|\partial y/\partial x_t\|$")
    ax.title.set_parse_math(False)
    return _tokens(ax, saliency.tokens)


def plot_history(history: History, ax: Axes | None = None) -> Axes:
    """Draw the loss of every epoch, and that of the validation data with its best epoch.

    Raises
    ------
    TypeError, ValueError
        If `history` is none, or has no epoch.
    """
    if not isinstance(history, History):
        raise TypeError(f"history must be a History, got {type(history).__name__}")
    if not history:
        raise ValueError("history must have at least one epoch, got none")
    ax = _axes(ax)
    epochs = np.array(history["number"])
    losses = [("training", np.array(history["loss"], float))]
    held_out = np.array(history["validation_loss"], float)  # None becomes NaN
    if np.isfinite(held_out).any():
        losses.append(("validation", held_out))
        best = int(np.nanargmin(held_out))
        ax.plot(epochs[best], held_out[best], "o", color=COLORS[1], label="lowest validation")
    for i, (name, values) in enumerate(losses):
        _line(ax, epochs, values, name, i)
    every = np.concatenate([values[np.isfinite(values)] for _, values in losses])
    if every.size and every.min() > 0 and every.max() > 20 * every.min():
        _logarithmic(ax, every)
    _whole_numbers(ax.xaxis)
    _describe(ax, "Training", "epoch", "loss")
    return _legend(ax, len(losses) > 1)


# ---- what the pictures share ---------------------------------------------------------------------


def _axes(ax: Axes | None) -> Axes:
    """Return `ax`, or the axes of a new figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'bptt[plot]'") from error
    return plt.subplots(layout="constrained")[1]


def _short(verdict: Verdict) -> str:
    return f"{verdict.kind}, ×{verdict.rate:.3g} a step"


def _steps(count: int) -> NDArray[np.int64]:
    """Return the steps as the equations number them: 1 to T."""
    return np.arange(1, count + 1)


def _text_size(ax: Axes) -> float:
    """Return the size of text that fits the width of the axes, in points."""
    from matplotlib import rcParams

    width = ax.bbox.width / ax.figure.dpi
    scale = math.sqrt(width / 5.0)  # inches: the axes of matplotlib's usual figure
    return float(rcParams["font.size"]) * min(max(scale, 0.8), 1.4)


def _describe(ax: Axes, title: str, x: str, y: str) -> None:
    size = _text_size(ax)
    ax.set_title(title, fontsize=1.1 * size, wrap=True)
    ax.set_xlabel(x, fontsize=size)
    ax.set_ylabel(y, fontsize=size)
    ax.tick_params(labelsize=0.9 * size)


def _line(ax: Axes, x: NDArray[Any], y: NDArray[Any], label: str, i: int) -> None:
    color, dash = COLORS[i % len(COLORS)], DASHES[i % len(DASHES)]
    marker = "o" if len(x) == 1 else ""  # a point is no line
    ax.plot(x, y, dash, marker=marker, color=color, label=label, linewidth=1.8)


def _legend(ax: Axes, wanted: bool) -> Axes:
    if wanted:
        ax.legend(fontsize=0.9 * _text_size(ax), framealpha=0.9)
    return ax


def _logarithmic(ax: Axes, values: NDArray[Any]) -> None:
    """Make y logarithmic over the values > 0, and over two decades at least: 0.9 is nearly 1."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return
    low, high = math.log10(positive.min()), math.log10(positive.max())
    pad = max(0.05 * (high - low), 1.0 - (high - low) / 2)
    ax.set_yscale("log")
    ax.set_ylim(10 ** (low - pad), 10 ** (high + pad))
    ax.grid(axis="y", alpha=0.3)


def _map(ax: Axes, norms: FloatArray, label: str, *, downwards: bool = True) -> Axes:
    """Draw a matrix of norms, rows and columns from 1, in a logarithmic scale; 0 stays blank."""
    from matplotlib.colors import LogNorm

    positive = norms[np.isfinite(norms) & (norms > 0)]
    high = float(positive.max()) if positive.size else 1.0
    low = min(max(float(positive.min(initial=high)), high * 10.0**-_DECADES), high / 100)
    rows, columns = norms.shape
    ends = (rows + 0.5, 0.5) if downwards else (0.5, rows + 0.5)
    image = ax.imshow(
        np.ma.masked_less_equal(norms, 0),
        norm=LogNorm(low, high),
        cmap=_MAP,
        aspect=ax.get_aspect(),
        interpolation="nearest",
        origin="upper" if downwards else "lower",
        extent=(0.5, columns + 0.5, *ends),
    )
    _color_bar(ax, image, label, extend="min" if (positive < low).any() else "neither")
    _whole_numbers(ax.xaxis)
    _whole_numbers(ax.yaxis)
    return ax


def _color_bar(ax: Axes, image: AxesImage, label: str, extend: str = "neither") -> None:
    size = _text_size(ax)
    bar = ax.figure.colorbar(image, ax=ax, extend=extend)
    bar.set_label(label, fontsize=size)
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=0.9 * size)


def _whole_numbers(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def _shown(token: object) -> str:
    """Return a token as text that can be seen."""
    return str(token).replace(" ", "␣").replace("\n", "↵")


def _tokens(ax: Axes, tokens: Sequence[object] | None) -> Axes:
    """Write the tokens below the steps, upright or turned; or the steps' numbers if all is full."""
    if tokens is None:
        _whole_numbers(ax.xaxis)
        return ax
    from matplotlib.ticker import ScalarFormatter

    shown = [_shown(token) for token in tokens]
    size = _text_size(ax)
    ax.set_xlabel("token", fontsize=size)
    ax.set_xticks(_steps(len(shown)), shown, fontsize=size, parse_math=False)
    ax.figure.canvas.figure.draw_without_rendering()  # so that the layout is settled
    room = 0.87 * ax.bbox.width / len(shown)  # pixels, as are the extents
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    widths, heights = [[getattr(box, side) for box in boxes] for side in ("width", "height")]
    widest = max(map(sum, pairwise(widths)), default=widths[0]) / 2  # of two neighbors
    level, turned = min(1.0, room / widest), min(1.0, room / max(heights))
    if level * size >= _SMALLEST_TEXT:
        ax.tick_params(axis="x", labelsize=level * size)
    elif turned * size >= _SMALLEST_TEXT:
        ax.tick_params(axis="x", labelsize=turned * size, labelrotation=90)
    else:
        ax.set_xlabel("step $t$", fontsize=size)
        ax.xaxis.set_major_formatter(ScalarFormatter())
        _whole_numbers(ax.xaxis)
    return ax
