"""Fail if the kernels have become slower than guard.json says they were.

Where valgrind is installed, it counts the instructions that the kernels execute in a fixed set of
calls, on one thread, with AVX2: the same number on every machine as long as the compiler is the
same. Without valgrind, or for a compiler without stored figures, the guard compares the time of
some calls with the time of NumPy's matrix product instead. That depends on the machine, so that the
bound is wide.
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
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import bptt
from bptt.cli.benchmark import INFERENCE, PRODUCT, STEP, TRAINING, Size, Task, make_call
from bptt.cli.timing import interleave
from bptt.cli.worker_process import WorkerProcess, worker_environment
from bptt.nn.cells import CELLS

Figures = dict[str, float]

STORED = Path(__file__).with_name("guard.json")
UPDATE = "python benchmarks/guard.py --update"

COUNTED_ISA = "v3"  # valgrind knows AVX2, but not AVX-512
COUNTED_SIZES = (Size(100, 1, 32, 64), Size(20, 16, 64, 64))
MORE_INSTRUCTIONS = 1.10  # are allowed where the compiler is the same
MARK = (
    "getloadavg"  # a function of the C library that only we call: there valgrind cuts its profile
)

TIMED_SIZE = Size(50, 32, 128, 128)
TIMED_PRODUCT = Task(PRODUCT, "", Size(1, 1024, 1024, 1024))
MORE_TIME = 1.6  # is allowed, in units of NumPy's product
ATTEMPTS = 3  # a busy machine may spoil one


def tasks(sizes: Iterable[Size]) -> list[Task]:
    return [Task(mode, cell, s) for s in sizes for cell in CELLS for mode in (INFERENCE, TRAINING)]


def title(task: Task, dtype: str = "float32") -> str:
    return f"{task.title} {tuple(task.size)} {dtype} {task.mode}"


# ---- instructions


def counted_cases() -> list[tuple[Task, str]]:
    """What is called, and its dtype."""
    of_double = [Task(mode, "lstm", COUNTED_SIZES[0]) for mode in (INFERENCE, TRAINING)]
    return [
        *((task, "float32") for task in tasks(COUNTED_SIZES)),
        *((task, "float64") for task in of_double),
        (Task(STEP, "lstm", Size(1, 1, 32, 64)), "float32"),
    ]


def make_counted_calls() -> None:
    """Make every call once between two marks; valgrind runs this."""
    counted = [make_call(*task, dtype) for task, dtype in counted_cases()]
    for make in counted:  # packs weights, brings workspace
        make()
    os.getloadavg()
    for make in counted:
        make()
        os.getloadavg()


def count_instructions() -> Figures:
    """Instructions in the compiled module, for every call."""
    names = [title(task, dtype) for task, dtype in counted_cases()]
    with tempfile.TemporaryDirectory() as directory:
        profile = Path(directory, "profile")
        subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--dump-before={MARK}"),
                *("--compress-strings=no", "--dump-line=no", f"--callgrind-out-file={profile}"),
                *(sys.executable, __file__, "--make-counted-calls"),
            ],
            env={**worker_environment(1), "BPTT_ISA": COUNTED_ISA},
            check=True,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        # The first part is what happened before the first mark.
        parts = [Path(f"{profile}.{2 + i}") for i in range(len(names))]
        counts = [instructions(p.read_text("utf-8", "replace").splitlines()) for p in parts]
    return dict(zip(names, counts, strict=True))


def instructions(profile: Iterable[str]) -> int:
    """Sum the costs in the compiled module, without those of functions that it calls elsewhere."""
    total = 0
    inside = of_callee = False
    for line in profile:
        if line.startswith("ob="):
            inside = f"_kernels_{COUNTED_ISA}." in line
        elif line.startswith("calls="):
            of_callee = True  # the next line has the costs of what is called
        elif cost := re.fullmatch(r"(?:\*|[+-]?\d+) (\d+)", line):
            if inside and not of_callee:
                total += int(cost[1])
            of_callee = False
    return total


# ---- time in units of NumPy's product


def time_ratios() -> Figures:
    """Time of each call over the time in which NumPy's product does as many operations."""
    measured = [TIMED_PRODUCT, *tasks([TIMED_SIZE])]
    with WorkerProcess("bptt.cli.benchmark", threads=1) as worker:
        measures = {task: partial(worker.request, [*task, "float32"]) for task in measured}
        samples = interleave(measures, 15)
    # The fastest sample is the least disturbed one.
    best = {task: min(seconds) / task.operations for task, seconds in samples.items()}
    product = best.pop(TIMED_PRODUCT)
    return {title(task): round(time / product, 3) for task, time in best.items()}


