"""Exporters of trained networks: one C file, ONNX models, weights for PyTorch and Keras."""

from bptt.exporters._c import CSource, to_c
from bptt.exporters._keras import to_keras
from bptt.exporters._onnx import to_onnx
from bptt.exporters._torch import to_torch

__all__ = ["CSource", "to_c", "to_keras", "to_onnx", "to_torch"]
