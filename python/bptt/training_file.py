"""The file of a training that is going on: all that decides how it goes on.

Tensors "modules/<name>" and "best/<name>" (flat parameters), "optimiser/<slot>"; in the header, as
JSON, the history, the position in the epoch, the modules' generators, and what the training was
made of, to be compared when it is resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptt.files import read_file, write_file
from bptt.history import History

if TYPE_CHECKING:
    from bptt.training import Training

_FORMAT = "training 1"
_FREE = ("epochs", "verbose")  # options that may differ


def write_checkpoint(path: str | os.PathLike[str], training: Training) -> None:
    """Write the file, whole or not at all."""
    modules = training.learner.modules
    tensors: dict[str, NDArray[Any]] = {}
    for name, module in modules.items():
        tensors[f"modules/{name}"] = module._flat
    for name, flat in training.best.items():
        tensors[f"best/{name}"] = flat
    for slot, array in training.optimiser.state().items():
        tensors[f"optimiser/{slot}"] = array
    header = {
        "format": _FORMAT,
        "made_of": _made_of(training),
        "history": training.history.to_dict(),
        "epoch": training.epoch,
        "updates": training.updates,
        "done_batches": training.done_batches,
        "sums": dataclasses.asdict(training.sums),
        "generators": {n: m._random.bit_generator.state for n, m in modules.items()},
    }
    write_file(path, tensors, header)


def read_checkpoint(path: str | os.PathLike[str], training: Training) -> None:
    """Bring a training, just made, to where the file was written.

    Raises
    ------
    ValueError
        If it is no such file, or of a training of other data, modules or options. Nothing has
        changed then.
    """
    tensors, header = read_file(path, _FORMAT, "a training")
    for name, value in _made_of(training).items():
        before = header["made_of"].get(name)
        if before != value:
            raise ValueError(
                f"cannot resume {path}: {name} must be as it was, {before}, got {value}"
            )
    parts: dict[str, dict[str, NDArray[Any]]] = {"modules": {}, "best": {}, "optimiser": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    training.optimiser.restore(parts["optimiser"])
    for name, module in training.learner.modules.items():
        with module._changing() as flat:
            flat[...] = parts["modules"][name]
        module._random.bit_generator.state = header["generators"][name]
    training.best = {name: flat.copy() for name, flat in parts["best"].items()}
    training.history = History.from_dict(header["history"])
    training.epoch = header["epoch"]
    training.updates = header["updates"]
    training.done_batches = header["done_batches"]
    for name, value in header["sums"].items():
        setattr(training.sums, name, value)


def _made_of(training: Training) -> dict[str, str]:
    """What must be the same for a training to go on as the same, in words or as a digest."""
    options = dataclasses.asdict(training.options)
    lengths = np.asarray(training.data.lengths, np.int64)
    return {
        **{name: repr(value) for name, value in options.items() if name not in _FREE},
        "seed": str(training.seed),
        "learning_rate": repr(training.base_rate),
        "optimiser": type(training.optimiser).__name__,
        "modules": ", ".join(f"{n}: {m}" for n, m in training.learner.modules.items()),
        **training.about,
        "lengths of the data": hashlib.sha256(lengths.tobytes()).hexdigest(),
    }
