"""Evaluation of a model on held-out sequences, compared with a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bptt.cli.baselines import fit_baseline, ngram_bits, token_pairs
from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, Schema


class Evaluation(NamedTuple):
    """Metric of a model and of the baseline, which knows the training targets only."""

    metric: str
    value: float
    baseline: float
    baseline_name: str
    size: int
    """Number of sequences, steps or tokens."""
    unit: str
    higher_is_better: bool = True

    @property
    def is_better(self) -> bool:
        """Whether the model beats the baseline, or makes no error."""
        if self.higher_is_better:
            return self.value > self.baseline or self.value == 1.0
        return self.value < self.baseline

    def __str__(self) -> str:
        """Return two lines: the metric of the model and of the baseline."""
        write = "{:.1%}".format if self.higher_is_better else "{:.4g}".format
        return (
            f"{self.metric} on {self.size:,} {self.unit}: {write(self.value)}\n"
            f"baseline, {self.baseline_name}: {write(self.baseline)}"
        )


def evaluate(
    model: Any,
    task: str,
    schema: Schema,
    train: tuple[list[Any], list[Any] | None],
    validation: tuple[list[Any], list[Any] | None],
) -> Evaluation:
    """Return the evaluation of a model on held-out sequences and targets.

    Parameters
    ----------
    model : estimator
        Fitted.
    task : str
    schema : Schema
    train, validation : (X, y)
        Training data, for the baseline, and held-out data. y is None for language models.
    """
    X, y = validation
    if task == LANGUAGE:
        return _evaluate_language_model(model, train[0], X)
    assert y is not None
    assert train[1] is not None
    baseline = fit_baseline(task, schema, train[0], train[1])
    return evaluate_predictions(task, model.predict(X), y, X, baseline)


def evaluate_predictions(
    task: str,
    predictions: Sequence[Any],
    y: Sequence[Any],
    X: Sequence[Any],
    baseline: dict[str, Any],
) -> Evaluation:
    """Return the evaluation of predictions for the targets y of the sequences X.

    Parameters
    ----------
    task : str
    predictions, y, X : sequences
    baseline : dict
        As of `bptt.cli.baselines.fit_baseline`.
    """
    constant = baseline["constant"]
    if task == REGRESSION:
        target = np.asarray(y)
        error = float(np.abs(np.asarray(predictions) - target).mean())
        baseline_error = float(np.abs(constant - target).mean())
        name = f"training mean {constant:.4g}"
        unit = "sequences"
        return Evaluation("mean absolute error", error, baseline_error, name, len(y), unit, False)
    if task == CLASSIFICATION:
        correct = np.mean([label == wanted for label, wanted in zip(predictions, y, strict=True)])
        baseline_correct = np.mean([label == constant for label in y])
        name, size, unit = f"always {constant!r}", len(y), "sequences"
    else:
        by_token = baseline.get("by_token", {})
        steps = [
            (label == wanted, by_token.get(token, constant) == wanted)
            for sequence, labels, row in zip(X, predictions, y, strict=True)
            for token, label, wanted in zip(
                sequence if by_token else [None] * len(sequence), labels, row, strict=True
            )
        ]
        correct, baseline_correct = np.mean(steps, axis=0)
        name = "most frequent label of every token" if by_token else f"always {constant!r}"
        size, unit = len(steps), "steps"
    return Evaluation("accuracy", float(correct), float(baseline_correct), name, size, unit)


def _evaluate_language_model(model: Any, train: list[Any], X: list[Any]) -> Evaluation:
    token = "character" if model.tokens == "characters" else "token"
    encoder = model.target_encoder_
    return Evaluation(
        f"bits per {token}",
        -model.score(X),
        ngram_bits(encoder, train, X),
        f"{token} bigram counts",
        sum(1 for _ in token_pairs(encoder, X)),
        f"{token}s",
        False,
    )
