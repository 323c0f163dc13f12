"""Parts of what is exported: the network, and the scaling of features and targets."""

from __future__ import annotations

from typing import Any, NamedTuple

from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential


class Parts(NamedTuple):
    """A network and what surrounds it.

    Attributes
    ----------
    network : Sequential
    features, targets : Standardizer or None
        Scaling of the input, and of the output.
    ids : bool
        Whether the input is token ids.
    """

    network: Sequential
    features: Any = None
    targets: Any = None
    ids: bool = False


def parts_of(model: Any) -> Parts:
    """Return the parts of a layer, a chain, or a fitted estimator.

    Raises
    ------
    TypeError
        If it is none of them.
    ValueError
        If outputs of the estimator are not its targets.
    """
    if isinstance(model, Sequential):
        return Parts(model)
    if isinstance(model, Recurrent):
        return Parts(Sequential(model))
    network = getattr(model, "model_", None)
    if not isinstance(network, Sequential):
        rule = "model must be a recurrent layer, a Sequential or a fitted estimator with a model_"
        raise TypeError(f"{rule}, got {type(model).__name__}")
    targets = getattr(model, "_standardizer", None)
    if targets is not None and model.loss != "squared_error":
        raise ValueError(f"loss={model.loss!r} cannot be exported: its outputs are no targets")
    encoder = model.encoder_
    return Parts(network, encoder.standardizer, targets, encoder.kind in ("tokens", "ids"))
