"""Layers: directions and their merge, dropout, stacking; `forward` and `backward`."""

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
    check_zoneout_masks,
    decay_names,
    initial_names,
    require,
)
from .cells import CELLS
from .cells.cell import Cell, Functions, State, Weights
from .decay import hidden_decay, hidden_decay_backward
from .head import one_hot
from .merges import MERGES
from .unroll import Unrolled, UnrolledGradients, state_sizes, unroll, unroll_backward

PublicState: TypeAlias = Array | tuple[Array, ...]  # h, (h, c) for the LSTM, or (h, c, n, m)


@dataclass(frozen=True)
class Result:
    """Result of `forward`, with the values that `backward` needs.

    The arguments of `forward` are kept, not copied: they must not change before `backward`.

    Attributes
    ----------
    output : array (B, T, D)
        D = 2*P if bidirectional with merge "concat", else P, with P = H without a projection; 0 in
        the padding.
    state : array (num_layers*directions, B, H), or a tuple: (h, c) for the LSTM
        State after the last step of each sequence; h has P units instead of H if it is projected.
    runs : list of Unrolled
        Forward pass of each layer and direction, at index layer*directions + direction.
    hidden : list of arrays (T, B, P)
        h_t of each of them.
    directions : int
        1 or 2.
    merge : str
        Combination of the two directions.
    dropout_masks : sequence of arrays (B, T, D), or None
        As given to `forward`.
    from_ids : bool
        Whether x was integer ids.
    learned : list of list of str
        Names of the learned initial states: of h, and of c for the LSTM; [] if there are none.
    starts_learned : bool
        Whether the initial state was the learned one.
    times : array (T, B, D), or None
        The last features, by which h of layer 0 decays; 0 in the padding.
    decay : list of tuple of arrays
        V and b of the decay, for each direction; [] if there is none.
    """

    output: Array
    state: PublicState
    runs: list[Unrolled]  # layer*directions + direction
    hidden: list[Array]  # h_t of each run, (T, B, P)
    directions: int
    merge: str
    dropout_masks: Sequence[Array] | None
    from_ids: bool
    learned: list[list[str]]
    starts_learned: bool
    times: Array | None
    decay: list[tuple[Array, Array]]

    def gates(self, layer: int = 0, reverse: bool = False) -> dict[str, Array]:
        """Return the gates of one layer and direction at every step.

        Parameters
        ----------
        layer : int, default 0
            Index of the layer.
        reverse : bool, default False
            Whether to return those of the reverse direction.

        Returns
        -------
        dict of str to array (B, T, H)
            LSTM: input, forget, cell, output. GRU: reset, update, candidate. RNN: none. 0 in the
            padding.

        Raises
        ------
        ValueError
            If there is no such layer or direction.
        """
        run = self._run(layer, reverse)

        def steps(name: str) -> Array:
            values = (getattr(saved, name) for saved in run.saved)
            return batch_first(run.in_time_order(values, run.hidden_size))

        return {name: steps(name) for name in run.cell.gate_names}

    def cells(self, layer: int = 0, reverse: bool = False) -> Array:
        """Return the cell state of one layer and direction at every step.

        Parameters
        ----------
        layer : int, default 0
            Index of the layer.
        reverse : bool, default False
            Whether to return that of the reverse direction.

        Returns
        -------
        array (B, T, H)
            c_t; 0 in the padding.

        Raises
        ------
        ValueError
            If the cell has no cell state, or there is no such layer or direction.
        """
        run = self._run(layer, reverse)
        require(run.cell.states > 1, "cells needs an LSTM", "another cell")
        return batch_first(run.in_time_order((s[1] for s in run.states[1:]), run.hidden_size))

    def _run(self, layer: int, reverse: bool) -> Unrolled:
        layers = len(self.runs) // self.directions
        require(0 <= layer < layers, f"layer must be in [0, num_layers) = [0, {layers})", layer)
        require(int(reverse) < self.directions, "reverse needs a bidirectional layer", reverse)
        return self.runs[layer * self.directions + int(reverse)]


@dataclass(frozen=True)
class Gradients:
    """Gradients of a loss L, as `backward` returns them.

    Attributes
    ----------
    parameters : dict of str to array
        Gradients of the parameters, by name.
    input : array (B, T, I), or None for ids
        Gradient of x; 0 in the padding.
    state : array (num_layers*directions, B, H), or a tuple: (h, c) for the LSTM
        Gradient of the initial state.
    hidden_steps : array (num_layers*directions, B, T, P)
        Total gradients dL/dh_t: through the output of step t and through the later steps; 0 in the
        padding.
    cell_steps : array (num_layers*directions, B, T, H), or None
        Total gradients dL/dc_t, those through h_t included; None for cells other than the LSTM.
    """

    parameters: dict[str, Array]
    input: Array | None
    state: PublicState
    hidden_steps: Array
    cell_steps: Array | None


