"""Missing values of features: filled in, with a mask and the time since the last observation.

Z. Che, S. Purushotham, K. Cho, D. Sontag and Y. Liu (2018), Recurrent neural networks for
multivariate time series with missing values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data.standardization import Standardizer
from bptt.distributed._pooling import pooled_max

MISSING = ("error", "mask", "decay")
"""Treatments of missing features."""


def with_mask(
    values: FloatArray, starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return features with their mask, and the time since the last observation.

    Parameters
    ----------
    values : array (N, I)
        Features of all sequences; NaN if missing.
    starts : int64 array (B,)
        Index of the first step of each sequence.
    lengths : int64 array (B,)
        Number of steps of each sequence.

    Returns
    -------
    features : array (total steps, 3 I)
        The last observed value, NaN before the first; 1 if observed, else 0; and the number of
        steps since the observation before, or since the first step. Without padding.
    starts : int64 array (B,)
        Index of the first step of each sequence in them.
    """
    firsts = np.cumsum(lengths) - lengths
    first = np.repeat(firsts, lengths)[:, np.newaxis]  # step of each row's sequence
    step = np.arange(len(first))[:, np.newaxis]
    x = values[np.repeat(starts - firsts, lengths) + step[:, 0]]
    observed = ~np.isnan(x)
    last = np.maximum.accumulate(np.where(observed, step, -1), axis=0)
    filled = np.where(last >= first, np.take_along_axis(x, np.maximum(last, 0), axis=0), np.nan)
    before = np.vstack([np.full((1, x.shape[1]), -1), last[:-1]])
    since = step - np.maximum(before, first)
    features = np.concatenate([filled, observed, since], axis=1, dtype=values.dtype)
    return features, firsts


def standardizer_with_mask(values: FloatArray, features: FloatArray) -> Standardizer:
    """Return the standardizer of observed values and of times; masks stay 0 and 1.

    Parameters
    ----------
    values : array (N, I)
        Features; NaN if missing, which does not count.
    features : array (N, 3 I)
        What `with_mask` made of them.

    Returns
    -------
    Standardizer
    """
    count = values.shape[1]
    times = Standardizer.from_values(features[:, 2 * count :])
    return _joined([*_of_observed(values), _identity(count), times])


def standardizer_of_decay(values: FloatArray, *, scale: bool) -> Standardizer:
    """Return the standardizer that puts the mean of observed values at 0; masks and times stay.

    Parameters
    ----------
    values : array (N, I)
        Features; NaN if missing, which does not count.
    scale : bool
        Whether their standard deviation becomes 1.

    Returns
    -------
    Standardizer
    """
    found = _joined([*_of_observed(values), _identity(2 * values.shape[1])])
    return found if scale else Standardizer(found.mean, np.ones_like(found.std))


def _of_observed(values: FloatArray) -> list[Standardizer]:
    """Return the standardizers of the columns, without what is missing."""
    observed = [column[~np.isnan(column)] for column in values.T]
    return [
        Standardizer.from_values(column[:, np.newaxis]) if pooled_max(len(column)) else _identity(1)
        for column in observed
    ]


def _joined(parts: list[Standardizer]) -> Standardizer:
    return Standardizer(
        np.concatenate([part.mean for part in parts]), np.concatenate([part.std for part in parts])
    )


def _identity(columns: int) -> Standardizer:
    return Standardizer(np.zeros(columns), np.ones(columns))
