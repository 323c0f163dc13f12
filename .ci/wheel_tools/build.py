"""Wheels from the sdist: interpreters, compilers, builds, repair."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from platform import machine

import tomllib

from wheel_tools.commands import ROOT, CommandError, clean_environment, run, tool_environment

GLIBC = "2.28"

# The unwinder's functions, by the version of GCC that brought them.
UNWINDER = {
    "GCC_3.0": (
        *("DeleteException", "Find_FDE", "ForcedUnwind", "GetDataRelBase", "GetGR", "GetIP"),
        *("GetLanguageSpecificData", "GetRegionStart", "GetTextRelBase", "RaiseException"),
        *("Resume", "SetGR", "SetIP"),
    ),
    "GCC_3.3": ("Backtrace", "FindEnclosingFunction", "GetCFA", "Resume_or_Rethrow"),
    "GCC_4.2.0": ("GetIPInfo",),
}


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
# What a wheel is made of: tests and documentation may change between the runs that one resumes.
INPUTS = ("python", "cpp", "CMakeLists.txt", "pyproject.toml", "README.index.md", "LICENSE*")


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
        self.headers: Path | None = None
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

    def digest(self) -> str:
        """Return the digest of what wheels are made of: the sources, and how they are built."""
        content = hashlib.sha256(Path(__file__).read_bytes())
        for pattern in INPUTS:
            for path in sorted(self.source.glob(pattern)):
                files = sorted(path.rglob("*")) if path.is_dir() else [path]
                for file in (file for file in files if file.is_file()):
                    content.update(f"{file.relative_to(self.source)}\n".encode())
                    content.update(digest_of(file).encode())
        return content.hexdigest()

    def compiler(self, target: Target) -> Path:
        """Return a C++ compiler of one word for a target of zig."""
        import ziglang

        zig = Path(ziglang.__file__).with_name("zig")
        path = self.directory / f"c++-{target.zig}"
        path.write_text(f'#!/bin/sh\nexec "{zig}" c++ -target {target.zig} "$@"\n')
        path.chmod(0o755)
        return path

    def linker_flags(self, target: Target) -> str:
        """Return the flags that keep zig's C++ runtime apart from others in the process.

        Zig links libc++ and LLVM's unwinder into every module. Exported, its operator new gives way
        to another library's, whose exceptions libc++ does not know. And the C library ends threads
        by unwinding them with libgcc_s.so.1, whose contexts LLVM's unwinder cannot read: a process
        whose daemon thread is in a kernel at exit would crash. So the modules export their entry
        point alone, and use the unwinder of libgcc_s.so.1, of which a stub is linked with.
        """
        directory = self.directory / f"link-{target.zig}"
        directory.mkdir(exist_ok=True)
        exports, versions = directory / "exports.map", directory / "versions.map"
        exports.write_text("{ global: PyInit_*; local: *; };\n")
        nodes = {v: " ".join(f"_Unwind_{n};" for n in names) for v, names in UNWINDER.items()}
        older = ["", *nodes]
        lines = [
            f"{v} {{ global: {n} }} {o};\n" for o, (v, n) in zip(older, nodes.items(), strict=False)
        ]
        versions.write_text("".join(lines))
        source, stub = directory / "stub.s", directory / "libgcc_s.so.1"
        names = [f"_Unwind_{name}" for group in UNWINDER.values() for name in group]
        source.write_text("".join(f".globl {n}\n.type {n}, %function\n{n}:\n" for n in names))
        run(
            [
                *(self.compiler(target), "-shared", "-nostdlib", f"-Wl,-soname,{stub.name}"),
                *(f"-Wl,--version-script={versions}", source, "-o", stub),
            ],
            env=clean_environment(),
        )
        return f"-s -Wl,--version-script={exports} {stub}"

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
            raise CommandError(f"zig must read its own headers alone, has read {host[:5]}")


def build_x86_64(workshop: Workshop, python: Path, version: str) -> Path:
    """Build a wheel for an interpreter of this machine."""
    interpreter = workshop.environment(version, python)
    # Those of one environment for all: with equal paths, a compiler cache finds the core's objects.
    workshop.headers = workshop.headers or eigen(interpreter)
    definitions = {
        "CMAKE_MODULE_LINKER_FLAGS": workshop.linker_flags(X86_64),
        "EIGEN_INCLUDE_DIR": str(workshop.headers),
    }
    return workshop.build_wheel(interpreter, workshop.compiler(X86_64), definitions)


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
            "CMAKE_MODULE_LINKER_FLAGS": workshop.linker_flags(ARM64),
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


def digest_of(file: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def eigen(interpreter: Path) -> Path:
    """Return Eigen's headers of the build environment."""
    code = "import eigency, os; print(os.path.join(os.path.dirname(eigency.__file__), 'eigen'))"
    found = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return Path(found.stdout.strip())
    return next(interpreter.parents[1].glob("lib/python*/site-packages/eigency/eigen"))
