"""Parameters as a dict of arrays of JAX, and the layers that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from bptt._core import checks
from bptt.nn.recurrent import GRU, LSTM, RNN
from bptt.nn.recurrent_base import Recurrent

Params = Mapping[str, Any]

_Layer = TypeVar("_Layer", RNN, LSTM, GRU)
_KINDS = (RNN, LSTM, GRU)
_ABSENT = {"zoneout": 0.0, "learn_initial_state": False, "decay_size": 0}


def params_of(layer: RNN | LSTM | GRU) -> dict[str, jax.Array]:
    """Return the parameters of a layer, such as the initial ones of a new layer.

    Options are not among them: `activation`, `gate_activation`, `merge` and `time_major` are
    arguments of the functions.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        The layer, of any sizes and form; dropout, which acts in training alone, has no effect.

    Returns
    -------
    dict of str to jax.Array
        Name -> a copy of the parameter.

    Raises
    ------
    TypeError
        If `layer` is not one of these layers, or is of float64 without ``jax_enable_x64``.
    ValueError
        If it has `zoneout`, `learn_initial_state` or `decay_size`, which the functions do not have.
    """
    checks.instance("layer", layer, *_KINDS)
    for name, default in _ABSENT.items():
        value = layer.config.get(name, default)
        if value != default:
            raise ValueError(f"layer must have {name}={default} for bptt.jax, got {value}")
    if layer.dtype == np.float64 and not jax.config.jax_enable_x64:
        raise TypeError(
            "layer must have dtype float32, got float64: "
            'use jax.config.update("jax_enable_x64", True) for float64'
        )
    return {name: jnp.array(value) for name, value in layer.parameters.items()}


def from_params(kind: type[_Layer], params: Params, **options: Any) -> _Layer:
    """Return a layer with these parameters.

    Parameters
    ----------
    kind : type
        `bptt.RNN`, `bptt.LSTM` or `bptt.GRU`.
    params : mapping of str to array
        Name -> parameter, as of `params_of`.
    **options
        Further arguments of the layer, such as `activation` or `dropout`.

    Returns
    -------
    RNN, LSTM or GRU
        Of the sizes, directions, form and dtype that the parameters show.

    Raises
    ------
    TypeError, ValueError
        If `kind` is not one of these classes, the parameters are not those of a layer, or an option
        is wrong.
    """
    if kind not in _KINDS:
        raise TypeError(
            f"kind must be bptt.RNN, LSTM or GRU, got {getattr(kind, '__name__', kind)}"
        )
    config = _config(kind, params)
    for name in options:
        if name in config:
            raise ValueError(f"{name} is shown by the parameters: leave it out")
    outline_of(kind, params)
    parameters = {name: np.asarray(value) for name, value in params.items()}
    found: Any = kind._with_parameters({**config, **options}, parameters.__getitem__)
    layer: _Layer = found
    return layer


def outline_of(kind: Any, params: Params, **options: Any) -> Recurrent[Any]:
    """Return the layer of these parameters, without values; check names, dtypes and shapes.

    Equal layers are one object, as JAX compiles a function for each.
    """
    config = _config(kind, params) | options
    layer: Recurrent[Any] = _outline(kind, tuple(config.items()))
    shapes = layer._layout.shapes
    if set(params) != set(shapes):
        raise ValueError(f"params must hold {', '.join(shapes)}, got {', '.join(map(str, params))}")
    for name, shape in shapes.items():
        check_array(f"params[{name!r}]", params[name], layer.dtype)
        checks.shape(f"params[{name!r}]", params[name], shape)
    return layer


@lru_cache(maxsize=256)
def _outline(kind: Any, config: tuple[tuple[str, Any], ...]) -> Any:
    return kind._outline(dict(config))


def _config(kind: Any, params: Params) -> dict[str, Any]:
    """Return the arguments of a layer that its parameters show."""
    checks.fields("params", params, "weight_ih_l0", "weight_hh_l0")
    ih, hh = (_matrix(name, params) for name in ("weight_ih_l0", "weight_hh_l0"))
    projection = _matrix("weight_hr_l0", params) if "weight_hr_l0" in params else None
    hidden_size = (hh if projection is None else projection).shape[1]
    config = {
        "input_size": ih.shape[1],
        "hidden_size": hidden_size,
        "num_layers": sum(f"weight_ih_l{layer}" in params for layer in range(len(params))),
        "bidirectional": "weight_ih_l0_reverse" in params,
        "dtype": str(ih.dtype),
    }
    if kind is LSTM:
        config["peephole"] = "peephole_forget_l0" in params
        config["coupled"] = ih.shape[0] == 3 * hidden_size
        config["proj_size"] = 0 if projection is None else projection.shape[0]
    if kind is GRU:
        config["reset_after"] = "bias_hn_l0" in params
    if kind is not RNN:
        config["layer_norm"] = "gain_ih_l0" in params
    return config


def _matrix(name: str, params: Params) -> Any:
    value = check_array(f"params[{name!r}]", params[name])
    if value.ndim != 2:
        raise ValueError(f"params[{name!r}] must have 2 dimensions, got shape {value.shape}")
    return value


def check_array(name: str, value: Any, dtype: Any = None) -> Any:
    """Check that `value` is an array of `dtype`, or else of float32 or float64."""
    if not isinstance(value, (jax.Array, np.ndarray)):
        raise TypeError(f"{name} must be an array of JAX or NumPy, got {type(value).__name__}")
    known = ("float32", "float64") if dtype is None else (str(dtype),)
    if str(value.dtype) not in known:
        as_others = "" if dtype is None else " as the parameters"
        raise TypeError(
            f"{name} must have dtype {' or '.join(known)}{as_others}, got {value.dtype}"
        )
    return value
