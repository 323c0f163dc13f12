"""Calls of the kernels from compiled programs of JAX, which give NumPy arrays and take them.

Nothing here may call JAX: it could wait for the thread that waits for the call.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core import loader
from bptt._core.checks import FloatArray
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import as_state


class Operands(NamedTuple):
    """The arrays of a call, or what belongs to each of them."""

    x: Any
    lengths: Any | None
    state: tuple[Any, ...]
    """The arrays of the initial state; () for zero."""
    weights: tuple[Any, ...]
    """The parameters, in the order of the layer."""
    others: tuple[Any, ...] = ()
    """For backward: the output, the key of what forward kept, the gradients of the results."""


class Call(NamedTuple):
    """What is known of a call when it is traced."""

    layer: Recurrent[Any]
    """Outline of the layer: its arguments and the shapes of its parameters."""
    has_lengths: bool
    has_state: bool
    wants_input: bool = False
    """Whether backward returns the gradient of the input."""

    @property
    def num_states(self) -> int:
        """Number of arrays of a state."""
        return len(self.layer.cell.states)

    @property
    def batch_axis(self) -> int:
        """Axis of the sequences in input and output."""
        return int(self.layer.time_major)

    def operands(self, values: Sequence[Any]) -> Operands:
        """Return the parts of a flat sequence of operands."""
        x, *rest = values
        lengths = rest.pop(0) if self.has_lengths else None
        states = self.num_states * self.has_state
        weights = states + len(self.layer._layout.shapes)
        return Operands(
            x, lengths, tuple(rest[:states]), tuple(rest[states:weights]), tuple(rest[weights:])
        )


def infer(call: Call, *values: NDArray[Any]) -> list[FloatArray]:
    """Run over whole sequences: output, then the arrays of the final state."""
    x, lengths, state, weights, _ = call.operands(values)
    network = _pack(call, weights, False)
    y, last = loader.kernels.infer(network, x, lengths, _state(state))
    return [y, *last]


def forward(call: Call, *values: NDArray[Any]) -> list[NDArray[Any]]:
    """Do the same as `infer`, and keep what backward needs: the last result is its key."""
    network, y, last, saved = _forward(call, values)
    return [y, *last, _kept.add(network, saved)]


def backward(call: Call, *values: NDArray[Any]) -> list[FloatArray]:
    """Run backward: gradients of the input, if wanted, of state and parameters."""
    x, _, state, _, (y, key, d_y, *d_last) = call.operands(values)
    found = _kept.take(key)
    if found is None:
        network, _, _, saved = _forward(call, values)
    else:
        network, saved = found
    d_x, d_state, flat, *_ = loader.kernels.backward(
        network, saved, x, y, d_y, _state(d_last), False, call.wants_input
    )
    d_input = [] if d_x is None else [d_x]
    return [*d_input, *d_state[: len(state)], *call.layer._layout.views(flat).values()]


class _Kept:
    """What forward passes have kept, by keys that are unique among all processes.

    Backward may never come, as after a `jax.vjp` that is not called, or come twice: the oldest are
    forgotten, and each is handed out once. Backward runs forward again where it finds nothing.
    """

    _most = 16

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[bytes, tuple[Any, Any]] = OrderedDict()

    def add(self, network: Any, saved: Any) -> NDArray[np.uint32]:
        """Keep packed weights and saved values; return their key, of 4 elements."""
        key = os.urandom(16)
        with self._lock:
            self._found[key] = (network, saved)
            if len(self._found) > self._most:
                self._found.popitem(last=False)
        return np.frombuffer(key, np.uint32)

    def take(self, key: NDArray[np.uint32]) -> tuple[Any, Any] | None:
        """Return what is kept for a key, if it still is, and forget it."""
        with self._lock:
            return self._found.pop(key.tobytes(), None)


_kept = _Kept()


def _forward(call: Call, values: Sequence[NDArray[Any]]) -> tuple[Any, Any, Any, Any]:
    """Return the packed weights, output, final state and saved values of a forward pass."""
    x, lengths, state, weights, _ = call.operands(values)
    network = _pack(call, weights, True)
    return network, *loader.kernels.forward(network, x, lengths, _state(state), None, 0)


def _pack(call: Call, weights: Sequence[FloatArray], training: bool) -> Any:
    flat = np.concatenate([part.ravel() for part in weights])
    return loader.kernels.pack(call.layer._kernel_config, flat, training)


def _state(arrays: Sequence[FloatArray]) -> Any:
    return as_state(*arrays) if arrays else None