# ---- comparison


def compare(measured: Mapping[str, float], stored: Mapping[str, float], allowed: float) -> bool:
    """Print both; return whether nothing is more than `allowed` times what is stored."""
    slower = [name for name in measured if measured[name] > allowed * stored.get(name, 0)]
    faster = [name for name in measured if allowed * measured[name] < stored.get(name, 0)]
    for name, value in measured.items():
        before = stored.get(name)
        change = "not stored" if before is None else f"{value / before - 1:+.1%}"
        mark = "  <-- slower" if name in slower else ""
        print(f"{name:52} {value:>12,} {change:>10}{mark}")
    if faster:
        print(f"\n{len(faster)} of {len(measured)} are much faster. Let the guard know: {UPDATE}")
    if slower:
        print(
            f"\n{len(slower)} of {len(measured)} take more than {allowed:.2f} times what is stored "
            f"in {STORED.name}.\nIf that is a mistake, mend it. If it is worth it, store the new "
            f"figures and commit them:\n  {UPDATE}"
        )
    return not slower


def can_count() -> bool:
    return shutil.which("valgrind") is not None and COUNTED_ISA in bptt._core.loader.available()


def counted_key() -> str:
    """Name the compiler by its major version, and the instruction set."""
    return re.match(r"\S+ \d+", str(bptt.config()["compiler"]))[0] + ", " + COUNTED_ISA


def check_instructions(stored: Mapping[str, Figures]) -> bool | None:
    """Return whether all is well, or None if that cannot be said."""
    key = counted_key()
    missing = f"no figures are stored for {key}" if can_count() else "that needs valgrind and AVX2"
    if not can_count() or key not in stored:
        print(f"No instructions are counted: {missing}.")
        return None
    try:
        measured = count_instructions()
    except subprocess.CalledProcessError as error:
        print(f"No instructions are counted: valgrind has failed.\n{error.stderr[-2000:]}")
        return None
    print(f"Instructions of one call, {key}, next to those stored")
    return compare(measured, stored[key], MORE_INSTRUCTIONS)


def check_ratios(stored: Mapping[str, Figures]) -> bool:
    isa = str(bptt.config()["isa"])
    if isa not in stored:
        print(f"No times are compared: none are stored for {isa}. {UPDATE} stores them.")
        return True
    for attempt in range(1, ATTEMPTS + 1):
        print(f"Time in units of NumPy's product, {isa}, next to that stored")
        if compare(time_ratios(), stored[isa], MORE_TIME):
            return True
        if attempt < ATTEMPTS:
            print("\nOnce more: something else may have kept the machine busy.")
    return False


def update(stored: dict[str, dict[str, Figures]]) -> None:
    if can_count():
        stored["instructions"][counted_key()] = count_instructions()
    ratios = [time_ratios() for _ in range(ATTEMPTS)]
    stored["ratios"][str(bptt.config()["isa"])] = {
        name: statistics.median(found[name] for found in ratios) for name in ratios[0]
    }
    STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"Stored in {STORED}.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="store what is measured now")
    parser.add_argument("--make-counted-calls", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make_counted_calls:
        make_counted_calls()
        return 0
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    if arguments.update:
        update(stored)
        return 0
    well = check_instructions(stored["instructions"])
    return int(not (check_ratios(stored["ratios"]) if well is None else well))


if __name__ == "__main__":
    sys.exit(main())
