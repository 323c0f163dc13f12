"""Classes of any kind, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data.sequences import Sequences

_SHOWN = 10  # classes, in a message


class LabelEncoder:
    """Numbers for classes, in sorted order, one a sequence or one a step.

    Parameters
    ----------
    steps : bool
        Whether there is a label at every step.

    Attributes
    ----------
    classes_ : array (K,)
    """

    classes_: NDArray[Any]

    def __init__(self, *, steps: bool = False) -> None:
        self._steps = checks.flag("steps", steps)

    def fit(self, y: Any, lengths: Any = None) -> LabelEncoder:
        """Learn the classes, of which there must be one at least.

        Parameters
        ----------
        y : array or list (B,), or with labels at every step a list of sequences of labels, or an
            array (B, T)
            Labels are strings, integers, or whatever else can be sorted.
        lengths : integer array (B,), optional
            With labels at every step: as for `transform`.

        Raises
        ------
        TypeError
            If the labels cannot be sorted, or are no single values.
        ValueError
            If there is none, or they are no classes but measured numbers.
        """
        y = np.asarray(y) if hasattr(y, "__array__") else y
        rows = _rows(y, lengths) if self._steps else [_labels("y", y)]
        try:
            classes = sorted(set(chain.from_iterable(rows)))
        except TypeError as error:
            raise TypeError(f"y must hold labels that can be sorted: {error}") from None
        if not classes:
            raise ValueError("y must have at least one label, got none")
        _check_no_measured_number(classes)
        array = np.asarray(classes)
        if array.ndim > 1:
            raise TypeError(f"y must hold labels that are single values, got {classes[0]!r}")
        typed = isinstance(y, np.ndarray) and y.dtype != object
        self._learn(array.astype(y.dtype) if typed else array)
        return self

    def transform(self, y: Any, lengths: Any = None, *, name: str = "y") -> Any:
        """Return the numbers of the classes: an array (B,), or `Sequences` of ids.

        Parameters
        ----------
        y : as for `fit`
        lengths : integer array (B,), optional
            With labels at every step: how many each sequence must have. Rows of a padded array
            may have more.
        name : str
            What error messages call y.

        Raises
        ------
        TypeError, ValueError
            If a label is not among the classes, or there are more or fewer than steps.
        """
        if not self._steps:
            return self._numbers(_labels(name, y), name)
        rows = _rows(y, lengths)
        return Sequences.of(self._numbers(row, f"y[{i}]") for i, row in enumerate(rows))

    def to_dict(self) -> dict[str, Any]:
        """Return all that was given and learned, fit for JSON."""
        classes = self.classes_
        return {"steps": self._steps, "dtype": classes.dtype.str, "classes": classes.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LabelEncoder:
        """Return what `to_dict` has described.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it has described no such thing.
        """
        encoder = cls(steps=content["steps"])
        encoder._learn(np.array(content["classes"], content["dtype"]))
        return encoder

    def _learn(self, classes: NDArray[Any]) -> None:
        self.classes_ = classes
        self._ids = {label: number for number, label in enumerate(classes.tolist())}

    def _numbers(self, labels: list[Any], name: str) -> NDArray[np.int32]:
        try:
            return np.array([self._ids[label] for label in labels], np.int32)
        except (KeyError, TypeError):  # TypeError: a list is no key
            pass
        wrong = next(label for label in labels if not (label.__hash__ and label in self._ids))
        known = ", ".join(map(repr, list(self._ids)[:_SHOWN])) + ", ..." * (len(self._ids) > _SHOWN)
        raise ValueError(f"{name} must hold known labels ({known}), got {wrong!r}")


def _rows(y: Any, lengths: Any) -> list[list[Any]]:
    """Return the labels of every sequence, without padding."""
    padded = hasattr(y, "__array__") and np.ndim(y) == 2
    y = list(np.asarray(y)) if hasattr(y, "__array__") else y
    if not isinstance(y, Sequence) or isinstance(y, (str, bytes)):
        raise TypeError(f"y must be a list of sequences of labels, got {type(y).__name__}")
    rows = [_labels(f"y[{i}]", row, steps=True) for i, row in enumerate(y)]
    if lengths is None:
        return rows
    counts = np.asarray(lengths).tolist()
    if len(rows) != len(counts):
        raise ValueError(f"y must have {len(counts)} sequences, as X, got {len(rows)}")
    for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
        if len(row) < count or (len(row) > count and not padded):
            raise ValueError(
                f"y[{i}] must have a label for each of the {count} steps of X[{i}], got {len(row)}"
            )
    return [row[:count] for row, count in zip(rows, counts, strict=True)]


def _labels(name: str, y: Any, *, steps: bool = False) -> list[Any]:
    """Return labels as a list; with `steps`, those of one sequence, which a string may be."""
    if hasattr(y, "__array__"):
        array = np.asarray(y)
        if array.ndim == 2 and array.shape[1] == 1 and not steps:
            array = array[:, 0]
        if array.ndim != 1:
            raise ValueError(
                f"{name} must have shape ({'T' if steps else 'B'},), got {array.shape}"
            )
        return list(array.tolist())
    if not isinstance(y, Sequence) or (isinstance(y, str) and not steps):
        raise TypeError(f"{name} must be a list or an array of labels, got {type(y).__name__}")
    return list(y)


def _check_no_measured_number(classes: list[Any]) -> None:
    """Check that no class is a float with a fraction; scikit-learn looks for these words."""
    for label in classes:
        if isinstance(label, (float, np.floating)) and not np.isfinite(label):
            raise ValueError("Input y contains NaN or infinity: labels must be finite")
        if isinstance(label, (float, np.floating)) and label % 1 != 0:
            raise ValueError(f"Unknown label type: y must hold classes, got {label}")
