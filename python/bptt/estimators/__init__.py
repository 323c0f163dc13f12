"""Estimators with the interface of scikit-learn, imported on first use."""

from typing import TYPE_CHECKING

from bptt.estimators.loading import import_estimator as _import_estimator
from bptt.estimators.loading import load_estimator

if TYPE_CHECKING:
    from bptt.estimators._base import SequenceEstimator
    from bptt.estimators.classifier import SequenceClassifier
    from bptt.estimators.encoder_decoder import EncoderDecoder
    from bptt.estimators.forecaster import SequenceForecaster
    from bptt.estimators.generator import SequenceGenerator
    from bptt.estimators.language_model import LanguageModel
    from bptt.estimators.online import OnlineClassifier, OnlineRegressor
    from bptt.estimators.regressor import SequenceRegressor
    from bptt.estimators.tagger import SequenceTagger

__all__ = [
    "EncoderDecoder",
    "LanguageModel",
    "OnlineClassifier",
    "OnlineRegressor",
    "SequenceClassifier",
    "SequenceEstimator",
    "SequenceForecaster",
    "SequenceGenerator",
    "SequenceRegressor",
    "SequenceTagger",
    "load_estimator",
]

if not TYPE_CHECKING:  # a type checker would take the module to have every name

    def __getattr__(name: str) -> object:
        """Import an estimator.

        Raises
        ------
        ImportError
            If scikit-learn is not installed.
        """
        if name in __all__:
            return _import_estimator(name)
        raise AttributeError(f"module 'bptt.estimators' has no attribute {name!r}")
