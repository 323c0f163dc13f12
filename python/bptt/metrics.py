"""How far what has been written is from what should have been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks

__all__ = [
    "Span",
    "edit_distance",
    "error_rate",
    "likeliest_labels",
    "span_f1",
    "spans",
]


def edit_distance(a: Sequence[object], b: Sequence[object]) -> int:
    """Return how many tokens must be put in, left out or changed to make `b` of `a`.

    V. Levenshtein (1966), Binary codes capable of correcting deletions, insertions and reversals.

    Parameters
    ----------
    a, b : sequences
        Strings, or lists of tokens.
    """
    row = list(range(len(b) + 1))  # of the tokens of a so far to every beginning of b
    for i, x in enumerate(a, start=1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def error_rate(found: Sequence[Sequence[object]], wanted: Sequence[Sequence[object]]) -> float:
    """Return the edits that `found` needs for each token of `wanted`.

    Of strings this is the character error rate, of lists of words the word error rate.

    Parameters
    ----------
    found, wanted : sequences of B sequences
        What `EncoderDecoder.predict` has written, and the right sequences.

    Returns
    -------
    float
        0 if all is right; more than 1 if there are more edits than tokens.

    Raises
    ------
    ValueError
        If there is not one of `found` for each of `wanted`, or `wanted` has no tokens.
    """
    if len(found) != len(wanted):
        raise ValueError(f"found must have {len(wanted)} sequences, as wanted, got {len(found)}")
    tokens = sum(map(len, wanted))
    checks.integer("the number of tokens in wanted", tokens)
    return sum(map(edit_distance, found, wanted)) / tokens


class Span(NamedTuple):
    """Some words in a row: those at start .. stop - 1."""

    start: int
    stop: int
    kind: str


def spans(labels: Sequence[str]) -> set[Span]:
    """Return the spans that the labels of one sequence spell.

    An "I-kind" that continues nothing of its kind begins a span.

    Raises
    ------
    ValueError
        If a label is no such label.
    """
    found: set[Span] = set()
    start, kind = 0, ""
    for i, label in enumerate([*labels, "O"]):
        _check(label)
        if label[0] != "I" or label[2:] != kind:
            if kind:
                found.add(Span(start, i, kind))
            start, kind = i, label[2:]
    return found


def span_f1(
    found: Sequence[set[Span]], wanted: Sequence[set[Span]], kind: str | None = None
) -> float:
    """Return the harmonic mean of precision and recall of spans, each wholly right or wrong.

    Parameters
    ----------
    found, wanted : sequences of B sets of spans
        As `spans` returns them.
    kind : str, optional
        Count those of this kind alone.

    Returns
    -------
    float
        2 · right / (number found + number wanted), in [0, 1]; 0 if there are none.

    Raises
    ------
    ValueError
        If there is not one of `found` for each of `wanted`.
    """
    if len(found) != len(wanted):
        raise ValueError(f"found must have {len(wanted)} sets, as wanted, got {len(found)}")

    def count(sets: Sequence[set[Span]]) -> int:
        return sum(kind in (None, span.kind) for spans in sets for span in spans)

    right = [a & b for a, b in zip(found, wanted, strict=True)]
    return 2 * count(right) / max(count(found) + count(wanted), 1)


def likeliest_labels(
    probabilities: NDArray[np.floating[Any]], classes: Sequence[str]
) -> NDArray[np.str_]:
    """Return the likeliest labels that fit together: "I-x" comes behind "B-x" or "I-x" alone.

    A. Viterbi (1967), Error bounds for convolutional codes and an asymptotically optimum decoding
    algorithm: of all allowed sequences, that with the largest product of probabilities.

    Parameters
    ----------
    probabilities : array (T, K)
        Of every label at every step, as `SequenceTagger.predict_proba` returns them.
    classes : sequence of K labels
        As ``SequenceTagger.classes_``.

    Returns
    -------
    array (T,)

    Raises
    ------
    ValueError
        If the shape does not fit, or a class is no such label.
    """
    names = np.asarray(classes)
    if np.ndim(probabilities) != 2 or probabilities.shape[1] != len(names):
        rule = f"(T, number of classes) = (T, {len(names)})"
        raise ValueError(f"probabilities must have shape {rule}, got {np.shape(probabilities)}")
    for label in names.tolist():
        _check(label)
    if not len(probabilities):
        return names[:0]
    free = np.array([label[0] != "I" for label in names])
    same = np.array([[a[1:] == b[1:] for b in names] for a in names])
    wrong = np.where(free | same, 0.0, -np.inf)  # from a to b
    with np.errstate(divide="ignore"):
        scores = np.log(probabilities)
    best = np.where(free, scores[0], -np.inf)  # of all ways to each label
    origins: list[NDArray[np.int64]] = []
    for score in scores[1:]:
        ways = best[:, np.newaxis] + wrong
        origins.append(ways.argmax(axis=0))
        best = ways.max(axis=0) + score
    path = [int(best.argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return names[path[::-1]]


def _check(label: str) -> None:
    if label != "O" and (label[:2] not in ("B-", "I-") or len(label) == 2):
        raise ValueError(f"labels must be 'O', 'B-kind' or 'I-kind', got {label!r}")
