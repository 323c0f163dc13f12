"""States of recurrent layers.

Shapes: B batch, H hidden_size. The first axis is indexed by layer*directions + direction. An h that
is projected has proj_size units instead of H.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, TypeVar

from bptt._core import checks
from bptt._core.checks import FloatArray


class LSTMState(NamedTuple):
    """State of an LSTM: two arrays (num_layers*directions, B, H)."""

    h: FloatArray
    """Hidden state, the output of the cell."""
    c: FloatArray
    """Cell state, the memory of the cell."""


State: TypeAlias = Any  # FloatArray (num_layers*directions, B, H), or LSTMState of two of them
States: TypeAlias = tuple[State, ...]  # one for each recurrent layer of a network
StateT = TypeVar("StateT", FloatArray, LSTMState)


def as_state(h: FloatArray, c: FloatArray | None = None) -> State:
    """Return the state made of a hidden state and, if the cell has one, a cell state."""
    return h if c is None else LSTMState(h, c)


def arrays_of(state: State | None) -> tuple[Any, ...]:
    """Return the arrays of a state: (h,), or (h, c) for an LSTM; () for None."""
    if state is None:
        return ()
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def as_states(name: str, value: Any, count: int) -> list[State | None]:
    """Check that `value` is a tuple of `count` states; None stands for `count` times None."""
    if value is None:
        return [None] * count
    rule = f"{name} must be a tuple of states, one for each of {count} recurrent layers"
    if isinstance(value, LSTMState) or not isinstance(value, (tuple, list)):
        raise TypeError(f"{rule}, got {type(value).__name__}")
    given = list(value)
    if len(given) != count:
        raise ValueError(f"{rule}, got {len(given)}")
    return given


def check_state(name: str, value: Any, like: State) -> None:
    """Check that `value` is None, or has the form, shapes and dtype of the state `like`."""
    if value is None:
        return
    if isinstance(like, LSTMState):
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            kind = type(value).__name__
            raise TypeError(f"{name} of an LSTM must be a pair (h, c) of arrays, got {kind}")
        for part, array, form in zip("hc", value, like, strict=True):
            check_state(f"{name}.{part}", array, form)
        return
    checks.array(name, value, like.dtype)
    checks.same_shape(name, value, "the state", like.shape)
