"""Stand-ins for scikit-learn, for a process that loads an estimator and predicts.

Importing scikit-learn takes several times as long as predicting for a text. These have what
prediction needs; everything else, `fit` among it, needs the package.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any

import numpy as np

in_use = False
"""Whether the estimators of this process are built on the stand-ins."""


def use() -> None:
    """Build the estimators on the stand-ins, unless scikit-learn has been imported already."""
    global in_use
    in_use = in_use or "sklearn" not in sys.modules


class BaseEstimator:
    """Parameters of an estimator, which are the fields of its dataclass."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; none of them has parameters of its own."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


class ClassifierMixin:
    """Mark of a classifier."""


class RegressorMixin:
    """Mark of a regressor."""


def check_is_fitted(estimator: object, attributes: str | None = None) -> None:
    """Accept every estimator: a loaded one is fitted."""


def check_random_state(seed: Any) -> Any:
    """Return the `numpy.random.RandomState` of a seed, or NumPy's global one for None."""
    if seed is None:
        return np.random.mtrand._rand
    return seed if isinstance(seed, np.random.RandomState) else np.random.RandomState(seed)
