"""What a forward pass of a decoder leaves behind, and the way back.

Shapes: B batch, S steps, V tokens, H hidden_size, T steps of the memory, M its features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Padding, without_padding
from bptt.nn.module import Gradients
from bptt.nn.state import State


@dataclass(frozen=True)
class DecoderGradients:
    """Gradients of a loss with respect to everything that a `Decoder` reads."""

    modules: list[Gradients]
    """Of each module's parameters, in the order of `Decoder.modules`."""
    state: State
    """Of the initial state."""
    memory: FloatArray | None
    """Of the memory, (B, T, M); None without attention."""


class DecoderRun:
    """A forward pass of a `Decoder`, ready to go backward.

    Attributes
    ----------
    output : array (B, S, V)
        The logits.
    state : array, or LSTMState, (num_layers, B, H)
        Final state of the recurrent layers.
    """

    output: FloatArray
    state: State

    def __init__(self, runs: dict[str, Any], padding: Padding, hidden_size: int) -> None:
        self.output = runs["output"].output
        self.state = runs["recurrent"].state
        self._runs = runs
        self._padding = padding
        self._hidden_size = hidden_size

    @property
    def attention(self) -> FloatArray | None:
        """Weights (B, S, T) of the memory at every step; None without attention."""
        run = self._runs.get("attention")
        return None if run is None else run.weights

    def backward(
        self, d_logits: FloatArray, d_state: State | None = None, *, steps: bool = False
    ) -> DecoderGradients:
        """Backpropagate through all modules and through time, exactly.

        Parameters
        ----------
        d_logits : array (B, S, V)
            Gradient of the loss with respect to `output`. Beyond a sequence's length it is not
            read.
        d_state : array, or LSTMState, (num_layers, B, H), optional
            Gradient with respect to the final state.
        steps : bool
            Whether the gradients of the recurrent layers are to have ``.steps``.

        Returns
        -------
        DecoderGradients

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong kind, or does not fit.
        RuntimeError
            If it has gone backward before.
        """
        checks.same_shape("d_logits", d_logits, "the output", self.output.shape)
        found: dict[str, Any] = {}
        d: Any = without_padding(d_logits, self._padding)
        memory = None
        for name, run in reversed(self._runs.items()):
            if name == "attention":
                d_hidden, d_context = np.split(d, [self._hidden_size], axis=-1)
                found[name] = run.backward(d_context)
                d_queries, memory = found[name].input
                d = d_hidden + d_queries
            elif name == "recurrent":
                found[name] = run.backward(d, d_state, steps=steps)
                d = found[name].input
            else:
                found[name] = run.backward(d)
                d = found[name].input
        return DecoderGradients([found[n] for n in self._runs], found["recurrent"].state, memory)
