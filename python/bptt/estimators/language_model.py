"""Language model: the distribution of the next token of text, music, or any other sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.batching import sorted_batches
from bptt.data.stream import Stream
from bptt.data.target_encoder import TargetEncoder, Text
from bptt.decoding.beam import reordered
from bptt.estimators._autoregressive import DecoderEstimator, random_generator
from bptt.estimators._holdout import is_fraction, is_splitter
from bptt.estimators._restored import check_decoder
from bptt.estimators._sample_weight import sequence_weights
from bptt.estimators._sklearn import check_is_fitted
from bptt.estimators._stepwise import StepwiseModel, encode_with
from bptt.estimators._streams import Reader
from bptt.losses import softmax
from bptt.nn.decoder import Decoder
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.training.supervised import PREDICTION_BATCH_SIZE
from bptt.training.teacher_forcing import DecoderTask, TokenDataset
from bptt.training.truncated_bptt_task import TruncatedBPTTTask, WindowDataset

if TYPE_CHECKING:
    from bptt.exporters._parts import Parts

_MAX_LENGTH = 100  # default of max_length: sequences may be whole books


@dataclass(kw_only=True, repr=False, eq=False)
class LanguageModel(DecoderEstimator):
    """Predicts the next token of a sequence; completes and generates sequences.

    A sequence is read as "<start>" and its tokens; the targets are its tokens and "<stop>". Every
    step's output of the recurrent layers goes through a linear layer and softmax. The loss is the
    mean cross-entropy over all tokens.

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
        Whether sequences begin in a state that is trained, instead of zero.
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
        No effect: there are no features to standardize.
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
    num_sampled : int, optional
        Number of tokens whose probabilities stand for all in the softmax of training: for
        vocabularies from tens of thousands on. A new sample for each update, mostly of frequent
        tokens; the accuracy in training is then that among them. Validation, `score` and prediction
        use all. See `bptt.SequentialRun.cross_entropy`. All by default.
    truncate : tuple (k1, k2), optional
        Truncated BPTT, for long sequences: an update every k1 tokens, with gradients through the
        last k2 >= k1 tokens. All sequences are read side by side, with the state carried over from
        window to window; `batch_size` is then the number of windows validated at a time. See
        `bptt.truncated_bptt`. By default every sequence is backpropagated as a whole.

    Attributes
    ----------
    tokens_ : list
        All tokens, in the order of their ids, including "<start>", "<stop>" and for text "<unk>".
    target_encoder_ : TargetEncoder
        Encoder of the sequences as ids.
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
    X is a list of strings, token lists or id arrays; y is ignored. Prompts and generated sequences
    have the type of the sequences in X.

    Examples
    --------
    >>> from bptt import LanguageModel
    >>> model = LanguageModel(hidden_size=16, epochs=200, random_state=0).fit(["deep", "learn"])
    >>> model.complete("de")
    'deep'
    """

    _is_chain: ClassVar[bool] = True
    _sequences_name: ClassVar[str] = "X"

    num_sampled: int | None = None
    truncate: tuple[int, int] | None = None

    # ---- next token

    def predict_proba(self, X: Any, lengths: Any = None) -> FloatArray:
        """Return the distribution of the next token after every prompt.

        Parameters
        ----------
        X : list of B strings, token lists or id arrays, or a padded array of ids (B, T)
            Prompts.
        lengths : integer array (B,), optional
            Number of tokens of each row of a padded array. All T by default.

        Returns
        -------
        array (B, V)
            Probabilities, in the order of `tokens_`.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        data = self._token_dataset(X, lengths)
        logits = np.empty((len(data.lengths), self.target_encoder_.size), self.dtype)
        for indices in sorted_batches(data.lengths, PREDICTION_BATCH_SIZE):
            logits[indices] = self._decoder_task().last_logits(data.batch(indices))
        return softmax(logits)

    def next_token_probabilities(self, prompt: Text = "") -> dict[str | int, float]:
        """Return the distribution of the next token after a prompt.

        Parameters
        ----------
        prompt : string, token list or id array
            Beginning of the sequence.

        Returns
        -------
        dict of token to probability
            In descending order. "<stop>" is the end of the sequence.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        p = self.predict_proba([prompt])[0]
        tokens = self.tokens_
        return {tokens[i]: float(p[i]) for i in np.argsort(-p, kind="stable")}

    # ---- decoding

    def complete(
        self,
        prompt: Text = "",
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = 0.0,
    ) -> Text:
        """Return the most likely sequence that begins with the prompt.

        Parameters
        ----------
        prompt : string, token list or id array
            Beginning of the sequence.
        beam : int
            Number of hypotheses of the beam search; 1 is greedy.
        max_length : int, optional
            Maximum number of tokens after the prompt. 100 by default.
        length_penalty : float
            Exponent of the length penalty of the beam search, >= 0; larger values favor longer
            sequences. See `bptt.decoding.beam_search`.

        Returns
        -------
        string, token list or id array
            The sequence, with the prompt, without "<stop>".

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        options: dict[str, Any] = {"max_length": max_length, "length_penalty": length_penalty}
        (ids,) = self._most_likely_ids(self._inputs(prompt), beam=beam, **options)
        return self.target_encoder_.decode(ids, prompt)

    def beam_search(
        self,
        prompt: Text = "",
        *,
        beam: int = 5,
        count: int | None = None,
        max_length: int | None = None,
        length_penalty: float = 0.0,
    ) -> list[tuple[Text, float]]:
        """Return the most likely sequences that begin with the prompt, with log-probabilities.

        Parameters
        ----------
        prompt : string, token list or id array
            Beginning of the sequences.
        beam : int
            Number of hypotheses of the beam search.
        count : int, optional
            Number of sequences to return, in [1, beam]. All `beam` by default.
        max_length : int, optional
            Maximum number of tokens after the prompt. 100 by default.
        length_penalty : float
            Exponent of the length penalty, >= 0; larger values favor longer sequences. See
            `bptt.decoding.beam_search`.

        Returns
        -------
        list of pairs (sequence, log-probability)
            The best first, by log-probability divided by the length penalty. Log-probabilities are
            natural logarithms, without the penalty, of all tokens after the prompt and "<stop>".

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        options: dict[str, Any] = {"max_length": max_length, "length_penalty": length_penalty}
        (hypotheses,) = self._search(self._inputs(prompt), beam=beam, count=count, **options)
        return self._decode_hypotheses(hypotheses, prompt)

    def sample(
        self,
        prompt: Text = "",
        *,
        count: int = 1,
        max_length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> list[Text]:
        """Sample sequences that begin with the prompt.

        Parameters
        ----------
        prompt : string, token list or id array
            Beginning of the sequences.
        count : int
            Number of sequences.
        max_length : int, optional
            Maximum number of tokens after the prompt. 100 by default.
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
        list of `count` strings, token lists or id arrays
            Sequences with the prompt, without "<stop>".

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        count = checks.integer("count", count)
        inputs = self._inputs(prompt)
        copies = np.zeros(count, np.int64)
        sampled = self._sample_ids(
            {"start": inputs["start"][copies], "state": reordered(inputs["state"], copies)},
            random_generator(random_state),
            max_length=max_length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        return [self.target_encoder_.decode(ids, prompt) for ids in sampled]

    # ---- evaluation

    def score(self, X: Any, y: Any = None, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return the negative cross-entropy in bits per token: higher is better, at most 0.

        Parameters
        ----------
        X : list of B strings, token lists or id arrays, or a padded array of ids (B, T)
            Sequences; the "<stop>" of each counts as a token.
        y : None
            Ignored.
        lengths : integer array (B,), optional
            Number of tokens of each row of a padded array. All T by default.
        sample_weight : array (B,), optional
            Weight of each sequence. All 1 by default.

        Returns
        -------
        float
            Negative bits per token.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        data = self._token_dataset(X, lengths, sample_weight)
        bits = [one.sum() for one in self._surprisal(self._decoder_task(), data)]
        weights = np.ones(len(bits)) if data.weights is None else data.weights
        return -float(weights @ bits / (weights @ data.lengths))

    def perplexity(self, X: Any, lengths: Any = None) -> float:
        """Return the perplexity, 2 to the power of the bits per token.

        Parameters
        ----------
        X : list of B strings, token lists or id arrays, or a padded array of ids (B, T)
            Sequences; the "<stop>" of each counts as a token.
        lengths : integer array (B,), optional
            Number of tokens of each row of a padded array. All T by default.

        Returns
        -------
        float
            From 1, for certain and correct predictions; V for a uniform distribution of V tokens.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        return float(2.0 ** -self.score(X, lengths=lengths))

    def surprisal(self, X: Any, lengths: Any = None) -> list[NDArray[np.float64]]:
        """Return -log2 of the probability of each token, given the tokens before it.

        Parameters
        ----------
        X : list of B strings, token lists or id arrays, or a padded array of ids (B, T)
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
        return self._surprisal(self._decoder_task(), self._token_dataset(X, lengths))

    # ---- hooks of `SequenceEstimator`

    def _initialize(
        self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator, classes: Any = None
    ) -> None:
        if isinstance(X, Reader):
            found = self._stream_tokens()
            for window in X.windows():
                with window.located():
                    found.add(window.x)
            X = found
        self._fit_target_encoder(X, lengths)
        self.decoder_ = self._build_decoder(seeds)

    def _fitted_state(self) -> dict[str, Any]:
        return {"target_encoder": self.target_encoder_.to_dict()}

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self.target_encoder_ = TargetEncoder.from_dict(state["target_encoder"])
        self.decoder_ = Decoder(**modules)  # type: ignore[arg-type]
        check_decoder(self.decoder_, self.target_encoder_.size)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.num_sampled is not None:
            checks.integer("num_sampled", self.num_sampled)
            if self.label_smoothing:
                raise ValueError(f"num_sampled needs label_smoothing=0, got {self.label_smoothing}")
        pair: Any = self.truncate
        if pair is None:
            return
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"truncate must be a pair (k1, k2), got {pair!r}")
        k1, k2 = pair
        if checks.integer("k2", k2) < checks.integer("k1", k1):
            raise ValueError(f"truncate must be (k1, k2) with k2 >= k1 = {k1}, got k2 = {k2}")
        for name in ("validation_fraction", "recompute_every"):
            value = getattr(self, name)
            if value:
                raise ValueError(f"truncate cannot be combined with {name}, got {value}")

    def _split(
        self, data: Any, y: Any, validation: Any, groups: Any, seeds: np.random.Generator
    ) -> tuple[Any, Any]:
        if self.truncate is not None and (is_fraction(validation) or is_splitter(validation)):
            raise ValueError(
                f"truncate cannot be combined with a validation split, got {validation!r}: "
                "pass other sequences"
            )
        return super()._split(data, y, validation, groups, seeds)

    def _stream_reader(self, stream: Stream) -> Reader:
        if self.truncate is not None:
            raise ValueError(
                f"truncate must be None with a Stream, got {self.truncate}: its sequences side by "
                "side must be in memory; pass pieces of long sequences instead"
            )
        return super()._stream_reader(stream)

    def _validation_dataset(self, validation: Any) -> Any:
        return self._dataset(*(validation if isinstance(validation, tuple) else (validation,)))

    def _default_max_length(self) -> int:
        return _MAX_LENGTH

    def _task(self) -> DecoderTask | TruncatedBPTTTask:
        if self.truncate is None:
            return self._decoder_task()
        return TruncatedBPTTTask(self._decoder_task(), *self.truncate)

    def _decoder_task(self) -> DecoderTask:
        options = (self.label_smoothing, self.recompute_every, self.num_sampled)
        return DecoderTask(self.decoder_, None, *options)

    def _dataset(
        self, X: Any, y: Any = None, lengths: Any = None, sample_weight: Any = None
    ) -> TokenDataset | WindowDataset:
        data = self._token_dataset(X, lengths, sample_weight)
        return data if self.truncate is None else WindowDataset(data, self.truncate[0])

    def _token_dataset(self, X: Any, lengths: Any, sample_weight: Any = None) -> TokenDataset:
        sequences, encoder = self._encode(X, lengths), self.target_encoder_
        weights = sequence_weights(sample_weight, len(sequences))
        return TokenDataset(sequences, encoder.start, encoder.stop, weights=weights)

    def _exported(self) -> Parts:
        from bptt.exporters._parts import Parts

        check_is_fitted(self, "decoder_")
        return Parts(self._chain, ids=True)

    @property
    def _chain(self) -> Sequential:
        return Sequential(*self.decoder_.modules.values())

    def _stepwise(self) -> StepwiseModel:
        check_is_fitted(self, "decoder_")
        encoder = self.target_encoder_
        return StepwiseModel(self._chain, encode_with(encoder), self._finished, start=encoder.start)

    def _inputs(self, prompt: Text) -> dict[str, Any]:
        """Return the last token of the prompt, (1,), and the state before it."""
        ids = self._encode([prompt], None)[0]
        tokens = np.concatenate([[self.target_encoder_.start], ids])[np.newaxis]
        state = None if not len(ids) else self.decoder_(tokens[:, :-1])[1]
        return {"start": tokens[:, -1], "state": state}
