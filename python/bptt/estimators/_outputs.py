"""Functions of the output layer."""

from __future__ import annotations

import numpy as np

from bptt._core.checks import FloatArray


def log_softmax(logits: FloatArray) -> FloatArray:
    """Return log softmax(logits) over the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
