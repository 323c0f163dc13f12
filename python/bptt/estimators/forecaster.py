"""Forecasting: the next values of one or many series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data._moments import Moments
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.sequences import Sequences
from bptt.data.standardization import Standardizer
from bptt.distributed._guard import jointly
from bptt.distributed._pooling import pooled_sum
from bptt.estimators._base import SequenceEstimator
from bptt.estimators._forecast_data import Panel, count_of, read_panel
from bptt.estimators._forecast_windows import SCALINGS, Window, WindowReader, decode
from bptt.estimators._regression_losses import (
    Gaussian,
    RegressionLoss,
    bounds_of,
    levels_of,
    regression_loss,
)
from bptt.estimators._restored import check_chain
from bptt.estimators._rolling_origin import Baseline, ForecastReport, rolling_origin
from bptt.estimators._sklearn import check_is_fitted, check_random_state
from bptt.estimators._step_regression import error_of_steps, loss_of_steps, weight_of_steps
from bptt.losses import Loss
from bptt.nn.module import Module
from bptt.nn.sequential import Sequential
from bptt.training.supervised import (
    SequenceBatch,
    SequenceDataset,
    SupervisedTask,
    predict_in_batches,
)

_OF_WINDOWS = ("horizon", "lookback", "difference", "strategy", "series_scaling")  # as in fit
_PATHS = 200  # simulated futures of a series, from which quantiles are taken
_NUMBERS = 2**22  # inputs of the futures that are simulated at once, to bound memory


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceForecaster(SequenceEstimator):
    """Predicts the next values of one or many series, with one network for all of them.

    The network reads the last `lookback` values, each with the covariates of the next step, and
    then, with ``strategy="direct"``, the covariates of the steps to come; a linear layer predicts
    the values of these steps. They are predicted as differences from the values `difference` steps
    before, in units of the window, so that level, trend and season need not be learned, and series
    of any unit can be forecast together. The weight of the linear layer begins at 0: before it has
    learned, the network predicts constant differences.

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
        Standardize the inputs and targets of windows, covariates among them (zero mean, unit
        variance), over all windows, after `series_scaling`.
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
    horizon : int
        Number of steps that `predict` forecasts by default, and with ``strategy="direct"`` those
        that are predicted at once.
    lookback : int
        Number of values before a forecast that it depends on: two or three seasons are enough.
    difference : int, optional
        Lag of the differences that are predicted, less than `lookback`: 1 for the difference from
        the last value, the number of steps of a season for that from the season before. None
        predicts the values themselves, for series without trend and season.
    strategy : {"direct", "autoregressive"}
        How several steps are forecast: "direct" predicts `horizon` steps at once; "autoregressive"
        one step, which it reads to predict the next one. A longer horizon than that of `fit` reads
        the forecast, too, in both cases.
    series_scaling : {"standard", "mean"}, optional
        Scaling of each window by its own values: by their mean and standard deviation, or by the
        mean of their absolute values. None for no scaling.
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
        Encoder of the steps of windows.
    model_ : Sequential
        The network.
    history_ : History
        Loss, mean absolute error in units of the window (`metric`) and gradient norm of every
        epoch.
    n_features_in_ : int
        Number of inputs of a step of a window: values, differences and covariates.
    n_iter_ : int
        Number of epochs, or of calls of `partial_fit`.
    metadata_ : dict
        Metadata passed to `save`; only after `load`.

    Notes
    -----
    A series is an array (T,), or (T, C) for C values a step, which are forecast together. Several
    are a list of arrays, which may be of different lengths, or an array (N, T) or (N, T, C); one
    array (T,) is one series.

    Covariates that are known in advance, such as the month or a price, are arrays (T', F), or (T',)
    for one, from the first step of each series on: at least T steps in `fit`, and T + horizon in
    `predict`. What is not known in advance is a further column of the series.

    ``validation_fraction`` holds out the last windows of every series, and not those before them
    whose targets overlap with theirs. All windows are held in memory: (`lookback` + `horizon`)
    times the inputs of a step for each value of the series.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import SequenceForecaster
    >>> t = np.arange(120)
    >>> series = [level + t / 4 + 9 * np.sin(2 * np.pi * t / 12) for level in (20, 50, 300)]
    >>> model = SequenceForecaster(horizon=6, lookback=24, difference=12, random_state=0)
    >>> model.fit(series).predict(series).shape
    (3, 6)
    """

    scale: bool = True
    horizon: int = 1
    lookback: int = 24
    difference: int | None = 1
    strategy: str = "direct"
    series_scaling: str | None = "standard"
    loss: str = "squared_error"
    quantiles: Sequence[float] | None = None

    @jointly
    def fit(  # type: ignore[override]
        self,
        series: Any,
        *,
        future_covariates: Any = None,
        static_covariates: Any = None,
        resume: bool = False,
        communicator: Any = None,
    ) -> SequenceForecaster:
        """Fit the estimator to series.

        Parameters
        ----------
        series : array (T,), list of arrays (T,) or (T, C), or array (N, T) or (N, T, C)
            Series, at least `lookback` + `horizon` values of each, or `lookback` + 1 with
            ``strategy="autoregressive"``.
        future_covariates : arrays (T or more, F), as the series, optional
            Covariates that are known in advance, from the first step of each series on.
        static_covariates : array (N,) or (N, S), optional
            Covariates of the series.
        resume : bool
            Continue from the file `checkpoint_path` if it exists.
        communicator : mpi4py.MPI.Comm or bptt.distributed.Communicator, optional
            Ranks of MPI that train together. Every rank passes all series, the same, and computes
            its part of each minibatch, or, with ``Communicator(shards=True)``, series of its own.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data have the wrong type or an invalid value, or a series is too
            short.
        FloatingPointError
            If a loss or the norm of the gradients is not finite, or a loss is more than 1e8 times
            the first one (or 1).
        OSError
            If no file `checkpoint_path` can be written: FileNotFoundError without its directory.
        ImportError
            If a checkpoint is requested and safetensors is not installed, or progress and tqdm.
        """
        self._check_parameters()
        panel = self._read(series, future_covariates, static_covariates)
        return self._fit_panel(panel, resume, communicator)

    def partial_fit(  # type: ignore[override]
        self, series: Any, *, future_covariates: Any = None, static_covariates: Any = None
    ) -> SequenceForecaster:
        """Train for one epoch on further series, with the state of the optimizer kept.

        Parameters
        ----------
        series : array (T,), list of arrays (T,) or (T, C), or array (N, T) or (N, T, C)
            Series, at least `lookback` + `horizon` values of each, or `lookback` + 1 with
            ``strategy="autoregressive"``.
        future_covariates : arrays (T or more, F), as the series, optional
            Covariates that are known in advance, from the first step of each series on.
        static_covariates : array (N,) or (N, S), optional
            Covariates of the series.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data have the wrong type or an invalid value, or a series is too
            short.
        FloatingPointError
            If a loss or the norm of the gradients is not finite, or a loss is more than 1e8 times
            the first one (or 1).
        """
        self._check_parameters()
        panel = self._read(series, future_covariates, static_covariates)
        self._check_training(panel)
        if hasattr(self, "history_"):
            self._check_unchanged()
        super().partial_fit(panel, panel)
        return self

    def predict(
        self,
        series: Any,
        horizon: int | None = None,
        *,
        future_covariates: Any = None,
        static_covariates: Any = None,
    ) -> FloatArray:
        """Return the next values of every series.

        With ``loss="quantile"`` they are medians, otherwise means.

        Parameters
        ----------
        series : array (T,), list of arrays (T,) or (T, C), or array (N, T) or (N, T, C)
            Known values, at least `lookback` of each series; the forecast begins after the last.
        horizon : int, optional
            Number of steps. That of the estimator by default.
        future_covariates : arrays (T + horizon or more, F), as the series, optional
            Covariates that are known in advance, if `fit` had them.
        static_covariates : array (N,) or (N, S), optional
            Covariates of the series, if `fit` had them.

        Returns
        -------
        array (N, horizon) or (N, horizon, C), or of one series (horizon,)
            Forecasts, in the unit of the series.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value, a series is too short, or
            covariates do not reach to the end of the forecast.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        panel, steps = self._known(series, horizon, future_covariates, static_covariates)
        return _shaped(panel, self._forecast(panel, steps))

    def predict_quantiles(
        self,
        series: Any,
        horizon: int | None = None,
        *,
        quantiles: Sequence[float] | None = None,
        future_covariates: Any = None,
        static_covariates: Any = None,
    ) -> FloatArray:
        """Return quantiles of the next values of every series.

        They are those of each step on its own. Beyond the steps that are predicted at once, which
        is every step but the first with ``strategy="autoregressive"``, they are those of 200
        futures drawn from the normal distributions of ``loss="gaussian"``, which read the values
        drawn before; `random_state` is their seed.

        Parameters
        ----------
        series : array (T,), list of arrays (T,) or (T, C), or array (N, T) or (N, T, C)
            Known values, at least `lookback` of each series; the forecast begins after the last.
        horizon : int, optional
            Number of steps. That of the estimator by default.
        quantiles : sequence of float, optional
            Q levels, increasing, in (0, 1); with ``loss="quantile"`` among those in `fit`, which
            are the default. (0.1, 0.5, 0.9) by default with ``loss="gaussian"``.
        future_covariates : arrays (T + horizon or more, F), as the series, optional
            Covariates that are known in advance, if `fit` had them.
        static_covariates : array (N,) or (N, S), optional
            Covariates of the series, if `fit` had them.

        Returns
        -------
        array (N, horizon, Q) or (N, horizon, C, Q), or of one series (horizon, Q)
            Quantiles, in the unit of the series.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value, the loss has no
            quantiles of these steps, a series is too short, or
            covariates do not reach to the end of the forecast.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        levels = levels_of(quantiles, self._regression_loss)
        panel, steps = self._known(series, horizon, future_covariates, static_covariates)
        found = self._quantiles(panel, steps, levels)
        return np.stack([_shaped(panel, one) for one in found], axis=-1)

    def predict_interval(
        self,
        series: Any,
        horizon: int | None = None,
        *,
        coverage: float = 0.8,
        future_covariates: Any = None,
        static_covariates: Any = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Return the bounds of central prediction intervals.

        A value lies between them with a probability of `coverage`, as far as the network is right:
        measure it with `rolling_origin`. For steps beyond those predicted at once see
        `predict_quantiles`.

        Parameters
        ----------
        series : array (T,), list of arrays (T,) or (T, C), or array (N, T) or (N, T, C)
            Known values, at least `lookback` of each series; the forecast begins after the last.
        horizon : int, optional
            Number of steps. That of the estimator by default.
        coverage : float
            Probability of the interval, in (0, 1). With ``loss="quantile"``, (1 - coverage)/2 and
            (1 + coverage)/2 must be among `quantiles`: 0.1 and 0.9 for 0.8.
        future_covariates : arrays (T + horizon or more, F), as the series, optional
            Covariates that are known in advance, if `fit` had them.
        static_covariates : array (N,) or (N, S), optional
            Covariates of the series, if `fit` had them.

        Returns
        -------
        tuple of two arrays
            Lower and upper bounds, each of the shape of what `predict` returns.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or an invalid value, the loss has no
            quantiles of these steps, a series is too short, or
            covariates do not reach to the end of the forecast.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        bounds = bounds_of(coverage)
        panel, steps = self._known(series, horizon, future_covariates, static_covariates)
        lower, upper = self._quantiles(panel, steps, bounds)
        return _shaped(panel, lower), _shaped(panel, upper)

    def rolling_origin(
        self,
        series: Any,
        horizon: int | None = None,
        *,
        origins: int = 5,
        step: int | None = None,
        season: int | None = None,
        refit: bool = False,
        coverage: float | None = None,
        baselines: Mapping[str, Baseline] | None = None,
        future_covariates: Any = None,
        static_covariates: Any = None,
    ) -> ForecastReport:
        """Measure the error of forecasts that were made at several origins in the past.

        At every origin only the values before it are known, to the network and to the baselines
        beside it: the naive forecast (the last value), the seasonal naive one (a season before), a
        ridge regression on the same windows, and those of `baselines`. The estimator itself is not
        changed: a clone is fitted to the values before the first origin, or with `refit` one to
        those before each.

        Parameters
        ----------
        series : array (T,), list of arrays (T,) or (T, C), or array (N, T) or (N, T, C)
            Series with all values. The last origin is `horizon` before the end of each.
        horizon : int, optional
            Number of steps. That of the estimator by default.
        origins : int
            Number of origins.
        step : int, optional
            Steps from one origin to the next. `horizon` by default.
        season : int, optional
            Steps of a season, for the seasonal naive forecast and the scale of the errors.
        refit : bool
            Whether network and ridge regression are fitted anew at every origin.
        coverage : float, optional
            Probability of prediction intervals, in (0, 1), which are then measured, too.
        baselines : mapping of str to function, optional
            Further forecasts by name: functions of the known values (T,) or (T, C) of one series,
            and the horizon.
        future_covariates : arrays (T or more, F), as the series, optional
            Covariates that are known in advance.
        static_covariates : array (N,) or (N, S), optional
            Covariates of the series.

        Returns
        -------
        ForecastReport
            ``mase``, ``mae`` and ``mae_by_step`` of each forecast by name, ``best``, the share
            ``covered`` of the values in intervals, and the ``actual`` values and ``forecasts``,
            (N, origins, horizon, C); printed, a table. MASE is the mean absolute error, divided
            by that of the (seasonal) naive forecast one step ahead before the first origin: R. J.
            Hyndman and A. B. Koehler (2006), Another look at measures of forecast accuracy.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data have the wrong type or an invalid value, or a series is too
            short to be trained on before the first origin.
        """
        self._check_parameters()
        panel = self._read(series, future_covariates, static_covariates)
        return rolling_origin(
            self,
            panel,
            horizon=count_of("horizon", self.horizon if horizon is None else horizon),
            origins=origins,
            step=step,
            season=season,
            refit=refit,
            coverage=coverage,
            baselines=baselines,
        )

    # ---- windows and forecasts

    @property
    def _reader(self) -> WindowReader:
        horizon, lookback = count_of("horizon", self.horizon), count_of("lookback", self.lookback)
        lag = None if self.difference is None else count_of("difference", self.difference)
        steps = horizon if self.strategy == "direct" else 1
        return WindowReader(lookback, steps, lag, self.series_scaling)

    @property
    def _regression_loss(self) -> RegressionLoss:
        return regression_loss(self.loss, self.quantiles)

    def _read(self, series: Any, future_covariates: Any, static_covariates: Any) -> Panel:
        allow_nan = self.missing != "error"
        return read_panel(series, future_covariates, static_covariates, allow_nan=allow_nan)

    def _check_training(self, panel: Panel) -> None:
        """Check that every series is long enough for a window with its targets."""
        ahead = "horizon" if self.strategy == "direct" else "1"
        reader = self._reader
        panel.check_lengths(reader.lookback + reader.steps, f"lookback + {ahead}")

    def _fit_panel(
        self, panel: Panel, resume: bool = False, communicator: Any = None
    ) -> SequenceForecaster:
        self._check_training(panel)
        super().fit(panel, panel, resume=resume, communicator=communicator)
        return self

    def _known(
        self, series: Any, horizon: int | None, future_covariates: Any, static_covariates: Any
    ) -> tuple[Panel, int]:
        """Return series whose next values can be predicted, and how many of them."""
        check_is_fitted(self, "encoder_")
        self._check_unchanged()
        steps = count_of("horizon", self.horizon if horizon is None else horizon)
        panel = self._read(series, future_covariates, static_covariates)
        self._check_columns(panel)
        panel.check_lengths(self._reader.lookback, "lookback")
        panel.check_future(steps)
        return panel, steps

    def _check_unchanged(self) -> None:
        """Check that the windows are those of `fit`."""
        for name in _OF_WINDOWS:
            now, fitted = getattr(self, name), self._fitted_network[name]
            if now != fitted:
                cure = ": pass horizon to predict" if name == "horizon" else ""
                raise ValueError(f"{name} must be {fitted!r} as in fit, got {now!r}{cure}")

    def _check_columns(self, panel: Panel) -> None:
        names = ("series", "future_covariates", "static_covariates")
        for name, count, fitted in zip(names, panel.columns, self._panel_columns, strict=True):
            if count != fitted:
                got = count or "none"
                raise ValueError(f"{name} must have {fitted} columns as in fit, got {got}")

    def _forecast(self, panel: Panel, horizon: int) -> FloatArray:
        """Return the next values, (N, horizon, C)."""
        block = partial(self._block, function=self._regression_loss.point)
        reader = self._reader
        return decode(block, reader.last(panel, horizon), horizon, reader.steps)

    def _quantiles(self, panel: Panel, horizon: int, levels: Sequence[float]) -> list[FloatArray]:
        """Return quantiles of the next values, (N, horizon, C) each."""
        loss, steps = self._regression_loss, self._reader.steps
        window = self._reader.last(panel, horizon)
        if horizon <= steps:
            functions = [partial(loss.quantile, level=level) for level in levels]
            return [self._block(window, horizon, function) for function in functions]
        if not isinstance(loss, Gaussian):
            raise ValueError(
                f"quantiles of {horizon} steps, of which {steps} are predicted at once, need "
                f"loss='gaussian', got {self.loss!r}"
            )
        random = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        draw = partial(self._block, function=partial(_drawn, loss=loss, random=random))
        series = np.repeat(np.arange(len(panel)), _PATHS)
        at_once = max(_NUMBERS // (self.encoder_.size * self._reader.lookback), 1)
        paths = [
            decode(draw, window.take(series[first : first + at_once]), horizon, steps)
            for first in range(0, len(series), at_once)
        ]
        drawn = np.concatenate(paths).reshape(len(panel), _PATHS, horizon, -1)
        return list(np.quantile(drawn, levels, axis=1))

    def _block(
        self, window: Window, steps: int, function: Callable[[FloatArray], FloatArray]
    ) -> FloatArray:
        """Return a function of the outputs for the next `steps`, as values (N, steps, C)."""
        reader = self._reader
        sequences = self._encode(reader.inputs(window, steps), None)
        relative = reader.relative(window, steps)
        found = np.empty((len(sequences), *relative.baseline.shape[1:]))
        for indices, _, output in predict_in_batches(self._task().predict, sequences):
            values = function(output[:, -steps:])
            if self._standardizer is not None:
                values = self._standardizer.inverse_transform(values)
            found[indices] = values
        return relative.inverse_transform(found)

    # ---- hooks of `SequenceEstimator`: X and y are both the panel

    def _integers(self) -> str:
        return "numbers"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        checks.one_of("direct", "autoregressive")("strategy", self.strategy)
        reader = self._reader
        if reader.difference is not None and reader.difference >= reader.lookback:
            rule = f"less than lookback, {reader.lookback}"
            raise ValueError(f"difference must be {rule}, got {reader.difference}")
        if self.series_scaling is not None:
            checks.one_of(*SCALINGS)("series_scaling", self.series_scaling)
        if self.categorical_features is not None:
            raise ValueError(
                f"categorical_features must be None, got {self.categorical_features!r}: covariates "
                "are numbers, and a category is a column of 0 and 1"
            )
        regression_loss(self.loss, self.quantiles)

    def _describe_data(self) -> dict[str, str]:
        steps, (values, _, _) = self._reader.steps, self._panel_columns
        ahead = "next value" if steps == 1 else f"next {steps} values"
        of = "" if values == 1 else f" of {values} columns"
        known = f"{self.encoder_.num_features} inputs a step"
        return {
            "input": f"windows of {self._reader.lookback} values, {known}",
            "target": f"{ahead}{of}{self._regression_loss.describe()}",
        }

    def _initialize(
        self, X: Panel, y: Any, lengths: Any, seeds: np.random.Generator, classes: Any = None
    ) -> None:
        inputs, targets = self._examples(X)
        self._panel_columns = X.columns
        self._fit_encoder(inputs, None)
        columns = targets.reshape(-1, targets.shape[2])
        columns = columns[~np.isnan(columns).any(axis=1)]
        if not len(columns):
            raise ValueError("series must have at least one value after a window, got NaN alone")
        self._standardizer = None
        if self.scale:
            self._standardizer = Standardizer._from_moments(pooled_sum(Moments.of(columns)))
        self.model_ = self._build_model(self._num_outputs, seeds)
        # Training begins with the forecast of constant differences.
        self.model_[-1]["weight"] = np.zeros_like(self.model_[-1]["weight"])

    @property
    def _num_outputs(self) -> int:
        return self._panel_columns[0] * self._regression_loss.per_target

    def _examples(self, panel: Panel) -> tuple[FloatArray, FloatArray]:
        """Return the inputs (N, rows, I) of all windows, and their targets (N, steps, C)."""
        reader = self._reader
        window, targets = reader.examples(panel)
        return reader.inputs(window, reader.steps), targets.astype(self.dtype)

    def _dataset(
        self, X: Any, y: Any, lengths: Any = None, sample_weight: Any = None
    ) -> SequenceDataset:
        panel = X if isinstance(X, Panel) else self._read(X, None, None)  # as `estimator_flow` has
        self._check_columns(panel)
        self._check_training(panel)
        inputs, targets = self._examples(panel)
        if self._standardizer is not None:
            targets = self._standardizer.transform(targets)
        before = np.full((len(targets), self._reader.hidden_rows, targets.shape[2]), np.nan)
        values = np.concatenate([before.astype(self.dtype), targets], axis=1)
        counts = np.full(len(values), values.shape[1])
        steps = Sequences.from_lengths(values.reshape(-1, values.shape[2]), counts)
        return SequenceDataset(self._encode(inputs, None), steps)

    def _split(
        self,
        data: SequenceDataset,
        y: Panel,
        validation: Any,
        groups: Any,
        seeds: np.random.Generator,
    ) -> tuple[SequenceDataset, SequenceDataset | None]:
        """Hold out the last windows of every series that has enough of them."""
        if not self.validation_fraction:
            return data, None
        series, origins = self._reader.origins(y)
        counts = np.bincount(series, minlength=len(y))
        held_out = np.round(counts * self.validation_fraction).astype(int)
        training = counts - held_out - (self._reader.steps - 1)  # their targets do not overlap
        is_long = (held_out > 0) & (training > 0)
        if not is_long.any():
            raise ValueError(
                f"validation_fraction = {self.validation_fraction:g} must leave windows for "
                f"training and for validation, got series of at most {counts.max()} windows whose "
                f"targets are {self._reader.steps} steps"
            )
        number = origins - self._reader.lookback
        is_training = number < np.where(is_long, training, counts)[series]
        is_held_out = number >= np.where(is_long, counts - held_out, counts)[series]
        return data.take(np.flatnonzero(is_training)), data.take(np.flatnonzero(is_held_out))

    def _task(self) -> SupervisedTask:
        functions = self._loss, self._metric, weight_of_steps
        return SupervisedTask(self.model_, *functions, self.recompute_every)

    def _loss(self, output: FloatArray, batch: SequenceBatch) -> Loss:
        return loss_of_steps(self._regression_loss, output, batch)

    def _metric(self, output: FloatArray, batch: SequenceBatch) -> float:
        return error_of_steps(self._regression_loss, output, batch, self._standardizer)

    def _fitted_state(self) -> dict[str, Any]:
        self._check_unchanged()
        return {
            "encoder": self.encoder_.to_dict(),
            "columns": list(self._panel_columns),
            "horizon": self.horizon,
            "standardizer": None if self._standardizer is None else self._standardizer.to_dict(),
        }

    def _restore(self, state: Mapping[str, Any], modules: Mapping[str, Module]) -> None:
        self._set_encoder(SequenceEncoder.from_dict(state["encoder"]))
        values, future, static = (checks.integer("columns", n, 0) for n in state["columns"])
        self._panel_columns = (values, future, static)
        if state["horizon"] != self.horizon:
            raise ValueError(f"horizon must be {state['horizon']} as in fit, got {self.horizon}")
        count = self._reader.count_inputs(*self._panel_columns)
        if not values or self.encoder_.num_features != count:
            found = self.encoder_.num_features
            raise ValueError(f"the encoder must have {count} inputs a step, got {found}")
        scaled = state["standardizer"]
        self._standardizer = None if scaled is None else Standardizer.from_dict(scaled)
        if self._standardizer is not None and len(self._standardizer.mean) != values:
            raise ValueError(f"mean must have {values} columns, got {self._standardizer.mean}")
        self.model_ = Sequential(*modules.values())
        check_chain(self.model_, self.encoder_.size, self._num_outputs)


def _drawn(output: FloatArray, loss: Gaussian, random: np.random.Generator) -> FloatArray:
    """Return values drawn from the predicted normal distributions."""
    mean = loss.point(output)
    deviation = loss.quantile(output, NormalDist().cdf(1.0)) - mean
    drawn: FloatArray = mean + deviation * random.standard_normal(mean.shape).astype(mean.dtype)
    return drawn


def _shaped(panel: Panel, values: FloatArray) -> FloatArray:
    """Return forecasts (N, horizon, C) in the shape of the series."""
    flat = values[..., 0] if panel.is_flat else values
    return flat[0] if panel.is_single else flat
