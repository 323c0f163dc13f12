"""Classes with an order: their places, targets and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._distribution_losses import ordinal_log_probabilities


def has_order(ordinal: Any) -> bool:
    """Return whether the parameter asks for ordered classes.

    Raises
    ------
    TypeError
        If it is not True, False, or a sequence.
    """
    if isinstance(ordinal, Sequence) and not isinstance(ordinal, str):
        return True
    if not isinstance(ordinal, (bool, np.bool_)):
        rule = "ordinal must be True, False, or a list of the classes in their order"
        raise TypeError(f"{rule}, got {type(ordinal).__name__}")
    return bool(ordinal)


def places_of(ordinal: Any, classes: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return the place of every class in the order, or None if there is none.

    Parameters
    ----------
    ordinal : bool or sequence
        Whether the classes are ordered as they are sorted; or all classes in their order.
    classes : array (K,)
        Classes, sorted.

    Raises
    ------
    TypeError
        If `ordinal` has another type.
    ValueError
        If a sequence does not have every class once, or there is one class alone.
    """
    if not has_order(ordinal):
        return None
    known = classes.tolist()
    if len(known) < 2:
        raise ValueError(f"ordinal needs at least 2 classes, got {known}")
    order = known if isinstance(ordinal, (bool, np.bool_)) else list(ordinal)
    if len(order) != len(known) or any(label not in order for label in known):
        raise ValueError(f"ordinal must have each of the classes {known} once, got {order}")
    return np.array([order.index(label) for label in known])


def restored_places(places: Any, classes: int) -> NDArray[np.int64] | None:
    """Return the places of a saved estimator.

    Raises
    ------
    TypeError, ValueError
        If they are not a permutation of the places of the classes.
    """
    if places is None:
        return None
    items = checks.items("places", places)
    found = [checks.integer(f"places[{i}]", place, 0) for i, place in enumerate(items)]
    if classes < 2 or sorted(found) != list(range(classes)):
        raise ValueError(f"places must be those of {classes} classes, got {found}")
    return np.array(found)


def class_log_probabilities(logits: FloatArray, places: NDArray[np.int64]) -> FloatArray:
    """Return log p of every class (.., K), in the order of `classes_`, from K-1 logits."""
    by_place = ordinal_log_probabilities(logits)
    result: FloatArray = by_place[..., places]
    return result
