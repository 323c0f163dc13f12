"""Matrices in C: constants of 32, 16 or 8 bits, and the calls that read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.nn.compression import NarrowArray
from bptt.nn.module import Module

_KINDS = {np.dtype(np.uint16): ("uint16_t", "_bfloat16"), np.dtype(np.int8): ("int8_t", "_int8")}
_ACCUMULATE = re.compile(r"\baccumulate\((\w+)(?:\[(\w+)\])?, ([^,]+), ([^,]+), ([^,]+)(?=,)")
_COPY = re.compile(r"\bcopy\((\w+) \+ ([^,]+), ")


def stored(module: Module, name: str) -> NarrowArray:
    """Return a matrix of a module as it is stored: float, or of fewer bits if it is compressed."""
    narrow = module._narrow
    found = module[name] if narrow is None else narrow.arrays[name]
    return found if isinstance(found, NarrowArray) else NarrowArray(found, None)


def in_columns(matrix: NarrowArray, key: str, rows: slice = slice(None)) -> dict[str, NDArray[Any]]:
    """Return some rows of a matrix as constants: its columns, and of 8 bits the scales of rows.

    Parameters
    ----------
    matrix : NarrowArray
    key : str
        Name of the constant; that of the scales is ``KEY_scale``.
    rows : slice, optional
        By default all.
    """
    found = {key: matrix.values[rows].T}
    if matrix.scales is not None:
        found[f"{key}_scale"] = matrix.scales[rows]
    return found


def is_narrow(array: NDArray[Any]) -> bool:
    """Return whether an array is a matrix of 16 or 8 bits."""
    return array.dtype in _KINDS


def type_of(array: NDArray[Any]) -> str:
    """Return the type of a constant in C."""
    return _KINDS[array.dtype][0] if is_narrow(array) else "float"


def bytes_of(array: NDArray[Any]) -> int:
    """Return the bytes of a constant in C."""
    return array.nbytes if is_narrow(array) else 4 * array.size


def with_types(code: str, weights: Mapping[str, NDArray[Any]]) -> str:
    """Return code with the functions that read the types of its matrices.

    Code is written as if all matrices were float: ``accumulate(MATRIX, x, columns, rows, y)``, with
    ``MATRIX[b]`` for the b-th of several of that size, and ``copy(MATRIX + place, rows, y)``.
    """

    def accumulate(found: re.Match[str]) -> str:
        name, block, x, columns, rows = found.groups()
        at = f" + {block} * ({columns}) * ({rows})" if block else ""
        scale_at = f" + {block} * ({rows})" if block else ""
        first = _arguments(weights[name], name, at, scale_at)
        return f"accumulate{first}, {x}, {columns}, {rows}"

    def copy(found: re.Match[str]) -> str:
        name, place = found.groups()
        if name not in weights:
            return found[0]
        return f"copy{_arguments(weights[name], name, f' + {place}')}, "

    return _COPY.sub(copy, _ACCUMULATE.sub(accumulate, code))


def _arguments(matrix: NDArray[Any], name: str, at: str, scale_at: str = "") -> str:
    """Return the end of a function's name, and its first arguments."""
    end = _KINDS[matrix.dtype][1] if is_narrow(matrix) else ""
    scale = f", {name}_scale{scale_at}" if matrix.dtype == np.int8 else ""
    return f"{end}({name}{at}{scale}"
