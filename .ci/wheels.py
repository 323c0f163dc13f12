"""Wheels for Linux, built with zig and tested on this machine; see docs/wheels.md.

For each CPython found, a manylinux wheel for x86-64 is built from the sdist, repaired, checked, and
tested in clean environments. `--arm64 ROOT` cross-builds a wheel for the Python of an arm64 Debian
root and tests it there under qemu; `--musl` runs a test of the core, linked with musl. A table of
all wheels is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from platform import machine

import tomllib
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

ROOT = Path(__file__).resolve().parents[1]
GLIBC = "2.28"
MAX_BYTES = 3_000_000
# Host headers and flags reach the compiler through these.
LEAKS = (
    *("CC", "CXX", "CPPFLAGS", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CPATH", "C_INCLUDE_PATH"),
    *("CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "BPTT_ISA"),
    *("SKBUILD_CMAKE_DEFINE", "SKBUILD_CMAKE_ARGS", "CMAKE_ARGS", "CMAKE_PREFIX_PATH"),
)
# Tests that run emulated, on one thread: threads that spin would wait for each other.
LAYERS = (
    "tests/nn/test_layers.py tests/nn/test_gradients.py tests/nn/test_linear.py "
    "tests/nn/test_lengths.py tests/_core/test_installation.py"
)
IMPORT_TIME = """
import time, numpy
start = time.perf_counter()
import bptt
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Target:
    """A platform that zig compiles for."""

    zig: str
    platform: str
    """Tag of the repaired wheel."""
    processor: str


X86_64 = Target(
    f"x86_64-linux-gnu.{GLIBC}", f"manylinux_{GLIBC.replace('.', '_')}_x86_64", "x86_64"
)
ARM64 = Target(
    f"aarch64-linux-gnu.{GLIBC}", f"manylinux_{GLIBC.replace('.', '_')}_aarch64", "aarch64"
)


MUSL = Target("x86_64-linux-musl", "musllinux_1_2_x86_64", "x86_64")


@dataclass
class Row:
    """A line of the table."""

    wheel: str
    tag: str
    kilobytes: int = 0
    glibc: str = ""
    import_ms: str = ""
    tests: str = ""
    threads: str = ""
    isa: str = ""
    problems: list[str] = field(default_factory=list)


# ---- build


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without what could reach the compiler."""
    return {name: value for name, value in os.environ.items() if name not in LEAKS} | more


def run(command: Sequence[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command; on failure print its output and end."""
    print("+", *command, file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(
            f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}\nfailed: {' '.join(map(str, command))}"
        )
    return done  # type: ignore[no-any-return]


