"""Loss and error of numbers that are predicted at every step; NaN is no target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data.standardization import Standardizer
from bptt.estimators._regression_losses import RegressionLoss
from bptt.losses import Loss
from bptt.training.supervised import SequenceBatch


def loss_of_steps(loss: RegressionLoss, output: FloatArray, batch: SequenceBatch) -> Loss:
    """Return the mean loss over all steps with a target."""
    return loss(output, np.nan_to_num(batch.y), _step_weights(batch))


def weight_of_steps(batch: SequenceBatch) -> float:
    """Return the weight of all steps with a target."""
    return float(_step_weights(batch).sum())


def error_of_steps(
    loss: RegressionLoss,
    output: FloatArray,
    batch: SequenceBatch,
    standardizer: Standardizer | None,
) -> float:
    """Return the mean absolute error over all steps with a target, in the unit of the targets."""
    error = np.abs(loss.point(output) - batch.y)
    if standardizer is not None:
        error = error * standardizer.std
    weights = _step_weights(batch)
    errors = np.where(weights > 0, error.mean(axis=2), 0.0)
    return float((weights * errors).sum() / max(weights.sum(), 1e-300))


def _step_weights(batch: SequenceBatch) -> NDArray[np.float64]:
    """Return the weight of every step, (B, T): 0 beyond the end, and without a target."""
    counted = np.arange(batch.y.shape[1]) < batch.lengths[:, np.newaxis]
    weights: NDArray[np.float64] = (counted & ~np.isnan(batch.y).any(axis=2)).astype(np.float64)
    if batch.weights is not None:
        weights *= batch.weights[:, np.newaxis] if batch.weights.ndim == 1 else batch.weights
    return weights
