"""Time of heads, the losses and decoders of label sequences, beside that of PyTorch.

Prints the median milliseconds of bptt and of the other library, and their ratio, on one thread and
on all. Both sides are called in turns. The other side of the CRF is pytorch-crf.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import bptt
from bptt._core.interleaved_timing import interleave, seconds_per_call

SIZES = ((32, 100, 20), (32, 200, 40))  # batch, steps, labels
STEPS_OF_A_LABEL = 5  # of CTC, on average

Call = Callable[[], object]
Pair = tuple[Call, Call]  # of bptt and of the other library


def crf_pairs(batch: int, steps: int, labels: int) -> dict[str, Pair]:
    """Return loss with gradients, and decoding, of a conditional random field."""
    import torchcrf

    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, steps, labels), np.float32)
    targets = rng.integers(0, labels, (batch, steps))
    ours, theirs = bptt.CRF(labels), torchcrf.CRF(labels, batch_first=True)
    for name, parameter in zip(("start", "end", "transitions"), theirs.parameters(), strict=True):
        ours[name] = parameter.detach().numpy().copy()
    emissions, y = torch.from_numpy(x).requires_grad_(), torch.from_numpy(targets)

    def loss() -> object:
        emissions.grad = None
        theirs.zero_grad()
        return (-theirs(emissions, y)).backward()

    def decode() -> object:
        with torch.no_grad():
            return theirs.decode(emissions)

    return {
        "CRF, loss and gradients": (lambda: ours.cross_entropy(x, targets), loss),
        "CRF, decoding": (lambda: ours.decode(x), decode),
    }


def ctc_pairs(batch: int, steps: int, labels: int) -> dict[str, Pair]:
    """Return the loss of CTC with its gradient, of logits."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, steps, labels), np.float32)
    targets = rng.integers(1, labels, (batch, steps // STEPS_OF_A_LABEL))
    logits, y = torch.from_numpy(x).requires_grad_(), torch.from_numpy(targets)
    lengths, sizes = torch.full((batch,), steps), torch.full((batch,), targets.shape[1])

    def loss() -> object:
        logits.grad = None
        log_p = torch.log_softmax(logits, -1).swapaxes(0, 1)
        value = torch.nn.functional.ctc_loss(log_p, y, lengths, sizes, reduction="sum")
        return value.backward()

    return {"CTC, loss and gradient": (lambda: bptt.ctc_loss(x, targets), loss)}


def measure(call: Call, threads: int) -> float:
    torch.set_num_threads(threads)
    with bptt.threads(threads):
        return seconds_per_call(call)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="number of samples")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="torchcrf")  # of a deprecated dtype
    counts = sorted({1, bptt.get_num_threads()})
    print("| head | batch, steps, labels | threads | bptt, ms | other, ms | ratio |")
    print("|---|---|--:|--:|--:|--:|")
    for size in SIZES:
        for name, sides in {**crf_pairs(*size), **ctc_pairs(*size)}.items():
            for count in counts:
                measures = {i: partial(measure, call, count) for i, call in enumerate(sides)}
                times = interleave(measures, options.rounds)
                ours, other = (1e3 * statistics.median(times[i]) for i in (0, 1))
                row = (name, size, count, f"{ours:.2f}", f"{other:.2f}", f"{other / ours:.1f}")
                print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
