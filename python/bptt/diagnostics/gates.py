"""Gates over time: what an LSTM or a GRU keeps, forgets and shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics import plots
from bptt.diagnostics._probe import Inside, labels_of
from bptt.nn.recurrent import Recurrent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class GateTrace:
    """Gates and cells of one layer and direction at every step of a sequence."""

    gates: dict[str, FloatArray]
    """Name -> (T, H). LSTM: input, forget, cell, output; GRU: reset, update, candidate."""
    cells: FloatArray | None
    """(T, H): c_t of an LSTM; None for a GRU."""
    tokens: tuple[Any, ...] | None
    """What the steps are called; None if they are vectors of numbers."""

    def by_token(self, gate: str) -> dict[Any, float]:
        """Return token -> mean of a gate over its steps and all units, widest open first.

        Parameters
        ----------
        gate : str
            One of `gates`; with "forget", 1 keeps everything and 0 forgets it.

        Raises
        ------
        ValueError
            If there is no such gate, or the steps have no names.
        """
        checks.one_of(*self.gates)("gate", gate)
        if self.tokens is None:
            raise ValueError("by_token needs a sequence of tokens, got one of numbers")
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
    """Return the gates of one layer at every step of a sequence.

    Parameters
    ----------
    model : LSTM, GRU, Sequential or fitted estimator
        Of an `EncoderDecoder`, the encoder. A `LanguageModel` reads "<start>" before the sequence.
    x : float array (T, features), or integer array (T,); or, of an estimator, one sequence
        One sequence, without a batch axis.
    layer : int
        Which recurrent layer, from 0 at the input.
    reverse : bool
        Whether to look at the direction that begins at the end; the steps stay in their order.
    tokens : sequence (T,), optional
        What to call the steps.

    Returns
    -------
    GateTrace

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or there is no such layer, or it has no gates.
    """
    inside = Inside.of(model, x)
    names = labels_of(tokens, inside)
    run = inside.chain.forward(inside.x)
    module, level, found = _recurrent_run(inside, run._runs, layer)
    if module._cell == "rnn":
        raise ValueError(f"gate_trace needs an LSTM or a GRU, got {module}")
    gates = {name: values[0] for name, values in found.gates(level, reverse).items()}
    cells = found.cells(level, reverse)[0] if module._cell == "lstm" else None
    return GateTrace(gates, cells, names)


def _recurrent_run(inside: Inside, runs: list[Any], layer: int) -> tuple[Recurrent[Any], int, Any]:
    """Return module, layer of the module, and run of one layer of all in a chain."""
    level = checks.integer("layer", layer, 0)
    count = 0
    for i in inside.chain._layers:
        module: Any = inside.chain.modules[i]
        if level < module.num_layers:
            return module, level, runs[i]
        level -= module.num_layers
        count += module.num_layers
    raise ValueError(f"layer must be in [0, layers) = [0, {count}), got {layer}")
