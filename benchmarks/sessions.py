"""Live streams: steps a second, latency under load, and memory of `bptt.Sessions`, on one core.

Prints the tables of docs/sessions.md. The load is open-loop: streams chosen at random send steps as
a Poisson process, whether the last ones have been answered or not. Every `--tick`, what has arrived
is stepped in one call; of a stream that has sent several steps, the others in further calls. The
latency of a step is the time from its arrival to the end of its call. The rate is the one at which
the core is busy for `--busy` of the time, found by trial and again after each minute: on a shared
machine a core is now faster, now slower. Arrivals are drawn in the same process, and count as well:
a core that draws and steps for more than all of its time never catches up.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("BPTT_NUM_THREADS", "1")

import numpy as np

import bptt

CELLS = {"lstm": bptt.LSTM, "gru": bptt.GRU}
BATCHES = (1, 10, 32, 100, 1000)
SIZES = (16, 32, 64, 128, 256, 512)
BIN = 1e-5  # seconds of latency
TRIALS, CLOSE = 10, 0.01
MOST_TICKS = 2


class Server:
    """Sessions that all have begun, and their inputs."""

    def __init__(self, cell: str, hidden: int, features: int, count: int) -> None:
        self.random = np.random.default_rng(0)
        self.sessions = bptt.Sessions(CELLS[cell](features, hidden, seed=0), capacity=count)
        self.keys = [f"stream {i}" for i in range(count)]
        self.x = self.random.standard_normal((count, features), dtype=np.float32)
        before = resident()
        for start in range(0, count, 1000):
            self.step(np.arange(start, min(start + 1000, count)))
        self.resident = resident() - before

    def step(self, streams: np.ndarray) -> None:
        keys = self.keys
        self.sessions.step([keys[i] for i in streams.tolist()], self.x[streams])

    def rate(self, batch: int, seconds: float) -> float:
        """Return steps a second with calls of this size, one after the other."""
        count = len(self.keys)
        batch = min(batch, count)
        chosen = [self.random.choice(count, batch, replace=False) for _ in range(64)]
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            self.step(chosen[done % len(chosen)])
            done += 1
        return done * batch / (time.perf_counter() - start)


def resident() -> int:
    """Return the bytes of memory of this process."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Latencies:
    """A histogram, and the 99th percentile of every second."""

    def __init__(self) -> None:
        self.counts, self.second = np.zeros((2, 100_000), np.int64)
        self.seconds: list[float] = []

    def add(self, seconds: np.ndarray) -> None:
        bins = np.minimum(seconds / BIN, len(self.counts) - 1).astype(np.intp)
        np.add.at(self.second, bins, 1)

    def end_second(self) -> None:
        self.seconds.append(percentile(self.second, 99))
        self.counts += self.second
        self.second[:] = 0


def percentile(counts: np.ndarray, percent: float) -> float:
    """Return milliseconds, rounded up to a bin."""
    below = np.cumsum(counts)
    place = np.searchsorted(below, percent / 100 * below[-1])
    return float((place + 1) * BIN * 1e3)


def calls_of(streams: np.ndarray) -> Iterator[np.ndarray]:
    """Yield places of arrivals, each stream once: first its first step, then its second, ..."""
    left = np.arange(len(streams))
    while len(left):
        _, first = np.unique(streams[left], return_index=True)
        yield left[np.sort(first)]
        left = np.delete(left, first)


def load(server: Server, rate: float, tick: float, seconds: float) -> tuple[float, Latencies]:
    """Return the share of time that was busy, and the latencies."""
    latencies, slept, random = Latencies(), 0.0, server.random
    start = last = time.perf_counter()
    while last - start < seconds:
        if (pause := last + tick - time.perf_counter()) > 0:
            before = time.perf_counter()
            time.sleep(pause)
            slept += time.perf_counter() - before
        now = min(time.perf_counter(), last + MOST_TICKS * tick)  # what is late comes in parts
        arrived = np.sort(random.uniform(last, now, random.poisson(rate * (now - last))))
        streams = random.integers(0, len(server.keys), len(arrived))
        last = now
        for places in calls_of(streams):
            server.step(streams[places])
            latencies.add(time.perf_counter() - arrived[places])
        if last - start > len(latencies.seconds) + 1:
            latencies.end_second()
    latencies.end_second()
    return 1 - slept / (time.perf_counter() - start), latencies


