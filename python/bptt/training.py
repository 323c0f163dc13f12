"""The training loop: minibatches, updates, validation, early stopping, checkpoints.

`train` works on anything that has modules and can say loss and gradients of a batch (`Learner`),
and on anything that makes batches of sequences (`Data`). What happens depends on the data, the
options and the seed alone: not on the number of threads, and not on whether training was
interrupted and resumed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt import batches, checks
from bptt.checks import FloatArray
from bptt.clipping import clip_by_global_norm, clip_by_value
from bptt.history import Epoch, History
from bptt.module import Gradients, Module
from bptt.optimisers import SGD, Adam, AdamW, Optimiser, RMSProp
from bptt.progress import Progress, bar_class
from bptt.schedules import Schedule
from bptt.training_file import read_checkpoint, write_checkpoint


class Step(NamedTuple):
    """What a learner says of one minibatch while it learns."""

    loss: float
    """Mean over the targets."""
    metric: float
    """The same; NaN for none."""
    weight: float
    """Number of targets, or the sum of their weights."""
    gradients: list[Gradients]
    """Of the mean loss, in the order of the modules."""


class Score(NamedTuple):
    """What a learner says of data that it does not learn from."""

    loss: float
    metric: float
    weight: float


class Learner(Protocol):
    """What can be trained."""

    @property
    def modules(self) -> Mapping[str, Module]:
        """Name -> module."""

    def gradients(self, batch: Any) -> Step:
        """Return loss and gradients of a batch."""

    def evaluate(self, batch: Any) -> Score:
        """Return loss and metric of a batch, without dropout."""


class Data(Protocol):
    """What can be learned from.

    Data may also have a method ``order()`` that returns the minibatches of an epoch, arrays of
    indices, if they must come in an order of their own.
    """

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each sequence."""

    def batch(self, indices: NDArray[np.int64]) -> Any:
        """Return some of the sequences as the learner wants them."""


_OPTIMISERS: dict[str, Callable[..., Optimiser]] = {
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSProp,
    "sgd": SGD,
}
OptimiserOf: TypeAlias = str | Callable[[list[Module]], Optimiser]


