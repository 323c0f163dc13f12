"""The harnesses with few attempts: `python -m tests.stress` makes many."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("sklearn")

from tests.stress.__main__ import HARNESSES, ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Forks are those of tests/_core/test_threads.py, ranks of MPI those of tests/mpi_ranks.
ATTEMPTS = {
    "assignments": 400,
    "exits": 4,
    "fits": 40,
    "interruptions": 15,
    "million": 30_000,
    "stream": 20_000,
    "workers": 7,  # one pool of each kind
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_few_attempts(name):
    command = [sys.executable, "-m", "tests.stress", name, "--times", str(ATTEMPTS[name])]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    assert child.stdout.count("FAILURE") == 0


def test_harnesses_that_time_are_the_others():
    assert set(HARNESSES) - set(ATTEMPTS) == {"counts", "denormals", "forks", "pools", "ranks"}
