"""Plots of the diagnostics and of the training history, with matplotlib.

Every function draws into `ax`, or into a new figure of matplotlib's default size, and returns the
axes. Steps are numbered from 1, as in the equations. Font sizes follow the width of the axes, from
a slide to a narrow column. Lines have the colors of M. Okabe and K. Ito (2008), Color universal
design, and different dashes; heat maps use cividis, J. Nuñez, C. Anderton and R. Renslow (2018),
Optimizing colormaps with consideration for color vision deficiency.
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
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.image import AxesImage

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
_COLORMAP = "cividis"
_MAX_DECADES = 12  # shown by a heat map of norms
_MIN_FONT_SIZE = 5.5  # points
_MAX_TOKEN = 14  # characters of a label
_MIN_LEVEL = 0.7  # of the font size, below which long labels are turned
_WIDE = 4.0  # inches of the axes, from which a legend has two columns
_RELATIVE_NORM = "mean relative gradient norm"


def plot_flow(flow: FlowData, ax: Axes | None = None) -> Axes:
    """Plot the curves of the verdicts: the relative gradient norm after 0, 1, .. steps back.

    There is one line per layer and direction, ``flow.remaining``. Steps are counted from the end of
    each sequence, in a reverse direction from its beginning. The norm after n steps is the root
    mean square over the sequences with more than n steps, relative to that of their step 0.

    Parameters
    ----------
    flow : GradientFlow
    ax : matplotlib.axes.Axes, optional
        Axes to draw into. By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    ax = _axes(ax)
    for i, (name, values) in enumerate(zip(flow.names, flow.remaining, strict=True)):
        _line(ax, np.arange(len(values)), values, name, i)
    _log_scale(ax, np.concatenate(flow.remaining))
    _integer_ticks(ax.xaxis)
    place = flow.verdicts.index(flow.verdict)
    of = f", {flow.names[place]}" if len(flow.names) > 1 else ""
    title = f"Gradient flow{of}: {_verdict_summary(flow.verdict)}"
    _label_axes(ax, title, _steps_back(flow.names), _RELATIVE_NORM)
    return _legend(ax, len(flow.names) > 1)


def plot_flow_history(flows: Sequence[FlowData], ax: Axes | None = None, *, layer: int = 0) -> Axes:
    """Plot a heat map of the relative gradient norm by steps back (columns) and epoch (rows).

    The values are those of `plot_flow`, ``flow.remaining``.

    Parameters
    ----------
    flows : sequence of GradientFlow
        One per epoch: ``GradientFlowRecorder.flows``.
    ax : matplotlib.axes.Axes, optional
        Axes to draw into. By default those of a new figure.
    layer : int
        Index of the layer and direction in `GradientFlow.names`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If `flows` is empty, or there is no such layer.
    """
    if not flows:
        raise ValueError("flows must have at least one epoch, got none")
    names = flows[0].names
    if checks.integer("layer", layer, 0) >= len(names):
        raise ValueError(f"layer must be in [0, {len(names)}), got {layer}")
    ax = _axes(ax)
    curves = [flow.remaining[layer] for flow in flows]
    norms = np.zeros((len(curves), max(map(len, curves))))  # zeros are blank
    for row, curve in zip(norms, curves, strict=True):
        row[: len(curve)] = curve
    title = f"Gradient flow during training: {names[layer]}"
    _label_axes(ax, title, _steps_back(names[layer : layer + 1]), "epoch")
    return _norm_map(ax, norms, _RELATIVE_NORM, downwards=False, first=0)


