"""Loading of estimators of any class."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from bptt.estimators._persistence import read_estimator

if TYPE_CHECKING:
    from bptt.estimators._base import SequenceEstimator

ESTIMATORS = {  # class -> its module, imported on first use: it needs scikit-learn
    "EncoderDecoder": "bptt.estimators.encoder_decoder",
    "LanguageModel": "bptt.estimators.language_model",
    "SequenceClassifier": "bptt.estimators.classifier",
    "SequenceGenerator": "bptt.estimators.generator",
    "SequenceRegressor": "bptt.estimators.regressor",
    "SequenceTagger": "bptt.estimators.tagger",
}


def load_estimator(path: str | os.PathLike[str]) -> SequenceEstimator:
    """Load a fitted estimator of any class from a file written by its method `save`.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    SequenceEstimator
        The fitted estimator; its attribute `metadata_` is the metadata passed to `save`, a dict.

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
    return read_estimator(path, _class_of)


def _class_of(name: str) -> type[SequenceEstimator]:
    if name not in ESTIMATORS:
        raise ValueError(f"it must be one of {', '.join(ESTIMATORS)}, got {name}")
    found: type[SequenceEstimator] = getattr(import_module(ESTIMATORS[name]), name)
    return found
