"""Saliency: which steps an answer hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics import plots
from bptt.diagnostics._probe import Inside, labels_of
from bptt.nn.embedding import Embedding
from bptt.nn.sequential import Sequential

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Saliency:
    """How much one output changes when the input of a step does."""

    norms: FloatArray
    """(T,): ‖∂y/∂x_t‖."""
    gradient: FloatArray
    """(T, I): ∂y/∂x_t; x_t is the vector of a token: its embedding, or its one-hot vector."""
    output: Any
    """Which output y is: a number in [0, K), or a class or token of an estimator."""
    step: int | None
    """At which step y is; None if there is one output a sequence."""
    tokens: tuple[Any, ...] | None
    """What the steps are called; None if they are vectors of numbers."""

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot with `bptt.diagnostics.plots.plot_saliency`, whose parameters these are.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw into. By default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return plots.plot_saliency(self, ax)


def saliency(
    model: Any,
    x: Any,
    *,
    output: Any = None,
    step: int = -1,
    tokens: Sequence[Any] | None = None,
) -> Saliency:
    """Return the gradient of one output with respect to the input of every step.

    K. Simonyan, A. Vedaldi and A. Zisserman (2014), Deep inside convolutional networks: visualizing
    image classification models and saliency maps.

    Parameters
    ----------
    model : RNN, LSTM, GRU, Sequential or fitted estimator
        Outputs of classifiers, taggers and language models are logits. Of an estimator with
        ``scale=True``, output and input are the scaled ones; with ``feedback=True``, x_t has the
        predicted label of the step before behind it.
    x : float array (T, features), or integer array (T,); or, of an estimator, one sequence
        One sequence, without a batch axis.
    output : int, or class or token of an estimator, optional
        Which of the K outputs. By default the largest.
    step : int
        At which step, if there is an output at every step; -1 is the last.
    tokens : sequence (T,), optional
        What to call the steps.

    Returns
    -------
    Saliency

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or there is no such output or step.
    """
    if hasattr(model, "attention_weights"):
        kind = type(model).__name__
        raise TypeError(f"saliency needs a model of one chain, got {kind}: see attention_weights")
    inside = Inside.of(model, x)
    names = labels_of(tokens, inside)
    chain, vectors = _vectors(inside)
    run = chain.forward(vectors)
    y = run.output[0]
    if y.ndim == 2:
        place: int | None = _place("step", step, len(y))
        y = y[place]
    else:
        place = None
    number = int(y.argmax()) if output is None else _number(output, inside.answers, len(y))
    d_output = np.zeros_like(run.output)
    d_output[(0, number) if place is None else (0, place, number)] = 1.0
    gradient = run.backward(d_output).input
    assert gradient is not None
    called = number if inside.answers is None else inside.answers[number]
    return Saliency(np.linalg.norm(gradient[0], axis=1), gradient[0], called, place, names)


def _vectors(inside: Inside) -> tuple[Sequential, FloatArray]:
    """Return the chain behind its embedding, and the vectors that it reads, (1, T, I)."""
    chain, x = inside.chain, inside.x
    first: Any = chain.modules[0]
    if x.dtype.kind == "f":
        return chain, x
    if isinstance(first, Embedding):
        rest = Sequential(*chain.modules[1:], pool=chain.pool, skip_input=chain.skip_input)
        return rest, first(x)
    run_once, _ = chain(x)  # checks that the ids are in their range
    one_hot = np.zeros((*x.shape, first.input_size), run_once.dtype)
    np.put_along_axis(one_hot, x[..., np.newaxis], 1.0, axis=-1)
    return chain, one_hot


def _place(name: str, index: int, count: int) -> int:
    """Return an index from 0 on; -1 is the last."""
    place = checks.integer(name, index, -count)
    if place >= count:
        raise ValueError(f"{name} must be in [-{count}, {count}), got {index}")
    return place % count


def _number(output: Any, answers: list[Any] | None, count: int) -> int:
    """Return the number of an output that the user has chosen."""
    if answers is None:
        return _place("output", output, count)
    if output not in answers:
        raise ValueError(f"output must be one of {answers}, got {output!r}")
    return answers.index(output)
