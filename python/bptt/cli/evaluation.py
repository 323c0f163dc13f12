"""Evaluation of a model on held-out sequences, compared with baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bptt.cli.baselines import (
    NAIVE,
    is_iob,
    naive_forecasts,
    ngram_bits,
    predict_labels,
    token_pairs,
)
from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, Schema, stack_targets
from bptt.metrics import span_f1, spans


class Evaluation(NamedTuple):
    """Metric of a model and of its baselines, which know the training targets only."""

    metric: str
    value: float
    baselines: list[tuple[str, float]]
    """Name and value of each."""
    size: int
    """Number of sequences, steps, spans or tokens."""
    unit: str
    higher_is_better: bool = True

    @property
    def best_baseline(self) -> tuple[str, float]:
        """Name and value of the best baseline."""
        best = max if self.higher_is_better else min
        return best(self.baselines, key=lambda pair: pair[1])

    @property
    def is_better(self) -> bool:
        """Whether the model beats the baselines, or makes no error."""
        if self.higher_is_better:
            return self.value > self.best_baseline[1] or self.value == 1.0
        return self.value < self.best_baseline[1]

    def __str__(self) -> str:
        """Return a line with the metric of the model, and one for each baseline."""
        write = "{:.1%}".format if self.higher_is_better else "{:.4g}".format
        unit = self.unit.removesuffix("s") if self.size == 1 else self.unit
        lines = [f"{self.metric} on {self.size:,} {unit}: {write(self.value)}"]
        return "\n".join([*lines, *(f"baseline, {n}: {write(v)}" for n, v in self.baselines)])


def compare_with_baselines(evaluations: Sequence[Evaluation]) -> str:
    """Return a sentence if the model is no better than a baseline, for some target; else ''."""
    is_span = evaluations[0].unit == "spans"  # else one for each target
    main = evaluations[:1] if is_span else evaluations
    worse = [evaluation for evaluation in main if not evaluation.is_better]
    if not worse:
        return ""
    name = worse[0].best_baseline[0]
    cure = "try more data, more --epochs or another model."
    metrics = " and the ".join(evaluation.metric for evaluation in worse)
    of = f" in the {metrics}" if len(worse) < len(main) else ""
    if name.startswith(NAIVE):
        return f"The {name}, wins{of}: forecast with it, or {cure}"
    return f"No better than the baseline{of}: {cure}"


def evaluate(
    model: Any,
    task: str,
    train: list[Any],
    validation: tuple[list[Any], list[Any] | None],
    schema: Schema,
    baseline: dict[str, Any],
) -> list[Evaluation]:
    """Return the evaluations of a model on held-out sequences and targets.

    Parameters
    ----------
    model : estimator
        Fitted.
    task : str
    train : list
        Training sequences, for the baseline of a language model.
    validation : (X, y)
        Held-out data. y is None for language models.
    schema : Schema
    baseline : dict
        As of `bptt.cli.baselines.fit_baseline`.
    """
    X, y = validation
    if task == LANGUAGE:
        return [_evaluate_language_model(model, train, X)]
    assert y is not None
    return evaluate_predictions(task, model.predict(X), y, X, schema, baseline)


def evaluate_predictions(
    task: str,
    predictions: Sequence[Any],
    y: Sequence[Any],
    X: Sequence[Any],
    schema: Schema,
    baseline: dict[str, Any],
) -> list[Evaluation]:
    """Return the evaluations of predictions for the targets y of the sequences X.

    Regression: one for each target. Tagging with B-, I- and O labels: spans, then steps.

    Parameters
    ----------
    task : str
    predictions, y, X : sequences
    schema : Schema
    baseline : dict
        As of `bptt.cli.baselines.fit_baseline`.
    """
    if task == REGRESSION:
        return _evaluate_numbers(predictions, y, X, schema, baseline)
    constant = baseline["constant"]
    if task == CLASSIFICATION:
        correct = np.mean([label == wanted for label, wanted in zip(predictions, y, strict=True)])
        baseline_correct = np.mean([label == constant for label in y])
        baselines = [(f"always {constant!r}", float(baseline_correct))]
        return [Evaluation("accuracy", float(correct), baselines, len(y), "sequences")]
    name = (
        "most frequent label of every token" if "by_token" in baseline else f"always {constant!r}"
    )
    guesses = [predict_labels(baseline, x) for x in X]
    count = sum(map(len, y))

    def accuracy(labels: Sequence[Any]) -> float:
        pairs = zip(labels, y, strict=True)
        return float(sum(np.sum(np.asarray(a) == np.asarray(b)) for a, b in pairs) / count)

    steps = Evaluation(
        "accuracy", accuracy(predictions), [(name, accuracy(guesses))], count, "steps"
    )
    if not is_iob(y):
        return [steps]
    wanted = [spans(row) for row in y]
    found, guessed = (
        [spans([str(a) for a in row]) for row in rows] for rows in (predictions, guesses)
    )
    size = sum(map(len, wanted))
    f1 = Evaluation(
        "span F1", span_f1(found, wanted), [(name, span_f1(guessed, wanted))], size, "spans"
    )
    return [f1, steps]


def _evaluate_numbers(
    predictions: Sequence[Any],
    y: Sequence[Any],
    X: Sequence[Any],
    schema: Schema,
    baseline: dict[str, Any],
) -> list[Evaluation]:
    predicted, wanted = stack_targets(predictions, schema), stack_targets(y, schema)
    unit = "steps" if schema.per_step else "sequences"
    found = []
    for k, column in enumerate(schema.targets):
        mean = baseline["constant"][k]
        guesses = [(f"training mean {mean:.4g}", np.full(len(wanted), mean))]
        guesses += naive_forecasts(baseline["naive"][k], X, schema)
        errors = [(name, float(np.abs(guess - wanted[:, k]).mean())) for name, guess in guesses]
        metric = "mean absolute error" + (f" of {column!r}" if len(schema.targets) > 1 else "")
        error = float(np.abs(predicted[:, k] - wanted[:, k]).mean())
        found.append(Evaluation(metric, error, errors, len(wanted), unit, False))
    return found


def _evaluate_language_model(model: Any, train: list[Any], X: list[Any]) -> Evaluation:
    token = "character" if model.tokens == "characters" else "token"
    encoder = model.target_encoder_
    return Evaluation(
        f"bits per {token}",
        -model.score(X),
        [(f"{token} bigram counts", ngram_bits(encoder, train, X))],
        sum(1 for _ in token_pairs(encoder, X)),
        f"{token}s",
        False,
    )
