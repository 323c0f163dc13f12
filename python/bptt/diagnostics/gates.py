"""Gate activations and cell states over a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics import plots
from bptt.diagnostics._prepared_model import PreparedModel, step_labels
from bptt.nn.recurrent_base import Recurrent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class GateTrace:
    """Gates and cell states of one layer and direction at every step of a sequence."""

    gates: dict[str, FloatArray]
    """Name -> (T, H). LSTM: input, forget, cell, output. GRU: reset, update, candidate."""
    cells: FloatArray | None
    """(T, H): c_t of an LSTM; None for a GRU."""
    tokens: tuple[Any, ...] | None
    """Labels of the steps; None for sequences of vectors."""
    layer: int = 0
    """Index of the layer, from 0 at the input."""
    reverse: bool = False
    """Whether the direction is the reverse one."""
    bidirectional: bool = False
    """Whether the layer has two directions."""

    def by_token(self, gate: str) -> dict[Any, float]:
        """Return the mean activation of a gate for every token.

        Parameters
        ----------
        gate : str
            Name in `gates`. A "forget" gate of 1 keeps the cell state, 0 erases it.

        Returns
        -------
        dict
            Token -> mean over its steps and all units, in descending order.

        Raises
        ------
        TypeError, ValueError
            If there is no such gate, or the steps have no labels.
        """
        checks.one_of(*self.gates)("gate", gate)
        if self.tokens is None:
            raise ValueError("by_token needs a sequence of tokens, got a sequence of vectors")
        opened: dict[Any, list[float]] = {}
        for token, mean in zip(self.tokens, self.gates[gate].mean(axis=1), strict=True):
            opened.setdefault(token, []).append(float(mean))
        means = {token: float(np.mean(values)) for token, values in opened.items()}
        return dict(sorted(means.items(), key=lambda item: -item[1]))

    def plot(self, ax: Axes | None = None, *, gate: str | None = None) -> Axes:
        """Plot with `bptt.diagnostics.plots.plot_gates`, whose parameters these are.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw into. By default those of a new figure.
        gate : str, optional
            Name in `gates`. By default "forget" of an LSTM, "update" of a GRU.

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
        return plots.plot_gates(self, ax, gate=gate)


def gate_trace(
    model: Any,
    x: Any,
    *,
    layer: int = 0,
    reverse: bool = False,
    tokens: Sequence[Any] | None = None,
) -> GateTrace:
    """Return the gates and cell states of one layer at every step of a sequence.

    Parameters
    ----------
    model : LSTM, GRU, Sequential or fitted estimator
        The encoder is traced of an `EncoderDecoder`. A `LanguageModel` reads "<start>" first.
    x : float array (T, features), integer array (T,), or a sequence as for `fit` of an estimator
        One sequence, without a batch axis.
    layer : int
        Index of the recurrent layer, from 0 at the input.
    reverse : bool
        Trace the backward direction of a bidirectional layer; steps keep the order of x.
    tokens : sequence (T,), optional
        Labels of the steps.

    Returns
    -------
    GateTrace

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or shape, or the layer does not exist or has no gates.
    """
    prepared = PreparedModel.of(model, x)
    names = step_labels(tokens, prepared)
    run = prepared.chain.forward(prepared.x)
    module, level, found = _find_layer(prepared, run._runs, layer)
    if not module.cell.saved_gates:
        raise ValueError(f"gate_trace needs an LSTM or a GRU, got {module}")
    gates = {name: values[0] for name, values in found.gates(level, reverse).items()}
    cells = found.cells(level, reverse)[0] if module.cell.has_cell_state else None
    backwards = reverse or module.reverse
    return GateTrace(gates, cells, names, layer, backwards, module.bidirectional)


def _find_layer(
    prepared: PreparedModel, runs: list[Any], layer: int
) -> tuple[Recurrent[Any], int, Any]:
    """Return module, index within the module, and run of one of the recurrent layers of a chain."""
    level = checks.integer("layer", layer, 0)
    count = 0
    for i in prepared.chain._layers:
        module: Any = prepared.chain.modules[i]
        if level < module.num_layers:
            return module, level, runs[i]
        level -= module.num_layers
        count += module.num_layers
    raise ValueError(f"layer must be in [0, layers) = [0, {count}), got {layer}")
