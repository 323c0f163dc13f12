"""Bad input by the million: `python -m tests.fuzz --calls 1000000`.

Worker processes call every public callable with variations of valid arguments. A process that ends,
hangs or fills the memory is reported with the call that did it, and replaced. With `--write` the
result goes to `tests/fuzz/results/calls.json`. `--only NAME --first I --calls 1` repeats a call.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import math
import mmap
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CPU_SECONDS = 20  # of one call
SILENT_SECONDS = 600  # without a finished call, while the harness itself runs
MEMORY = 4 << 30  # address space that a worker may take, beyond what it has at its start
GROWTH = 600 << 20  # of the peak memory in one call
PLACE = struct.Struct("<qqq")  # index of the target, number of the call, finished calls


class TooLong(BaseException):
    """A call takes more than `CPU_SECONDS`."""


def main(arguments: list[str] | None = None) -> int:
    """Run the harness; return 1 if there are failures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop earlier")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="number of the first call of a target")
    parser.add_argument("--only", default="", help="beginning of the names of targets")
    parser.add_argument("--write", action="store_true", help="write tests/fuzz/results/calls.json")
    parser.add_argument("--worker", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--place", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker is not None:
        return _work(options)
    return _Harness(options).run()


# ---- workers -------------------------------------------------------------------------------------


def _plan(options: argparse.Namespace) -> dict[str, int]:
    """Return the number of calls of every target: fewer of those that take long."""
    from tests.fuzz.targets import targets

    made = {name: make for name, make in targets().items() if name.startswith(options.only)}
    weights = {}
    for name, make in made.items():
        target = make()
        start = time.process_time()
        target = make()
        with contextlib.suppress(Exception):
            target.function(**target.arguments)
        weights[name] = min(max(5e-4 / max(time.process_time() - start, 1e-5), 0.05), 1.0)
    total = sum(weights.values())
    return {name: max(1, round(options.calls * w / total)) for name, w in weights.items()}


def _work(options: argparse.Namespace) -> int:
    """Make the calls of the input, a JSON line for each piece, and print what they came to."""
    import warnings

    from tests.fuzz import judge
    from tests.fuzz.targets import targets

    warnings.simplefilter("ignore")
    limit_memory(MEMORY)
    made = targets()
    names = list(made)
    finished = 0
    place_file = Path(options.place)
    os.chdir(place_file.parent)  # where files with names such as "None" do no harm
    with place_file.open("r+b") as file, mmap.mmap(file.fileno(), PLACE.size) as place:

        def too_long(*_: object) -> None:
            raise TooLong

        signal.signal(signal.SIGVTALRM, too_long)
        for line in sys.stdin:
            name, first, stop = json.loads(line)
            kinds: collections.Counter[str] = collections.Counter()
            failures, unclear, slowest = [], {}, (0.0, 0)
            for i in range(first, stop):
                place[:] = PLACE.pack(names.index(name), i, finished)
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                start = time.process_time()
                signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
                text = ""
                try:
                    outcome, text = judge.call(
                        name, made[name], random.Random(_seed(options, name, i))
                    )
                except TooLong:
                    outcome = judge.Outcome("too long", f"took more than {CPU_SECONDS} s", "")
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                slowest = max(slowest, (time.process_time() - start, i))
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                if grown << 10 > GROWTH and not outcome.failure:
                    outcome = outcome._replace(failure=f"took {grown >> 10} MB")
                kinds[outcome.name] += 1
                if outcome.failure:
                    failures.append([i, outcome.failure, outcome.where, outcome.unclear, text])
                elif outcome.unclear:
                    unclear.setdefault(f"{outcome.where} {outcome.unclear}"[:160], i)
                finished += 1
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(json.dumps([name, kinds, failures, unclear, slowest, peak]), flush=True)
    return 0


def limit_memory(more: int) -> tuple[int, int]:
    """Limit the address space to `more` than now; return the limits before."""
    status = Path("/proc/self/statm")
    before = resource.getrlimit(resource.RLIMIT_AS)
    if status.exists():
        limit = int(status.read_text().split()[0]) * resource.getpagesize() + more
        known = [one for one in (limit, before[1]) if one != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min(known), before[1]))
    return before


def _seed(options: argparse.Namespace, name: str, i: int) -> str:
    return f"{options.seed}/{name}/{i}"


# ---- harness -------------------------------------------------------------------------------------

Piece = tuple[str, int, int]  # target, first call, call after the last


