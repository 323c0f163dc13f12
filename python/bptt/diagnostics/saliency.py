"""Saliency: gradient of an output with respect to the input of every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics import plots
from bptt.diagnostics._prepared_model import PreparedModel, step_labels
from bptt.nn.characters import CharacterEmbedding
from bptt.nn.embedding import Embedding
from bptt.nn.sequential import Sequential

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Saliency:
    """Sensitivity of one output to the input of every step."""

    norms: FloatArray
    """(T,): ‖∂y/∂x_t‖."""
    gradient: FloatArray
    """(T, I): ∂y/∂x_t, where x_t of a token is its embedding or one-hot vector."""
    output: Any
    """The output y: its index in [0, K), or a class or token of an estimator."""
    step: int | None
    """Step of y; None if there is one output per sequence."""
    tokens: tuple[Any, ...] | None
    """Labels of the steps; None for sequences of vectors."""

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
        Outputs of classifiers, taggers and language models are logits. Input and output of an
        estimator with ``scale=True`` are the standardized ones; with ``feedback=True``, x_t is
        concatenated with the predicted label of step t-1.
    x : float array (T, features), integer array (T,), or a sequence as for `fit` of an estimator
        One sequence, without a batch axis.
    output : int, or class or token of an estimator, optional
        The output y. By default the largest.
    step : int
        Step of y, if there is an output at every step; negative steps count from the end.
    tokens : sequence (T,), optional
        Labels of the steps.

    Returns
    -------
    Saliency

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or shape, or there is no such output or step.
    """
    if hasattr(model, "attention_weights"):
        kind = type(model).__name__
        raise TypeError(f"saliency does not support {kind}: use its attention_weights")
    prepared = PreparedModel.of(model, x)
    names = step_labels(tokens, prepared)
    chain, vectors = _input_vectors(prepared)
    run = chain.forward(vectors)
    y = run.output[0]
    if y.ndim == 2:
        place: int | None = _resolve_index("step", step, len(y))
        y = y[place]
    else:
        place = None
    number = int(y.argmax()) if output is None else _output_index(output, prepared.outputs, len(y))
    d_output = np.zeros_like(run.output)
    d_output[(0, number) if place is None else (0, place, number)] = 1.0
    gradient = run.backward(d_output).input
    assert gradient is not None
    called = number if prepared.outputs is None else prepared.outputs[number]
    return Saliency(np.linalg.norm(gradient[0], axis=1), gradient[0], called, place, names)


def _input_vectors(prepared: PreparedModel) -> tuple[Sequential, FloatArray]:
    """Return the chain without its embeddings, and its input vectors (1, T, I)."""
    chain, x = prepared.chain, prepared.x
    first: Any = chain.modules[0]
    if x.dtype.kind == "f":
        return chain, x
    kinds = (Embedding, CharacterEmbedding)
    embeddings = [module for module in chain.modules[:2] if isinstance(module, kinds)]
    if embeddings:
        modules = chain.modules[len(embeddings) :]
        rest = Sequential(*modules, pool=chain.pool, skip_input=chain.skip_input)
        return rest, Sequential(*embeddings)(x)[0]
    run_once, _ = chain(x)  # checks the range of the ids
    one_hot = np.zeros((*x.shape, first.input_size), run_once.dtype)
    np.put_along_axis(one_hot, x[..., np.newaxis], 1.0, axis=-1)
    return chain, one_hot


def _resolve_index(name: str, index: int, count: int) -> int:
    """Return an index in [0, count); negative ones count from the end."""
    place = checks.integer(name, index, -count)
    if place >= count:
        raise ValueError(f"{name} must be in [-{count}, {count}), got {index}")
    return place % count


def _output_index(output: Any, outputs: list[Any] | None, count: int) -> int:
    """Return the index of the output chosen by the user."""
    if outputs is None:
        return _resolve_index("output", output, count)
    if output not in outputs:
        raise ValueError(f"output must be one of {outputs}, got {output!r}")
    return outputs.index(output)
