"""Check that the kernels are not slower than recorded in guard.json.

With valgrind, the check counts the instructions of the kernels in a fixed set of calls, on one
thread, with AVX2: the counts are the same on every machine with the same compiler. Without
valgrind, or without counts for the compiler, it measures the time of some calls relative to NumPy's
matrix product; that ratio depends on the machine, so the tolerance is wide.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

import bptt
from around_layers import embedding_calls, optimizer_calls
from bptt._core import loader
from bptt._core.interleaved_timing import interleave
from bptt.cli.bench_layers import INFERENCE, PRODUCT, STEP, TRAINING, Size, Task, make_call
from bptt.cli.worker_process import WorkerProcess, worker_environment
from bptt.nn.cells import CELLS
from bptt.nn.compression import KINDS

Figures = dict[str, float]
Call = Callable[[], object]

STORED = Path(__file__).with_name("guard.json")
UPDATE = "python benchmarks/guard.py --update"

COUNTED_ISA = "v3"  # valgrind knows AVX2, but not AVX-512
COUNTED_SIZES = (Size(100, 1, 32, 64), Size(20, 16, 64, 64))
MAX_INSTRUCTION_RATIO = 1.10  # to the recorded count
MARK = "getloadavg"  # C library function, called here only, at which valgrind splits its profile
PROCESSES = 2  # of valgrind, which runs a process on one core

TIMED_SIZE = Size(50, 32, 128, 128)
TIMED_PRODUCT = Task(PRODUCT, "", Size(1, 1024, 1024, 1024))
MAX_TIME_RATIO = 1.6  # to the recorded time, in units of NumPy's product
ATTEMPTS = 3  # other processes may disturb one


def tasks(sizes: Iterable[Size]) -> list[Task]:
    return [Task(mode, cell, s) for s in sizes for mode in (INFERENCE, TRAINING) for cell in CELLS]


def title(task: Task, dtype: str = "float32") -> str:
    return f"{task.title} {tuple(task.size)} {dtype} {task.mode}"


# ---- instructions


def output_layer(rows: int, features: int, classes: int) -> Call:
    """Return the loss of an output layer with its gradients, in float32."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1, rows, features), np.float32)
    layer = bptt.Linear(features, classes, seed=0)
    targets = random.integers(0, classes, (1, rows))
    return lambda: layer.cross_entropy(x, targets)


def attention(kind: str, batch: int, steps: int, size: int) -> Call:
    """Return forward and backward of an attention, in float32."""
    x = np.random.default_rng(0).standard_normal((batch, steps, size), np.float32)
    module = bptt.Attention(size, size, kind=kind, seed=0)
    return lambda: module.forward(x, x).backward(x)