def find_pythons(wanted: Sequence[str]) -> dict[str, Path]:
    """Return the interpreters of CPython that can be found, by version: of PATH and of pyenv."""
    minimum = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest = int(minimum.partition(">=3.")[2])
    names = [f"python3.{minor}{t}" for minor in range(oldest, oldest + 10) for t in ("", "t")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    paths = [Path(path) for path in map(shutil.which, names) if path]
    paths += sorted(pyenv.glob("3.*/bin/python"))
    code = (
        "import sys, sysconfig as s; free = 't' if s.get_config_var('Py_GIL_DISABLED') else ''; "
        "version = '%d.%d' % sys.version_info[:2] + free; "
        "print(sys.implementation.name, version, s.get_config_h_filename())"
    )
    found: dict[str, Path] = {}
    for path in paths:
        answer = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        name, version, header = (*answer.stdout.split(), "", "", "")[:3]
        if name == "cpython" and Path(header).exists() and f"python{version}" in names:
            found[version] = path
    missing = [version for version in wanted if version not in found]
    if missing:
        sys.exit(f"no CPython {', '.join(missing)} with headers; found {', '.join(found)}")
    order = sorted(found, key=lambda v: (int(v.rstrip("t").partition(".")[2]), v))
    return {version: found[version] for version in order if not wanted or version in wanted}


class Workshop:
    """Directories, compilers and the unpacked sdist of a run.

    Every build uses the same paths, so that a compiler cache finds the core's objects again for
    each version of Python.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = directory / "source"
        self.build = directory / "build"
        self.raw = directory / "raw"
        self.ccache = shutil.which("ccache")
        for path in (self.source, self.build, self.raw):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)

    def make_sdist(self, dist: Path) -> Path:
        """Build the sdist, and unpack it: wheels are built from it alone."""
        run([sys.executable, "-m", "build", "--sdist", "--outdir", dist, ROOT])
        sdist = max(dist.glob("bptt-*.tar.gz"), key=lambda path: path.stat().st_mtime)
        with tarfile.open(sdist) as archive:
            archive.extractall(self.directory / "unpacked", filter="data")
        self.source.rmdir()
        (self.directory / "unpacked" / sdist.name.removesuffix(".tar.gz")).rename(self.source)
        return sdist

    def compiler(self, target: Target) -> Path:
        """Return a C++ compiler of one word for a target of zig."""
        import ziglang

        zig = Path(ziglang.__file__).with_name("zig")
        path = self.directory / f"c++-{target.zig}"
        path.write_text(f'#!/bin/sh\nexec "{zig}" c++ -target {target.zig} "$@"\n')
        path.chmod(0o755)
        return path

    def environment(self, version: str, python: Path) -> Path:
        """Return the interpreter of an environment with the build requirements."""
        environment = self.directory / f"build-{version}"
        interpreter = environment / "bin" / "python"
        if not interpreter.exists():
            run([python, "-m", "venv", environment])
        requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
        install = [interpreter, "-m", "pip", "install", "--quiet", "--upgrade"]
        run([*install, "pip"])  # older ones do not know -C
        run([*install, *requires, "cmake", "ninja"])
        return interpreter

    def build_wheel(
        self, interpreter: Path, compiler: str | Path, definitions: Mapping[str, str], **more: str
    ) -> Path:
        """Build a wheel that is not repaired yet."""
        shutil.rmtree(self.build)
        shutil.rmtree(self.raw)
        settings = {"CMAKE_MODULE_LINKER_FLAGS": "-s", "BPTT_OPENMP": "OFF", **definitions}
        if self.ccache:
            settings["CMAKE_CXX_COMPILER_LAUNCHER"] = self.ccache
        environment = clean_environment(
            CXX=str(compiler),
            CMAKE_GENERATOR="Ninja",
            CCACHE_COMPILERTYPE="clang"
            if "zig" in Path(compiler).read_text("latin1")[:99]
            else "auto",
            CCACHE_COMPILERCHECK="content",
            SKBUILD_CMAKE_DEFINE=";".join(f"{name}={value}" for name, value in settings.items()),
            SKBUILD_INSTALL_STRIP="false",  # the linker strips, for other processors as well
            PATH=f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}",
            **more,
        )
        run(
            [
                *(interpreter, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps"),
                *(f"-Cbuild-dir={self.build}", "--wheel-dir", self.raw, self.source),
            ],
            env=environment,
            cwd=self.directory,
        )
        if self.directory in Path(compiler).parents:
            self.check_headers(interpreter.with_name("ninja"))
        (wheel,) = self.raw.glob("*.whl")
        return wheel

    def check_headers(self, ninja: Path) -> None:
        """End if the compiler has read headers of this machine's C library."""
        deps = run([ninja, "-C", self.build, "-t", "deps"]).stdout
        host = sorted({line.strip() for line in deps.splitlines() if " /usr/include" in line})
        if host or "/libcxx/include" not in deps:
            sys.exit(f"zig must read its own headers alone, has read {host[:5]}")


def tool_environment() -> dict[str, str]:
    """Return the environment with the tools beside this interpreter first on PATH."""
    tools = Path(sys.executable).parent
    return clean_environment(PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")


def repair(wheel: Path, target: Target, dist: Path) -> Path:
    """Check that the wheel runs on the target's platforms, and tag it so."""
    platform = target.platform if target.processor == machine() else "auto"
    before = set(dist.glob("*.whl"))
    run(
        [
            *(sys.executable, "-m", "auditwheel", "repair", "--only-plat", "--plat", platform),
            *("--wheel-dir", dist, wheel),
        ],
        env=tool_environment(),
    )
    made = set(dist.glob("*.whl")) - before
    return made.pop() if made else max(dist.glob("*.whl"), key=lambda path: path.stat().st_mtime)


# ---- checks


def newest_glibc(wheel: Path) -> str:
    """Return the newest version of glibc that a symbol of the wheel needs."""
    versions = {(0,)}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if ".so" not in Path(name).name:
                continue
            with archive.open(name) as file:
                section = ELFFile(file).get_section_by_name(".gnu.version_r")
                if not isinstance(section, GNUVerNeedSection):
                    continue
                for _, auxiliaries in section.iter_versions():
                    for auxiliary in auxiliaries:
                        found = re.fullmatch(r"GLIBC_([\d.]+)", auxiliary.name)
                        if found:
                            versions.add(tuple(map(int, found[1].split("."))))
    return ".".join(map(str, max(versions)))


def check_files(dist: Path) -> list[str]:
    """Return what the checkers of distributions say against the files."""
    files = [*sorted(dist.glob("*.whl")), *sorted(dist.glob("*.tar.gz"))]
    wheels = [path for path in files if path.suffix == ".whl"]
    commands = [
        ["twine", "check", "--strict", *files],
        ["check-wheel-contents", *wheels],
        ["pydistcheck", "--config", ROOT / "pyproject.toml", *files],
    ]
    problems = []
    for command in commands:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=False,
            env=tool_environment(),
        )
        print(f"{command[0]}: {'clean' if done.returncode == 0 else 'failed'}")
        if done.returncode:
            problems.append(f"{command[0]}: {done.stdout}{done.stderr}")
    return problems


# ---- tests


def summary(report: Mapping[str, Mapping[str, int]]) -> str:
    """Return the counts of a report of test_wheel.py."""
    return ", ".join(
        f"{step} {figures.get('passed', 0):,}"
        + (f" ({figures['failed']} failed)" if figures.get("failed") else "")
        for step, figures in report.items()
    )


def test_in_clean_environment(
    workshop: Workshop, version: str, python: Path, wheel: Path, steps: Sequence[str]
) -> Row:
    """Install the wheel in a new environment, and run the tests against it."""
    row = Row(wheel.name, wheel.stem.split("-", 2)[2])
    environment = workshop.directory / f"test-{version}"
    shutil.rmtree(environment, ignore_errors=True)
    run([python, "-m", "venv", environment])
    interpreter = environment / "bin" / "python"
    run([interpreter, "-m", "pip", "install", "--quiet", wheel], env=clean_environment())
    describe(row, [interpreter], clean_environment())
    row.tests = test_steps(workshop, row, [interpreter], version, steps, clean_environment())
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


def test_steps(
    workshop: Workshop,
    row: Row,
    interpreter: Sequence[str | Path],
    version: str,
    steps: Sequence[str],
    environment: Mapping[str, str],
) -> str:
    """Run test_wheel.py; return the counts, and add failures to the row."""
    if not steps:
        return "–"
    report = workshop.directory / f"report-{version}.json"
    log = workshop.directory / f"tests-{version}.log"
    report.unlink(missing_ok=True)
    command = [*interpreter, ROOT / ".ci" / "test_wheel.py", *steps, "--report", report]
    print(f"+ tests of {row.wheel}: {log}", file=sys.stderr, flush=True)
    with log.open("w") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, check=False, env=environment
        )
    if done.returncode:
        row.problems.append(f"tests failed: {log}")
    return summary(json.loads(report.read_text())) if report.exists() else "not run"


