"""Tests of the installed wheel: with the oldest NumPy alone, then with the newest and all extras.

Run with the interpreter of an environment in which bptt is installed; it installs there what the
tests need, as wheels alone. The package under test is the installed one, never the source tree.

- ``alone``: the oldest NumPy that the wheel accepts, pytest, Hypothesis and mpmath; the tests of
  kernels, layers, losses, optimizers, decoding and reference.
- ``extras``: the newest NumPy and the extra ``test``; all tests. Where an extra has no wheel for
  this Python or platform, the tests of ``alone`` run with the newest NumPy.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("pytest>=8.2", "pytest-xdist>=3.6", "hypothesis>=6.100", "mpmath>=1.3")
ALONE = (
    "tests/_core",
    "tests/nn",
    "tests/optim",
    "tests/decoding",
    "tests/reference",
    "tests/test_losses.py",
    "tests/test_metrics.py",
    # Files need safetensors, and the table of errors has those of files and estimators.
    "--ignore=tests/nn/test_serialization.py",
    "--ignore=tests/_core/test_errors.py",
)
USED = """
import json, os, bptt
print(json.dumps({**bptt.config(), "folder": os.path.dirname(bptt.__file__)}))
"""


def main() -> int:
    """Run the steps that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("steps", nargs="*", choices=["alone", "extras", []], help="default: both")
    parser.add_argument("--report", type=Path, help="write figures of the run as JSON to this file")
    parser.add_argument("--pytest", default="", help="further arguments of pytest")
    arguments = parser.parse_args()
    report = {}
    for step in arguments.steps or ["alone", "extras"]:
        report[step] = alone(arguments.pytest) if step == "alone" else extras(arguments.pytest)
        if arguments.report:
            arguments.report.write_text(json.dumps(report, indent=1))
    return int(any(figures["failed"] for figures in report.values()))


def alone(options: str) -> dict[str, object]:
    """Test with the oldest NumPy, and without any optional package."""
    if not install(f"numpy=={oldest_numpy()}", *TOOLS):
        sys.exit(f"no wheel of numpy {oldest_numpy()} for this Python")
    return run_tests(ALONE, options)


def extras(options: str) -> dict[str, object]:
    """Test with the newest NumPy and everything that is optional."""
    if install("--upgrade", "numpy", *extra("test")):
        return run_tests(("tests",), options)
    print("some extras have no wheels here: the tests that need NumPy alone", flush=True)
    install("--upgrade", "numpy", *TOOLS)
    return run_tests(ALONE, options)


def install(*requirements: str) -> bool:
    """Install wheels; False if one cannot be had."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    print("+ pip install", *requirements, flush=True)
    return subprocess.run([*command, *requirements], check=False).returncode == 0


def applicable(name: str, extra_name: str = "") -> list[str]:
    """Return the requirements of the installed bptt on `name`, without their markers."""
    from pip._vendor.packaging.requirements import Requirement

    found = []
    for line in requires("bptt") or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": extra_name}):
            wanted = bool(marker and "extra" in str(marker)) == bool(extra_name)
            if wanted and (not name or requirement.name == name):
                requirement.marker = None
                found.append(str(requirement))
    return found


def extra(name: str) -> list[str]:
    """Return the requirements of an extra; those on bptt's own extras are followed."""
    found = []
    for requirement in applicable("", name):
        own = re.fullmatch(r"bptt\[(.*)\]", requirement)
        found += [r for other in own[1].split(",") for r in extra(other)] if own else [requirement]
    return found


def oldest_numpy() -> str:
    """Return the oldest version of NumPy that the installed wheel accepts with this Python."""
    (requirement,) = applicable("numpy")
    return requirement.partition(">=")[2]


def run_tests(paths: tuple[str, ...], options: str) -> dict[str, object]:
    """Run pytest against the installed package; return what was used, and what passed."""
    environment = {
        name: v for name, v in os.environ.items() if name not in ("PYTHONPATH", "BPTT_ISA")
    }
    used = json.loads(
        subprocess.run(
            [sys.executable, "-c", USED],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        ).stdout
    )
    if Path(used["folder"]).is_relative_to(ROOT / "python"):
        sys.exit(f"this is the source tree, not a wheel: {used['folder']}")
    print(json.dumps(used), flush=True)
    command = [sys.executable, "-m", "pytest", "-q", *paths, *options.split()]
    print("+", *command[1:], flush=True)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    last = ""
    for line in process.stdout or ():
        print(line, end="", flush=True)
        last = line if re.search(r"\d+ (passed|failed|error)", line) else last
    code = process.wait()
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped)", last)}
    counts["failed"] = max(counts.get("failed", 0), int(code != 0))
    return {**used, **counts}


if __name__ == "__main__":
    sys.exit(main())
