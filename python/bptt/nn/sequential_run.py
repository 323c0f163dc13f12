"""Forward pass of a chain of modules, and its backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Padding, without_padding
from bptt.losses import Loss
from bptt.nn.linear import LinearRun
from bptt.nn.module import Gradients, Module, by_name, output_gradient
from bptt.nn.normalization import LayerNormRun
from bptt.nn.pooling import Pooled
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import State, States, arrays_of, as_state, as_states, check_state


@dataclass(frozen=True)
class SequentialGradients:
    """Gradients of a loss with respect to parameters and inputs of a `Sequential`."""

    modules: list[Gradients]
    """Gradients of each module, in the order of the modules, as `Optimizer.step` takes them."""
    input: FloatArray | None = field(repr=False)
    """Gradient of x, of its shape; None for token ids, or if not requested."""
    state: States = field(repr=False)
    """Gradient of the initial state of each recurrent layer."""

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """Name -> gradient, with the names of `Sequential.parameters`, as "0.weight_ih_l0"."""
        return by_name(self.modules)


class SequentialRun:
    """Forward pass of a `Sequential`, as `Sequential.forward` returns it.

    Gradients are taken at the parameters of the forward pass, even if parameters have changed
    since.

    Attributes
    ----------
    output : array (B, T, K), or (B, K) with a pool
        Output; 0 in the padding.
    state : tuple of states
        Final state of each recurrent layer.
    """

    output: FloatArray
    state: States

    def __init__(
        self,
        modules: Sequence[Module],
        runs: list[Any],
        pooled: Pooled | None,
        padding: Padding,
        output: FloatArray,
        state: States,
        skip_size: int = 0,
    ) -> None:
        self.output = output
        self.state = state
        self._modules = modules
        self._layers = recurrent_places(modules)
        self._skip_size = skip_size  # features of x_t that the last module reads too
        self._runs = runs  # of each module
        self._pooled = pooled
        self._padding = padding

    def backward(
        self,
        d_output: FloatArray | Loss | None = None,
        d_state: Sequence[State | None] | None = None,
        *,
        steps: bool = False,
        input: bool = True,
        retain: bool = False,
    ) -> SequentialGradients:
        """Backpropagate through all modules and through time, exactly.

        Parameters
        ----------
        d_output : array of the shape of `output`, or Loss, optional
            Gradient of the loss with respect to the output, or the loss with its gradient. Padding
            is not read.
        d_state : tuple of states, optional
            Gradient of the loss with respect to the final state of each recurrent layer; None for
            zero.
        steps : bool, default False
            Whether to return the gradients of the recurrent states at every step as well.
        input : bool, default True
            Whether to compute the gradient of the input; False is faster.
        retain : bool, default False
            Whether to keep the saved values, so that `backward` can be called again.

        Returns
        -------
        SequentialGradients

        Raises
        ------
        TypeError
            If an argument has the wrong type or dtype.
        ValueError
            If a shape does not fit, or neither `d_output` nor `d_state` is given.
        RuntimeError
            If the saved values have been released.
        """
        steps, retain = checks.flag("steps", steps), checks.flag("retain", retain)
        input = checks.flag("input", input)
        d, d_final = self._checked(output_gradient(d_output), d_state)
        gradients: list[Gradients] = []
        d_initial: list[State] = []
        d_read: Any = None  # of the input that skip_input passes to the last module
        lowest = next((i for i, module in enumerate(self._modules) if len(list(module))), 0)
        for i, run in reversed(list(enumerate(self._runs))):
            needs_input = input or i > lowest
            d_after = d_final.get(i)
            if self._pooled is not None and i == self._layers[-1] and d is not None:
                d, d_after = self._pooled.backward(d, d_after)
            if steps and i in self._layers and d is None and d_after is None:
                d = np.zeros_like(run.output)  # their gradients are 0 at every step
            if i in self._layers and not (d is None and d_after is None):
                found = run.backward(d, d_after, steps=steps, input=needs_input, retain=retain)
            elif d is None:
                found = _zero(self._modules[i], run)
            elif isinstance(run, (LinearRun, LayerNormRun)):
                found = run.backward(d, input=needs_input)
            else:
                found = run.backward(d)
            d = found.input
            if self._skip_size and i == len(self._runs) - 1 and d is not None:
                d, d_read = np.split(d, [-self._skip_size], axis=-1)
            if i in self._layers:
                d_initial.insert(0, found.state)
                if i == self._layers[0] and d is not None and d_read is not None:
                    d += d_read
            gradients.insert(0, found)
        return SequentialGradients(gradients, d if input else None, tuple(d_initial))

    def _checked(
        self, d_output: FloatArray | None, d_state: Sequence[State | None] | None
    ) -> tuple[FloatArray | None, dict[int, State | None]]:
        """Return the gradients of the output and, by index in the chain, of the final states."""
        states = as_states("d_state", d_state, len(self._layers))
        for i, value in enumerate(states):
            check_state(f"d_state[{i}]", value, self.state[i])
        if d_output is None:
            if all(value is None for value in states):
                raise ValueError("backward needs d_output, d_state or both, got neither")
        else:
            checks.array("d_output", d_output, self.output.dtype)
            checks.same_shape("d_output", d_output, "the output", self.output.shape)
            if self._pooled is None:
                d_output = without_padding(d_output, self._padding)
        return d_output, dict(zip(self._layers, states, strict=True))


def recurrent_places(modules: Sequence[Module]) -> list[int]:
    """Return the indices of the recurrent layers among `modules`."""
    return [i for i, module in enumerate(modules) if isinstance(module, Recurrent)]


def _zero(module: Module, run: Any) -> Gradients:
    """Return zero gradients, for a module that the loss does not depend on."""
    state: Any = getattr(run, "state", None)
    if state is not None:
        state = as_state(*map(np.zeros_like, arrays_of(state)))
    flat = np.zeros_like(module._flat)
    return Gradients(module._layout, flat, None, state)
