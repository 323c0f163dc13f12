"""Exporters of trained networks: one C file, and ONNX models."""

from bptt.exporters._c import CSource, to_c
from bptt.exporters._onnx import to_onnx

__all__ = ["CSource", "to_c", "to_onnx"]
