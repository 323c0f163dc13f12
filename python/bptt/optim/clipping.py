"""Gradient clipping, in place."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bptt._core import checks, loader
from bptt.nn.module import AllGradients, Gradients, as_list


def clip_by_value(gradients: AllGradients, limit: float) -> None:
    """Clip every element of the parameters' gradients to [-limit, limit], in place.

    Parameters
    ----------
    gradients : Gradients, SequentialGradients, or list of them
        What `backward` returned. Changed in place; NaN stays NaN.
    limit : float
        Largest absolute value, > 0; may be infinite.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """
    chosen = as_list("gradients", gradients, Gradients)
    bound = checks.positive("limit", limit)
    for gradient in chosen:
        loader.kernels.clip(gradient._stored().values, bound)


def clip_by_global_norm(gradients: AllGradients, max_norm: float) -> float:
    """Scale the parameters' gradients so that their global norm is at most `max_norm`, in place.

    The global norm is √Σg² over all parameters of all modules, so that scaling keeps the direction
    of the step: R. Pascanu, T. Mikolov and Y. Bengio (2013), On the difficulty of training
    recurrent neural networks, algorithm 1.

    Parameters
    ----------
    gradients : Gradients, SequentialGradients, or list of them
        What `backward` returned, of all modules that are trained together. Changed in place.
    max_norm : float
        Largest global norm, > 0; infinity only computes the norm.

    Returns
    -------
    float
        Global norm before clipping. If it is NaN or infinite, the gradients are unchanged.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value.
    """
    chosen = as_list("gradients", gradients, Gradients)
    bound = checks.positive("max_norm", max_norm)
    norm = global_norm(chosen)
    factor = clipping_factor(norm, bound)
    if factor < 1.0:
        for gradient in chosen:
            loader.kernels.scale(gradient._stored().values, factor)
    return norm


def global_norm(gradients: Iterable[Gradients]) -> float:
    """Return √Σg² over all parameters of all modules."""
    total = 0.0
    for gradient in gradients:
        values, rows = gradient._stored()
        size = 0 if rows is None else gradient._layout.size
        total += loader.kernels.sum_of_squares(values, rows, size)
    return math.sqrt(total)


def clipping_factor(norm: float, max_norm: float) -> float:
    """Return the factor that clips gradients of this global norm: 1 for NaN and infinity."""
    return max_norm / norm if max_norm < norm < math.inf else 1.0
