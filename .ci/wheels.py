"""Wheels for Linux, built with zig and tested on this machine; see docs/wheels.md.

For each CPython found, a manylinux wheel for x86-64 is built from the sdist, repaired, checked, and
tested in clean environments. `--arm64 ROOT` cross-builds a wheel for the Python of an arm64 Debian
root and tests it there under qemu; `--musl` runs a test of the core, linked with musl. A table of
all wheels is printed at the end. After an interruption or a mended test, `--resume` runs only what
has not passed: a wheel is built again if its sources have changed, and tested again if it has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from wheel_tools.build import (
    ARM64,
    X86_64,
    Target,
    Workshop,
    build_arm64,
    build_x86_64,
    digest_of,
    find_pythons,
    repair,
)
from wheel_tools.checks import check_files, newest_glibc
from wheel_tools.commands import ROOT, CommandError
from wheel_tools.compilers import compare_compilers, test_musl
from wheel_tools.environments import test_in_clean_environment
from wheel_tools.report import Results, Row, table
from wheel_tools.roots import LAYERS, python_of, test_in_root

MAX_BYTES = 3_000_000


class Production:
    """A run: the wheels it builds, and the steps they go through."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.dist: Path = arguments.dist.resolve()
        self.dist.mkdir(parents=True, exist_ok=True)
        self.pythons = find_pythons(arguments.python)
        for root in filter(None, (arguments.root, arguments.arm64)):
            if python_of(root) not in self.pythons:
                sys.exit(f"{root} has Python {python_of(root)}; of these, there is none here")
        self.workshop = Workshop(arguments.work.resolve())
        self.sdist = self.workshop.make_sdist(self.dist)
        self.sources = self.workshop.digest()
        self.results = Results(self.workshop.directory / "results.json", resume=arguments.resume)

    def wheel(self, version: str, target: Target, build: Callable[[], Path]) -> Path:
        """Return a repaired wheel, the kept one if there is one of these sources."""
        step = f"wheel {version} {target.platform}"
        kept = self.results.find(step, self.sources)
        if kept:
            wheel = self.dist / kept["name"]
            if wheel.exists() and digest_of(wheel) == kept["digest"]:
                return wheel
        wheel = repair(build(), target, self.dist)
        self.results.keep(step, self.sources, {"name": wheel.name, "digest": digest_of(wheel)})
        return wheel

    def test(self, version: str, wheel: Path) -> Row:
        """Test a wheel of this machine's processor."""
        whole = self.arguments.full is None or version in self.arguments.full
        steps = [] if self.arguments.no_tests else ["alone", "extras"] if whole else ["alone"]
        return self.measure(
            wheel,
            lambda: test_in_clean_environment(
                self.workshop, self.results, version, self.pythons[version], wheel, steps
            ),
        )

    def test_root(self, root: Path, wheel: Path, target: Target, paths: str, where: str) -> Row:
        """Test a wheel in a Debian root, unless it has passed there."""

        def test() -> dict[str, object]:
            row = test_in_root(self.workshop, root, wheel, python_of(root), target, paths)
            row.tests = f"{where}: {row.tests}"
            return asdict(row)

        step = f"{where} {paths}"
        return self.measure(wheel, lambda: Row(**self.results.once(step, digest_of(wheel), test)))

    def measure(self, wheel: Path, test: Callable[[], Row]) -> Row:
        """Return the line of a wheel with its size, and print it."""
        row = attempt(Row(wheel.name), test)
        size = wheel.stat().st_size
        row.kilobytes, row.glibc = round(size / 1000), newest_glibc(wheel)
        if size > MAX_BYTES:
            row.problems.append(f"{size:,} bytes, must be at most {MAX_BYTES:,}")
        line = table([row]).rpartition("\n")[2]
        print(line, *row.problems, sep="\n", file=sys.stderr, flush=True)
        return row

    def run(self) -> int:
        """Build, check and test; print the table; return the exit code."""
        arguments, workshop = self.arguments, self.workshop
        wheels: dict[str, Path] = {}
        with ThreadPoolExecutor(arguments.jobs) as pool:  # tests run while others are built
            pending = []
            for version, python in self.pythons.items():
                build = partial(build_x86_64, workshop, python, version)
                wheels[version] = self.wheel(version, X86_64, build)
                pending.append(pool.submit(self.test, version, wheels[version]))
            if arguments.root:
                wheel = wheels[python_of(arguments.root)]
                where = f"in {arguments.root.name}"
                test = partial(self.test_root, arguments.root, wheel, X86_64, "", where)
                pending.append(pool.submit(test))
            if arguments.arm64:
                version = python_of(arguments.arm64)
                python = self.pythons[version]
                build = partial(build_arm64, workshop, arguments.arm64, python, version)
                wheel = self.wheel(version, ARM64, build)
                paths = "" if arguments.no_tests else LAYERS
                test = partial(self.test_root, arguments.arm64, wheel, ARM64, paths, "emulated")
                pending.append(pool.submit(test))
            problems = check_files(self.dist)
            others = [self.test_musl()] if arguments.musl else []
        kilobytes = round(self.sdist.stat().st_size / 1000)
        rows = [Row(self.sdist.name, kilobytes, tests="source of the wheels")]
        rows += [*(future.result() for future in pending), *others]
        print(table(rows))
        problems += [f"{row.wheel}: {problem}" for row in rows for problem in row.problems]
        print(*problems, sep="\n")
        if arguments.guard:  # last, so that a failure does not cost the table
            print(self.compare_compilers(next(iter(wheels)), wheels))
        return int(bool(problems))

    def test_musl(self) -> Row:
        """Test the core with musl."""

        def test() -> dict[str, object]:
            interpreter = self.workshop.environment(*next(iter(self.pythons.items())))
            return asdict(test_musl(self.workshop, interpreter))

        row = Row("core_test (no wheel)")
        return attempt(row, lambda: Row(**self.results.once("musl", self.sources, test)))

    def compare_compilers(self, version: str, wheels: dict[str, Path]) -> str:
        """Count the instructions of a wheel, and of g++'s."""
        wheel, python = wheels[version], self.pythons[version]
        outcome = self.results.once(
            "guard",
            digest_of(wheel),
            lambda: {"text": compare_compilers(self.workshop, version, python, wheel)},
        )
        return str(outcome["text"])


def attempt(row: Row, test: Callable[[], Row]) -> Row:
    """Return the line that a test makes; if a command of it fails, the one given says so."""
    try:
        return test()
    except CommandError as error:
        row.problems.append(str(error))
        return row


def main() -> int:
    """Read the command line, and run; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--python", nargs="*", default=[], help="versions (default: all that are found)"
    )
    parser.add_argument(
        "--full", nargs="*", default=None, help="versions whose whole suite runs (default: all)"
    )
    parser.add_argument("--no-tests", action="store_true", help="build and check only")
    parser.add_argument("--jobs", type=int, default=1, help="wheels that are tested at a time")
    parser.add_argument("--resume", action="store_true", help="run only what has not passed")
    parser.add_argument(
        "--arm64", type=Path, metavar="ROOT", help="arm64 Debian root with python3 and its headers"
    )
    parser.add_argument("--root", type=Path, help="Debian root with python3, to install a wheel in")
    parser.add_argument("--guard", action="store_true", help="count instructions, beside g++'s")
    parser.add_argument("--musl", action="store_true", help="test the core, linked with musl")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="directory of the results")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "wheels", help="directory of the builds"
    )
    try:
        return Production(parser.parse_args()).run()
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
