"""What becomes of numbers below the smallest normal one."""

from __future__ import annotations

from bptt._core import checks, loader


def set_flush_denormals(flush: bool) -> None:
    """Set whether layers, heads and losses count denormal numbers as 0, in the whole process.

    A denormal number is smaller in magnitude than ``numpy.finfo(dtype).tiny``: 1.2e-38 for
    float32, 2.2e-308 for float64. A processor may take a hundred times longer for it, and states
    that decay towards 0 are full of them. The processor counts them as 0 only while a call of this
    package runs; NumPy's arithmetic is never affected.

    Parameters
    ----------
    flush : bool
        True, the default, for 0; False for arithmetic as IEEE 754 has it.

    Raises
    ------
    TypeError
        If `flush` is not a bool.
    """
    loader.kernels.set_flush_denormals(checks.flag("flush", flush))


def get_flush_denormals() -> bool:
    """Return whether denormal numbers count as 0 inside calls of this package."""
    return loader.kernels.flushes_denormals()
