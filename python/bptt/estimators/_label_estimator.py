"""Base of the estimators whose targets are labels: their classes and class weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data.labels import LabelEncoder, describe_classes
from bptt.estimators._base import SequenceEstimator


class StreamLabels:
    """Labels of a stream, one window after the other.

    Parameters
    ----------
    classes : array, optional
        All classes, if they are known: the labels are then checked.
    options : object
        Arguments of the `LabelEncoder`.
    """

    def __init__(self, classes: Any, **options: Any) -> None:
        self._steps = bool(options.get("steps"))
        self._encoder = LabelEncoder(**options)
        self._known = classes is not None
        if self._known:
            self._encoder.fit([classes] if self._steps else classes)
        self._labels: dict[Any, None] = {}

    def add(self, y: Any) -> None:
        """Add the labels of a window."""
        if self._known:
            self._encoder.transform(y)
        else:
            self._labels |= dict.fromkeys(self._encoder._occurring(y))

    def targets(self) -> list[Any]:
        """Return every label once, as targets from which `LabelEncoder.fit` learns the same."""
        return [list(self._labels)] if self._steps else list(self._labels)


class LabelEstimator(SequenceEstimator):
    """Base of the classifier and the tagger."""

    _labels_of_steps: ClassVar[bool] = False

    classes_: NDArray[Any]
    _label_encoder: LabelEncoder
    _class_weights: NDArray[np.float64] | None

    def _set_labels(self, encoder: LabelEncoder) -> None:
        self._label_encoder = encoder
        self.classes_ = encoder.classes_

    def _describe_data(self) -> dict[str, str]:
        return {**super()._describe_data(), "target": describe_classes(self.classes_)}

    def _fitted_state(self) -> dict[str, Any]:
        weights = self._class_weights
        return {
            "encoder": self.encoder_.to_dict(),
            "labels": self._label_encoder.to_dict(),
            "class_weights": None if weights is None else weights.tolist(),
        }

    def _restore_labels(self, state: Mapping[str, Any]) -> None:
        self._set_labels(LabelEncoder.from_dict(state["labels"], steps=self._labels_of_steps))
        weights = state["class_weights"]
        self._class_weights = None if weights is None else self._check_class_weights(weights)

    def _check_class_weights(self, weights: Sequence[float]) -> NDArray[np.float64]:
        if len(weights) != len(self.classes_):
            rule = f"one for each of {len(self.classes_)} classes"
            raise ValueError(f"class_weights must be {rule}, got {len(weights)}")
        numbers = [checks.number(f"class_weights[{i}]", w, 0.0) for i, w in enumerate(weights)]
        return np.array(numbers, np.float64)
