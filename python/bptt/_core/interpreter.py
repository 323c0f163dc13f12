"""Refusal of sub-interpreters, before NumPy and the kernels are imported.

NumPy does not support them, and before Python 3.12 the import of a module made with pybind11 never
returns there.
"""

from __future__ import annotations

import importlib
from typing import Any


def check_interpreter() -> None:
    """Check that this is the main interpreter.

    Raises
    ------
    ImportError
        If it is a sub-interpreter.
    """
    if not _is_main():
        raise ImportError(
            "bptt cannot be imported in a sub-interpreter, which NumPy does not support: use the "
            "main interpreter, with threads or processes"
        )


def _is_main() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):  # of Python 3.13 and newer, and of older
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        return _number(module.get_current()) == _number(module.get_main())
    return True


def _number(interpreter: Any) -> int:
    """Return the number of an interpreter, which newer versions give together with its origin."""
    return int(interpreter[0] if isinstance(interpreter, tuple) else interpreter)


check_interpreter()
