"""Training options, and optimizers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bptt._core import checks
from bptt.nn.module import Module
from bptt.optim.optimizers import OPTIMIZERS, Optimizer
from bptt.optim.schedules import Schedule
from bptt.training._progress import bar_class

OptimizerSpec: TypeAlias = str | Callable[[list[Module]], Optimizer]


def make_optimizer(
    kind: OptimizerSpec, modules: Mapping[str, Module], learning_rate: float
) -> Optimizer:
    """Return an optimizer of all `modules`.

    Parameters
    ----------
    kind : str, class or function
        Name of the optimizer, a key of `bptt.optim.OPTIMIZERS` such as "adam" or "sgd", its class,
        or a function from the list of modules to an `Optimizer`.
    modules : mapping of str to Module
        Modules to optimize.
    learning_rate : float
        Learning rate of an optimizer given by name or class.

    Returns
    -------
    Optimizer

    Raises
    ------
    TypeError, ValueError
        If the name is unknown, or the function returns another type.
    """
    chosen = list(checks.fields("modules", modules).values())
    if isinstance(kind, Optimizer):
        name = type(kind).__name__
        raise TypeError(
            f"optimizer must be a name, a class or a function, got an object: use {name}"
        )
    build: Callable[..., Optimizer] = (
        kind if callable(kind) else OPTIMIZERS[checks.one_of(*OPTIMIZERS)("optimizer", kind)]
    )
    if build in OPTIMIZERS.values():
        return build(chosen, learning_rate=learning_rate)
    made = build(chosen)
    if not isinstance(made, Optimizer):
        raise TypeError(f"optimizer must return an Optimizer, got {type(made).__name__}")
    return made


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of the training loop.

    Parameters
    ----------
    epochs : int
        Number of epochs.
    batch_size : int
        Minibatch size, in sequences.
    schedule : Schedule, optional
        Factor of the learning rate in the course of training; see `bptt.optim.schedules`.
    clip_norm : float, optional
        Maximum global norm of the gradients. None disables clipping by norm.
    clip_value : float, optional
        Maximum absolute value of every element of the gradients, applied before `clip_norm`.
    accumulate : int
        Number of minibatches whose gradients are accumulated for one update, which follows the
        gradient of the mean loss over all their targets.
    nonfinite : {"raise", "skip"}
        What a loss or gradient that is NaN or infinite leads to: FloatingPointError, or a warning,
        and the update is left out.
    patience : int, optional
        Number of epochs without improvement after which training stops and the best weights are
        restored. The monitored value is that of the validation data if there are any, else that of
        the training data.
    monitor : {"loss", "max_metric", "min_metric"}
        Monitored value: the loss, or a metric that is to become large or small.
    min_delta : float
        Minimum change of the monitored value that counts as an improvement.
    verbose : bool or int
        Show progress: 1 (True) a bar in a terminal, with tqdm, and one line per epoch; 2 the lines
        alone.

    Raises
    ------
    TypeError, ValueError
        If an option has the wrong type or an invalid value.
    ImportError
        If ``verbose=1`` and tqdm is not installed.
    """

    epochs: int = 20
    batch_size: int = 32
    schedule: Schedule | None = None
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    accumulate: int = 1
    nonfinite: str = "raise"
    patience: int | None = None
    monitor: str = "loss"
    min_delta: float = 0.0
    verbose: bool | int = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "patience"):
            if name != "patience" or self.patience is not None:
                self._set(name, checks.integer(name, getattr(self, name)))
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                self._set(name, checks.positive(name, getattr(self, name)))
        checks.one_of("loss", "max_metric", "min_metric")("monitor", self.monitor)
        checks.one_of("raise", "skip")("nonfinite", self.nonfinite)
        self._set("min_delta", checks.number("min_delta", self.min_delta, 0.0))
        if self.schedule is not None and not callable(self.schedule):
            kind = type(self.schedule).__name__
            raise TypeError(
                f"schedule must be callable, as those of bptt.optim.schedules, got {kind}"
            )
        if isinstance(self.schedule, type):
            name = self.schedule.__name__
            raise TypeError(f"schedule must be an object, got the class {name}: use {name}(..)")
        self._set("verbose", checked_verbose(self.verbose))
        if self.verbose == 1:
            bar_class()

    def _set(self, name: str, value: object) -> None:
        """Set a field to its checked value, which has a plain type."""
        object.__setattr__(self, name, value)


def checked_verbose(value: Any) -> int:
    """Check that `value` is a bool, 0, 1 or 2.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(value, (bool, np.bool_, int, np.integer)) or value not in (0, 1, 2):
        raise ValueError(f"verbose must be False, True, 0, 1 or 2, got {value!r}")
    return int(value)
