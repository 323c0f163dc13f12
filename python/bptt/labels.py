"""Classes of any kind, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.sequences import Sequences


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
        self._steps = steps

    def fit(self, y: Any) -> LabelEncoder:
        """Learn the classes, of which there must be one at least.

        Parameters
        ----------
        y : array (B,), or with labels at every step a list of sequences of labels
        """
        rows = [np.asarray(row) for row in y] if self._steps else [_column(y)]
        if not rows or not sum(map(len, rows)):
            raise ValueError("y must have at least one label, got none")
        self.classes_ = np.unique(np.concatenate([row for row in rows if len(row)]))
        if self.classes_.dtype.kind == "f" and not np.isfinite(self.classes_).all():
            raise ValueError("Input y contains NaN or infinity: labels must be finite")
        return self

    def transform(
        self, y: Any, lengths: NDArray[np.int64] | None = None, *, name: str = "y"
    ) -> Any:
        """Return the numbers of the classes: an array (B,), or `Sequences` of ids.

        Parameters
        ----------
        y : as for `fit`
        lengths : integer array (B,)
            With labels at every step: how many each sequence must have. Rows of a padded array
            may have more.
        name : str
            What error messages call y.

        Raises
        ------
        ValueError
            If a label is not among the classes, or there are more or fewer than steps.
        """
        if not self._steps:
            return self._numbers(_column(y), name)
        assert lengths is not None
        if len(y) != len(lengths):
            raise ValueError(f"y must have {len(lengths)} sequences, as X, got {len(y)}")
        padded = isinstance(y, np.ndarray) and y.dtype != object
        rows = []
        for i, (row, length) in enumerate(zip(y, lengths, strict=True)):
            labels = np.asarray(row)[: length if padded else None]
            if labels.shape != (length,):
                raise ValueError(
                    f"y[{i}] must have a label for each of the {length} steps of X[{i}], "
                    f"got {len(labels)}"
                )
            rows.append(self._numbers(labels, f"y[{i}]"))
        return Sequences.of(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return all that was given and learned, fit for JSON."""
        classes = self.classes_
        return {"steps": self._steps, "dtype": classes.dtype.str, "classes": classes.tolist()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LabelEncoder:
        """Return what `to_dict` has described."""
        encoder = cls(steps=content["steps"])
        encoder.classes_ = np.array(content["classes"], content["dtype"])
        return encoder

    def _numbers(self, labels: NDArray[Any], name: str) -> NDArray[np.int32]:
        if not len(labels):
            return np.empty(0, np.int32)
        found = np.searchsorted(self.classes_, labels)
        found[found == len(self.classes_)] = 0
        unknown = np.flatnonzero(self.classes_[found] != labels)
        if len(unknown):
            wrong = labels[unknown[0]].tolist()
            known = ", ".join(repr(c) for c in self.classes_[:10].tolist())
            raise ValueError(f"{name} must hold known labels ({known}), got {wrong!r}")
        return found.astype(np.int32)


def _column(y: Any) -> NDArray[Any]:
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"y must have shape (B,), got {labels.shape}")
    return labels
