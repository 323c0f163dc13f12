"""One-to-many: a sequence of tokens from a vector or a label, as in captioning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.data._containers import unpacked
from bptt.data.labels import LabelEncoder
from bptt.data.sequences import Sequences
from bptt.data.target_encoder import TargetEncoder, Text
from bptt.estimators._autoregressive import DecoderEstimator, default_max_length, random_generator
from bptt.estimators._restored import check_decoder, check_module, default_length
from bptt.estimators._sample_weight import sequence_weights
from bptt.estimators._sklearn import check_is_fitted
from bptt.estimators._streams import Reader
from bptt.nn.decoder import Decoder
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.training.supervised import PREDICTION_BATCH_SIZE
from bptt.training.teacher_forcing import DecoderTask, TokenDataset

Condition: TypeAlias = NDArray[Any]  # features (B, I) or ids (B,)


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceGenerator(DecoderEstimator):
    """Generates a sequence of tokens from one input: a vector of features, or a label.

    The input, through a linear layer (features) or an embedding (labels), is the initial hidden
    state of every recurrent layer. Every step's output goes through a linear layer and softmax; the
    first input token is "<start>", the last target "<stop>". The loss is the mean cross-entropy
    over all tokens.

    Parameters
    ----------
    cell : str
        Type of the recurrent layers, a key of `bptt.nn.CELLS`: "lstm", "rnn", "gru", …
    hidden_size : int
        Number of hidden units per layer and direction.
    num_layers : int
        Number of stacked recurrent layers.
    bidirectional : bool
        Must be False: tokens are generated from left to right.
    dropout : float
        Dropout probability between layers and before the output layer, in [0, 1).
    recurrent_dropout : float
        Dropout probability of the hidden state before the recurrent product, one mask a sequence,
        in [0, 1).
    zoneout : float
        Probability with which an element of the state keeps its previous value, in [0, 1).
    learn_initial_state : bool
        Must be False: the input determines the initial state.
    embedding_size : int, optional
        Dimension of the token embeddings. By default tokens are one-hot: the input weights
        of the first layer are then the embeddings. From thousands of tokens on, 50 to 200 trains
        several times faster.
    embedding_vectors : path or mapping, optional
        Initial embeddings of words: a file of pretrained vectors (see
        `bptt.data.read_word_vectors`), or a mapping from word to vector. A token without a vector
        gets that of its lower-case form, or a random one as without this option. `embedding_size`
        is then that of the vectors. A mapping is not saved.
    freeze_embedding : bool
        Whether the embeddings of the input keep their initial values.
    tokens : {"characters", "words"}, optional
        Unit into which strings are split; words are separated by white space. With None,
        sequences are lists of tokens.
    min_count : int
        Minimum frequency; rarer tokens map to ``<unk>``.
    scale : bool
        No effect: features are not standardized.
    missing : {"error", "mask", "decay"}
        Treatment of NaN in features: an error, or with "mask" three inputs for every feature: the
        last observed value (before the first one 0, with `scale` the mean), 1 if it was observed at
        this step or else 0, and the number of steps since the observation before. With "decay" two:
        the last value, which decays to the mean at a trained rate, and the mask; the state of a
        "gru" then decays as well, by the number of steps: see `bptt.InputDecay`.
    categorical_features : sequence of str or int, or "from_dtype", optional
        Names or indices of columns of categories, in a list of tables; or all columns that do not
        hold numbers. Each category has its own input weights, its embedding; one that is missing,
        or that `fit` has not seen, has none.
    epochs : int
        Number of epochs.
    batch_size : int
        Minibatch size, in sequences. Sequences of similar length are batched together.
    optimizer : str, class or function
        Name of the optimizer, a key of `bptt.optim.OPTIMIZERS` such as "adam" or "sgd", its class,
        or a function from the list of modules to an `Optimizer`.
    learning_rate : float
        Learning rate of an optimizer given by name or class.
    schedule : Schedule, optional
        Factor of the learning rate in the course of training; see `bptt.optim.schedules`.
    clip_norm : float, optional
        Maximum global norm of the gradients. None disables clipping by norm.
    clip_value : float, optional
        Maximum absolute value of every element of the gradients, applied before `clip_norm`.
    accumulate : int
        Number of minibatches whose gradients are accumulated for one update.
    nonfinite : {"raise", "skip"}
        What a loss or gradient that is NaN or infinite leads to: FloatingPointError, or a warning,
        and the update is left out.
    recompute_every : int, optional
        Interval, in steps, of the states that are stored for the backward pass; the others are
        recomputed. It saves memory for long sequences and does not change results. Not with
        ``bidirectional=True``.
    validation_fraction : float
        Fraction of the sequences held out for validation, in [0, 1).
    patience : int, optional
        Number of epochs without improvement of the monitored value after which training stops and
        the best weights are restored.
    monitor : {"loss", "metric"}
        Value that `patience` watches: the loss, or the metric of `history_`; of the validation data
        if there are any, else of the training data.
    min_delta : float
        Minimum change of the monitored value that counts as an improvement.
    dtype : {"float32", "float64"}
        Precision of weights and computation.
    callbacks : sequence of functions or objects
        Functions that are called after every epoch, or objects with methods such as
        ``on_epoch_end``; see `bptt.training.train`.
    verbose : bool or int
        Show what input and target were understood as, and progress: 1 (True) a bar in a terminal,
        with tqdm, and one line per epoch; 2 the lines alone.
    checkpoint_path : path, optional
        Checkpoint file, written after every epoch. ``fit(.., resume=True)`` continues from it with
        bit-identical results. Needs an integer `random_state`.
    save_every : int, optional
        Number of updates after which the checkpoint is also written.
    warm_start : bool
        Let `fit` continue from the weights, vocabulary and classes of the previous call, instead of
        new ones; the optimizer begins anew.
    random_state : int, RandomState or None
        Seed of the initial weights, the order of minibatches, and dropout.
    label_smoothing : float
        Probability mass of the targets that is spread over all tokens, in [0, 1).

    Attributes
    ----------
    tokens_ : list
        All tokens, in the order of their ids, including "<start>", "<stop>" and for text "<unk>".
    target_encoder_ : TargetEncoder
        Encoder of the sequences as ids.
    condition_ : Linear or Embedding
        Input -> initial hidden state.
    decoder_ : Decoder
        The network.
    history_ : History
        Loss, accuracy of the tokens (`metric`) and gradient norm of every epoch.
    n_iter_ : int
        Number of epochs, or of calls of `partial_fit`.
    metadata_ : dict
        Metadata passed to `save`; only after `load`.

    Notes
    -----
    X is a float array (B, I), or B labels: integers or strings. y is a list of strings, token lists
    or id arrays, one per input; generated sequences have the same type.

    Examples
    --------
    >>> from bptt import SequenceGenerator
    >>> model = SequenceGenerator(hidden_size=16, epochs=200, random_state=0)
    >>> model.fit([1, 2], ["one", "two"]).predict([2, 1])
    ['two', 'one']
    """

    _has_classes: ClassVar[bool] = True

    # ---- decoding

    def predict(
        self,
        X: Any,
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = 0.0,
    ) -> list[Text]:
        """Return the most likely sequence for every input.

        Parameters
        ----------
        X : float array (B, I), or array or list of B labels
            Input.
        beam : int
            Number of hypotheses of the beam search; 1 is greedy.
        max_length : int, optional
            Maximum number of tokens. Twice the longest target of `fit` by default.
        length_penalty : float
            Exponent of the length penalty of the beam search, >= 0; larger values favor longer
            sequences. See `bptt.decoding.beam_search`.

        Returns
        -------
        list of B strings, token lists or id arrays
            Sequences without "<stop>".

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        ids = self._predict_ids(X, beam, max_length, length_penalty)
        return [self.target_encoder_.decode(one) for one in ids]

    def beam_search(
        self,
        X: Any,
        *,
        beam: int = 5,
        count: int | None = None,
        max_length: int | None = None,
        length_penalty: float = 0.0,
    ) -> list[list[tuple[Text, float]]]:
        """Return the most likely sequences for every input, with their log-probabilities.

        Parameters
        ----------
        X : float array (B, I), or array or list of B labels
            Input.
        beam : int
            Number of hypotheses of the beam search.
        count : int, optional
            Number of sequences to return per input, in [1, beam]. All `beam` by default.
        max_length : int, optional
            Maximum number of tokens. Twice the longest target of `fit` by default.
        length_penalty : float
            Exponent of the length penalty, >= 0; larger values favor longer sequences. See
            `bptt.decoding.beam_search`.

        Returns
        -------
        list of B lists of pairs (sequence, log-probability)
            The best first, by log-probability divided by the length penalty. Log-probabilities are
            natural logarithms, without the penalty, and include "<stop>".

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        options: dict[str, Any] = {"max_length": max_length, "length_penalty": length_penalty}
        result = []
        for inputs in self._decoder_inputs(self._condition(X)):
            found = self._search(inputs, beam=beam, count=count, **options)
            result += [self._decode_hypotheses(hypotheses) for hypotheses in found]
        return result

    def sample(
        self,
        X: Any,
        *,
        max_length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> list[Text]:
        """Sample a sequence for every input.

        Parameters
        ----------
        X : float array (B, I), or array or list of B labels
            Input.
        max_length : int, optional
            Maximum number of tokens. Twice the longest target of `fit` by default.
        temperature : float
            Divisor of the logits, >= 0. Values below 1 favor likely tokens; 0 is greedy.
        top_k : int, optional
            Number of most likely tokens to sample from. All by default.
        top_p : float, optional
            Probability of the nucleus, the smallest set of most likely tokens to sample from, in
            (0, 1]. No restriction by default.
        random_state : int, RandomState or None
            Seed of the samples.

        Returns
        -------
        list of B strings, token lists or id arrays
            Sequences without "<stop>".

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        condition = self._condition(X)
        sampled = self._sample_ids(
            self._inputs(condition),
            random_generator(random_state),
            max_length=max_length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        return [self.target_encoder_.decode(ids) for ids in sampled]

    # ---- evaluation

    def score(
        self,
        X: Any,
        y: Any,
        lengths: Any = None,
        sample_weight: Any = None,
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = 0.0,
    ) -> float:
        """Return the fraction of inputs whose sequence is predicted exactly.

        Parameters
        ----------
        X : float array (B, I), or array or list of B labels
            Input.
        y : list of B strings, token lists or id arrays, or a padded array of ids (B, T)
            Target sequences.
        lengths : integer array (B,), optional
            Number of tokens of each row of a padded array. All T by default.
        sample_weight : array (B,), optional
            Weight of each input. All 1 by default.
        beam, max_length, length_penalty : int, int or None, float
            Decoding options, as for `predict`.

        Returns
        -------
        float
            In [0, 1].

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        targets = self._encode(y, lengths)
        found = self._predict_ids(X, beam, max_length, length_penalty)
        self._check_counts(len(found), targets)
        correct = [np.array_equal(ids, targets[i]) for i, ids in enumerate(found)]
        weights = sequence_weights(sample_weight, len(correct))
        return float(np.average(correct, weights=weights))

    def surprisal(self, X: Any, y: Any, lengths: Any = None) -> list[NDArray[np.float64]]:
        """Return -log2 of the probability of each token, given the input and the tokens before.

        Parameters
        ----------
        X : float array (B, I), or array or list of B labels
            Input.
        y : list of B strings, token lists or id arrays, or a padded array of ids (B, T)
            Sequences.
        lengths : integer array (B,), optional
            Number of tokens of each row of a padded array. All T by default.

        Returns
        -------
        list of B float64 arrays (T + 1,)
            Bits of the T tokens of each sequence and of its "<stop>".

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        return self._surprisal(self._task(), self._dataset(X, y, lengths))

    def _predict_ids(
        self, X: Any, beam: int, max_length: int | None, length_penalty: float
    ) -> list[NDArray[np.int64]]:
        options: dict[str, Any] = {"max_length": max_length, "length_penalty": length_penalty}
        found: list[NDArray[np.int64]] = []
        for inputs in self._decoder_inputs(self._condition(X)):
            found += self._most_likely_ids(inputs, beam=beam, **options)
        return found

    def _decoder_inputs(self, condition: Condition) -> list[dict[str, Any]]:
        """Return the inputs of the decoder, in minibatches."""
        starts = range(0, len(condition), PREDICTION_BATCH_SIZE)
        return [self._inputs(condition[i : i + PREDICTION_BATCH_SIZE]) for i in starts]

    def _inputs(self, condition: Condition) -> dict[str, Any]:
        start = np.full(len(condition), self.target_encoder_.start)
        return {"start": start, "state": self._task().initial_state(condition)}

    # ---- hooks of `SequenceEstimator`

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.learn_initial_state:
            raise ValueError(
                "SequenceGenerator needs learn_initial_state=False: "
                "the input determines the initial state"
            )

    def _initialize(
        self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator, classes: Any = None
    ) -> None:
        if isinstance(X, Reader):
            y, found = self._stream_tokens(), _StreamInputs()
            for window in X.windows():
                with window.located():
                    found.add(window.x)
                    y.add(window.y)
            X = found.inputs()
        inputs = _inputs(X if classes is None else classes)
        self._fit_target_encoder(y, lengths)
        self._max_length = default_max_length(self.target_encoder_)
        self._label_encoder: LabelEncoder | None = None
        self.condition_: Linear | Embedding
        if _are_features(inputs):
            features = _check_features(inputs).shape[1]
            self.condition_ = Linear(features, self.hidden_size, **self._module_options(seeds))
        else:
            self._label_encoder = LabelEncoder().fit(inputs, name="X")
            count = len(self._label_encoder.classes_)
            self.condition_ = Embedding(count, self.hidden_size, **self._module_options(seeds))
        self.decoder_ = self._build_decoder(seeds)

    def _fitted_state(self) -> dict[str, Any]:
        labels = None if self._label_encoder is None else self._label_encoder.to_dict()
        return {
            "target_encoder": self.target_encoder_.to_dict(),
            "labels": labels,
            "max_length": self._max_length,
        }

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self.target_encoder_ = TargetEncoder.from_dict(state["target_encoder"])
        labels = state["labels"]
        self._label_encoder = None
        if labels is not None:
            self._label_encoder = LabelEncoder.from_dict(labels, steps=False)
        self._max_length = default_length(state)
        parts: dict[str, Any] = dict(modules)
        self.condition_ = parts.pop("condition")
        self.decoder_ = Decoder(**parts)
        check_decoder(self.decoder_, self.target_encoder_.size)
        hidden = self.decoder_.recurrent.output_size
        if self._label_encoder is None:
            check_module("condition", self.condition_, Linear, out_features=hidden)
        else:
            sizes = {"num_embeddings": len(self._label_encoder.classes_), "embedding_dim": hidden}
            check_module("condition", self.condition_, Embedding, **sizes)

    def _default_max_length(self) -> int:
        return self._max_length

    def _task(self) -> DecoderTask:
        return DecoderTask(
            self.decoder_, self.condition_, self.label_smoothing, self.recompute_every
        )

    def _dataset(
        self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None
    ) -> TokenDataset:
        condition, encoder = self._condition(X), self.target_encoder_
        sequences = self._encode(y, lengths)
        self._check_counts(len(condition), sequences)
        weights = sequence_weights(sample_weight, len(sequences))
        return TokenDataset(sequences, encoder.start, encoder.stop, condition, weights)

    def _check_counts(self, count: int, sequences: Sequences) -> None:
        if len(sequences) != count:
            rule = f"one sequence for each of {count} inputs"
            raise ValueError(f"y must have {rule}, got {len(sequences)}")

    def _condition(self, X: Any) -> Condition:
        """Return the input as features (B, I) or ids (B,)."""
        check_is_fitted(self, "target_encoder_")
        if self._label_encoder is not None:
            ids: Condition = self._label_encoder.transform(X, name="X")
            return ids
        features = _check_features(np.asarray(unpacked(X)))
        expected = self.condition_["weight"].shape[1]
        if features.shape[1] != expected:
            raise ValueError(f"X must have {expected} features, got {features.shape[1]}")
        return features.astype(self.dtype)


class _StreamInputs:
    """Input of a stream, one window after the other."""

    def __init__(self) -> None:
        self._features: FloatArray | None = None
        self._labels: dict[Any, None] = {}

    def add(self, X: Any) -> None:
        """Add the input of a window."""
        found = _inputs(X)
        if _are_features(found):
            self._features = _check_features(found)[:1]
        else:
            self._labels |= dict.fromkeys(found.tolist())

    def inputs(self) -> Any:
        """Return some features, or every label once."""
        return list(self._labels) if self._features is None else self._features


def _inputs(X: Any) -> NDArray[Any]:
    """Return labels or features as an array."""
    try:
        return np.asarray(unpacked(X))
    except ValueError:
        rule = "X must be labels (B,), or numbers (B, features), of the same number of features"
        raise ValueError(f"{rule} in every row") from None


def _are_features(inputs: NDArray[Any]) -> bool:
    """Return whether inputs are numbers, and not labels."""
    return inputs.dtype.kind == "f" or inputs.ndim != 1


def _check_features(X: NDArray[Any]) -> FloatArray:
    """Return X if it consists of finite numbers and has shape (B, I)."""
    if X.ndim != 2 or X.dtype.kind not in "biuf":
        rule = "hold numbers and have shape (B, features), or be B labels"
        raise ValueError(f"X must {rule}, got shape {X.shape} of {X.dtype}")
    if not np.isfinite(X).all():
        raise ValueError("X must be finite, got NaN or infinity")
    return X
