"""Parts of what is exported: the network, and the scaling of features and targets."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential


class Scaling(Protocol):
    """Standardization of columns: a `bptt.data.Standardizer`."""

    @property
    def mean(self) -> NDArray[np.float64]: ...
    @property
    def std(self) -> NDArray[np.float64]: ...


class Parts(NamedTuple):
    """A network and what surrounds it.

    Attributes
    ----------
    network : Sequential
    features, targets : Scaling or None
        Scaling of the input, and of the output.
    ids : bool
        Whether the input is token ids.
    """

    network: Sequential
    features: Scaling | None = None
    targets: Scaling | None = None
    ids: bool = False


def parts_of(model: Any) -> Parts:
    """Return the parts of a layer, a chain, or an estimator that is such a chain.

    Raises
    ------
    TypeError
        If it is none of them.
    ValueError
        If outputs of the estimator are not its targets.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    """
    if isinstance(model, Sequential):
        return Parts(model)
    if isinstance(model, Recurrent):
        return Parts(Sequential(model))
    if not getattr(model, "_is_chain", False):
        rule = "model must be a recurrent layer, a Sequential, or a classifier, regressor, tagger"
        raise TypeError(f"{rule} or language model, got {type(model).__name__}")
    parts: Parts = model._exported()
    return parts
