"""Targets with any number of classes per sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data._containers import is_missing, unpacked
from bptt.data.labels import LabelEncoder


def is_indicator(y: Any) -> bool:
    """Return whether targets are an array (B, K) of 0 and 1, and not lists of labels."""
    if not hasattr(y, "__array__"):
        return False
    return np.ndim(y) == 2 and np.asarray(y).dtype.kind in "biuf"


def classes_of(y: Any, classes: Any) -> LabelEncoder:
    """Return the encoder of the classes of targets, or of the given ones.

    Parameters
    ----------
    y : array (B, K) of 0 and 1, or list of lists of labels
        Targets.
    classes : array (K,), optional
        All classes; by default the labels that occur, or 0 .. K-1.

    Raises
    ------
    TypeError, ValueError
        If y has another type or shape, or the classes are of several types.
    """
    if classes is None:
        if is_indicator(y):
            columns = np.asarray(y).shape[1]
            if not columns:
                raise ValueError(f"y must have shape (B, K) with K >= 1, got {np.shape(y)}")
            classes = np.arange(columns)
        else:
            classes = [label for row in _rows(y) for label in row]
    return LabelEncoder().fit(classes)


def indicators(y: Any, encoder: LabelEncoder, dtype: str) -> FloatArray:
    """Return targets as an array (B, K) of 0 and 1.

    Raises
    ------
    TypeError, ValueError
        If y has another type or shape, a value that is neither 0 nor 1, or an unknown label.
    """
    count = len(encoder.classes_)
    if not is_indicator(y):
        rows = _rows(y)
        found = np.zeros((len(rows), count), dtype)
        for i, row in enumerate(rows):
            if row:
                found[i, encoder.transform(row, name=f"y[{i}]")] = 1.0
        return found
    checks.not_masked("y", y)
    values = np.asarray(y)
    if values.shape[1] != count:
        raise ValueError(f"y must have shape (B, K) with K = {count}, got {values.shape}")
    if not np.isin(values, (0, 1)).all():
        wrong = values[~np.isin(values, (0, 1))][0]
        raise ValueError(f"y must be 0 or 1 for every class, got {wrong}")
    return values.astype(dtype)


def _rows(y: Any) -> list[list[Any]]:
    """Return the labels of each sequence."""
    rule = "y must be an array (B, K) of 0 and 1, or a list of lists of labels"
    y = unpacked(y, python=True)
    rows = list(y) if isinstance(y, np.ndarray) and y.ndim == 1 else y
    if not isinstance(rows, Sequence) or isinstance(rows, (str, bytes)):
        raise TypeError(f"{rule}, got {type(y).__name__}")
    found = []
    for i, row in enumerate(rows):
        is_row = isinstance(row, (Sequence, set, frozenset, np.ndarray))
        if not is_row or isinstance(row, (str, bytes)) or np.ndim(list(row)) > 1:
            raise TypeError(f"{rule}, got {type(row).__name__} in y[{i}]")
        labels = row.tolist() if isinstance(row, np.ndarray) else list(row)
        if any(map(is_missing, labels)):
            raise ValueError(f"y must not have missing labels, got one in y[{i}]")
        found.append(labels)
    return found
