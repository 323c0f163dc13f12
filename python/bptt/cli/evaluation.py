"""How good a model is on sequences it has not learned from, beside a plain baseline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bptt.cli.baselines import count_bits, fit_baseline, token_pairs
from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, Schema


class Evaluation(NamedTuple):
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
    form: Schema,
    learned: tuple[list[Any], list[Any] | None],
    held_out: tuple[list[Any], list[Any] | None],
) -> Evaluation:
    """Return the figure of a task, on sequences and targets that were held out."""
    X, y = held_out
    if task == LANGUAGE:
        return _evaluate_language_model(model, learned[0], X)
    known = learned[1]
    assert y is not None
    assert known is not None
    baseline = fit_baseline(task, form, learned[0], known)
    return compare(task, model.predict(X), y, X, baseline)


def compare(
    task: str, found: Sequence[Any], y: Sequence[Any], X: Sequence[Any], baseline: dict[str, Any]
) -> Evaluation:
    """Return the figure of predictions for the targets y."""
    always = baseline["always"]
    if task == REGRESSION:
        target = np.asarray(y)
        error = float(np.abs(np.asarray(found) - target).mean())
        guessed = float(np.abs(always - target).mean())
        name = f"always the mean, {always:.4g}"
        return Evaluation("mean absolute error", error, guessed, name, len(y), "sequences", False)
    if task == CLASSIFICATION:
        right = np.mean([label == wanted for label, wanted in zip(found, y, strict=True)])
        guessed = np.mean([label == always for label in y])
        name = f"always {always!r}"
        return Evaluation("accuracy", float(right), float(guessed), name, len(y), "sequences")
    of_token = baseline.get("of token", {})
    steps = [
        (label == wanted, of_token.get(token, always) == wanted)
        for tokens, labels, row in zip(X, found, y, strict=True)
        for token, label, wanted in zip(_keys(tokens, of_token), labels, row, strict=True)
    ]
    right, guessed = np.mean(steps, axis=0)
    name = "every token's commonest label" if of_token else f"always {always!r}"
    return Evaluation("accuracy", float(right), float(guessed), name, len(steps), "steps")


def _keys(sequence: Any, of_token: dict[str, Any]) -> Iterable[Any]:
    return sequence if of_token else [None] * len(sequence)


def _evaluate_language_model(model: Any, learned: list[Any], X: list[Any]) -> Evaluation:
    """Bits per token, beside counts of which token comes after which."""
    token = "character" if model.tokens == "characters" else "token"
    count = sum(1 for _ in token_pairs(model.target_encoder_, X))
    return Evaluation(
        f"bits per {token}",
        -model.score(X),
        count_bits(model.target_encoder_, learned, X),
        f"counts of pairs of {token}s",
        count,
        f"{token}s",
        False,
    )
