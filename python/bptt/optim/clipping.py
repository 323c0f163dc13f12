"""Gradient clipping, in place."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bptt._core import checks, loader
from bptt.nn.module import Gradients, as_list


def clip_by_value(gradients: Gradients | Sequence[Gradients], limit: float) -> None:
    """Clip every element of the parameters' gradients to [-limit, limit], in place.

    Parameters
    ----------
    gradients : Gradients or sequence of Gradients
        NaN stays NaN.
    limit : float
        Greater than 0; may be infinite.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or `limit` is not positive.
    """
    chosen = as_list("gradients", gradients, Gradients)
    bound = checks.positive("limit", limit)
    for gradient in chosen:
        loader.kernels.clip(gradient._flat, bound)


def clip_by_global_norm(gradients: Gradients | Sequence[Gradients], max_norm: float) -> float:
    """Scale the parameters' gradients so that their common norm is at most `max_norm`, in place.

    The norm is √Σg² over all parameters of all modules together, so that the direction of the step
    stays: R. Pascanu, T. Mikolov and Y. Bengio (2013), On the difficulty of training recurrent
    neural networks, algorithm 1.

    Parameters
    ----------
    gradients : Gradients or sequence of Gradients
        Of all modules that are trained together.
    max_norm : float
        Greater than 0; with infinity the gradients are only measured.

    Returns
    -------
    float
        The norm before clipping. If it is NaN or infinite, the gradients have not been changed.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or `max_norm` is not positive.
    """
    chosen = as_list("gradients", gradients, Gradients)
    bound = checks.positive("max_norm", max_norm)
    norm = math.sqrt(sum(loader.kernels.sum_of_squares(gradient._flat) for gradient in chosen))
    if bound < norm < math.inf:
        for gradient in chosen:
            loader.kernels.scale(gradient._flat, bound / norm)
    return norm
