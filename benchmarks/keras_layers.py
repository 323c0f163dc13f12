"""Models with Keras' recurrent layers and with those of `bptt.keras`: time of whole calls.

Prints the median milliseconds of `train_on_batch` and of `predict_on_batch`, of both in turns, with
masks of padding and without. Needs Keras 3 and PyTorch or JAX:

    KERAS_BACKEND=torch taskset -c 0 python benchmarks/keras_layers.py
    KERAS_BACKEND=jax XLA_FLAGS=--xla_cpu_multi_thread_eigen=false taskset -c 0 \\
      python benchmarks/keras_layers.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

import bptt.keras
from bptt._core.interleaved_timing import interleave, seconds_per_call

SIZES = ((10, 1, 32), (100, 32, 128))  # T, B, H


def model(layer: Any, size: int, masked: bool) -> Any:
    """Return a tagger: embedding, recurrent layer, softmax."""
    network = keras.Sequential(
        [
            keras.layers.Embedding(2000, size, mask_zero=masked),
            layer(size, return_sequences=True),
            keras.layers.Dense(17),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-4), loss)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="number of samples")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"Keras {keras.__version__}, {keras.config.backend()}")
    print("| layer | T, B, H | mask | call | Keras, ms | bptt.keras, ms | times as fast |")
    print("|---|---|---|---|--:|--:|--:|")
    for name in ("SimpleRNN", "LSTM", "GRU"):
        for steps, batch, size in SIZES:
            for masked in (False, True):
                ids = rng.integers(1, 2000, (batch, steps))
                if masked:
                    ids *= np.arange(steps) < rng.integers(1, steps + 1, (batch, 1))
                labels = rng.integers(17, size=(batch, steps))
                layers = [getattr(module, name) for module in (keras.layers, bptt.keras)]
                networks = [model(layer, size, masked) for layer in layers]
                calls: dict[str, list[Callable[[], object]]] = {
                    "training": [partial(one.train_on_batch, ids, labels) for one in networks],
                    "inference": [partial(one.predict_on_batch, ids) for one in networks],
                }
                for call, both in calls.items():
                    measures = {i: partial(seconds_per_call, one) for i, one in enumerate(both)}
                    times = interleave(measures, options.rounds)
                    before, after = (1e3 * statistics.median(some) for some in times.values())
                    print(
                        f"| {name} | {steps}, {batch}, {size} | {'yes' if masked else 'no'} "
                        f"| {call} | {before:.2f} | {after:.2f} | {before / after:.1f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
