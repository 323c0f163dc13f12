"""The training loop: minibatches, updates, validation, early stopping, checkpoints.

`train` works on anything that has modules and can say the gradients of a minibatch (`Learner`), and
on anything that makes minibatches of sequences (`Data`). How it goes is decided by learner, data,
options and seed alone, bit for bit: not by the number of threads, and not by whether training was
interrupted, or killed, and resumed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data import batching
from bptt.nn.module import Gradients
from bptt.optim.clipping import clip_by_global_norm, clip_by_value
from bptt.optim.optimizers import Optimizer
from bptt.training._checkpoint import TrainingFile
from bptt.training._progress import Progress
from bptt.training.history import Epoch, History
from bptt.training.options import OptimizerOf, TrainingOptions, make_optimizer
from bptt.training.protocols import Data, Learner, OrderedData, Score, Step

__all__ = [
    "Data",
    "Learner",
    "OptimizerOf",
    "OrderedData",
    "Score",
    "Step",
    "Training",
    "TrainingOptions",
    "make_optimizer",
    "train",
]

Parameters: TypeAlias = dict[str, FloatArray]  # the flat array of every module, by its name


def train(
    learner: Learner,
    data: Data,
    *,
    options: TrainingOptions,
    optimizer: Optimizer,
    seed: int,
    validation: Data | None = None,
    callbacks: Sequence[object] = (),
    checkpoint_path: str | os.PathLike[str] | None = None,
    save_every: int | None = None,
    resume: bool = False,
    about: Mapping[str, str] | None = None,
) -> History:
    """Change the parameters of a learner's modules until it has learnt.

    In the end they are those of the last epoch, or with ``options.patience`` of the best. If
    training is interrupted, by Ctrl-C or any other error, they are those of the best whole epoch;
    if there was none, those of the beginning.

    Parameters
    ----------
    learner : Learner
    data : Data
        What to learn from.
    options : TrainingOptions
    optimizer : Optimizer
        Of the learner's modules, in their order. It keeps what it remembers of earlier steps.
    seed : int
        Of the order of the data, >= 0.
    validation : Data, optional
        What to judge the epochs by.
    callbacks : sequence of objects
        Each may have the methods ``on_train_begin``, ``on_batch_end`` (after an update),
        ``on_epoch_end`` and ``on_train_end`` (unless interrupted), which get the `Training`.
    checkpoint_path : path, optional
        A file that is written after every epoch, and from which training can be resumed.
    save_every : int, optional
        Write the file after every so many updates, too; not with `OrderedData`.
    resume : bool
        Whether to go on from the file, if there is one; else it will be replaced. A training that
        was finished goes on if there are more epochs now.
    about : mapping of str to str, optional
        What else must be the same for a training to be resumed, by its name.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range, or the file is broken
        or of a training with other data, modules or options. No parameter has changed then.
    FloatingPointError
        If a loss, or the norm of the gradients, is not finite.
    FileNotFoundError
        If there is no directory for the checkpoint.
    ImportError
        If there is to be a checkpoint, and safetensors is not installed.
    """
    training = Training(learner, data, options, optimizer, seed, validation, callbacks, about)
    if checkpoint_path is None and (resume or save_every is not None):
        name = "resume=True" if resume else "save_every"
        raise ValueError(f"{name} needs a file as checkpoint_path, got checkpoint_path=None")
    if checkpoint_path is not None:
        training.keep(checkpoint_path, save_every, resume=checks.flag("resume", resume))
    training.run()
    return training.history


@dataclass
class Sums:
    """What is added up over the minibatches of an epoch."""

    loss: float = 0.0
    metric: float = 0.0
    weight: float = 0.0
    norm: float = 0.0
    seconds: float = 0.0

    def add(self, found: Step | Score) -> None:
        """Add means over so many targets."""
        if found.weight:
            self.loss += found.loss * found.weight
            self.metric += found.metric * found.weight
            self.weight += found.weight

    def means(self) -> tuple[float, float | None]:
        """Return mean loss and mean metric of a target, if there is a metric."""
        weight = self.weight or 1.0
        return self.loss / weight, None if math.isnan(self.metric) else self.metric / weight


class Training:
    """A training that is going on: what callbacks see.

    Attributes
    ----------
    learner, data, options, optimizer, seed, validation, callbacks, about
        What `train` was called with.
    history : History
        The whole epochs so far.
    batch : int
        How many minibatches of the epoch are done.
    updates : int
        How many updates of the parameters are done, in all epochs together.
    loss, metric, gradient_norm : float
        Of the minibatches of the last update; the metric is None if there is none.
    """

    def __init__(
        self,
        learner: Learner,
        data: Data,
        options: TrainingOptions,
        optimizer: Optimizer,
        seed: int,
        validation: Data | None = None,
        callbacks: Sequence[object] = (),
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.learner = learner
        self.data = data
        self.options = options
        self.optimizer = optimizer
        self.seed = checks.integer("seed", seed, 0)
        self.validation = validation
        self.callbacks = tuple(callbacks)
        self.about = dict(about or {})
        for name, given in (("data", data), ("validation", validation)):
            if given is not None and not len(given.lengths):
                raise ValueError(f"{name} must have one sequence at least, got none")
        self.modules = dict(learner.modules)
        if [id(module) for module in self.modules.values()] != list(map(id, optimizer._modules)):
            rule = "of the learner's modules, in their order"
            raise ValueError(f"optimizer must be {rule}, got one of {list(optimizer._modules)}")

        self.history = History()
        self.batch, self.updates = 0, 0
        self.loss, self.gradient_norm = math.nan, math.nan
        self.metric: float | None = None
        self.sums = Sums()
        self.best = self._snapshot()
        self.base_rate = optimizer.learning_rate
        self._stopping = False
        self._file: TrainingFile | None = None
        self._file_updates = 0

    @property
    def epoch(self) -> int:
        """Number of the epoch that is going on, or comes next, from 1."""
        return len(self.history) + 1

    def stop(self) -> None:
        """End training after this epoch."""
        self._stopping = True

    def keep(
        self, path: str | os.PathLike[str], updates: int | None = None, *, resume: bool = False
    ) -> None:
        """Write a checkpoint after every epoch and every so many updates; begin from it."""
        self._file_updates = 0 if updates is None else checks.integer("save_every", updates)
        self._file = TrainingFile(path, self)
        if isinstance(self.data, OrderedData):
            self._file_updates = 0  # the file does not hold what is carried between batches
        if resume and self._file.exists():
            self._file.read()

    def run(self) -> None:
        """Train to the end."""
        try:
            self._tell("on_train_begin")
            while not self._ended():
                self._run_epoch()
        except BaseException:  # Ctrl-C too
            self._go_back()
            raise
        finally:
            self.optimizer.learning_rate = self.base_rate
        if self.options.patience is not None:
            self._go_back()
        self._tell("on_train_end")

    def _run_epoch(self) -> None:
        """Go through the rest of the epoch's minibatches."""
        options = self.options
        order = self._order()
        updates = -(-len(order) // options.accumulate)
        losses = [epoch.monitored for epoch in self.history]
        title = f"epoch {self.epoch}/{options.epochs}"
        done = sum(map(len, order[: self.batch]))
        start = time.perf_counter() - self.sums.seconds
        with Progress(options.verbose, title, len(self.data.lengths), done) as progress:
            while self.batch < len(order):
                group = order[self.batch : self.batch + options.accumulate]
                if options.schedule is not None:
                    factor = options.schedule(self.updates, updates, losses)
                    self.optimizer.learning_rate = self.base_rate * factor
                self._update(group)
                self.sums.seconds = time.perf_counter() - start
                loss, metric = self.sums.means()
                progress.update(sum(map(len, group)), loss, metric, self.gradient_norm)
                self._tell("on_batch_end")
                due = self._file_updates and self.updates % self._file_updates == 0
                if due and self.batch < len(order):
                    self._write()
            self._end_epoch(updates, start)
            progress.end(self.history[-1])
        self._tell("on_epoch_end")
        self._write()

    def _order(self) -> list[NDArray[np.int64]]:
        """Return the minibatches of the epoch."""
        if isinstance(self.data, OrderedData):
            return list(self.data.order())
        size = self.options.batch_size
        return batching.shuffled(self.data.lengths, size, self.seed, self.epoch)

    def _update(self, group: list[NDArray[np.int64]]) -> None:
        """Learn from some minibatches, with one step of the optimizer."""
        gradients = self._gradients(group)
        norm = self._clip(gradients)
        if not math.isfinite(norm):
            raise self._not_finite("norm of the gradients", norm)
        self.optimizer.step(gradients)
        self.gradient_norm = norm
        self.sums.norm += norm
        self.updates += 1
        self.batch += len(group)

    def _gradients(self, group: list[NDArray[np.int64]]) -> list[Gradients]:
        """Return the gradients of the mean loss over all targets of some minibatches."""
        sums = Sums()
        total: list[Gradients] = []
        for indices in group:
            step = self.learner.gradients(self.data.batch(indices))
            if not math.isfinite(step.loss):
                raise self._not_finite("loss", step.loss)
            self.sums.add(step)
            sums.add(step)
            total = step.gradients if len(group) == 1 else _added(total, step)
        if len(group) > 1 and sums.weight:
            for gradient in total:
                gradient._flat /= sums.weight
        self.loss, self.metric = sums.means()
        return total

    def _clip(self, gradients: list[Gradients]) -> float:
        """Clip by value and then by norm; return the norm before."""
        limit, max_norm = self.options.clip_value, self.options.clip_norm or math.inf
        if limit is None:
            return clip_by_global_norm(gradients, max_norm)
        norm = clip_by_global_norm(gradients, math.inf)
        clip_by_value(gradients, limit)
        clip_by_global_norm(gradients, max_norm)
        return norm

    def _end_epoch(self, updates: int, start: float) -> None:
        """Judge the epoch, and make ready for the next."""
        loss, metric = self.sums.means()
        judged: tuple[float | None, float | None] = None, None
        if self.validation is not None:
            judged = self._evaluate(self.validation)
        self.history.append(
            Epoch(
                self.epoch,
                loss,
                metric,
                *judged,
                gradient_norm=self.sums.norm / updates,
                learning_rate=self.optimizer.learning_rate,
                seconds=time.perf_counter() - start,
            )
        )
        if self.history.epochs_since_best(self.options.min_delta) == 0:
            self.best = self._snapshot()
        self.batch, self.sums = 0, Sums()

    def _evaluate(self, data: Data) -> tuple[float, float | None]:
        sums = Sums()
        for indices in batching.in_order(data.lengths, self.options.batch_size):
            sums.add(self.learner.evaluate(data.batch(indices)))
        loss, metric = sums.means()
        if not math.isfinite(loss):
            raise self._not_finite("validation loss", loss)
        return loss, metric

    def _not_finite(self, what: str, value: float) -> FloatingPointError:
        return FloatingPointError(
            f"the {what} is {value} in epoch {self.epoch}, after {self.batch} minibatches: "
            "try a smaller learning_rate or clip_norm"
        )

    def _ended(self) -> bool:
        options = self.options
        if self._stopping or self.epoch > options.epochs:
            return True
        waited = self.history.epochs_since_best(options.min_delta)
        return options.patience is not None and waited >= options.patience

    def _snapshot(self) -> Parameters:
        return {name: module._flat.copy() for name, module in self.modules.items()}

    def _go_back(self) -> None:
        """Take the parameters of the best epoch."""
        for name, module in self.modules.items():
            with module._changing() as flat:
                flat[...] = self.best[name]

    def _write(self) -> None:
        if self._file is not None:
            self._file.write()

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(self)


def _added(total: list[Gradients], step: Step) -> list[Gradients]:
    """Add a step's gradients, times its weight, to those in `total`, if there are any yet."""
    for gradient in step.gradients:
        gradient._flat *= step.weight
    if not total:
        return step.gradients
    for so_far, gradient in zip(total, step.gradients, strict=True):
        so_far._flat += gradient._flat
    return total
