"""Numbers in files: bytes as arrays."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BFLOAT16 = "bfloat16"
"""The upper half of float32, which NumPy does not have."""


def item_size(dtype: str) -> int:
    """Return the bytes of a number of a type, by its name."""
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def numbers(data: bytes | memoryview, dtype: str, order: Literal["<", ">"] = "<") -> NDArray[Any]:
    """Return the numbers in some bytes, read-only and in the machine's byte order.

    Parameters
    ----------
    data : bytes
        A whole number of elements.
    dtype : str
        NumPy's name of their type, or "bfloat16", which becomes float32.
    order : {"<", ">"}
        Byte order in the file.
    """
    kind = np.dtype("uint16" if dtype == BFLOAT16 else dtype).newbyteorder(order)
    array = np.frombuffer(data, kind)
    if dtype == BFLOAT16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    array.flags.writeable = False
    return array
