"""Baselines: constant predictions, the most frequent label of each token, and n-gram counts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bptt.cli.schema import CLASSIFICATION, REGRESSION, Schema
from bptt.data.target_encoder import TargetEncoder


def fit_baseline(task: str, form: Schema, X: Sequence[Any], y: Sequence[Any]) -> dict[str, Any]:
    """Return what the baseline of a task remembers of the training data, fit for JSON."""
    if task == REGRESSION:
        return {"always": float(np.mean(y))}
    if task == CLASSIFICATION:
        return {"always": _most_frequent(y)}
    always = _most_frequent(label for labels in y for label in labels)
    if form.content == "numbers":
        return {"always": always}
    counts: defaultdict[str, Counter[Any]] = defaultdict(Counter)
    for tokens, labels in zip(X, y, strict=True):
        for token, label in zip(tokens, labels, strict=True):
            counts[token][label] += 1
    return {
        "always": always,
        "of token": {t: _most_frequent(c.elements()) for t, c in counts.items()},
    }


def count_bits(
    encoder: TargetEncoder, learned: Sequence[Any], X: Sequence[Any], *, pairs: bool = True
) -> float:
    """Return the bits per token that a model of mere counts needs for X.

    It has counted in `learned` how often every token comes, after every other one with `pairs`;
    each count is one more, so that nothing is impossible.
    """
    follows: Counter[tuple[int, int]] = Counter()
    totals: Counter[int] = Counter()
    for before, after in token_pairs(encoder, learned):
        follows[before * pairs, after] += 1
        totals[before * pairs] += 1
    bits = [
        math.log2((totals[before * pairs] + encoder.size) / (follows[before * pairs, after] + 1))
        for before, after in token_pairs(encoder, X)
    ]
    return sum(bits) / len(bits)


def token_pairs(encoder: TargetEncoder, X: Sequence[Any]) -> Iterable[tuple[int, int]]:
    """Yield the ids of all tokens, each with the one before."""
    sequences = encoder.transform(X)
    for i in range(len(sequences)):
        yield from pairwise([encoder.start, *sequences[i].tolist(), encoder.stop])


def _most_frequent(labels: Iterable[Any]) -> Any:
    return Counter(labels).most_common(1)[0][0]
