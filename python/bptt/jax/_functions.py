"""Recurrent layers as functions of parameters and input.

Shapes: B batch, T steps, I input_size, H hidden_size, P size of h: of the projection of an LSTM
that has one, else H; D output_size: 2P for two directions with merge="concat", else P; L
num_layers*directions. With ``time_major=True`` every (B, T, ..) below is (T, B, ..).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bptt._core import checks
from bptt._core.lengths import lengths_of
from bptt.jax._host import Call
from bptt.jax._parameters import Params, check_array, outline_of
from bptt.jax._primitives import recurrence
from bptt.nn.recurrent import GRU, LSTM, RNN
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import arrays_of, as_state


def rnn(
    params: Params,
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    activation: str = "tanh",
    merge: str = "concat",
    time_major: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Run a `bptt.RNN` over whole sequences.

    Parameters
    ----------
    params : mapping of str to array
        Parameters, as of `params_of`: they show sizes, number of layers, directions.
    x : array (B, T, I), or (T, I); or integer array (B, T)
        Input in the dtype of the parameters, float32 or float64; or token ids in [0, I), which
        stand for one-hot vectors.
    state : array (L, B, H), optional
        Initial state, without B for an input (T, I). Zero by default.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. T by default. Not for an input (T, I).
    activation : {"tanh", "sigmoid", "relu", "identity"}, default "tanh"
        φ of `bptt.RNN`.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs of the two directions are combined.
    time_major : bool, default False
        Whether sequences are (T, B, ..) instead of (B, T, ..).

    Returns
    -------
    y : jax.Array (B, T, D), or (T, D)
        Output of the last layer; 0 in the padding.
    state : jax.Array (L, B, H)
        Final state, of the shape of the initial one: after the last step of each sequence.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If the parameters are not those of a layer, a shape does not fit, or an option is unknown.
        A length or an id out of its range is found when the kernels run: in a compiled function it
        is JAX's error, with the same sentence in it.
    """
    layer = outline_of(RNN, params, activation=activation, merge=merge, time_major=time_major)
    return run_layer(layer, params, x, state, lengths)


def lstm(
    params: Params,
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    activation: str = "tanh",
    gate_activation: str = "sigmoid",
    merge: str = "concat",
    time_major: bool = False,
) -> tuple[jax.Array, Any]:
    """Run a `bptt.LSTM` over whole sequences.

    Parameters
    ----------
    params : mapping of str to array
        Parameters, as of `params_of`: they show sizes, number of layers, directions and form
        (peepholes, coupled gates, projection, layer normalization).
    x : array (B, T, I), or (T, I); or integer array (B, T)
        Input in the dtype of the parameters, float32 or float64; or token ids in [0, I), which
        stand for one-hot vectors.
    state : pair of arrays (L, B, P) and (L, B, H), optional
        Initial state, without B for an input (T, I). Zero by default.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. T by default. Not for an input (T, I).
    activation : {"tanh", "sigmoid", "relu", "identity"}, default "tanh"
        φ of `bptt.LSTM`.
    gate_activation : {"sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"}, default "sigmoid"
        σ of `bptt.LSTM`.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs of the two directions are combined.
    time_major : bool, default False
        Whether sequences are (T, B, ..) instead of (B, T, ..).

    Returns
    -------
    y : jax.Array (B, T, D), or (T, D)
        Output of the last layer; 0 in the padding.
    state : LSTMState of jax.Arrays (L, B, P) and (L, B, H)
        Final state, of the shape of the initial one: after the last step of each sequence.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If the parameters are not those of a layer, a shape does not fit, or an option is unknown.
        A length or an id out of its range is found when the kernels run: in a compiled function it
        is JAX's error, with the same sentence in it.
    """
    layer = outline_of(
        LSTM,
        params,
        activation=activation,
        gate_activation=gate_activation,
        merge=merge,
        time_major=time_major,
    )
    return run_layer(layer, params, x, state, lengths)


