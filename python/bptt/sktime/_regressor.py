"""`SequenceRegressor` as a regressor of sktime."""

from __future__ import annotations

from typing import Any, ClassVar

from sktime.regression.base import BaseRegressor

from bptt.estimators._adapters import RegressorAdapter
from bptt.estimators.regressor import SequenceRegressor
from bptt.sktime._tags import COLLECTIONS


class Regressor(RegressorAdapter, BaseRegressor):  # type: ignore[misc]
    """`SequenceRegressor` for sktime: a number for every series of a panel.

    Series may be of different lengths, and have several variables; with a `missing` of the
    estimator other than "error" also missing values.

    Parameters
    ----------
    estimator : SequenceRegressor, optional
        The estimator; it is not changed. `SequenceRegressor` with its default parameters if None.

    Attributes
    ----------
    estimator_ : SequenceRegressor
        The fitted estimator.

    Examples
    --------
    >>> import bptt, bptt.sktime
    >>> from sktime.datasets import load_unit_test
    >>> X, _ = load_unit_test(split="train", return_type="numpy3D")
    >>> model = bptt.sktime.Regressor(bptt.SequenceRegressor(scale=True, random_state=0))
    >>> model.fit(X, X.mean(axis=(1, 2))).predict(X).shape
    (20,)
    """

    _tags: ClassVar[dict[str, Any]] = COLLECTIONS

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
        small: dict[str, Any] = {"hidden_size": 4, "epochs": 2}
        return [
            {"estimator": SequenceRegressor(**small)},
            {"estimator": SequenceRegressor(cell="gru", missing="mask", scale=True, **small)},
        ]