class _Worker:
    """A process that makes calls, and where it is."""

    def __init__(self, options: argparse.Namespace, number: int, folder: Path) -> None:
        self.file = folder / f"place{number}"
        self.file.write_bytes(PLACE.pack(-1, -1, 0))
        command = [sys.executable, "-m", "tests.fuzz", "--worker", str(number)]
        command += ["--seed", str(options.seed), "--place", str(self.file)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.piece: Piece | None = None
        self.silent, self.seen = 0, b""

    def send(self, piece: Piece) -> None:
        self.piece, self.silent = piece, 0
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(piece) + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait()

    def place(self) -> bytes:
        return self.file.read_bytes()


class _Harness:
    """Pieces of work, workers, and what the calls came to."""

    def __init__(self, options: argparse.Namespace) -> None:
        sys.path.insert(0, str(ROOT))
        self.options = options
        self.kinds: collections.Counter[str] = collections.Counter()
        self.calls: collections.Counter[str] = collections.Counter()
        self.failures: list[list[Any]] = []
        self.unclear: dict[str, list[Any]] = {}
        self.slowest: tuple[float, str, int] = (0.0, "", 0)
        self.peak = 0
        self.deadline = time.monotonic() + options.seconds

    def pieces(self) -> list[Piece]:
        first = self.options.first
        found = []
        for name, count in _plan(self.options).items():
            for start in range(0, count, 100):
                found.append((name, first + start, first + min(start + 100, count)))
        random.Random(self.options.seed).shuffle(found)
        return found

    def run(self) -> int:
        from tqdm import tqdm

        start = time.monotonic()
        waiting = self.pieces()
        total = sum(stop - first for _, first, stop in waiting)
        with tempfile.TemporaryDirectory() as folder, tqdm(total=total, mininterval=5) as bar:
            self._drive(waiting, Path(folder), bar)
        for sentence, (name, i) in sorted(self.unclear.items()):
            print(f"unclear {name} --first {i}: {sentence}")
        seconds = time.monotonic() - start
        count = sum(self.calls.values())
        print(f"\n{count:,} calls of {len(self.calls)} callables in {seconds:.0f} s")
        print(f"{len(self.failures)} failures; {dict(self.kinds.most_common())}")
        print(f"slowest call: {self.slowest}; peak memory of a process: {self.peak >> 10} MB")
        if self.options.write:
            self._write(seconds)
        return 1 if self.failures else 0

    def _write(self, seconds: float) -> None:
        from tests.fuzz import results

        path = results.write(
            "calls",
            f"python -m tests.fuzz --calls {self.options.calls} --seed {self.options.seed}",
            sum(self.calls.values()),
            "calls of public callables with bad input",
            len(self.failures),
            seconds=seconds,
            callables=len(self.calls),
            outcomes=dict(self.kinds.most_common()),
            slowest_seconds=round(self.slowest[0], 3),
            slowest=f"{self.slowest[1]} --first {self.slowest[2]}",
            peak_memory_mb=self.peak >> 10,
            calls=dict(sorted(self.calls.items())),
        )
        print(f"written: {path}")

    def _fail(self, name: str, i: int, *text: str) -> None:
        self.failures.append([name, i, *text])
        seed = self.options.seed
        print(f"\nFAILURE --seed {seed} --only {name} --first {i}: {' | '.join(text)[:1500]}")
        sys.stdout.flush()

    def _drive(self, waiting: list[Piece], folder: Path, bar: Any) -> None:
        import selectors

        selector = selectors.DefaultSelector()
        count = 0

        def start() -> None:
            nonlocal count
            worker = _Worker(self.options, count, folder)
            count += 1
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            worker.send(waiting.pop())

        for _ in range(min(self.options.workers, len(waiting))):
            start()
        before = time.monotonic()
        while selector.get_map():
            for key, _ in selector.select(timeout=1.0):
                worker: _Worker = key.data
                line = worker.process.stdout.readline()
                if line:
                    self._record(json.loads(line), bar)
                    worker.piece = None
                    if waiting:
                        worker.send(waiting.pop())
                        continue
                    worker.process.stdin.close()
                elif worker.piece is not None:
                    self._lost(worker, waiting)
                selector.unregister(worker.process.stdout)
                worker.close()
                if waiting and not line:
                    start()
            now = time.monotonic()
            if now > self.deadline:
                waiting.clear()
            if now - before < 5.0:  # else the harness itself was stopped
                self._watch([key.data for key in selector.get_map().values()], now - before)
            before = now

    def _watch(self, workers: list[_Worker], seconds: float) -> None:
        """End workers that are silent."""
        for worker in workers:
            place = worker.place()
            worker.silent = worker.silent + seconds if place == worker.seen else 0
            worker.seen = place
            if worker.silent > SILENT_SECONDS:
                worker.process.kill()

    def _lost(self, worker: _Worker, waiting: list[Piece]) -> None:
        """Record the call in which a process has ended; the rest of its piece waits again."""
        assert worker.piece is not None
        name, first, stop = worker.piece
        code = worker.process.wait()
        _, i, finished = PLACE.unpack(worker.place())
        if i < first and not finished:
            raise RuntimeError(f"a worker ended with code {code} before its first call")
        self._fail(name, i, f"the process ended with code {code}")
        self.calls[name] += i + 1 - first
        self.kinds["process ended"] += 1
        if i + 1 < stop:
            waiting.append((name, i + 1, stop))

    def _record(self, found: list[Any], bar: Any) -> None:
        name, kinds, failures, unclear, (seconds, i), peak = found
        self.kinds.update(kinds)
        self.calls[name] += sum(kinds.values())
        for failure in failures:
            self._fail(name, *failure)
        for sentence, number in unclear.items():
            self.unclear.setdefault(sentence, [name, number])
        self.slowest = max(self.slowest, (seconds, name, i))
        self.peak = max(self.peak, peak)
        bar.update(sum(kinds.values()))


if __name__ == "__main__":
    sys.exit(main())
