"""One-to-many: one input, a sequence of tokens. Captions, names, words for a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.labels import LabelEncoder
from bptt.data.sequences import Sequences
from bptt.data.target_encoder import TargetEncoder, Text
from bptt.decoding.beam import Hypothesis
from bptt.estimators._autoregressive import AutoregressiveEstimator, random_generator
from bptt.nn.decoder import Decoder
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.training.supervised import PREDICTION_BATCH_SIZE
from bptt.training.teacher_forcing import DecoderTask, TokenDataset

Condition: TypeAlias = NDArray[Any]  # float (B, features) or ids (B,)


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceGenerator(AutoregressiveEstimator):
    """Writes a sequence of tokens for one input: a vector of features, or a label.

    The input, through a linear layer (a label: through an embedding), is the initial hidden state
    of every recurrent layer; "<start>" is the first token in, and "<stop>" the last one out. The
    loss is cross-entropy, its mean over all tokens.

    Parameters
    ----------
    beam : int
        How many candidates `predict` follows; with 1 it takes the likeliest token every time.
    max_length : int
        The most tokens that are written.
    length_penalty : float
        >= 0; more makes longer sequences. See `bptt.decoding.beam_search`.
    label_smoothing : float
        Part, in [0, 1), of the target distribution that is spread over all tokens.
    and the others
        As for `SequenceEstimator`; `bidirectional` must be False.

    Attributes
    ----------
    tokens_ : list
        All tokens, in the order of their ids.
    history_ : History

    Notes
    -----
    X is a float array (B, features), or B labels: integers or strings. y is a list of texts, of
    token lists or of id arrays, one for each.

    Examples
    --------
    >>> from bptt import SequenceGenerator
    >>> model = SequenceGenerator(hidden_size=16, epochs=200, random_state=0)
    >>> model.fit([1, 2], ["one", "two"]).predict([2, 1])
    ['two', 'one']
    """

    beam: int = 1
    max_length: int = 100
    length_penalty: float = 0.0

    # ---- writing

    def predict(self, X: Any) -> list[Text]:
        """Return the likeliest sequence for every input, as far as a search finds it."""
        return [self.target_encoder_.write(found[0].tokens) for found in self._search(X)]

    def sample(
        self,
        X: Any,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        random_state: Any = None,
    ) -> list[Text]:
        """Write a sequence for every input, each token drawn by its probability.

        Parameters
        ----------
        X : as for `fit`
        temperature, top_k, top_p, random_state
            As for `LanguageModel.generate`.
        """
        encoder, condition = self.target_encoder_, self._condition(X)
        written = self.decoder_.sample(
            np.full(len(condition), encoder.start),
            self._task().initial_state(condition),
            random=random_generator(random_state),
            stop=encoder.stop,
            forbidden=encoder.forbidden,
            max_length=self.max_length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        return [encoder.write(ids) for ids in written]

    def score(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return the share of inputs whose sequence is predicted exactly."""
        wanted = self._sequences(y, lengths)
        found = self._search(X)
        self._check_counts(len(found), wanted)
        right = [np.array_equal(one[0].tokens, wanted[i]) for i, one in enumerate(found)]
        return float(np.average(right, weights=self._weights(sample_weight, len(right))))

    def surprisal(self, X: Any, y: Any, lengths: Any = None) -> list[NDArray[np.float64]]:
        """Return how unexpected each token of y is, given its input and the tokens before it.

        Returns
        -------
        list of float64 arrays (T + 1,), one a sequence
            -log2 of the probability of its T tokens and of its "<stop>": their mean are the bits
            per token.
        """
        return self._surprisal(self._task(), self._data(X, y, lengths))

    def _search(self, X: Any) -> list[list[Hypothesis]]:
        condition = self._condition(X)
        found: list[list[Hypothesis]] = []
        for first in range(0, len(condition), PREDICTION_BATCH_SIZE):
            some = condition[first : first + PREDICTION_BATCH_SIZE]
            found += self.decoder_.beam_search(
                np.full(len(some), self.target_encoder_.start),
                self._task().initial_state(some),
                beam=self.beam,
                count=1,
                stop=self.target_encoder_.stop,
                forbidden=self.target_encoder_.forbidden,
                max_length=self.max_length,
                length_penalty=self.length_penalty,
            )
        return found

    # ---- what `SequenceEstimator` builds on

    def _check_parameters(self) -> None:
        super()._check_parameters()
        checks.integer("beam", self.beam)
        checks.integer("max_length", self.max_length)
        checks.number("length_penalty", self.length_penalty, 0.0)

    def _begin(
        self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator, classes: Any = None
    ) -> None:
        given = np.asarray(X if classes is None else classes)
        self._learn_tokens(y, lengths)
        self._labels: LabelEncoder | None = None
        self.condition_: Linear | Embedding
        if given.dtype.kind == "f" or given.ndim != 1:
            features = _features(given).shape[1]
            self.condition_ = Linear(features, self.hidden_size, **self._common(seeds))
        else:
            self._labels = LabelEncoder().fit(given)
            count = len(self._labels.classes_)
            self.condition_ = Embedding(count, self.hidden_size, **self._common(seeds))
        self.decoder_ = self._make_decoder(self.target_encoder_.size, seeds)

    def _fitted_state(self) -> dict[str, Any]:
        labels = None if self._labels is None else self._labels.to_dict()
        return {"encoder": self.target_encoder_.to_dict(), "labels": labels}

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self.target_encoder_ = TargetEncoder.from_dict(state["encoder"])
        labels = state["labels"]
        self._labels = None if labels is None else LabelEncoder.from_dict(labels)
        parts: dict[str, Any] = dict(modules)
        self.condition_ = parts.pop("condition")
        self.decoder_ = Decoder(**parts)

    def _task(self) -> DecoderTask:
        return DecoderTask(
            self.decoder_, self.condition_, self.label_smoothing, self.recompute_every
        )

    def _data(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> TokenDataset:
        condition = self._condition(X)
        sequences = self._sequences(y, lengths)
        self._check_counts(len(condition), sequences)
        weights = self._weights(sample_weight, len(sequences))
        return self._token_data(sequences, condition, weights)

    def _check_counts(self, count: int, sequences: Sequences) -> None:
        if len(sequences) != count:
            rule = f"one sequence for each of {count} inputs"
            raise ValueError(f"y must have {rule}, got {len(sequences)}")

    def _condition(self, X: Any) -> Condition:
        check_is_fitted(self, "target_encoder_")
        if self._labels is not None:
            ids: Condition = self._labels.transform(X, name="X")
            return ids
        features = _features(np.asarray(X))
        expected = self.condition_["weight"].shape[1]
        if features.shape[1] != expected:
            raise ValueError(f"X must have {expected} features, got {features.shape[1]}")
        return features.astype(self.dtype)


def _features(X: NDArray[Any]) -> FloatArray:
    """X, if it is of finite numbers and of shape (B, features)."""
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        rule = "hold numbers and have shape (B, features), or be B labels"
        raise ValueError(f"X must {rule}, got shape {X.shape} of {X.dtype}")
    if not np.isfinite(X).all():
        raise ValueError("X must be finite, got NaN or infinity")
    return X
