"""The checkpoint of a training: all that decides how it goes on, in one safetensors file.

Tensors ``modules/name/parameter``, ``best/name/parameter`` and ``optimizer/slot``. In the header,
as JSON: history, position in the epoch, generators of the modules, and a description of the
training, so that no other one is resumed from it.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.tensor_files import (
    as_path,
    need_safetensors,
    read_file,
    remove_leftovers,
    write_file,
)
from bptt.nn.module import Module
from bptt.training.history import History

if TYPE_CHECKING:
    from bptt.training.loop import Training
    from bptt.training.protocols import Data

_FORMAT = "training 1"
_FREE = ("epochs", "verbose")  # options that may be others when training is resumed

_Tensors = dict[str, NDArray[Any]]


class TrainingFile:
    """The file of a training, which has just been made.

    Raises
    ------
    TypeError
        If `path` is neither a string nor a path.
    FileNotFoundError
        If there is no directory for it: before there is something to lose.
    ImportError
        If safetensors is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], training: Training) -> None:
        need_safetensors("checkpoint_path")
        self._path = as_path(path, "checkpoint_path")
        if not self._path.parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint_path must be in a directory that exists, got {path}"
            )
        remove_leftovers(self._path)
        self._training = training
        self._described = _describe(training)

    def exists(self) -> bool:
        """Return whether there is such a file."""
        return self._path.exists()

    def write(self) -> None:
        """Write where the training is, whole or not at all."""
        training, modules = self._training, self._training.modules
        tensors: _Tensors = {}
        for name, module in modules.items():
            best = module._layout.views(training.best[name])
            tensors |= {f"modules/{name}/{key}": array for key, array in module._views.items()}
            tensors |= {f"best/{name}/{key}": array for key, array in best.items()}
        for slot, array in training.optimizer.state().items():
            tensors[f"optimizer/{slot}"] = array
        sums = asdict(training.sums)
        header = {
            "format": _FORMAT,
            "training": self._described,
            "history": training.history.to_dict(),
            "batch": training.batch,
            "updates": training.updates,
            "sums": {key: None if math.isnan(value) else value for key, value in sums.items()},
            "generators": {name: m._random.bit_generator.state for name, m in modules.items()},
        }
        write_file(self._path, tensors, header)

    def read(self) -> None:
        """Bring the training to where it was when the file was written.

        Raises
        ------
        ValueError
            If the file is broken, or no checkpoint of such a training. Nothing has changed then.
        """
        training, modules = self._training, self._training.modules
        tensors, header = read_file(self._path, _FORMAT, "a training")
        try:
            for key, value in self._described.items():
                if header["training"][key] != value:
                    before = header["training"][key]
                    raise ValueError(f"{key} must be as it was, {before}, got {value}")
            current = {name: _flat(f"modules/{name}", m, tensors) for name, m in modules.items()}
            best = {name: _flat(f"best/{name}", m, tensors) for name, m in modules.items()}
            history = History.from_dict(header["history"])
            batch, updates = (checks.integer(key, header[key], 0) for key in ("batch", "updates"))
            sums = {f.name: header["sums"][f.name] for f in fields(training.sums)}
            generators = {name: _generator_state(header["generators"][name]) for name in modules}
            slots = {key: array for key, array in tensors.items() if key.startswith("optimizer/")}
            training.optimizer.restore({key.partition("/")[2]: a for key, a in slots.items()})
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"cannot resume {self._path}: {error}") from error
        for name, module in modules.items():
            with module._changing() as flat:
                flat[...] = current[name]
            module._random.bit_generator.state = generators[name]
        training.best, training.history = best, history
        training.batch, training.updates = batch, updates
        for key, value in sums.items():
            setattr(training.sums, key, math.nan if value is None else value)


def _flat(prefix: str, module: Module, tensors: _Tensors) -> FloatArray:
    """Return the parameters of `module` under these names, as one flat array."""
    flat = np.empty_like(module._flat)
    for name, array in module._layout.views(flat).items():
        key = f"{prefix}/{name}"
        if key not in tensors:
            raise ValueError(f"the tensor {key} is missing")
        array[...] = module._layout.check(name, tensors[key])
    return flat


def _generator_state(state: Any) -> Any:
    """Return the state of a generator, if it is one."""
    trial = np.random.PCG64(0)
    trial.state = state
    return trial.state


def _describe(training: Training) -> dict[str, str]:
    """Say, in words, what must be the same for training to go on as if nothing had happened."""
    validation = training.validation
    options = {k: _worded(v) for k, v in vars(training.options).items() if k not in _FREE}
    return {
        **training.about,
        **options,
        "seed": str(training.seed),
        "optimizer": repr(training.optimizer),
        "modules": ", ".join(f"{name}: {module}" for name, module in training.modules.items()),
        "data": _digest(training.data),
        "validation": "none" if validation is None else _digest(validation),
    }


def _worded(value: object) -> str:
    """Write an option so that another process writes the same: without addresses."""
    if type(value).__repr__ is object.__repr__:
        return type(value).__qualname__
    return getattr(value, "__qualname__", None) or repr(value)


def _digest(data: Data) -> str:
    lengths = np.ascontiguousarray(data.lengths, "<i8")
    digest = hashlib.sha256(lengths.tobytes()).hexdigest()[:16]
    return f"{len(lengths)} sequences with lengths of digest {digest}"
