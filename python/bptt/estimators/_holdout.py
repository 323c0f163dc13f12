"""Hold-out: the sequences of the training data that are held out for validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def is_fraction(validation: Any) -> bool:
    """Return whether validation data are a fraction of the training data."""
    is_number = isinstance(validation, (int, float, np.integer, np.floating))
    return is_number and not isinstance(validation, bool)


def is_splitter(validation: Any) -> bool:
    """Return whether validation data are chosen by a splitter of scikit-learn."""
    text = isinstance(validation, (str, bytes, bytearray))
    return callable(getattr(validation, "split", None)) and not text


def hold_out(
    validation: Any,
    count: int,
    y: Any,
    groups: Any,
    random: np.random.Generator,
    name: str = "validation",
) -> tuple[Indices, Indices]:
    """Split the indices 0 .. count-1 for training and validation.

    Parameters
    ----------
    validation : float or splitter
        Fraction held out, in (0, 1), at random; or a splitter of scikit-learn, whose last split is
        used.
    count : int
        Number of sequences.
    y : array or list
        Targets, for a splitter that stratifies.
    groups : array (count,), optional
        Group of each sequence; groups are held out as a whole.
    random : numpy.random.Generator
        Source of randomness.
    name : str
        Name of the fraction in error messages.

    Returns
    -------
    tuple of two integer arrays
        Indices for training and for validation, sorted.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value, or a part would be empty.
    """
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (count,):
            raise ValueError(f"groups must have shape (B,) = ({count},), got {groups.shape}")
    if is_splitter(validation):
        return _by_splitter(validation, count, y, groups)
    fraction = float(validation)
    if not 0.0 <= fraction < 1.0:
        others = ", data (X, y), or a splitter of scikit-learn" if name == "validation" else ""
        raise ValueError(f"{name} must be a fraction in [0, 1){others}, got {validation}")
    members = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(members.max()) + 1
    held_out = round(units * fraction)
    if not 0 < held_out < units:
        what = "sequences" if groups is None else "groups"
        raise ValueError(
            f"{name} = {fraction:g} of {units} {what} leaves {units - held_out} for training and "
            f"{held_out} for validation: both need at least one"
        )
    chosen = np.isin(members, random.permutation(units)[:held_out])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _by_splitter(splitter: Any, count: int, y: Any, groups: Any) -> tuple[Indices, Indices]:
    """Return the last split: that of a time series has the most training data."""
    splits = list(splitter.split(np.arange(count), y, groups))
    if not splits or not len(splits[-1][0]) or not len(splits[-1][1]):
        raise ValueError(
            f"validation must leave sequences for training and for validation, got {splitter!r}"
        )
    training, held_out = (np.sort(np.asarray(part, np.int64)) for part in splits[-1])
    return training, held_out