def make_optimiser(
    kind: OptimiserOf, modules: Mapping[str, Module], learning_rate: float
) -> Optimiser:
    """Return an optimiser of all modules, by its name or from a function of the list of them."""
    chosen = list(modules.values())
    if callable(kind):
        return kind(chosen)
    name = checks.one_of(*_OPTIMISERS)("optimiser", kind)
    return _OPTIMISERS[name](chosen, learning_rate=learning_rate)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train; see `bptt.estimator.SequenceEstimator` for what the fields mean.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind, or has a value out of its range.
    """

    epochs: int = 20
    batch_size: int = 32
    schedule: Schedule | None = None
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    accumulate: int = 1
    patience: int | None = None
    min_delta: float = 0.0
    verbose: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            checks.integer(name, getattr(self, name))
        if self.patience is not None:
            checks.integer("patience", self.patience)
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                checks.positive(name, getattr(self, name))
        checks.number("min_delta", self.min_delta, 0.0)
        if self.schedule is not None and not callable(self.schedule):
            kind = type(self.schedule).__name__
            raise TypeError(f"schedule must be a schedule of bptt.schedules, got {kind}")
        if checks.flag("verbose", self.verbose):
            bar_class()


def train(
    learner: Learner,
    data: Data,
    *,
    options: TrainingOptions,
    optimiser: Optimiser,
    seed: int,
    validation: Data | None = None,
    callbacks: Sequence[object] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_updates: int | None = None,
    resume: bool = False,
    about: Mapping[str, str] | None = None,
) -> History:
    """Change the parameters of a learner's modules until it has learned.

    Without `patience` the parameters are in the end those of the last epoch, with it those of the
    best. If training is interrupted (Ctrl-C, a callback's error, a loss that is not finite), they
    are those of the best epoch so far, if there has been one.

    Parameters
    ----------
    learner, data
    options : TrainingOptions
    optimiser : Optimiser
        Of the learner's modules, in their order. Its learning rate is what the schedule multiplies.
    seed : int
        Of the order of the data.
    validation : data to watch, optional
    callbacks : sequence of objects
        Each may have the methods ``on_train_begin``, ``on_batch_end``, ``on_epoch_end`` and
        ``on_train_end``. They are called with the `Training`, which can be asked to ``stop()``.
    checkpoint : path, optional
        File that is written after every epoch, and after every `checkpoint_updates` updates.
    resume : bool
        Whether to go on from the file, if there is one.
    about : mapping, optional
        What else must be the same for a training to be resumed, by name.

    Returns
    -------
    History

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    ValueError
        If the file is of another training.
    """
    training = Training(
        learner, data, options, optimiser, seed, validation, tuple(callbacks), about or {}
    )
    if checkpoint is not None:
        training.write_to(checkpoint, checkpoint_updates)
        if resume and os.path.exists(checkpoint):
            training.read(checkpoint)
    training.run()
    return training.history


Parameters: TypeAlias = dict[str, FloatArray]  # flat, of every module


@dataclass
class _Sums:
    """What is added up over an epoch."""

    loss: float = 0.0
    metric: float = 0.0
    weight: float = 0.0
    norm: float = 0.0
    updates: int = 0
    seconds: float = 0.0

    def add(self, step: Step | Score) -> None:
        self.loss += step.loss * step.weight
        self.metric += step.metric * step.weight
        self.weight += step.weight

    def means(self) -> tuple[float, float]:
        weight = self.weight or 1.0
        return self.loss / weight, self.metric / weight


@dataclass
class Training:
    """A training as it goes on.

    Attributes
    ----------
    learner, data, options, optimiser, validation, about
        What `train` was called with.
    history : History
        The epochs so far.
    epoch : int
        Number of the epoch that is going on, from 1.
    updates : int
        Number of all updates so far.
    loss : float
        Mean of the last minibatch.
    """

    learner: Learner
    data: Data
    options: TrainingOptions
    optimiser: Optimiser
    seed: int
    validation: Data | None
    callbacks: tuple[object, ...]
    about: Mapping[str, str]
    history: History = field(default_factory=History)
    epoch: int = 1
    updates: int = 0
    loss: float = math.nan

    def __post_init__(self) -> None:
        self.base_rate = self.optimiser.learning_rate
        self.done_batches = 0  # of the epoch that is going on
        self.sums = _Sums()
        self.best: Parameters = {}
        self._stopped = False
        self._file: str | os.PathLike[str] | None = None
        self._file_updates: int | None = None

    def stop(self) -> None:
        """End training after this epoch."""
        self._stopped = True

    def write_to(self, path: str | os.PathLike[str], updates: int | None) -> None:
        """Write a checkpoint after every epoch, and after so many updates."""
        self._file = path
        self._file_updates = None if updates is None else checks.integer("updates", updates)

    def read(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint."""
        read_checkpoint(path, self)

    def run(self) -> None:
        """Train to the end."""
        self._tell("on_train_begin")
        try:
            while not self._ended():
                self._run_epoch()
        except BaseException:  # Ctrl-C too
            self._restore_best()
            raise
        finally:
            self.optimiser.learning_rate = self.base_rate
        if self.options.patience is not None:
            self._restore_best()
        self._tell("on_train_end")

    # ---- an epoch

    def _run_epoch(self) -> None:
        options, start = self.options, time.perf_counter()
        already = self.sums.seconds
        order = self._order()
        per_epoch = -(-len(order) // options.accumulate)
        done = sum(map(len, order[: self.done_batches]))
        total = len(self.data.lengths)
        with Progress(options.verbose, self.epoch, options.epochs, total, done) as bar:
            while self.done_batches < len(order):
                group = order[self.done_batches : self.done_batches + options.accumulate]
                norm = self._update(group, per_epoch)
                self.sums.seconds = already + time.perf_counter() - start
                loss, metric = self.sums.means()
                bar.advance(sum(map(len, group)), loss=loss, metric=metric, norm=norm)
                self._tell("on_batch_end")
                if self._file_updates and self.updates % self._file_updates == 0:
                    self._write()
            self._end_epoch(bar)

    def _order(self) -> list[NDArray[np.int64]]:
        """The minibatches of the epoch, in the data's own order if they have one."""
        own: Callable[[], list[NDArray[np.int64]]] | None = getattr(self.data, "order", None)
        if own is not None:
            return own()
        size = self.options.batch_size
        return batches.shuffled(self.data.lengths, size, self.seed, self.epoch)

    def _update(self, group: list[NDArray[np.int64]], per_epoch: int) -> float:
        """Learn from the minibatches of a group together; return the gradient's norm."""
        gradients = self._gradients(group)
        options = self.options
        if options.clip_value is not None:
            clip_by_value(gradients, options.clip_value)
        norm = clip_by_global_norm(gradients, options.clip_norm or math.inf)
        if options.schedule is not None:
            monitored = [epoch.monitored for epoch in self.history]
            factor = options.schedule(self.updates, per_epoch, monitored)
            self.optimiser.learning_rate = self.base_rate * factor
        self.optimiser.step(gradients)
        self.updates += 1
        self.done_batches += len(group)
        self.sums.norm += norm
        self.sums.updates += 1
        return norm

    def _gradients(self, group: list[NDArray[np.int64]]) -> list[Gradients]:
        """The gradients of the mean loss over all targets of some minibatches."""
        total: list[Gradients] = []
        weight = 0.0
        for indices in group:
            step = self.learner.gradients(self.data.batch(indices))
            self.loss = step.loss
            self._check_finite()
            self.sums.add(step)
            weight += step.weight
            if len(group) > 1:
                for gradient in step.gradients:
                    gradient._flat *= step.weight
            for so_far, gradient in zip(total, step.gradients, strict=bool(total)):
                so_far._flat += gradient._flat
            total = total or step.gradients
        if len(group) > 1 and weight > 0:
            for gradient in total:
                gradient._flat /= weight
        return total

    def _check_finite(self) -> None:
        if not math.isfinite(self.loss):
            raise FloatingPointError(
                f"the loss is {self.loss} in epoch {self.epoch}, minibatch "
                f"{self.done_batches + 1}: try a smaller learning_rate or clip_norm"
            )

    def _end_epoch(self, bar: Progress) -> None:
        loss, metric = self.sums.means()
        judged = None if self.validation is None else self._evaluate(self.validation)
        epoch = Epoch(
            number=self.epoch,
            loss=loss,
            metric=metric,
            validation_loss=None if judged is None else judged[0],
            validation_metric=None if judged is None else judged[1],
            gradient_norm=self.sums.norm / max(self.sums.updates, 1),
            learning_rate=self.optimiser.learning_rate,
            seconds=self.sums.seconds,
        )
        bar.show(**{k: v for k, v in epoch._asdict().items() if k not in ("number", "seconds")})
        best = min((e.monitored for e in self.history), default=math.inf)
        if epoch.monitored < best - self.options.min_delta or not self.best:
            self.best = {k: m._flat.copy() for k, m in self.learner.modules.items()}
        self.history.append(epoch)
        self.epoch += 1
        self.done_batches = 0
        self.sums = _Sums()
        self._tell("on_epoch_end")
        if self._file is not None:
            self._write()

    def _evaluate(self, data: Data) -> tuple[float, float]:
        sums = _Sums()
        for indices in batches.in_order(data.lengths, self.options.batch_size):
            sums.add(self.learner.evaluate(data.batch(indices)))
        return sums.means()

    # ---- the end

    def _ended(self) -> bool:
        """Whether there is no epoch any more."""
        if self._stopped or self.epoch > self.options.epochs:
            return True
        if self.options.patience is None:
            return False
        best, waited = math.inf, 0
        for epoch in self.history:
            better = epoch.monitored < best - self.options.min_delta
            best, waited = (epoch.monitored, 0) if better else (best, waited + 1)
        return waited >= self.options.patience

    def _restore_best(self) -> None:
        for name, flat in self.best.items():
            with self.learner.modules[name]._changing() as own:
                own[...] = flat

    def _write(self) -> None:
        assert self._file is not None
        write_checkpoint(self._file, self)

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(self)
