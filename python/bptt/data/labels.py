"""Label encoder: classes of any type and their ids."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data._containers import is_missing, unpacked
from bptt.data.sequences import Sequences
from bptt.distributed._pooling import of_all_ranks

_MAX_SHOWN = 10  # classes in an error message

IGNORED_ID = -1
"""Id of a step without a label, which does not count."""
UNKNOWN_ID = -2
"""Id of a label that is not one of the classes, which counts as an error."""


class LabelEncoder:
    """Encodes labels, one per sequence or one per step, as ids in sorted order.

    Parameters
    ----------
    steps : bool
        Labels are one per step.
    ignore : label, optional
        With labels per step: label of steps that do not count. None and NaN never count.

    Attributes
    ----------
    classes_ : array (K,)
        Classes, sorted.
    """

    classes_: NDArray[Any]

    def __init__(self, *, steps: bool = False, ignore: Any = None) -> None:
        self._steps = checks.flag("steps", steps)
        self._ignore = ignore

    def fit(self, y: Any, lengths: Any = None, *, name: str = "y") -> LabelEncoder:
        """Learn the classes.

        Parameters
        ----------
        y : array or list (B,); with labels per step a list of label sequences, or an array (B, T)
            Labels: strings, integers, or any other values that can be sorted.
        lengths : integer array (B,), optional
            With labels per step: number of labels of each sequence; see `transform`.
        name : str
            Name of `y` in error messages.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If the labels cannot be sorted, or are not single values.
        ValueError
            If there are no labels, or labels are real numbers with a fraction.
        """
        y = unpacked(y, python=self._steps)
        checks.not_masked(name, y)
        y = np.asarray(y) if hasattr(y, "__array__") else y
        classes = self._occurring(y, lengths, name)
        typed = isinstance(y, np.ndarray) and y.dtype != object
        self._set_sorted(classes, y.dtype if typed else None)
        return self

    def _occurring(self, y: Any, lengths: Any = None, name: str = "y") -> list[Any]:
        """Return the labels that occur, sorted and checked; those that do not count are left out.

        `y` is in no container of another library.
        """
        rows = _rows(y, lengths) if self._steps else [_labels(name, y)]
        for i, label in enumerate(rows[0] if not self._steps else ()):
            if is_missing(label):  # scikit-learn's estimator checks require the first words
                raise ValueError(
                    f"Input {name} contains NaN or None: labels must not be missing, got {label} "
                    f"in {name}[{i}]"
                )
        for label in rows[0][:1] if not self._steps else ():
            if hasattr(label, "__len__") and not isinstance(label, (str, bytes, tuple)):
                raise TypeError(
                    "y must hold one label per sequence, single values, got a "
                    f"{type(label).__name__}: a SequenceTagger takes labels of every step"
                )
        try:
            occurring = set(chain.from_iterable(rows))
            if self._steps:
                occurring = {label for label in occurring if not self._is_ignored(label)}
        except TypeError as error:
            raise _unsortable(error) from None
        classes = _sorted(occurring)
        _check_no_fractions(classes)
        for label in classes:
            if isinstance(label, (str, bytes)) and label[-1:] in ("\0", b"\0"):
                raise ValueError(
                    f"y must hold labels that do not end with a null character, which NumPy's "
                    f"arrays remove, got {label!r}"
                )
        return classes

    def _set_sorted(self, classes: list[Any], dtype: np.dtype[Any] | None) -> None:
        """Set the classes, those of all ranks; the dtype is that of an array of labels."""
        ranks = of_all_ranks((classes, dtype))
        if len(ranks) > 1:
            classes = _sorted(set().union(*(found for found, _ in ranks)))
            dtypes = [one for _, one in ranks if one is not None]
            dtype = np.result_type(*dtypes) if len(dtypes) == len(ranks) else None
        if not classes:
            raise ValueError("y must have at least one label, got none")
        try:
            array = np.asarray(classes)
        except (ValueError, TypeError, OverflowError):
            array = np.empty((1, 1))
        if array.ndim > 1:
            raise TypeError(f"y must hold labels that are single values, got {classes[0]!r}")
        self._set_classes(array if dtype is None else array.astype(dtype))

    def transform(
        self, y: Any, lengths: Any = None, *, name: str = "y", allow_unknown: bool = False
    ) -> Any:
        """Return the ids of labels.

        Parameters
        ----------
        y : array or list (B,); with labels per step a list of label sequences, or an array (B, T)
            Labels.
        lengths : integer array (B,), optional
            With labels per step: number of labels that each sequence must have. Rows of a padded
            array may be longer.
        name : str
            Name of `y` in error messages.
        allow_unknown : bool
            Labels that are not classes get the id `UNKNOWN_ID`, with a warning.

        Returns
        -------
        int32 array (B,), or with labels per step `Sequences`
            Ids in [0, K), or `IGNORED_ID` for steps that do not count.

        Raises
        ------
        TypeError, ValueError
            If a label is not one of the classes, or the number of labels differs from `lengths`.
        """
        rows = _rows(y, lengths) if self._steps else [_labels(name, unpacked(y))]
        unknown: list[Any] = []
        try:
            ids = np.fromiter(map(self._ids.__getitem__, chain.from_iterable(rows)), np.int32)
        except (KeyError, TypeError):  # TypeError: an unhashable label
            names = [f"y[{i}]" for i in range(len(rows))] if self._steps else [name]
            listed = unknown if allow_unknown else None
            ids = np.concatenate(
                [self._encode(row, one, listed) for row, one in zip(rows, names, strict=True)]
            )
        if unknown:
            shown = _shown(sorted(set(unknown), key=repr))
            warnings.warn(
                f"{name} has labels that were not in fit ({shown}; {len(unknown)} in all): "
                "they count as errors, and not in the loss; fit(.., classes=[..]) names all",
                UserWarning,
                stacklevel=4,
            )
        if not self._steps:
            return ids
        return Sequences.from_lengths(ids, np.fromiter(map(len, rows), np.int64, len(rows)))

    def to_dict(self) -> dict[str, Any]:
        """Return parameters and classes in JSON types.

        Returns
        -------
        dict
        """
        classes = self.classes_
        return {
            "steps": self._steps,
            "ignore": self._ignore.item() if isinstance(self._ignore, np.generic) else self._ignore,
            "dtype": classes.dtype.str,
            "classes": classes.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, steps: bool | None = None) -> LabelEncoder:
        """Return the encoder that `to_dict` described.

        Parameters
        ----------
        content : mapping
            Result of `to_dict`.
        steps : bool, optional
            What `steps` of the encoder must be.

        Returns
        -------
        LabelEncoder

        Raises
        ------
        KeyError, TypeError, ValueError
            If the content is incomplete or invalid.
        """
        checks.fields("content", content, "steps", "ignore", "classes", "dtype")
        encoder = cls(steps=content["steps"], ignore=_label("ignore", content["ignore"]))
        if steps is not None and checks.flag("steps", steps) != encoder._steps:
            raise ValueError(f"steps must be {steps}, got {encoder._steps}")
        encoder._set_classes(_classes(content["classes"], content["dtype"]))
        return encoder

    def _set_classes(self, classes: NDArray[Any]) -> None:
        self.classes_ = classes
        self._ids = {label: i for i, label in enumerate(classes.tolist())}

    def _is_ignored(self, label: Any) -> bool:
        return is_missing(label) or (self._ignore is not None and label == self._ignore)

    def _encode(self, labels: list[Any], name: str, unknown: list[Any] | None) -> NDArray[np.int32]:
        """Return the ids of labels; unknown ones are appended to `unknown`, or are an error."""
        ids = np.full(len(labels), IGNORED_ID, np.int32)
        for i, label in enumerate(labels):
            if _is_hashable(label) and label in self._ids:
                ids[i] = self._ids[label]
            elif not (self._steps and self._is_ignored(label)):
                if unknown is None or not self._may_be_a_label(label):
                    known = _shown(list(self._ids))
                    cure = "" if name == "X" else "; fit(.., classes=[..]) names all"
                    raise ValueError(
                        f"{name} must hold known labels ({known}), got {label!r}{cure}"
                    )
                unknown.append(label)
                ids[i] = UNKNOWN_ID
        return ids

    def _may_be_a_label(self, label: Any) -> bool:
        """Return whether a label is, as the classes, a string, or not a string."""
        known = next(iter(self._ids))
        return _is_hashable(label) and isinstance(label, str) == isinstance(known, str)


def _is_hashable(label: Any) -> bool:
    """Return whether a label can be compared with classes: a tuple of lists cannot."""
    try:
        hash(label)
    except TypeError:
        return False
    return True


def _label(name: str, value: Any) -> Any:
    """Check that `value` is a label in JSON types."""
    if value is not None and not isinstance(value, (str, int, float, np.number, np.bool_)):
        raise TypeError(f"{name} must be a string or a number, got {type(value).__name__}")
    return value


def _classes(labels: Any, dtype: Any) -> NDArray[Any]:
    """Return the array of classes with a dtype as in a file; strings as long as they are."""
    if not isinstance(labels, list) or not labels:
        raise ValueError(f"classes must be a list of at least one label, got {labels!r}")
    found = np.asarray([_label(f"classes[{i}]", label) for i, label in enumerate(labels)])
    try:
        kind = np.dtype(dtype).kind if isinstance(dtype, str) else ""
    except (TypeError, ValueError, SyntaxError):
        kind = ""
    if not kind or kind not in "biufUO":
        raise ValueError(f"dtype must be one of labels, got {dtype!r}")
    kinds = (np.dtype(dtype).kind.replace("u", "i"), found.dtype.kind.replace("u", "i"))
    mixed = found.dtype.kind == "U" and not all(isinstance(label, str) for label in labels)
    if mixed or kinds[0] not in (kinds[1], "O"):
        raise ValueError(f"classes must be of dtype {dtype}, got {found.dtype}")
    classes = found if found.dtype.kind == "U" else np.array(labels, dtype)
    if len(set(classes.tolist())) < len(labels):
        raise ValueError("classes must be distinct")
    return classes


def describe_classes(classes: NDArray[Any]) -> str:
    """Return the number of classes, and the first ones.

    Parameters
    ----------
    classes : array (K,)
        Classes.

    Returns
    -------
    str
    """
    count = len(classes)
    return f"{count} class{'' if count == 1 else 'es'}: {_shown(classes.tolist())}"


def _shown(labels: list[Any]) -> str:
    more = ", ..." if len(labels) > _MAX_SHOWN else ""
    return ", ".join(map(repr, labels[:_MAX_SHOWN])) + more


def _rows(y: Any, lengths: Any) -> list[list[Any]]:
    """Return the labels of every sequence, without padding."""
    y = unpacked(y, python=True)
    padded = hasattr(y, "__array__") and np.ndim(y) == 2
    checks.not_masked("y", y)
    y = np.asarray(y) if hasattr(y, "__array__") else y
    y = list(y) if isinstance(y, np.ndarray) and y.ndim else y
    if not isinstance(y, Sequence) or isinstance(y, (str, bytes)):
        raise TypeError(f"y must be a list of sequences of labels, got {type(y).__name__}")
    rows = [_labels(f"y[{i}]", row, steps=True) for i, row in enumerate(y)]
    if lengths is None:
        return rows
    counts = checks.array_of("lengths", np.asarray(lengths), "iu", 1).tolist()
    if len(rows) != len(counts):
        raise ValueError(f"y must have {len(counts)} sequences, as X, got {len(rows)}")
    for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
        if len(row) < count or (len(row) > count and not padded):
            raise ValueError(
                f"y[{i}] must have a label for each of the {count} steps of X[{i}], got {len(row)}"
            )
    return [row[:count] for row, count in zip(rows, counts, strict=True)]


def _labels(name: str, y: Any, *, steps: bool = False) -> list[Any]:
    """Return labels as a list; with `steps`, those of one sequence, which may be a string."""
    if isinstance(y, list):
        return y
    if hasattr(y, "__array__"):
        checks.not_masked(name, y)
        array = np.asarray(y)
        if array.ndim == 2 and array.shape[1] == 1 and not steps:
            array = array[:, 0]
        if array.ndim != 1:
            raise ValueError(
                f"{name} must have shape ({'T' if steps else 'B'},), got {array.shape}"
            )
        return list(array.tolist())
    if not isinstance(y, Sequence) or (isinstance(y, str) and not steps):
        raise TypeError(f"{name} must be a list or an array of labels, got {type(y).__name__}")
    return list(y)


def _sorted(labels: set[Any]) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError as error:
        raise _unsortable(error) from None


def _unsortable(error: TypeError) -> TypeError:
    return TypeError(f"y must hold labels that can be sorted: {error}")


def _check_no_fractions(classes: list[Any]) -> None:
    """Check that no class has a fraction; scikit-learn's checks require these words."""
    for label in classes:
        if isinstance(label, (float, np.floating)) and not np.isfinite(label):
            raise ValueError("Input y contains NaN or infinity: labels must be finite")
        if isinstance(label, (float, np.floating)) and label % 1 != 0:
            raise ValueError(f"Unknown label type: y must hold classes, got {label}")