def label_sequences(batch: int, steps: int, labels: int) -> dict[str, Call]:
    """Return the losses of label sequences with their gradients, and Viterbi decoding."""
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, steps, labels), np.float32)
    targets = random.integers(1, labels, (batch, steps))
    crf = bptt.CRF(labels)
    few = targets[:, : steps // 5]
    return {
        f"CRF {x.shape} float32": lambda: crf.cross_entropy(x, targets),
        f"CRF decoding {x.shape} float32": lambda: crf.decode(x),
        f"CTC {x.shape} float32": lambda: bptt.ctc_loss(x, few),
    }


def compressed() -> dict[str, Call]:
    """Return inference with weights of 16 and 8 bits."""
    calls: dict[str, Call] = {}
    for kind in KINDS:
        for size in COUNTED_SIZES:
            layer = bptt.LSTM(size.inputs, size.hidden, seed=0).compressed(kind)
            shape = (size.batch, size.steps, size.inputs)
            x = np.random.default_rng(0).standard_normal(shape, np.float32)
            calls[f"LSTM {tuple(size)} {kind} inference"] = partial(layer, x)
        head = bptt.Linear(64, 1000, seed=0).compressed(kind)
        rows = np.random.default_rng(0).standard_normal((3, 64), np.float32)
        calls[f"output layer (3, 64, 1000) {kind}"] = partial(head, rows)
    return calls


def around_layers() -> dict[str, Call]:
    """Return the counted calls of what surrounds the layers."""
    of_kernels = embedding_calls("embedding (1000, 50)", 1000, 50, 8, 20) | {
        f"{name}, 20,000 parameters": call for name, call in optimizer_calls(20_000).items()
    }
    return {
        "output layer and loss (300, 64, 65) float32": output_layer(300, 64, 65),
        "output layer and loss (100, 64, 2000) float32": output_layer(100, 64, 2000),
        "dot attention (8, 20, 64) float32": attention("dot", 8, 20, 64),
        "additive attention (8, 20, 64) float32": attention("additive", 8, 20, 64),
        **label_sequences(8, 50, 20),
        **{name: partial(call, loader.kernels) for name, call in of_kernels.items()},
        **compressed(),
    }


def counted_calls() -> dict[str, Callable[[], Call]]:
    """Return functions that make the calls whose instructions are counted."""
    of_double = [Task(mode, "lstm", COUNTED_SIZES[0]) for mode in (INFERENCE, TRAINING)]
    of_layers = [
        *((task, "float32") for task in tasks(COUNTED_SIZES)),
        *((task, "float64") for task in of_double),
        (Task(STEP, "lstm", Size(1, 1, 32, 64)), "float32"),
    ]
    others = around_layers()
    return {
        **{title(task, dtype): partial(make_call, *task, dtype) for task, dtype in of_layers},
        **{name: partial(others.__getitem__, name) for name in others},
    }


def make_counted_calls(part: int) -> None:
    """Run every call of one of the processes once between two marks, under valgrind."""
    counted = [make() for make in list(counted_calls().values())[part::PROCESSES]]
    for call in counted:  # packs weights, allocates workspace
        call()
    os.getloadavg()
    for call in counted:
        call()
        os.getloadavg()


def count_part(part: int) -> Figures:
    """Return the number of instructions in the kernels for every call of one of the processes."""
    names = list(counted_calls())[part::PROCESSES]
    with tempfile.TemporaryDirectory() as directory:
        profile = Path(directory, "profile")
        subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--dump-before={MARK}"),
                *("--compress-strings=no", "--dump-line=no", f"--callgrind-out-file={profile}"),
                *(sys.executable, __file__, "--make-counted-calls", str(part)),
            ],
            env={**worker_environment(1), "BPTT_ISA": COUNTED_ISA},
            check=True,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        # The first dump precedes the first mark.
        dumps = [Path(f"{profile}.{2 + i}") for i in range(len(names))]
        counts = [instructions(p.read_text("utf-8", "replace").splitlines()) for p in dumps]
    return dict(zip(names, counts, strict=True))


def count_instructions() -> Figures:
    """Return the number of instructions in the kernels for every call."""
    with ThreadPoolExecutor(PROCESSES) as pool:
        counts = ChainMap(*pool.map(count_part, range(PROCESSES)))
    return {name: counts[name] for name in counted_calls()}


def instructions(profile: Iterable[str]) -> int:
    """Return the costs of the kernels, without functions called in other modules."""
    total = 0
    inside = of_callee = False
    for line in profile:
        if line.startswith("ob="):
            inside = f"_kernels_{COUNTED_ISA}." in line
        elif line.startswith("calls="):
            of_callee = True  # the next line has the costs of the callee
        elif cost := re.fullmatch(r"(?:\*|[+-]?\d+) (\d+)", line):
            if inside and not of_callee:
                total += int(cost[1])
            of_callee = False
    return total


# ---- time relative to NumPy's product


