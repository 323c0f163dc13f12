"""Installation: versions, compiler, instruction sets and processor."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np

from bptt._core import _cpu, loader
from bptt._core.threads import get_num_threads


def config() -> dict[str, str | int | list[str]]:
    """Return the versions, build and hardware that the package runs with.

    Returns
    -------
    dict
        ``version``, ``python``, ``numpy``, ``eigen``, ``compiler`` and ``processor`` (str);
        ``isa``, the instruction set in use (str); ``isas_built`` and ``isas_supported``, the
        instruction sets of this installation and of the CPU (lists of str); ``threads``, the
        maximum number of threads of a call (int); ``thread_engine``, what runs them in this
        process, ``"openmp"`` or ``"pool"`` (str); ``thread_engines_built``, the engines of this
        installation (list of str); ``openmp``, the OpenMP library in use, or ``"none"`` (str).
    """
    from importlib.metadata import version

    kernel_config = loader.kernels.config()
    return {
        "version": version("bptt"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "eigen": kernel_config["eigen"],
        "compiler": kernel_config["compiler"],
        "processor": _processor(),
        "isa": kernel_config["isa"],
        "isas_built": list(loader.built()),
        "isas_supported": _cpu.supported(),
        "threads": get_num_threads(),
        "thread_engine": loader.kernels.thread_engine(),
        "thread_engines_built": loader.kernels.thread_engines(),
        "openmp": kernel_config["openmp"] or "none",
    }


def _processor() -> str:
    """Return the name of the processor, as the operating system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(s.partition(":")[2].strip() for s in lines if s.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or no model name
        return platform.processor() or platform.machine()


def show_config() -> None:
    """Print `config`, one item per line."""
    items = config()
    width = max(map(len, items))
    for name, value in items.items():
        text = ", ".join(value) if isinstance(value, list) else value
        print(f"{name.replace('_', ' '):{width}}  {text}")
