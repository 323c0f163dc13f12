"""Files of online estimators: one safetensors file each, as of the other estimators.

Tensors: the parameters of the network, the state of the optimizer, the state along the stream with
what the next gradient needs of its past, and the running moments. The header holds, as JSON, the
class, the parameters, the names of the features and the classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.tensor_files import checked_metadata, write_file
from bptt.estimators._persistence import FORMAT, plain
from bptt.nn.module import Module
from bptt.training._checkpoint import generator_state

Arrays = dict[str, NDArray[Any]]


def write_online(
    estimator: Any, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None
) -> None:
    """Write an estimator to a file; see `OnlineEstimator.save`."""
    metadata = checked_metadata(metadata)
    if callable(estimator.optimizer):
        raise TypeError("save needs an optimizer given by name, got a function")
    parameters = {name: plain(value) for name, value in estimator.get_params().items()}
    parameters["dtype"] = checks.dtype("dtype", estimator.dtype).name
    if not isinstance(parameters["random_state"], int):
        parameters["random_state"] = None
    names = estimator._names
    header = {
        "format": FORMAT,
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "features": None if names is None else _texts("features", names),
        "outputs": estimator._outputs(),
        "samples": estimator.n_samples_seen_,
        "generator": estimator._seeds.bit_generator.state,
        "metadata": metadata,
    }
    tensors = {
        f"{name}/{key}": array
        for name, part in _parts(estimator).items()
        for key, array in part.state().items()
    }
    write_file(path, tensors, header)


def restored(kind: type[Any], tensors: Arrays, header: Mapping[str, Any]) -> Any:
    """Return the estimator of a file, whose content may be invalid.

    Raises
    ------
    KeyError, TypeError, ValueError
        If something is missing or invalid.
    """
    estimator = kind(**header["parameters"])
    _check_sizes(estimator, tensors)
    names, (_, size) = header["features"], tensors["recurrent/weight_ih_l0"].shape
    first = np.zeros(size) if names is None else dict.fromkeys(_texts("features", names))
    if len(first) != size:
        raise ValueError(f"features must be the names of {size} features, got {names}")
    estimator._start(first, size, estimator._restore_outputs(header["outputs"]))
    estimator.n_samples_seen_ = checks.integer("samples", header["samples"], 0)
    estimator._seeds.bit_generator.state = generator_state(header["generator"])
    estimator.metadata_ = checked_metadata(header["metadata"])
    states: dict[str, Arrays] = {}
    for key, array in tensors.items():
        name, _, rest = key.partition("/")
        states.setdefault(name, {})[rest] = array
    parts = _parts(estimator)
    if set(parts) != set(states):
        raise ValueError(f"tensors must be of {', '.join(parts)}, got {', '.join(states)}")
    for name, part in parts.items():
        part.restore(states[name])
    return estimator


def _check_sizes(estimator: Any, tensors: Arrays) -> None:
    """Check that parameters are the sizes of the tensors, before memory of these sizes is taken."""
    sizes = {
        "hidden_size": tensors["head/weight"].shape[1],
        "num_layers": sum(name.startswith("recurrent/weight_hh_l") for name in tensors),
    }
    if estimator.gradient == "bptt":
        sizes["window"] = tensors["recurrence/inputs"].shape[1]
    for name, size in sizes.items():
        if checks.integer(name, getattr(estimator, name)) != size:
            raise ValueError(f"{name} must be {size}, got {getattr(estimator, name)}")


class _Part(NamedTuple):
    """A part of an estimator that consists of arrays."""

    state: Callable[[], Mapping[str, NDArray[Any]]]
    restore: Callable[[Arrays], None]
    """Takes the arrays, after a check of their names, dtypes and shapes."""


def _parts(estimator: Any) -> dict[str, _Part]:
    """Return the parts by the names with which those of their tensors begin."""
    modules = {"recurrent": estimator._layer, "head": estimator._head}
    optimizer, recurrence = estimator._optimizer, estimator._recurrence
    return {
        **{name: _parameters(module) for name, module in modules.items()},
        "optimizer": _Part(optimizer.state, optimizer.restore),
        "recurrence": _Part(recurrence._arrays, recurrence._restore),
        **{n: _Part(one.state, one.restore) for n, one in estimator._standardizers().items()},
    }


def _parameters(module: Module) -> _Part:
    def restore(state: Arrays) -> None:
        checks.like("parameters", state, module.parameters)
        for name, value in state.items():
            module[name] = value

    return _Part(lambda: module.parameters, restore)


def _texts(what: str, names: Iterable[Any]) -> list[str]:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"save needs {what} with strings as names, got {name!r}")
    return list(names)
