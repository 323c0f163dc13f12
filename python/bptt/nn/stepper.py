"""A stream of steps through one layer, with buffers that stay where they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt.nn.state import State, States, StateT, arrays_of, as_state, as_states, check_state

if TYPE_CHECKING:
    from types import ModuleType


class Stepper(Generic[StateT]):
    """A stream through one layer, step by step: ``y_t = stepper(x_t)``.

    It is made by `Recurrent.stepper`. It keeps the state, in buffers that every step overwrites,
    and takes less time than `Recurrent.step`, with the same results, bit for bit. Parameters of the
    layer may change between steps: the next step uses the new ones.

    ``stepper(x_t)`` takes an array (B, input_size), or integers (B,) as token ids, and returns the
    output (B, output_size): **the same array each time**, which the next step overwrites; copy what
    is to be kept. It raises TypeError and ValueError as `Recurrent.step` does, and RuntimeError if
    another thread is in a step of the same stepper: a stream is one sequence.

    Attributes
    ----------
    batch : int
        B, the number of sequences that take each step.
    state : array, LSTMState or SLSTMState, (num_layers, B, hidden_size)
        A copy of the state after the last step.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import LSTM
    >>> stepper = LSTM(3, 8, seed=0).stepper()
    >>> for x_t in np.ones((5, 1, 3), np.float32):
    ...     y_t = stepper(x_t)
    >>> y_t.shape
    (1, 8)
    >>> stepper.reset()  # the next step begins a new sequence
    """

    __slots__ = ()

    if TYPE_CHECKING:  # of the kernels' class, the other base of each stepper's own
        _layer: Any  # the Recurrent
        _y: FloatArray
        _buffers: StateT

        def __call__(self, x_t: NDArray[Any]) -> FloatArray:
            """Run a step."""

        def _bind(self, version: object, network: object, /) -> None: ...

    def __new__(cls, *arguments: Any) -> Any:
        """Return a stepper of the class that `make_stepper` takes."""
        if cls is Stepper:
            raise TypeError("a stepper is made by the method stepper of a layer")
        return super().__new__(cls)

    @property
    def batch(self) -> int:
        """B, the number of sequences that take each step."""
        return len(self._y)

    @property
    def state(self) -> StateT:
        """A copy of the state after the last step, each array (num_layers, B, hidden_size)."""
        state: StateT = as_state(*map(np.copy, arrays_of(self._buffers)))
        return state

    def reset(self, state: StateT | None = None) -> None:
        """Begin a new sequence.

        Parameters
        ----------
        state : array, LSTMState or SLSTMState, (num_layers, B, hidden_size), optional
            State before the next step, such as an earlier `state`; it is copied. By default the
            initial state: zero, or the learned one.

        Raises
        ------
        TypeError
            If the state has the wrong type or dtype.
        ValueError
            If its shape does not fit.
        """
        initial = self._layer._initial_state(self.batch)
        check_state("state", state, initial)
        given = initial if state is None else state
        for buffer, part in zip(arrays_of(self._buffers), arrays_of(given), strict=True):
            buffer[...] = part

    def _general(self, x_t: Any) -> FloatArray:
        """Run a step of any input, with the current parameters; the fast path is in C++."""
        layer = self._layer
        packed = layer._current(False)
        if packed.decay is None:
            self._bind(packed.version, packed.network)
        axes = 1 if isinstance(x_t, np.ndarray) and x_t.dtype.kind in "iu" else 2
        if isinstance(x_t, np.ndarray) and x_t.ndim == axes and len(x_t) != self.batch:
            rule = f"x_t must have the batch of the stepper, {self.batch}"
            raise ValueError(f"{rule}, got an array of shape {x_t.shape}")
        layer.step(x_t, self._buffers, out=(self._y, self._buffers))
        return self._y

    def __reduce__(self) -> Any:
        raise TypeError("a stepper cannot be copied or pickled: save its state")


@cache
def _class_of(kernels: ModuleType) -> Any:
    """Return the class with the call of an instruction set's kernels."""
    members = {"__slots__": (), "__doc__": Stepper.__doc__}
    return type("Stepper", (Stepper, kernels.Stepper), members)


def make_stepper(layer: Any, batch: int) -> Any:
    """Return a stepper of a `Recurrent`, with buffers for `batch` rows."""
    numbers = batch * (layer.output_size + layer.num_layers * sum(layer.state_sizes))
    if numbers * layer.dtype.itemsize > sys.maxsize:
        raise ValueError(f"the buffers of a stepper must fit into memory, got {batch = }")
    initial = layer._initial_state(batch)
    state = as_state(*map(np.ascontiguousarray, arrays_of(initial)))
    memory = np.zeros((batch, layer.output_size), layer.dtype)
    # A view of y: it cannot be resized.
    return _class_of(loader.kernels)(layer, memory[:], state)


class SequentialStepper:
    """A stream through a chain of modules, step by step: ``y_t = stepper(x_t)``.

    It is made by `Sequential.stepper`, and keeps the states of the recurrent layers, in a `Stepper`
    for each. Arrays, results and errors are those of `Sequential.step`. The output may be an array
    that the next step overwrites: copy what is to be kept.

    Attributes
    ----------
    state : tuple of states
        Copies of the states of the recurrent layers after the last step.
    """

    def __init__(self, parts: Sequence[Callable[[Any], FloatArray]]) -> None:
        self._parts = tuple(parts)
        self._steppers = [part for part in parts if isinstance(part, Stepper)]

    def __call__(self, x_t: NDArray[Any]) -> FloatArray:
        """Run a step.

        Parameters
        ----------
        x_t : array (B, features), or integer array (B,)
            Input of the step, or token ids.

        Returns
        -------
        array (B, K)
            Output of the last module.

        Raises
        ------
        TypeError
            If the input has the wrong type or dtype.
        ValueError
            If its shape does not fit, or an id is out of its range.
        """
        value = checks.numpy_array("x_t", x_t, layer=True)
        for part in self._parts:
            value = part(value)
        return value

    @property
    def state(self) -> States:
        """Copies of the states of the recurrent layers after the last step."""
        return tuple(stepper.state for stepper in self._steppers)

    def reset(self, state: Sequence[State | None] | None = None) -> None:
        """Begin a new sequence.

        Parameters
        ----------
        state : tuple of states, optional
            States before the next step, such as an earlier `state`; they are copied. Initial states
            by default, and for each None.

        Raises
        ------
        TypeError
            If a state has the wrong type or dtype.
        ValueError
            If their number or a shape does not fit.
        """
        states = as_states("state", state, len(self._steppers))
        for stepper, given in zip(self._steppers, states, strict=True):
            check_state("state", given, stepper._buffers)
        for stepper, given in zip(self._steppers, states, strict=True):
            stepper.reset(given)
