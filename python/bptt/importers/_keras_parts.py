"""What all layers in files of Keras need: their arrays by name, and why they are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Version: TypeAlias = tuple[int, int] | None

FUNCTIONS = {"linear": "identity", "tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu"}
"""Activation functions, and their names in bptt."""


class RefusedError(Exception):
    """Why there is no layer of bptt."""


def named(arrays: Arrays, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return arrays by name, in the order of the names; Keras 3 numbers them. Refuse others."""
    places = {str(place): name for place, name in enumerate(names)}
    found = {places.get(name, name): value for name, value in arrays.items()}
    if unknown := set(found) - set(names):
        raise RefusedError(f"it has the array {min(unknown)!r}, not {', '.join(names)} alone")
    return {name: found[name] for name in names if name in found}


def shapes_of(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array."""
    return {name: value.shape for name, value in arrays.items()}


def check_expected(expected: Mapping[str, Any], units: int, biased: bool) -> None:
    """Check that the arguments of a layer fit its arrays."""
    for name, found in (("units", units), ("use_bias", biased)):
        if expected.get(name, found) != found:
            raise RefusedError(f"it has {name}={expected[name]!r}, and its arrays have {found}")


def function_name(value: Any) -> str:
    """Return the name of a function in the JSON, as bptt has it if it has it."""
    if isinstance(value, Mapping):  # of a function that is not of Keras
        value = value.get("config")
    name = "linear" if value is None else value
    return FUNCTIONS.get(name, name) if isinstance(name, str) else "a function of its own"
