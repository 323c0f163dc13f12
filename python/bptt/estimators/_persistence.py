"""Persistence of estimators: one safetensors file per estimator.

Tensors: ``module/parameter`` and ``optimizer/slot``. The header holds, as JSON, the class, the
parameters, the fitted attributes, the history, the states of the modules' random generators, and
the metadata of the user.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.tensor_files import (
    broken_file_errors,
    checked_metadata,
    read_file,
    write_file,
)
from bptt.data._categories import as_json, check_categorical
from bptt.nn.module import Module
from bptt.nn.serialization import pack_modules, unpack_modules
from bptt.optim import schedules
from bptt.optim.optimizers import Optimizer
from bptt.optim.schedules import Schedule
from bptt.training._checkpoint import generator_state
from bptt.training.history import History
from bptt.training.options import make_optimizer
from bptt.training.protocols import TrainingTask

FORMAT = "estimator 1"


class Persistent(Protocol):
    """An estimator that can be saved and loaded."""

    optimizer: str | Callable[[list[Module]], Optimizer]
    learning_rate: float
    dtype: Any
    schedule: Schedule | None
    random_state: Any
    checkpoint_path: str | os.PathLike[str] | None
    history_: History
    metadata_: dict[str, Any]
    _optimizer: Optimizer | None  # None with compressed weights
    _fitted_network: dict[str, Any]
    _vectors_found: tuple[int, int, int]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor."""

    def _network_parameters(self) -> dict[str, Any]:
        """Return the parameters that determine the modules."""

    def _task(self) -> TrainingTask:
        """Return the task, whose modules are saved."""

    def _fitted_state(self) -> dict[str, Any]:
        """Return all that `fit` has learned apart from the modules, in JSON types."""

    def _check_saved_parameters(self) -> None:
        """Check all parameters that do not depend on data."""

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        """Restore the fitted attributes from `_fitted_state` and the modules."""


_Persistent = TypeVar("_Persistent", bound=Persistent)


class Loadable(Protocol):
    """A class whose estimators are in files."""

    @classmethod
    def _from_file(cls, tensors: dict[str, NDArray[Any]], header: Mapping[str, Any]) -> Any:
        """Return the estimator of a file; its errors may be any of a broken file."""


_Estimator = TypeVar("_Estimator", bound=Loadable)


def write_estimator(
    estimator: Persistent,
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a fitted estimator to a file; see `SequenceEstimator.save`."""
    estimator._check_saved_parameters()
    metadata = checked_metadata(metadata)
    modules = estimator._task().modules
    tensors, description = pack_modules(modules)
    if estimator._optimizer is not None:
        for slot, array in estimator._optimizer.state().items():
            tensors[f"optimizer/{slot}"] = array
    header = {
        "format": FORMAT,
        "estimator": type(estimator).__name__,
        "parameters": _parameters(estimator),
        "modules": description,
        "generators": {n: m._random.bit_generator.state for n, m in modules.items()},
        "fitted": estimator._fitted_state(),
        "history": estimator.history_.to_dict(),
        "metadata": metadata,
    }
    write_file(path, tensors, header)


def read_estimator(
    path: str | os.PathLike[str], class_of: Callable[[str], type[_Estimator]]
) -> _Estimator:
    """Read an estimator from a file.

    Parameters
    ----------
    path : path
        The file.
    class_of : function
        Name of the class in the file -> class; raises ValueError if it is not acceptable.

    Returns
    -------
    estimator

    Raises
    ------
    TypeError, FileNotFoundError, ValueError, ImportError
        As for `load_estimator`.
    """
    tensors, header = read_file(path, FORMAT, "an estimator")
    with broken_file_errors(f"cannot load {path}"):
        estimator: _Estimator = class_of(header["estimator"])._from_file(tensors, header)
    return estimator


def only(kind: type[_Estimator]) -> Callable[[str], type[_Estimator]]:
    """Return the function for `read_estimator` that accepts one class."""

    def class_of(name: str) -> type[_Estimator]:
        if name != kind.__name__:
            raise ValueError(f"it must be a {kind.__name__}, got a {name}")
        return kind

    return class_of


def restored(
    kind: type[_Persistent], tensors: dict[str, NDArray[Any]], header: Mapping[str, Any]
) -> _Persistent:
    """Return the estimator of a file, whose content may be invalid.

    Raises
    ------
    KeyError, TypeError, ValueError
        If something is missing or invalid.
    """
    parameters = header["parameters"]
    if isinstance(parameters.get("class_weight"), list):
        parameters["class_weight"] = dict(parameters["class_weight"])
    if parameters["schedule"] is not None:
        parameters["schedule"] = schedules.from_dict(parameters["schedule"])
    estimator = kind(**parameters)
    if parameters["callbacks"] != []:
        raise ValueError(f"callbacks must be [], got {parameters['callbacks']!r}")
    estimator._check_saved_parameters()
    estimator._restore(header["fitted"], unpack_modules(header["modules"], tensors))
    estimator._fitted_network = estimator._network_parameters()
    estimator.history_ = History.from_dict(header["history"])
    estimator.metadata_ = dict(header["metadata"])
    modules = dict(estimator._task().modules)
    for name, module in modules.items():
        module._random.bit_generator.state = generator_state(header["generators"][name])
    if any(module.compression for module in modules.values()):
        if tensors:
            raise ValueError(f"compressed weights have no optimizer, got {', '.join(tensors)}")
        estimator._optimizer = None
        return estimator
    estimator._optimizer = make_optimizer(estimator.optimizer, modules, estimator.learning_rate)
    estimator._optimizer.restore({k.partition("/")[2]: v for k, v in tensors.items()})
    return estimator


def _parameters(estimator: Persistent) -> dict[str, Any]:
    """Return the arguments of the constructor, in JSON types."""
    parameters = estimator.get_params(deep=False)
    if callable(estimator.optimizer):
        raise TypeError("save needs an optimizer given by name, got a function")
    if estimator.schedule is not None:
        parameters["schedule"] = schedules.to_dict(estimator.schedule)
    seed = plain(estimator.random_state)
    parameters["random_state"] = seed if isinstance(seed, int) else None
    if isinstance(parameters.get("class_weight"), Mapping):  # keys of JSON are strings
        pairs = parameters["class_weight"].items()
        parameters["class_weight"] = [list(map(plain, pair)) for pair in pairs]
    parameters["categorical_features"] = as_json(
        check_categorical(parameters["categorical_features"])
    )
    if parameters.get("quantiles") is not None:
        parameters["quantiles"] = list(map(float, parameters["quantiles"]))
    if "ignore_label" in parameters:
        parameters["ignore_label"] = plain(parameters["ignore_label"])
    vectors = parameters["embedding_vectors"]
    if isinstance(vectors, Mapping):
        parameters |= {"embedding_vectors": None, "embedding_size": estimator._vectors_found[2]}
        if "unseen_words" in parameters:  # they are in the vocabulary
            parameters["unseen_words"] = False
    elif vectors is not None:
        parameters["embedding_vectors"] = os.fspath(vectors)
    parameters["dtype"] = checks.dtype("dtype", estimator.dtype).name
    path = estimator.checkpoint_path
    parameters |= {"callbacks": [], "checkpoint_path": None if path is None else os.fspath(path)}
    return {name: plain(value) for name, value in parameters.items()}


def plain(value: Any) -> Any:
    """Return a scalar of NumPy, or another number, as one of Python; anything else unchanged."""
    if isinstance(value, np.generic):
        return value.item() if value.dtype.kind != "f" else float(value)
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, int, float)):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return value
