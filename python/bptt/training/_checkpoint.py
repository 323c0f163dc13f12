"""Checkpoints of a training run: its complete state in one safetensors file.

Tensors: ``modules/name/parameter``, ``best/name/parameter`` and ``optimizer/slot``. The header
holds, as JSON, the history, the position in the epoch, the states of the modules' random
generators, and a description of the training, so that no other training is resumed from it.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.tensor_files import (
    as_path,
    broken_file_errors,
    check_writable,
    need_safetensors,
    read_file,
    remove_leftovers,
    write_file,
)
from bptt.distributed._communicator import Communicator
from bptt.nn.module import Module
from bptt.training._state import EpochTotals, TrainingState
from bptt.training.history import History
from bptt.training.protocols import Dataset, OrderedDataset
from bptt.training.windowed import WindowedDataset

_FORMAT = "training 1"
_MAY_CHANGE = ("epochs", "nonfinite", "verbose")  # options that may differ when training is resumed

_Tensors = dict[str, NDArray[Any]]


class Checkpoint:
    """The checkpoint file of a training that has not begun yet.

    Parameters
    ----------
    path : path
        The file; its directory must exist.
    training : TrainingState
        The training, whose state `write` saves and `read` restores.

    Raises
    ------
    TypeError
        If `path` is neither a string nor a path.
    FileNotFoundError
        If its directory does not exist.
    OSError
        If no file can be written there.
    ImportError
        If safetensors is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], training: TrainingState) -> None:
        need_safetensors("checkpoint_path")
        self._path = as_path(path, "checkpoint_path")
        self._ranks = training.communicator  # the first of which reads and writes
        self._ranks._first(self._prepare)
        self._training = training
        self._described = {**training.settings, **description(training)}

    def _prepare(self) -> None:
        """Check that the file can be written."""
        if not self._path.parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint_path must be in a directory that exists, got {self._path}"
            )
        remove_leftovers(self._path)
        check_writable(self._path)

    def exists(self) -> bool:
        """Return whether the file exists."""
        return self._ranks._first(self._path.exists)

    def write(self) -> None:
        """Write the state of the training atomically."""
        if not self._ranks.is_first:
            return
        training, modules = self._training, self._training.modules
        tensors: _Tensors = {}
        for name, module in modules.items():
            best = module._layout.views(training.best[name])
            tensors |= {f"modules/{name}/{key}": array for key, array in module._views.items()}
            tensors |= {f"best/{name}/{key}": array for key, array in best.items()}
        for slot, array in training.optimizer.state().items():
            tensors[f"optimizer/{slot}"] = array
        totals = asdict(training.totals)
        header = {
            "format": _FORMAT,
            "training": self._described,
            "history": training.history.to_dict(),
            "batch": training.batch,
            "updates": training.updates,
            "totals": {key: None if math.isnan(value) else value for key, value in totals.items()},
            "generators": {name: m._random.bit_generator.state for name, m in modules.items()},
        }
        write_file(self._path, tensors, header)

    def read(self, batches: int) -> None:
        """Restore the state of the training from the file.

        Parameters
        ----------
        batches : int
            Number of minibatches of an epoch.

        Raises
        ------
        ValueError
            If the file is broken, or belongs to another training. The training is unchanged.
        """
        training, modules = self._training, self._training.modules
        tensors, header = self._ranks._first(lambda: read_file(self._path, _FORMAT, "a training"))
        with broken_file_errors(f"cannot resume {self._path}"):
            for key, value in self._described.items():
                if header["training"][key] != value:
                    before = header["training"][key]
                    raise ValueError(f"{key} must be unchanged, {before}, got {value}")
            current = {name: _flat(f"modules/{name}", m, tensors) for name, m in modules.items()}
            best = {name: _flat(f"best/{name}", m, tensors) for name, m in modules.items()}
            history = History.from_dict(header["history"])
            batch, updates = (checks.integer(key, header[key], 0) for key in ("batch", "updates"))
            _check_batch(batch, batches, training)
            totals = {f.name: _total(f.name, header["totals"]) for f in fields(EpochTotals)}
            generators = {name: generator_state(header["generators"][name]) for name in modules}
            slots = {key: array for key, array in tensors.items() if key.startswith("optimizer/")}
            training.optimizer.restore({key.partition("/")[2]: a for key, a in slots.items()})
        for name, module in modules.items():
            with module._changing() as flat:
                flat[...] = current[name]
            module._random.bit_generator.state = generators[name]
        training.best, training.history = best, history
        training.batch, training.updates = batch, updates
        training.totals = EpochTotals(**totals)


