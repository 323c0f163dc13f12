"""Users' sequences: strings, tokens, ids or numbers, in lists or padded arrays.

Their types and shapes are checked here; `SequenceEncoder` compares them with those in `fit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.lengths import lengths_of, steps_of
from bptt.data._containers import column_names, columns_of, is_missing, unpacked, with_nan

Item: TypeAlias = str | list[str] | NDArray[Any]  # of tokens, or (T,), or (T, I)

KINDS = {"tokens": "strings", "ids": "integer ids", "features": "numbers"}

_STRING = frozenset([str])


class RawSequences(NamedTuple):
    """Sequences of one type, before they are encoded."""

    kind: str | None
    """One of `KINDS`; None if no sequence has a step."""
    items: list[Any] | NDArray[Any]
    """One item per sequence; or a padded array (B, T) or (B, T, I) of numbers."""
    lengths: NDArray[np.int64]
    """Number of steps of each sequence, (B,)."""
    names: tuple[str, ...] | None = None
    """Names of the columns, if X is a table or consists of tables with such names."""
    are_strings: bool = False
    """The first sequence is a string, not a list of tokens."""
    name: str = "X"
    """Name of the argument in error messages."""
    categories: Sequence[NDArray[np.object_]] = ()
    """Categories of every sequence, (T, C), beside the numbers in `items`."""


def read_sequences(
    X: Any, lengths: Any = None, *, tokens: str | None = None, argument: str = "X"
) -> RawSequences:
    """Return users' sequences and their type.

    Parameters
    ----------
    X : list or array
        Sequences; see `SequenceEncoder`.
    lengths : integer array (B,), optional
        Number of steps of each sequence; later steps are not read. All by default.
    tokens : {"characters", "words"}, optional
        Unit into which strings are split.
    argument : str
        Name of `X` in error messages.

    Returns
    -------
    RawSequences

    Raises
    ------
    TypeError, ValueError
        If X has another type or shape, or is empty.
    """
    X = unpacked(X)
    names = column_names(X, argument)
    items = _items(X, tokens, argument)
    if not len(items):
        raise ValueError(f"{argument} must have at least one sequence, got none")
    if isinstance(items, np.ndarray):
        kind = "ids" if items.ndim == 2 and items.dtype.kind in "iu" else "features"
        batch, steps = items.shape[:2]
        live = steps_of(lengths, batch, steps)
        return RawSequences(kind, items, live, names, name=argument)
    read_items = [_one(f"{argument}[{i}]", item, tokens) for i, item in enumerate(items)]
    live = np.fromiter(map(len, read_items), np.int64, len(items))
    if lengths is not None:
        live = lengths_of(lengths, len(items), live)
        read_items = [item[:length] for item, length in zip(read_items, live, strict=True)]
    are_strings = isinstance(items[0], str)
    return RawSequences(_kind(read_items, argument), read_items, live, names, are_strings, argument)


def _items(X: Any, tokens: str | None, argument: str) -> list[Any] | NDArray[Any]:
    """Return the sequences of `X` as a list, or as an array if they are a numeric array.

    One column of strings that are to be split is a list of texts.
    """
    if isinstance(X, (str, bytes)):
        raise TypeError(f"{argument} must be a list of texts, got one {type(X).__name__}")
    if hasattr(X, "toarray"):
        raise TypeError(
            f"{argument} must be dense: sparse data are not supported, got {type(X).__name__}"
        )
    if hasattr(X, "__array__"):  # including pandas
        checks.not_masked(argument, X)
        array = np.asarray(X)
        if array.dtype.kind in "biuf":
            return _shaped(argument, array, "B", "T")
        if array.ndim and array.dtype.kind in "OUT":
            _check_cells(array, X, argument)
            if tokens is not None and array.ndim == 2 and array.shape[1] == 1:
                array = array[:, 0]
            return list(array) if array.dtype == object else array.tolist()
        raise _no_numbers(argument, array, X)
    if isinstance(X, Sequence):
        return list(X)
    cure = "" if hasattr(X, "__len__") or not hasattr(X, "__iter__") else f": use list({argument})"
    if hasattr(X, "windows"):  # a stream
        cure = ": use its windows, as in `for x, y in stream.windows()`"
    got = type(X).__name__
    raise TypeError(f"{argument} must be a list of sequences or an array, got {got}{cure}")


def _check_cells(array: NDArray[Any], table: Any, argument: str) -> None:
    """Check that the cells of a table of several columns are tokens, or numbers, and not texts."""
    columns = columns_of(table) or []
    if len(columns) > 1:
        cells = array.ravel().tolist()
        kinds = {isinstance(cell, str) for cell in cells if not is_missing(cell)}
        if len(kinds) > 1 or any(isinstance(cell, (list, np.ndarray)) for cell in cells):
            raise TypeError(
                f"{argument} must be one column of sequences, or a table whose rows are sequences "
                f"of tokens or of numbers, got a table of {columns}: select a column, or group the "
                "steps of every sequence, with groupby(..) of pandas or "
                "partition_by(.., include_key=False) of Polars"
            )
        for cell in cells:
            if isinstance(cell, str) and len(cell.split()) > 1:
                raise TypeError(
                    f"{argument} must be one column of texts, or columns of tokens, got the text "
                    f"{cell!r} in a table of {columns}: select a column, or join them"
                )


def _one(name: str, item: Any, tokens: str | None) -> Item:
    """Return one sequence as a string, a token list or an array."""
    if isinstance(item, list) and item and _STRING.issuperset(map(type, item)):
        return item
    if isinstance(item, str):
        return _tokenize(name, item, tokens)
    table = item
    if hasattr(item, "__array__"):
        checks.not_masked(name, item)
        item = np.asarray(item)
        if item.dtype.kind in "OUT":
            is_column = item.ndim == 2 and item.shape[1] == 1
            item = (item[:, 0] if is_column else item).tolist()
    elif is_missing(item):
        raise TypeError(f"{name} must not be missing, got {item}: fill it, or leave it out")
    elif not isinstance(item, Sequence) or isinstance(item, bytes):
        raise TypeError(f"{name} must be a string, a list or an array, got {type(item).__name__}")
    if isinstance(item, np.ndarray):
        array = item
    elif (item := list(item)) and isinstance(item[0], str):
        for t, token in enumerate(item):
            if not isinstance(token, str):
                raise _no_token(name, token, t)
        return item
    else:
        array = with_nan(_as_array(name, item))
    if array.dtype.kind not in "biuf":
        raise _no_numbers(name, array, table)
    return _shaped(name, array, "T")


def _no_token(name: str, token: Any, step: int) -> TypeError:
    if is_missing(token):
        rule = f"{name} must not have missing tokens, got {token} at step {step}"
        return TypeError(f"{rule}: fill them, or leave them out")
    return TypeError(f"{name} must hold only strings, got {type(token).__name__} at step {step}")


def _tokenize(name: str, text: str, tokens: str | None) -> Item:
    if not text:
        return []
    if tokens == "characters":
        return text  # a sequence of characters
    if tokens == "words":
        return text.split()
    raise TypeError(
        f"{name} must be a list of tokens, got a string: "
        "set tokens='characters' or tokens='words' to split strings"
    )


def _as_array(name: str, item: Any) -> NDArray[Any]:
    try:
        return np.asarray(item)
    except ValueError:
        raise ValueError(f"{name} must have the same number of features at every step") from None


def _shaped(name: str, array: NDArray[Any], *axes: str) -> NDArray[Any]:
    """Check that `array` has these axes, optionally followed by one of features."""
    symbols = ", ".join(axes)
    comma = "," if len(axes) == 1 else ""  # of a one-element tuple
    rule = f"{name} must have shape ({symbols}{comma}) or ({symbols}, I)"
    if array.ndim not in (len(axes), len(axes) + 1):
        # scikit-learn's estimator checks require the last sentence
        raise ValueError(f"{rule}, got {array.shape}. Reshape your data")
    if array.ndim > len(axes) and array.shape[-1] == 0:
        raise ValueError(f"{rule} with I >= 1, got {array.shape}")
    return array


def _no_numbers(name: str, array: NDArray[Any], table: Any) -> Exception:
    for column in columns_of(table) or ():
        kind = np.asarray(table[column]).dtype
        if kind.kind not in "biuf":
            return TypeError(
                f"{name}: all columns must hold real numbers, got {column!r} of {kind}: select "
                "the columns to learn from, or name it in categorical_features"
            )
    steps = array.tolist() if array.dtype == object and array.ndim == 1 else []
    if any(isinstance(one, str) for one in steps):
        for t, one in enumerate(steps):
            if is_missing(one):
                return _no_token(name, one, t)
    if array.dtype.kind == "c":
        return ValueError(f"Complex data not supported: {name} has dtype {array.dtype}")
    return TypeError(
        f"{name}: argument must be all strings or all real numbers, got dtype {array.dtype}"
    )


def _kind_of(item: Item) -> str | None:
    """Return the type of a sequence; an empty one has none, unless it has an axis of features."""
    if not isinstance(item, np.ndarray):
        return "tokens" if item else None
    if item.ndim == 2:
        return "features"
    if not len(item):
        return None
    return "ids" if item.dtype.kind in "iu" else "features"


def _kind(items: list[Item], argument: str) -> str | None:
    """Return the common type of all `items`; integers among real numbers are features."""
    kinds = list(map(_kind_of, items))
    first = {kind: kinds.index(kind) for kind in KINDS if kind in kinds}
    if "tokens" in first and len(first) > 1:
        tokens = first.pop("tokens")
        raise TypeError(
            f"{argument} must hold only strings or only numbers, got strings in "
            f"{argument}[{tokens}] and numbers in {argument}[{min(first.values())}]"
        )
    return "features" if "features" in first else next(iter(first), None)


Starts = NDArray[np.int64]
"""Index of the first step of each sequence, (B,)."""

INTEGER_CURE = (
    "Pass floats (X.astype(float)) or set scale=True if the integers are measurements; number ids "
    "from 0, or pass them as strings, if they are names"
)


def flat_ids(raw: RawSequences, size: int) -> tuple[NDArray[np.int32], Starts]:
    """Return the ids of all sequences, (N,), and the index of the first step of each.

    Raises
    ------
    ValueError
        If an id is not in [0, size), those in `fit`.
    """
    flat, starts = _flat(raw, np.int64)
    wrong = _first((flat < 0) | (flat >= size), starts, raw.lengths)
    if wrong is not None:
        i, t = wrong
        raise ValueError(
            f"{raw.name}[{i}]: id {raw.items[i][t]} at step {t} is not in [0, {size}), those in "
            f"fit. {INTEGER_CURE}"
        )
    return flat.astype(np.int32), starts


def count_features(raw: RawSequences) -> int:
    """Return the number of features, from the first sequence that is not empty."""
    shapes = (np.shape(item) for item in raw.items)
    shape = next(shape for shape in shapes if shape != (0,))  # (0,) fits any number
    return int(shape[1]) if len(shape) == 2 else 1


def flat_features(
    raw: RawSequences, size: int, dtype: np.dtype[np.floating[Any]], *, allow_nan: bool = False
) -> tuple[FloatArray, Starts]:
    """Return the features of all sequences, (N, size), and the index of the first step of each.

    Raises
    ------
    ValueError
        If the number of features differs from `size`, or a feature is not finite; NaN may be
        allowed.
    """
    raw = raw._replace(items=_with_features(raw.items, size))
    with np.errstate(over="ignore"):
        flat, starts = _flat(raw, dtype)
    finite = ~np.isinf(flat) if allow_nan else np.isfinite(flat)
    wrong = None if finite.all() else _first(~finite.all(axis=1), starts, raw.lengths)
    if wrong is not None:
        i, t = wrong
        feature = int(np.flatnonzero(~finite[starts[i] + t])[0])
        value = raw.items[i][t, feature]
        shown = "NaN" if np.isnan(value) else value  # as scikit-learn's estimator checks require
        cure = ": fill it in, or set missing='mask'" if np.isnan(value) else ""
        raise ValueError(
            f"X[{i}] must be finite in {dtype}, got {shown} at step {t}, feature {feature}{cure}"
        )
    return flat, starts


def _with_features(items: Any, size: int) -> Any:
    """Return `items` with an axis of features."""
    if isinstance(items, np.ndarray):
        array = items if items.ndim == 3 else items[..., np.newaxis]
        if array.shape[2] != size:
            cure = ": use [X] for one sequence" if items.shape[1:] == (size,) else ""
            raise ValueError(f"X must have shape (B, T, {size}), got {items.shape}{cure}")
        return array
    arrays = []
    for i, item in enumerate(items):
        array = np.asarray(item)
        if array.shape == (0,):
            array = array.reshape(0, size)
        elif array.ndim == 1:
            array = array[:, np.newaxis]
        if array.shape[1] != size:
            raise ValueError(f"X[{i}] must have shape (steps, {size}), got {item.shape}")
        arrays.append(array)
    return arrays


def _flat(raw: RawSequences, dtype: Any) -> tuple[NDArray[Any], Starts]:
    if isinstance(raw.items, np.ndarray):  # a view: padding remains between the sequences
        batch, steps, *rest = raw.items.shape
        flat = raw.items.reshape(batch * steps, *rest).astype(dtype, copy=False)
        return np.ascontiguousarray(flat), np.arange(batch) * steps
    flat = np.concatenate(raw.items, dtype=dtype, casting="unsafe")
    return flat, np.cumsum(raw.lengths) - raw.lengths


def _first(
    wrong: NDArray[np.bool_], starts: Starts, lengths: NDArray[np.int64]
) -> tuple[int, int] | None:
    """Return the first sequence and step for which `wrong` (N,) is true, ignoring padding."""
    positions = np.flatnonzero(wrong)
    sequence = np.searchsorted(starts, positions, side="right") - 1
    step = positions - starts[sequence]
    for k in np.flatnonzero(step < lengths[sequence]):
        return int(sequence[k]), int(step[k])
    return None
