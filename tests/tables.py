"""A table with named columns, as pandas and polars have them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Table:
    """Two-dimensional data with the names of its columns."""

    def __init__(self, values: ArrayLike, columns: Iterable[str]) -> None:
        self._values = np.asarray(values)
        self.columns = list(columns)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._values, dtype)

    def __getitem__(self, column: str) -> NDArray[Any]:
        values = self._values[:, self.columns.index(column)]
        return np.array(values.tolist())  # of its own dtype

    def __len__(self) -> int:
        return len(self._values)
