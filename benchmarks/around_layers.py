"""Time of what surrounds the layers: embedding, output layer, attention, losses, optimizers.

Prints the median milliseconds of each call on one thread and on all, in turns; with `--other`, also
those of another build of the same kernels. On Linux, calls whose threads had to wait for a core are
left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import bptt
from bptt._core import loader
from bptt._core.interleaved_timing import interleave, seconds_per_call

LINEAR = {  # rows, input features, output features
    "word LM, V 10,000": (700, 200, 10_000),
    "word LM, V 30,000": (1120, 256, 30_000),
    "character LM": (3200, 256, 65),
}
STEPS = (32, 60, 256)  # batch, steps, features
PARAMETERS = 8_000_000
EMBEDDINGS = {  # ids of the table, features, sequences, steps
    "V 10,000, E 200": (10_000, 200, 32, 35),
    "V 30,000, E 128": (30_000, 128, 32, 35),
}
BAG = 10  # ids of a step of an EmbeddingBag

Call = Callable[[Any], object]


def linear_calls() -> dict[str, Call]:
    """Return forward and backward of the output layers, and the loss of their logits."""
    rng = np.random.default_rng(0)
    calls: dict[str, Call] = {}
    for name, (rows, features, outputs) in LINEAR.items():
        x = rng.standard_normal((rows, features), np.float32)
        weight = rng.standard_normal((outputs, features), np.float32)
        bias = np.zeros(outputs, np.float32)
        logits = rng.standard_normal((1, rows, outputs), np.float32)
        targets = rng.integers(0, outputs, (1, rows))

        def forward(kernels: Any, x: Any = x, weight: Any = weight, bias: Any = bias) -> object:
            return kernels.linear_forward(x, weight, bias)

        def backward(
            kernels: Any, x: Any = x, weight: Any = weight, bias: Any = bias, d_y: Any = logits[0]
        ) -> object:
            d_weight, d_bias = np.empty_like(weight), np.empty_like(bias)
            return kernels.linear_backward(x, weight, d_y, d_weight, d_bias, True)

        def loss(kernels: Any, logits: Any = logits, targets: Any = targets) -> object:
            return kernels.softmax_cross_entropy(logits, targets, None, 0.0, 1.0)

        def together(
            kernels: Any, x: Any = x, weight: Any = weight, bias: Any = bias, targets: Any = targets
        ) -> object:
            d_weight, d_bias = np.empty_like(weight), np.empty_like(bias)
            return kernels.linear_cross_entropy(
                x[np.newaxis], weight, bias, targets, None, 0.0, 1.0, d_weight, d_bias
            )

        calls |= {f"{name}: all together": together}
        calls |= {f"{name}: forward": forward, f"{name}: backward": backward, f"{name}: loss": loss}
    return calls


def attention_calls() -> dict[str, Call]:
    """Return forward and backward of attention, of the other losses and of normalization."""
    rng = np.random.default_rng(0)
    batch, steps, size = STEPS
    x = rng.standard_normal(STEPS, np.float32)
    targets = rng.dirichlet(np.ones(size), (batch, steps)).astype(np.float32)
    v, one = rng.standard_normal(size, np.float32), np.ones(size, np.float32)

    def attention(kernels: Any, v: Any = None) -> object:
        contexts, weights = kernels.attention_forward(x, x, x, v, None)
        return kernels.attention_backward(x, x, x, v, None, weights, contexts)

    def normalization(kernels: Any) -> object:
        y, z, scale = kernels.normalize_forward(x.reshape(-1, size), one, one, 1e-5)
        return kernels.normalize_backward(z, one, scale, y, True)

    def loss(kernels: Any, name: str) -> object:
        return kernels.row_loss(name, x, targets, None, 0.0, 1.0)

    return {
        f"dot attention {STEPS}": attention,
        f"additive attention {STEPS}": partial(attention, v=v),
        f"layer normalization {STEPS}": normalization,
        f"squared error {STEPS}": partial(loss, name="squared_error"),
        f"binary cross-entropy {STEPS}": partial(loss, name="binary_cross_entropy"),
        f"cross-entropy of probabilities {STEPS}": partial(loss, name="cross_entropy"),
    }


def embedding_calls(
    name: str, count: int, features: int, sequences: int, steps: int
) -> dict[str, Call]:
    """Return forward and backward of an embedding, and updates with its sparse gradient."""
    rng = np.random.default_rng(0)
    weight = np.abs(rng.standard_normal((count, features), np.float32))
    ids = rng.integers(0, count, (sequences, steps))
    bags = rng.integers(0, count, (sequences, steps * BAG))
    d_y = rng.standard_normal((sequences, steps, features), np.float32)
    p, m, v = (weight.reshape(-1).copy() for _ in range(3))
    rows, values = loader.kernels.embedding_backward(ids, None, d_y, count)
    g = values.reshape(-1)
    adam = (1e-3, 0.9, 0.999, 1e-8, 0.0, 3, rows, 0.5)
    calls: dict[str, Call] = {
        "forward": lambda kernels: kernels.embedding_forward(weight, ids, None),
        "backward": lambda kernels: kernels.embedding_backward(ids, None, d_y, count),
        "bag forward": lambda kernels: kernels.embedding_forward(weight, bags, None, BAG),
        "bag backward": lambda kernels: kernels.embedding_backward(bags, None, d_y, count, BAG),
        "gradient norm": lambda kernels: kernels.sum_of_squares(g, rows, p.size),
        "Adam": lambda kernels: kernels.adam_step(p, g, m, v, *adam),
        "LazyAdam": lambda kernels: kernels.adam_step(p, g, m, v, *adam, True),
        "SGD": lambda kernels: kernels.sgd_step(p, g, None, 1e-3, 0.0, 0.0, False, rows, 0.5),
    }
    return {f"{name}: {call}": function for call, function in calls.items()}


def optimizer_calls(parameters: int) -> dict[str, Call]:
    """Return the updates of some parameters, and the norm and clipping of their gradient."""
    rng = np.random.default_rng(0)
    p, g, m, v = (np.abs(rng.standard_normal(parameters, np.float32)) for _ in range(4))
    adam = (1e-3, 0.9, 0.999, 1e-8, 0.0, 3)
    return {
        "Adam": lambda kernels: kernels.adam_step(p, g, m, v, *adam),
        "Adam, scaled gradient": lambda kernels: kernels.adam_step(p, g, m, v, *adam, None, 0.5),
        "RMSProp": lambda kernels: kernels.rmsprop_step(p, g, v, None, 1e-3, 0.9, 1e-8, 0.0),
        "SGD": lambda kernels: kernels.sgd_step(p, g, m, 1e-3, 0.9, 0.0, False),
        "gradient norm": lambda kernels: kernels.sum_of_squares(g),
        "clipping by value": lambda kernels: kernels.clip(g, 3.0),
    }


def load(path: Path) -> ModuleType:
    """Load a compiled kernel module from a file."""
    spec = importlib.util.spec_from_file_location(path.name.partition(".")[0], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seconds_without_core() -> float:
    """Return how long the threads of this process have waited for a core, where Linux tells."""
    tasks = Path("/proc/self/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[1]) for task in tasks) * 1e-9


def measure(kernels: Any, call: Call, threads: int) -> float:
    before = kernels.set_own_thread_limit(threads)
    try:
        waited = seconds_without_core()
        seconds = seconds_per_call(partial(call, kernels))
        disturbed = seconds_without_core() - waited > 0.02 * seconds
        return math.nan if disturbed else seconds
    finally:
        kernels.set_own_thread_limit(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="number of samples")
    parser.add_argument("--other", type=Path, help="file of another build, _kernels_*.so")
    options = parser.parse_args()
    builds = {"": loader.kernels}
    if options.other is not None:
        builds["other, "] = load(options.other)
    counts = sorted({1, bptt.get_num_threads()})
    columns = [(build, count) for build in builds for count in counts]
    print(
        "| call | "
        + " | ".join(f"{build}{count} thread{'s' * (count > 1)}" for build, count in columns)
        + " |"
    )
    print("|---|" + "--:|" * len(columns))
    calls = linear_calls() | attention_calls() | optimizer_calls(PARAMETERS)
    for title, sizes in EMBEDDINGS.items():
        calls |= embedding_calls(title, *sizes)
    for name, call in calls.items():
        measures = {(b, n): partial(measure, builds[b], call, n) for b, n in columns}
        times = interleave(measures, options.rounds)
        kept = ([t for t in times[column] if not math.isnan(t)] or [math.nan] for column in columns)
        figures = (f"{1e3 * statistics.median(some):.2f}" for some in kept)
        print(f"| {name} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