def plot_jacobians(products: JacobianData, ax: Axes | None = None) -> Axes:
    """Plot the norm of ∂s_T/∂s_k against k, and for an RNN the bound (γλ)^(T−k).

    Parameters
    ----------
    products : JacobianProducts
    ax : matplotlib.axes.Axes, optional
        Axes to draw into. By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    ax = _axes(ax)
    norms = products.norms
    _line(ax, np.arange(len(norms)), norms, r"$\|\partial s_T/\partial s_k\|_2$", 0)
    shown = [norms]
    if products.bound is not None:
        bound = products.bound
        _line(ax, np.arange(len(bound)), bound, r"bound $(\gamma\lambda)^{T-k}$", 1)
        shown.append(bound)
    _log_scale(ax, np.stack(shown))
    _label_axes(
        ax,
        f"Jacobian products: {_verdict_summary(products.verdict)}",
        "step $k$",
        r"spectral norm",
    )
    return _legend(ax, True)


def plot_contributions(
    contributions: ContributionData, ax: Axes | None = None, *, what: str = "weights"
) -> Axes:
    """Plot a heat map of the contributions of losses t (rows) through states k (columns).

    Parameters
    ----------
    contributions : Contributions
    ax : matplotlib.axes.Axes, optional
        Axes to draw into. By default those of a new figure.
    what : "weights" or "states"
        Norm of the term of the gradient of W, ‖∂L_t/∂s_t · ∂s_t/∂s_k · ∂⁺s_k/∂W‖, or of the
        gradient of the state, ‖∂L_t/∂s_k‖.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `what` is neither.
    """
    chosen = checks.one_of("weights", "states")("what", what)
    ax = _axes(ax)
    if chosen == "weights":
        norms, label = contributions.weights, r"norm of the term of $\partial L/\partial W$"
    else:
        norms, label = contributions.states, r"$\|\partial L_t/\partial s_k\|$"
    _label_axes(
        ax, "Contribution of loss $t$ through state $k$", "state at step $k$", "loss at step $t$"
    )
    ax.set_aspect("equal")
    return _norm_map(ax, norms, label)


def plot_gates(trace: GateData, ax: Axes | None = None, *, gate: str | None = None) -> Axes:
    """Plot a heat map of one gate: activation by step (columns) and unit (rows).

    The title names gate, layer and, of a bidirectional layer, direction. Units are in descending
    order of their mean activation.

    Parameters
    ----------
    trace : GateTrace
    ax : matplotlib.axes.Axes, optional
        Axes to draw into. By default those of a new figure.
    gate : str, optional
        Name in ``trace.gates``. By default the gate that retains the state: "forget" of an LSTM,
        "update" of a GRU. The candidate values "cell" and "candidate" have a symmetric color scale.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
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
        title = "Cell candidate" if gate == "cell" else "Candidate state"
        low, scale = -high, "activation"
    else:
        low, high = 0.0, 1.0
        title, scale = f"{gate.capitalize()} gate", "activation (1: open)"
    direction = ", reverse" if trace.reverse else ", forward" if trace.bidirectional else ""
    title = f"{title}, layer {trace.layer}{direction}"
    _label_axes(ax, title, "step $t$", "units, by mean activation")
    steps, units = values.shape
    image = ax.imshow(
        values[:, np.argsort(-values.mean(axis=0), kind="stable")].T,
        cmap=_COLORMAP,
        aspect="auto",
        interpolation="nearest",
        vmin=low,
        vmax=high,
        extent=(0.5, steps + 0.5, units + 0.5, 0.5),
    )
    _colorbar(ax, image, scale)
    _integer_ticks(ax.yaxis)
    return _token_ticks(ax, trace.tokens)


def plot_saliency(saliency: SaliencyData, ax: Axes | None = None) -> Axes:
    """Plot the norm of ∂y/∂x_t at every step as bars.

    Parameters
    ----------
    saliency : Saliency
    ax : matplotlib.axes.Axes, optional
        Axes to draw into. By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    ax = _axes(ax)
    norms = saliency.norms
    ax.bar(_steps(len(norms)), norms, width=0.8, color=COLORS[0])
    ax.set_ylim(bottom=0)
    at = "" if saliency.step is None else f" at step {saliency.step + 1}"
    output = saliency.output
    output = f'"{_visible(output)}"' if isinstance(output, str) else output
    _label_axes(
        ax, f"Saliency of output {output}{at}", "step $t$", r"$\|\partial y/\partial x_t\|$"
    )
    ax.title.set_parse_math(False)
    return _token_ticks(ax, saliency.tokens)


def plot_history(history: History, ax: Axes | None = None, *, metric: str = "metric") -> Axes:
    """Plot loss and metric against the epoch, and mark the best epoch.

    Parameters
    ----------
    history : History
        ``history_`` of a fitted estimator.
    ax : matplotlib.axes.Axes, optional
        Axes to draw into. By default those of a new figure. The metric, if the history has one, has
        an axis of its own on the right.
    metric : str
        Name of the metric, such as "accuracy".

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `history` is not a `History`, or is empty.
    """
    if not isinstance(history, History):
        raise TypeError(f"history must be a History, got {type(history).__name__}")
    if not history:
        raise ValueError("history must have at least one epoch, got none")
    ax = _axes(ax)
    epochs = np.array(history["number"])
    losses = _known_curves(history, {"validation loss": "validation_loss", "training loss": "loss"})
    metrics = _known_curves(
        history, {f"validation {metric}": "validation_metric", f"training {metric}": "metric"}
    )
    is_validated = "validation loss" in losses
    for name, values in losses.items():
        _line(ax, epochs, values, name, int(is_validated and name == "training loss"))
    handles = list(ax.lines)
    if metrics:
        right = ax.twinx()
        right.xaxis.set_visible(False)
        for i, (name, values) in enumerate(metrics.items()):
            _line(right, epochs, values, name, 2 + i)
        right.set_ylabel(metric, fontsize=_text_size(ax))
        right.tick_params(labelsize=0.9 * _text_size(ax))
        handles += right.lines
    if is_validated:
        held_out = losses["validation loss"]
        best = int(np.nanargmin(held_out))
        label = f"lowest validation loss, epoch {epochs[best]}"
        handles += ax.plot(epochs[best], held_out[best], "o", color=COLORS[0], label=label)
    every = np.concatenate([values[np.isfinite(values)] for values in losses.values()])
    if every.size and every.min() > 0 and every.max() > 20 * every.min():
        _log_scale(ax, every)
    _integer_ticks(ax.xaxis)
    _label_axes(ax, "Training", "epoch", "loss")
    return _legend(ax, len(handles) > 1, handles, below=bool(metrics))


def _known_curves(history: History, fields: dict[str, str]) -> dict[str, FloatArray]:
    """Return label -> values of the fields that have any; None becomes NaN."""
    curves = {label: np.array(history[field], float) for label, field in fields.items()}
    return {label: values for label, values in curves.items() if np.isfinite(values).any()}


# ---- common elements -----------------------------------------------------------------------------


def _axes(ax: Axes | None) -> Axes:
    """Return `ax`, or the axes of a new figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'bptt[plot]'") from error
    return plt.subplots(layout="constrained")[1]


