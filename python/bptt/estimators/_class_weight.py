"""Weights of classes in the loss, against imbalance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.distributed._pooling import pooled_sum

ClassWeights = NDArray[np.float64]


def class_weights(
    class_weight: Any, classes: NDArray[Any], ids: Iterable[NDArray[np.integer[Any]]]
) -> ClassWeights | None:
    """Return the weight of every class.

    Parameters
    ----------
    class_weight : "balanced", mapping or None
        "balanced": the number of targets, divided by the number of classes that occur and by the
        frequency of the class, as in scikit-learn. A mapping: class -> weight; others have 1.
    classes : array (K,)
        Classes.
    ids : iterable of integer arrays
        Class ids of all targets; negative ones do not count.

    Returns
    -------
    float64 array (K,), or None
        None without weights.

    Raises
    ------
    TypeError, ValueError
        If `class_weight` has the wrong type, an unknown class, or an invalid weight.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, Mapping):
        return _from_mapping(class_weight, classes)
    if not isinstance(class_weight, str):
        kind = type(class_weight).__name__
        raise TypeError(
            f"class_weight must be 'balanced' or a dict from class to weight, got {kind}"
        )
    checks.one_of("balanced")("class_weight", class_weight)
    counts = np.zeros(len(classes), np.int64)
    for part in ids:
        counts += np.bincount(part[part >= 0], minlength=len(classes))
    counts = pooled_sum(counts)
    occurring = np.count_nonzero(counts)
    return np.where(counts > 0, counts.sum() / (occurring * np.maximum(counts, 1)), 1.0)


def _from_mapping(class_weight: Mapping[Any, Any], classes: NDArray[Any]) -> ClassWeights:
    known = classes.tolist()
    weights = np.ones(len(known))
    for label, weight in class_weight.items():
        if label not in known:
            raise ValueError(f"class_weight must have classes as keys, {known}, got {label!r}")
        weights[known.index(label)] = checks.number(f"class_weight[{label!r}]", weight, 0.0)
    return weights


def target_weights(
    ids: NDArray[np.integer[Any]],
    sample_weights: NDArray[np.float64] | None,
    by_class: ClassWeights | None,
) -> NDArray[np.float64] | None:
    """Return the weight of every target in the loss; None if all are 1.

    Parameters
    ----------
    ids : integer array (B,) or (B, T)
        Class ids; targets with a negative one have weight 0.
    sample_weights : array (B,), or (B, T), optional
        Weights of sequences, or of steps.
    by_class : array (K,), optional
        Weights of classes.

    Returns
    -------
    float64 array of the shape of ids, or None
    """
    known = ids >= 0
    if by_class is None and known.all():
        return sample_weights
    weights = known.astype(np.float64)
    if by_class is not None:
        weights *= by_class[np.maximum(ids, 0)]
    if sample_weights is not None:
        whole = sample_weights.ndim < ids.ndim
        weights *= sample_weights[:, np.newaxis] if whole else sample_weights
    return weights
