"""State of a training run: all that a checkpoint saves and restores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from operator import add
from types import SimpleNamespace
from typing import TypeAlias

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.distributed._communicator import Communicator, as_communicator
from bptt.optim.optimizers import Optimizer
from bptt.training.history import History
from bptt.training.options import TrainingOptions
from bptt.training.protocols import Dataset, Evaluation, TrainingStep, TrainingTask
from bptt.training.windowed import WindowedDataset, count_of

ParameterArrays: TypeAlias = dict[str, FloatArray]  # module name -> all its parameters, flat


@dataclass
class EpochTotals:
    """Weighted sums over the minibatches of an epoch."""

    loss: float = 0.0
    metric: float = 0.0
    weight: float = 0.0
    metric_weight: float = 0.0
    gradient_norm: float = 0.0
    seconds: float = 0.0
    skipped: int = 0  # updates that were left out

    def add(self, result: TrainingStep | Evaluation) -> None:
        """Add the means of a minibatch, weighted by its number of targets."""
        weight = checks.number("the weight of a minibatch", result.weight, 0.0)
        if weight:
            self.loss += checks.real("the loss of a minibatch", result.loss) * weight
            self.weight += weight
        if result.metric_weight is not None:
            weight = checks.number("the metric_weight of a minibatch", result.metric_weight, 0.0)
        if weight:
            self.metric += checks.real("the metric of a minibatch", result.metric) * weight
            self.metric_weight += weight

    def __add__(self, other: EpochTotals) -> EpochTotals:
        """Return the sums over the minibatches of both."""
        return EpochTotals(*map(add, astuple(self), astuple(other)))

    def means(self) -> tuple[float, float | None]:
        """Return mean loss and mean metric over all targets; None without a metric."""
        metric = None if math.isnan(self.metric) else self.metric / (self.metric_weight or 1.0)
        return self.loss / (self.weight or 1.0), metric


EVENTS = ("on_train_begin", "on_batch_end", "on_epoch_end", "on_train_end")


def _check_callbacks(callbacks: Sequence[object]) -> tuple[object, ...]:
    """Return callbacks as objects with methods for `EVENTS`; a function is called after epochs."""
    if not isinstance(callbacks, Iterable):
        raise TypeError(
            f"callbacks must be a list of objects or functions, got {callbacks!r}: write [..]"
        )
    checked: list[object] = []
    for i, callback in enumerate(callbacks):
        has_events = any(hasattr(callback, event) for event in EVENTS)
        if isinstance(callback, type):
            raise TypeError(
                f"callbacks[{i}] must be an object, got the class {callback.__name__}: "
                f"write {callback.__name__}()"
            )
        if not has_events and not callable(callback):
            raise TypeError(
                f"callbacks[{i}] must be a function, which is called after every epoch, or have "
                f"one of the methods {', '.join(EVENTS)}, got {type(callback).__name__}"
            )
        checked.append(callback if has_events else SimpleNamespace(on_epoch_end=callback))
    return tuple(checked)


class TrainingState:
    """Task, data, options and progress of a training run; `Training` adds the loop."""

    def __init__(
        self,
        task: TrainingTask,
        data: Dataset | WindowedDataset,
        options: TrainingOptions,
        optimizer: Optimizer,
        seed: int,
        validation: Dataset | WindowedDataset | None = None,
        callbacks: Sequence[object] = (),
        settings: Mapping[str, str] | None = None,
        communicator: Communicator | None = None,
    ) -> None:
        self.task = task
        self.data = data
        self.options = options
        self.optimizer = optimizer
        self.seed = checks.integer("seed", seed, 0)
        self.validation = validation
        self.callbacks = _check_callbacks(callbacks)
        self.settings = {} if settings is None else dict(checks.fields("settings", settings))
        checks.instance("options", options, TrainingOptions)
        checks.instance("optimizer", optimizer, Optimizer)
        for name in ("modules", "training_step", "evaluate"):
            if not hasattr(task, name):
                raise TypeError(f"task must be a TrainingTask, got {type(task).__name__}")
        datasets = {"data": data}
        if validation is not None:
            datasets["validation"] = validation
        for name, dataset in datasets.items():
            if not (isinstance(dataset, WindowedDataset) or hasattr(dataset, "lengths")):
                raise TypeError(f"{name} must be a Dataset, got {type(dataset).__name__}")
            if not count_of(dataset):
                raise ValueError(f"{name} must have at least one sequence, got none")
        self.modules = dict(task.modules)
        if [id(module) for module in self.modules.values()] != list(map(id, optimizer._modules)):
            rule = "an optimizer of the task's modules, in the same order"
            raise ValueError(f"optimizer must be {rule}, got one of {list(optimizer._modules)}")

        self.communicator = as_communicator(communicator)
        self.num_sequences = count_of(data)
        if self.communicator.shards:
            self.num_sequences = sum(self.communicator._gather(self.num_sequences))

        self.history = History()
        self.batch, self.updates = 0, 0
        self.loss, self.gradient_norm = math.nan, math.nan
        self.first_loss: float | None = None  # of this run
        self.metric: float | None = None
        self.totals = EpochTotals()
        self.best = self._copy_parameters()

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 1; between epochs, of the next."""
        return len(self.history) + 1

    def _copy_parameters(self) -> ParameterArrays:
        return {name: module._flat.copy() for name, module in self.modules.items()}

    def _restore_best(self) -> None:
        """Set the parameters to those of the best epoch."""
        for name, module in self.modules.items():
            with module._changing() as flat:
                flat[...] = self.best[name]
