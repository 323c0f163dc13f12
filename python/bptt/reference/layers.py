"""Layers: directions and their merge, dropout, stacking. `forward` and `backward` of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import numpy as np

from .activations import ACTIVATIONS, GATE_ACTIVATIONS, Array
from .arguments import (
    check_array,
    check_choice,
    check_dropout_masks,
    check_lengths,
    check_parameters,
    check_state,
    require,
)
from .cells import CELLS
from .cells.cell import Functions, State, Weights
from .head import one_hot
from .merges import MERGES
from .unroll import Unrolled, UnrolledGradients, unroll, unroll_backward

PublicState: TypeAlias = Array | tuple[Array, Array]  # h, or (h, c) for the LSTM


@dataclass(frozen=True)
class Result:
    """What `forward` found, and what `backward` needs of it.

    The arrays given to `forward` are kept, not copied: leave them as they are until `backward`.

    Attributes
    ----------
    output : (B, T, D), D = 2*H if bidirectional and merged by "concat", else H; 0 in the padding
    state : (num_layers*directions, B, H), each row's own last state; a tuple (h, c) for the LSTM
    """

    output: Array
    state: PublicState
    runs: list[Unrolled]  # layer*directions + direction
    hidden: list[Array]  # h_t of each run, (T, B, H)
    directions: int
    merge: str
    dropout_masks: Sequence[Array] | None
    from_ids: bool

    def gates(self, layer: int = 0, reverse: bool = False) -> dict[str, Array]:
        """Every gate at every step, name -> (B, T, H); 0 in the padding.

        LSTM: input, forget, cell, output. GRU: reset, update, candidate. RNN: none.
        """
        run = self._run(layer, reverse)

        def steps(name: str) -> Array:
            return batch_first(run.in_time_order(getattr(saved, name) for saved in run.saved))

        return {name: steps(name) for name in run.cell.gate_names}

    def cells(self, layer: int = 0, reverse: bool = False) -> Array:
        """c_t of the LSTM at every step, (B, T, H); 0 in the padding."""
        run = self._run(layer, reverse)
        require(run.cell.states == 2, "cells are what an LSTM has", "another cell")
        return batch_first(run.in_time_order(c for _, c in run.states[1:]))

    def _run(self, layer: int, reverse: bool) -> Unrolled:
        layers = len(self.runs) // self.directions
        require(0 <= layer < layers, f"layer must be in [0, num_layers) = [0, {layers})", layer)
        require(int(reverse) < self.directions, "reverse needs a bidirectional layer", reverse)
        return self.runs[layer * self.directions + int(reverse)]


@dataclass(frozen=True)
class Gradients:
    """What `backward` found.

    Attributes
    ----------
    parameters : names and shapes as the parameters of `forward`
    input : as x, 0 in the padding; None for ids
    state : of the initial state, in its form
    hidden_steps : dL/dh_t, (num_layers*directions, B, T, H): of everything that h_t acts on, the
        output of its layer at step t as well as the steps after it; 0 in the padding
    cell_steps : the same for c_t, which includes what it does through h_t; None but for the LSTM
    """

    parameters: dict[str, Array]
    input: Array | None
    state: PublicState
    hidden_steps: Array
    cell_steps: Array | None


def batch_first(steps: Array) -> Array:
    """(T, B, ...) -> (B, T, ...), and the same back."""
    return np.ascontiguousarray(np.swapaxes(steps, 0, 1))


def without_padding(steps: Array, lengths: Array | None) -> Array:
    """(T, B, ...) with 0 in the padding, so that nothing there (NaN, say) can act on anything."""
    if lengths is None:
        return steps
    return np.where((np.arange(len(steps))[:, None] < lengths)[..., None], steps, 0)


def weights_of(parameters: Mapping[str, Array], name: str) -> Weights:
    """The parameters whose names end with `name`."""
    U, W, b = (parameters[f"{kind}_{name}"] for kind in ("weight_ih", "weight_hh", "bias"))
    return Weights(U, W, b, parameters.get(f"bias_hn_{name}"))


def suffix(layer: int, direction: int) -> str:
    """How the names of the parameters end: "l0", "l0_reverse", "l1", ..."""
    return f"l{layer}" + ("", "_reverse")[direction]


def public_state(states: Sequence[State]) -> PublicState:
    """One state a layer and direction -> (num_layers*directions, B, H), or a tuple of them."""
    parts = [np.stack(part) for part in zip(*states, strict=True)]
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])


def forward(
    cell: str,
    x: Array,
    parameters: Mapping[str, Array],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    merge: str = "concat",
    activation: str = "tanh",
    gate_activation: str = "sigmoid",
    lengths: Array | None = None,
    state: PublicState | None = None,
    dropout_masks: Sequence[Array] | None = None,
) -> Result:
    """Run a recurrent network over whole sequences.

    Parameters
    ----------
    cell : "rnn", "lstm", "gru" (reset before the product) or "gru_reset_after"
    x : (B, T, I) in the dtype of the parameters, or integer ids (B, T) for one-hot vectors
    parameters : name -> array, float32 or float64, as `parameter_shapes` says
    merge : "concat", "sum", "mean" or "mul" of the two directions, at every layer
    activation : φ, "tanh", "sigmoid", "relu" or "identity"
    gate_activation : σ, "sigmoid", "hard_sigmoid" or "hard_sigmoid_keras2"; RNN has none
    lengths : (B,) integers in [0, T], in any order. Padding is not read, outputs are 0 there, and
        the reverse direction starts at each row's own end
    state : (num_layers*directions, B, H), a tuple (h, c) of them for the LSTM; None is zeros
    dropout_masks : one array (B, T, D) for each layer but the last: what its output is
        multiplied with, 0 or 1/(1 - p)

    Raises
    ------
    ValueError, TypeError
        If a shape or value, or a dtype or kind, is not as above.
    """
    check_choice("cell", cell, CELLS)
    check_choice("merge", merge, MERGES)
    check_choice("activation", activation, ACTIVATIONS)
    check_choice("gate_activation", gate_activation, GATE_ACTIVATIONS)
    inputs, H, dtype = check_parameters(cell, parameters, num_layers, bidirectional, merge)
    if from_ids := np.issubdtype(np.asarray(x).dtype, np.integer):
        x = one_hot(x, inputs, dtype)
    B, T = (*np.shape(x), 0, 0)[:2]
    check_array("x", x, "(B, T, I)", (B, T, inputs), dtype)
    if lengths is not None:
        lengths = check_lengths(lengths, B, T)
    directions = 2 if bidirectional else 1
    initial = check_state("state", state, CELLS[cell], (num_layers * directions, B, H), dtype)
    if dropout_masks is not None:
        D = H * (2 if bidirectional and merge == "concat" else 1)
        check_dropout_masks(dropout_masks, num_layers, (B, T, D), dtype)
    functions = Functions(ACTIVATIONS[activation], GATE_ACTIVATIONS[gate_activation])

    runs: list[Unrolled] = []
    hidden: list[Array] = []
    steps = without_padding(np.swapaxes(x, 0, 1), lengths)
    for layer in range(num_layers):
        for direction in range(directions):
            weights = weights_of(parameters, suffix(layer, direction))
            s_0 = tuple(s[layer * directions + direction] for s in initial)
            run = unroll(CELLS[cell], weights, functions, steps, s_0, lengths, direction == 1)
            runs.append(run)
            hidden.append(run.in_time_order(s[0] for s in run.states[1:]))
        steps = MERGES[merge].function(*hidden[-2:]) if bidirectional else hidden[-1]
        if dropout_masks is not None and layer < num_layers - 1:
            steps = steps * np.swapaxes(dropout_masks[layer], 0, 1)
    final = public_state([run.states[-1] for run in runs])
    output = batch_first(steps)
    return Result(output, final, runs, hidden, directions, merge, dropout_masks, from_ids)


def backward(
    result: Result, d_output: Array | None = None, d_state: PublicState | None = None
) -> Gradients:
    """Exact gradients of a loss L, by back-propagation through time (see `unroll_backward`).

    Parameters
    ----------
    result : what `forward` returned
    d_output : dL/d output, (B, T, D); None is zeros. Not read in the padding
    d_state : dL/d final state, in its form; None is zeros

    Raises
    ------
    ValueError, TypeError
        If a shape, or a dtype or kind, is not that of the output or state.
    """
    output, runs, directions = result.output, result.runs, result.directions
    if d_output is None:
        d_output = np.zeros_like(output)
    check_array("d_output", d_output, "(B, T, D)", output.shape, output.dtype)
    cell, lengths, H = runs[0].cell, runs[0].lengths, runs[0].weights.W.shape[1]
    shape = (len(runs), len(output), H)
    d_last = check_state("d_state", d_state, cell, shape, output.dtype)

    found: list[UnrolledGradients] = []  # from the last layer to the first
    d_steps = without_padding(np.swapaxes(d_output, 0, 1), lengths)
    for layer in reversed(range(len(runs) // directions)):
        if result.dropout_masks is not None and layer < len(runs) // directions - 1:
            d_steps = d_steps * np.swapaxes(result.dropout_masks[layer], 0, 1)
        these = slice(layer * directions, (layer + 1) * directions)
        d_hidden: Sequence[Array] = [d_steps]
        if directions == 2:
            d_hidden = MERGES[result.merge].backward(d_steps, *result.hidden[these])
        gradients = [
            unroll_backward(run, d_h, tuple(d[these][k] for d in d_last))
            for k, (run, d_h) in enumerate(zip(runs[these], d_hidden, strict=True))
        ]
        d_steps = reduce(np.add, [gradient.x for gradient in gradients])
        found = gradients + found
    parameters = {
        f"{kind}_{suffix(*divmod(k, directions))}": d
        for k, gradient in enumerate(found)
        for kind, d in gradient.parameters.items()
    }
    per_step = [np.stack([batch_first(g.states[k]) for g in found]) for k in range(cell.states)]
    return Gradients(
        parameters,
        None if result.from_ids else batch_first(d_steps),
        public_state([gradient.initial for gradient in found]),
        per_step[0],
        per_step[1] if cell.states == 2 else None,
    )
