"""Forward pass of a decoder, and its backward pass.

Shapes: B batch, S steps, V tokens, H hidden_size, T steps of the memory, M its features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Padding, without_padding
from bptt.losses import Loss
from bptt.nn.linear import LinearRun, OutputLoss, output_gradients
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
    state : array, LSTMState or SLSTMState, (num_layers, B, H)
        Final state of the recurrent layers.
    """

    state: State

    def __init__(self, runs: dict[str, Any], padding: Padding, output_size: int) -> None:
        self.state = runs["recurrent"].state
        self._runs = runs
        self._padding = padding
        self._output_size = output_size

    @property
    def output(self) -> FloatArray:
        """Logits, (B, S, V); computed when first read."""
        logits: FloatArray = self._runs["output"].output
        return logits

    @property
    def attention(self) -> FloatArray | None:
        """Attention weights (B, S, T); None without attention."""
        run = self._runs.get("attention")
        return None if run is None else run.weights

    def cross_entropy(
        self,
        targets: Ids,
        *,
        weights: FloatArray | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "sum",
        num_sampled: int | None = None,
    ) -> OutputLoss:
        """Return the softmax cross-entropy of the targets, for `backward`.

        The logits are never in memory at once: see `Linear.cross_entropy`.

        Parameters
        ----------
        targets : integer array (B, S)
            Target of each step, in [0, V); those in the padding are ignored.
        weights : float array (B, S), or (B,) for whole sequences, optional
            Weight of each step, finite and >= 0.
        label_smoothing : float, default 0
            ε in [0, 1): see `bptt.softmax_cross_entropy`.
        reduction : {"sum", "mean"}, default "sum"
            "mean" divides value and gradients by the sum of the weights.
        num_sampled : int, optional
            Number of tokens, in [1, V], of which the softmax's denominator is estimated: see
            `SequentialRun.cross_entropy`. All by default.

        Returns
        -------
        OutputLoss
            Value, gradients of the output layer, losses of the steps and predicted tokens.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        """
        head: LinearRun = self._runs["output"]
        return head._cross_entropy(
            targets,
            self._padding,
            weights=weights,
            label_smoothing=label_smoothing,
            reduction=reduction,
            num_sampled=num_sampled,
        )

    def backward(
        self,
        d_logits: FloatArray | Loss | OutputLoss,
        d_state: State | None = None,
        *,
        steps: bool = False,
    ) -> DecoderGradients:
        """Backpropagate through all modules and through time, exactly.

        Parameters
        ----------
        d_logits : array (B, S, V), Loss, or OutputLoss
            Gradient of the loss with respect to `output`, or the loss with its gradient, or what
            `cross_entropy` returned. Padding is not read.
        d_state : array, LSTMState or SLSTMState, (num_layers, B, H), optional
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
        found: dict[str, Any] = {}
        d: Any = None
        head: LinearRun = self._runs["output"]
        if isinstance(d_logits, OutputLoss):
            found["output"] = output_gradients(head, d_logits, retain=False)
            d = found["output"].input
        else:
            given = checks.array("d_logits", output_gradient(d_logits), head.dtype)
            checks.same_shape("d_logits", given, "the output", head.shape)
            d = without_padding(given, self._padding)
        memory = None
        for name, run in reversed(self._runs.items()):
            if name in found:
                continue
            if name == "attention":
                found[name] = run.backward(d[..., self._output_size :])
                d_queries, memory = found[name].input
                d_queries += d[..., : self._output_size]
                d = d_queries
            elif name == "recurrent":
                found[name] = run.backward(d, d_state, steps=steps)
                d = found[name].input
            else:
                found[name] = run.backward(d)
                d = found[name].input
        head.release()
        return DecoderGradients([found[n] for n in self._runs], found["recurrent"].state, memory)
