"""How to train: options and optimizers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bptt._core import checks
from bptt.nn.module import Module
from bptt.optim.optimizers import OPTIMIZERS, Optimizer
from bptt.optim.schedules import Schedule
from bptt.training._progress import bar_class

OptimizerSpec: TypeAlias = str | Callable[[list[Module]], Optimizer]


def make_optimizer(
    kind: OptimizerSpec, modules: Mapping[str, Module], learning_rate: float
) -> Optimizer:
    """Make an optimizer of all `modules`.

    Parameters
    ----------
    kind : str or function
        Name of an optimizer of `bptt.optim` in lower case, as "adam".
        A function takes the list of the modules; what it returns has a learning rate of its own.
    modules : mapping of str to Module
    learning_rate : float

    Raises
    ------
    TypeError, ValueError
        If there is no such optimizer, or the function returns something else.
    """
    chosen = list(modules.values())
    if not callable(kind):
        return OPTIMIZERS[checks.one_of(*OPTIMIZERS)("optimizer", kind)](
            chosen, learning_rate=learning_rate
        )
    made = kind(chosen)
    if not isinstance(made, Optimizer):
        raise TypeError(f"optimizer must return an Optimizer, got {type(made).__name__}")
    return made


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train.

    Parameters
    ----------
    epochs : int
        Passes over the data.
    batch_size : int
        Sequences of a minibatch.
    schedule : Schedule, optional
        What the optimizer's learning rate is multiplied with, see `bptt.schedules`.
    clip_norm : float, optional
        To which the common norm of all gradients is clipped.
    clip_value : float, optional
        To which every element of the gradients is clipped, before the norm is.
    accumulate : int
        Minibatches whose gradients make one update: that of the mean loss over all their targets.
    patience : int, optional
        After so many epochs without improvement training stops. The loss that is monitored is that
        of the validation data if there are any, else that of training.
    min_delta : float
        By how much more than this a loss must be lower to be an improvement.
    verbose : bool
        Whether to show progress, with tqdm.

    Raises
    ------
    TypeError, ValueError
        If one is of the wrong kind, or has a value out of its range.
    ImportError
        If ``verbose=True`` and tqdm is not installed.
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
