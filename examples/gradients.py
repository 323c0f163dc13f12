"""The adding problem: vanishing gradients and gates.

Task: two numbers of 200 are marked; the target is their sum. The first may be 200 steps before the
end, and its gradient has to travel back that far: S. Hochreiter and J. Schmidhuber (1997), Long
short-term memory, experiment 4.
Shape: many-to-one; the last state goes through a linear layer.
Network: all three cells, trained in the same way; --cell selects the one reported first. The norm
of ∂s_T/∂s_k shows why the plain RNN fails.
Data: numbers uniform in [0, 1), drawn anew for every minibatch.
Time: about a minute on two cores.
Result: mean squared errors of 0.00022 (LSTM), 0.000077 (GRU) and 0.17 (RNN); the constant 1: 1/6 =
0.167. The RNN did no better with learning rates of 0.001 and 0.003, nor with twice the updates.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import bptt
from bptt.diagnostics import JacobianProducts, jacobian_products
from examples._common import CELLS, Example, Options, Report

STYLES = {"rnn": ("#D55E00", "--"), "lstm": ("#0072B2", "-"), "gru": ("#009E73", "-.")}
TARGET = 0.01

Sequences = tuple[NDArray[np.float32], NDArray[np.float32]]


class Trained(NamedTuple):
    errors: dict[int, float]  # updates -> mean squared error of the test data
    products: JacobianProducts  # of the first test sequence


def sample(random: np.random.Generator, count: int, steps: int) -> Sequences:
    """Sample numbers and marks, (count, steps, 2), with one mark in each half, and the sums."""
    numbers, marks = random.random((count, steps)), np.zeros((count, steps))
    for first, last in ((0, steps // 2), (steps // 2, steps)):
        marks[np.arange(count), random.integers(first, last, size=count)] = 1
    x = np.stack([numbers, marks], axis=2).astype(np.float32)
    return x, (numbers * marks).sum(axis=1, keepdims=True).astype(np.float32)


def train(cell: str, steps: int, updates: int, hidden: int, options: Options) -> Trained:
    """Train a network on new minibatches of 32, and compute its Jacobian products."""
    seed, both = options.seed, options.bidirectional
    random = np.random.default_rng(seed)
    test, answers = sample(np.random.default_rng([seed, 1]), 1000, steps)
    layer = getattr(bptt, cell.upper())(2, hidden, bidirectional=both, seed=seed)
    model = bptt.Sequential(layer, bptt.Linear(layer.output_size, 1, seed=seed), pool="last")
    optimizer = bptt.Adam(model)
    schedule = bptt.schedules.CosineDecay(epochs=updates, floor=0.01)
    errors = {}
    for update in range(1, updates + 1):
        optimizer.learning_rate = 0.01 * schedule(update, 1, [])
        x, y = sample(random, 32, steps)
        run = model.forward(x)
        loss = bptt.mean_squared_error(run.output, y, reduction="mean")
        gradients = run.backward(loss, input=False)
        bptt.clip_by_global_norm(gradients, 1.0)
        optimizer.step(gradients)
        if update % (updates // 40) == 0:
            found, _ = model(test)
            errors[update] = float(np.square(found - answers).mean())
    return Trained(errors, jacobian_products(layer, test[0]))


def plot(trained: dict[str, Trained], steps: int, path: Path) -> None:
    """Plot the test errors, and the Jacobian products of the trained networks."""
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(5, 6), layout="constrained")
    for cell, (errors, products) in trained.items():
        color, dash = STYLES[cell]
        top.plot(list(errors), list(errors.values()), dash, color=color, label=cell.upper())
        bottom.plot(products.norms, dash, color=color, label=cell.upper())
    top.axhline(1 / 6, color="black", linestyle=":", label="constant 1")
    top.set(title=f"The adding problem, {steps} steps", xlabel="updates")
    top.set(ylabel="mean squared error", yscale="log")
    bottom.set(title="Jacobian products after training", xlabel="step $k$", yscale="log")
    bottom.set(ylabel=r"$\|\partial s_T/\partial s_k\|_2$")
    top.legend()
    bottom.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def run(options: Options) -> Report:
    steps, updates, hidden = (40, 800, 32) if options.quick else (200, 3000, 64)
    trained = {cell: train(cell, steps, updates, hidden, options) for cell in CELLS}
    if options.plot is not None:
        plot(trained, steps, options.plot / "gradients.png")
    final = {cell: list(found.errors.values())[-1] for cell, found in trained.items()}
    also = {
        cell.upper(): f"error {final[cell]:.3g}; {found.products.verdict}"
        for cell, found in trained.items()
    }
    return Report(
        measure=f"mean squared error, {options.cell.upper()}",
        result=final[options.cell],
        baseline="constant 1",
        baseline_result=1 / 6,
        data=f"adding problem, {steps} steps, 1,000 test sequences",
        higher_is_better=False,
        target=TARGET,
        also=also,
    )


example = Example(__doc__, run, cell="lstm")

if __name__ == "__main__":
    example.main()
