"""State trajectory of one sequence through one layer and direction, and its single steps.

A single step is a forward pass of length 1 over a batch of any size, so that it is exact for every
cell and no equation is repeated here. Step t, counted from 0, maps the state s_t to s_{t+1}. The
state has S components: h, or all arrays of the state concatenated (S = H, 2H for an LSTM, 4H for an
SLSTM; P + H if h is projected to P units).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics._float64 import as_float64, check_recurrent, float64_copy, select_layers
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.recurrent_run import Run
from bptt.nn.state import State, join_states, split_states


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A sequence and its states."""

    layer: Recurrent[Any]
    """One layer in one direction, in float64."""
    x: NDArray[Any]
    """(T, I), or ids (T,): input of the layer, in the order in which it is read."""
    states: FloatArray
    """(T+1, S): s_0, .., s_T."""

    @classmethod
    def of(
        cls,
        layer: Recurrent[Any],
        x: NDArray[Any],
        state: State = None,
        level: int = 0,
        reverse: bool = False,
    ) -> Trajectory:
        """Return the trajectory of layer `level` of a stack, which reads the layer below.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, or a state is not finite.
        """
        check_recurrent("layer", layer)
        level, reverse = checks.integer("level", level, 0), checks.flag("reverse", reverse)
        if level >= layer.num_layers:
            rule = f"[0, num_layers) = [0, {layer.num_layers})"
            raise ValueError(f"level must be in {rule}, got {checks.shown(level)}")
        if reverse and not layer.bidirectional:
            raise ValueError("reverse=True needs a bidirectional layer")
        x, state = check_sequence(layer, x)[np.newaxis], as_float64(state)
        directions = 1 + layer.bidirectional
        if level:
            below = float64_copy(layer, num_layers=level, time_major=False)
            x, _ = below(x, state=select_layers(state, slice(0, level * directions)))
        place = level * directions + reverse
        single = _single_layer(layer, level, reverse)
        x = x[:, ::-1] if reverse or layer.reverse else x
        initial = select_layers(state, slice(place, place + 1))
        walked = [join_states(single._initial_state(1) if initial is None else initial)]
        for x_t in x[0]:
            _, initial = single.step(x_t[np.newaxis], initial)
            walked.append(join_states(initial))
        states = np.concatenate(walked)
        if not np.isfinite(states).all():
            raise ValueError("the states of the layer must be finite, got NaN or infinity")
        return cls(single, x[0], states)

    def __len__(self) -> int:
        return len(self.x)

    def forward(self, steps: NDArray[np.int64]) -> Run[Any]:
        """Run the steps (R,) as a batch of R rows, each from its own preceding state."""
        before = self.split_states(self.states[steps])
        run: Run[Any] = self.layer.forward(self.x[steps, np.newaxis], state=before)
        return run

    def split_states(self, gradients: FloatArray) -> State:
        """Return gradients (R, S) of states in the form that a layer takes."""
        return split_states(gradients, self.layer.state_sizes)


def check_sequence(layer: Recurrent[Any], x: Any) -> NDArray[Any]:
    """Return `x`, floats as float64, after a check that it is one sequence for a layer."""
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
    sequence: NDArray[Any] = as_float64(x)
    return sequence


def _single_layer(layer: Recurrent[Any], level: int, reverse: bool) -> Recurrent[Any]:
    """Return one layer and direction of a stack as a single float64 layer."""
    suffix = f"_l{level}" + ("_reverse" if reverse else "")
    sizes = {"input_size": layer.input_size}
    if level:
        sizes = {"input_size": layer[f"weight_ih{suffix}"].shape[1]}
        sizes |= {"decay_size": 0} if "decay_size" in layer.config else {}
    return float64_copy(
        layer,
        suffix=suffix,
        **sizes,
        num_layers=1,
        bidirectional=False,
        reverse=False,
        time_major=False,
    )
