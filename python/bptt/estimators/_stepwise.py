"""Estimators step by step: what `bptt.Sessions` needs to answer after every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.target_encoder import TargetEncoder
from bptt.nn.sequential import Sequential


class StepwiseModel(NamedTuple):
    """An estimator that answers after every step."""

    network: Sequential
    encode: Callable[[Any], NDArray[Any]]
    """Steps of N sequences, one of each -> the network's input (N, features), or ids (N,)."""
    finish: Callable[[FloatArray], Any]
    """Output of the network (N, K) -> what the estimator predicts."""
    start: int | None = None
    """Id that is read before the first step."""


def encode_with(
    encoder: SequenceEncoder | TargetEncoder,
) -> Callable[[Any], NDArray[Any]]:
    """Return the function that encodes steps of N sequences, which the encoder reads as one."""

    def encode(x: Any) -> NDArray[Any]:
        if isinstance(x, np.ndarray) and x.dtype.kind in "OUS":
            x = x.tolist()
        if not hasattr(x, "__len__"):
            raise TypeError(f"x must be a list or an array, got {type(x).__name__}")
        if not len(x):
            raise ValueError("x must have at least one step, got none")
        return encoder.transform([x], name="x")[0]

    return encode
