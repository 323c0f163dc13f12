"""What restricts the libraries of a comparison to an instruction set."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("hide_avx512.c")

# By the settings of each library. ONNX Runtime has none.
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


@functools.cache
def _hiding_library() -> tuple[tempfile.TemporaryDirectory[str], Path] | None:
    """Compile what hides AVX-512, where processor, system and compiler can do so."""
    processor, compiler = Path("/proc/cpuinfo"), shutil.which("cc")
    if platform.machine() != "x86_64" or not processor.exists() or compiler is None:
        return None
    if not {"avx512f", "cpuid_fault"} <= set(processor.read_text(encoding="utf-8").split()):
        return None
    folder = tempfile.TemporaryDirectory()  # deleted when Python ends
    library = Path(folder.name, "hide_avx512.so")
    command = [compiler, "-O2", "-shared", "-fPIC", SOURCE, "-o", library]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        print(f"AVX-512 is not hidden, {SOURCE.name} does not compile:", file=sys.stderr)
        print(done.stderr, file=sys.stderr)
        return None
    return folder, library


def hides_avx512(isa: str | None) -> bool:
    """Return whether `restrictions` hide AVX-512 from all libraries, whatever their settings."""
    return isa is not None and _hiding_library() is not None


def restrictions(isa: str | None) -> dict[str, str]:
    """Return the environment variables that restrict libraries to an instruction set, if any."""
    if isa is None:
        return {}
    hiding = _hiding_library()
    if hiding is None:
        return dict(SETTINGS[isa])
    others = os.environ.get("LD_PRELOAD", "").split()
    return {**SETTINGS[isa], "LD_PRELOAD": " ".join([*others, str(hiding[1])])}
