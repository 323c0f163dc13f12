"""What weights of fewer bits change, on given data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.nn.module import Module


class CompressionReport(NamedTuple):
    """Outputs, scores and sizes of a model and of its compressed form; None where it has none.

    ``print(report)`` is a table.
    """

    largest: float | None
    """Largest difference of an output."""
    mean: float | None
    """Mean of the differences."""
    score: tuple[float, float] | None
    """Score of the model, and of the compressed one."""
    nbytes: tuple[int, int]
    """Bytes of all parameters of the model, and of the compressed one."""

    @property
    def score_loss(self) -> float | None:
        """By how much the score has fallen; negative where it has risen."""
        return None if self.score is None else self.score[0] - self.score[1]

    def __str__(self) -> str:
        lines = [("", "float32", "compressed"), ("bytes", *map("{:,}".format, self.nbytes))]
        if self.score is not None:
            lines.append(("score", *map("{:.6g}".format, self.score)))
        if self.largest is not None:
            lines.append(("largest difference", "", f"{self.largest:.3g}"))
            lines.append(("mean difference", "", f"{self.mean:.3g}"))
        return "\n".join(f"{name:18} {before:>14} {after:>14}" for name, before, after in lines)


def compression_report(
    model: Any,
    compressed: Any,
    x: Any,
    y: Any = None,
    *,
    lengths: Any = None,
    score: Callable[[Any], float] | None = None,
    max_difference: float | None = None,
    max_score_loss: float | None = None,
) -> CompressionReport:
    """Compare a model with its compressed form on data, and demand bounds.

    Parameters
    ----------
    model : Module, Sequential or estimator
        The original.
    compressed : the same
        What ``model.compressed(kind)`` has returned.
    x : array, or what the estimator takes
        Input. Outputs are those of ``model(x)``, of an estimator its `predict_proba`, or else its
        `predict`, if these are numbers.
    y : array or list, optional
        Targets, for an estimator's `score`. A `LanguageModel` needs none.
    lengths : integer array (B,), optional
        Number of steps of each sequence. All T by default.
    score : function, optional
        Output -> score, higher is better, instead of that of an estimator.
    max_difference : float, optional
        Bound of the largest difference of an output.
    max_score_loss : float, optional
        Bound of `CompressionReport.score_loss`.

    Returns
    -------
    CompressionReport

    Raises
    ------
    TypeError
        If `model` and `compressed` are of different classes, or an argument is wrong for them.
    ValueError
        If a bound is not met, or there is nothing to compare it with.
    """
    if not hasattr(model, "compressed"):
        kind = type(model).__name__
        raise TypeError(f"model must be a module, a Sequential or an estimator, got {kind}")
    if type(model) is not type(compressed):
        kinds = f"{type(model).__name__} and {type(compressed).__name__}"
        raise TypeError(f"model and compressed must be of the same class, got {kinds}")
    bounds = {
        name: None if bound is None else checks.real(name, bound)
        for name, bound in (("max_difference", max_difference), ("max_score_loss", max_score_loss))
    }
    if y is not None and (score is not None or not hasattr(model, "score")):
        raise TypeError(f"y needs the score of an estimator, got {type(y).__name__}")
    named = {} if lengths is None else {"lengths": lengths}
    outputs = [_output(one, x, named) for one in (model, compressed)]
    if score is not None:
        if not callable(score):
            raise TypeError(f"score must be a function of the output, got {type(score).__name__}")
        scores = [float(score(output)) for output in outputs]
    else:
        scores = [float(one.score(x, y, **named)) for one in (model, compressed) if _scores(one, y)]
    largest = mean = None
    numbers = [_numbers(output) for output in outputs]
    if numbers[0] is not None and numbers[1] is not None:
        differences = np.abs(numbers[0] - numbers[1])
        largest = float(differences.max(initial=0.0))
        mean = float(differences.mean()) if differences.size else 0.0
    report = CompressionReport(
        largest, mean, (scores[0], scores[1]) if scores else None, (_size(model), _size(compressed))
    )
    _check("the largest difference", largest, "max_difference", bounds)
    _check("the loss of the score", report.score_loss, "max_score_loss", bounds)
    return report


def _check(what: str, found: float | None, name: str, bounds: Mapping[str, float | None]) -> None:
    bound = bounds[name]
    if bound is None:
        return
    if found is None:
        raise ValueError(f"{name} must be None where {what} is not known, got {bound}")
    if not found <= bound:  # NaN as well
        raise ValueError(f"{what} must be <= {name} = {bound:g}, got {found:g}")


def _output(model: Any, x: Any, named: Mapping[str, Any]) -> Any:
    for name in ("predict_proba", "predict"):
        if hasattr(model, name):
            return getattr(model, name)(x, **named)
    if not callable(model):  # an estimator that has a score alone
        return None
    output = model(x, **named)
    return output[0] if isinstance(output, tuple) else output


def _scores(model: Any, y: Any) -> bool:
    """Return whether a model has a score with these targets."""
    score = getattr(model, "score", None)
    return score is not None and (
        y is not None or inspect.signature(score).parameters["y"].default is None
    )


def _numbers(output: Any) -> NDArray[np.float64] | None:
    """Return the numbers of an output, in one row; None if it has others."""
    parts = [np.asarray(part) for part in (output if isinstance(output, list) else [output])]
    if not parts or not all(part.dtype.kind == "f" for part in parts):
        return None
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.float64)


def _size(model: Any) -> int:
    task = getattr(model, "_task", None)  # of a fitted estimator
    modules = [model] if isinstance(model, Module) else (task() if task else model).modules
    found = modules.values() if isinstance(modules, Mapping) else modules
    return sum(module._nbytes for module in found)
