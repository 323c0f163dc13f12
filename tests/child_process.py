"""Code that tests run in processes of their own, with shared libraries preloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run_code(code: str, *arguments: object, timeout: int = 120, **environment: str):
    """Run Python code in a new process; return the completed process, with its output.

    Libraries that are preloaded here, as those of sanitizers, come before the ones of the process.
    """
    if "LD_PRELOAD" in environment and "LD_PRELOAD" in os.environ:
        environment["LD_PRELOAD"] = f"{os.environ['LD_PRELOAD']} {environment['LD_PRELOAD']}"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def check_done(child: subprocess.CompletedProcess) -> None:
    """Check that the code of a process has printed "done" at its end, and nothing else."""
    assert (child.returncode, child.stdout) == (0, "done\n"), child.stderr


def compile_library(code: str, folder: Path, *options: str, compiler: str = "cc") -> Path:
    """Compile C code, or C++ with "c++", to a library; skip the test without a compiler."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    source, library = folder / ("shim.c" if compiler == "cc" else "shim.cpp"), folder / "shim.so"
    source.write_text(code)
    subprocess.run(
        [compiler, "-shared", "-fPIC", source, "-o", library, "-ldl", *options],
        env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
        check=True,
    )
    return library
