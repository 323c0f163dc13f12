"""Base classes of the estimators that generate sequences, one token after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data.batching import sorted_batches
from bptt.data.sequences import Sequences
from bptt.data.target_encoder import TargetEncoder, Text
from bptt.decoding.beam import Hypothesis
from bptt.distributed._pooling import pooled_max
from bptt.estimators._base import SequenceEstimator
from bptt.estimators._sklearn import check_is_fitted, check_random_state
from bptt.nn.decoder import Decoder
from bptt.nn.dropout import Dropout
from bptt.nn.linear import Linear
from bptt.training.supervised import PREDICTION_BATCH_SIZE
from bptt.training.teacher_forcing import DecoderTask, TokenDataset


@dataclass(kw_only=True, repr=False, eq=False)
class AutoregressiveEstimator(SequenceEstimator):
    """Base class of the estimators that generate token sequences.

    The private methods for decoding take the arguments `start`, `state`, `memory` and
    `memory_lengths` of a `Decoder`, as the dict `inputs`.
    """

    _has_token_targets: ClassVar[bool] = True
    _sequences_name: ClassVar[str] = "y"  # argument that holds the sequences to generate

    label_smoothing: float = 0.0

    @property
    def tokens_(self) -> list[str | int]:
        """Tokens that are generated, in the order of their ids."""
        check_is_fitted(self, "target_encoder_")
        return self.target_encoder_.tokens

    @property
    def _decoder(self) -> Decoder:
        raise NotImplementedError

    def _default_max_length(self) -> int:
        raise NotImplementedError

    def _describe_data(self) -> dict[str, str]:
        return {"sequences": self.target_encoder_.describe(), **self._describe_vectors()}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        checks.fraction("label_smoothing", self.label_smoothing)

    def _fit_target_encoder(self, y: Any, lengths: Any = None) -> None:
        encoder = TargetEncoder(tokens=self.tokens, min_count=self.min_count)
        self.target_encoder_ = encoder.fit(y, lengths, name=self._sequences_name)

    # ---- decoding

    def _decoding_options(self, max_length: int | None) -> dict[str, Any]:
        return {
            "stop": self.target_encoder_.stop,
            "forbidden": self.target_encoder_.forbidden,
            "max_length": self._default_max_length() if max_length is None else max_length,
        }

    def _most_likely_ids(
        self, inputs: dict[str, Any], *, beam: int, max_length: int | None, length_penalty: float
    ) -> list[NDArray[np.int64]]:
        """Return the most likely sequence for every row of a minibatch."""
        beam = checks.integer("beam", beam)
        if beam == 1:
            checks.number("length_penalty", length_penalty, 0.0)
            return self._decoder.greedy_search(**inputs, **self._decoding_options(max_length))
        found = self._search(
            inputs, beam=beam, count=1, max_length=max_length, length_penalty=length_penalty
        )
        return [hypotheses[0].tokens for hypotheses in found]

    def _search(
        self,
        inputs: dict[str, Any],
        *,
        beam: int,
        count: int | None,
        max_length: int | None,
        length_penalty: float,
    ) -> list[list[Hypothesis]]:
        """Return the hypotheses of a beam search for every row of a minibatch."""
        return self._decoder.beam_search(
            **inputs,
            beam=beam,
            count=count,
            length_penalty=length_penalty,
            **self._decoding_options(max_length),
        )

    def _sample_ids(
        self,
        inputs: dict[str, Any],
        random: np.random.Generator,
        *,
        max_length: int | None,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
    ) -> list[NDArray[np.int64]]:
        """Sample a sequence for every row of a minibatch."""
        return self._decoder.sample(
            **inputs,
            random=random,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            **self._decoding_options(max_length),
        )

    def _decode_hypotheses(
        self, hypotheses: list[Hypothesis], prompt: Text = ()
    ) -> list[tuple[Text, float]]:
        decode = self.target_encoder_.decode
        return [(decode(one.tokens, prompt), one.log_probability) for one in hypotheses]


@dataclass(kw_only=True, repr=False, eq=False)
class DecoderEstimator(AutoregressiveEstimator):
    """Base class of the estimators that consist of a decoder alone."""

    @property
    def _decoder(self) -> Decoder:
        decoder: Decoder = self.decoder_
        return decoder

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.bidirectional:
            raise ValueError(
                f"{type(self).__name__} needs bidirectional=False: "
                "tokens are generated from left to right"
            )
        if self.missing != "error":
            raise ValueError(f"{type(self).__name__} needs missing='error': it reads no features")
        if self.categorical_features is not None:
            raise ValueError(
                f"{type(self).__name__} needs categorical_features=None: it reads no features"
            )

    def _encode(self, X: Any, lengths: Any) -> Sequences:
        check_is_fitted(self, "target_encoder_")
        return self.target_encoder_.transform(X, lengths, name=self._sequences_name)

    def _surprisal(self, task: DecoderTask, data: TokenDataset) -> list[NDArray[np.float64]]:
        result = [np.empty(0)] * len(data.lengths)
        for indices in sorted_batches(data.lengths, PREDICTION_BATCH_SIZE):
            batch = data.batch(indices)
            rows = zip(indices, task.surprisal(batch), batch.lengths, strict=True)
            for i, bits, length in rows:
                result[i] = bits[:length]
        return result

    def _build_decoder(self, seeds: np.random.Generator) -> Decoder:
        """Return [embedding] -> recurrent layers -> [dropout] -> logits of all tokens."""
        size = self.target_encoder_.size
        embedding = self._build_embedding(size, self.target_encoder_.vocabulary, seeds)
        inputs = size if embedding is None else embedding.embedding_dim
        return Decoder(
            embedding=embedding,
            recurrent=self._build_recurrent(inputs, seeds),
            dropout=Dropout(self.dropout, **self._module_options(seeds)) if self.dropout else None,
            output=Linear(self.hidden_size, size, **self._module_options(seeds)),
        )


def default_max_length(targets: Sequences) -> int:
    """Return twice the length of the longest target sequence, the default of `max_length`."""
    return max(2 * pooled_max(int(targets.lengths.max())), 1)


def random_generator(random_state: Any) -> np.random.Generator:
    """Return a generator for a `random_state` of scikit-learn."""
    return np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
