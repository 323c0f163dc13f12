"""What takes long or many attempts: `python -m tests.stress forks --times 1000 --write`.

Prints what a harness has tried and what has failed, and exits with 1 if anything has. With
`--write` the result goes to `tests/fuzz/results/`, and from there into `docs/reliability.md`, by
`python -m tests.fuzz.report`. `all` runs every harness, each in a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import results
from tests.stress import numerics, processes, ranks, resources, threads, timing
from tests.stress.outcome import Outcome

ROOT = Path(__file__).parents[2]


class Harness(NamedTuple):
    """A function, how often it tries in a complete run, and what it counts."""

    run: Callable[[int], Outcome]
    times: int
    unit: str


HARNESSES = {
    "assignments": Harness(
        threads.assignments, 100_000, "calls of a layer whose weights another thread assigns"
    ),
    "counts": Harness(timing.counts, 15, "measurements of 16 threads, <= 1.5 times the best"),
    "denormals": Harness(
        timing.denormals, 15, "measurements of denormal numbers, <= 1.2 times normal ones"
    ),
    "exits": Harness(processes.exits, 120, "exits while daemon threads are inside of calls"),
    "forks": Harness(processes.forks, 1000, "forks during calls of other threads"),
    "interruptions": Harness(
        threads.interruptions, 1000, "interruptions at any moment of a training"
    ),
    "million": Harness(numerics.million, 10**6, "steps in calls of a million, with recomputation"),
    "pools": Harness(timing.pools, 5, "measurements of pools, <= 1.5 times one thread a worker"),
    "ranks": Harness(
        ranks.kills, 20, "kills of a rank of MPI, resumed with as many ranks and with one fewer"
    ),
    "workers": Harness(processes.workers, 35, "pools of workers: fork, spawn, forkserver, loky"),
    "fits": Harness(resources.fits, 10_000, "fits in one process, with flat memory"),
    "stream": Harness(resources.stream, 10**8, "steps of one stream, with flat memory"),
}


def main() -> int:
    """Run a harness; return 1 if there are failures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("harness", choices=[*HARNESSES, "all"])
    parser.add_argument("--times", type=int, help="number of attempts; all of a complete run")
    parser.add_argument("--write", action="store_true", help="write a file of results")
    options = parser.parse_args()
    if options.harness == "all":
        codes = [_alone(name, sys.argv[2:]) for name in HARNESSES]
        return max(codes)
    harness = HARNESSES[options.harness]
    times = options.times or harness.times
    start = time.monotonic()
    count, failures, numbers = harness.run(times)
    seconds = time.monotonic() - start
    for failure in failures[:20]:
        print(f"FAILURE {failure}")
    print(f"{count:,} {harness.unit} in {seconds:.0f} s, {len(failures)} failures; {numbers}")
    if options.write:
        command = f"python -m tests.stress {options.harness} --times {times}"
        results.write(
            options.harness,
            command,
            count,
            harness.unit,
            len(failures),
            seconds=seconds,
            **numbers,
        )
    return int(bool(failures))


def _alone(name: str, more: list[str]) -> int:
    command = [sys.executable, "-m", "tests.stress", name, *more]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
