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


def fit_baseline(task: str, schema: Schema, X: Sequence[Any], y: Sequence[Any]) -> dict[str, Any]:
    """Return the parameters of the baseline of a task.

    Parameters
    ----------
    task : str
        Classification, regression or tagging.
    schema : Schema
    X, y : sequences
        Training sequences and targets.

    Returns
    -------
    dict
        "constant": the mean or the most frequent label. For tagging of tokens also "by_token": the
        most frequent label of every token.
    """
    if task == REGRESSION:
        return {"constant": float(np.mean(y))}
    if task == CLASSIFICATION:
        return {"constant": _most_frequent(y)}
    constant = _most_frequent(label for labels in y for label in labels)
    if schema.content == "numbers":
        return {"constant": constant}
    counts: defaultdict[str, Counter[Any]] = defaultdict(Counter)
    for tokens, labels in zip(X, y, strict=True):
        for token, label in zip(tokens, labels, strict=True):
            counts[token][label] += 1
    by_token = {token: count.most_common(1)[0][0] for token, count in counts.items()}
    return {"constant": constant, "by_token": by_token}


def ngram_bits(
    encoder: TargetEncoder, train: Sequence[Any], X: Sequence[Any], *, n: int = 2
) -> float:
    """Return the cross-entropy of an n-gram model on X, in bits per token.

    Parameters
    ----------
    encoder : TargetEncoder
    train, X : sequences
        Texts in which the n-grams are counted, with add-one smoothing, and texts to evaluate.
    n : int
        1 for unigrams, 2 for bigrams.
    """
    bigrams = n == 2
    follows: Counter[tuple[int, int]] = Counter()
    totals: Counter[int] = Counter()
    for before, after in token_pairs(encoder, train):
        follows[before * bigrams, after] += 1
        totals[before * bigrams] += 1
    bits = [
        math.log2(
            (totals[before * bigrams] + encoder.size) / (follows[before * bigrams, after] + 1)
        )
        for before, after in token_pairs(encoder, X)
    ]
    return sum(bits) / len(bits)


def token_pairs(encoder: TargetEncoder, X: Sequence[Any]) -> Iterable[tuple[int, int]]:
    """Yield the ids of all adjacent tokens, with the start and stop tokens of every sequence."""
    sequences = encoder.transform(X)
    for i in range(len(sequences)):
        yield from pairwise([encoder.start, *sequences[i].tolist(), encoder.stop])


def _most_frequent(labels: Iterable[Any]) -> Any:
    return Counter(labels).most_common(1)[0][0]
