"""What estimators that write tokens share: data, task, parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, check_random_state

from bptt._core import checks
from bptt.data.batching import sorted_batches
from bptt.data.sequences import Sequences
from bptt.data.target_encoder import TargetEncoder
from bptt.estimators._base import SequenceEstimator
from bptt.nn.decoder import Decoder
from bptt.nn.dropout import Dropout
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.training.supervised import PREDICTION_BATCH_SIZE
from bptt.training.teacher_forcing import DecoderTask, TokenDataset


@dataclass(kw_only=True, repr=False, eq=False)
class AutoregressiveEstimator(SequenceEstimator):
    """Base of the estimators that write with a decoder alone."""

    label_smoothing: float = 0.0

    @property
    def tokens_(self) -> list[str | int]:
        """All tokens, in the order of their ids."""
        check_is_fitted(self, "target_encoder_")
        return self.target_encoder_.tokens

    def _check_parameters(self) -> None:
        super()._check_parameters()
        checks.fraction("label_smoothing", self.label_smoothing)
        if self.bidirectional:
            raise ValueError(
                f"{type(self).__name__} needs bidirectional=False: "
                "tokens are written one after the other, from the left"
            )

    def _learn_tokens(self, X: Any, lengths: Any) -> None:
        encoder = TargetEncoder(tokens=self.tokens, min_count=self.min_count)
        self.target_encoder_ = encoder.fit(X, lengths)

    def _sequences(self, X: Any, lengths: Any) -> Sequences:
        check_is_fitted(self, "target_encoder_")
        return self.target_encoder_.transform(X, lengths)

    def _token_data(
        self,
        sequences: Sequences,
        condition: NDArray[Any] | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> TokenDataset:
        encoder = self.target_encoder_
        return TokenDataset(sequences, encoder.start, encoder.stop, condition, weights)

    def _surprisal(self, writer: DecoderTask, data: TokenDataset) -> list[NDArray[np.float64]]:
        found = [np.empty(0)] * len(data.lengths)
        for indices in sorted_batches(data.lengths, PREDICTION_BATCH_SIZE):
            batch = data.batch(indices)
            for i, bits, length in zip(
                indices, writer.surprisal(batch), batch.lengths, strict=True
            ):
                found[i] = bits[:length]
        return found

    def _make_decoder(self, size: int, seeds: np.random.Generator) -> Decoder:
        """[embedding] -> recurrent -> [dropout] -> scores of `size` tokens."""
        embedding = None
        if self.embedding_size is not None:
            embedding = Embedding(size, self.embedding_size, **self._common(seeds))
        return Decoder(
            embedding=embedding,
            recurrent=self._recurrent(self.embedding_size or size, seeds),
            dropout=Dropout(self.dropout, **self._common(seeds)) if self.dropout else None,
            output=Linear(self.hidden_size, size, **self._common(seeds)),
        )


def random_generator(random_state: Any) -> np.random.Generator:
    """What draws, for a scikit-learn `random_state`."""
    return np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