def rate_of(server: Server, busy: float, tick: float, seconds: float) -> float:
    """Return the rate at which the core is busy for this share of the time."""
    rate = 0.5 * busy * server.rate(1000, seconds)
    for _ in range(TRIALS):
        share, _ = load(server, rate, tick, seconds)
        if abs(share - busy) < CLOSE:
            break
        rate *= busy / share
    return rate


def print_table(header: str, rows: list[list[str]]) -> None:
    print(f"\n{header}")
    print("|" + "---|" * (header.count("|") - 1))
    for row in rows:
        print(f"| {' | '.join(row)} |")


def report_load(server: Server, arguments: argparse.Namespace) -> None:
    rate = rate_of(server, arguments.busy, arguments.tick / 1e3, arguments.seconds)
    rows = []
    minutes, whole = arguments.minutes, max(round(arguments.minutes), 1)
    for minute in range(whole):
        share, latencies = load(server, rate, arguments.tick / 1e3, 60 * minutes / whole)
        p50, p99, worst = (percentile(latencies.counts, p) for p in (50, 99, 100))
        second = float(np.median(latencies.seconds))
        memory = [f"{server.sessions.nbytes / 1e6:.2f}", f"{resident() / 1e6:.1f}"]
        times = [f"{milliseconds:.2f}" for milliseconds in (p50, second, p99, worst)]
        rows.append([str(minute + 1), f"{rate:,.0f}", f"{share:.0%}", *times, *memory])
        rate *= arguments.busy / share
    columns = "minute | steps/s | busy | p50, ms | p99 of the median second | p99 | worst"
    print_table(f"| {columns} | sessions, MB | process, MB |", rows)


def report_sizes(arguments: argparse.Namespace) -> None:
    rows = []
    for hidden in SIZES:
        for cell in CELLS:
            server = Server(cell, hidden, arguments.features, arguments.sessions)
            rate = server.rate(1000, arguments.seconds)
            streams = [f"{arguments.busy * rate / often:,.0f}" for often in (10, 100)]
            size = server.sessions.bytes_per_session
            rows.append([str(hidden), cell, f"{size:,}", f"{rate:,.0f}", *streams])
    columns = "H | cell | bytes a session | steps/s | streams of 10 steps/s"
    print_table(f"| {columns} | streams of 100 steps/s |", rows)


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add: Any = parser.add_argument
    add("--cell", choices=list(CELLS), default="lstm")
    add("--hidden", type=int, default=64)
    add("--features", type=int, default=16)
    add("--sessions", type=int, default=10_000)
    add("--busy", type=float, default=0.8, help="share of the core's time")
    add("--tick", type=float, default=1.0, help="milliseconds between calls")
    add("--minutes", type=float, default=1.0, help="of load; a row is printed for each")
    add("--seconds", type=float, default=2.0, help="of every other measurement")
    add("--sizes", action="store_true", help="also the table of streams a core by H")
    arguments = parser.parse_args(given)
    server = Server(arguments.cell, arguments.hidden, arguments.features, arguments.sessions)
    count, sessions = arguments.sessions, server.sessions
    print(f"{count:,} sessions of {arguments.cell.upper()}, {arguments.hidden} units")
    print(f"bytes of the state of a session: {sessions.bytes_per_session:,}")
    print(f"bytes of all arrays, for each session: {sessions.nbytes / count:,.1f}")
    print(f"growth of the process, for each session: {server.resident / count:,.1f}")
    rows = []
    for batch in (one for one in BATCHES if one <= count):
        rate = server.rate(batch, arguments.seconds)
        rows.append([f"{batch:,}", f"{rate:,.0f}", f"{1e6 * batch / rate:,.1f}"])
    print_table("| streams in a call | steps/s | µs a call |", rows)
    report_load(server, arguments)
    if arguments.sizes:
        report_sizes(arguments)


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    main()
