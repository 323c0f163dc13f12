"""Estimators in files: one safetensors file holds all there is of one, and its class.

Tensors ``module/parameter`` and ``optimizer/slot``; in the header, as JSON, the parameters, what
`fit` has learned, the history, the state of the modules' generators, and the caller's metadata.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bptt._core.tensor_files import read_file, write_file
from bptt.nn.serialization import pack_modules, unpack_modules
from bptt.optim import schedules
from bptt.training.history import History
from bptt.training.options import make_optimizer

if TYPE_CHECKING:
    from bptt.estimators._base import SequenceEstimator

_FORMAT = "estimator 1"
ESTIMATORS = {  # class -> where it is, imported when a file asks for it
    "EncoderDecoder": "bptt.estimators.encoder_decoder",
    "LanguageModel": "bptt.estimators.language_model",
    "SequenceClassifier": "bptt.estimators.many_to_one",
    "SequenceGenerator": "bptt.estimators.generator",
    "SequenceRegressor": "bptt.estimators.many_to_one",
    "SequenceTagger": "bptt.estimators.tagger",
}


def load_estimator(path: str | os.PathLike[str]) -> SequenceEstimator:
    """Read an estimator of any class that its method `save` has written.

    Parameters
    ----------
    path : path

    Returns
    -------
    estimator
        As fitted; what was saved as metadata is its `metadata_`, a dict.

    Raises
    ------
    TypeError
        If `path` is neither a string nor a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is broken, or of a class that is not in this package.
    ImportError
        If safetensors is not installed.
    """
    return read_estimator(path)


def write_estimator(
    estimator: SequenceEstimator,
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Do what `SequenceEstimator.save` says."""
    modules = estimator._learner().modules
    tensors, description = pack_modules(modules)
    for slot, array in estimator._optimizer.state().items():
        tensors[f"optimizer/{slot}"] = array
    header = {
        "format": _FORMAT,
        "estimator": type(estimator).__name__,
        "parameters": _parameters(estimator),
        "modules": description,
        "generators": {n: m._random.bit_generator.state for n, m in modules.items()},
        "learned": estimator._learned(),
        "history": estimator.history_.to_dict(),
        "metadata": dict(metadata or {}),
    }
    write_file(path, tensors, header)


def read_estimator(
    path: str | os.PathLike[str], kind: type[SequenceEstimator] | None = None
) -> SequenceEstimator:
    """Do what `SequenceEstimator.load` says, for the class `kind`, or any of this package."""
    tensors, header = read_file(path, _FORMAT, "an estimator")
    try:
        kind = _class_of(header["estimator"], kind)
        parameters = header["parameters"]
        if parameters["schedule"] is not None:
            parameters["schedule"] = schedules.from_dict(parameters["schedule"])
        estimator = kind(**parameters)
        estimator._restore(header["learned"], unpack_modules(header["modules"], tensors))
        estimator.history_ = History.from_dict(header["history"])
        estimator.metadata_ = dict(header["metadata"])
        modules = dict(estimator._learner().modules)
        for name, module in modules.items():
            module._random.bit_generator.state = header["generators"][name]
        estimator._optimizer = make_optimizer(estimator.optimizer, modules, estimator.learning_rate)
        estimator._optimizer.restore({k.partition("/")[2]: v for k, v in tensors.items()})
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"cannot load {path}: {error}") from error
    return estimator


def _class_of(name: str, kind: type[SequenceEstimator] | None) -> type[SequenceEstimator]:
    """The class with this name, which must be `kind` if there is one."""
    if kind is not None and name != kind.__name__:
        raise ValueError(f"it must be a {kind.__name__}, got a {name}")
    if kind is None:
        if name not in ESTIMATORS:
            raise ValueError(f"it must be one of {', '.join(ESTIMATORS)}, got {name}")
        found: type[SequenceEstimator] = getattr(import_module(ESTIMATORS[name]), name)
        return found
    return kind


def _parameters(estimator: SequenceEstimator) -> dict[str, Any]:
    """The arguments of the constructor, fit for JSON."""
    parameters = estimator.get_params(deep=False)
    if callable(estimator.optimizer):
        raise TypeError("save needs an optimizer that is given by its name, got a function")
    if estimator.schedule is not None:
        parameters["schedule"] = schedules.to_dict(estimator.schedule)
    if not isinstance(estimator.random_state, int):
        parameters["random_state"] = None
    path = estimator.checkpoint_path
    return {**parameters, "callbacks": [], "checkpoint_path": None if path is None else str(path)}
