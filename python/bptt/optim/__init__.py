"""Optimizers, learning-rate schedules and gradient clipping."""

from bptt.optim import schedules
from bptt.optim.clipping import clip_by_global_norm, clip_by_value
from bptt.optim.optimizers import SGD, Adam, AdamW, Optimizer, RMSProp

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSProp",
    "clip_by_global_norm",
    "clip_by_value",
    "schedules",
]
