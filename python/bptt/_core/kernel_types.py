"""Types of the compiled kernels' arguments and results."""

from __future__ import annotations

from typing import TypedDict


class LayerConfig(TypedDict):
    """Configuration of stacked recurrent layers: the fields of the C++ struct of this name."""

    cell: str
    activation: str
    gate_activation: str
    input_size: int
    decay_size: int
    hidden_size: int
    proj_size: int
    num_heads: int
    num_layers: int
    bidirectional: bool
    merge: str
    dropout: float
    zoneout: float
    recurrent_dropout: float
    time_major: bool


class CellInfo(TypedDict):
    """Description of a compiled cell."""

    gates: int
    states: int
    has_bias_hn: bool
    has_gains: bool
    unit_weights: int
