"""Times of calls on one thread, on the thread pool and with OpenMP, also where cores are not free.

Prints a table of milliseconds, median / 99th percentile. Every scenario runs in its own process;
those whose library is not installed are left out. The three ways of a call take turns, in runs of
calls, so that what a run of late calls changes in the next ones is in the figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import bptt
from bptt._core import loader

ROUNDS = 8
MIN_CALLS, MAX_CALLS = 15, 60  # of a run
WARM_UP = 3
PAUSE = 0.02  # seconds; longer than OpenMP's threads spin
OVERSUBSCRIBED = 16
WAYS = {"one thread": None, "pool": "pool", "OpenMP": "openmp"}

Call = Callable[[], object]


def calls() -> dict[str, Call]:
    generator = np.random.default_rng(0)
    found: dict[str, Call] = {}
    for steps, batch, inputs, hidden in (
        (100, 32, 256, 256),
        (100, 16, 64, 64),
        (100, 1, 256, 256),
    ):
        layer = bptt.LSTM(inputs, hidden, seed=0)
        x = generator.standard_normal((batch, steps, inputs), np.float32)
        name = f"LSTM ({steps}, {batch}, {inputs}, {hidden})"
        found[name] = lambda layer=layer, x=x: layer(x)
    gru = bptt.GRU(512, 512, seed=0)
    x_gru = generator.standard_normal((1, 100, 512), np.float32)

    def train() -> object:
        run = gru.forward(x_gru)
        return run.backward(run.output)

    found["GRU (100, 1, 512, 512), training"] = train
    linear = bptt.Linear(200, 10_000, seed=0)
    rows = generator.standard_normal((700, 200), np.float32)
    found["Linear (700, 200, 10,000)"] = lambda: linear(rows)
    return found


# ---- scenarios: what happens around the calls, which are measured by the function that is passed

Measure = Callable[[Call], dict[str, Any]]


def nothing() -> object:
    return None


def idle(measure: Measure) -> dict[str, Any]:
    return measure(nothing)


def after_pauses(measure: Measure) -> dict[str, Any]:
    return measure(lambda: time.sleep(PAUSE))


def busy_core(measure: Measure) -> dict[str, Any]:
    with spinning_process(pinned=True):
        return measure(nothing)


def unpinned_process(measure: Measure) -> dict[str, Any]:
    with spinning_process(pinned=False):
        return measure(nothing)


def oversubscribed(measure: Measure) -> dict[str, Any]:
    bptt.set_num_threads(OVERSUBSCRIBED)
    return measure(nothing)


def torch(measure: Measure) -> dict[str, Any]:
    import torch

    a = torch.ones(400, 400)
    return measure(lambda: torch.tanh(a @ a))


def sklearn(measure: Measure) -> dict[str, Any]:
    from sklearn.cluster import KMeans

    points = np.random.default_rng(0).random((2000, 8))
    model = KMeans(8, n_init=1, max_iter=5, random_state=0)
    return measure(lambda: model.fit(points))


def onnxruntime(measure: Measure) -> dict[str, Any]:
    import onnxruntime
    from onnx import TensorProto, helper

    a, b, c = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [400, 400]) for n in "abc")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "g", [a, b], [c])
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    ones = np.ones((400, 400), np.float32)
    return measure(lambda: session.run(None, {"a": ones, "b": ones}))


def after_fork(measure: Measure) -> dict[str, Any]:
    """In a child whose parent has used its threads: the pool is all it has."""
    for call in calls().values():
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results"
        child = os.fork()
        if child == 0:
            path.write_text(json.dumps(measure(nothing)))
            os._exit(0)
        os.waitpid(child, 0)
        return dict(json.loads(path.read_text()))


SCENARIOS: dict[str, tuple[str, Callable[[Measure], dict[str, Any]]]] = {
    "idle": ("idle", idle),
    "pauses": (f"after pauses of {1e3 * PAUSE:.0f} ms", after_pauses),
    "busy": ("a program on one core", busy_core),
    "unpinned": ("a program that moves", unpinned_process),
    "oversubscribed": (f"{OVERSUBSCRIBED} threads", oversubscribed),
    "torch": ("after calls of PyTorch", torch),
    "sklearn": ("after calls of scikit-learn", sklearn),
    "onnxruntime": ("after calls of ONNX Runtime", onnxruntime),
    "fork": ("in a child of fork", after_fork),
}


@contextmanager
def spinning_process(pinned: bool) -> Iterator[None]:
    code = "import os, sys\nif sys.argv[1]: os.sched_setaffinity(0, {int(sys.argv[1])})\n"
    code += "print(flush=True)\nwhile True: pass"
    core = str(max(os.sched_getaffinity(0))) if pinned else ""
    command = [sys.executable, "-c", code, core]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it spins from here on
        try:
            yield
        finally:
            process.kill()


# ---- measurement


def measure_run(call: Call, before: Call, budget: float) -> list[float]:
    samples: list[float] = []
    deadline = time.perf_counter() + budget
    while len(samples) < MIN_CALLS or (len(samples) < MAX_CALLS and time.perf_counter() < deadline):
        before()
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
    return samples


def measure_all(before: Call, budget: float) -> dict[str, Any]:
    """Return milliseconds: call -> way -> median and 99th percentile."""
    kernels, found = loader.kernels, {}
    for name, call in calls().items():
        samples: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, engine in WAYS.items():
                if engine is not None:
                    try:
                        kernels.set_thread_engine(engine)  # which knows nothing of earlier calls
                    except ValueError:  # not built, or in a child of fork
                        continue
                with bptt.threads(1 if engine is None else bptt.get_num_threads()):
                    for _ in range(WARM_UP):
                        call()
                    samples[way] += measure_run(call, before, budget / ROUNDS)
        found[name] = {
            way: [1e3 * float(np.percentile(times, q)) for q in (50, 99)]
            for way, times in samples.items()
            if times
        }
    return found


def available(scenario: str) -> bool:
    modules = {"torch": ["torch"], "sklearn": ["sklearn"], "onnxruntime": ["onnxruntime", "onnx"]}
    return all(map(importlib.util.find_spec, modules.get(scenario, [])))


def format_cell(figures: list[float] | None) -> str:
    if figures is None:
        return "–"
    return " / ".join(f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" for ms in figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument(
        "--seconds", type=float, default=1.2, help="for each call and way, in a scenario"
    )
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.json:  # one scenario, in its own process
        measure = SCENARIOS[options.scenarios[0]][1]
        print(json.dumps(measure(lambda before: measure_all(before, options.seconds))))
        return
    print("| | call | " + " | ".join(WAYS) + " |\n|---|---|" + "--:|" * len(WAYS))
    for name in filter(available, options.scenarios):
        command = [sys.executable, __file__, "--json", "--scenarios", name]
        command += ["--seconds", str(options.seconds)]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        title = SCENARIOS[name][0]
        for call, ways in json.loads(child.stdout).items():
            cells = (format_cell(ways.get(way)) for way in WAYS)
            print(f"| {title} | {call} | " + " | ".join(cells) + " |", flush=True)
            title = ""


if __name__ == "__main__":
    main()
