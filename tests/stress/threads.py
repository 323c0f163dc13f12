"""Threads of one process: assignments while others compute, and interruptions."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np

import bptt
from tests.stress.outcome import Outcome

USERS = 8


def assignments(times: int) -> Outcome:
    """Use one layer in eight threads while a ninth assigns its weights: old or new, never half."""
    layer = bptt.GRU(24, 96, num_layers=2, seed=0)
    x = np.random.default_rng(0).standard_normal((4, 6, 24)).astype(np.float32)
    name = "weight_hh_l1"
    values = [layer[name].copy(), layer[name] * np.float32(-0.5)]

    def train() -> bytes:
        run = layer.forward(x)
        return run.output.tobytes() + run.backward(run.output)._flat.tobytes()

    uses = [
        lambda: layer(x)[0].tobytes(),
        lambda: layer.step(x[:, 0])[0].tobytes(),
        train,
    ]
    expected: list[set[bytes]] = [set() for _ in uses]
    for value in values:
        layer[name] = value
        for found, use in zip(expected, uses, strict=True):
            found.add(use())
    ended, failures, counts, assigned = threading.Event(), [], [0] * USERS, 0

    def work(number: int) -> None:
        kind = number % len(uses)
        for _ in range(-(-times // USERS)):
            if uses[kind]() not in expected[kind]:
                failures.append(f"thread {number}: the result of neither old nor new weights")
            counts[number] += 1

    def assign() -> None:
        nonlocal assigned
        while not ended.is_set():
            for value in values:
                layer[name] = value
                assigned += 1

    users = [threading.Thread(target=work, args=(i,)) for i in range(USERS)]
    ninth = threading.Thread(target=assign)
    for thread in (*users, ninth):
        thread.start()
    for thread in users:
        thread.join()
    ended.set()
    ninth.join()
    return Outcome(sum(counts), failures, {"assignments": assigned})


def interruptions(times: int) -> Outcome:
    """Interrupt training at any moment; the modules are whole, and go on with the same results."""
    rng, failures, slowest = np.random.default_rng(0), [], 0.0
    x = rng.standard_normal((16, 150, 8)).astype(np.float32)

    def make() -> bptt.Sequential:
        return bptt.Sequential(bptt.LSTM(8, 64, num_layers=2, seed=0), bptt.Linear(64, 8, seed=1))

    model = make()
    optimizer = bptt.Adam(model, learning_rate=1e-3)

    def update() -> None:
        run = model.forward(x)
        optimizer.step(run.backward(run.output - x))

    update()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for i in range(times):
            delay = rng.uniform(1e-4, 0.08)
            due = time.monotonic() + delay
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                while True:
                    update()
            except KeyboardInterrupt:
                slowest = max(slowest, time.monotonic() - due)
            again = make()
            for new, old in zip(again.modules, model.modules, strict=True):
                for name, value in old.parameters.items():
                    new[name] = value
            if model(x)[0].tobytes() != again(x)[0].tobytes():
                failures.append(f"interruption {i}: other results than those of the parameters")
            if not all(np.isfinite(m._flat).all() for m in model.modules):
                failures.append(f"interruption {i}: parameters that are not finite")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return Outcome(times, failures, {"slowest_seconds": round(slowest, 3)})
