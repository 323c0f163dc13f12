"""The picture of reliability.md: errors of long sequences, against 80-bit numbers.

    python docs/pictures/accuracy.py

computes them, in some minutes, and writes accuracy.json and accuracy.png; with `--draw` from the
stored figures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt

import bptt
from bptt import reference

HERE = Path(__file__).parent
CELLS = {"rnn": bptt.RNN, "lstm": bptt.LSTM, "gru": bptt.GRU}
LENGTHS = (10, 100, 1000, 10_000, 100_000)
INPUTS, HIDDEN = 4, 16
COLORS = {"rnn": "#009E73", "lstm": "#0072B2", "gru": "#D55E00"}
LINES = {"float32": "-", "float64": "--"}


def errors(cell: str, steps: int, dtype: str) -> tuple[float, float]:
    """Return the largest errors of outputs and of gradients, in units of the largest value.

    Inputs, and the gradients of all outputs, are normal random numbers; weights are the initial
    ones. The reference has the same numbers, to the last bit.
    """
    layer = CELLS[cell](INPUTS, HIDDEN, dtype=dtype, seed=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, steps, INPUTS)).astype(dtype)
    d_output = rng.standard_normal((1, steps, HIDDEN)).astype(dtype)
    run = layer.forward(x)
    gradients = run.backward(d_output)
    exact = {name: value.astype(np.longdouble) for name, value in layer.parameters.items()}
    expected = reference.forward(cell, x.astype(np.longdouble), exact)
    d_expected = reference.backward(expected, d_output.astype(np.longdouble))
    names = list(d_expected.parameters)
    differences = [abs(gradients[name] - d_expected.parameters[name]).max() for name in names]
    largest = max(abs(d_expected.parameters[name]).max() for name in names)
    output = expected.output
    error = abs(run.output - output).max() / abs(output).max()
    return float(error), float(max(differences) / largest)


def compute() -> dict[str, Any]:
    """Return the errors of all cells, precisions and lengths."""
    return {
        cell: {dtype: [errors(cell, steps, dtype) for steps in LENGTHS] for dtype in LINES}
        for cell in CELLS
    }


def draw(content: dict[str, Any]) -> None:
    """Draw outputs on the left, gradients on the right."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for i, (ax, title) in enumerate(zip(axes, ("outputs", "gradients"), strict=True)):
        for cell, by_dtype in content.items():
            for dtype, values in by_dtype.items():
                label = f"{cell.upper()}, {dtype}"
                style = {"color": COLORS[cell], "linestyle": LINES[dtype], "marker": "."}
                ax.loglog(LENGTHS, [value[i] for value in values], label=label, **style)
        for dtype in LINES:
            ax.axhline(float(np.finfo(dtype).eps), color="0.7", linewidth=0.8, zorder=0)
            ax.text(LENGTHS[-1], float(np.finfo(dtype).eps), f"ε of {dtype}", ha="right", va="top")
        ax.set(title=title, xlabel="steps T")
    axes[0].set_ylabel("largest error ÷ largest value")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(HERE / "accuracy.png", dpi=150)


if __name__ == "__main__":
    stored = HERE / "accuracy.json"
    if "--draw" not in sys.argv:
        stored.write_text(json.dumps(compute(), indent=1) + "\n", "utf-8")
    draw(json.loads(stored.read_text("utf-8")))
