"""How good a model is on sequences it has not learned from, beside a plain baseline."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, Form
from bptt.data.target_encoder import TargetEncoder


class Figure(NamedTuple):
    """One figure of a model, and the same of who knows nothing but the training data."""

    name: str
    value: float
    baseline: float
    baseline_name: str
    size: int
    """Of how many sequences, or steps."""
    counted: str
    higher_is_better: bool = True

    @property
    def is_better(self) -> bool:
        """Whether the model beats the baseline, or makes no error at all."""
        if self.higher_is_better:
            return self.value > self.baseline or self.value == 1.0
        return self.value < self.baseline

    def __str__(self) -> str:
        """Return a sentence of two lines."""
        write = "{:.1%}".format if self.higher_is_better else "{:.4g}".format
        return (
            f"{self.name} on {self.size:,} {self.counted}: {write(self.value)}\n"
            f"baseline, {self.baseline_name}: {write(self.baseline)}"
        )


def judge(
    model: Any,
    task: str,
    form: Form,
    learned: tuple[list[Any], list[Any] | None],
    held_out: tuple[list[Any], list[Any] | None],
) -> Figure:
    """Return the figure of a task, on sequences and targets that were held out."""
    X, y = held_out
    if task == LANGUAGE:
        return _bits(model, learned[0], X)
    known = learned[1]
    assert y is not None
    assert known is not None
    baseline = baseline_of(task, form, learned[0], known)
    return compare(task, model.predict(X), y, X, baseline)


def baseline_of(task: str, form: Form, X: Sequence[Any], y: Sequence[Any]) -> dict[str, Any]:
    """Return what the baseline of a task remembers of the training data, fit for JSON."""
    if task == REGRESSION:
        return {"always": float(np.mean(y))}
    if task == CLASSIFICATION:
        return {"always": _commonest(y)}
    always = _commonest(label for labels in y for label in labels)
    if form.holds == "numbers":
        return {"always": always}
    counts: defaultdict[str, Counter[Any]] = defaultdict(Counter)
    for tokens, labels in zip(X, y, strict=True):
        for token, label in zip(tokens, labels, strict=True):
            counts[token][label] += 1
    return {"always": always, "of token": {t: _commonest(c.elements()) for t, c in counts.items()}}


def compare(
    task: str, found: Sequence[Any], y: Sequence[Any], X: Sequence[Any], baseline: dict[str, Any]
) -> Figure:
    """Return the figure of predictions for the targets y."""
    always = baseline["always"]
    if task == REGRESSION:
        target = np.asarray(y)
        error = float(np.abs(np.asarray(found) - target).mean())
        guessed = float(np.abs(always - target).mean())
        name = f"always the mean, {always:.4g}"
        return Figure("mean absolute error", error, guessed, name, len(y), "sequences", False)
    if task == CLASSIFICATION:
        right = np.mean([label == wanted for label, wanted in zip(found, y, strict=True)])
        guessed = np.mean([label == always for label in y])
        name = f"always {always!r}"
        return Figure("accuracy", float(right), float(guessed), name, len(y), "sequences")
    of_token = baseline.get("of token", {})
    steps = [
        (label == wanted, of_token.get(token, always) == wanted)
        for tokens, labels, row in zip(X, found, y, strict=True)
        for token, label, wanted in zip(_keys(tokens, of_token), labels, row, strict=True)
    ]
    right, guessed = np.mean(steps, axis=0)
    name = "every token's commonest label" if of_token else f"always {always!r}"
    return Figure("accuracy", float(right), float(guessed), name, len(steps), "steps")


def _keys(sequence: Any, of_token: dict[str, Any]) -> Iterable[Any]:
    return sequence if of_token else [None] * len(sequence)


def _commonest(labels: Iterable[Any]) -> Any:
    return Counter(labels).most_common(1)[0][0]


def _bits(model: Any, learned: list[Any], X: list[Any]) -> Figure:
    """Bits per token, beside counts of which token comes after which."""
    token = "character" if model.tokens == "characters" else "token"
    count = sum(1 for _ in _pairs(model.target_encoder_, X))
    return Figure(
        f"bits per {token}",
        -model.score(X),
        count_bits(model.target_encoder_, learned, X),
        f"counts of pairs of {token}s",
        count,
        f"{token}s",
        False,
    )


def count_bits(
    encoder: TargetEncoder, learned: Sequence[Any], X: Sequence[Any], *, pairs: bool = True
) -> float:
    """Return the bits per token that a model of mere counts needs for X.

    It has counted in `learned` how often every token comes, after every other one with `pairs`;
    each count is one more, so that nothing is impossible.
    """
    follows: Counter[tuple[int, int]] = Counter()
    totals: Counter[int] = Counter()
    for before, after in _pairs(encoder, learned):
        follows[before * pairs, after] += 1
        totals[before * pairs] += 1
    bits = [
        math.log2((totals[before * pairs] + encoder.size) / (follows[before * pairs, after] + 1))
        for before, after in _pairs(encoder, X)
    ]
    return sum(bits) / len(bits)


def _pairs(encoder: TargetEncoder, X: Sequence[Any]) -> Iterable[tuple[int, int]]:
    """Yield the ids of all tokens, each with the one before."""
    sequences = encoder.transform(X)
    for i in range(len(sequences)):
        yield from pairwise([encoder.start, *sequences[i].tolist(), encoder.stop])