def _flat(prefix: str, module: Module, tensors: _Tensors) -> FloatArray:
    """Return the parameters of `module` in `tensors` as one flat array."""
    flat = np.empty_like(module._flat)
    for name, array in module._layout.views(flat).items():
        key = f"{prefix}/{name}"
        if key not in tensors:
            raise ValueError(f"the tensor {key} is missing")
        array[...] = module._layout.check(name, tensors[key])
    return flat


def _check_batch(batch: int, count: int, training: TrainingState) -> None:
    """Check that an epoch has more minibatches than were done."""
    if batch and (isinstance(training.data, OrderedDataset) or batch >= count):
        raise ValueError(f"batch must be less than the {count} minibatches, got {batch}")


def _total(name: str, totals: Any) -> Any:
    """Return one of the sums of an epoch; that of a metric may be missing."""
    if name == "skipped":  # not in older files
        return checks.integer(name, totals.get(name, 0), 0)
    value = totals[name]
    if name != "metric":
        return checks.number(name, value)
    if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
        raise TypeError(f"metric must be None or a number, got {type(value).__name__}")
    return math.nan if value is None else float(value)


def generator_state(state: Any) -> Any:
    """Validate the state of a random generator and return it."""
    if not isinstance(state, dict) or not isinstance(state.get("state"), dict):
        raise TypeError("the state of a random generator must be that of NumPy's PCG64")
    for name in ("has_uint32", "uinteger"):
        checks.integer(name, state[name], 0)
    for name in ("state", "inc"):
        checks.integer(name, state["state"][name], 0)
    trial = np.random.PCG64(0)
    trial.state = state  # type: ignore[assignment]
    return trial.state


def description(training: TrainingState) -> dict[str, str]:
    """Return what must be unchanged for a training to be resumed, and the same on all ranks."""
    validation = training.validation
    options = {k: _text(v) for k, v in vars(training.options).items() if k not in _MAY_CHANGE}
    return {
        **options,
        "seed": str(training.seed),
        "optimizer": repr(training.optimizer),
        "modules": ", ".join(f"{name}: {module}" for name, module in training.modules.items()),
        "data": _digest(training.data, training.communicator),
        "validation": (
            "none" if validation is None else _digest(validation, training.communicator)
        ),
    }


def _text(value: object) -> str:
    """Return an option as text that is the same in every process: without memory addresses."""
    if type(value).__repr__ is object.__repr__:
        return type(value).__qualname__
    return getattr(value, "__qualname__", None) or repr(value)


def _digest(data: Dataset | WindowedDataset, ranks: Communicator) -> str:
    found: Any = data.description if isinstance(data, WindowedDataset) else data.lengths
    parts = ranks._gather(found) if ranks.shards else [found]
    texts = sorted(one for one in parts if isinstance(one, str))
    arrays = [one for one in parts if not isinstance(one, str)]
    if not arrays:
        return " and ".join(texts)
    lengths = np.concatenate(arrays, dtype="<i8")
    if ranks.shards:  # also of another number of ranks, in another order
        lengths.sort()
    digest = hashlib.sha256(lengths.tobytes()).hexdigest()[:16]
    return " and ".join([*texts, f"{len(lengths)} sequences with lengths of digest {digest}"])
