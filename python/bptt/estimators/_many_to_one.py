"""Base class of the estimators with one target per sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.estimators._base import SequenceEstimator
from bptt.estimators._restored import check_chain
from bptt.estimators._sample_weight import sequence_weights
from bptt.estimators._streams import Reader
from bptt.losses import Loss
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.pooling import POOLS
from bptt.nn.sequential import Sequential
from bptt.training.supervised import (
    ClassTargets,
    SequenceBatch,
    SequenceDataset,
    SupervisedTask,
    WeightedMean,
    predict_in_batches,
)


@dataclass(kw_only=True, repr=False, eq=False)
class ManyToOneEstimator(SequenceEstimator):
    """[embedding] -> recurrent layers -> one vector per sequence -> linear layer."""

    _is_chain: ClassVar[bool] = True
    _reads_streams: ClassVar[bool] = True

    pool: str | None = "last"
    affixes: int | None = None

    def _fit_targets(self, y: Any, classes: Any, lengths: Any) -> int:
        """Learn the classes or the scale of the targets; return the number of outputs."""
        raise NotImplementedError

    def _stream_targets(self, classes: Any) -> Any:
        """Return what learns the targets of a stream: by `add`, for `_fit_targets`."""
        raise NotImplementedError

    def _encode_targets(self, y: Any) -> NDArray[Any]:
        raise NotImplementedError

    def _validation_targets(self, y: Any) -> NDArray[Any]:
        """Encode the targets of validation data, which may be of other classes."""
        return self._encode_targets(y)

    def _loss_weight(self, batch: SequenceBatch) -> float:
        """Return the weight of all targets in the loss."""
        return float(len(batch.y) if batch.weights is None else batch.weights.sum())

    def _loss(self, output: FloatArray, batch: SequenceBatch) -> Loss:
        raise NotImplementedError

    def _metric(self, output: FloatArray, batch: SequenceBatch) -> float | WeightedMean:
        raise NotImplementedError

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_pool()
        if self.affixes is not None and not self._embeds:
            raise ValueError("affixes needs an embedding_size")
        if self.affixes is not None and self.freeze_embedding:
            raise ValueError(
                "affixes needs freeze_embedding=False: embeddings of affixes are learned"
            )

    def _check_pool(self) -> None:
        checks.one_of(*POOLS)("pool", self.pool)

    def _initialize(
        self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator, classes: Any = None
    ) -> None:
        if isinstance(X, Reader):
            y = self._stream_targets(classes)
        self._fit_encoder(X, lengths, y, affixes=self.affixes)
        outputs = self._fit_targets(y, classes, lengths)
        self.model_ = self._build_model(outputs, seeds, pool=self.pool)

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self._set_encoder(SequenceEncoder.from_dict(state["encoder"]))
        self.model_ = Sequential(*modules.values(), pool=self.pool)
        outputs, bag = self._restore_targets(state), self.encoder_.affixes is not None
        check_chain(self.model_, self.encoder_.size, outputs, bag=bag)

    def _restore_targets(self, state: Mapping[str, Any]) -> int:
        """Restore classes or scale of the targets; return the number of outputs."""
        raise NotImplementedError

    def _class_targets(self) -> ClassTargets | None:
        """Return loss and metric of a classifier."""
        return None

    def _task(self) -> SupervisedTask:
        functions = self._loss, self._metric, self._loss_weight
        return SupervisedTask(self.model_, *functions, self.recompute_every, self._class_targets())

    def _dataset(
        self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None
    ) -> SequenceDataset:
        return self._pair(X, self._encode_targets(y), lengths, sample_weight)

    def _evaluation_dataset(self, X: Any, y: Any = None, lengths: Any = None) -> SequenceDataset:
        return self._pair(X, self._validation_targets(y), lengths)

    def _pair(
        self, X: Any, targets: NDArray[Any], lengths: Any, sample_weight: Any = None
    ) -> SequenceDataset:
        sequences = self._encode(X, lengths)
        self._check_count(len(targets), len(sequences))
        weights = sequence_weights(sample_weight, len(sequences))
        return SequenceDataset(sequences, targets, weights)

    def _check_count(self, targets: int, sequences: int) -> None:
        if targets != sequences:
            rule = f"one target for each of {sequences} sequences"
            raise ValueError(f"y must have {rule}, got {targets}")

    @property
    def _output_layer(self) -> Linear:
        module = self.model_.modules[-1]
        assert isinstance(module, Linear)
        return module

    def _predict_outputs(self, X: Any, lengths: Any) -> FloatArray:
        """Return the outputs of all sequences, (B, outputs)."""
        sequences = self._encode(X, lengths)
        result = np.empty((len(sequences), self._output_layer.out_features), self.dtype)
        for indices, _, output in predict_in_batches(self._task().predict, sequences):
            result[indices] = output
        return result
