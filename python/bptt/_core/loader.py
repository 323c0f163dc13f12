"""Chooses the compiled kernels for this CPU when the package is imported.

The same sources are built into one module for every instruction set: ``_kernels_base`` (what every
CPU of the architecture has) and, on x86-64, ``_kernels_v3`` (AVX2) and ``_kernels_v4`` (AVX-512).
The best one that the CPU can run is `kernels`; the environment variable ``BPTT_ISA`` overrides.
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
"""All instruction sets, the best last."""


def built() -> tuple[str, ...]:
    """Return the instruction sets this installation was built for, the best last."""
    return tuple(isa for isa in ISAS if importlib.util.find_spec(f"bptt._core._kernels_{isa}"))


def available() -> tuple[str, ...]:
    """Return the instruction sets that are built and that this CPU can run, the best last."""
    supported = _cpu.supported()
    return tuple(isa for isa in built() if isa in supported)


def load(isa: str) -> ModuleType:
    """Return the kernel module for an instruction set.

    Parameters
    ----------
    isa : {"base", "v3", "v4"}

    Raises
    ------
    ImportError
        If the name is unknown, the CPU cannot run it or it was not built.
    """
    # Checked first: to import a module that the CPU cannot run ends the process.
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


if TYPE_CHECKING:  # every kernel module has the same functions
    from bptt._core import _kernels_base as kernels
else:
    kernels = load(os.environ.get("BPTT_ISA") or available()[-1])
