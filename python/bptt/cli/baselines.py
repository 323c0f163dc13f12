"""Baselines: constants, the most frequent label of each token, naive forecasts, n-gram counts."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.cli.schema import CLASSIFICATION, REGRESSION, Schema, filled_numbers, stack_targets
from bptt.data.target_encoder import TargetEncoder

NAIVE = "naive forecast"
_MAX_LAG = 400  # steps
_VALID = 0.99
_IOB = re.compile(r"O|[BI]-.+")


def fit_baseline(task: str, schema: Schema, X: Sequence[Any], y: Sequence[Any]) -> dict[str, Any]:
    """Return the parameters of the baselines of a task, in JSON types.

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
        "constant": the most frequent label, or the list of the targets' means. For tagging of
        tokens also "by_token": the most frequent label of every token for which it is another. For
        regression also "naive": for every target a list of pairs (number, feature), see
        `naive_forecasts`.
    """
    if task == REGRESSION:
        targets = stack_targets(y, schema)
        X, means = _naive_inputs(X, schema), targets.mean(axis=0)
        naive = [_fit_naive(X, column, schema) for column in targets.T]
        return {"constant": means.tolist(), "naive": naive}
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
    other = {token: label for token, label in by_token.items() if label != constant}
    return {"constant": constant, "by_token": other}


def predict_labels(baseline: dict[str, Any], tokens: Sequence[Any]) -> list[Any]:
    """Return the labels of a sequence by the baseline of a tagger."""
    by_token, constant = baseline.get("by_token"), baseline["constant"]
    if by_token is None:
        return [constant] * len(tokens)
    return [by_token.get(token, constant) for token in tokens]


def is_iob(y: Iterable[Iterable[Any]]) -> bool:
    """Return whether labels are "B-kind", "I-kind" and "O", with at least one "B-kind"."""
    labels = {label for row in y for label in row}
    return any(str(label)[:2] == "B-" for label in labels) and all(
        isinstance(label, str) and _IOB.fullmatch(label) for label in labels
    )


def has_valid_spans(y: Sequence[Sequence[Any]]) -> bool:
    """Return whether labels are B-, I- and O, with "I-x" after "B-x" or "I-x" (99% of them)."""
    if not is_iob(y):
        return False
    inside = [
        (a[2:] == b[2:] and a != "O") for row in y for a, b in pairwise(["O", *row]) if b[0] == "I"
    ]
    return not inside or sum(inside) >= _VALID * len(inside)


# ---- naive forecasts


def naive_forecasts(
    naive: Sequence[Sequence[int]], X: Sequence[Any], schema: Schema
) -> list[tuple[str, NDArray[np.float64]]]:
    """Return names and predictions of the naive forecasts: a number of the sequence itself.

    Parameters
    ----------
    naive : sequence of pairs (number, feature)
        Number of a step from the end; 1 is the last.
    X : sequence of B arrays (T, I)
    schema : Schema
    """
    forecasts = []
    X = _naive_inputs(X, schema)
    for lag, feature in naive:
        of = f" of {schema.inputs[feature]!r}" if schema.layout == "rows" else ""
        name = f"last value{of}" if lag == 1 else f"value{of} {lag} from the end"
        values = np.array([x[-min(lag, len(x)), feature] for x in X])
        forecasts.append((f"{NAIVE}, {name}", values))
    return forecasts


def _naive_inputs(X: Sequence[Any], schema: Schema) -> Sequence[Any]:
    """Return the numbers before each target; before the target of a step, this step alone."""
    if schema.content != "numbers":
        return X
    X = filled_numbers(X, schema)
    if not schema.per_step:
        return X
    return list(np.concatenate(list(X))[:, np.newaxis])


def _fit_naive(X: Sequence[Any], y: NDArray[np.float64], schema: Schema) -> list[list[int]]:
    """Return the last value and the best earlier one that predict y better than its mean."""
    if schema.content != "numbers":
        return []
    steps = min(_MAX_LAG, min(map(len, X)))
    ends = np.stack([x[len(x) - steps :][::-1] for x in X])  # (B, lag, feature)
    errors = np.abs(ends - y[:, np.newaxis, np.newaxis]).mean(axis=0)
    errors = np.where(errors < np.abs(y - y.mean()).mean(), errors, np.inf)
    last = int(errors[0].argmin())
    found = [[1, last]] if np.isfinite(errors[0, last]) else []
    lag, feature = np.unravel_index(errors.argmin(), errors.shape)
    if lag and np.isfinite(errors[lag, feature]):
        found.append([int(lag) + 1, int(feature)])
    return found


# ---- n-grams


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
