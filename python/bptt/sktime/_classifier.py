"""`SequenceClassifier` as a classifier of sktime."""

from __future__ import annotations

from typing import Any, ClassVar

from sktime.classification.base import BaseClassifier

from bptt.estimators._adapters import ClassifierAdapter
from bptt.estimators.classifier import SequenceClassifier
from bptt.sktime._tags import COLLECTIONS


class Classifier(ClassifierAdapter, BaseClassifier):  # type: ignore[misc]
    """`SequenceClassifier` for sktime: a class for every series of a panel.

    Series may be of different lengths, and have several variables; with a `missing` of the
    estimator other than "error" also missing values.

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
    >>> import bptt, bptt.sktime
    >>> from sktime.datasets import load_unit_test
    >>> X, y = load_unit_test(split="train")
    >>> model = bptt.sktime.Classifier(bptt.SequenceClassifier(scale=True, random_state=0))
    >>> model.fit(X, y).predict(X).shape
    (20,)
    """

    _tags: ClassVar[dict[str, Any]] = COLLECTIONS | {"capability:predict_proba": True}

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
            {"estimator": SequenceClassifier(**small)},
            {"estimator": SequenceClassifier(cell="gru", missing="mask", scale=True, **small)},
        ]