def _steps_back(names: Sequence[str]) -> str:
    """Return the label of an axis of steps back through layers."""
    is_reverse = [name.endswith("reverse") for name in names]
    if all(is_reverse):
        return "steps from each sequence's beginning"
    if any(is_reverse):
        return "steps from the end (reverse: beginning)"
    return "steps back from each sequence's end"


def _verdict_summary(verdict: Verdict) -> str:
    return f"{verdict.kind}, ×{verdict.rate:.3g} per step"


def _steps(count: int) -> NDArray[np.int64]:
    """Return the steps 1 to T."""
    return np.arange(1, count + 1)


def _text_size(ax: Axes) -> float:
    """Return the font size in points that suits the width of the axes."""
    from matplotlib import rcParams

    width = ax.bbox.width / ax.figure.dpi
    scale = math.sqrt(width / 5.0)  # inches, the width in a default figure
    return float(rcParams["font.size"]) * min(max(scale, 0.8), 1.4)


def _label_axes(ax: Axes, title: str, x: str, y: str) -> None:
    size = _text_size(ax)
    ax.set_title(title, fontsize=1.1 * size, wrap=True)
    ax.set_xlabel(x, fontsize=size)
    ax.set_ylabel(y, fontsize=size)
    ax.tick_params(labelsize=0.9 * size)


def _line(ax: Axes, x: NDArray[Any], y: NDArray[Any], label: str, i: int) -> None:
    color, dash = COLORS[i % len(COLORS)], DASHES[i % len(DASHES)]
    marker = "o" if len(x) == 1 else ""  # a single point has no line
    ax.plot(x, y, dash, marker=marker, color=color, label=label, linewidth=1.8)


def _legend(
    ax: Axes, wanted: bool, handles: Sequence[Artist] | None = None, *, below: bool = False
) -> Axes:
    if wanted:
        size = 0.9 * _text_size(ax)
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


def _log_scale(ax: Axes, values: NDArray[Any]) -> None:
    """Set a logarithmic y axis over the values > 0 and at least two decades."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return
    low, high = math.log10(positive.min()), math.log10(positive.max())
    pad = max(0.05 * (high - low), 1.0 - (high - low) / 2)
    ax.set_yscale("log")
    ax.set_ylim(10 ** (low - pad), 10 ** (high + pad))
    ax.grid(axis="y", alpha=0.3)


def _norm_map(
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
        cmap=_COLORMAP,
        aspect=ax.get_aspect(),
        interpolation="nearest",
        origin="upper" if downwards else "lower",
        extent=(first - 0.5, first + columns - 0.5, *ends),
    )
    _colorbar(ax, image, label, extend="min" if (positive < low).any() else "neither")
    _integer_ticks(ax.xaxis)
    _integer_ticks(ax.yaxis)
    return ax


def _colorbar(ax: Axes, image: AxesImage, label: str, extend: str = "neither") -> None:
    size = _text_size(ax)
    bar = ax.figure.colorbar(image, ax=ax, extend=extend)
    bar.set_label(label, fontsize=size)
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=0.9 * size)


def _integer_ticks(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def _visible(token: object) -> str:
    """Return a token as text, with visible white space; a long one is abbreviated."""
    text = str(token).replace(" ", "␣").replace("\n", "↵")
    return text if len(text) <= _MAX_TOKEN else text[: _MAX_TOKEN - 1] + "…"


def _token_ticks(ax: Axes, tokens: Sequence[object] | None) -> Axes:
    """Label the steps with tokens, horizontally or vertically; with numbers if there is no room."""
    if tokens is None:
        _integer_ticks(ax.xaxis)
        return ax
    from matplotlib.ticker import ScalarFormatter

    shown = [_visible(token) for token in tokens]
    size = _text_size(ax)
    ax.set_xlabel("token", fontsize=size)
    ax.set_xticks(_steps(len(shown)), shown, fontsize=size, parse_math=False)
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
        _integer_ticks(ax.xaxis)
    return ax
