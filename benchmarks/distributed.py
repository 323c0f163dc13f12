"""Training on ranks of MPI: time of the exchange against bytes, and of updates against ranks.

    python benchmarks/distributed.py            # a minute or two, on an idle machine
    python benchmarks/distributed.py --write    # also to benchmarks/results/distributed.md
    sudo python benchmarks/distributed.py --network 10gbit --network 1gbit

The first table has the median time of a sum over ranks, in the fixed order of bptt and by
MPI_Allreduce; the second that of an update of three models with the shapes of examples, on
generated data: one process on one and on two threads, two ranks of one thread each, and four, which
share two cores where there are no more. "Exchange" is the time in sums on rank 0, with waiting for
other ranks. With `--network`, each of two ranks of MPICH has a network namespace of its own, and
the link between them this bandwidth (`ip netns`, `tc`; needs root). The constants that are fitted
are those of the model of cost in docs/scale.md. It starts the mpiexec beside this Python.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "distributed.md"
BYTES = [4 << k for k in range(8, 25, 2)]  # 1 KiB to 64 MiB
SECONDS = 0.4  # of one measurement of an exchange
UPDATES = 30  # of a measurement
WARM_UP = 5  # updates
CONFIGURATIONS = [("1 process, 1 thread", 1, 1), ("1 process, 2 threads", 1, 2)]
CONFIGURATIONS += [("2 ranks, 1 thread each", 2, 1), ("4 ranks, 1 thread each", 4, 1)]
OPEN_MPI = ("--allow-run-as-root", "--oversubscribe", "--bind-to", "none")
NETWORK_BYTES = [4 << k for k in range(8, 21, 3)]


# ---- on a rank


def measure_exchange(sizes: Sequence[int]) -> list[list[float]]:
    """Return bytes, and the times of the sum in the order of ranks and of MPI_Allreduce."""
    from mpi4py import MPI

    from bptt.distributed._ordered_sum import ordered_sum

    comm = MPI.COMM_WORLD
    rows = []
    for size in sizes:
        values = np.zeros(size // 4, np.float32)  # it is summed again and again
        received = np.empty_like(values)

        def ordered(values: Any = values) -> None:
            ordered_sum(comm, values)

        def allreduce(values: Any = values, received: Any = received) -> None:
            comm.Allreduce(values, received)

        rows.append([size, _time(comm, ordered), _time(comm, allreduce)])
    return rows


def _time(comm: Any, call: Callable[[], None]) -> float:
    """Return the median time of a call that all ranks begin together."""
    samples: list[float] = []
    begin = time.perf_counter()
    while True:
        comm.Barrier()
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
        is_done = len(samples) >= 5 and time.perf_counter() - begin > SECONDS
        if comm.bcast(is_done, root=0):
            return statistics.median(samples[1:])


def tagger() -> tuple[Any, Any, Any]:
    """Bidirectional tagger of words, as examples/pos_tagging.py."""
    from bptt import SequenceTagger

    random = np.random.default_rng(0)
    X = [random.integers(0, 5000, n) for n in random.integers(5, 40, 4000)]
    options = {"embedding_size": 64, "bidirectional": True, "hidden_size": 96}
    return SequenceTagger, options, (X, [x % 17 for x in X])


def characters() -> tuple[Any, Any, Any]:
    """Language model of characters, as examples/shakespeare.py."""
    from bptt import LanguageModel

    random = np.random.default_rng(0)
    X = [random.integers(0, 65, 100) for _ in range(4000)]
    return LanguageModel, {"hidden_size": 256}, (X,)


def classifier() -> tuple[Any, Any, Any]:
    """Small classifier of short series, as examples/activity.py."""
    from bptt import SequenceClassifier

    random = np.random.default_rng(0)
    X = random.standard_normal((8000, 50, 6)).astype(np.float32)
    return SequenceClassifier, {"hidden_size": 32}, (X, np.arange(len(X)) % 6)


MODELS = {
    "tagger, H 96 × 2 directions": tagger,
    "characters, H 256": characters,
    "classifier, H 32": classifier,
}


def measure_updates(name: str) -> dict[str, float]:
    """Return the median times of an update and of its exchange, and the bytes exchanged."""
    from bptt.distributed import Communicator

    comm: Any = Communicator() if os.environ.get("BENCHMARK_RANKS", "1") != "1" else None
    in_sums = [0.0]
    sent = [0]
    plain = Communicator._sum

    def timed(self: Any, values: Any) -> None:
        start = time.perf_counter()
        plain(self, values)
        in_sums[0] += time.perf_counter() - start
        sent[0] = values.nbytes

    Communicator._sum = timed  # type: ignore[method-assign]
    recorder = _Recorder(in_sums)
    kind, options, data = MODELS[name]()
    model = kind(epochs=1, batch_size=32, random_state=0, callbacks=[recorder], **options)
    with suppress(_Enough):
        model.fit(*data, communicator=comm)
    return {"update": recorder.update, "exchange": recorder.exchange, "bytes": sent[0]}


class _Enough(Exception):  # noqa: N818 - no error
    pass


class _Recorder:
    """Callback that records the times of updates, and ends the training after enough of them."""

    def __init__(self, in_sums: list[float]) -> None:
        self._in_sums = in_sums
        self._times: list[tuple[float, float]] = []

    def on_batch_end(self, training: Any) -> None:
        self._times.append((time.perf_counter(), self._in_sums[0]))
        if len(self._times) > WARM_UP + UPDATES:
            raise _Enough

    def _median(self, column: int) -> float:
        values = np.array(self._times)[WARM_UP:, column]
        return float(np.median(np.diff(values)))

    @property
    def update(self) -> float:
        return self._median(0)

    @property
    def exchange(self) -> float:
        return self._median(1)


# ---- the parent


def mpiexec(before: Sequence[Sequence[str]], arguments: Iterable[str], threads: int = 1) -> Any:
    """Run this script on ranks, each after its command; return what rank 0 prints, as JSON."""
    found = Path(sys.executable).with_name("mpiexec")
    program = str(found if found.exists() else shutil.which("mpiexec"))
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    is_open = "Open MPI" in version.stdout or "prterun" in version.stdout
    command = [program, *(OPEN_MPI if is_open else ())]
    for one in before:
        command += [":"] if "-n" in command else []
        command += ["-n", "1", *one, sys.executable, __file__, *arguments]
    variables = {"OMP_NUM_THREADS": str(threads), "BENCHMARK_RANKS": str(len(before))}
    done = subprocess.run(
        command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def fit_line(rows: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return seconds of latency and seconds per byte of the sums, by relative least squares."""
    size, seconds = np.array(rows)[:, :2].T
    columns = np.stack([1 / seconds, size / seconds], axis=1)
    (latency, per_byte), *_ = np.linalg.lstsq(columns, np.ones(len(size)), rcond=None)
    return float(latency), float(per_byte)


