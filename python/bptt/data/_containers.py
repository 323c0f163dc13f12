"""Containers of other libraries: pandas, Polars, Arrow and Hugging Face datasets.

They are told by what they can do, and none of these libraries is imported: groups, tables with
names of columns, columns that NumPy can read, and datasets.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DECODED = ("struct", "extension")  # types of Arrow that a dataset turns into something else


def unpacked(X: Any, *, python: bool = False) -> Any:
    """Return sequences in a container of another library as a list or an array.

    Parameters
    ----------
    X : object
        A groupby object, whose groups become a list of tables without the columns by which they are
        grouped; a column, such as a Series, an Arrow array or a column of a dataset, or a table
        with one column of lists; or anything else, which is returned unchanged.
    python : bool
        Rows of columns become lists of Python's objects, in which integers stay integers where
        others are missing. By default they become arrays, whose missing values are NaN.

    Raises
    ------
    TypeError, ValueError
        If the groups have no fixed order, a table is not in memory, or a dataset has several
        columns.
    """
    if hasattr(X, "collect") and not hasattr(X, "__array__"):
        raise TypeError(f"tables must be in memory, got {type(X).__name__}: use table.collect()")
    groups = _groups(X)
    if groups is not None:
        return groups
    column = _of_one_column(_of_dataset(X))
    known = (np.ndarray, np.generic, str, bytes)
    if isinstance(column, known) or not hasattr(column, "__array__"):
        return column
    if columns_of(column) is not None:
        return column
    to_list = getattr(column, "to_pylist", None) or getattr(column, "to_list", None)
    if python and to_list is not None:
        return to_list()
    array = np.asarray(column)
    return list(array) if array.dtype == object and array.ndim == 1 else array


def columns_of(table: Any) -> list[Any] | None:
    """Return the names of the columns of a table; None if it is none."""
    names = getattr(table, "column_names", None)  # Arrow
    if names is None:
        names = getattr(table, "columns", None)
    return None if names is None else list(names)


def column_names(X: Any, argument: str) -> tuple[str, ...] | None:
    """Return the names of the columns of a table, or of a list of tables; None if there are none.

    Raises
    ------
    ValueError
        If the tables of a list have different columns.
    """
    names = columns_of(X)
    if names is None and isinstance(X, Sequence) and X and columns_of(X[0]) is not None:
        found = [columns_of(table) for table in X]
        names = found[0] if None not in found else None
        for i, one in enumerate(found if names is not None else ()):
            if one != names:
                raise ValueError(
                    f"{argument}[{i}] must have the columns of {argument}[0] in the same order, "
                    f"{names}, got {one}"
                )
    is_named = names is not None and all(isinstance(name, str) for name in names)
    return tuple(names or ()) if is_named else None


def check_order_of_groups(X: Any, y: Any) -> None:
    """Check that targets with an index of groups are in the order of the groups of `X`.

    Raises
    ------
    ValueError
        If `X` is a pandas groupby object, and y has its groups as index, in another order.
    """
    index = getattr(y, "index", None)
    if index is None or callable(index) or not hasattr(X, "ngroups"):
        return
    groups, given = [key for key, _ in X], list(index)
    if given != groups and len(given) == len(groups) and set(given) == set(groups):
        i = next(i for i, key in enumerate(groups) if given[i] != key)
        raise ValueError(
            f"y must be in the order of the groups of X, {groups[i]!r} at {i}, got {given[i]!r}: "
            "use y.loc[[key for key, _ in X]]"
        )


def is_missing(value: Any) -> bool:
    """Return whether a label or a sequence is None, NaN, or pandas' NA or NaT."""
    if isinstance(value, float):
        return value != value
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def with_nan(array: NDArray[Any]) -> NDArray[Any]:
    """Return objects that are real numbers in float64, missing ones as NaN; others unchanged."""
    if array.dtype != object:
        return array
    values = array.ravel().tolist()
    if not all(isinstance(one, (Real, np.bool_)) or is_missing(one) for one in values):
        return array
    try:
        numbers = [np.nan if is_missing(one) else float(one) for one in values]
    except OverflowError:
        return array
    return np.array(numbers, np.float64).reshape(array.shape)


def _groups(X: Any) -> list[Any] | None:
    """Return the groups of a groupby object of pandas or Polars; None if it is none."""
    if hasattr(X, "ngroups") and hasattr(X, "get_group"):
        keys = set(getattr(X, "exclusions", ()))
    elif hasattr(X, "maintain_order") and hasattr(X, "by") and hasattr(X, "df"):
        if not X.maintain_order:
            raise ValueError(
                "groups must have a fixed order, got group_by(..) of Polars without one: "
                "use group_by(.., maintain_order=True), or partition_by(.., include_key=False)"
            )
        keys = {one if isinstance(one, str) else one.meta.output_name() for one in X.by}
    else:
        return None
    groups = [group for _, group in X]
    if not groups or columns_of(groups[0]) is None:
        return groups
    return [group[[name for name in group.columns if name not in keys]] for group in groups]


def _of_dataset(X: Any) -> Any:
    """Return a column of a dataset of Hugging Face as an Arrow array; anything else unchanged."""
    if hasattr(X, "column_names") and hasattr(X, "with_format"):
        names = X.column_names
        if not names or len(names) > 1:
            cure = f": select one, as dataset[{names[0]!r}]" if names else ""
            raise TypeError(f"a dataset must have one column, got {names}{cure}")
        X = X[names[0]]
    source: Any = getattr(X, "source", None)
    if not hasattr(X, "column_name") or not hasattr(source, "format"):
        return X
    if source.format["type"] == "custom":  # a function of the user's, which may change values
        return list(X)
    column = source.with_format("arrow")[X.column_name][:]
    return list(X) if any(kind in str(column.type) for kind in _DECODED) else column


def _of_one_column(X: Any) -> Any:
    """Return the column of a table that has one, of lists or arrays; anything else unchanged."""
    names = columns_of(X)
    if names is None or len(names) != 1 or not hasattr(X, "__array__"):
        return X
    column = X[names[0]]
    cells = np.asarray(column)
    if cells.dtype != object:
        return X
    cell = next((one for one in cells if not is_missing(one)), "")
    return column if hasattr(cell, "__len__") and not isinstance(cell, (str, bytes)) else X
