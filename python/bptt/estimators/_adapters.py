"""What the adapters of sktime and of aeon share."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.estimators._base import SequenceEstimator
from bptt.estimators.classifier import SequenceClassifier
from bptt.estimators.regressor import SequenceRegressor


class Adapter:
    """Base of the adapters: an estimator as the only parameter, and tags that depend on it.

    It stands before a base class of sktime or aeon, which checks and converts the data and calls
    ``_fit`` and ``_predict``.
    """

    _kind: ClassVar[type[SequenceEstimator]]

    def __init__(self, estimator: Any = None) -> None:
        self.estimator = estimator
        super().__init__()
        self._set_capabilities()

    def set_params(self, **params: Any) -> Any:
        """Set parameters, also nested ones, and the tags that depend on them.

        Parameters
        ----------
        **params
            Parameters by name, such as ``estimator__hidden_size``.

        Returns
        -------
        self
        """
        super().set_params(**params)  # type: ignore[misc]
        self._set_capabilities()
        return self

    def _set_capabilities(self) -> None:
        tags = {f"capability:{name}": value for name, value in self._capabilities().items()}
        self.set_tags(**tags)  # type: ignore[attr-defined]

    def _capabilities(self) -> dict[str, bool]:
        """Return what the estimator can do."""
        return {"missing_values": getattr(self.estimator, "missing", "error") != "error"}

    def _new_estimator(self) -> Any:
        """Return an estimator with the parameters of the given one, or with the default ones.

        Raises
        ------
        TypeError
            If it is of another class.
        """
        from sklearn.base import clone

        if self.estimator is None:
            return self._kind()
        return clone(checks.instance("estimator", self.estimator, self._kind))


class _CollectionAdapter(Adapter):
    """Methods of an adapter for collections of series, with a target for each.

    They are arrays (B, I, T), or lists of tables (T, I) or of arrays (I, T).
    """

    def _fit(self, X: Any, y: Any) -> _CollectionAdapter:
        self._check_targets()
        self.estimator_ = self._new_estimator().fit(_sequences(X), y)
        return self

    def _predict(self, X: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.estimator_.predict(_sequences(X))
        return found

    def _check_targets(self) -> None:
        """Check that the estimator has one target for every series."""


class ClassifierAdapter(_CollectionAdapter):
    """Methods of a classifier."""

    _kind = SequenceClassifier

    def _predict_proba(self, X: Any) -> FloatArray:
        found: FloatArray = self.estimator_.predict_proba(_sequences(X))
        return found

    def _check_targets(self) -> None:
        if getattr(self.estimator, "multi_label", False):
            raise ValueError("estimator must have multi_label=False: a series has one class")


class RegressorAdapter(_CollectionAdapter):
    """Methods of a regressor."""

    _kind = SequenceRegressor

    def _check_targets(self) -> None:
        if getattr(self.estimator, "pool", "last") is None:
            raise ValueError("estimator must have a pool, got None: a series has one target")


def _sequences(X: Any) -> Any:
    """Return series as arrays (T, I), or one array (B, T, I)."""
    if isinstance(X, np.ndarray):
        return X.swapaxes(1, 2)
    return [one.to_numpy() if hasattr(one, "to_numpy") else one.T for one in X]
