"""From the final state of one recurrent layer to the initial state of another of other sizes.

Shapes: B batch, N = num_layers*directions, H hidden_size; N', H' of the other layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt._core.checks import FloatArray
from bptt.nn.linear import Linear, LinearRun
from bptt.nn.module import Gradients
from bptt.nn.pooling import State
from bptt.nn.run import LSTMState


class Bridge:
    """A `Linear` for h, and one for c of an LSTM, from a state of all layers to all layers'.

    The parts of a state, of all layers and directions side by side, (B, N*H), become (B, N'*H').

    Parameters
    ----------
    linears : sequence of Linear
        N*H -> N'*H'; one, or two for an LSTM.
    num_layers : int
        N'.
    """

    def __init__(self, linears: Sequence[Linear], num_layers: int) -> None:
        self.linears = tuple(linears)
        self.num_layers = num_layers

    def __call__(self, state: State) -> State:
        """Return the state on the other side, without keeping anything."""
        pairs = zip(self.linears, _parts(state), strict=True)
        return _state([_apart(linear(_beside(p)), self.num_layers) for linear, p in pairs])

    def forward(self, state: State) -> BridgeRun:
        """Return the state on the other side as a `BridgeRun`, which can go backward."""
        parts = _parts(state)
        runs = [
            linear.forward(_beside(part)) for linear, part in zip(self.linears, parts, strict=True)
        ]
        return BridgeRun(
            _state([_apart(run.output, self.num_layers) for run in runs]), runs, len(parts[0])
        )


@dataclass(frozen=True)
class BridgeRun:
    """A pass over a `Bridge`, ready to go backward."""

    state: State
    """(N', B, H')"""
    _runs: list[LinearRun]
    _rows: int  # N

    def backward(self, d_state: State) -> tuple[list[Gradients], State]:
        """Return the gradients of the linear layers, and that of the state before the bridge."""
        parts = zip(self._runs, _parts(d_state), strict=True)
        gradients = [run.backward(_beside(part)) for run, part in parts]
        d_inputs: list[Any] = [gradient.input for gradient in gradients]
        return gradients, _state([_apart(d, self._rows) for d in d_inputs])


def _parts(state: State) -> tuple[FloatArray, ...]:
    return tuple(state) if isinstance(state, LSTMState) else (state,)


def _state(parts: list[FloatArray]) -> State:
    return LSTMState(*parts) if len(parts) == 2 else parts[0]


def _beside(part: FloatArray) -> FloatArray:
    """(N, B, H) -> (B, N*H)."""
    batch = part.shape[1]
    return np.ascontiguousarray(part.swapaxes(0, 1)).reshape(batch, -1)


def _apart(rows: FloatArray, count: int) -> FloatArray:
    """(B, N*H) -> (N, B, H)."""
    return np.ascontiguousarray(rows.reshape(len(rows), count, -1).swapaxes(0, 1))
