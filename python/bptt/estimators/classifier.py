"""Many-to-one classification: one class per sequence, as in sentiment analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data._containers import check_order_of_groups
from bptt.data.labels import LabelEncoder
from bptt.estimators._class_order import (
    class_log_probabilities,
    has_order,
    places_of,
    restored_places,
)
from bptt.estimators._class_weight import class_weights, target_weights
from bptt.estimators._label_estimator import LabelEstimator, StreamLabels
from bptt.estimators._many_to_one import ManyToOneEstimator
from bptt.estimators._multi_label import classes_of, indicators, is_indicator
from bptt.estimators._outputs import log_softmax
from bptt.estimators._sample_weight import sequence_weights
from bptt.estimators._sklearn import ClassifierMixin
from bptt.losses import (
    Loss,
    binary_cross_entropy,
    ordinal_cross_entropy,
    sigmoid,
    softmax,
    softmax_cross_entropy,
)
from bptt.training.supervised import (
    ClassTargets,
    Predicted,
    SequenceBatch,
    SequenceDataset,
    WeightedMean,
)
from bptt.training.windowed import WindowedDataset, parts_of


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceClassifier(ClassifierMixin, LabelEstimator, ManyToOneEstimator):  # type: ignore[misc]
    """Assigns one class to every sequence.

    The outputs of the recurrent layers are pooled to one vector per sequence, which goes through a
    linear layer and softmax. The loss is the mean cross-entropy.

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
    pool : {"last", "mean", "max"}
        Pooling over the steps: the final state (of both directions), or the mean or maximum of
        every feature.
    affixes : int, optional
        Maximum length of prefixes and suffixes: the embedding of a word is the sum of those of the
        word, its lower-case form, its shape ("Aa-0" for "Covid-19"), and its first and last 1 ..
        `affixes` characters, so that unknown words are represented too. Needs words as tokens and
        an `embedding_size`. Words alone by default.
    label_smoothing : float
        Probability mass of the targets that is spread over all classes, in [0, 1).
    multi_label : bool
        Any number of classes per sequence, each with a probability of its own (sigmoid); the loss
        is the binary cross-entropy, summed over the classes. One class per sequence by default.
    ordinal : bool or sequence
        Classes with an order, that of sorting or the given one, such as ``["low", "medium",
        "high"]``. Outputs are the logits of the probability, for every class but the last, that a
        class lies beyond it if not before; see `bptt.ordinal_cross_entropy`. Without an order by
        default. Not with `multi_label` or `label_smoothing`.
    class_weight : "balanced" or dict, optional
        Weight of each class in the loss: "balanced" for weights inversely proportional to the
        frequency in the first call of `fit` or `partial_fit`; or a dict from class to weight, in
        which others have 1. All 1 by default. Not with ``multi_label=True``.

    Attributes
    ----------
    classes_ : array (K,)
        Classes, sorted.
    encoder_ : SequenceEncoder
        Encoder of the input as ids or features.
    model_ : Sequential
        The network.
    history_ : History
        Loss, accuracy (`metric`) and gradient norm of every epoch.
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
    **Integers (T,) are ids; with ``scale=True`` they are numbers.** y is an array or
    list of B classes: strings, integers, or any other values that can be sorted. With
    ``multi_label=True`` it is an array (B, K) of 0 and 1, or a list of B lists of classes, each of
    any length; `predict` returns the same.

    Examples
    --------
    >>> from bptt import SequenceClassifier
    >>> texts, moods = ["good", "so good", "bad", "too bad"], ["+", "+", "-", "-"]
    >>> model = SequenceClassifier(hidden_size=16, epochs=40, random_state=0).fit(texts, moods)
    >>> model.predict(["good", "bad"])
    array(['+', '-'], dtype='<U1')
    """

    _has_classes: ClassVar[bool] = True

    label_smoothing: float = 0.0
    multi_label: bool = False
    ordinal: bool | Sequence[Any] = False
    class_weight: str | Mapping[Any, float] | None = None

    def decision_function(self, X: Any, lengths: Any = None) -> FloatArray:
        """Return the logits of every sequence.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.

        Returns
        -------
        array (B, K), or (B,) for two classes
            Logits in the order of `classes_`, with `ordinal` log-probabilities; for two classes,
            unless several may be right, their difference, second - first.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        logits = self._predict_outputs(X, lengths)
        two = logits.shape[1] == 2 and not self.multi_label
        return logits[:, 1] - logits[:, 0] if two else logits

    def predict_proba(self, X: Any, lengths: Any = None) -> FloatArray:
        """Return the probabilities of the classes for every sequence.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.

        Returns
        -------
        array (B, K)
            Probabilities in the order of `classes_`; their sum is 1, except with `multi_label`.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        return self._probabilities(self._predict_outputs(X, lengths))

    def predict_log_proba(self, X: Any, lengths: Any = None) -> FloatArray:
        """Return the natural logarithms of the probabilities of the classes for every sequence.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.

        Returns
        -------
        array (B, K)
            Logarithms in the order of `classes_`.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        logits = self._predict_outputs(X, lengths)
        return -np.logaddexp(0.0, -logits) if self.multi_label else log_softmax(logits)

    def predict(self, X: Any, lengths: Any = None) -> Any:
        """Return the most likely class of every sequence, or with `multi_label` all likely ones.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.

        Returns
        -------
        array (B,)
            Classes. With `multi_label` the form of y in `fit`: an array (B, K) of 0 and 1, or a
            list of lists, of the classes with a probability above 0.5.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        logits = self._predict_outputs(X, lengths)
        if not self.multi_label:
            return self.classes_[logits.argmax(axis=1)]
        likely = logits > 0.0
        if self._indicators:
            return likely.astype(np.int64)
        return [self.classes_[row].tolist() for row in likely]

    def score(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy, the fraction of sequences whose class is predicted correctly.

        Classes that did not occur in `fit` count as errors, with a warning. With `multi_label` all
        classes of a sequence must be right.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        y : array or list (B,)
            Classes; with `multi_label` as in `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.
        sample_weight : array (B,), optional
            Weight of each sequence. All 1 by default.

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
        check_order_of_groups(X, y)
        logits = self._predict_outputs(X, lengths)
        targets = self._validation_targets(y)
        self._check_count(len(targets), len(logits))
        weights = sequence_weights(sample_weight, len(logits))
        return float(np.average(self._correct(logits, targets), weights=weights))

    def _correct(self, logits: FloatArray, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return whether the prediction of every sequence is right."""
        if not self.multi_label:
            right: NDArray[np.bool_] = logits.argmax(axis=1) == targets
            return right
        all_right: NDArray[np.bool_] = np.all((logits > 0.0) == (targets > 0.5), axis=1)
        return all_right

    def _predict_outputs(self, X: Any, lengths: Any) -> FloatArray:
        """Return the logits of the classes of every sequence, (B, K)."""
        return self._class_logits(super()._predict_outputs(X, lengths))

    def _probabilities(self, logits: FloatArray) -> FloatArray:
        return sigmoid(logits) if self.multi_label else softmax(logits)

    def _finished(self, output: FloatArray) -> FloatArray:
        return self._probabilities(self._class_logits(output))

    def _class_logits(self, output: FloatArray) -> FloatArray:
        """Return one logit for every class, whose softmax are the probabilities."""
        return output if self._places is None else class_log_probabilities(output, self._places)

    # ---- hooks of `SequenceEstimator`

    def _check_parameters(self) -> None:
        super()._check_parameters()
        checks.fraction("label_smoothing", self.label_smoothing)
        if checks.flag("multi_label", self.multi_label) and self.class_weight is not None:
            raise ValueError("multi_label=True needs class_weight=None: weight sequences instead")
        if has_order(self.ordinal) and (self.multi_label or self.label_smoothing):
            rule = "ordinal needs multi_label=False and label_smoothing=0"
            got = f"multi_label={self.multi_label}, label_smoothing={self.label_smoothing}"
            raise ValueError(f"{rule}, got {got}")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = bool(self.multi_label)
        tags.target_tags.multi_output = bool(self.multi_label)
        return tags

    def _stream_targets(self, classes: Any) -> StreamLabels:
        if self.multi_label:
            raise ValueError("multi_label=True needs sequences in memory, got a Stream")
        return StreamLabels(classes)

    def _fit_targets(self, y: Any, classes: Any, lengths: Any) -> int:
        if isinstance(y, StreamLabels):
            y = y.targets()
        self._indicators = bool(self.multi_label) and is_indicator(y)
        self._places = None
        if self.multi_label:
            self._set_labels(classes_of(y, classes))
            return len(self.classes_)
        if getattr(y, "ndim", 1) == 2:
            from sklearn.utils.validation import column_or_1d

            y = column_or_1d(y, warn=True)
        self._set_labels(LabelEncoder().fit(y if classes is None else classes))
        self._places = places_of(self.ordinal, self.classes_)
        return self._output_count

    @property
    def _output_count(self) -> int:
        return len(self.classes_) - (self._places is not None)

    def _fitted_state(self) -> dict[str, Any]:
        places = None if self._places is None else self._places.tolist()
        return {**super()._fitted_state(), "indicators": self._indicators, "places": places}

    def _restore_targets(self, state: Mapping[str, Any]) -> int:
        self._restore_labels(state)
        self._indicators = checks.flag("indicators", state.get("indicators", False))
        self._places = restored_places(state.get("places"), len(self.classes_))
        return self._output_count

    def _encode_targets(self, y: Any) -> NDArray[Any]:
        if self.multi_label:
            return indicators(y, self._label_encoder, self.dtype)
        ids: NDArray[Any] = self._label_encoder.transform(y)
        return ids

    def _validation_targets(self, y: Any) -> NDArray[Any]:
        if self.multi_label:
            return self._encode_targets(y)
        ids: NDArray[Any] = self._label_encoder.transform(y, allow_unknown=True)
        return ids

    def _fit_class_weight(self, data: SequenceDataset | WindowedDataset) -> None:
        if self.multi_label:
            self._class_weights = None
            return
        ids: Any = (part.targets for part in parts_of(data))  # type: ignore[attr-defined]
        self._class_weights = class_weights(self.class_weight, self.classes_, ids)

    def _loss_weight(self, batch: SequenceBatch) -> float:
        if self.multi_label:
            return super()._loss_weight(batch)
        weights = target_weights(batch.y, batch.weights, self._class_weights)
        return float(len(batch.y) if weights is None else weights.sum())

    def _loss(self, output: FloatArray, batch: SequenceBatch) -> Loss:
        if self.multi_label:
            smoothing = self.label_smoothing
            targets = (1.0 - smoothing) * batch.y + 0.5 * smoothing if smoothing else batch.y
            return binary_cross_entropy(output, targets, weights=batch.weights, reduction="mean")
        arguments = self._loss_arguments(batch)
        if self._places is None:
            return softmax_cross_entropy(output, **arguments)
        places = self._places[arguments["targets"]]
        return ordinal_cross_entropy(
            output, places, weights=arguments["weights"], reduction=arguments["reduction"]
        )

    def _loss_arguments(self, batch: SequenceBatch) -> dict[str, Any]:
        return {
            "targets": np.maximum(batch.y, 0),
            "weights": target_weights(batch.y, batch.weights, self._class_weights),
            "label_smoothing": self.label_smoothing,
            "reduction": "mean",
        }

    def _class_targets(self) -> ClassTargets | None:
        if self.multi_label or self._places is not None:
            return None
        return ClassTargets(self._loss_arguments, self._metric_of_ids)

    def _metric(self, output: FloatArray, batch: SequenceBatch) -> WeightedMean:
        return self._mean_of(self._correct(self._class_logits(output), batch.y), batch)

    def _metric_of_ids(self, ids: Predicted, batch: SequenceBatch) -> WeightedMean:
        return self._mean_of(ids == batch.y, batch)

    def _mean_of(self, correct: NDArray[np.bool_], batch: SequenceBatch) -> WeightedMean:
        total = float(len(correct) if batch.weights is None else batch.weights.sum())
        weights = batch.weights if total else None
        return WeightedMean(float(np.average(correct, weights=weights)), total)
