"""Plots of the diagnostics and of the training history, with matplotlib.

Every function draws into `ax`, or into a new figure of matplotlib's default size, and returns the
axes. Steps are numbered from 1, as in the equations. Font sizes follow the width of the axes, from
a slide to a narrow column. Lines have the colors of M. Okabe and K. Ito (2008), Color universal
design, and different dashes; heat maps use cividis, J. Nuñez, C. Anderton and R. Renslow (2018),
Optimizing colormaps with consideration for color vision deficiency.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics._axes import (
    COLORMAP,
    COLORS,
    DASHES,
    add_colorbar,
    add_legend,
    draw_line,
    draw_norm_map,
    font_size,
    label_axes,
    make_axes,
    set_integer_ticks,
    set_log_scale,
    set_token_ticks,
    step_numbers,
    steps_back,
    verdict_summary,
    visible_token,
)
from bptt.diagnostics._plot_data import (
    ContributionData,
    FlowData,
    GateData,
    JacobianData,
    SaliencyData,
)
from bptt.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLORS",
    "DASHES",
    "plot_contributions",
    "plot_flow",
    "plot_flow_history",
    "plot_gates",
    "plot_history",
    "plot_jacobians",
    "plot_saliency",
]

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
    ax = make_axes(ax)
    for i, (name, values) in enumerate(zip(flow.names, flow.remaining, strict=True)):
        draw_line(ax, np.arange(len(values)), values, name, i)
    set_log_scale(ax, np.concatenate(flow.remaining))
    set_integer_ticks(ax.xaxis)
    place = flow.verdicts.index(flow.verdict)
    of = f", {flow.names[place]}" if len(flow.names) > 1 else ""
    title = f"Gradient flow{of}: {verdict_summary(flow.verdict)}"
    label_axes(ax, title, steps_back(flow.names), _RELATIVE_NORM)
    return add_legend(ax, len(flow.names) > 1)


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
    layer = checks.integer("layer", layer, 0)
    if layer >= len(names):
        raise ValueError(f"layer must be in [0, {len(names)}), got {checks.shown(layer)}")
    ax = make_axes(ax)
    curves = [flow.remaining[layer] for flow in flows]
    norms = np.zeros((len(curves), max(map(len, curves))))  # zeros are blank
    for row, curve in zip(norms, curves, strict=True):
        row[: len(curve)] = curve
    title = f"Gradient flow during training: {names[layer]}"
    label_axes(ax, title, steps_back(names[layer : layer + 1]), "epoch")
    return draw_norm_map(ax, norms, _RELATIVE_NORM, downwards=False, first=0)


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
    ax = make_axes(ax)
    norms = products.norms
    draw_line(ax, np.arange(len(norms)), norms, r"$\|\partial s_T/\partial s_k\|_2$", 0)
    shown = [norms]
    if products.bound is not None:
        bound = products.bound
        draw_line(ax, np.arange(len(bound)), bound, r"bound $(\gamma\lambda)^{T-k}$", 1)
        shown.append(bound)
    set_log_scale(ax, np.stack(shown))
    label_axes(
        ax,
        f"Jacobian products: {verdict_summary(products.verdict)}",
        "step $k$",
        r"spectral norm",
    )
    return add_legend(ax, True)


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
    ax = make_axes(ax)
    if chosen == "weights":
        norms, label = contributions.weights, r"norm of the term of $\partial L/\partial W$"
    else:
        norms, label = contributions.states, r"$\|\partial L_t/\partial s_k\|$"
    label_axes(
        ax, "Contribution of loss $t$ through state $k$", "state at step $k$", "loss at step $t$"
    )
    ax.set_aspect("equal")
    return draw_norm_map(ax, norms, label)


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
    if not isinstance(gate, str) or gate not in names:
        raise ValueError(f"gate must be one of {', '.join(names) or 'none'}, got {gate!r}")
    ax = make_axes(ax)
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
    label_axes(ax, title, "step $t$", "units, by mean activation")
    steps, units = values.shape
    image = ax.imshow(
        values[:, np.argsort(-values.mean(axis=0), kind="stable")].T,
        cmap=COLORMAP,
        aspect="auto",
        interpolation="nearest",
        vmin=low,
        vmax=high,
        extent=(0.5, steps + 0.5, units + 0.5, 0.5),
    )
    add_colorbar(ax, image, scale)
    set_integer_ticks(ax.yaxis)
    return set_token_ticks(ax, trace.tokens)


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
    ax = make_axes(ax)
    norms = saliency.norms
    ax.bar(step_numbers(len(norms)), norms, width=0.8, color=COLORS[0])
    ax.set_xlim(0.5, len(norms) + 0.5)
    ax.set_ylim(bottom=0)
    at = "" if saliency.step is None else f" at step {saliency.step + 1}"
    output = saliency.output
    output = f'"{visible_token(output)}"' if isinstance(output, str) else output
    label_axes(ax, f"Saliency of output {output}{at}", "step $t$", r"$\|\partial y/\partial x_t\|$")
    ax.title.set_parse_math(False)
    return set_token_ticks(ax, saliency.tokens)


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
    ax = make_axes(ax)
    epochs = np.array(history["number"])
    losses = _known_curves(history, {"validation loss": "validation_loss", "training loss": "loss"})
    metrics = _known_curves(
        history, {f"validation {metric}": "validation_metric", f"training {metric}": "metric"}
    )
    is_validated = "validation loss" in losses
    for name, values in losses.items():
        draw_line(ax, epochs, values, name, int(is_validated and name == "training loss"))
    handles = list(ax.lines)
    if metrics:
        right = ax.twinx()
        right.xaxis.set_visible(False)
        for i, (name, values) in enumerate(metrics.items()):
            draw_line(right, epochs, values, name, 2 + i)
        right.set_ylabel(metric, fontsize=font_size(ax))
        right.tick_params(labelsize=0.9 * font_size(ax))
        handles += right.lines
    if is_validated:
        held_out = losses["validation loss"]
        best = int(np.nanargmin(held_out))
        label = f"lowest validation loss, epoch {epochs[best]}"
        handles += ax.plot(epochs[best], held_out[best], "o", color=COLORS[0], label=label)
    every = np.concatenate([values[np.isfinite(values)] for values in losses.values()])
    if every.size and every.min() > 0 and every.max() > 20 * every.min():
        set_log_scale(ax, every)
    set_integer_ticks(ax.xaxis)
    label_axes(ax, "Training", "epoch", "loss")
    return add_legend(ax, len(handles) > 1, handles, below=bool(metrics))


def _known_curves(history: History, fields: dict[str, str]) -> dict[str, FloatArray]:
    """Return label -> values of the fields that have any; None becomes NaN."""
    curves = {label: np.array(history[field], float) for label, field in fields.items()}
    return {label: values for label, values in curves.items() if np.isfinite(values).any()}