# ---- guard

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
    ours = workshop.build_wheel(
        interpreter,
        compiler,
        {"EIGEN_INCLUDE_DIR": str(eigen(interpreter)), "BPTT_ISAS": "v3;base"},
    )
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


# ---- musl


def test_musl(workshop: Workshop, interpreter: Path) -> Row:
    """Run the test of the core, linked statically with musl."""
    row = Row("core_test (no wheel)", "")
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


# ---- Debian roots


def python_of(root: Path) -> str:
    """Return the version of the Python of a root."""
    names = (path.name for path in (root / "usr/bin").iterdir())
    return next(name[6:] for name in names if re.fullmatch(r"python3\.\d+", name))


def build_arm64(workshop: Workshop, root: Path, python: Path, version: str) -> Path:
    """Cross-build a wheel for the Python of an arm64 root, with its headers of Python alone.

    Its C library's headers stay out: zig has those of the target.
    """
    include = workshop.directory / "include-arm64"
    shutil.rmtree(include, ignore_errors=True)
    name = f"python{version}"
    shutil.copytree(root / "usr/include" / name, include / name)
    multiarch = root / "usr/include/aarch64-linux-gnu" / name
    if multiarch.exists():  # Debian's pyconfig.h only chooses one of these
        shutil.copytree(multiarch, include / "aarch64-linux-gnu" / name)
        shutil.copy(multiarch / "pyconfig.h", include / name / "pyconfig.h")
    interpreter = workshop.environment(version, python)
    suffix = f".cpython-{version.replace('.', '')}-aarch64-linux-gnu.so"
    return workshop.build_wheel(
        interpreter,
        workshop.compiler(ARM64),
        {
            "CMAKE_SYSTEM_NAME": "Linux",
            "CMAKE_SYSTEM_PROCESSOR": "aarch64",
            "EIGEN_INCLUDE_DIR": str(eigen(interpreter)),
            "Python_INCLUDE_DIR": str(include / name),
            "PYTHON_MODULE_EXTENSION": suffix,
            "PYTHON_MODULE_DEBUG_POSTFIX": "",
        },
        _PYTHON_HOST_PLATFORM="linux-aarch64",
        SETUPTOOLS_EXT_SUFFIX=suffix,
    )


