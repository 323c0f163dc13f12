"""Sequence-to-sequence: a target sequence for a source sequence, as in translation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.batching import sorted_batches
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.sequences import Sequences
from bptt.data.target_encoder import TargetEncoder, Text
from bptt.estimators._autoregressive import (
    AutoregressiveEstimator,
    default_max_length,
    random_generator,
)
from bptt.estimators._restored import check_network, default_length
from bptt.estimators._sample_weight import sequence_weights
from bptt.estimators._streams import Reader
from bptt.nn.attention import Attention
from bptt.nn.cells import CELLS
from bptt.nn.decoder import Decoder
from bptt.nn.dropout import Dropout
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.seq2seq import Bridge, EncoderDecoderNetwork
from bptt.nn.sequential import Sequential
from bptt.training.sequence_to_sequence import PairDataset, SequenceToSequenceTask
from bptt.training.supervised import PREDICTION_BATCH_SIZE
from bptt.training.teacher_forcing import TokenDataset


@dataclass(kw_only=True, repr=False, eq=False)
class EncoderDecoder(AutoregressiveEstimator):
    """Generates a target sequence for a source sequence, as in translation.

    The final state of the encoder is the initial state of the decoder, which generates token after
    token, each given those before it, until "<stop>": I. Sutskever, O. Vinyals and Q. Le (2014),
    Sequence to sequence learning with neural networks. The final states of a bidirectional encoder
    are mapped to those of the decoder by a linear layer. In training the tokens before are the true
    ones (teacher forcing). The loss is the mean cross-entropy over all tokens of the targets,
    including "<stop>".

    Parameters
    ----------
    cell : str
        Type of the recurrent layers, a key of `bptt.nn.CELLS`: "lstm", "rnn", "gru", …
    hidden_size : int
        Number of hidden units per layer and direction.
    num_layers : int
        Number of stacked recurrent layers.
    bidirectional : bool
        Add a reverse direction to every layer of the encoder.
    dropout : float
        Dropout probability between layers and before the output layer, in [0, 1).
    recurrent_dropout : float
        Dropout probability of the hidden state before the recurrent product, one mask a sequence,
        in [0, 1).
    zoneout : float
        Probability with which an element of the state keeps its previous value, in [0, 1).
    learn_initial_state : bool
        Whether the encoder begins in a state that is trained, instead of zero.
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
        Standardize features (zero mean, unit variance).
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
    attention : {"dot", "additive"}, optional
        Attention of the decoder over the outputs of the encoder; see `bptt.Attention`. The outputs
        of a bidirectional encoder's directions are added with "dot" and concatenated with
        "additive". No attention by default.
    scheduled_sampling : float
        Probability, in [0, 1], that in training an input token of the decoder is its own most
        likely token instead of the true one. Slower: the decoder then runs step by step. S. Bengio
        et al. (2015), Scheduled sampling for sequence prediction with recurrent neural networks.

    Attributes
    ----------
    tokens_ : list
        All tokens of the targets, in the order of their ids, including "<start>", "<stop>" and for
        text "<unk>".
    encoder_ : SequenceEncoder
        Encoder of the sources as ids or features.
    target_encoder_ : TargetEncoder
        Encoder of the targets as ids.
    network_ : EncoderDecoderNetwork
        The network.
    history_ : History
        Loss, accuracy of the tokens given the true tokens before (`metric`) and gradient norm of
        every epoch.
    n_features_in_ : int
        Number of features; only for an input of numbers.
    feature_names_in_ : array of str
        Names of the columns of tables, checked at prediction; only for tables.
    n_iter_ : int
        Number of epochs, or of calls of `partial_fit`.
    metadata_ : dict
        Metadata passed to `save`; only after `load`.

    Notes
    -----
    X is a list of strings, token lists, id arrays (T,) or float arrays (T, I), or a padded array.
    **Integers (T,) are ids; with ``scale=True`` they are numbers.** y is a list of strings, token
    lists or id arrays, one per source; generated sequences have the same type. `tokens` and
    `min_count` apply to both; `hidden_size`, `num_layers` and the other options of layers to
    encoder and decoder.

    Examples
    --------
    >>> from bptt import EncoderDecoder
    >>> words = ["abc", "ca", "bab", "cb"]
    >>> model = EncoderDecoder(attention="dot", epochs=100, random_state=0).fit(words, words)
    >>> model.predict(["ca"])
    ['ca']
    """

    attention: str | None = None
    scheduled_sampling: float = 0.0

    # ---- decoding

    def predict(
        self,
        X: Any,
        lengths: Any = None,
        *,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = 0.0,
    ) -> list[Text]:
        """Return the most likely target for every source.

        Parameters
        ----------
        X : list of B strings, token lists, id arrays or float arrays, or a padded array
            Sources, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each source of a padded array. All T by default.
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
            Targets without "<stop>".

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        ids = self._predict_ids(self._encode(X, lengths), beam, max_length, length_penalty)
        return [self.target_encoder_.decode(one) for one in ids]

    def beam_search(
        self,
        X: Any,
        lengths: Any = None,
        *,
        beam: int = 5,
        count: int | None = None,
        max_length: int | None = None,
        length_penalty: float = 0.0,
    ) -> list[list[tuple[Text, float]]]:
        """Return the most likely targets for every source, with their log-probabilities.

        Parameters
        ----------
        X : list of B strings, token lists, id arrays or float arrays, or a padded array
            Sources, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each source of a padded array. All T by default.
        beam : int
            Number of hypotheses of the beam search.
        count : int, optional
            Number of targets to return per source, in [1, beam]. All `beam` by default.
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
        sources = self._encode(X, lengths)
        result: list[list[tuple[Text, float]]] = [[]] * len(sources)
        for indices, inputs in self._decoder_inputs(sources):
            found = self._search(inputs, beam=beam, count=count, **options)
            for i, hypotheses in zip(indices, found, strict=True):
                result[i] = self._decode_hypotheses(hypotheses)
        return result

    def sample(
        self,
        X: Any,
        lengths: Any = None,
        *,
        max_length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> list[Text]:
        """Sample a target for every source.

        Parameters
        ----------
        X : list of B strings, token lists, id arrays or float arrays, or a padded array
            Sources, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each source of a padded array. All T by default.
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
            Targets without "<stop>".

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        sources, random = self._encode(X, lengths), random_generator(random_state)
        result: list[Text] = [None] * len(sources)
        for indices, inputs in self._decoder_inputs(sources):
            sampled = self._sample_ids(inputs, random, max_length=max_length, **options)
            for i, ids in zip(indices, sampled, strict=True):
                result[i] = self.target_encoder_.decode(ids)
        return result

    # ---- evaluation

    def attention_weights(self, X: Any, y: Any = None, lengths: Any = None) -> list[FloatArray]:
        """Return the attention weights of every target token over the steps of its source.

        Parameters
        ----------
        X : list of B strings, token lists, id arrays or float arrays, or a padded array
            Sources, as for `fit`.
        y : list of B strings, token lists or id arrays, optional
            Targets. By default those that `predict` returns.
        lengths : integer array (B,), optional
            Number of steps of each source of a padded array. All T by default.

        Returns
        -------
        list of B arrays (S + 1, T)
            One row per token of the target and one for "<stop>", one column per step of the source.
            Rows sum to 1.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value, or the network has no attention.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        if self.attention is None:
            raise ValueError("attention_weights needs attention='dot' or 'additive', got None")
        sources = self._encode(X, lengths)
        if y is None:
            targets = Sequences.from_arrays(self._predict_ids(sources))
        else:
            targets = self._encode_targets(y, len(sources))
        data, task = self._pair_dataset(sources, targets), self._task()
        result: list[FloatArray] = [np.empty(0)] * len(sources)
        for indices in sorted_batches(sources.lengths, PREDICTION_BATCH_SIZE):
            batch = data.batch(indices)
            sizes = zip(batch.targets.lengths, batch.lengths, strict=True)
            rows = zip(indices, task.attention_weights(batch), sizes, strict=True)
            for i, weights, (target_length, source_length) in rows:
                result[i] = weights[:target_length, :source_length]
        return result

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
        """Return the fraction of sources whose target is predicted exactly.

        Parameters
        ----------
        X : list of B strings, token lists, id arrays or float arrays, or a padded array
            Sources, as for `fit`.
        y : list of B strings, token lists or id arrays
            Targets.
        lengths : integer array (B,), optional
            Number of steps of each source of a padded array. All T by default.
        sample_weight : array (B,), optional
            Weight of each pair. All 1 by default.
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
        sources = self._encode(X, lengths)
        found = self._predict_ids(sources, beam, max_length, length_penalty)
        targets = self._encode_targets(y, len(found))
        correct = [np.array_equal(ids, targets[i]) for i, ids in enumerate(found)]
        weights = sequence_weights(sample_weight, len(correct))
        return float(np.average(correct, weights=weights))

    def _predict_ids(
        self,
        sources: Sequences,
        beam: int = 1,
        max_length: int | None = None,
        length_penalty: float = 0.0,
    ) -> list[NDArray[np.int64]]:
        options: dict[str, Any] = {"max_length": max_length, "length_penalty": length_penalty}
        result: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(sources)
        for indices, inputs in self._decoder_inputs(sources):
            found = self._most_likely_ids(inputs, beam=beam, **options)
            for i, ids in zip(indices, found, strict=True):
                result[i] = ids
        return result

    def _decoder_inputs(
        self, sources: Sequences
    ) -> Iterator[tuple[NDArray[np.int64], dict[str, Any]]]:
        """Yield indices and inputs of the decoder, in minibatches of similar length."""
        for indices in sorted_batches(sources.lengths, PREDICTION_BATCH_SIZE):
            memory = self.network_.encode(*sources.pad(indices))
            start = np.full(len(memory), self.target_encoder_.start)
            yield indices, {"start": start, "state": memory.state, **memory.decoder_arguments()}

    # ---- hooks of `SequenceEstimator`

    @property
    def _decoder(self) -> Decoder:
        return self.network_.decoder

    def _default_max_length(self) -> int:
        return self._max_length

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.attention is not None:
            checks.one_of("dot", "additive")("attention", self.attention)
        rate = checks.number("scheduled_sampling", self.scheduled_sampling)
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"scheduled_sampling must be in [0, 1], got {rate}")

    def _initialize(
        self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator, classes: Any = None
    ) -> None:
        if isinstance(X, Reader):
            y = self._stream_tokens()
        self._fit_encoder(X, lengths, y)
        self._fit_target_encoder(y)
        self._max_length = default_max_length(self.target_encoder_)
        self.network_ = EncoderDecoderNetwork(
            *self._build_encoder(seeds), self._build_decoder(seeds)
        )

    def _describe_data(self) -> dict[str, str]:
        found = {"input": self.encoder_.describe(), **self._describe_vectors()}
        return {**found, "target": self.target_encoder_.describe()}

    def _fitted_state(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder_.to_dict(),
            "target_encoder": self.target_encoder_.to_dict(),
            "max_length": self._max_length,
        }

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self._set_encoder(SequenceEncoder.from_dict(state["encoder"]))
        self.target_encoder_ = TargetEncoder.from_dict(state["target_encoder"])
        self._max_length = default_length(state)
        self.network_ = EncoderDecoderNetwork.of(modules)
        check_network(self.network_, self.encoder_.size, self.target_encoder_.size)

    def _task(self) -> SequenceToSequenceTask:
        return SequenceToSequenceTask(
            self.network_, self.scheduled_sampling, self.label_smoothing, self.recompute_every
        )

    def _dataset(
        self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None
    ) -> PairDataset:
        sources = self._encode(X, lengths)
        weights = sequence_weights(sample_weight, len(sources))
        return self._pair_dataset(sources, self._encode_targets(y, len(sources)), weights)

    def _pair_dataset(
        self,
        sources: Sequences,
        targets: Sequences,
        weights: NDArray[np.float64] | None = None,
    ) -> PairDataset:
        encoder = self.target_encoder_
        tokens = TokenDataset(targets, encoder.start, encoder.stop, weights=weights)
        return PairDataset(sources, tokens)

    def _encode_targets(self, y: Any, count: int) -> Sequences:
        targets = self.target_encoder_.transform(y, name="y")
        if len(targets) != count:
            raise ValueError(f"y must have {count} sequences, as X, got {len(targets)}")
        return targets

    # ---- modules

    def _build_encoder(self, seeds: np.random.Generator) -> tuple[Sequential, Bridge | None]:
        """Return the encoder, and the bridge from its final state to that of the decoder."""
        size, chain = self.encoder_.size, list[Module]()
        if self.encoder_.kind == "ids":
            embedding = self._build_embedding(size, self.encoder_.vocabulary, seeds)
            if embedding is not None:
                chain.append(embedding)
                size = embedding.embedding_dim
        merge = "sum" if self.attention == "dot" else "concat"
        first, recurrent = self._build_layers(size, seeds, merge=merge)
        encoder = Sequential(*chain, *first, recurrent)
        if not self.bidirectional:
            return encoder, None
        units = self.num_layers * self.hidden_size
        linears = [
            Linear(2 * units, units, **self._module_options(seeds))
            for _ in CELLS[self.cell].mapped_states
        ]
        return encoder, Bridge(linears, self.num_layers)

    def _build_decoder(self, seeds: np.random.Generator) -> Decoder:
        tokens, hidden = self.target_encoder_.size, self.hidden_size
        embedding, attention, size, features = None, None, tokens, hidden
        if self._embeds:
            size = self.embedding_size or self._vectors_found[2]
            embedding = Embedding(tokens, size, **self._module_options(seeds))
        options = {"bidirectional": False, "learn_initial_state": False}  # the encoder's last state
        recurrent = self._build_recurrent(size, seeds, **options)
        if self.attention is not None:
            memory = hidden * (2 if self.bidirectional and self.attention == "additive" else 1)
            attention = Attention(
                hidden, memory, kind=self.attention, **self._module_options(seeds)
            )
            features += memory
        return Decoder(
            embedding=embedding,
            recurrent=recurrent,
            attention=attention,
            dropout=Dropout(self.dropout, **self._module_options(seeds)) if self.dropout else None,
            output=Linear(features, tokens, **self._module_options(seeds)),
        )
