"""Training loop: minibatches, updates, validation, early stopping and checkpoints.

`train` works on any network that computes the gradients of a minibatch (`TrainingTask`) and any
source of minibatches (`Dataset`). The result depends on task, data, options and seed alone, bit for
bit: neither on the number of threads, nor on whether training was interrupted or killed and then
resumed.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt.distributed._communicator import Communicator
from bptt.distributed._gradients import check_equal_parameters
from bptt.distributed._guard import joined
from bptt.nn.module import Gradients
from bptt.optim.clipping import clip_by_value, clipping_factor, global_norm
from bptt.optim.optimizers import Optimizer
from bptt.training._checkpoint import Checkpoint, description
from bptt.training._progress import Progress
from bptt.training._rank_work import RankWork
from bptt.training._state import EpochTotals, TrainingState
from bptt.training.history import Epoch, History
from bptt.training.options import TrainingOptions
from bptt.training.protocols import Dataset, OrderedDataset, TrainingStep, TrainingTask
from bptt.training.windowed import WindowedDataset

MAX_LOSS_GROWTH = 1e8
"""Training has diverged if the loss exceeds this multiple of the first loss, or of 1."""

_ADVICE = "try a smaller learning_rate or clip_norm"


class NonFiniteError(FloatingPointError):
    """The loss or the gradients of an update are not finite."""


def train(
    task: TrainingTask,
    data: Dataset | WindowedDataset,
    *,
    options: TrainingOptions,
    optimizer: Optimizer,
    seed: int,
    validation: Dataset | WindowedDataset | None = None,
    callbacks: Sequence[object] = (),
    checkpoint_path: str | os.PathLike[str] | None = None,
    save_every: int | None = None,
    resume: bool = False,
    settings: Mapping[str, str] | None = None,
    communicator: Communicator | None = None,
) -> History:
    """Train the modules of a task in place.

    Afterwards the parameters are those of the last epoch, or with ``options.patience`` those of the
    best. If training is interrupted, by Ctrl-C or any other exception, they are those of the best
    complete epoch, or the initial ones if no epoch was completed.

    Parameters
    ----------
    task : TrainingTask
        The network and its loss.
    data : Dataset or WindowedDataset
        Training data.
    options : TrainingOptions
        Number of epochs, minibatch size, clipping, schedule, early stopping.
    optimizer : Optimizer
        Optimizer of the task's modules, in their order. Its state is not reset.
    seed : int
        Seed of the order of the minibatches, >= 0.
    validation : Dataset or WindowedDataset, optional
        Validation data, evaluated after every epoch.
    callbacks : sequence of functions or objects
        A function is called after every epoch. An object has one or more of the methods
        ``on_train_begin``, ``on_batch_end`` (after an update), ``on_epoch_end`` and
        ``on_train_end`` (not after an interruption). The argument is the `Training`.
    checkpoint_path : path, optional
        Checkpoint file, written after every epoch.
    save_every : int, optional
        Number of updates after which the checkpoint is also written. Ignored for an
        `OrderedDataset`.
    resume : bool
        Continue from the checkpoint file if it exists; otherwise the file is overwritten. A
        completed training continues if `options` has more epochs than before.
    settings : mapping of str to str, optional
        Further settings, by name, that must be unchanged for a training to be resumed.
    communicator : Communicator or mpi4py.MPI.Comm, optional
        Ranks that train together, each with the same arguments, but for data that are `shards`; see
        `bptt.distributed`. Rank 0 reads and writes the checkpoint and shows progress; callbacks are
        called on all ranks.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value, or the checkpoint is broken or
        belongs to a training with other data, modules or options. The parameters are unchanged.
    FloatingPointError
        If a loss or the norm of the gradients is not finite (with ``options.nonfinite="skip"``: in
        all updates of an epoch), a parameter is not finite after an epoch or when the checkpoint is
        due, or a loss is more than 1e8 times the first one (or 1). An existing checkpoint stays.
    OSError
        If no checkpoint can be written: FileNotFoundError if its directory does not exist.
    ImportError
        If a checkpoint is requested and safetensors is not installed.
    """
    with joined(communicator) as ranks:
        training = Training(
            task, data, options, optimizer, seed, validation, callbacks, settings, ranks
        )
        resume = checks.flag("resume", resume)
        if checkpoint_path is None and (resume or save_every is not None):
            name = "resume=True" if resume else "save_every"
            raise ValueError(f"{name} needs checkpoint_path, got checkpoint_path=None")
        if checkpoint_path is not None:
            training.enable_checkpoints(checkpoint_path, save_every, resume=resume)
        training.run()
    return training.history


class Training(TrainingState):
    """A training run, as callbacks see it.

    Parameters
    ----------
    task, data, options, optimizer, seed, validation, callbacks, settings : as for `train`
        Arguments of `train`.
    communicator : Communicator or mpi4py.MPI.Comm, optional
        Ranks that train together.

    Attributes
    ----------
    task, data, options, optimizer, seed, validation, callbacks, settings, communicator
        The arguments.
    num_sequences : int
        Number of sequences of an epoch, on all ranks together.
    modules : dict of str to Module
        Modules of the task.
    history : History
        Completed epochs.
    epoch : int
        Number of the current epoch, from 1.
    batch : int
        Number of minibatches done in this epoch.
    updates : int
        Number of updates of the parameters, over all epochs, with those that were left out.
    loss, metric, gradient_norm : float
        Values of the last update. The metric is None if the task has none.
    totals : EpochTotals
        Weighted sums over this epoch; ``totals.means()`` is its mean loss and metric so far.
    best : dict of str to array
        Parameters of the best epoch, flat, by module.
    """

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
        super().__init__(
            task, data, options, optimizer, seed, validation, callbacks, settings, communicator
        )
        self._work = RankWork(self)
        self._base_rate = optimizer.learning_rate
        self._stopping = False
        self._checkpoint: Checkpoint | None = None
        self._save_every = 0

    def stop(self) -> None:
        """Stop training after this epoch."""
        self._stopping = True

    def enable_checkpoints(
        self,
        path: str | os.PathLike[str],
        save_every: int | None = None,
        *,
        resume: bool = False,
    ) -> None:
        """Write a checkpoint after every epoch and every `save_every` updates.

        Parameters
        ----------
        path : path
            Checkpoint file.
        save_every : int, optional
            Number of updates between checkpoints within an epoch.
        resume : bool
            Continue from the file if it exists.

        Raises
        ------
        TypeError, ValueError, FileNotFoundError, ImportError
            As for `train`.
        """
        self._save_every = 0 if save_every is None else checks.integer("save_every", save_every)
        resume = checks.flag("resume", resume)
        self._checkpoint = Checkpoint(path, self)
        if isinstance(self.data, OrderedDataset):
            self._save_every = 0  # a checkpoint does not contain the state between minibatches
        if resume and self._checkpoint.exists():
            self._checkpoint.read(len(self._work.batches()))

    def run(self) -> None:
        """Train until all epochs are done, training stops early, or a callback stops it.

        Raises
        ------
        FloatingPointError
            As for `train`.
        """
        try:
            self._check_ranks()
            self._notify("on_train_begin")
            while not self._finished():
                self._run_epoch()
        except BaseException:  # includes KeyboardInterrupt
            self._restore_best()
            raise
        finally:
            self.optimizer.learning_rate = self._base_rate
        if self.options.patience is not None:
            self._restore_best()
        self._work.end()
        self._notify("on_train_end")

    def _run_epoch(self) -> None:
        """Train on the remaining minibatches of the epoch."""
        options = self.options
        batches = self._work.batches()
        updates = -(-len(batches) // options.accumulate)
        losses = [epoch.monitored for epoch in self.history]
        title = f"epoch {self.epoch}/{options.epochs}"
        done = self._work.count_done(batches)
        start = time.perf_counter() - self.totals.seconds
        verbose = options.verbose if self.communicator.is_first else 0
        with Progress(verbose, title, self.num_sequences, done) as progress:
            while self.batch < len(batches):
                group = list(batches[self.batch : self.batch + options.accumulate])
                if options.schedule is not None:
                    found = options.schedule(self.updates, updates, losses)
                    factor = checks.number("the factor of schedule", found, 0.0)
                    self.optimizer.learning_rate = self._base_rate * factor
                self._update(group)
                self.totals.seconds = time.perf_counter() - start
                loss, metric = self.totals.means()
                progress.update(self._work.count(group), loss, metric, self.gradient_norm)
                self._notify("on_batch_end")
                due = self._save_every and self.updates % self._save_every == 0
                if due and self.batch < len(batches):
                    self._check_parameters()
                    self._write_checkpoint()
            self._end_epoch(updates, start)
            progress.end(self.history[-1])
        self._notify("on_epoch_end")
        self._write_checkpoint()

    def _update(self, group: list[NDArray[np.int64]]) -> None:
        """Make one optimizer step from the minibatches of `group`, or leave it out."""
        try:
            steps, gradients = self._gradients(group)
            norm, factor = self._clip(gradients)
            if not math.isfinite(norm):
                raise self._not_finite("norm of the gradients", norm, gradients)
        except NonFiniteError as error:
            if self.options.nonfinite == "raise":
                raise
            if self.communicator.is_first:
                warnings.warn(f"update {self.updates + 1} is left out: {error}", stacklevel=2)
            self.totals.skipped += 1
        else:
            self.optimizer.step(gradients, gradient_scale=factor)
            group_totals = EpochTotals()
            for step in steps:
                self.totals.add(step)
                group_totals.add(step)
            self.loss, self.metric = group_totals.means()
            self.gradient_norm = norm
            self.totals.gradient_norm += norm
        self.updates += 1
        self.batch += len(group)

    def _gradients(
        self, group: list[NDArray[np.int64]]
    ) -> tuple[list[TrainingStep], list[Gradients]]:
        """Return the steps of minibatches, and the gradients of the mean loss of their targets."""
        steps: list[TrainingStep] = []
        total: list[Gradients] = []
        first = self.updates * self.options.accumulate
        for number, indices in enumerate(group, first):
            step = self._work.step(indices, number)
            if self.communicator.is_alone:
                self._check_loss(step)
            total = step.gradients if len(group) == 1 else _accumulate(total, step)
            steps.append(step._replace(gradients=[]))
        if not self.communicator.is_alone:
            steps = self._work.combine(steps, total)
            for step in steps:
                self._check_loss(step)
            return steps, total
        weight = sum(step.weight for step in steps)
        if len(group) > 1 and weight:
            for gradient in total:
                values, _ = gradient._stored()
                values /= weight
        return steps, total

    def _clip(self, gradients: list[Gradients]) -> tuple[float, float]:
        """Clip by value; return the norm before, and the factor that then clips by norm.

        The optimizer applies the factor, as it reads the gradients anyway.
        """
        limit, max_norm = self.options.clip_value, self.options.clip_norm
        norm = clipped = global_norm(gradients)
        if limit is not None:
            clip_by_value(gradients, limit)
            clipped = norm if max_norm is None else global_norm(gradients)
        return norm, 1.0 if max_norm is None else clipping_factor(clipped, max_norm)

    def _end_epoch(self, updates: int, start: float) -> None:
        """Validate, append the epoch to the history, and reset the totals."""
        self._check_parameters()
        if not self.communicator.is_alone:
            check_equal_parameters(list(self.modules.values()), self.communicator)
        made = updates - self.totals.skipped
        if made < 1:
            raise FloatingPointError(
                f"all {updates} updates of epoch {self.epoch} had a loss or gradient that is not "
                f"finite: {_ADVICE}"
            )
        loss, metric = self.totals.means()
        validated: tuple[float | None, float | None] = None, None
        if self.validation is not None:
            validated = self._evaluate()
        self.history.append(
            Epoch(
                self.epoch,
                loss,
                metric,
                *validated,
                gradient_norm=self.totals.gradient_norm / made,
                learning_rate=self.optimizer.learning_rate,
                seconds=time.perf_counter() - start,
            )
        )
        if self.history.epochs_since_best(self.options.min_delta, self.options.monitor) == 0:
            self.best = self._copy_parameters()
        self.batch, self.totals = 0, EpochTotals()

    def _evaluate(self) -> tuple[float, float | None]:
        loss, metric = self._work.evaluate().means()
        if not math.isfinite(loss):
            raise self._not_finite("validation loss", loss)
        return loss, metric

    def _check_loss(self, step: TrainingStep) -> None:
        """Check that the loss of a minibatch is finite, and not far above the first one."""
        loss = step.loss
        if not math.isfinite(loss):
            raise self._not_finite("loss", loss, step.gradients)
        if self.first_loss is None:
            self.first_loss = self.history[0].loss if self.history else loss
        if loss > MAX_LOSS_GROWTH * max(1.0, self.first_loss):
            raise FloatingPointError(
                f"the loss is {loss:.3g} in epoch {self.epoch}, after {self.batch} minibatches, "
                f"more than {MAX_LOSS_GROWTH:,.0f} times the first, {self.first_loss:.3g} (or 1): "
                "training diverges; try a smaller learning_rate, or clip_norm"
            )

    def _check_ranks(self) -> None:
        """Check that all ranks begin the same training."""
        if not self.communicator.is_alone:
            found = {**description(self), "the kernels (BPTT_ISA)": loader.kernels.__name__}
            self.communicator._check_same(found)
            check_equal_parameters(list(self.modules.values()), self.communicator)

    def _check_parameters(self) -> None:
        """Check that the parameters are finite: those of `best` and of a checkpoint always are."""
        for name, module in self.modules.items():
            found = _not_finite_name(module.parameters)
            if found is not None:
                raise FloatingPointError(
                    f"the parameter {name}.{found} is not finite in epoch {self.epoch}, after "
                    f"{self.batch} minibatches: {_ADVICE}"
                )

    def _not_finite(
        self, what: str, value: float, gradients: Sequence[Gradients] = ()
    ) -> NonFiniteError:
        where = ""
        for name, gradient in zip(self.modules, gradients, strict=False):
            found = _not_finite_name(gradient)
            if found is not None:
                where = f", and the gradient of {name}.{found} is not finite"
                break
        return NonFiniteError(
            f"the {what} is {value} in epoch {self.epoch}, after {self.batch} minibatches{where}: "
            f"{_ADVICE}"
        )

    def _finished(self) -> bool:
        options = self.options
        if self.communicator._any(self._stopping) or self.epoch > options.epochs:
            return True
        waited = self.history.epochs_since_best(options.min_delta, options.monitor)
        return options.patience is not None and waited >= options.patience

    def _write_checkpoint(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.write()

    def _notify(self, event: str) -> None:
        """Call the method `event` of every callback that has it."""
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(self)


def _not_finite_name(arrays: Mapping[str, FloatArray]) -> str | None:
    """Return the name of the first array that is not finite, or None."""
    return next((name for name, array in arrays.items() if not np.isfinite(array).all()), None)


def _accumulate(total: list[Gradients], step: TrainingStep) -> list[Gradients]:
    """Add the gradients of a step, times its weight, to `total`, which is empty at first."""
    for gradient in step.gradients:
        values, _ = gradient._stored()
        values *= step.weight
    if not total:
        return step.gradients
    for accumulated, gradient in zip(total, step.gradients, strict=True):
        accumulated._add(gradient)
    return total
