"""Regression: one number or vector per sequence, as in forecasting, or at every step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data._containers import check_order_of_groups, unpacked, with_nan
from bptt.data._moments import Moments, sum_of
from bptt.data._step_targets import read_step_targets
from bptt.data.sequences import Sequences
from bptt.data.standardization import Standardizer
from bptt.distributed._pooling import pooled_sum
from bptt.estimators._many_to_one import ManyToOneEstimator
from bptt.estimators._regression_losses import (
    RegressionLoss,
    bounds_of,
    levels_of,
    regression_loss,
)
from bptt.estimators._sample_weight import sequence_weights, step_weights
from bptt.estimators._sklearn import RegressorMixin
from bptt.estimators._step_regression import error_of_steps, loss_of_steps, weight_of_steps
from bptt.losses import Loss
from bptt.training.supervised import SequenceBatch, SequenceDataset, predict_in_batches
from bptt.training.windowed import WindowedDataset, parts_of

if TYPE_CHECKING:
    from bptt.exporters._parts import Parts

_FAR_WORSE = 10.0  # loss, in variances of the targets, that leads to a warning


@dataclass(frozen=True, eq=False)
class _Numbers:
    """What is learned of targets."""

    one_output: bool | None = None
    """Whether each is one number; None without any target."""
    count: int = 0
    """Number of outputs."""
    moments: Moments | None = None
    """Moments of the outputs, for standardization."""

    def __add__(self, other: _Numbers) -> _Numbers:
        first, last = (other, self) if self.one_output is None else (self, other)
        outputs = (last.one_output, last.count)
        if last.one_output is not None and outputs != (first.one_output, first.count):
            raise ValueError(f"y must have {first.count} outputs, as before, got {last.count}")
        moments = sum_of(self.moments, other.moments)
        return _Numbers(first.one_output, first.count, moments)


class StreamNumbers:
    """Targets of a stream, one window after the other.

    Parameters
    ----------
    read : function
        Targets and lengths -> targets that count, (N, outputs), and whether each is one number.
    scale : bool
        Whether their moments are needed.
    """

    def __init__(self, read: Callable[[Any, Any], tuple[FloatArray, bool]], *, scale: bool) -> None:
        self._read, self._scale = read, scale
        self.found = _Numbers()

    def add(self, y: Any, lengths: Any = None) -> None:
        """Add the targets of a window."""
        columns, one_output = self._read(y, lengths)
        if len(columns):
            moments = Moments.of(columns) if self._scale else None
            self.found += _Numbers(one_output, int(columns.shape[1]), moments)


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceRegressor(RegressorMixin, ManyToOneEstimator):  # type: ignore[misc]
    """Predicts one number, or a vector of numbers, for every sequence, or for every step.

    The outputs of the recurrent layers are pooled to one vector per sequence, or with ``pool=None``
    kept at every step, and go through a linear layer. The loss is the mean squared error, or one
    that also predicts the uncertainty: quantiles, or a normal distribution. Targets
    far from zero mean and unit variance need ``scale=True``: the loss is then that of the
    standardized targets, about 1 for a constant prediction of the mean and the squared error, and
    the metric, the mean absolute error, is in the original unit.

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
        Standardize features and targets (zero mean, unit variance); predictions are in the original
        unit.
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
    pool : {"last", "mean", "max"} or None
        Pooling over the steps: the final state (of both directions), or the mean or maximum of
        every feature. None for numbers at every step (many-to-many).
    affixes : int, optional
        Maximum length of prefixes and suffixes: the embedding of a word is the sum of those of the
        word, its lower-case form, its shape ("Aa-0" for "Covid-19"), and its first and last 1 ..
        `affixes` characters, so that unknown words are represented too. Needs words as tokens and
        an `embedding_size`. Words alone by default.
    loss : {"squared_error", "quantile", "gaussian"}
        Loss: the mean squared error; the pinball loss of `quantiles`; or the negative
        log-likelihood of normal distributions, whose mean and variance are predicted. The latter
        two give prediction intervals, see `predict_interval`.
    quantiles : sequence of float, optional
        Levels for ``loss="quantile"``, increasing, in (0, 1), 0.5 among them. (0.1, 0.5, 0.9) by
        default.

    Attributes
    ----------
    encoder_ : SequenceEncoder
        Encoder of the input as ids or features.
    model_ : Sequential
        The network.
    history_ : History
        Loss, mean absolute error (`metric`) and gradient norm of every epoch.
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
    X is a list of strings, token lists or arrays of numbers, (T, I) or (T,), or a padded array.
    **Integers are numbers, too; with an `embedding_size` integers (T,) are ids.** y is an array of
    numbers (B,) or (B, outputs). With ``pool=None`` it is a list of arrays (T,) or (T, outputs), or
    a padded array (B, T) or (B, T, outputs); steps with NaN do not count.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import SequenceRegressor
    >>> random = np.random.default_rng(0)
    >>> X = random.standard_normal((200, 10, 1))
    >>> model = SequenceRegressor(hidden_size=16, random_state=0).fit(X, X.mean(axis=(1, 2)))
    >>> model.predict(X).shape
    (200,)
    """

    _best_metric: ClassVar[str] = "min"

    loss: str = "squared_error"
    quantiles: Sequence[float] | None = None

    def predict(self, X: Any, lengths: Any = None) -> Any:
        """Return the predicted number or numbers of every sequence, or of every step.

        With ``loss="quantile"`` they are medians, otherwise means.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.

        Returns
        -------
        array (B,) or (B, outputs), or with ``pool=None`` a list of arrays (T,) or (T, outputs)
            Predictions, of the shape of the targets in `fit`.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        (found,) = self._predicted(X, lengths, [self._regression_loss.point])
        return found

    def predict_quantiles(
        self, X: Any, lengths: Any = None, *, quantiles: Sequence[float] | None = None
    ) -> Any:
        """Return quantiles of the target of every sequence, or of every step.

        They never cross: those of ``loss="quantile"`` are sorted, as in V. Chernozhukov,
        I. Fernández-Val and A. Galichon (2010), Quantile and probability curves without crossing.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.
        quantiles : sequence of float, optional
            Q levels, increasing, in (0, 1); with ``loss="quantile"`` among those in `fit`, which
            are the default. (0.1, 0.5, 0.9) by default with ``loss="gaussian"``.

        Returns
        -------
        array (B, Q) or (B, outputs, Q), or with ``pool=None`` a list of arrays (T, ..)
            Quantiles, in the unit of the targets.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value, or the loss is the squared error.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        loss = self._regression_loss
        levels = levels_of(quantiles, loss)
        found = self._predicted(X, lengths, [partial(loss.quantile, level=q) for q in levels])
        if self.pool is None:
            return [np.stack(one, axis=-1) for one in zip(*found, strict=True)]
        return np.stack(found, axis=-1)

    def predict_interval(
        self, X: Any, lengths: Any = None, *, coverage: float = 0.8
    ) -> tuple[Any, Any]:
        """Return the bounds of central prediction intervals.

        The target lies between them with a probability of `coverage`, and below and above with half
        of the rest each: as far as the network is right. Measure it on data that `fit` has not
        seen: ``np.mean((lower <= y) & (y <= upper))``.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.
        coverage : float
            Probability of the interval, in (0, 1). With ``loss="quantile"``, (1 - coverage)/2 and
            (1 + coverage)/2 must be among `quantiles`: 0.1 and 0.9 for 0.8.

        Returns
        -------
        tuple of two arrays, or with ``pool=None`` of two lists
            Lower and upper bounds, each of the shape of what `predict` returns.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value, or the loss is the squared error.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        loss, bounds = self._regression_loss, bounds_of(coverage)
        lower, upper = self._predicted(
            X, lengths, [partial(loss.quantile, level=level) for level in bounds]
        )
        return lower, upper

    @property
    def _regression_loss(self) -> RegressionLoss:
        return regression_loss(self.loss, self.quantiles)

    def _predicted(
        self, X: Any, lengths: Any, functions: Sequence[Callable[[FloatArray], FloatArray]]
    ) -> list[Any]:
        """Return functions of the outputs, in the unit of the targets."""
        if self.pool is not None:
            outputs = self._predict_outputs(X, lengths)
            return [self._unscaled(function(outputs)) for function in functions]
        steps = self._predict_steps(X, lengths)
        return [[self._unscaled(function(one)) for one in steps] for function in functions]

    def _finished(self, output: FloatArray) -> FloatArray:
        return self._unscaled(self._regression_loss.point(output))

    def _unscaled(self, output: FloatArray) -> FloatArray:
        """Return outputs (N, outputs) in the unit and shape of the targets."""
        if self._standardizer is not None:
            output = self._standardizer.inverse_transform(output)
        return output[:, 0] if self._one_output else output

    def _predict_steps(self, X: Any, lengths: Any) -> list[FloatArray]:
        sequences = self._encode(X, lengths)
        result: list[FloatArray] = [np.empty(0)] * len(sequences)
        for indices, counts, output in predict_in_batches(self._task().predict, sequences):
            for i, count, one in zip(indices, counts, output, strict=True):
                result[i] = one[:count]
        return result

    def score(self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None) -> float:
        """Return R², the fraction of the variance of y that is explained.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        y : array (B,) or (B, outputs), or with ``pool=None`` as in `fit`
            Targets.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.
        sample_weight : array (B,), or list of arrays (T,), optional
            Weight of each sequence, or with ``pool=None`` of each step. All 1 by default.

        Returns
        -------
        float
            At most 1; 0 for a constant prediction of the mean.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        from sklearn.metrics import r2_score

        check_order_of_groups(X, y)
        if self.pool is not None:
            found = self.predict(X, lengths)
            self._check_count(len(self._check_numbers(y)), len(found))
            weights = sequence_weights(sample_weight, len(found))
            return float(r2_score(unpacked(y), found, sample_weight=weights))
        predicted = self.predict(X, lengths)
        counts = np.array([len(one) for one in predicted])
        targets, _ = read_step_targets(y, counts)
        counted = ~np.isnan(targets.values).any(axis=1)
        given = step_weights(sample_weight, counts)
        each = given.values if isinstance(given, Sequences) else given
        if each is not None:
            each = (each if isinstance(given, Sequences) else np.repeat(each, counts))[counted]
        found = np.concatenate(predicted).reshape(targets.values.shape)[counted]
        return float(r2_score(targets.values[counted], found, sample_weight=each))

    # ---- hooks of `SequenceEstimator`

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _integers(self) -> str:
        return "numbers" if self.embedding_size is None else "ids"

    def _describe_data(self) -> dict[str, str]:
        count = self._num_targets
        scaled = "" if self._standardizer is None else ", standardized"
        scaled += self._regression_loss.describe()
        target = "1 number" if count == 1 else f"{count} numbers"
        unit = "step" if self.pool is None else "sequence"
        return {**super()._describe_data(), "target": f"{target} per {unit}{scaled}"}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        regression_loss(self.loss, self.quantiles)

    def _check_pool(self) -> None:
        if self.pool is not None:
            super()._check_pool()

    def _stream_targets(self, classes: Any) -> StreamNumbers:
        return StreamNumbers(self._target_columns, scale=self.scale)

    def _fit_targets(self, y: Any, classes: Any, lengths: Any) -> int:
        numbers = y if isinstance(y, StreamNumbers) else self._stream_targets(classes)
        if not isinstance(y, StreamNumbers):
            numbers.add(y, lengths)
        found = pooled_sum(numbers.found)
        if found.one_output is None:
            raise ValueError("y must have at least one target, got none")
        self._one_output, self._num_targets, moments = found.one_output, found.count, found.moments
        self._standardizer = None if moments is None else Standardizer._from_moments(moments)
        return self._num_targets * self._regression_loss.per_target

    def _target_columns(self, y: Any, lengths: Any) -> tuple[FloatArray, bool]:
        """Return the targets that count, (N, outputs), and whether each is one number."""
        if self.pool is None:
            sequences, one_output = read_step_targets(y, lengths)
            columns = sequences.values[~np.isnan(sequences.values).any(axis=1)]
            return columns.astype(self.dtype), one_output
        targets = self._check_numbers(y)
        return targets.reshape(len(targets), -1), targets.ndim == 1

    def _exported(self) -> Parts:
        parts = super()._exported()
        if self._standardizer is not None and self.loss != "squared_error":
            raise ValueError(f"loss={self.loss!r} cannot be exported: its outputs are no targets")
        return parts._replace(targets=self._standardizer)

    def _fitted_state(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder_.to_dict(),
            "one_output": self._one_output,
            "standardizer": None if self._standardizer is None else self._standardizer.to_dict(),
        }

    def _restore_targets(self, state: Mapping[str, Any]) -> int:
        self._one_output = checks.flag("one_output", state["one_output"])
        scaled = state["standardizer"]
        self._standardizer = None if scaled is None else Standardizer.from_dict(scaled)
        last, each = self.model_.modules[-1], self._regression_loss.per_target
        outputs = each if self._one_output else getattr(last, "out_features", each)
        self._num_targets = outputs // each
        if self._standardizer is not None and len(self._standardizer.mean) != self._num_targets:
            rule = f"{self._num_targets} columns"
            raise ValueError(f"mean must have {rule}, got {self._standardizer.mean}")
        return self._num_targets * each

    def _check_numbers(self, y: Any) -> FloatArray:
        checks.not_masked("y", y)
        try:
            targets = with_nan(np.asarray(unpacked(y)))
            if targets.dtype == object:
                targets = targets.astype(np.float64)
        except ValueError:
            raise ValueError(
                "y must hold one number, or one vector, per sequence, got sequences of different "
                "lengths or texts: set pool=None for numbers at every step"
            ) from None
        except TypeError:
            others = {type(one).__name__ for one in targets.flat if not isinstance(one, Real)}
            raise TypeError(
                "y must hold one number, or one vector, per sequence, got values of type "
                + ", ".join(sorted(others))
            ) from None
        if targets.ndim not in (1, 2) or targets.dtype.kind not in "biuf":
            raise ValueError(
                "y must hold numbers and have shape (B,) or (B, outputs), "
                f"got shape {targets.shape} of {targets.dtype}; pool=None takes numbers at every "
                "step"
            )
        with np.errstate(over="ignore"):
            numbers: FloatArray = targets.astype(self.dtype)
        if not numbers.size:
            raise ValueError(f"y must have at least one number, got shape {numbers.shape}")
        finite = np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1)
        if not finite.all():
            i = int(finite.argmin())
            raise ValueError(
                f"y must be finite in {numbers.dtype}, got NaN or infinity: y[{i}] is {targets[i]}"
            )
        return numbers

    def _dataset(
        self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None
    ) -> SequenceDataset:
        if self.pool is not None:
            return super()._dataset(X, y, lengths, sample_weight)
        sequences = self._encode(X, lengths)
        targets, _ = read_step_targets(y, sequences.lengths)
        values = self._scaled(targets.values.astype(self.dtype))
        weights = step_weights(sample_weight, sequences.lengths)
        return SequenceDataset(sequences, replace(targets, values=values), weights)

    def _evaluation_dataset(self, X: Any, y: Any = None, lengths: Any = None) -> SequenceDataset:
        return self._dataset(X, y, lengths)

    def _check_result(self, data: SequenceDataset | WindowedDataset) -> None:
        """Warn if the mean of the targets would be a far better prediction: they need scaling.

        Of a stream, the targets of the first window are looked at.
        """
        if self._standardizer is not None:
            return
        targets: Any = next(parts_of(data)).targets  # type: ignore[attr-defined]
        if isinstance(targets, Sequences):  # without padding
            targets = np.concatenate([targets[i] for i in range(len(targets))])
        variance = float(np.nanvar(targets, axis=0, dtype=np.float64).mean())
        last, is_squared = self.history_[-1], self.loss == "squared_error"
        loss = last.loss if is_squared else (last.metric or 0.0) ** 2
        if loss > _FAR_WORSE * variance > 0.0:
            from sklearn.exceptions import ConvergenceWarning

            warnings.warn(
                "the network predicts far worse than the mean of y: the "
                f"{'loss' if is_squared else 'square of the metric'} is {loss:.4g}, the variance "
                f"of y {variance:.4g}, its mean {np.nanmean(targets):.4g}; "
                "set scale=True, or scale y",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _encode_targets(self, y: Any) -> NDArray[Any]:
        targets = self._check_numbers(y)
        return self._scaled(targets[:, np.newaxis] if targets.ndim == 1 else targets)

    def _scaled(self, targets: FloatArray) -> FloatArray:
        """Return targets (N, outputs) as the network is to predict them."""
        count = self._num_targets
        if targets.shape[1] != count:
            raise ValueError(f"y must have {count} outputs, got {targets.shape[1]}")
        return targets if self._standardizer is None else self._standardizer.transform(targets)

    def _loss(self, output: FloatArray, batch: SequenceBatch) -> Loss:
        if self.pool is not None:
            return self._regression_loss(output, batch.y, batch.weights)
        return loss_of_steps(self._regression_loss, output, batch)

    def _loss_weight(self, batch: SequenceBatch) -> float:
        return super()._loss_weight(batch) if self.pool else weight_of_steps(batch)

    def _metric(self, output: FloatArray, batch: SequenceBatch) -> float:
        if self.pool is None:
            return error_of_steps(self._regression_loss, output, batch, self._standardizer)
        error = np.abs(self._regression_loss.point(output) - batch.y)
        if self._standardizer is not None:
            error = error * self._standardizer.std
        return float(np.average(error.mean(axis=1), weights=batch.weights))
