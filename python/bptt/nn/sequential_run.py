"""Forward pass of a chain of modules, and its backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Padding, without_padding
from bptt.losses import Loss
from bptt.nn.characters import CharacterEmbedding, CharacterEmbeddingRun
from bptt.nn.crf import CRF, CRFRun
from bptt.nn.decay import InputDecayRun
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear, LinearRun, OutputLoss, output_gradients
from bptt.nn.module import Gradients, Module, by_name, output_gradient
from bptt.nn.normalization import LayerNormRun
from bptt.nn.pooling import Pooled
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.recurrent_run import Run
from bptt.nn.sparse_gradients import no_gradient
from bptt.nn.state import State, States, arrays_of, as_states, check_state


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
    state : tuple of states
        Final state of each recurrent layer.
    """

    state: States

    def __init__(
        self,
        modules: Sequence[Module],
        runs: list[Any],
        pooled: Pooled | None,
        padding: Padding,
        output: FloatArray | None,
        state: States,
        skip_size: int = 0,
    ) -> None:
        self._output = output  # None until the output layer is computed
        self.state = state
        self._modules = modules
        self._layers = recurrent_places(modules)
        self._skip_size = skip_size  # features of x_t that the last module reads too
        self._runs = runs  # of each module
        self._pooled = pooled
        self._padding = padding

    @property
    def output(self) -> FloatArray:
        """Output, (B, T, K), or (B, K) with a pool; 0 in the padding."""
        if self._output is None:
            y: FloatArray = self._runs[-1].output
            if self._padding is not None and self._pooled is None:
                y[self._padding] = 0.0
            self._output = y
        return self._output

    def cross_entropy(
        self,
        targets: Ids,
        *,
        mask: NDArray[np.bool_] | None = None,
        weights: FloatArray | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "sum",
        num_sampled: int | None = None,
    ) -> OutputLoss:
        """Return the softmax cross-entropy of the output, for `backward`.

        The last module must be a `Linear`, or a `CRF`, whose loss is the negative log-likelihood:
        see `CRF.cross_entropy`. The output of a `Linear` and the gradients of its parameters are
        computed together, in blocks, so that the logits are never in memory at once: see
        `Linear.cross_entropy`. The same as `bptt.softmax_cross_entropy` of `output` with the
        lengths of the forward pass, in less time and memory, in particular with many classes.

        Parameters
        ----------
        targets : integer array (B, T), or (B,) with a pool
            Class of each step or sequence, in [0, K).
        mask : bool array (B, T) or (B,), optional
            False for steps that are ignored.
        weights : float array (B, T), or (B,) for whole sequences, optional
            Weight of each step, finite and >= 0; steps of weight 0 are ignored.
        label_smoothing : float, default 0
            ε in [0, 1): see `bptt.softmax_cross_entropy`.
        reduction : {"sum", "mean"}, default "sum"
            "mean" divides value and gradients by the sum of the weights (without weights: the
            number) of the steps that are not ignored; all are 0 if there are none.
        num_sampled : int, optional
            Number of classes, in [1, K], of which the softmax's denominator is estimated: its time
            and memory do not grow with K, those of the parameters' gradients and updates do. A new
            sample for each call, of the more frequent classes if ids are in the order of their
            frequency; the target is always one of them, and
            `predicted` the most likely of them. All by default.

        Returns
        -------
        OutputLoss
            Value, gradients of the last module, losses of the steps and predicted classes.

        Raises
        ------
        TypeError
            If an argument is not an array or has the wrong dtype.
        ValueError
            If the last module is neither a `Linear` nor a `CRF`, a shape does not fit, or a target,
            a weight or an option is out of its range.

        Examples
        --------
        >>> run = model.forward(ids, lengths=lengths)
        >>> loss = run.cross_entropy(targets, reduction="mean")
        >>> optimizer.step(run.backward(loss))
        """
        options = smoothing_of(last_head(self._modules), label_smoothing)
        head: LinearRun | CRFRun = self._runs[-1]
        if num_sampled is not None:
            if not isinstance(head, LinearRun):
                raise ValueError(f"num_sampled must be None with a CRF, got {num_sampled}")
            options["num_sampled"] = num_sampled
        return head._cross_entropy(
            targets,
            self._padding if self._pooled is None else None,
            mask=mask,
            weights=weights,
            reduction=reduction,
            **options,
        )

    def backward(
        self,
        d_output: FloatArray | Loss | OutputLoss | None = None,
        d_state: Sequence[State | None] | None = None,
        *,
        steps: bool = False,
        input: bool = True,
        retain: bool = False,
    ) -> SequentialGradients:
        """Backpropagate through all modules and through time, exactly.

        Parameters
        ----------
        d_output : array of the shape of `output`, Loss, or OutputLoss, optional
            Gradient of the loss with respect to the output, or the loss with its gradient, or what
            `cross_entropy` returned. Padding is not read.
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
        head = None
        if isinstance(d_output, OutputLoss):
            head = output_gradients(self._runs[-1], d_output, retain=retain)
        d, d_final = self._checked(output_gradient(d_output), d_state)
        gradients: list[Gradients] = []
        d_initial: list[State] = []
        d_read: Any = None  # of the input that skip_input passes to the last module
        trained = (i for i, m in enumerate(self._modules) if len(list(m)) and not m.frozen)
        lowest = next(trained, 0)
        for i, run in reversed(list(enumerate(self._runs))):
            needs_input = input or i > lowest
            d_after = d_final.get(i)
            if self._pooled is not None and i == self._layers[-1] and d is not None:
                d, d_after = self._pooled.backward(d, d_after)
            d_beside: Any = None  # of the vectors that are beside those of this module
            if is_beside(self._modules, i) and d is not None:
                d_beside, d = np.split(d, [-run.output.shape[-1]], axis=-1)
            if steps and i in self._layers and d is None and d_after is None:
                d = np.zeros_like(run.output)  # their gradients are 0 at every step
            if head is not None and i == len(self._runs) - 1:
                found = head
            elif i in self._layers and not (d is None and d_after is None):
                found = run.backward(d, d_after, steps=steps, input=needs_input, retain=retain)
            elif d is None:
                found = _zero(self._modules[i], run)
            elif isinstance(run, (LinearRun, LayerNormRun, InputDecayRun)):
                found = run.backward(d, input=needs_input)
            elif isinstance(run, CharacterEmbeddingRun):
                found = run.backward(d, retain=retain)
            else:
                found = run.backward(d)
            d = found.input if d_beside is None else d_beside
            if self._skip_size and i == output_place(self._modules) and d is not None:
                d, d_read = np.split(d, [-self._skip_size], axis=-1)
            if i in self._layers:
                d_initial.insert(0, found.state)
                if i == self._layers[0] and d is not None and d_read is not None:
                    d += d_read
            gradients.insert(0, found)
        if self._layers and not retain and isinstance(self._runs[-1], LinearRun):
            self._runs[-1].release()  # as the recurrent layers have done
        return SequentialGradients(gradients, d if input else None, tuple(d_initial))

    def _checked(
        self, d_output: FloatArray | None, d_state: Sequence[State | None] | None
    ) -> tuple[FloatArray | None, dict[int, State | None]]:
        """Return the gradients of the output and, by index in the chain, of the final states."""
        states = as_states("d_state", d_state, len(self._layers))
        for i, value in enumerate(states):
            check_state(f"d_state[{i}]", value, self.state[i])
        if isinstance(d_output, OutputLoss):
            return None, dict(zip(self._layers, states, strict=True))
        if d_output is None:
            if all(value is None for value in states):
                raise ValueError("backward needs d_output, d_state or both, got neither")
        else:
            last = self._runs[-1]
            shape = last.shape if isinstance(last, LinearRun) else self.output.shape
            checks.array("d_output", d_output, self._modules[-1].dtype)
            checks.same_shape("d_output", d_output, "the output", shape)
            if self._pooled is None:
                d_output = without_padding(d_output, self._padding)
        return d_output, dict(zip(self._layers, states, strict=True))


def last_head(modules: Sequence[Module]) -> Linear | CRF:
    """Return the last of the modules, which has a loss."""
    last = modules[-1]
    if not isinstance(last, (Linear, CRF)):
        raise ValueError(f"cross_entropy needs a Linear or a CRF as the last module, got {last}")
    return last


def smoothing_of(head: Linear | CRF, label_smoothing: float) -> dict[str, Any]:
    """Return label smoothing as an argument of the loss of the last module, if it has it."""
    if isinstance(head, Linear):
        return {"label_smoothing": label_smoothing}
    if checks.fraction("label_smoothing", label_smoothing) > 0.0:
        raise ValueError(f"label_smoothing must be 0 with a CRF, got {label_smoothing}")
    return {}


def output_place(modules: Sequence[Module]) -> int:
    """Return the index of the output layer: the last module, or the one before a CRF."""
    return len(modules) - (2 if isinstance(modules[-1], CRF) else 1)


def is_beside(modules: Sequence[Module], i: int) -> bool:
    """Return whether the vectors of this module are put beside those of the one before it."""
    first, second = modules[0], modules[i] if i < len(modules) else None
    return i == 1 and isinstance(second, CharacterEmbedding) and isinstance(first, Embedding)


def recurrent_places(modules: Sequence[Module]) -> list[int]:
    """Return the indices of the recurrent layers among `modules`."""
    return [i for i, module in enumerate(modules) if isinstance(module, Recurrent)]


def _zero(module: Module, run: Any) -> Gradients:
    """Return zero gradients, for a module that the loss does not depend on."""
    if module.frozen:
        return no_gradient(module._layout)
    state: State | None = None
    if isinstance(run, Run):
        state = run._of_initial(tuple(map(np.zeros_like, arrays_of(run.state))))
    flat = np.zeros_like(module._flat)
    return Gradients(module._layout, flat, None, state)
