"""`SequenceForecaster` as a forecaster of sktime."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sktime.datatypes import update_data
from sktime.forecasting.base import BaseForecaster, ForecastingHorizon

from bptt._core.checks import FloatArray
from bptt.estimators._adapters import Adapter
from bptt.estimators.forecaster import SequenceForecaster
from bptt.sktime._tags import PACKAGE

_TABLES = ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"]


class Forecaster(Adapter, BaseForecaster):  # type: ignore[misc]
    """`SequenceForecaster` for sktime: one network for a series, or for all series of a panel.

    The series of a panel or hierarchy may be of different lengths; the variables of a series are
    forecast together. X holds covariates that are known in advance. With a `loss` of the estimator
    that has quantiles there are prediction intervals, with a `missing` other than "error" missing
    values. `update` goes on with the new values, and with ``update_params=True`` trains one more
    epoch on them.

    Parameters
    ----------
    estimator : SequenceForecaster, optional
        The estimator; it is not changed. Its `horizon` is the number of steps that are predicted at
        once; those of `fh` may be further. `SequenceForecaster` with its default parameters if
        None.

    Attributes
    ----------
    estimator_ : SequenceForecaster
        The fitted estimator.

    Examples
    --------
    >>> import bptt, bptt.sktime
    >>> from sktime.datasets import load_airline
    >>> y = load_airline()
    >>> estimator = bptt.SequenceForecaster(horizon=12, difference=12, epochs=5, random_state=0)
    >>> bptt.sktime.Forecaster(estimator).fit(y).predict(fh=[1, 12]).shape
    (2,)
    """

    _tags: ClassVar[dict[str, Any]] = PACKAGE | {
        "y_inner_mtype": _TABLES,
        "X_inner_mtype": _TABLES,
        "requires-fh-in-fit": False,
        "capability:multivariate": True,
        "capability:exogenous": True,
        "capability:non_contiguous_X": False,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:missing_values": True,
        "capability:update": True,
    }
    _kind = SequenceForecaster
    _config: ClassVar[dict[str, Any]] = {"remember_data": False}  # `_context` is what is needed

    def __init__(self, estimator: Any = None) -> None:
        super().__init__(estimator)
        self._y = self._X = None  # which sktime expects once `remember_data` is set

    def _capabilities(self) -> dict[str, bool]:
        loss = getattr(self.estimator, "loss", "squared_error")
        return {**super()._capabilities(), "pred_int": loss != "squared_error"}

    # ---- hooks of `BaseForecaster`

    def _fit(self, y: Any, X: Any, fh: Any) -> Forecaster:
        self.estimator_ = self._new_estimator()
        covariates = None if X is None else X.reindex(y.index)
        self.estimator_.fit(_arrays(y), future_covariates=_arrays(covariates))
        self._frequency = _frequency(y)
        self._keep(y, covariates)
        return self

    def _update(self, y: Any, X: Any = None, update_params: bool = True) -> Forecaster:
        y, X = update_data(self._context, y), update_data(self._covariates, X)
        covariates = None if X is None else X.reindex(y.index)
        if update_params:
            series, known = _arrays(y), _arrays(covariates)
            longer = [i for i, one in enumerate(series) if len(one) > self._memory]
            self.estimator_.partial_fit(
                [series[i] for i in longer],
                future_covariates=None if known is None else [known[i] for i in longer],
            )
        self._keep(y, covariates)
        return self

    def _predict(self, fh: Any, X: Any) -> Any:
        steps = self._steps(fh)
        series, horizon, known = self._known(steps, X)
        found = self.estimator_.predict(series, horizon, **known)
        values = found[:, steps - 1].reshape(-1, found.shape[2])
        return pd.DataFrame(values, self._index(steps), self._context.columns)

    def _predict_quantiles(self, fh: Any, X: Any, alpha: list[float]) -> Any:
        steps, levels = self._steps(fh), sorted(set(alpha))
        series, horizon, known = self._known(steps, X)
        found = self.estimator_.predict_quantiles(series, horizon, quantiles=levels, **known)
        places = [levels.index(level) for level in alpha]
        values = found[:, steps - 1][..., places].reshape(-1, found.shape[2] * len(alpha))
        columns = self._get_columns(method="predict_quantiles", alpha=alpha)
        return pd.DataFrame(values, self._index(steps), columns)

    # ---- values, covariates and times

    @property
    def _memory(self) -> int:
        """Number of last values on which the next window, with its targets, depends."""
        reader = self.estimator_._reader
        return int(reader.lookback + reader.steps - 1)

    def _keep(self, y: Any, covariates: Any) -> None:
        """Keep the last values of every series, and their covariates."""
        rows = [part.tail(self._memory) for _, part in _instances(y)]
        self._context = pd.concat(rows)
        self._covariates = None if covariates is None else covariates.loc[self._context.index]

    def _steps(self, fh: Any) -> NDArray[np.int64]:
        """Return the steps ahead, sorted."""
        return np.sort(np.asarray(fh.to_relative(self.cutoff).to_numpy(), np.int64))

    def _known(
        self, steps: NDArray[np.int64], X: Any
    ) -> tuple[list[FloatArray], int, dict[str, Any]]:
        """Return the last values, how many are to be predicted, and the covariates until then."""
        found: dict[str, Any] = {}
        if self._covariates is not None:
            rows = dict(_instances(update_data(self._covariates, X)))
            found["future_covariates"] = [
                rows[key][_times(rows[key]) >= _times(part)[0]].to_numpy(np.float64)
                for key, part in _instances(self._context)
            ]
        elif X is not None:
            raise ValueError("X must be None, as in fit, got covariates")
        return _arrays(self._context), int(steps[-1]), found

    def _index(self, steps: NDArray[np.int64]) -> Any:
        """Return the index of forecasts: that of each series after its own last value."""
        ahead = ForecastingHorizon(steps, is_relative=True)
        parts = []
        for key, part in _instances(self._context):
            last = _times(part)[-1:]
            if self._frequency is not None:
                last = pd.DatetimeIndex(last, freq=self._frequency)
            times = ahead.to_absolute_index(last)
            if not key:
                return times
            parts += [(*key, time) for time in times]
        return pd.MultiIndex.from_tuples(parts, names=self._context.index.names)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return parameters for sktime's tests.

        Parameters
        ----------
        parameter_set : str
            Ignored.

        Returns
        -------
        list of dict
        """
        small: dict[str, Any] = {"hidden_size": 4, "epochs": 2, "lookback": 5}
        return [
            {"estimator": SequenceForecaster(horizon=3, **small)},
            {"estimator": SequenceForecaster(loss="gaussian", missing="mask", **small)},
        ]


def _instances(table: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the series of a panel with their keys, sorted; one series has the key ()."""
    if table.index.nlevels == 1:
        return [((), table)]
    levels = list(range(table.index.nlevels - 1))
    if len(levels) == 1:  # keys of one level are tuples from pandas 3 on
        return [((key,), part) for key, part in table.groupby(level=0)]
    return list(table.groupby(level=levels))


def _times(table: Any) -> Any:
    return table.index.get_level_values(-1)


def _arrays(table: Any) -> Any:
    """Return the values of every series, (T, C)."""
    return None if table is None else [one.to_numpy(np.float64) for _, one in _instances(table)]


def _frequency(table: Any) -> Any:
    """Return the step of time stamps, if the index has them: panels do not keep it."""
    times = _times(_instances(table)[0][1])
    if not isinstance(times, pd.DatetimeIndex):
        return None
    return times.freq or (pd.infer_freq(times) if len(times) > 2 else None)
