"""Many-to-many: one label per step, as in part-of-speech tagging."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data.labels import IGNORED_ID, UNKNOWN_ID, LabelEncoder
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.sequences import Sequences
from bptt.decoding.viterbi import iob_log_weights, viterbi_ids
from bptt.estimators._class_weight import class_weights, target_weights
from bptt.estimators._label_estimator import LabelEstimator, StreamLabels
from bptt.estimators._outputs import log_softmax
from bptt.estimators._restored import check_chain, check_characters, check_module
from bptt.estimators._sample_weight import step_weights
from bptt.estimators._stepwise import StepwiseModel
from bptt.estimators._streams import Reader
from bptt.losses import Loss, softmax, softmax_cross_entropy
from bptt.metrics import spans
from bptt.nn.characters import CharacterEmbedding
from bptt.nn.crf import CRF
from bptt.nn.embedding import Embedding
from bptt.nn.linear import OutputLoss
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.training.label_feedback import LabelFeedbackTask
from bptt.training.supervised import (
    ClassTargets,
    Predicted,
    SequenceBatch,
    SequenceDataset,
    SupervisedTask,
    WeightedMean,
    predict_in_batches,
)
from bptt.training.windowed import WindowedDataset, parts_of

if TYPE_CHECKING:
    from bptt.exporters._parts import Parts


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceTagger(LabelEstimator):
    """Assigns one label to every step of every sequence.

    Every step's output of the recurrent layers goes through a linear layer and softmax, or with
    `crf` a conditional random field. The loss is the mean cross-entropy over all steps.

    Parameters
    ----------
    cell : str
        Type of the recurrent layers, a key of `bptt.nn.CELLS`: "lstm", "rnn", "gru", …
    hidden_size : int
        Number of hidden units per layer and direction.
    num_layers : int
        Number of stacked recurrent layers.
    bidirectional : bool
        Add a reverse direction to every layer.
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
    skip_input : bool
        Skip connection from the input of the step to the linear layer:
        y_t = softmax(W_y [h_t forward, h_t backward, x_t] + b_y). Needs float features or an
        `embedding_size`.
    feedback : bool
        Use the label of the previous step as a further input: the true label in training (teacher
        forcing), the predicted one in prediction, which then runs step by step. Tokens are embedded
        (in `hidden_size` dimensions without `embedding_size`). Not with ``bidirectional=True``.
    affixes : int, optional
        Maximum length of prefixes and suffixes: the embedding of a word is the sum of those of the
        word, its lower-case form, its shape ("Aa-0" for "Covid-19"), and its first and last 1 ..
        `affixes` characters, so that unknown words are represented too. Needs words as tokens and
        an `embedding_size`. Words alone by default.
    characters : int, optional
        Number of hidden units, per direction, of a bidirectional layer of the type `cell` over the
        characters of each word, whose final states stand beside the embedding of the word (see
        `bptt.CharacterEmbedding`); characters are embedded in as many dimensions. Needs words as
        tokens and an `embedding_size`. Words alone by default.
    unseen_words : bool
        Whether all words of `embedding_vectors` are in the vocabulary, so that those that first
        occur at prediction have their vectors, too; words in neither are read in lower case.
        With ``freeze_embedding=True``: otherwise the vectors of the words in `fit` move away from
        those of the others. A file is kept in memory as a whole.
    embedding_dropout : float
        Dropout probability of the embeddings, those of characters among them, in [0, 1). Needs an
        `embedding_size`, and ``feedback=False``.
    label_smoothing : float
        Probability mass of the targets that is spread over all labels, in [0, 1).
    class_weight : "balanced" or dict, optional
        Weight of each label in the loss: "balanced" for weights inversely proportional to the
        frequency in the first call of `fit` or `partial_fit`; or a dict from label to weight, in
        which others have 1, such as {"O": 0.2}. All 1 by default.
    ignore_label : label, optional
        Label of steps that have none, such as -1, for partly labeled sequences: they do not count
        in loss, metric and score. Labels that are None or NaN never count.
    metric : {"accuracy", "span_f1"}
        Metric of `history_` and `score`: the fraction of steps whose label is right, or for labels
        B-kind, I-kind and O the F1 score of spans (see `bptt.metrics`).
    viterbi : bool
        For labels B-kind, I-kind and O: predict the most likely valid sequence, in which I-kind
        follows only B-kind or I-kind, instead of the most likely label of every step. Not with
        ``feedback=True``.
    crf : bool
        Conditional random field over the labels of a sequence (see `bptt.CRF`): scores of labels
        that follow each other are learned, the loss is that of whole label sequences, `predict`
        returns the most likely one, and `predict_proba` the probabilities of each label in all of
        them. Where a label is missing, any counts. Not with `feedback`, `class_weight` and
        `label_smoothing`.

    Attributes
    ----------
    classes_ : array (K,)
        Labels, sorted.
    encoder_ : SequenceEncoder
        Encoder of the input as ids or features.
    model_ : Sequential
        The network; with `feedback` and tokens, without the embedding.
    history_ : History
        Loss, metric (see `metric`) and gradient norm of every epoch.
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
    **Integers (T,) are ids; with ``scale=True`` they are numbers.** y is a list of
    label sequences, each as long as its sequence, or a padded array (B, T).

    For scikit-learn a tagger is not a classifier: cross-validation would stratify the folds by one
    label per sequence.

    Examples
    --------
    >>> from bptt import SequenceTagger
    >>> texts, tags = ["ab", "ba", "bb"], [["A", "B"], ["B", "A"], ["B", "B"]]
    >>> model = SequenceTagger(hidden_size=16, epochs=60, random_state=0).fit(texts, tags)
    >>> [labels.tolist() for labels in model.predict(["aab"])]
    [['A', 'A', 'B']]
    """

    _has_classes: ClassVar[bool] = True
    _labels_of_steps: ClassVar[bool] = True
    _is_chain: ClassVar[bool] = True
    _reads_streams: ClassVar[bool] = True

    skip_input: bool = False
    feedback: bool = False
    affixes: int | None = None
    characters: int | None = None
    unseen_words: bool = False
    embedding_dropout: float = 0.0
    label_smoothing: float = 0.0
    class_weight: str | Mapping[Any, float] | None = None
    ignore_label: Any = None
    metric: str = "accuracy"
    viterbi: bool = False
    crf: bool = False

    def predict_proba(self, X: Any, lengths: Any = None) -> list[FloatArray]:
        """Return the probabilities of the labels at every step.

        With ``feedback=True`` they are conditional on the most likely labels before, with
        ``crf=True`` marginals over all label sequences.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.

        Returns
        -------
        list of B arrays (T, K)
            Probabilities in the order of `classes_`.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        if not self.crf:
            return [softmax(logits) for logits in self._logits(X, lengths)]
        sequences = self._encode(X, lengths)
        result: list[FloatArray] = [np.empty(0)] * len(sequences)
        for indices, counts, output in predict_in_batches(self._task().predict, sequences):
            marginals = self._field().marginals(output, lengths=counts)
            for i, count, probabilities in zip(indices, counts, marginals, strict=True):
                result[i] = probabilities[:count]
        return result

    def predict_log_proba(self, X: Any, lengths: Any = None) -> list[FloatArray]:
        """Return the natural logarithms of the probabilities of the labels at every step.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.

        Returns
        -------
        list of B arrays (T, K)
            Logarithms in the order of `classes_`.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        if not self.crf:
            return [log_softmax(logits) for logits in self._logits(X, lengths)]
        with np.errstate(divide="ignore"):  # of probabilities that round to 0
            return [np.log(probabilities) for probabilities in self.predict_proba(X, lengths)]

    def predict(self, X: Any, lengths: Any = None) -> list[NDArray[Any]]:
        """Return the most likely labels: of every step, or with `viterbi` or `crf` of the sequence.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.

        Returns
        -------
        list of B arrays (T,)
            Labels.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        return [self.classes_[ids] for ids in self._predict_ids(X, lengths)]

    def _predict_ids(self, X: Any, lengths: Any) -> list[Predicted]:
        sequences = self._encode(X, lengths)
        result: list[Predicted] = [np.empty(0, np.int64)] * len(sequences)
        for indices, counts, output in predict_in_batches(self._task().predict, sequences):
            for i, count, ids in zip(indices, counts, self._decode(output, counts), strict=True):
                result[i] = ids[:count]
        return result

    def _decode(self, logits: FloatArray, lengths: NDArray[np.int64]) -> Predicted:
        """Return the predicted ids (B, T) of logits (B, T, K)."""
        weights = iob_log_weights(self.classes_.tolist()) if self.viterbi else (0.0, 0.0)
        if self.crf:
            learned = self._field().parameters
            first, transitions = learned["start"] + weights[0], learned["transitions"] + weights[1]
            return viterbi_ids(logits, lengths, first, transitions, learned["end"])
        if self.viterbi:
            return viterbi_ids(logits, lengths, *weights)
        ids: Predicted = logits.argmax(axis=2)
        return ids

    def score(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return the parameter `metric`: accuracy, or the F1 score of spans.

        Accuracy is the fraction of steps whose label is predicted correctly. Labels that did not
        occur in `fit` count as errors, with a warning; steps without a label do not count.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        y : list of B label sequences, or padded array (B, T)
            Labels.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.
        sample_weight : array (B,), or list of arrays (T,), optional
            Weight of each sequence, or of each step. All 1 by default.

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
        predicted = self._predict_ids(X, lengths)
        counts = np.array([len(ids) for ids in predicted])
        true = self._label_encoder.transform(y, counts, allow_unknown=True)
        weights = self._weights_of(sample_weight, counts)
        right, total = 0.0, 0.0
        for i, ids in enumerate(predicted):
            if isinstance(weights, Sequences):
                counted = (true[i] != IGNORED_ID) * weights[i]
                found, weight = (float(counted @ (ids == true[i])), float(counted.sum())), 1.0
            else:
                found = self._count_right(ids, true[i])
                weight = 1.0 if weights is None else float(weights[i])
            right, total = right + weight * found[0], total + weight * found[1]
        return right / max(total, 1e-300)

    def _count_right(
        self, predicted: Predicted, true: NDArray[np.integer[Any]]
    ) -> tuple[float, float]:
        """Return numerator and denominator of the metric for one sequence of ids."""
        counted = true != IGNORED_ID
        if self.metric == "accuracy":
            return float(np.sum((predicted == true) & counted)), float(counted.sum())
        found = spans(self._names(np.where(counted, predicted, IGNORED_ID)))
        expected = spans(self._names(true))
        return 2.0 * len(found & expected), float(len(found) + len(expected))

    def _names(self, ids: NDArray[np.integer[Any]]) -> list[str]:
        """Return IOB labels; a run of unknown labels is one span that nobody predicts."""
        names = {**dict(enumerate(self.classes_.tolist())), IGNORED_ID: "O", UNKNOWN_ID: "I-?"}
        return [names[i] for i in ids.tolist()]

    def _logits(self, X: Any, lengths: Any) -> list[FloatArray]:
        """Return the logits of every sequence, (T, K) each."""
        sequences = self._encode(X, lengths)
        result: list[FloatArray] = [np.empty(0)] * len(sequences)
        for indices, counts, output in predict_in_batches(self._task().predict, sequences):
            for i, count, logits in zip(indices, counts, output, strict=True):
                result[i] = logits[:count]
        return result

    # ---- hooks of `SequenceEstimator`

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # not a classifier: folds cannot be stratified
        tags.target_tags.required = True
        return tags

    def _check_parameters(self) -> None:
        super()._check_parameters()
        checks.flag("skip_input", self.skip_input)
        checks.fraction("label_smoothing", self.label_smoothing)
        checks.one_of("accuracy", "span_f1")("metric", self.metric)
        if checks.flag("viterbi", self.viterbi) and self.feedback:
            raise ValueError("viterbi=True needs feedback=False: labels are predicted one by one")
        if self.affixes is not None and (not self._embeds or self.feedback):
            raise ValueError("affixes needs an embedding_size, and feedback=False")
        if self.characters is not None:
            checks.integer("characters", self.characters)
            if not self._embeds or self.feedback:
                raise ValueError("characters needs an embedding_size, and feedback=False")
        if self.affixes is not None and self.freeze_embedding:
            raise ValueError(
                "affixes needs freeze_embedding=False: embeddings of affixes are learned"
            )
        if checks.flag("unseen_words", self.unseen_words) and (
            self.embedding_vectors is None or not self.freeze_embedding
        ):
            raise ValueError("unseen_words=True needs embedding_vectors and freeze_embedding=True")
        rate = checks.fraction("embedding_dropout", self.embedding_dropout)
        if rate and (not self._embeds or self.feedback):
            raise ValueError("embedding_dropout needs an embedding_size, and feedback=False")
        if checks.flag("crf", self.crf) and self.feedback:
            raise ValueError("crf=True needs feedback=False: it is another model of the labels")
        if self.crf and (self.class_weight is not None or self.label_smoothing):
            raise ValueError(
                "crf=True needs class_weight=None and label_smoothing=0: its loss is that of whole "
                "label sequences, which sample_weight weights"
            )
        if checks.flag("feedback", self.feedback) and self.bidirectional:
            raise ValueError(
                "feedback=True needs bidirectional=False: labels are predicted from left to right"
            )

    def _initialize(
        self, X: Any, y: Any, lengths: Any, seeds: np.random.Generator, classes: Any = None
    ) -> None:
        characters = self.characters is not None
        words = self._words_with_vectors() if self.unseen_words else ()
        options: dict[str, Any] = {"steps": True, "ignore": self.ignore_label}
        if isinstance(X, Reader):
            y = StreamLabels(classes, **options)
        self._fit_encoder(X, lengths, y, affixes=self.affixes, characters=characters, words=words)
        if isinstance(y, StreamLabels):
            y = y.targets()
        labels = LabelEncoder(**options)
        self._set_labels(labels.fit(y, lengths) if classes is None else labels.fit([classes]))
        self._check_labels(is_chosen=classes is not None)
        self._make(seeds)

    def _check_labels(self, *, is_chosen: bool) -> None:
        """Check that labels are B-, I- and O where needed; warn of codes of missing labels."""
        known = self.classes_.tolist()
        for option in ("metric='span_f1'", "viterbi=True"):
            if option in (f"metric={self.metric!r}", f"viterbi={self.viterbi}"):
                for label in known:
                    checks.iob_label(f"labels with {option}", str(label))
        for code in (-1, -100):
            if code in known and not is_chosen:
                warnings.warn(
                    f"label {code} is a class: set ignore_label={code} if these steps have no "
                    "label, or classes=[..] in fit if they have",
                    UserWarning,
                    stacklevel=4,
                )

    def _exported(self) -> Parts:
        if self.feedback:
            raise ValueError(
                "feedback=True cannot be exported: the network reads the labels before, which are "
                "predicted step by step"
            )
        return super()._exported()

    def _stepwise(self) -> StepwiseModel:
        for option in ("feedback", "crf"):
            if getattr(self, option):
                rule = f"sessions need {option}=False: its labels depend on each other"
                raise ValueError(f"{rule}, got {option}=True")
        return super()._stepwise()

    def _make(self, seeds: np.random.Generator) -> None:
        count = len(self.classes_)
        embedded = self.feedback or self._embeds
        if self.skip_input and self.encoder_.kind == "ids" and not embedded:
            raise ValueError("skip_input=True needs float features, or an embedding_size")
        if not self.feedback:
            self.model_ = self._build_model(
                count,
                seeds,
                skip_input=self.skip_input,
                characters=self._read_characters(seeds),
                embedding_dropout=self.embedding_dropout,
            )
            if self.crf:
                modules = (*self.model_.modules, CRF(count, dtype=self.dtype))
                self.model_ = Sequential(*modules, skip_input=self.skip_input)
            return
        self._embedding: Embedding | None = None
        size = self.encoder_.size
        if self.encoder_.kind == "ids":
            self._embedding = self._build_embedding(
                size, self.encoder_.vocabulary, seeds, default_size=self.hidden_size
            )
            assert self._embedding is not None
            size = self._embedding.embedding_dim
        chain = self._build_chain(size + count, count, seeds, skip_input=self.skip_input)
        self.model_ = Sequential(*chain, skip_input=self.skip_input)

    def _read_characters(self, seeds: np.random.Generator) -> CharacterEmbedding | None:
        """Return the module that reads the characters of words."""
        letters, length = self.encoder_.character_vocabulary, self.encoder_.word_length
        if self.characters is None or letters is None or length is None:
            return None
        size = self.characters
        options = {"cell": self.cell, **self._module_options(seeds)}
        return CharacterEmbedding(len(letters), size, size, length, **options)

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self._set_encoder(SequenceEncoder.from_dict(state["encoder"]))
        self._restore_labels(state)
        self._check_labels(is_chosen=True)
        chain, size, count = list(modules.values()), self.encoder_.size, len(self.classes_)
        if self.feedback:
            self._embedding = None
            if self.encoder_.kind == "ids":
                first = chain.pop(0)
                check_module("the embedding", first, Embedding, num_embeddings=size)
                assert isinstance(first, Embedding)
                self._embedding, size = first, first.embedding_dim
            size += count
        self.model_ = Sequential(*chain, skip_input=self.skip_input)
        bag = self.encoder_.affixes is not None
        check_chain(self.model_, size, count, bag=bag, crf=self.crf)
        check_characters(self.model_, self.encoder_)

    def _task(self) -> SupervisedTask | LabelFeedbackTask:
        options: Any = (self._loss, self._metric, self._loss_weight, self.recompute_every)
        if not self.viterbi:  # which needs the output
            options = (*options, ClassTargets(self._loss_arguments, self._metric_of_ids))
        if self.feedback:
            return LabelFeedbackTask(self._embedding, self.model_, *options)
        return SupervisedTask(self.model_, *options)

    def _dataset(
        self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None
    ) -> SequenceDataset:
        return self._pair(X, y, lengths, sample_weight)

    def _evaluation_dataset(self, X: Any, y: Any = None, lengths: Any = None) -> SequenceDataset:
        return self._pair(X, y, lengths, allow_unknown=True)

    def _pair(
        self,
        X: Any,
        y: Any,
        lengths: Any,
        sample_weight: Any = None,
        *,
        allow_unknown: bool = False,
    ) -> SequenceDataset:
        sequences = self._encode(X, lengths)
        targets = self._label_encoder.transform(y, sequences.lengths, allow_unknown=allow_unknown)
        weights = self._weights_of(sample_weight, sequences.lengths)
        return SequenceDataset(sequences, targets, weights)

    def _weights_of(
        self, sample_weight: Any, lengths: NDArray[np.int64]
    ) -> NDArray[np.float64] | Sequences | None:
        """Return the weights of sequences, or of steps."""
        weights = step_weights(sample_weight, lengths)
        if isinstance(weights, Sequences) and (self.crf or self.metric != "accuracy"):
            raise ValueError(
                "weights of steps need crf=False and metric='accuracy', got "
                f"crf={self.crf} and metric={self.metric!r}: weight sequences instead"
            )
        return weights

    def _fit_class_weight(self, data: SequenceDataset | WindowedDataset) -> None:
        ids: Any = (part.targets.values for part in parts_of(data))  # type: ignore[attr-defined]
        self._class_weights = class_weights(self.class_weight, self.classes_, ids)

    def _field(self) -> CRF:
        field = self.model_.modules[-1]
        assert isinstance(field, CRF)
        return field

    def _target_weights(self, batch: SequenceBatch) -> NDArray[np.float64] | None:
        if self.crf:
            return batch.weights
        return target_weights(batch.y, batch.weights, self._class_weights)

    def _loss_weight(self, batch: SequenceBatch) -> float:
        weights, lengths = self._target_weights(batch), batch.lengths
        if weights is None or weights.ndim == 1:
            return float(lengths.sum() if weights is None else lengths @ weights)
        return float(weights[batch.exists].sum())

    def _loss(self, output: FloatArray, batch: SequenceBatch) -> Loss | OutputLoss:
        arguments = {"lengths": batch.lengths, **self._loss_arguments(batch)}
        if self.crf:  # labels are decoded with `viterbi`'s rules
            return self._field().cross_entropy(output, **arguments, predictions=False)
        return softmax_cross_entropy(output, **arguments)

    def _loss_arguments(self, batch: SequenceBatch) -> dict[str, Any]:
        arguments = {
            "targets": np.maximum(batch.y, 0),
            "weights": self._target_weights(batch),
            "reduction": "mean",
        }
        if self.crf:
            known = batch.y >= 0
            return arguments | {"mask": None if known.all() else known}
        return arguments | {"label_smoothing": self.label_smoothing}

    def _metric(self, output: FloatArray, batch: SequenceBatch) -> WeightedMean:
        return self._metric_of_ids(self._decode(output, batch.lengths), batch)

    def _metric_of_ids(self, ids: Predicted, batch: SequenceBatch) -> WeightedMean:
        if self.metric == "accuracy":
            counted = batch.exists & (batch.y != IGNORED_ID)
            steps = [(ids == batch.y) & counted, counted]
            if batch.weights is None:
                return _mean(*map(np.count_nonzero, steps))
            if batch.weights.ndim == 2:
                return _mean(*((batch.weights * one).sum() for one in steps))
            counts = np.column_stack([one.sum(axis=1) for one in steps])
        else:
            rows = zip(ids, batch.y, batch.lengths, strict=True)
            counts = np.array([self._count_right(row[:n], true[:n]) for row, true, n in rows])
        weights = np.ones(len(ids)) if batch.weights is None else batch.weights
        return _mean(*(weights @ counts))


def _mean(right: Any, total: Any) -> WeightedMean:
    """Return the metric of this numerator and denominator."""
    return WeightedMean(float(right) / max(float(total), 1e-300), float(total))
