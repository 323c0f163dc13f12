"""Tests of wheels in Debian roots."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from wheel_tools.build import Target, Workshop
from wheel_tools.commands import clean_environment, run
from wheel_tools.environments import describe
from wheel_tools.report import Row

# Tests that run emulated, on one thread: threads that spin would wait for each other.
LAYERS = (
    "tests/nn/test_layers.py tests/nn/test_gradients.py tests/nn/test_linear.py "
    "tests/nn/test_lengths.py tests/_core/test_installation.py"
)


def python_of(root: Path) -> str:
    """Return the version of the Python of a root."""
    names = (path.name for path in (root / "usr/bin").iterdir())
    return next(name[6:] for name in names if re.fullmatch(r"python3\.\d+", name))


def test_in_root(
    workshop: Workshop, root: Path, wheel: Path, version: str, target: Target, paths: str
) -> Row:
    """Install the wheel in a Debian root, and run the README's first lines, and tests, there.

    The root has Python alone, and need not reach the network: the host's pip fetches the wheels.
    """
    row = Row(wheel.name)
    inside = root / "tmp/bptt"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(workshop.source, inside / "source")
    shutil.rmtree(inside / "source/python")  # the wheel is tested, not the source
    shutil.copy(wheel, inside)
    readme = (workshop.source / "README.md").read_text("utf-8")
    (inside / "readme.py").write_text(re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)[0])
    packages = ["pytest", "pytest-xdist", "hypothesis", "mpmath"] if paths else []
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
    older = [f"manylinux{name}_{target.processor}" for name in ("_2_27", "_2_24", "_2_17", "2014")]
    for platform in (target.platform, *older):
        download += ["--platform", platform]
    download += ["--python-version", version, "--dest", inside / "wheels", "numpy", *packages]
    run(download + (["exceptiongroup", "tomli"] if packages else []))
    enter = ["chroot", str(root), "env", "-i", "HOME=/root", "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"]
    python = "/tmp/bptt/venv/bin/python"
    run([*enter, "python3", "-m", "venv", "/tmp/bptt/venv"])
    install = [python, "-m", "pip", "install", "--quiet", "--no-index"]
    install += ["--find-links", "/tmp/bptt/wheels"]
    run([*enter, *install, f"/tmp/bptt/{wheel.name}"])
    run([*enter, python, "/tmp/bptt/readme.py"])
    row.tests = "README"
    describe(row, [*enter, python], clean_environment())
    if paths:
        run([*enter, *install, *packages])
        log = workshop.directory / f"tests-{target.processor}-root.log"
        print(f"+ tests of {row.wheel}: {log}", file=sys.stderr, flush=True)
        command = f"cd /tmp/bptt/source && BPTT_NUM_THREADS=1 {python} -m pytest -q -n0 {paths}"
        with log.open("w") as file:
            done = subprocess.run(
                [*enter, "sh", "-c", command], stdout=file, stderr=subprocess.STDOUT, check=False
            )
        last = log.read_text().rstrip().rpartition("\n")[2]
        row.tests += ", " + re.sub(r" in [\d.]+s.*", "", last.strip("= "))
        if done.returncode:
            row.problems.append(f"tests failed: {log}")
    return row
