"""Optimizers, learning-rate schedules and gradient clipping."""

from bptt.optim import optimizers as _optimizers
from bptt.optim import schedules
from bptt.optim.clipping import clip_by_global_norm, clip_by_value
from bptt.optim.optimizers import *  # noqa: F403 - all optimizers
from bptt.optim.optimizers import OPTIMIZERS, Optimizer

__all__ = [
    "OPTIMIZERS",
    "Optimizer",
    "clip_by_global_norm",
    "clip_by_value",
    "schedules",
]
__all__ += _optimizers.__all__
