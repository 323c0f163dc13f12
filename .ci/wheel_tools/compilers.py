"""Zig's code beside that of g++, and linked with musl."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from wheel_tools.build import MUSL, Workshop, eigen
from wheel_tools.commands import ROOT, clean_environment, run, tool_environment
from wheel_tools.report import Row

COUNTS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import guard
print(json.dumps(guard.count_instructions()))
"""


def compare_compilers(workshop: Workshop, version: str, python: Path, wheel: Path) -> str:
    """Return the guard's instruction counts of the wheel, beside those of this machine's g++.

    g++ builds for this machine's glibc, so its wheel is not one to publish: what auditwheel says
    of it comes first.
    """
    interpreter = workshop.environment(version, python)
    compiler = shutil.which("g++")
    if compiler is None or shutil.which("valgrind") is None:
        return "The guard needs g++ and valgrind."
    definitions = {"EIGEN_INCLUDE_DIR": str(eigen(interpreter))}
    ours = workshop.build_wheel(interpreter, compiler, definitions)
    shown = run([sys.executable, "-m", "auditwheel", "show", ours], env=tool_environment()).stdout
    counts = []
    for name, file in (("g++", ours), ("zig", wheel)):
        environment = workshop.directory / f"guard-{name}"
        shutil.rmtree(environment, ignore_errors=True)
        run([python, "-m", "venv", environment])
        inside = environment / "bin" / "python"
        run([inside, "-m", "pip", "install", "--quiet", file], env=clean_environment())
        command = [inside, "-c", COUNTS, ROOT / "benchmarks"]
        counts.append(json.loads(run(command, env=clean_environment(), cwd="/").stdout))
    lines = [f"{'instructions of a call':54} {'g++':>12} {'zig':>12}"]
    for name, first in counts[0].items():
        second = counts[1][name]
        lines.append(f"{name:54} {first:12,} {second:12,} {second / first - 1:+7.1%}")
    mean = statistics.geometric_mean(counts[1][name] / counts[0][name] for name in counts[0])
    return "\n".join([*shown.split("\n"), *lines, f"geometric mean {mean - 1:+.1%}"])


def test_musl(workshop: Workshop, interpreter: Path) -> Row:
    """Run the test of the core, linked statically with musl."""
    row = Row("core_test (no wheel)")
    build = workshop.directory / "build-musl"
    shutil.rmtree(build, ignore_errors=True)
    definitions = {
        "BPTT_CORE_TEST": "ON",
        "BPTT_ISAS": "base",
        "BPTT_OPENMP": "OFF",
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_COMPILER": workshop.compiler(MUSL),
        "CMAKE_EXE_LINKER_FLAGS": "-static -s",
        "CMAKE_CXX_COMPILER_LAUNCHER": workshop.ccache or "",
        "EIGEN_INCLUDE_DIR": eigen(interpreter),
        "Python_EXECUTABLE": interpreter,
    }
    environment = clean_environment(
        CCACHE_COMPILERTYPE="clang", PATH=f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}"
    )
    flags = [f"-D{name}={value}" for name, value in definitions.items()]
    run(["cmake", "-G", "Ninja", "-S", workshop.source, "-B", build, *flags], env=environment)
    run(["cmake", "--build", build, "--target", "core_test"], env=environment)
    program = build / "core_test"
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    print(done.stdout)
    passed, failed = (done.stdout.count(f"{word}  ") for word in ("ok  ", "FAIL"))
    row.kilobytes = round(program.stat().st_size / 1000)
    row.glibc, row.tests, row.threads, row.isa = "musl", f"core: {passed}", "pool", "base"
    if failed or done.returncode:
        row.problems.append(f"core_test: {failed} failed, exit code {done.returncode}")
    return row
