"""Ranks of MPI: one is killed at any moment of a training, which others resume."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tests import mpi_launcher
from tests.stress.outcome import Outcome

RANKS = 3
LONGEST = 600  # seconds until a training must have ended, also where others keep the cores busy
END = 60  # seconds until mpiexec must have ended after a kill, likewise
TOLERANCE = 1e-5  # of losses in float32, with another number of ranks


def kills(times: int) -> Outcome:
    """Kill a rank at a random moment; resume with as many ranks and with one fewer."""
    chance = random.Random(0)
    failures: list[str] = []
    slowest, in_time = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        whole, duration = _finish(RANKS, Path(folder) / "whole")
        for i in range(times):
            path = Path(folder) / str(i)
            path.mkdir()
            seconds = _kill(path, chance.randrange(RANKS), chance.random() * duration)
            if seconds is None:
                failures.append(f"{i}: mpiexec had not ended {END} s after a rank was killed")
                continue
            in_time += seconds > 0
            slowest = max(slowest, seconds)
            other = Path(folder) / f"{i}-fewer"
            shutil.copytree(path, other)
            failures += [f"{i}: {one}" for one in _compare(whole, path, other)]
    return Outcome(times, failures, {"in_training": in_time, "longest_end_in_s": round(slowest, 1)})


def _kill(path: Path, rank: int, delay: float) -> float | None:
    """Kill a rank some time after training has begun; return how long mpiexec then takes.

    The time is 0 if the training had ended before, and None if mpiexec does not end.
    """
    with subprocess.Popen(
        _command(RANKS, path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        pid = path / f"pid{rank}"
        while not pid.exists() and process.poll() is None:
            time.sleep(0.01)
        begin = time.monotonic()
        while process.poll() is None and time.monotonic() - begin < delay:
            time.sleep(0.001)
        if process.poll() is not None:
            return 0.0
        with suppress(ProcessLookupError):  # this rank has ended before
            os.kill(int(pid.read_text()), signal.SIGKILL)
        killed = time.monotonic()
        try:
            process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
        return time.monotonic() - killed


def _compare(whole: Any, same: Path, fewer: Path) -> list[str]:
    """Resume in both folders; return what differs from the training that was not interrupted."""
    failures = []
    found, _ = _finish(RANKS, same)
    if found != whole:
        failures.append(f"{RANKS} ranks ended with {found}, not {whole}")
    found, _ = _finish(RANKS - 1, fewer)
    if not np.allclose(found["losses"], whole["losses"], rtol=TOLERANCE, atol=0):
        failures.append(f"{RANKS - 1} ranks ended with {found['losses']}, not {whole['losses']}")
    return failures


def _command(ranks: int, path: Path) -> list[str]:
    return mpi_launcher.command(ranks, "-m", "tests.stress.ranks", path)


def _finish(ranks: int, path: Path) -> tuple[Any, float]:
    """Train to the end, from the checkpoint if there is one; return losses, digest and seconds."""
    path.mkdir(exist_ok=True)
    done = subprocess.run(
        _command(ranks, path), capture_output=True, text=True, timeout=LONGEST, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    return found, found.pop("seconds")


def _train(path: Path) -> None:
    """Train on this rank."""
    from mpi4py import MPI

    import bptt
    from bptt.distributed._gradients import digest

    comm = MPI.COMM_WORLD

    class Begin:
        def on_batch_end(self, training: Any) -> None:
            pid = path / f"pid{comm.rank}"
            if not pid.exists():
                pid.write_text(str(os.getpid()))

    source = np.random.default_rng(0)
    X = [source.standard_normal((n, 8)) for n in source.integers(5, 60, 640)]
    model = bptt.SequenceClassifier(
        hidden_size=64,
        epochs=6,
        random_state=0,
        checkpoint_path=path / "checkpoint",
        save_every=3,
        callbacks=[Begin()],
    )
    begin = time.monotonic()
    model.fit(X, [int(x.sum() > 0) for x in X], communicator=comm, resume=True)
    if comm.rank == 0:
        losses = [epoch.loss for epoch in model.history_]
        seconds = time.monotonic() - begin
        found = {"digest": digest(model.model_.modules), "losses": losses, "seconds": seconds}
        print(json.dumps(found))


if __name__ == "__main__":
    _train(Path(sys.argv[1]))
