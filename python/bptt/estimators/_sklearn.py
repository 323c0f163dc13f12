"""What every estimator takes of scikit-learn; see `_stand_ins` for processes that predict only."""

from typing import TYPE_CHECKING

from bptt.estimators import _stand_ins

if TYPE_CHECKING or not _stand_ins.in_use:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.validation import check_is_fitted, check_random_state
else:
    from bptt.estimators._stand_ins import (
        BaseEstimator,
        ClassifierMixin,
        RegressorMixin,
        check_is_fitted,
        check_random_state,
    )

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "RegressorMixin",
    "check_is_fitted",
    "check_random_state",
]
