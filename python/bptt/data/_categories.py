"""Tables of numbers and categories: columns of categories become one-hot columns."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data._containers import column_names, is_missing, unpacked
from bptt.data.vocabulary import UNKNOWN, Vocabulary
from bptt.distributed._pooling import pooled_set

FROM_DTYPE = "from_dtype"
MAX_CATEGORIES = 1000

Categorical: TypeAlias = "tuple[str | int, ...] | str | None"


class Columns(NamedTuple):
    """Sequences of tables, in numbers and categories."""

    numbers: list[NDArray[np.float64]]
    """Columns of numbers of each sequence, (T, I); NaN for missing ones."""
    categories: list[NDArray[np.object_]]
    """Columns of categories of each sequence, (T, C)."""
    names: tuple[str, ...] | None
    """Names of all columns."""
    places: tuple[int, ...]
    """Which of all columns are categories."""


def check_categorical(value: Any) -> Categorical:
    """Check the option that names columns of categories."""
    if value is None or (isinstance(value, str) and value == FROM_DTYPE):
        return value
    rule = "categorical_features must be 'from_dtype', or names or indices of columns"
    if isinstance(value, str):
        raise ValueError(f"{rule}, got {value!r}: use [{value!r}] for one column")
    if isinstance(value, (bytes, bool)) or not isinstance(value, (Sequence, np.ndarray)):
        raise TypeError(f"{rule}, got {type(value).__name__}")
    columns = [one.item() if isinstance(one, np.generic) else one for one in value]
    for one in columns:
        if isinstance(one, bool) or not isinstance(one, (str, int)):
            raise TypeError(f"{rule}, got {type(one).__name__}")
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(f"{rule}, at least one, and distinct, got {columns}")
    return tuple(columns)


def as_json(categorical: Categorical) -> list[str | int] | str | None:
    """Return the option in types of JSON."""
    return list(categorical) if isinstance(categorical, tuple) else categorical


def read_columns(
    X: Any, categorical: Categorical, places: tuple[int, ...] | None, argument: str
) -> Columns:
    """Return the numbers and the categories of a list of tables.

    Parameters
    ----------
    X : list of tables or arrays (T, columns), array (B, T, columns), or groupby object
        Sequences.
    categorical : tuple of str or int, or "from_dtype"
        Columns of categories.
    places : tuple of int, optional
        Indices of these columns, once they are known.
    argument : str
        Name of `X` in error messages.

    Returns
    -------
    Columns

    Raises
    ------
    TypeError, ValueError
        If X is of another type, or a column of numbers holds something else.
    """
    X = unpacked(X)
    names = column_names(X, argument)
    is_list = isinstance(X, (Sequence, np.ndarray)) and not isinstance(X, (str, bytes))
    if not is_list:
        rule = f"{argument} must be a list of tables with categorical_features"
        raise TypeError(f"{rule}, got one {type(X).__name__}: use [table], or table.groupby(..)")
    items = list(X)
    tables = [_table(f"{argument}[{i}]", item) for i, item in enumerate(items)]
    if not tables:
        raise ValueError(f"{argument} must have at least one sequence, got none")
    count = tables[0].shape[1]
    for i, table in enumerate(tables):
        if table.shape[1] != count:
            rule = f"{count} columns, as {argument}[0]"
            raise ValueError(f"{argument}[{i}] must have {rule}, got {table.shape[1]}")
    if places is None:
        places = _places(items[0], categorical, names, count)
    others = [i for i in range(count) if i not in places]
    numbers = [_numbers(f"{argument}[{i}]", t[:, others]) for i, t in enumerate(tables)]
    return Columns(numbers, [table[:, list(places)] for table in tables], names, places)


def _table(name: str, item: Any) -> NDArray[np.object_]:
    try:
        array = np.asarray(item, dtype=object)
    except (TypeError, ValueError):
        array = np.empty(0, object)
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name} must be a table of shape (T, columns), got {np.shape(array)}")
    return array


def _places(
    table: Any, categorical: Categorical, names: tuple[str, ...] | None, count: int
) -> tuple[int, ...]:
    """Return the indices of the columns of categories."""
    if categorical == FROM_DTYPE:
        if names is None:
            raise TypeError("categorical_features='from_dtype' needs tables with named columns")
        return tuple(i for i, name in enumerate(names) if not _is_number(table[name]))
    found: list[int] = []
    for one in categorical or ():
        if isinstance(one, str):
            if names is None or one not in names:
                known = "tables without names" if names is None else str(list(names))
                raise ValueError(f"categorical_features must be columns of X, {known}, got {one!r}")
            found.append(names.index(one))
        else:
            if not -count <= one < count:
                rule = f"in [{-count}, {count})"
                raise ValueError(f"categorical_features must be {rule}, got {checks.shown(one)}")
            found.append(one % count)
    return tuple(sorted(set(found)))


def _is_number(column: Any) -> bool:
    is_category = str(getattr(column, "dtype", "")) == "category"
    return not is_category and np.asarray(column).dtype.kind in "biuf"


def _numbers(name: str, columns: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return numbers; None and pandas' NA are NaN."""
    if {int, float}.issuperset(map(type, columns.ravel().tolist())):
        return columns.astype(np.float64)
    values = np.full(columns.shape, np.nan)
    for at, value in np.ndenumerate(columns):
        if is_missing(value):
            continue
        if not isinstance(value, (Real, np.bool_)):
            raise TypeError(
                f"{name} must hold numbers in all other columns than categorical_features, "
                f"got {value!r} at step {at[0]}"
            )
        values[at] = float(value)
    return values


def label(value: Any) -> str:
    """Return a category as text, the same for 1, 1.0 and NumPy's numbers; "<unk>" if missing."""
    if is_missing(value):
        return UNKNOWN
    if isinstance(value, Real) and not isinstance(value, (bool, np.bool_)):
        number = int(value) if isinstance(value, Integral) else float(value)
        return str(int(number) if isinstance(number, float) and number.is_integer() else number)
    return str(value)


def vocabularies(
    categories: Sequence[NDArray[np.object_]],
    names: tuple[str, ...] | None,
    places: tuple[int, ...],
) -> tuple[Vocabulary, ...]:
    """Return the categories of every column, after "<unk>".

    Raises
    ------
    ValueError
        If there are too many.
    """
    found = []
    for k, place in enumerate(places):
        labels = pooled_set({label(value) for table in categories for value in table[:, k]})
        name = repr(names[place]) if names else str(place)
        if len(labels) > MAX_CATEGORIES:
            rule = f"at most {MAX_CATEGORIES:,} categories, each of which has its own weights"
            raise ValueError(f"column {name} must have {rule}, got {len(labels):,}")
        found.append(Vocabulary([UNKNOWN, *sorted(labels - {UNKNOWN})]))
    return tuple(found)


def one_hot(
    categories: Sequence[NDArray[np.object_]], known: Sequence[Vocabulary], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return one column for every category, (total steps, categories).

    A step with an unknown or a missing category is 0 in all columns of its feature.
    """
    rows = np.concatenate(categories)
    parts = []
    for k, vocabulary in enumerate(known):
        ids = vocabulary.encode([label(value) for value in rows[:, k]])
        part = np.zeros((len(rows), len(vocabulary) - 1), dtype)
        steps = np.flatnonzero(ids)
        part[steps, ids[steps] - 1] = 1.0
        parts.append(part)
    return np.concatenate(parts, axis=1)
