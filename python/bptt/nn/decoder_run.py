"""Forward pass of a decoder, and its backward pass.

Shapes: B batch, S steps, V tokens, H hidden_size, T steps of the memory, M its features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Padding, without_padding
from bptt.losses import Loss
from bptt.nn.module import Gradients, output_gradient
from bptt.nn.state import State


@dataclass(frozen=True)
class DecoderGradients:
    """Gradients of a loss with respect to parameters and inputs of a `Decoder`."""

    modules: list[Gradients]
    """Gradients of each module, in the order of ``Decoder.modules``."""
    state: State = field(repr=False)
    """Gradient of the initial state."""
    memory: FloatArray | None = field(repr=False)
    """Gradient of the memory, (B, T, M); None without attention."""


class DecoderRun:
    """Forward pass of a `Decoder`, as `Decoder.forward` returns it.

    Attributes
    ----------
    output : array (B, S, V)
        Logits.
    state : array or LSTMState, (num_layers, B, H)
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
        """Attention weights (B, S, T); None without attention."""
        run = self._runs.get("attention")
        return None if run is None else run.weights

    def backward(
        self, d_logits: FloatArray | Loss, d_state: State | None = None, *, steps: bool = False
    ) -> DecoderGradients:
        """Backpropagate through all modules and through time, exactly.

        Parameters
        ----------
        d_logits : array (B, S, V) or Loss
            Gradient of the loss with respect to `output`, or the loss with its gradient. Padding is
            not read.
        d_state : array or LSTMState, (num_layers, B, H), optional
            Gradient of the loss with respect to the final state.
        steps : bool, default False
            Whether to return the gradients of the recurrent state at every step as well.

        Returns
        -------
        DecoderGradients

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape.
        RuntimeError
            If `backward` has been called before.
        """
        d_logits = checks.array("d_logits", output_gradient(d_logits), self.output.dtype)
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
