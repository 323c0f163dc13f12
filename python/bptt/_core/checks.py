"""Checks of arguments.

Each takes the name and the value of an argument and returns the value in its plain type. It raises
TypeError for a wrong type or dtype and ValueError for a wrong value or shape, with one sentence:
the rule, then the value given. Arguments of kernels (x, state, lengths, ..) are checked there.
"""

from __future__ import annotations

import math
import numbers
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Dimension: TypeAlias = tuple[str, int]  # symbol and size, as ("4*hidden_size", 512)


def integer(name: str, value: Any, minimum: int = 1) -> int:
    """Check that `value` is an integer >= `minimum`, of any type but bool."""
    is_integer = hasattr(value, "__index__") and not isinstance(value, (bool, np.bool_))
    if not is_integer or isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    result = operator.index(value)
    if result < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {result}")
    return result


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """Check that `value` is a real number, of any type but bool, in [low, high)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}")
    result = float(value)
    if not low <= result < high:  # false for NaN
        raise ValueError(f"{name} must be in [{low:g}, {high:g}), got {result}")
    return result


def positive(name: str, value: Any) -> float:
    """Check that `value` is a real number > 0; infinity is accepted."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}")
    result = float(value)
    if not result > 0.0:
        raise ValueError(f"{name} must be > 0, got {result}")
    return result


def fraction(name: str, value: Any) -> float:
    """Check that `value` is a real number in [0, 1)."""
    return number(name, value, 0.0, 1.0)


def flag(name: str, value: Any) -> bool:
    """Check that `value` is a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}")
    return bool(value)


def one_of(*choices: str) -> Callable[[str, Any], str]:
    """Return a check that a value is one of the strings `choices`."""

    def choice(name: str, value: Any) -> str:
        rule = ", ".join(map(repr, choices))
        if not isinstance(value, str):
            raise TypeError(f"{name} must be one of {rule}, got {type(value).__name__}")
        if value not in choices:
            raise ValueError(f"{name} must be one of {rule}, got {value!r}")
        return value

    return choice


def dtype(name: str, value: Any) -> np.dtype[np.floating[Any]]:
    """Check that `value` denotes float32 or float64."""
    try:
        # NumPy takes None for float64; here it must be explicit.
        given = None if value is None else np.dtype(value)
    except (TypeError, ValueError):
        given = None
    for known in (np.dtype(np.float32), np.dtype(np.float64)):
        if given is not None and given == known:
            return known
    raise TypeError(f"{name} must be float32 or float64, got {value!r}")


def seed(name: str, value: Any) -> int | None:
    """Check that `value` is None or an integer >= 0."""
    return None if value is None else integer(name, value, 0)


def numpy_array(name: str, value: Any, *, layer: bool = False) -> NDArray[Any]:
    """Check that `value` is an array; `layer` says whether it is the input of a layer."""
    if not isinstance(value, np.ndarray):
        got = type(value).__name__
        cure = _conversion(name, got, layer=layer)
        raise TypeError(f"{name} must be a NumPy array, got {got}{cure}")
    return value


def floats(name: str, value: Any) -> FloatArray:
    """Check that `value` is an array of float32 or float64."""
    given = numpy_array(name, value)
    if given.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        got = f"{given.dtype}{_cast(name, given.dtype, np.dtype(np.float32))}"
        raise TypeError(f"{name} must have dtype float32 or float64, got {got}")
    return given


def array(name: str, value: Any, expected: np.dtype[Any], *, layer: bool = False) -> NDArray[Any]:
    """Check that `value` is an array of exactly the `expected` dtype; nothing is cast.

    `layer` says whether it is the input of a layer, whose dtype the user may choose as well.
    """
    given = numpy_array(name, value, layer=layer)
    if given.dtype != expected:
        rule = f"{name} must have dtype {expected}{' as the layer' if layer else ''}"
        cure = _cast(name, given.dtype, expected, layer=layer)
        raise TypeError(f"{rule}, got {given.dtype}{cure}")
    return given


def with_cure(error: TypeError, layer_input: str = "") -> TypeError:
    """Return an error of the kernels with the cure that `array` would name.

    `layer_input` is the name in the sentence of the input of a layer.
    """
    sentence = str(error)
    name = sentence.partition(" ")[0]
    layer = name == layer_input
    if match := re.match(r"\S+ must be a NumPy array, got (\S+)$", sentence):
        return TypeError(sentence + _conversion(name, match[1], layer=layer))
    if match := re.match(r"\S+ must have dtype (float\d+)\b.*, got (\S+)$", sentence):
        cure = _cast(name, np.dtype(match[2]), np.dtype(match[1]), layer=layer)
        return TypeError(sentence + cure)
    return error


def _cast(name: str, got: np.dtype[Any], expected: np.dtype[Any], *, layer: bool = False) -> str:
    """Return the cure for an array of another dtype, or nothing if a cast would not be one."""
    if expected.kind != "f" or got.kind not in "fiub" or " " in name:
        return ""
    cure = f": use {name}.astype(np.{expected})"
    other = layer and got in (np.dtype(np.float32), np.dtype(np.float64))
    return f'{cure}, or dtype="{got}" for the layer' if other else cure


def _conversion(name: str, got: str, *, layer: bool) -> str:
    """Return the cure for a list, and nothing for other types, which may be a mistake."""
    if got != "list" or " " in name:
        return ""
    ragged = ", or pad sequences of different lengths and pass lengths" if layer else ""
    return f": use np.array({name}){ragged}"


def shape(name: str, value: NDArray[Any], dimensions: Sequence[Dimension]) -> None:
    """Check that `value` has the shape `dimensions`, given in symbols and numbers."""
    expected = tuple(size for _, size in dimensions)
    if value.shape != expected:
        comma = "," if len(dimensions) == 1 else ""  # as in a tuple of one element
        rule = f"({', '.join(symbol for symbol, _ in dimensions)}{comma})"
        raise ValueError(f"{name} must have shape {rule} = {expected}, got {value.shape}")


def same_shape(name: str, value: NDArray[Any], of: str, expected: tuple[int, ...]) -> None:
    """Check that `value` has the shape `expected` of the array called `of`."""
    if value.shape != expected:
        raise ValueError(f"{name} must have the shape of {of}, {expected}, got {value.shape}")


def iob_label(name: str, value: str) -> None:
    """Check that `value` is "O", "B-kind" or "I-kind"."""
    if value != "O" and (value[:2] not in ("B-", "I-") or len(value) == 2):
        raise ValueError(f"{name} must be 'O', 'B-kind' or 'I-kind', got {value!r}")
