"""Metrics: edit distance, error rate, and F1 score of spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bptt._core import checks

__all__ = ["Span", "edit_distance", "error_rate", "span_f1", "spans"]


def edit_distance(a: Sequence[object], b: Sequence[object]) -> int:
    """Return the Levenshtein distance: the minimum number of edits that turn `a` into `b`.

    An edit is the insertion, deletion or substitution of a token: V. Levenshtein (1966), Binary
    codes capable of correcting deletions, insertions and reversals.

    Parameters
    ----------
    a, b : sequences
        Strings, or lists of tokens.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If an argument is not a sequence.
    """
    a, b = checks.items("a", a, text=True), checks.items("b", b, text=True)
    row = list(range(len(b) + 1))  # distances of a[:i] to all prefixes of b
    for i, x in enumerate(a, start=1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + bool(x != y))
    return row[-1]


def error_rate(
    predicted: Sequence[Sequence[object]], expected: Sequence[Sequence[object]]
) -> float:
    """Return the number of edits per expected token.

    The character error rate (CER) of strings, the word error rate (WER) of lists of words.

    Parameters
    ----------
    predicted : sequence of B sequences
        Predictions, as of `EncoderDecoder.predict`.
    expected : sequence of B sequences
        References.

    Returns
    -------
    float
        0 if all predictions are right; above 1 if there are more edits than expected tokens.

    Raises
    ------
    TypeError
        If an argument, or an item, is not a sequence.
    ValueError
        If the numbers of sequences differ, or `expected` has no tokens.
    """
    predicted, expected = checks.items("predicted", predicted), checks.items("expected", expected)
    if len(predicted) != len(expected):
        rule = f"predicted must have {len(expected)} sequences, as expected"
        raise ValueError(f"{rule}, got {len(predicted)}")
    read = [checks.items(f"expected[{i}]", item, text=True) for i, item in enumerate(expected)]
    tokens = checks.integer("the number of tokens in expected", sum(map(len, read)))
    found = [checks.items(f"predicted[{i}]", item, text=True) for i, item in enumerate(predicted)]
    return sum(map(edit_distance, found, read)) / tokens


class Span(NamedTuple):
    """A labeled span of consecutive tokens: start .. stop − 1."""

    start: int
    """Index of the first token."""
    stop: int
    """Index after the last token."""
    kind: str
    """Kind of entity, such as "person"."""


def spans(labels: Sequence[str]) -> set[Span]:
    """Return the spans encoded by IOB labels.

    L. Ramshaw and M. Marcus (1995), Text chunking using transformation-based learning. An "I-kind"
    that does not continue a span of its kind begins a new one.

    Parameters
    ----------
    labels : sequence of str
        Labels of one sequence: "B-kind" for the first token of a span, "I-kind" for the following
        ones, "O" outside.

    Returns
    -------
    set of Span

    Raises
    ------
    TypeError
        If the labels are not a sequence of strings.
    ValueError
        If a label is not of these forms.
    """
    labels = checks.items("labels", labels)
    found: set[Span] = set()
    start, kind = 0, ""
    for i, label in enumerate([*labels, "O"]):
        checks.iob_label("labels", label)
        if label[0] != "I" or label[2:] != kind:
            if kind:
                found.add(Span(start, i, kind))
            start, kind = i, label[2:]
    return found


def span_f1(
    predicted: Sequence[set[Span]], expected: Sequence[set[Span]], kind: str | None = None
) -> float:
    """Return the micro-averaged F1 score of spans.

    A predicted span is correct if start, stop and kind are.

    Parameters
    ----------
    predicted : sequence of B sets of Span
        Predictions, as returned by `spans`.
    expected : sequence of B sets of Span
        References.
    kind : str, optional
        Restrict the score to spans of this kind.

    Returns
    -------
    float
        2 · correct / (predicted + expected), in [0, 1]; 0 if there are no spans.

    Raises
    ------
    TypeError
        If an item is not a set of spans, such as a list of labels.
    ValueError
        If the numbers of sequences differ.
    """
    predicted, expected = checks.items("predicted", predicted), checks.items("expected", expected)
    if len(predicted) != len(expected):
        rule = f"predicted must have {len(expected)} sets, as expected"
        raise ValueError(f"{rule}, got {len(predicted)}")
    for name, sets in (("predicted", predicted), ("expected", expected)):
        for found in sets:
            if not isinstance(found, (set, frozenset)):
                raise TypeError(
                    f"{name} must hold sets of spans, got {type(found).__name__}: "
                    f"use [spans(labels) for labels in {name}]"
                )
            for span in found:
                if not isinstance(span, Span):
                    got = type(span).__name__
                    raise TypeError(f"{name} must hold sets of spans, got a set with {got}")

    def count(sets: Sequence[set[Span]]) -> int:
        return sum(kind in (None, span.kind) for spans in sets for span in spans)

    correct = [a & b for a, b in zip(predicted, expected, strict=True)]
    return 2 * count(correct) / max(count(predicted) + count(expected), 1)
