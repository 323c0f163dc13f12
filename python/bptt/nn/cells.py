"""Cells: gates, states and parameters of the recurrent layers.

Layers, estimators, commands, diagnostics and tests derive from this one declaration of each cell.
The equations are in the kernels and in `bptt.reference.cells`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Declaration of a cell: everything but its equations."""

    name: str
    """Name in the kernels, in `bptt.reference` and in the estimators' parameter ``cell``."""
    title: str
    """Name in tables and figures."""
    gates: tuple[str, ...]
    """Blocks of rows of weight_ih, weight_hh and bias, in order."""
    saved_gates: tuple[str, ...] = ()
    """Gates that the forward pass saves for backward: the first of its saved columns."""
    states: tuple[str, ...] = ("h",)
    """("h",), or ("h", "c", ..) with a cell state."""
    gate_parameters: Mapping[str, float] = field(default_factory=dict)
    """Name -> initial value of further parameters (gates*hidden_size,), which follow the bias."""
    extra_parameters: Mapping[str, float] = field(default_factory=dict)
    """Name -> initial value of further parameters (hidden_size,), which follow these."""
    initial_bias: Mapping[str, float] = field(default_factory=dict)
    """Gate -> initial value of its block of the bias; 0 for the others."""
    has_gate_activation: bool = True
    """Whether the layer takes a `gate_activation`."""
    mixes_units: bool = False
    """Whether parameters of a unit act on other units within a step: through a gate of h_{t-1}
    before its product with W, or layer normalization."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments that select this cell in a layer with several cells."""

    @property
    def has_cell_state(self) -> bool:
        """Whether there is a cell state c: the state is a named tuple."""
        return "c" in self.states

    @property
    def mapped_states(self) -> tuple[str, ...]:
        """The states that a linear map may make anew: h and c. What follows is their scale."""
        return self.states[:2]


GAINS = {"gain_ih": 1.0, "gain_hh": 1.0}
"""Parameters of every cell with layer normalization."""

RNN = Cell(name="rnn", title="RNN", gates=("hidden",), has_gate_activation=False)
LSTM = Cell(
    name="lstm",
    title="LSTM",
    gates=("input", "forget", "cell", "output"),
    saved_gates=("input", "forget", "cell", "output"),
    states=("h", "c"),
    initial_bias={"forget": 1.0},
    options={"peephole": False, "coupled": False, "layer_norm": False},
)
LSTM_PEEPHOLE = replace(
    LSTM,
    name="lstm_peephole",
    title="LSTM, peepholes",
    extra_parameters={"peephole_input": 0.0, "peephole_forget": 0.0, "peephole_output": 0.0},
    options={"peephole": True, "coupled": False, "layer_norm": False},
)
LSTM_COUPLED = replace(
    LSTM,
    name="lstm_coupled",
    title="LSTM, coupled",
    gates=("forget", "cell", "output"),
    saved_gates=("forget", "cell", "output"),
    options={"peephole": False, "coupled": True, "layer_norm": False},
)
LSTM_PEEPHOLE_COUPLED = replace(
    LSTM_COUPLED,
    name="lstm_peephole_coupled",
    title="LSTM, peepholes, coupled",
    extra_parameters={"peephole_forget": 0.0, "peephole_output": 0.0},
    options={"peephole": True, "coupled": True, "layer_norm": False},
)
LSTM_LAYER_NORM = replace(
    LSTM,
    name="lstm_layer_norm",
    title="LSTM, layer norm",
    gate_parameters=GAINS,
    extra_parameters={"gain_cell": 1.0, "bias_cell": 0.0},
    mixes_units=True,
    options={"peephole": False, "coupled": False, "proj_size": 0, "layer_norm": True},
)
GRU = Cell(
    name="gru",
    title="GRU",
    gates=("reset", "update", "candidate"),
    saved_gates=("reset", "update", "candidate"),
    mixes_units=True,
    options={"reset_after": False, "layer_norm": False},
)
GRU_RESET_AFTER = Cell(
    name="gru_reset_after",
    title="GRU, reset after",
    gates=("reset", "update", "candidate"),
    saved_gates=("reset", "update", "candidate"),
    extra_parameters={"bias_hn": 0.0},
    options={"reset_after": True, "layer_norm": False},
)
GRU_LAYER_NORM = replace(
    GRU_RESET_AFTER,
    name="gru_layer_norm",
    title="GRU, layer norm",
    gate_parameters=GAINS,
    mixes_units=True,
    options={"reset_after": True, "layer_norm": True},
)
MGU = Cell(
    name="mgu",
    title="MGU",
    gates=("forget", "candidate"),
    saved_gates=("forget", "candidate"),
    mixes_units=True,
)
SLSTM = Cell(
    name="slstm",
    title="sLSTM",
    gates=("input", "forget", "cell", "output"),
    saved_gates=("input", "forget", "cell", "output"),
    states=("h", "c", "n", "m"),
    initial_bias={"forget": 1.0},
    has_gate_activation=False,
)

CELLS: Mapping[str, Cell] = {
    cell.name: cell
    for cell in (
        RNN,
        LSTM,
        LSTM_PEEPHOLE,
        LSTM_COUPLED,
        LSTM_PEEPHOLE_COUPLED,
        LSTM_LAYER_NORM,
        GRU,
        GRU_RESET_AFTER,
        GRU_LAYER_NORM,
        MGU,
        SLSTM,
    )
}
"""Name -> cell."""