def time_ratios() -> Figures:
    """Return the time of each call relative to that of NumPy's product per operation."""
    measured = [TIMED_PRODUCT, *tasks([TIMED_SIZE])]
    with WorkerProcess("bptt.cli.bench_layers", threads=1) as worker:
        measures = {task: partial(worker.request, [*task, "float32"]) for task in measured}
        samples = interleave(measures, 15)
    # The fastest sample is the least disturbed one.
    best = {task: min(seconds) / task.operations for task, seconds in samples.items()}
    product = best.pop(TIMED_PRODUCT)
    return {title(task): round(time / product, 3) for task, time in best.items()}


# ---- comparison


def compare(measured: Mapping[str, float], stored: Mapping[str, float], allowed: float) -> bool:
    """Print a table; return whether no value exceeds `allowed` times the recorded one."""
    slower = [name for name in measured if measured[name] > allowed * stored.get(name, 0)]
    faster = [name for name in measured if allowed * measured[name] < stored.get(name, 0)]
    for name, value in measured.items():
        before = stored.get(name)
        change = "not recorded" if before is None else f"{value / before - 1:+.1%}"
        mark = "  <-- slower" if name in slower else ""
        print(f"{name:52} {value:>12,} {change:>10}{mark}")
    if faster:
        print(
            f"\n{len(faster)} of {len(measured)} are much faster. Record the new figures: {UPDATE}"
        )
    if slower:
        print(
            f"\n{len(slower)} of {len(measured)} exceed {allowed:.2f} times the figure recorded "
            f"in {STORED.name}.\nIf this is intended, record the new figures and commit them:\n"
            f"  {UPDATE}"
        )
    return not slower


def can_count() -> bool:
    return shutil.which("valgrind") is not None and COUNTED_ISA in bptt._core.loader.available()


def counted_key() -> str:
    """Return the compiler with its major version, and the instruction set."""
    return re.match(r"\S+ \d+", str(bptt.config()["compiler"]))[0] + ", " + COUNTED_ISA


def check_instructions(stored: Mapping[str, Figures]) -> bool | None:
    """Return whether no count is too large, or None if instructions cannot be counted."""
    key = counted_key()
    reason = f"no counts are recorded for {key}" if can_count() else "needs valgrind and AVX2"
    if not can_count() or key not in stored:
        print(f"Instructions not counted: {reason}.")
        return None
    try:
        measured = count_instructions()
    except subprocess.CalledProcessError as error:
        print(f"Instructions not counted: valgrind failed.\n{error.stderr[-2000:]}")
        return None
    print(f"Instructions per call, {key}, compared with the recorded ones")
    return compare(measured, stored[key], MAX_INSTRUCTION_RATIO)


def check_ratios(stored: Mapping[str, Figures]) -> bool:
    isa = str(bptt.config()["isa"])
    if isa not in stored:
        print(f"Times not compared: none are recorded for {isa}. Record them: {UPDATE}")
        return True
    for attempt in range(1, ATTEMPTS + 1):
        print(f"Time relative to NumPy's product, {isa}, compared with the recorded one")
        if compare(time_ratios(), stored[isa], MAX_TIME_RATIO):
            return True
        if attempt < ATTEMPTS:
            print("\nRetrying: other processes may have disturbed the measurement.")
    return False


def update(stored: dict[str, dict[str, Figures]]) -> None:
    if can_count():
        stored["instructions"][counted_key()] = count_instructions()
    ratios = [time_ratios() for _ in range(ATTEMPTS)]
    stored["ratios"][str(bptt.config()["isa"])] = {
        name: statistics.median(found[name] for found in ratios) for name in ratios[0]
    }
    STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"Recorded in {STORED}.")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="record the current figures")
    parser.add_argument("--make-counted-calls", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make_counted_calls is not None:
        make_counted_calls(arguments.make_counted_calls)
        return 0
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    if arguments.update:
        update(stored)
        return 0
    passed = check_instructions(stored["instructions"])
    if passed is None:
        passed = check_ratios(stored["ratios"])
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