def test_in_root(
    workshop: Workshop, root: Path, wheel: Path, version: str, target: Target, paths: str
) -> Row:
    """Install the wheel in a Debian root, and run the README's first lines, and tests, there.

    The root has Python alone, and need not reach the network: the host's pip fetches the wheels.
    """
    row = Row(wheel.name, wheel.stem.split("-", 2)[2])
    inside = root / "tmp/bptt"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(workshop.source, inside / "source")
    shutil.rmtree(inside / "source/python")  # the wheel is tested, not the source
    shutil.copy(wheel, inside)
    readme = (workshop.source / "README.md").read_text("utf-8")
    (inside / "readme.py").write_text(re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)[0])
    packages = ["pytest", "hypothesis", "mpmath"] if paths else []
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
        command = f"cd /tmp/bptt/source && BPTT_NUM_THREADS=1 {python} -m pytest -q {paths}"
        with log.open("w") as file:
            done = subprocess.run(
                [*enter, "sh", "-c", command], stdout=file, stderr=subprocess.STDOUT, check=False
            )
        last = log.read_text().rstrip().rpartition("\n")[2]
        row.tests += ", " + re.sub(r" in [\d.]+s.*", "", last.strip("= "))
        if done.returncode:
            row.problems.append(f"tests failed: {log}")
    return row


def eigen(interpreter: Path) -> Path:
    """Return Eigen's headers of the build environment."""
    code = "import eigency, os; print(os.path.join(os.path.dirname(eigency.__file__), 'eigen'))"
    found = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return Path(found.stdout.strip())
    return next(interpreter.parents[1].glob("lib/python*/site-packages/eigency/eigen"))


# ---- command line


def table(rows: Sequence[Row]) -> str:
    """Return the table in Markdown."""
    head = ["wheel", "kB", "glibc", "import, ms", "tests passed", "threads", "instruction set"]
    cells = [
        [row.wheel, f"{row.kilobytes:,}", row.glibc, row.import_ms, row.tests, row.threads, row.isa]
        for row in rows
    ]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Build, repair, check and test; print the table; return the exit code."""
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
    arguments = parser.parse_args()
    dist, work = arguments.dist.resolve(), arguments.work.resolve()
    dist.mkdir(parents=True, exist_ok=True)

    workshop = Workshop(work)
    workshop.make_sdist(dist)
    pythons = find_pythons(arguments.python)
    wheels: dict[str, Path] = {}
    headers: Path | None = None
    for version, python in pythons.items():
        interpreter = workshop.environment(version, python)
        headers = headers or eigen(interpreter)
        raw = workshop.build_wheel(
            interpreter, workshop.compiler(X86_64), {"EIGEN_INCLUDE_DIR": str(headers)}
        )
        wheels[version] = repair(raw, X86_64, dist)
    arm64 = None
    if arguments.arm64:
        version = python_of(arguments.arm64)
        raw = build_arm64(workshop, arguments.arm64, pythons[version], version)
        arm64 = version, repair(raw, ARM64, dist)

    problems = check_files(dist)

    def test(version: str) -> Row:
        whole = arguments.full is None or version in arguments.full
        steps = [] if arguments.no_tests else ["alone", "extras"] if whole else ["alone"]
        return test_in_clean_environment(
            workshop, version, pythons[version], wheels[version], steps
        )

    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(test, wheels))
    if arguments.root:
        version = python_of(arguments.root)
        row = test_in_root(workshop, arguments.root, wheels[version], version, X86_64, "")
        rows.append(replace(row, tests=f"in {arguments.root.name}: {row.tests}"))
    if arm64:
        version, wheel = arm64
        paths = "" if arguments.no_tests else LAYERS
        row = test_in_root(workshop, arguments.arm64, wheel, version, ARM64, paths)
        rows.append(replace(row, tests=f"emulated: {row.tests}"))
    for row in rows:  # of wheels
        size = (dist / row.wheel).stat().st_size
        row.kilobytes, row.glibc = round(size / 1000), newest_glibc(dist / row.wheel)
        if size > MAX_BYTES:
            row.problems.append(f"{size:,} bytes, must be at most {MAX_BYTES:,}")
        problems += [f"{row.wheel}: {problem}" for problem in row.problems]
    if arguments.musl:
        rows.append(test_musl(workshop, workshop.environment(*next(iter(pythons.items())))))
        problems += [f"{rows[-1].wheel}: {problem}" for problem in rows[-1].problems]
    if arguments.guard:
        version = next(iter(pythons))
        print(compare_compilers(workshop, version, pythons[version], wheels[version]))
    print(table(rows))
    print(*problems, sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
