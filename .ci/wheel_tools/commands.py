"""Commands, and the environment they run in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Host headers and flags reach the compiler through these.
LEAKS = (
    *("CC", "CXX", "CPPFLAGS", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CPATH", "C_INCLUDE_PATH"),
    *("CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "BPTT_ISA"),
    *("SKBUILD_CMAKE_DEFINE", "SKBUILD_CMAKE_ARGS", "CMAKE_ARGS", "CMAKE_PREFIX_PATH"),
)


class CommandError(Exception):
    """A command has failed; the message is the end of its output."""


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without what could reach the compiler."""
    return {name: value for name, value in os.environ.items() if name not in LEAKS} | more


def run(command: Sequence[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command; an error shows the end of its output."""
    print("+", *command, file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise CommandError(
            f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}\nfailed: {' '.join(map(str, command))}"
        )
    return done  # type: ignore[no-any-return]


def tool_environment() -> dict[str, str]:
    """Return the environment with the tools beside this interpreter first on PATH."""
    tools = Path(sys.executable).parent
    return clean_environment(PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")