def exchange_table(title: str, measured: dict[str, list[list[float]]]) -> list[str]:
    """Return the table of the times of sums, and the constants fitted to them."""
    names = list(measured)
    head = " | ".join(f"{name}, fixed order | {name}, Allreduce" for name in names)
    lines = [f"\n{title}\n", f"| bytes | {head} |", "|" + "---|" * (1 + 2 * len(names))]
    for k, (size, *_) in enumerate(next(iter(measured.values()))):
        times = [one for name in names for one in measured[name][k][1:]]
        lines.append(f"| {int(size):,} | " + " | ".join(_shown(one) for one in times) + " |")
    lines.append("")
    for name in names:
        latency, per_byte = fit_line(measured[name])
        lines.append(f"- {name}: {_shown(max(latency, 0))} + {1e9 * per_byte:.3f} ns a byte")
    return lines


def updates_table() -> list[str]:
    """Measure updates; return their table."""
    lines = [
        "\nUpdates of 32 sequences, milliseconds; efficiency against one process on two threads:\n",
        "| model | configuration | update | exchange | bytes | efficiency |",
        "|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        times = {}
        for title, ranks, threads in CONFIGURATIONS:
            found = mpiexec([[]] * ranks, ["--updates", name], threads)
            times[title] = found["update"]
            base = times.get(CONFIGURATIONS[1][0])
            efficiency = f"{base / found['update']:.0%}" if base else ""
            exchange = f"{1e3 * found['exchange']:.3f} | {found['bytes']:,}" if ranks > 1 else " | "
            lines.append(
                f"| {name} | {title} | {1e3 * found['update']:.2f} | {exchange} | {efficiency} |"
            )
    return lines


def _shown(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} µs"


# ---- a network of two namespaces


def with_network(rate: str) -> list[list[float]]:
    """Return the times of sums of two ranks that are connected by TCP with this bandwidth."""
    names = ["bptt-rank0", "bptt-rank1"]
    try:
        for name in names:
            _run("ip", "netns", "add", name)
        _run("ip", "link", "add", "bptt0", "type", "veth", "peer", "name", "bptt1")
        for k, name in enumerate(names):
            _run("ip", "link", "set", f"bptt{k}", "netns", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run("ip", "-n", name, "addr", "add", f"10.77.0.{k + 1}/24", "dev", f"bptt{k}")
            _run("ip", "-n", name, "link", "set", f"bptt{k}", "up")
            limit = ["tbf", "rate", rate, "burst", "256kb", "latency", "400ms"]
            _run("tc", "-n", name, "qdisc", "add", "dev", f"bptt{k}", "root", *limit)
        os.environ.update(MPIR_CVAR_NOLOCAL="1", UCX_TLS="tcp,self")  # of MPICH
        rows: list[list[float]] = mpiexec(
            [["ip", "netns", "exec", name] for name in names],
            ["--exchange", json.dumps(NETWORK_BYTES)],
        )
        return rows
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def main() -> None:
    """Measure, print, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    parser.add_argument(
        "--network", action="append", default=[], metavar="RATE", help="also by TCP"
    )
    parser.add_argument("--exchange", help=argparse.SUPPRESS)
    parser.add_argument("--updates", help=argparse.SUPPRESS)
    options = parser.parse_args()
    found: Any = None
    if options.exchange:
        found = measure_exchange(json.loads(options.exchange))
    elif options.updates:
        found = measure_updates(options.updates)
    if found is not None:
        if os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")) == "0":
            print(json.dumps(found))
        return
    cores = len(os.sched_getaffinity(0))
    sizes = ["--exchange", json.dumps(BYTES)]
    measured = {f"{n} ranks": mpiexec([[]] * n, sizes) for n in (2, 4)}
    lines = [f"# Training on ranks of MPI\n\n`python benchmarks/distributed.py`, {cores} cores."]
    lines += exchange_table("Sum over ranks on one machine:", measured)
    lines += updates_table()
    for rate in options.network:
        title = f"Sum of two ranks by TCP, bandwidth {rate}:"
        lines += exchange_table(title, {"2 ranks": with_network(rate)})
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        RESULT.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
