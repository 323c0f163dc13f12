"""Loader of the compiled kernels: selects an instruction set at import.

The same sources are compiled to one module per instruction set: ``_kernels_base`` (the baseline of
the architecture) and, on x86-64, ``_kernels_v3`` (AVX2) and ``_kernels_v4`` (AVX-512). `kernels` is
the best module that the CPU can run, unless the environment variable ``BPTT_ISA`` names another.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING

from bptt._core import _cpu

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ISAS", "available", "built", "kernels", "load"]

ISAS = ("base", "v3", "v4")
"""All instruction sets, in ascending order."""


def built() -> tuple[str, ...]:
    """Return the instruction sets of this installation, in ascending order."""
    return tuple(isa for isa in ISAS if importlib.util.find_spec(f"bptt._core._kernels_{isa}"))


def available() -> tuple[str, ...]:
    """Return the instruction sets that are built and that the CPU can run, in ascending order."""
    supported = _cpu.supported()
    return tuple(isa for isa in built() if isa in supported)


def load(isa: str) -> ModuleType:
    """Return the kernel module of an instruction set.

    Parameters
    ----------
    isa : {"base", "v3", "v4"}

    Raises
    ------
    ImportError
        If the name is unknown, or the instruction set is not built or not supported by the CPU.
    """
    # Checked first: importing a module that the CPU cannot run would crash the process.
    if isa not in ISAS:
        raise ImportError(f"BPTT_ISA must be one of {', '.join(ISAS)}, got {isa!r}")
    if isa not in _cpu.supported():
        raise ImportError(
            f"BPTT_ISA={isa} asks for instructions this CPU does not have; "
            f"it supports {', '.join(_cpu.supported())}"
        )
    if isa not in built():
        raise ImportError(
            f"BPTT_ISA={isa} asks for a module that was not built; "
            f"this installation has {', '.join(built())}"
        )
    return importlib.import_module(f"bptt._core._kernels_{isa}")


if TYPE_CHECKING:  # all kernel modules have the same functions
    from bptt._core import _kernels_base as kernels
else:
    kernels = load(os.environ.get("BPTT_ISA") or available()[-1])
