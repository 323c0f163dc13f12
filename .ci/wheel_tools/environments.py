"""Tests of wheels in clean environments."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wheel_tools.build import Workshop, digest_of
from wheel_tools.commands import ROOT, clean_environment, run
from wheel_tools.report import Results, Row, summary

IMPORT_TIME = """
import time, numpy
start = time.perf_counter()
import bptt
print(time.perf_counter() - start)
"""


def test_in_clean_environment(
    workshop: Workshop,
    results: Results,
    version: str,
    python: Path,
    wheel: Path,
    steps: Sequence[str],
) -> Row:
    """Install the wheel in a new environment, and run the tests against it."""
    row = Row(wheel.name)
    environment = workshop.directory / f"test-{version}"
    shutil.rmtree(environment, ignore_errors=True)
    run([python, "-m", "venv", environment])
    interpreter = environment / "bin" / "python"
    run([interpreter, "-m", "pip", "install", "--quiet", wheel], env=clean_environment())
    describe(row, [interpreter], clean_environment())
    figures = {}
    for step in steps:
        log = workshop.directory / f"{step}-{version}.log"
        figures[step] = results.once(
            f"{step} {version}", digest_of(wheel), partial(test_step, interpreter, step, log)
        )
        if figures[step]["failed"]:
            row.problems.append(f"tests failed: {log}")
    row.tests = summary(figures)
    return row


def describe(row: Row, interpreter: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Fill in what the installed wheel says of itself, and the time of its import."""
    code = "import json, bptt; print(json.dumps(bptt.config()))"
    config = json.loads(run([*interpreter, "-c", code], env=environment, cwd="/").stdout)
    row.isa = f"{config['isa']} of {' '.join(config['isas_built'])}"
    row.threads = str(config["thread_engine"])
    command = [*interpreter, "-c", IMPORT_TIME]
    times = [
        float(subprocess.check_output(command, env=environment, cwd="/", text=True)) * 1e3
        for _ in range(11)
    ]
    row.import_ms = f"{min(times):.0f}"  # the least disturbed one


def test_step(interpreter: Path, step: str, log: Path) -> dict[str, Any]:
    """Run a step of test_wheel.py; return its figures."""
    report = log.with_suffix(".json")
    report.unlink(missing_ok=True)
    command = [interpreter, ROOT / ".ci" / "test_wheel.py", step, "--report", report]
    print(f"+ {step}: {log}", file=sys.stderr, flush=True)
    with log.open("w") as file:
        subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, check=False, env=clean_environment()
        )
    if not report.exists():
        return {"failed": 1}
    figures: dict[str, Any] = json.loads(report.read_text())[step]
    return figures
