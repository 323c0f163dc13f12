"""Exporters of trained networks: one C file."""

from bptt.exporters._c import CSource, to_c

__all__ = ["CSource", "to_c"]
