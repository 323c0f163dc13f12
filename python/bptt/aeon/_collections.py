"""`SequenceClassifier` and `SequenceRegressor` as estimators of aeon."""

from __future__ import annotations

from typing import Any, ClassVar

from aeon.classification.base import BaseClassifier
from aeon.regression.base import BaseRegressor

from bptt.estimators._adapters import ClassifierAdapter, RegressorAdapter
from bptt.estimators._base import SequenceEstimator


class _Collection:
    """What aeon asks of both."""

    _kind: ClassVar[type[SequenceEstimator]]
    _tags: ClassVar[dict[str, Any]] = {
        "X_inner_type": ["np-list", "numpy3D"],
        "algorithm_type": "deeplearning",
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
    }

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        return {"estimator": cls._kind(hidden_size=4, epochs=2, random_state=0)}


class Classifier(_Collection, ClassifierAdapter, BaseClassifier):  # type: ignore[misc]
    """`SequenceClassifier` for aeon: a class for every series of a collection.

    Series may be of different lengths, and have several channels; with a `missing` of the estimator
    other than "error" also missing values.

    Parameters
    ----------
    estimator : SequenceClassifier, optional
        The estimator; it is not changed. `SequenceClassifier` with its default parameters if None.

    Attributes
    ----------
    estimator_ : SequenceClassifier
        The fitted estimator.

    Examples
    --------
    >>> import bptt, bptt.aeon
    >>> from aeon.datasets import load_unit_test
    >>> X, y = load_unit_test(split="train")
    >>> model = bptt.aeon.Classifier(bptt.SequenceClassifier(scale=True, random_state=0))
    >>> model.fit(X, y).predict(X).shape
    (20,)
    """


class Regressor(_Collection, RegressorAdapter, BaseRegressor):  # type: ignore[misc]
    """`SequenceRegressor` for aeon: a number for every series of a collection.

    Series may be of different lengths, and have several channels; with a `missing` of the estimator
    other than "error" also missing values.

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
    >>> import bptt, bptt.aeon
    >>> from aeon.datasets import load_unit_test
    >>> X, _ = load_unit_test(split="train")
    >>> model = bptt.aeon.Regressor(bptt.SequenceRegressor(scale=True, random_state=0))
    >>> model.fit(X, X.mean(axis=(1, 2))).predict(X).shape
    (20,)
    """