def batch_first(steps: Array) -> Array:
    """Swap the first two axes: (T, B, ...) -> (B, T, ...)."""
    return np.ascontiguousarray(np.swapaxes(steps, 0, 1))


def without_padding(steps: Array, lengths: Array | None) -> Array:
    """Return (T, B, ...) with 0 in the padding, so that values there (NaN) have no effect."""
    if lengths is None:
        return steps
    return np.where((np.arange(len(steps))[:, None] < lengths)[..., None], steps, 0)


def weights_of(cell: Cell, parameters: Mapping[str, Array], name: str) -> Weights:
    """Return the parameters of one layer and direction, whose names end with `name`."""
    U, W, b = (parameters[f"{kind}_{name}"] for kind in ("weight_ih", "weight_hh", "bias"))
    further = (*cell.gate_parameters, *cell.extra_parameters)
    extra = {kind: parameters[f"{kind}_{name}"] for kind in further}
    return Weights(U, W, b, extra, parameters.get(f"weight_hr_{name}"))


def suffix(layer: int, direction: int) -> str:
    """Return the end of the names of parameters: "l0", "l0_reverse", "l1", ..."""
    return f"l{layer}" + ("", "_reverse")[direction]


def public_state(states: Sequence[State]) -> PublicState:
    """Stack the states of all layers and directions: (num_layers*directions, B, H), or a tuple."""
    parts = tuple(np.stack(part) for part in zip(*states, strict=True))
    return parts[0] if len(parts) == 1 else parts


def forward(
    cell: str,
    x: Array,
    parameters: Mapping[str, Array],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    reverse: bool = False,
    merge: str = "concat",
    activation: str = "tanh",
    gate_activation: str = "sigmoid",
    lengths: Array | None = None,
    state: PublicState | None = None,
    dropout_masks: Sequence[Array] | None = None,
    zoneout_masks: Sequence[Sequence[Array]] | None = None,
) -> Result:
    """Run a recurrent network over whole sequences.

    Parameters
    ----------
    cell : str
        A key of `CELLS`. "gru" has the reset gate before the product, "gru_reset_after" after it.
    x : array (B, T, I), or integer array (B, T)
        Input in the dtype of the parameters, or ids of one-hot vectors.
    parameters : mapping of str to array
        float32, float64 or longdouble, with the names and shapes of `parameter_shapes`, with or
        without learned initial states. With ``weight_hr_l{l}`` h is projected to P units, and with
        ``weight_decay_l0`` (H, D) that of layer 0 decays by the last D features of x.
    num_layers : int, default 1
        Number of stacked layers.
    bidirectional : bool, default False
        Whether every layer has a reverse direction.
    reverse : bool, default False
        Whether every layer has the reverse direction alone.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        Combination of the two directions of every layer.
    activation : {"tanh", "sigmoid", "relu", "identity"}, default "tanh"
        φ.
    gate_activation : {"sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"}, default "sigmoid"
        σ; ignored by "rnn".
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T], in any order. Padding is not read, outputs are
        0 there, and the reverse direction starts at the last step of each sequence. T by default.
    state : array (num_layers*directions, B, H), or a tuple: (h, c) for the LSTM, optional
        Initial state, h with P units if it is projected. By default the learned one, if the
        parameters have it, else zero.
    dropout_masks : sequence of arrays (B, T, D), optional
        One for each layer but the last, whose output it multiplies: 0 or 1/(1 - rate).
    zoneout_masks : sequence of tuples of arrays (B, T, H), optional
        One tuple for each layer and direction, at index layer*directions + direction, of one array
        for h, with P units if it is projected, and with a cell state one for all other arrays of
        the state: 0 where an element keeps its previous value, 1 where not; or the fraction by
        which it is updated.

    Returns
    -------
    Result

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or value.
    """
    check_choice("cell", cell, CELLS)
    check_choice("merge", merge, MERGES)
    check_choice("activation", activation, ACTIVATIONS)
    check_choice("gate_activation", gate_activation, GATE_ACTIVATIONS)
    require(not (reverse and bidirectional), "reverse needs bidirectional=False", bidirectional)
    inputs, dtype = check_parameters(cell, parameters, num_layers, bidirectional, merge)
    sizes = state_sizes(CELLS[cell], weights_of(CELLS[cell], parameters, suffix(0, 0)))
    if from_ids := np.issubdtype(np.asarray(x).dtype, np.integer):
        x = one_hot(x, inputs, dtype)
    B, T = (*np.shape(x), 0, 0)[:2]
    check_array("x", x, "(B, T, I)", (B, T, inputs), dtype)
    if lengths is not None:
        lengths = check_lengths(lengths, B, T)
    directions = 2 if bidirectional else 1
    initial = check_state("state", state, (num_layers * directions, B), sizes, dtype)
    learned = initial_names(cell, num_layers, bidirectional) if "h0_l0" in parameters else []
    if state is None and learned:
        initial = tuple(
            np.repeat(np.stack([parameters[name] for name in names])[:, None], B, axis=1)
            for names in learned
        )
        if len(sizes) == 4:  # n = 1 and m = 0: as if c were one input
            initial = (*initial, np.ones_like(initial[1]), np.zeros_like(initial[1]))
    if dropout_masks is not None:
        D = sizes[0] * (2 if bidirectional and merge == "concat" else 1)
        check_dropout_masks(dropout_masks, num_layers, (B, T, D), dtype)
    if zoneout_masks is not None:
        check_zoneout_masks(zoneout_masks, num_layers * directions, (B, T), sizes[:2], dtype)
    functions = Functions(ACTIVATIONS[activation], GATE_ACTIVATIONS[gate_activation])

    runs: list[Unrolled] = []
    hidden: list[Array] = []
    steps = without_padding(np.swapaxes(x, 0, 1), lengths)
    times: Array | None = None
    decay: list[tuple[Array, Array]] = []
    if "weight_decay_l0" in parameters:
        pairs = zip(*decay_names(bidirectional), strict=True)
        decay = [(parameters[V], parameters[b]) for V, b in pairs]
        steps, times = np.split(steps, [inputs - decay[0][0].shape[1]], axis=2)
    for layer in range(num_layers):
        for direction in range(directions):
            weights = weights_of(CELLS[cell], parameters, suffix(layer, direction))
            s_0 = tuple(s[layer * directions + direction] for s in initial)
            updates = None
            if zoneout_masks is not None:
                masks = zoneout_masks[layer * directions + direction]
                updates = [np.swapaxes(mask, 0, 1) for mask in masks]
            gamma = None
            if times is not None and layer == 0:
                gamma = hidden_decay(times, *decay[direction])
            of_call = (lengths, reverse or direction == 1, updates, gamma)
            run = unroll(CELLS[cell], weights, functions, steps, s_0, *of_call)
            runs.append(run)
            hidden.append(run.in_time_order((s[0] for s in run.states[1:]), sizes[0]))
        steps = MERGES[merge].function(*hidden[-2:]) if bidirectional else hidden[-1]
        if dropout_masks is not None and layer < num_layers - 1:
            steps = steps * np.swapaxes(dropout_masks[layer], 0, 1)
    final = public_state([run.states[-1] for run in runs])
    output = batch_first(steps)
    return Result(
        output,
        final,
        runs,
        hidden,
        directions,
        merge,
        dropout_masks,
        from_ids,
        learned,
        state is None and bool(learned),
        times,
        decay,
    )


