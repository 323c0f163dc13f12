"""Many-to-many, synced: one label a step. Parts of speech, named entities, activity at any time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.labels import LabelEncoder
from bptt.data.sequences import SequenceEncoder
from bptt.estimators._base import SequenceEstimator
from bptt.losses import Loss, softmax, softmax_cross_entropy
from bptt.nn.embedding import Embedding
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.training.label_feedback import LabelFeedbackTask
from bptt.training.supervised import (
    SequenceBatch,
    SequenceDataset,
    SupervisedTask,
    predict_in_batches,
)


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceTagger(SequenceEstimator):
    """Assigns one label to every step of every sequence.

    Every step's output of the recurrent layers goes through a linear layer and softmax. The loss
    is cross-entropy, its mean over all steps.

    Parameters
    ----------
    skip_input : bool
        Whether the linear layer also sees the input of the step (needs float features, or an
        `embedding_size`): y_t = softmax(W_y [h_t forward, h_t backward, x_t] + b_y).
    feedback : bool
        Whether the label of the step before is an input too: the right one in training (teacher
        forcing), the predicted one in prediction, which then goes step by step. Tokens are embedded
        (in `hidden_size` numbers, if there is no `embedding_size`). Not if `bidirectional`.
    affixes : int, optional
        If given, words are known by their looks, too: the vector of a word is the sum of its own
        and those of its lower-case form, its shape ("Aa-0" for "Covid-19"), and its first and last
        1 .. `affixes` letters; so new words are not wholly unknown. Needs an `embedding_size`.
    label_smoothing : float
        Part, in [0, 1), of the target distribution that is spread over all labels.
    and the others
        As for `SequenceEstimator`.

    Attributes
    ----------
    classes_ : array (K,)
        The labels, sorted.
    history_ : History

    Notes
    -----
    y is a list of label sequences, each as long as its sequence, or a padded array (B, T).

    To scikit-learn it is no classifier, whose folds would have to be stratified by one label a
    sequence.
    """

    skip_input: bool = False
    feedback: bool = False
    affixes: int | None = None
    label_smoothing: float = 0.0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # no classifier: folds cannot be stratified
        tags.target_tags.required = True
        return tags

    def _check_parameters(self) -> None:
        super()._check_parameters()
        checks.flag("skip_input", self.skip_input)
        checks.fraction("label_smoothing", self.label_smoothing)
        if self.affixes is not None and (self.embedding_size is None or self.feedback):
            raise ValueError("affixes needs an embedding_size, and feedback=False")
        if checks.flag("feedback", self.feedback) and self.bidirectional:
            raise ValueError(
                "feedback=True needs bidirectional=False: "
                "labels are predicted one after the other, from the left"
            )

    def _begin(
        self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator, classes: Any = None
    ) -> None:
        self._learn_input(X, lengths, affixes=self.affixes)
        labels = LabelEncoder(steps=True)
        self._labels = labels.fit(y, lengths) if classes is None else labels.fit([classes])
        self.classes_ = self._labels.classes_
        self._make(seeds)

    def _make(self, seeds: np.random.Generator) -> None:
        count = len(self.classes_)
        embedded = self.feedback or self.embedding_size is not None
        if self.skip_input and self.encoder_.kind == "ids" and not embedded:
            raise ValueError("skip_input=True needs float features, or an embedding_size")
        if not self.feedback:
            self.model_ = self._model(count, seeds, skip_input=self.skip_input)
            return
        self._embedding: Embedding | None = None
        size = self.encoder_.size
        if self.encoder_.kind == "ids":
            wide = self.embedding_size or self.hidden_size
            self._embedding = Embedding(size, wide, **self._common(seeds))
            size = wide
        chain = self._chain(size + count, count, seeds, skip_input=self.skip_input)
        self.model_ = Sequential(*chain, skip_input=self.skip_input)

    def _fitted_state(self) -> dict[str, Any]:
        return {"encoder": self.encoder_.to_dict(), "labels": self._labels.to_dict()}

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self.encoder_ = SequenceEncoder.from_dict(state["encoder"])
        self._labels = LabelEncoder.from_dict(state["labels"])
        self.classes_ = self._labels.classes_
        chain = list(modules.values())
        if self.feedback:
            first = chain.pop(0) if self.encoder_.kind == "ids" else None
            self._embedding = first if isinstance(first, Embedding) else None
        self.model_ = Sequential(*chain, skip_input=self.skip_input)

    def _task(self) -> SupervisedTask | LabelFeedbackTask:
        how = (self._loss, self._metric, _total_weight, self.recompute_every)
        if self.feedback:
            return LabelFeedbackTask(self._embedding, self.model_, *how)
        return SupervisedTask(self.model_, *how)

    def _data(
        self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None
    ) -> SequenceDataset:
        sequences = self._sequences(X, lengths)
        targets = self._labels.transform(y, sequences.lengths)
        return SequenceDataset(sequences, targets, self._weights(sample_weight, len(sequences)))

    def _loss(self, output: FloatArray, batch: SequenceBatch) -> Loss:
        return softmax_cross_entropy(
            output,
            batch.y,
            lengths=batch.lengths,
            weights=batch.weights,
            label_smoothing=self.label_smoothing,
            reduction="mean",
        )

    def _metric(self, output: FloatArray, batch: SequenceBatch) -> float:
        right = (output.argmax(axis=2) == batch.y) & _alive(batch)
        weights = np.ones(len(batch.y)) if batch.weights is None else batch.weights
        return float(weights @ right.sum(axis=1)) / max(_total_weight(batch), 1e-300)

    def _logits(self, X: Any, lengths: Any) -> list[FloatArray]:
        """The logits of every sequence, each (T, K)."""
        sequences = self._sequences(X, lengths)
        found: list[FloatArray] = [np.empty(0)] * len(sequences)
        task = self._task()
        for indices, steps, y in predict_in_batches(task.predict, sequences):
            for i, count, logits in zip(indices, steps, y, strict=True):
                found[i] = logits[:count]
        return found

    def predict_proba(self, X: Any, lengths: Any = None) -> list[FloatArray]:
        """Return the probability of every label at every step: one array (T, K) a sequence.

        With ``feedback=True`` they are given the likeliest labels before.
        """
        return [softmax(logits) for logits in self._logits(X, lengths)]

    def predict(self, X: Any, lengths: Any = None) -> list[NDArray[Any]]:
        """Return the likeliest label of every step: one array (T,) a sequence."""
        return [self.classes_[logits.argmax(axis=1)] for logits in self._logits(X, lengths)]

    def score(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy: the share of all steps that get their own label."""
        found = self.predict(X, lengths)
        weights = self._weights(sample_weight, len(found))
        right, total = 0.0, 0.0
        for i, (labels, wanted) in enumerate(zip(found, y, strict=True)):
            weight = 1.0 if weights is None else weights[i]
            right += weight * float(np.sum(labels == np.asarray(wanted)[: len(labels)]))
            total += weight * len(labels)
        return right / max(total, 1e-300)


def _alive(batch: SequenceBatch) -> NDArray[np.bool_]:
    """(B, T): whether there is such a step."""
    alive: NDArray[np.bool_] = np.arange(batch.x.shape[1]) < batch.lengths[:, np.newaxis]
    return alive


def _total_weight(batch: SequenceBatch) -> float:
    lengths = batch.lengths
    return float(lengths.sum() if batch.weights is None else lengths @ batch.weights)
