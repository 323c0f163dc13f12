"""An LSTM in JAX: jax.lax.scan, `bptt.jax.lstm`, and bptt called without JAX: time of calls.

Prints the median microseconds of inference, and of forward with backward, compiled, of all three in
turns, on one thread. Needs JAX. Options of the two libraries' threads are those of the environment:

    XLA_FLAGS=--xla_cpu_multi_thread_eigen=false taskset -c 0 python benchmarks/jax_functions.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bptt
import bptt.jax
from bptt._core.interleaved_timing import interleave, seconds_per_call
from peers.jax_layers import lstm_step

SIZES = ((1, 1, 64, 64), (100, 1, 64, 64), (100, 32, 256, 256))  # T, B, I, H


def scan(params: Any, x: Any) -> Any:
    """Return the output of an LSTM of JAX, with the projection of the input hoisted."""
    zero = jnp.zeros((x.shape[0], params["weight_hh_l0"].shape[1]), x.dtype)
    z = x @ params["weight_ih_l0"].T + params["bias_l0"]
    recurrent = {"weight_hh": params["weight_hh_l0"].T}

    def step(state: Any, z: Any) -> Any:
        new = lstm_step(recurrent, z, state)
        return new, new[0]

    return jax.lax.scan(step, (zero, zero), z.swapaxes(0, 1))[1].swapaxes(0, 1)


def ours(params: Any, x: Any) -> Any:
    """Return the output of `bptt.jax.lstm`."""
    return bptt.jax.lstm(params, x)[0]


def calls(size: tuple[int, ...]) -> dict[str, dict[str, Callable[[], object]]]:
    """Return kind of call -> implementation -> call."""
    steps, batch, inputs, hidden = size
    layer = bptt.LSTM(inputs, hidden, seed=0)
    x = np.random.default_rng(0).normal(size=(batch, steps, inputs)).astype(np.float32)
    params, array = bptt.jax.params_of(layer), jnp.asarray(x)
    found: dict[str, dict[str, Callable[[], object]]] = {"inference": {}, "training": {}}
    for name, function in (("scan", scan), ("bptt.jax", ours)):
        infer = jax.jit(function)
        train = jax.jit(jax.grad(lambda p, x, f=function: (f(p, x) ** 2).sum(), (0, 1)))
        for kind, run in (("inference", infer), ("training", train)):
            found[kind][name] = lambda run=run: jax.block_until_ready(run(params, array))

    def train_directly() -> object:
        run = layer.forward(x)
        return run.backward(2 * run.output)

    found["inference"]["bptt"] = lambda: layer(x)
    found["training"]["bptt"] = train_directly
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="number of samples")
    options = parser.parse_args()
    bptt.set_num_threads(1)
    print("| T, B, I, H | call | scan, µs | bptt.jax, µs | bptt, µs | times as fast as the scan |")
    print("|---|---|--:|--:|--:|--:|")
    for size in SIZES:
        for kind, of in calls(size).items():
            measures = {key: lambda one=one: seconds_per_call(one) for key, one in of.items()}
            times = interleave(measures, options.rounds)
            median = {key: 1e6 * statistics.median(times[key]) for key in of}
            row = " | ".join(f"{median[key]:,.0f}" for key in ("scan", "bptt.jax", "bptt"))
            ratio = median["scan"] / median["bptt.jax"]
            print(f"| {', '.join(map(str, size))} | {kind} | {row} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
