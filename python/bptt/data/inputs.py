"""What users pass as sequences: strings, tokens, ids or numbers, in lists or padded arrays.

Whether it fits what a model has learnt is not asked here; see `bptt.data.sequences`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core.lengths import lengths_of

Item: TypeAlias = str | list[str] | NDArray[Any]  # of tokens, or (T,), or (T, I)

KINDS = {"tokens": "strings", "ids": "integer ids", "features": "numbers"}


class Raw(NamedTuple):
    """Sequences as they came, one way or the other, without their padding or with it."""

    kind: str | None
    """One of `KINDS`; None if nothing tells, as no sequence has a step."""
    items: list[Any] | NDArray[Any]
    """One a sequence; or a padded array (B, T) or (B, T, I) of numbers."""
    lengths: NDArray[np.int64]
    """Number of steps of each, (B,)."""


def read(X: Any, lengths: Any = None, *, tokens: str | None = None) -> Raw:
    """Return what `X` holds.

    Parameters
    ----------
    X : list or array
        See `SequenceEncoder`.
    lengths : integer array (B,), optional
        Number of steps of each sequence; those behind them are not looked at.
    tokens : "characters", "words" or None
        What strings are cut into: characters, or what white space separates.

    Raises
    ------
    TypeError, ValueError
        If it is of no such kind, or there is none.
    """
    items = _all(X)
    if not len(items):
        raise ValueError("X must have at least one sequence, got none")
    if isinstance(items, np.ndarray):
        kind = "ids" if items.ndim == 2 and items.dtype.kind in "iu" else "features"
        batch, steps = items.shape[:2]
        live = np.full(batch, steps) if lengths is None else lengths_of(lengths, batch, steps)
        return Raw(kind, items, live)
    read_items = [_one(f"X[{i}]", item, tokens) for i, item in enumerate(items)]
    live = np.fromiter(map(len, read_items), np.int64, len(items))
    if lengths is not None:
        live = lengths_of(lengths, len(items), live)
        read_items = [item[:length] for item, length in zip(read_items, live, strict=True)]
    return Raw(_kind(read_items), read_items, live)


def _all(X: Any) -> list[Any] | NDArray[Any]:
    """Return the sequences of `X` as a list, or, if they are numbers in an array, as this."""
    if isinstance(X, (str, bytes)):
        raise TypeError(f"X must be a list of texts, got one {type(X).__name__}")
    if hasattr(X, "toarray"):
        raise TypeError(f"X must be dense: sparse data are not supported, got {type(X).__name__}")
    if hasattr(X, "__array__"):  # of pandas too
        array = np.asarray(X)
        if array.dtype.kind in "biuf":
            return _shaped("X", array, "B", "T")
        if array.ndim and array.dtype.kind in "OUT":
            return list(array) if array.dtype == object else array.tolist()
        raise _no_numbers("X", array)
    if isinstance(X, Sequence):
        return list(X)
    raise TypeError(f"X must be a list of sequences or an array, got {type(X).__name__}")


def _one(name: str, item: Any, tokens: str | None) -> Item:
    """Return one sequence."""
    if isinstance(item, str):
        return _cut(name, item, tokens)
    if hasattr(item, "__array__"):
        item = np.asarray(item)
        if item.dtype.kind in "OUT":
            item = item.tolist()
    elif not isinstance(item, Sequence) or isinstance(item, bytes):
        raise TypeError(f"{name} must be a string, a list or an array, got {type(item).__name__}")
    if isinstance(item, np.ndarray):
        array = item
    elif item and isinstance(item[0], str):
        for t, token in enumerate(item):
            if not isinstance(token, str):
                raise TypeError(
                    f"{name} must hold strings alone, got {type(token).__name__} at step {t}"
                )
        return list(item)
    else:
        array = _as_array(name, item)
    if array.dtype.kind not in "biuf":
        raise _no_numbers(name, array)
    return _shaped(name, array, "T")


def _cut(name: str, text: str, tokens: str | None) -> Item:
    if not text:
        return []
    if tokens == "characters":
        return text  # is the sequence of them
    if tokens == "words":
        return text.split()
    raise TypeError(
        f"{name} must be a list of tokens, got a string: "
        "it is cut with tokens='characters' or tokens='words'"
    )


def _as_array(name: str, item: Any) -> NDArray[Any]:
    try:
        return np.asarray(item)
    except ValueError:
        raise ValueError(
            f"{name} must have the same number of features at every step, got different ones"
        ) from None


def _shaped(name: str, array: NDArray[Any], *axes: str) -> NDArray[Any]:
    """Check that `array` has these axes, or one more, of features."""
    symbols = ", ".join(axes)
    comma = "," if len(axes) == 1 else ""  # as Python writes a tuple of one
    rule = f"{name} must have shape ({symbols}{comma}) or ({symbols}, I)"
    if array.ndim not in (len(axes), len(axes) + 1):
        # in the words of scikit-learn, whose checks of estimators look for them
        raise ValueError(f"{rule}, got {array.shape}. Reshape your data")
    if array.ndim > len(axes) and array.shape[-1] == 0:
        raise ValueError(f"{rule} with I >= 1, got {array.shape}")
    return array


def _no_numbers(name: str, array: NDArray[Any]) -> Exception:
    if array.dtype.kind == "c":
        return ValueError(f"Complex data not supported: {name} has dtype {array.dtype}")
    return TypeError(
        f"{name}: an argument must be of strings alone or of real numbers alone, "
        f"got dtype {array.dtype}"
    )


def _kind(items: list[Item]) -> str | None:
    """Return the kind that all `items` are of; integers among real numbers are numbers.

    Of what an empty sequence is cannot be seen, but how many features it has.
    """
    first: dict[str, int] = {}
    for i, item in enumerate(items):
        if isinstance(item, np.ndarray) and item.ndim == 2:
            first.setdefault("features", i)
        elif not len(item):
            continue
        elif not isinstance(item, np.ndarray):
            first.setdefault("tokens", i)
        else:
            first.setdefault("ids" if item.dtype.kind in "iu" else "features", i)
    if "tokens" in first and len(first) > 1:
        tokens = first.pop("tokens")
        raise TypeError(
            "X must hold strings alone or numbers alone, "
            f"got strings in X[{tokens}] and numbers in X[{min(first.values())}]"
        )
    return "features" if "features" in first else next(iter(first), None)
