"""Copies in float64 and without dropout: what diagnostics look at.

The product of a hundred steps soon leaves the range of float32. A copy also leaves the generators
of the original alone, so that looking does not change what training does next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.nn.decoder import Decoder
from bptt.nn.dropout import Dropout
from bptt.nn.module import Module
from bptt.nn.recurrent import Recurrent
from bptt.nn.sequential import Sequential
from bptt.nn.state import LSTMState, State

LossFunction = Callable[[FloatArray], tuple[float, FloatArray]]

_Kind = TypeVar("_Kind", bound=Module)


def twin(module: _Kind, *, suffix: str = "_l0", **changed: Any) -> _Kind:
    """Return a copy of a module in float64; of recurrent layers, without dropout.

    Parameters
    ----------
    module : Module
    suffix : str
        Of the names of those parameters that the copy calls "..._l0".
    **changed
        Arguments of its constructor that are not those of `module`.
    """
    if isinstance(module, Recurrent):
        changed = {"dropout": 0.0, **changed}
    copy = type(module)(**{**module.config, "dtype": "float64", **changed})
    for name in copy:
        original = name.removesuffix("_l0") + suffix if name.endswith("_l0") else name
        copy[name] = module[original].astype(np.float64)
    return copy


def chain_twin(model: Sequential) -> Sequential:
    """Return a copy of a chain in float64, without dropout."""
    modules = [twin(module) for module in model.modules if not isinstance(module, Dropout)]
    return Sequential(*modules, pool=model.pool, skip_input=model.skip_input)


def decoder_chain(decoder: Decoder) -> Sequential:
    """Return a decoder without attention as a chain."""
    return Sequential(*decoder.modules.values())


def in_float64(x: Any) -> Any:
    """Return numbers in float64, and anything else, such as token ids, as it is."""
    if isinstance(x, (tuple, list)):
        return LSTMState(*map(in_float64, x)) if len(x) == 2 else x
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def check_recurrent(name: str, layer: Any) -> Recurrent[Any]:
    """Check that `layer` is a recurrent layer."""
    if not isinstance(layer, Recurrent):
        raise TypeError(f"{name} must be an RNN, LSTM or GRU, got {type(layer).__name__}")
    result: Recurrent[Any] = layer
    return result


def gradient_of(loss_of: LossFunction, output: FloatArray, dtype: np.dtype[Any]) -> FloatArray:
    """Return the gradient of a loss in float64; the loss sees the output in `dtype`."""
    if not callable(loss_of):
        raise TypeError(f"loss_of must be a function, got {type(loss_of).__name__}")
    result: Any = loss_of(output.astype(dtype))
    if not isinstance(result, tuple) or len(result) != 2:
        kind = type(result).__name__
        raise TypeError(f"loss_of must return a pair, the loss and its gradient, got {kind}")
    name = "the gradient that loss_of returns"
    gradient = checks.array(name, result[1], dtype)
    checks.same_shape(name, gradient, "the output", output.shape)
    return gradient.astype(np.float64)


def norm(values: FloatArray, axis: int) -> FloatArray:
    """Return the Euclidean norm along an axis; no square leaves the range of float64."""
    largest = np.abs(values).max(axis=axis, keepdims=True, initial=0.0)
    scale = np.where(largest > 0.0, largest, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite ones become NaN
        result: FloatArray = np.sqrt(np.square(values / scale).sum(axis=axis))
        return result * scale.squeeze(axis)


def states_of(state: State, layers: slice) -> State:
    """Return the states of some layers of a stack; None stays None."""
    if state is None:
        return None
    if isinstance(state, (tuple, list)):
        return LSTMState(*(part[layers] for part in state))
    part: NDArray[Any] = state[layers]
    return part
