"""One sequence through one layer in one direction, looked at step by step.

A step is a call of the engine with one step and as many rows as one likes, so that it is exact for
every cell, and no equation is written twice. Step t, from 0, takes the state s_t to s_{t+1}: the
state is h, of an LSTM h and c side by side, S = H or 2H numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics._float64 import check_recurrent, in_float64, states_of, twin
from bptt.nn.recurrent import LSTM, Recurrent
from bptt.nn.run import Run
from bptt.nn.state import LSTMState, State


@dataclass(frozen=True, eq=False)
class Walk:
    """A sequence and the states that it goes through."""

    layer: Recurrent[Any]
    """One layer in one direction, in float64."""
    x: NDArray[Any]
    """(T, I), or ids (T,): what the layer reads, in the order in which it does."""
    states: FloatArray
    """(T+1, S)"""

    @classmethod
    def of(
        cls,
        layer: Recurrent[Any],
        x: NDArray[Any],
        state: State = None,
        level: int = 0,
        reverse: bool = False,
    ) -> Walk:
        """Walk through level `level` of a stack, which reads the output of the level below.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, or does not fit, or a state is not finite.
        """
        check_recurrent("layer", layer)
        if checks.integer("level", level, 0) >= layer.num_layers:
            count = layer.num_layers
            raise ValueError(f"level must be in [0, num_layers) = [0, {count}), got {level}")
        if checks.flag("reverse", reverse) and not layer.bidirectional:
            raise ValueError("reverse=True needs a bidirectional layer")
        x, state = check_sequence(layer, x)[np.newaxis], in_float64(state)
        directions = 1 + layer.bidirectional
        if level:
            below = twin(layer, num_layers=level, time_major=False)
            x, _ = below(x, state=states_of(state, slice(0, level * directions)))
        place = level * directions + reverse
        single = _single(layer, level, reverse)
        x = x[:, ::-1] if reverse else x
        initial = states_of(state, slice(place, place + 1))
        run = single.forward(x, state=initial)
        walked = run.output[0]
        if isinstance(single, LSTM):
            walked = np.concatenate([walked, run.cells()[0]], axis=1)
        first = np.zeros((1, walked.shape[1])) if initial is None else join(initial)
        states = np.concatenate([first, walked])
        if not np.isfinite(states).all():
            raise ValueError("the states of the layer must be finite, got NaN or infinity")
        return cls(single, x[0], states)

    def __len__(self) -> int:
        return len(self.x)

    def forward(self, steps: NDArray[np.int64]) -> Run[Any]:
        """Take these steps, each from the state before it, (R,): a batch of R rows."""
        before: Any = self.states[np.newaxis, steps]
        if isinstance(self.layer, LSTM):
            before = LSTMState(*np.split(before, 2, axis=-1))
        run: Run[Any] = self.layer.forward(self.x[steps, np.newaxis], state=before)
        return run

    def split(self, gradients: FloatArray) -> State:
        """Return gradients (R, S) of states as a layer takes them."""
        rows = gradients[np.newaxis]
        if isinstance(self.layer, LSTM):
            return LSTMState(*np.split(rows, 2, axis=-1))
        return rows


def join(state: State) -> FloatArray:
    """Return the states (1, R, H) of a layer as (R, S)."""
    if isinstance(state, (tuple, list)):
        joined: FloatArray = np.concatenate([part[0] for part in state], axis=-1)
        return joined
    rows: FloatArray = state[0]
    return rows


def check_sequence(layer: Recurrent[Any], x: Any) -> NDArray[Any]:
    """Check that `x` is one sequence for a layer; return it, numbers in float64."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x must be a NumPy array, got {type(x).__name__}")
    is_ids = x.dtype.kind in "iu"
    if not is_ids:
        checks.floats("x", x)
    if x.ndim != (1 if is_ids else 2) or not len(x):
        rule = "x must be one sequence, (T, features), or (T,) of token ids, with T >= 1"
        raise ValueError(f"{rule}, got shape {x.shape}")
    if not is_ids and x.shape[1] != layer.input_size:
        rule = f"(T, input_size) = ({len(x)}, {layer.input_size})"
        raise ValueError(f"x must have shape {rule}, got {x.shape}")
    sequence: NDArray[Any] = in_float64(x)
    return sequence


def _single(layer: Recurrent[Any], level: int, reverse: bool) -> Recurrent[Any]:
    """Return one level and direction of a stack as a layer of its own, in float64."""
    suffix = f"_l{level}" + ("_reverse" if reverse else "")
    return twin(
        layer,
        suffix=suffix,
        input_size=layer[f"weight_ih{suffix}"].shape[1],
        num_layers=1,
        bidirectional=False,
        time_major=False,
    )
