"""Lazy import of the estimators, and loading of an estimator of any class."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from bptt.estimators import _stand_ins
from bptt.estimators._persistence import read_estimator

ESTIMATORS = {  # class -> its module
    "EncoderDecoder": "bptt.estimators.encoder_decoder",
    "LanguageModel": "bptt.estimators.language_model",
    "OnlineClassifier": "bptt.estimators.online",
    "OnlineRegressor": "bptt.estimators.online",
    "SequenceClassifier": "bptt.estimators.classifier",
    "SequenceForecaster": "bptt.estimators.forecaster",
    "SequenceGenerator": "bptt.estimators.generator",
    "SequenceRegressor": "bptt.estimators.regressor",
    "SequenceTagger": "bptt.estimators.tagger",
}


def load_estimator(path: str | os.PathLike[str]) -> Any:
    """Load an estimator of any class from a file written by its method `save`.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    SequenceEstimator, OnlineRegressor or OnlineClassifier
        The estimator; its attribute `metadata_` is the metadata passed to `save`, a dict.

    Raises
    ------
    TypeError
        If `path` is neither a string nor a path.
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is broken, or its class is not an estimator of this package.
    ImportError
        If safetensors or scikit-learn is not installed.
    """

    def class_of(name: str) -> type[Any]:
        if name not in ESTIMATORS:
            raise ValueError(f"it must be one of {', '.join(ESTIMATORS)}, got {name}")
        return import_estimator(name)

    return read_estimator(path, class_of)


def import_estimator(name: str) -> type[Any]:
    """Import an estimator on first use.

    Parameters
    ----------
    name : str
        Name of the class, one of `bptt.estimators`.

    Returns
    -------
    type
        The class.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    """
    if not _stand_ins.in_use:
        try:
            import sklearn  # noqa: F401
        except ImportError as error:
            raise ImportError("estimators need scikit-learn: pip install 'bptt[train]'") from error
    module = import_module(ESTIMATORS.get(name, "bptt.estimators._base"))
    estimator: type[Any] = getattr(module, name)
    return estimator