def gru(
    params: Params,
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    activation: str = "tanh",
    gate_activation: str = "sigmoid",
    merge: str = "concat",
    time_major: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Run a `bptt.GRU` over whole sequences.

    Parameters
    ----------
    params : mapping of str to array
        Parameters, as of `params_of`: they show sizes, number of layers, directions and form
        (reset before or after the product, layer normalization).
    x : array (B, T, I), or (T, I); or integer array (B, T)
        Input in the dtype of the parameters, float32 or float64; or token ids in [0, I), which
        stand for one-hot vectors.
    state : array (L, B, H), optional
        Initial state, without B for an input (T, I). Zero by default.
    lengths : integer array (B,), optional
        Number of steps of each sequence, in [0, T]. T by default. Not for an input (T, I).
    activation : {"tanh", "sigmoid", "relu", "identity"}, default "tanh"
        φ of `bptt.GRU`.
    gate_activation : {"sigmoid", "hard_sigmoid", "hard_sigmoid_keras2"}, default "sigmoid"
        σ of `bptt.GRU`.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        How the outputs of the two directions are combined.
    time_major : bool, default False
        Whether sequences are (T, B, ..) instead of (B, T, ..).

    Returns
    -------
    y : jax.Array (B, T, D), or (T, D)
        Output of the last layer; 0 in the padding.
    state : jax.Array (L, B, H)
        Final state, of the shape of the initial one: after the last step of each sequence.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If the parameters are not those of a layer, a shape does not fit, or an option is unknown.
        A length or an id out of its range is found when the kernels run: in a compiled function it
        is JAX's error, with the same sentence in it.
    """
    layer = outline_of(
        GRU,
        params,
        activation=activation,
        gate_activation=gate_activation,
        merge=merge,
        time_major=time_major,
    )
    return run_layer(layer, params, x, state, lengths)


def run_layer(
    layer: Recurrent[Any], params: Params, x: Any, state: Any, lengths: Any
) -> tuple[jax.Array, Any]:
    """Run the layer of an outline, as of `outline_of`: one object for equal layers."""
    x, is_batched = _input(layer, x)
    axis, states = int(layer.time_major), _states(layer, state)
    if not is_batched:
        if lengths is not None:
            raise ValueError("lengths need x of shape (B, T, I), got (T, I)")
        x = jnp.expand_dims(x, axis)
        states = [jnp.expand_dims(part, 1) for part in states]
    batch = x.shape[axis]
    _check_states(layer, states, batch)
    counts = [] if lengths is None else [_lengths(lengths, batch, x.shape[1 - axis])]
    weights = [jnp.asarray(params[name]) for name in layer._layout.shapes]
    call = Call(layer, has_lengths=bool(counts), has_state=bool(states))
    y, *last = recurrence.bind(x, *counts, *states, *weights, call=call)
    if not is_batched:
        y, last = y.squeeze(axis), [part.squeeze(1) for part in last]
    return y, as_state(*last)


def _input(layer: Recurrent[Any], x: Any) -> tuple[jax.Array, bool]:
    """Check the input; return it, and whether it has a batch."""
    if isinstance(x, (jax.Array, np.ndarray)) and jnp.issubdtype(x.dtype, jnp.integer):
        if x.ndim != 2:
            raise ValueError(f"x of token ids must have 2 dimensions, got shape {x.shape}")
        return jnp.asarray(x), True
    x = jnp.asarray(check_array("x", x, layer.dtype))
    if x.ndim not in (2, 3):
        raise ValueError(f"x must have 2 or 3 dimensions, got shape {x.shape}")
    if x.shape[-1] != layer.input_size:
        size = layer.input_size
        raise ValueError(f"x must have input_size = {size} features, got shape {x.shape}")
    return x, x.ndim == 3


def _states(layer: Recurrent[Any], state: Any) -> list[jax.Array]:
    parts, names = arrays_of(state), layer.cell.states
    if state is not None and len(parts) != len(names):
        form = "an array" if len(names) == 1 else f"a pair ({', '.join(names)}) of arrays"
        raise TypeError(f"state must be {form}, got {type(state).__name__}")
    return [
        jnp.asarray(check_array(f"{name} of the state", part, layer.dtype))
        for name, part in zip(names, parts, strict=False)
    ]


def _check_states(layer: Recurrent[Any], states: list[jax.Array], batch: int) -> None:
    rows = layer.num_layers * (1 + layer.bidirectional)
    for part, name, size in zip(states, layer.cell.states, layer.state_sizes, strict=False):
        dimensions = [("num_layers*directions", rows), ("B", batch), ("hidden_size", size)]
        checks.shape(f"{name} of the state", part, dimensions)


def _lengths(lengths: Any, batch: int, steps: int) -> jax.Array:
    """Check lengths, and their values unless they are traced."""
    if not isinstance(lengths, jax.core.Tracer):
        return jnp.asarray(lengths_of(np.asarray(lengths), batch, steps), jnp.int32)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"lengths must be integers, got dtype {lengths.dtype}")
    checks.shape("lengths", lengths, [("B", batch)])
    return lengths
