"""Many-to-one: one answer a sequence. Sentiment of a review, activity in a video, a next value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import column_or_1d

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.labels import LabelEncoder
from bptt.data.scaling import Scaling
from bptt.data.sequences import SequenceEncoder
from bptt.estimators._base import SequenceEstimator
from bptt.losses import Loss, mean_squared_error, softmax, softmax_cross_entropy
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.training.supervised import (
    SequenceBatch,
    SequenceDataset,
    SupervisedTask,
    predict_in_batches,
)


@dataclass(kw_only=True, repr=False, eq=False)
class _ManyToOne(SequenceEstimator):
    """[embedding] -> recurrent layers -> one vector a sequence -> linear layer."""

    pool: str = "last"
    affixes: int | None = None

    def _check_parameters(self) -> None:
        super()._check_parameters()
        checks.one_of("last", "mean", "max")("pool", self.pool)
        if self.affixes is not None and self.embedding_size is None:
            raise ValueError("affixes needs an embedding_size")

    def _begin(
        self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator, **first: Any
    ) -> None:
        self._learn_input(X, lengths, affixes=self.affixes)
        count = self._learn_targets(y, **first)
        self.model_ = self._model(count, seeds, pool=self.pool)

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self.encoder_ = SequenceEncoder.from_dict(state["encoder"])
        self.model_ = Sequential(*modules.values(), pool=self.pool)

    def _task(self) -> SupervisedTask:
        return SupervisedTask(
            self.model_, self._loss, self._metric, _total_weight, self.recompute_every
        )

    def _data(
        self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None
    ) -> SequenceDataset:
        sequences = self._sequences(X, lengths)
        targets = self._targets(y)
        if len(targets) != len(sequences):
            rule = f"one target for each of {len(sequences)} sequences"
            raise ValueError(f"y must have {rule}, got {len(targets)}")
        return SequenceDataset(sequences, targets, self._weights(sample_weight, len(sequences)))

    @property
    def _output(self) -> Linear:
        module = self.model_.modules[-1]
        assert isinstance(module, Linear)
        return module

    def _predict(self, X: Any, lengths: Any) -> FloatArray:
        """The output of all sequences, (B, outputs)."""
        sequences = self._sequences(X, lengths)
        result = np.empty((len(sequences), self._output.out_features), self.dtype)
        for indices, _, y in predict_in_batches(self._task().predict, sequences):
            result[indices] = y
        return result


def _total_weight(batch: SequenceBatch) -> float:
    return float(len(batch.y) if batch.weights is None else batch.weights.sum())


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceClassifier(ClassifierMixin, _ManyToOne):  # type: ignore[misc]
    """Assigns one class to every sequence.

    What the recurrent layers know at the end of a sequence goes through a linear layer and
    softmax. The loss is cross-entropy.

    Parameters
    ----------
    pool : "last", "mean" or "max"
        What stands for a sequence: the last state (of both directions), or the mean or the largest
        value of every feature over all steps.
    affixes : int, optional
        If given, words are known by their looks, too, as for `SequenceTagger`.
    label_smoothing : float
        Part, in [0, 1), of the target distribution that is spread over all classes.
    and the others
        As for `SequenceEstimator`.

    Attributes
    ----------
    classes_ : array (K,)
        The classes, sorted.
    model_ : Sequential
    history_ : History

    Examples
    --------
    >>> from bptt import SequenceClassifier
    >>> texts, moods = ["good", "so good", "bad", "too bad"], ["+", "+", "-", "-"]
    >>> model = SequenceClassifier(hidden_size=16, epochs=40, random_state=0).fit(texts, moods)
    >>> model.predict(["good", "bad"])
    array(['+', '-'], dtype='<U1')
    """

    label_smoothing: float = 0.0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        checks.fraction("label_smoothing", self.label_smoothing)

    def _learn_targets(self, y: Any, classes: Any = None) -> int:
        if getattr(y, "ndim", 1) == 2:
            y = column_or_1d(y, warn=True)
        self._labels = LabelEncoder().fit(y if classes is None else classes)
        self.classes_ = self._labels.classes_
        return len(self.classes_)

    def _fitted_state(self) -> dict[str, Any]:
        return {"encoder": self.encoder_.to_dict(), "labels": self._labels.to_dict()}

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        super()._restore(state, modules)
        self._labels = LabelEncoder.from_dict(state["labels"])
        self.classes_ = self._labels.classes_

    def _targets(self, y: Any) -> NDArray[Any]:
        numbers: NDArray[Any] = self._labels.transform(y)
        return numbers

    def _loss(self, output: FloatArray, batch: SequenceBatch) -> Loss:
        return softmax_cross_entropy(
            output,
            batch.y,
            weights=batch.weights,
            label_smoothing=self.label_smoothing,
            reduction="mean",
        )

    def _metric(self, output: FloatArray, batch: SequenceBatch) -> float:
        return float(np.average(output.argmax(axis=1) == batch.y, weights=batch.weights))

    def decision_function(self, X: Any, lengths: Any = None) -> FloatArray:
        """Return the logits, (B, K); of two classes the difference, second - first, (B,)."""
        logits = self._predict(X, lengths)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any, lengths: Any = None) -> FloatArray:
        """Return the probability of every class, (B, K), in the order of `classes_`."""
        return softmax(self._predict(X, lengths))

    def predict(self, X: Any, lengths: Any = None) -> NDArray[Any]:
        """Return the likeliest class of every sequence, (B,)."""
        best = self._predict(X, lengths).argmax(axis=1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def score(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy: the share of the sequences that get their own class."""
        return float(accuracy_score(y, self.predict(X, lengths), sample_weight=sample_weight))


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceRegressor(RegressorMixin, _ManyToOne):  # type: ignore[misc]
    """Assigns one number, or a vector of numbers, to every sequence.

    Like `SequenceClassifier`, without softmax; the loss is the mean squared error. Targets of very
    different size, or far from 1, need ``scale=True``; the loss is then that of the scaled targets,
    about 1 for who always says the mean, and the metric, the mean absolute error, in their unit.

    Parameters
    ----------
    pool, affixes
        As for `SequenceClassifier`.
    and the others
        As for `SequenceEstimator`.

    Attributes
    ----------
    model_ : Sequential
    history_ : History
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _learn_targets(self, y: Any) -> int:
        targets = self._numbers(y)
        self._one_output = targets.ndim == 1
        columns = targets.reshape(len(targets), -1)
        self._scaling = Scaling.of(columns) if self.scale else None
        return int(columns.shape[1])

    def _fitted_state(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder_.to_dict(),
            "one_output": self._one_output,
            "scaling": None if self._scaling is None else self._scaling.to_dict(),
        }

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        super()._restore(state, modules)
        self._one_output = state["one_output"]
        scaling = state["scaling"]
        self._scaling = None if scaling is None else Scaling.from_dict(scaling)

    def _numbers(self, y: Any) -> FloatArray:
        targets = np.asarray(y)
        if targets.dtype == object:
            targets = targets.astype(np.float64)
        if targets.ndim not in (1, 2) or targets.dtype.kind not in "biuf":
            raise ValueError(
                "y must hold numbers and have shape (B,) or (B, outputs), "
                f"got shape {targets.shape} of {targets.dtype}"
            )
        if not np.isfinite(targets).all():
            raise ValueError("y must be finite, got NaN or infinity")
        numbers: FloatArray = targets.astype(self.dtype)
        return numbers

    def _targets(self, y: Any) -> FloatArray:
        targets = self._numbers(y)
        targets = targets[:, np.newaxis] if targets.ndim == 1 else targets
        count = self._output.out_features
        if targets.shape[1] != count:
            raise ValueError(f"y must have {count} outputs, got {targets.shape[1]}")
        return targets if self._scaling is None else self._scaling.apply(targets)

    def _loss(self, output: FloatArray, batch: SequenceBatch) -> Loss:
        return mean_squared_error(output, batch.y, weights=batch.weights, reduction="mean")

    def _metric(self, output: FloatArray, batch: SequenceBatch) -> float:
        error = np.abs(output - batch.y)
        if self._scaling is not None:
            error = error * self._scaling.deviation
        return float(np.average(error.mean(axis=1), weights=batch.weights))

    def predict(self, X: Any, lengths: Any = None) -> FloatArray:
        """Return the number of every sequence, (B,), or the numbers, (B, outputs)."""
        found = self._predict(X, lengths)
        if self._scaling is not None:
            found = self._scaling.undo(found)
        return found[:, 0] if self._one_output else found

    def score(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return R², the share of the variance of y that is explained."""
        return float(r2_score(y, self.predict(X, lengths), sample_weight=sample_weight))
