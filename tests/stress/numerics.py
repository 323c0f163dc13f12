"""Sequences of a million steps in one call."""

from __future__ import annotations

import numpy as np

import bptt
from tests.stress.outcome import Outcome
from tests.stress.resources import peak

PART = 10_000  # steps of a part, whose results are those of the whole
EVERY = 1000
MORE = 4 << 20  # bytes beyond the output: the states between, and gates of a thousand steps


def million(steps: int) -> Outcome:
    """Forward and backward over all steps in one call, in the memory of a thousand.

    Outputs are those of short calls, bit for bit, and gradients those of short backward passes.
    """
    failures, grown_mb = [], {}
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, steps, 2)).astype(np.float32)
    d_output = rng.standard_normal((1, steps, 8)).astype(np.float32)
    for kind in ("RNN", "LSTM", "GRU"):
        layer = getattr(bptt, kind)(2, 8, seed=0)
        with peak() as grown:
            run = layer.forward(x, recompute_every=EVERY)
            gradients = run.backward(d_output, input=False)
        grown_mb[kind] = grown[0] >> 20
        if grown[0] > run.output.nbytes + MORE:
            failures.append(f"{kind}: {grown_mb[kind]} MB more")
        outputs, expected = in_parts(layer, x, d_output)
        if run.output.tobytes() != outputs.tobytes():
            failures.append(f"{kind}: other outputs")
        error = np.abs(gradients._flat - expected).max() / np.abs(expected).max()
        if not error < 1e-4:
            failures.append(f"{kind}: gradients differ by {error:.1g}")
        if layer(x)[0].tobytes() != outputs.tobytes():
            failures.append(f"{kind}: other outputs at inference")
    return Outcome(3 * steps, failures, {"peak_growth_mb": grown_mb})


def in_parts(layer: bptt.LSTM, x: np.ndarray, d_output: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return output and gradients from short calls, which pass on the state and its gradient."""
    runs, state = [], None
    for part in range(0, x.shape[1], PART):
        runs.append(layer.forward(x[:, part : part + PART], state=state))
        state = runs[-1].state
    output = np.concatenate([run.output for run in runs], axis=1)
    gradients, d_state = np.zeros(layer.num_parameters), None
    while runs:
        part = PART * (len(runs) - 1)
        found = runs.pop().backward(d_output[:, part : part + PART], d_state)
        gradients, d_state = gradients + found._flat, found.state
    return output, gradients
