"""The mpiexec of the MPI library of mpi4py, which must be the one beside this Python."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path


@functools.cache
def mpiexec() -> str | None:
    """Return the path of mpiexec; None if there is none."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


@functools.cache
def options() -> tuple[str, ...]:
    """Return the arguments with which Open MPI starts more ranks than cores, also for root."""
    shown = subprocess.run([mpiexec(), "--version"], capture_output=True, text=True, check=False)
    is_open = "Open MPI" in shown.stdout or "prterun" in shown.stdout
    return ("--allow-run-as-root", "--oversubscribe") if is_open else ()


def command(ranks: int, *arguments: object) -> list[str]:
    """Return the command that runs this Python with these arguments on ranks."""
    return [mpiexec(), *options(), "-n", str(ranks), sys.executable, *map(str, arguments)]
