"""What restricts the libraries of a comparison to an instruction set."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

SOURCE, LIBRARY = Path(__file__).with_name("hide_avx512.c"), "hide_avx512.so"
CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"

# By the settings of each library that has one.
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "avx2": {
        "BPTT_ISA": "v3",
        "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch
        "ONEDNN_MAX_CPU_ISA": "AVX2",  # PyTorch, OpenVINO, TensorFlow
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # PyTorch
        "OPENBLAS_CORETYPE": "Haswell",  # NumPy
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",  # JAX
    }
}
WITHOUT_SETTING = "onnxruntime"


def copy_without_cpuid(package: str, folder: Path) -> None:
    """Copy an installed package into a folder, with UD2 in place of the instruction CPUID.

    Only where objdump finds the instruction: its two bytes are parts of others, too.
    """
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    source, copy = Path(found.origin).parent, folder / package
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, copy, ignore=ignored, copy_function=os.symlink)
    for library in copy.rglob(f"*{EXTENSION_SUFFIXES[0]}"):
        code = bytearray(library.read_bytes())
        for at in _cpuid_offsets(library):
            assert code[at : at + 2] == CPUID
            code[at : at + 2] = UD2
        library.unlink()  # the link
        library.write_bytes(code)


def _cpuid_offsets(library: Path) -> list[int]:
    """Return where in a file the instruction CPUID is."""
    objdump = ["objdump", "--wide", "--no-show-raw-insn", "--section-headers", "--disassemble"]
    with subprocess.Popen([*objdump, library], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        sections, offsets = [], []
        for line in process.stdout:
            if section := re.match(r" *\d+ \S+ +([0-9a-f]+) +([0-9a-f]+) +\S+ +([0-9a-f]+) ", line):
                sections.append([int(number, 16) for number in section.groups()])
            elif line.rstrip().endswith("\tcpuid"):
                address = int(line.partition(":")[0], 16)
                offsets += [
                    offset + address - start
                    for size, start, offset in sections
                    if 0 <= address - start < size
                ]
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, objdump)
    return offsets


def _compile(library: Path) -> bool:
    """Compile what hides AVX-512, if that is possible."""
    command = ["cc", "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(library)]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        print(f"AVX-512 is not hidden, {SOURCE.name} does not compile:", file=sys.stderr)
        print(done.stderr, file=sys.stderr)
    return done.returncode == 0


@functools.cache
def _hiding_folder() -> tempfile.TemporaryDirectory[str] | None:
    """Make a folder of what hides AVX-512, where processor, system and tools can do so.

    A library to preload, and where the processor cannot fault on CPUID, packages without it.
    """
    processor = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not processor.exists():
        return None
    flags = set(processor.read_text(encoding="utf-8").split())
    faults = "cpuid_fault" in flags
    tools = ("cc",) if faults else ("cc", "objdump")
    if "avx512f" not in flags or not all(map(shutil.which, tools)):
        return None
    folder = tempfile.TemporaryDirectory()  # deleted when Python ends
    if not _compile(Path(folder.name, LIBRARY)):
        return None
    if not faults and importlib.util.find_spec(WITHOUT_SETTING) is not None:
        copy_without_cpuid(WITHOUT_SETTING, Path(folder.name))
    return folder


def hides_avx512(isa: str | None) -> bool:
    """Return whether `restrictions` hide AVX-512 also from libraries that have no setting."""
    return isa is not None and _hiding_folder() is not None


def restrictions(isa: str | None) -> dict[str, str]:
    """Return the environment variables that restrict libraries to an instruction set, if any."""
    if isa is None:
        return {}
    folder = _hiding_folder()
    if folder is None:
        return dict(SETTINGS[isa])
    preloaded = os.environ.get("LD_PRELOAD", "").split()
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        **SETTINGS[isa],
        "LD_PRELOAD": " ".join([*preloaded, str(Path(folder.name, LIBRARY))]),
        "PYTHONPATH": os.pathsep.join(filter(None, [folder.name, *path])),
    }
