"""How far what has been written is from what should have been."""

from __future__ import annotations

from collections.abc import Sequence

from bptt._core import checks


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
