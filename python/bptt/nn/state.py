"""States of recurrent layers.

Shapes: B batch, H hidden_size. The first axis is indexed by layer*directions + direction. An h that
is projected has proj_size units instead of H.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray


class LSTMState(NamedTuple):
    """State of an LSTM: two arrays (num_layers*directions, B, H)."""

    h: FloatArray
    """Hidden state, the output of the cell."""
    c: FloatArray
    """Cell state, the memory of the cell."""


class SLSTMState(NamedTuple):
    """State of an SLSTM: four arrays (num_layers*directions, B, H).

    The memory is c·exp(m) and n·exp(m). With n <= 0 it holds nothing yet, whatever c and m are.
    """

    h: FloatArray
    """Hidden state, the output of the cell."""
    c: FloatArray
    """Cell state: the weighted sum of the cell's inputs."""
    n: FloatArray
    """Normalizer: the sum of their weights."""
    m: FloatArray
    """Stabilizer: the logarithm of the scale of c and n."""


State: TypeAlias = Any  # FloatArray (num_layers*directions, B, H), or a named tuple of them
States: TypeAlias = tuple[State, ...]  # one for each recurrent layer of a network
StateT = TypeVar("StateT", FloatArray, LSTMState, SLSTMState)

STATE_TYPES: Mapping[int, type[LSTMState | SLSTMState]] = {2: LSTMState, 4: SLSTMState}
"""Number of arrays -> class of the state, where there are several."""


def as_state(*arrays: Any) -> State:
    """Return the state of these arrays, h first: the one, or a named tuple."""
    if len(arrays) == 1:
        return arrays[0]
    kind = STATE_TYPES.get(len(arrays))
    return arrays if kind is None else kind(*arrays)


def state_of_mapped(mapped: Sequence[FloatArray], count: int, n: float = 1.0) -> State:
    """Return the state of `count` arrays of which the first are these: else n, and m = 0.

    With n = 1, an SLSTM begins as if c were one input.
    """
    if len(mapped) == count:
        return as_state(*mapped)
    return as_state(*mapped, np.full_like(mapped[0], n), np.zeros_like(mapped[0]))


def arrays_of(state: State | None) -> tuple[Any, ...]:
    """Return the arrays of a state, such as (h,), or (h, c) for an LSTM; () for None."""
    if state is None:
        return ()
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def broadcast_state(state: Any, batch_size: int) -> Any:
    """Return a state in which arrays of batch 1 are repeated, for the kernels, which check it."""
    parts = state if isinstance(state, (tuple, list)) else (state,)
    found = [
        np.repeat(part, batch_size, axis=1)
        if isinstance(part, np.ndarray) and part.ndim == 3 and part.shape[1] == 1 != batch_size
        else part
        for part in parts
    ]
    if all(part is same for part, same in zip(found, parts, strict=True)):
        return state  # whatever it is
    return tuple(found) if parts is state else found[0]


def are_shared(state: Any) -> tuple[bool, ...]:
    """Return which arrays of a state have batch 1; () for None."""
    return tuple(part is not None and part.shape[1] == 1 for part in arrays_of(state))


def join_states(state: State) -> FloatArray:
    """Return the states (1, R, H) of a layer as one array (R, S)."""
    if isinstance(state, (tuple, list)):
        joined: FloatArray = np.concatenate([part[0] for part in state], axis=-1)
        return joined
    rows: FloatArray = state[0]
    return rows


def split_states(joined: FloatArray, sizes: Sequence[int]) -> State:
    """Return states (R, S), joined by `join_states`, in the form that a layer takes."""
    ends = np.cumsum(sizes)[:-1]
    return as_state(*np.split(joined[np.newaxis], ends, axis=-1))


def as_states(name: str, value: Any, count: int) -> list[State | None]:
    """Check that `value` is a tuple of `count` states; None stands for `count` times None."""
    if value is None:
        return [None] * count
    rule = f"{name} must be a tuple of states, one for each of {count} recurrent layers"
    if isinstance(value, (LSTMState, SLSTMState)) or not isinstance(value, (tuple, list)):
        raise TypeError(f"{rule}, got {type(value).__name__}")
    given = list(value)
    if len(given) != count:
        raise ValueError(f"{rule}, got {len(given)}")
    return given


def check_state(name: str, value: Any, like: State) -> None:
    """Check that `value` is None, or has the form, shapes and dtype of the state `like`."""
    if value is None:
        return
    if isinstance(like, (LSTMState, SLSTMState)):
        if not isinstance(value, (tuple, list)) or len(value) != len(like):
            form = "LSTM must be a pair" if len(like) == 2 else "SLSTM must be a tuple"
            names, kind = ", ".join(like._fields), type(value).__name__
            raise TypeError(f"{name} of an {form} ({names}) of arrays, got {kind}")
        for part, array, like_part in zip(like._fields, value, like, strict=True):
            check_state(f"{name}.{part}", array, like_part)
        return
    checks.array(name, value, like.dtype)
    checks.same_shape(name, value, "the state", like.shape)
