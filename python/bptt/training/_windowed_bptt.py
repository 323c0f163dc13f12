"""Truncated backpropagation through time, one step after another.

`bptt.truncated_bptt` reads sequences that exist; here a step is known when it comes.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.nn.module import Gradients
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.recurrent_run import Run
from bptt.nn.state import State, arrays_of, as_state


class WindowedBPTT:
    """BPTT(window; 1) of R. Williams and J. Peng (1990), with the methods of `bptt.nn.RTRL`.

    The gradient of the loss at a step flows through the last `window` steps, from the state
    computed when the step before them was new. A step runs the layer over the window with its
    current parameters.

    Parameters
    ----------
    layer : Recurrent
        Batch-first layers in one direction.
    window : int
        Number of steps, >= 1.
    """

    def __init__(self, layer: Recurrent[Any], window: int) -> None:
        self._layer = layer
        self._inputs = np.zeros((1, window, layer.input_size), layer.dtype)
        self._states: deque[State] = deque(maxlen=window)  # before every step of the window
        self.state: State = layer._initial_state(1)
        self._d_state = tuple(np.zeros_like(part) for part in arrays_of(self.state))
        self._run: Run[Any] | None = None

    def step(self, x_t: FloatArray) -> FloatArray:
        """Run one time step (1, I); return the output (1, D)."""
        inputs, states = self._inputs, self._states
        states.append(self.state)
        inputs[:, :-1] = inputs[:, 1:]
        inputs[:, -1] = x_t
        first = inputs.shape[1] - len(states)
        self._run = run = self._layer.forward(inputs[:, first:], state=states[0])
        self.state = run.state
        output: FloatArray = run.output[:, -1]
        return output

    def gradients(self, d_output: FloatArray) -> Gradients:
        """Return the gradients of the loss at the current step, whose dL/dy (1, D) is given."""
        self._d_state[0][-1] = d_output
        assert self._run is not None
        run, self._run = self._run, None
        return run.backward(d_state=as_state(*self._d_state), input=False)

    def _arrays(self) -> dict[str, FloatArray]:
        """Return the inputs and states of the window, which later steps depend on."""
        states = zip(*map(arrays_of, [*self._states, self.state]), strict=True)
        return {
            "inputs": self._inputs,
            **{f"states_{i}": np.stack(s) for i, s in enumerate(states)},
        }

    def _restore(self, given: dict[str, FloatArray]) -> None:
        """Take what `_arrays` returned, of any number of steps up to the window."""
        window = self._inputs.shape[1]
        steps = checks.integer("the number of states", len(given["states_0"]))
        if steps > window + 1:
            raise ValueError(f"the number of states must be <= window + 1, got {steps}")
        parts = [np.stack([part] * steps) for part in arrays_of(self.state)]
        own = {"inputs": self._inputs, **{f"states_{i}": part for i, part in enumerate(parts)}}
        checks.like("recurrence", given, own)
        self._inputs[...] = given["inputs"]
        arrays = [given[f"states_{i}"].copy() for i in range(len(parts))]
        *before, self.state = (as_state(*parts) for parts in zip(*arrays, strict=True))
        self._states = deque(before, maxlen=window)
