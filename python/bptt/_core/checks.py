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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Dimension: TypeAlias = tuple[str, int]  # symbol and size, as ("4*hidden_size", 512)


def integer(name: str, value: Any, minimum: int = 1) -> int:
    """Check that `value` is an integer >= `minimum`, of any type but bool."""
    is_integer = hasattr(value, "__index__") and not isinstance(value, (bool, np.bool_))
    if not is_integer or isinstance(value, (np.ndarray, np.timedelta64)):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}")
    result = operator.index(value)
    if result < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {shown(result)}")
    return result


def shown(value: int) -> str:
    """Return an integer as text; of more than 50 digits, which Python may refuse, its size."""
    if abs(value) < 10**50:
        return str(value)
    return f"{'a negative' if value < 0 else 'an'} integer of {value.bit_length()} bits"


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """Check that `value` is a real number, of any type but bool, in [low, high)."""
    result = real(name, value)
    if not low <= result < high:  # false for NaN
        raise ValueError(f"{name} must be in [{low:g}, {high:g}), got {result}")
    return result


def real(name: str, value: Any) -> float:
    """Return a real number of any type but bool as a float."""
    wrong = isinstance(value, (bool, np.timedelta64)) or not isinstance(value, numbers.Real)
    if wrong:  # NumPy calls timedelta64 an integer
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        size = type(value).__name__
        raise ValueError(f"{name} must fit into a float, got a larger {size}") from None


def positive(name: str, value: Any) -> float:
    """Check that `value` is a real number > 0; infinity is accepted."""
    result = real(name, value)
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


def not_masked(name: str, value: Any) -> None:
    """Check that `value` is not an array with masked elements, whose values would be used."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} must not have masked elements: fill them, or leave them out")


def real_numbers(name: str, values: Any) -> list[float]:
    """Check that `values` is a sequence of real numbers; NaN and infinity are accepted."""
    return [real(f"{name}[{i}]", value) for i, value in enumerate(items(name, values))]


def items(name: str, values: Any, *, text: bool = False) -> list[Any]:
    """Check that `values` is a list or an array (N,), with `text` or a string; return its items."""
    if isinstance(values, np.ndarray):
        if values.ndim == 0:
            raise ValueError(f"{name} must have at least one dimension, got {values.shape}")
        return list(values.tolist()) if values.ndim == 1 else list(values)
    if not isinstance(values, Sequence) or (isinstance(values, (str, bytes)) and not text):
        raise TypeError(f"{name} must be a list or an array, got {type(values).__name__}")
    return list(values)


def instance(name: str, value: Any, *kinds: type) -> Any:
    """Check that `value` is an instance of one of the classes."""
    if not isinstance(value, kinds):
        rule = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be of type {rule}, got {type(value).__name__}")
    return value


def fields(name: str, value: Any, *names: str) -> Mapping[str, Any]:
    """Check that `value` is a mapping with these keys, such as the content of a JSON file."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, got {type(value).__name__}")
    for key in names:
        if key not in value:
            raise KeyError(f"{key!r} is missing in {name}")
    return value


def integers(name: str, value: Any) -> NDArray[np.int64]:
    """Check that `value` is an integer array (B,)."""
    given = list(value) if isinstance(value, (list, tuple, range)) else value
    try:
        array = np.asarray(given) if isinstance(given, (np.ndarray, list)) else None
    except ValueError:  # ragged
        array = None
    is_empty = given is not value and not given
    if array is None or (array.dtype.kind not in "iu" and not is_empty):
        got = type(value).__name__ if array is None else f"dtype {array.dtype}"
        raise TypeError(f"{name} must be an array of integers, got {got}")
    if array.ndim != 1:
        raise ValueError(f"{name} must have shape (B,), got {array.shape}")
    return array.astype(np.int64, copy=False)


def indices(name: str, value: Any, size: int) -> NDArray[np.int64]:
    """Check that `value` is an integer array (B,) with elements in [0, size)."""
    array = integers(name, value)
    wrong = (array < 0) | (array >= size)
    if wrong.any():
        raise ValueError(f"{name} must lie in [0, {size}), got {array[wrong][0]}")
    return array


def dtype(name: str, value: Any) -> np.dtype[np.floating[Any]]:
    """Check that `value` denotes float32 or float64."""
    try:
        # NumPy takes None for float64; here it must be explicit.
        given = None if value is None else np.dtype(value)
    except (TypeError, ValueError, SyntaxError, AttributeError, RecursionError):
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


def array_of(name: str, value: Any, kinds: str, *dimensions: int) -> NDArray[Any]:
    """Check that `value` is an array of one of NumPy's `kinds` of dtypes, with these dimensions."""
    given = numpy_array(name, value)
    if given.dtype.kind not in kinds:
        rule = " or ".join(_KINDS[kind] for kind in kinds if kind in _KINDS)
        raise TypeError(f"{name} must be of {rule}, got dtype {given.dtype}")
    if given.ndim not in dimensions:
        rule = " or ".join(map(str, dimensions))
        raise ValueError(f"{name} must have {rule} dimensions, got shape {given.shape}")
    return given


_KINDS = {"i": "integers", "f": "floats", "b": "bools"}


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


def like(name: str, given: Mapping[str, NDArray[Any]], own: Mapping[str, NDArray[Any]]) -> None:
    """Check that `given` has arrays of the names, dtypes and shapes of `own`."""
    if set(given) != set(own):
        raise ValueError(f"{name} must hold {', '.join(own)}, got {', '.join(map(str, given))}")
    for key, value in own.items():
        array(f"{name}[{key!r}]", given[key], value.dtype)
        same_shape(f"{name}[{key!r}]", given[key], "what is there", value.shape)


def iob_label(name: str, value: str) -> None:
    """Check that `value` is "O", "B-kind" or "I-kind"."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be strings, got {type(value).__name__}")
    if value != "O" and (value[:2] not in ("B-", "I-") or len(value) == 2):
        raise ValueError(f"{name} must be 'O', 'B-kind' or 'I-kind', got {value!r}")
