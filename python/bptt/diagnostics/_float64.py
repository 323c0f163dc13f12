"""Float64 copies of modules, without dropout.

The product of a hundred Jacobians leaves the range of float32. A copy also keeps the random
generators of the original untouched, so that diagnostics during training do not change it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.nn.decoder import Decoder
from bptt.nn.dropout import Dropout
from bptt.nn.module import Module
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential
from bptt.nn.state import STATE_TYPES, State, arrays_of, as_state

LossFunction = Callable[[FloatArray], tuple[float, FloatArray]]  # output -> loss and its gradient

_Kind = TypeVar("_Kind", bound=Module)


def float64_copy(module: _Kind, *, suffix: str = "_l0", **changed: Any) -> _Kind:
    """Return a float64 copy of a module; a recurrent layer runs without random masks.

    Parameters
    ----------
    module : Module
    suffix : str
        Suffix of the parameters in `module` that become ``..._l0`` in the copy.
    **changed
        Constructor arguments that differ from those of `module`.
    """
    copy = type(module)(**{**module.config, "dtype": "float64", **changed})
    if isinstance(copy, Recurrent):
        copy._random_masks = False
    for name in copy:
        original = name.removesuffix("_l0") + suffix if name.endswith("_l0") else name
        copy[name] = module[original].astype(np.float64)
    return copy


def float64_chain(model: Sequential) -> Sequential:
    """Return a float64 copy of a chain, without dropout and random masks."""
    modules = [float64_copy(module) for module in model.modules if not isinstance(module, Dropout)]
    return Sequential(*modules, pool=model.pool, skip_input=model.skip_input)


def decoder_chain(decoder: Decoder) -> Sequential:
    """Return the modules of a decoder without attention as a chain."""
    return Sequential(*decoder.modules.values())


def as_float64(x: Any) -> Any:
    """Return float arrays and states in float64; everything else, such as token ids, unchanged."""
    if isinstance(x, (tuple, list)):
        return as_state(*map(as_float64, x)) if len(x) in STATE_TYPES else x
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def check_recurrent(name: str, layer: Any) -> Recurrent[Any]:
    """Check that `layer` is a recurrent layer."""
    if not isinstance(layer, Recurrent):
        raise TypeError(f"{name} must be an RNN, LSTM or GRU, got {type(layer).__name__}")
    result: Recurrent[Any] = layer
    return result


def loss_gradient(loss_fn: LossFunction, output: FloatArray, dtype: np.dtype[Any]) -> FloatArray:
    """Return the gradient of a loss in float64; the loss gets the output in `dtype`."""
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be a function, got {type(loss_fn).__name__}")
    result: Any = loss_fn(output.astype(dtype))
    if not isinstance(result, tuple) or len(result) != 2:
        kind = type(result).__name__
        raise TypeError(f"loss_fn must return a pair (loss, gradient), got {kind}")
    name = "the gradient returned by loss_fn"
    gradient = checks.array(name, result[1], dtype)
    checks.same_shape(name, gradient, "the output", output.shape)
    return gradient.astype(np.float64)


def safe_norm(values: FloatArray, axis: int) -> FloatArray:
    """Return the Euclidean norm along an axis, scaled so that no square overflows or underflows."""
    largest = np.abs(values).max(axis=axis, keepdims=True, initial=0.0)
    scale = np.where(largest > 0.0, largest, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity becomes NaN
        result: FloatArray = np.sqrt(np.square(values / scale).sum(axis=axis))
        return result * scale.squeeze(axis)


def select_layers(state: State, layers: slice) -> State:
    """Return the states of some layers of a stack, or None for None."""
    if state is None:
        return None
    parts = [checks.array_of("state", part, "fiu", 3)[layers] for part in arrays_of(state)]
    return as_state(*parts)
