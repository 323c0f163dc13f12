"""Base of the estimators whose targets are labels: their classes and class weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.data.labels import LabelEncoder, describe_classes
from bptt.estimators._base import SequenceEstimator


class LabelEstimator(SequenceEstimator):
    """Base of the classifier and the tagger."""

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
        self._set_labels(LabelEncoder.from_dict(state["labels"]))
        weights = state["class_weights"]
        self._class_weights = None if weights is None else np.array(weights)
