"""Denormal numbers: flush to zero, or IEEE 754 arithmetic."""

from __future__ import annotations

from bptt._core import checks, loader


def set_flush_denormals(flush: bool) -> None:
    """Set whether layers and losses flush denormal numbers to zero, in the whole process.

    Denormal numbers are smaller in magnitude than ``numpy.finfo(dtype).tiny``: 1.2e-38 for float32,
    2.2e-308 for float64. Arithmetic with them can be a hundred times slower, and they abound in
    states that decay to 0. The mode of the processor is set only during calls of this package;
    NumPy's arithmetic is not affected.

    Parameters
    ----------
    flush : bool
        True (the state at import) to flush to zero; False for IEEE 754 arithmetic.

    Raises
    ------
    TypeError
        If `flush` is not a bool.
    """
    loader.kernels.set_flush_denormals(checks.flag("flush", flush))


def get_flush_denormals() -> bool:
    """Return whether calls of this package flush denormal numbers to zero.

    Returns
    -------
    bool
    """
    return loader.kernels.flushes_denormals()