def backward(
    result: Result, d_output: Array | None = None, d_state: PublicState | None = None
) -> Gradients:
    """Return the exact gradients of a loss L, by backpropagation through time.

    Parameters
    ----------
    result : Result
        Result of `forward`.
    d_output : array (B, T, D), optional
        dL/d output. Padding is not read. Zero by default.
    d_state : array (num_layers*directions, B, H), or a tuple: (h, c) for the LSTM, optional
        dL/d final state, h with P units if it is projected. Zero by default.

    Returns
    -------
    Gradients

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or shape.
    """
    output, runs, directions = result.output, result.runs, result.directions
    if d_output is None:
        d_output = np.zeros_like(output)
    check_array("d_output", d_output, "(B, T, D)", output.shape, output.dtype)
    cell, lengths = runs[0].cell, runs[0].lengths
    d_last = check_state("d_state", d_state, (len(runs), len(output)), runs[0].sizes, output.dtype)

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
    for part, names in enumerate(result.learned):  # all sequences of the batch share them
        for name, gradient in zip(names, found, strict=True):
            total = gradient.initial[part].sum(axis=0)
            parameters[name] = total if result.starts_learned else np.zeros_like(total)
    if result.times is not None:
        d_decay = [
            hidden_decay_backward(result.times, *of_direction, gradient.decay)
            for of_direction, gradient in zip(result.decay, found, strict=False)
        ]
        for kind, names in enumerate(decay_names(directions == 2), start=1):
            parameters |= {name: d[kind] for name, d in zip(names, d_decay, strict=True)}
        d_steps = np.concatenate([d_steps, sum(d[0] for d in d_decay)], axis=2)
    per_step = [np.stack([batch_first(g.states[k]) for g in found]) for k in range(cell.states)]
    return Gradients(
        parameters,
        None if result.from_ids else batch_first(d_steps),
        public_state([gradient.initial for gradient in found]),
        per_step[0],
        per_step[1] if cell.states > 1 else None,
    )
