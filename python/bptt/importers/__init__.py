"""Importers of trained weights: PyTorch, Keras, ONNX, from arrays and from files.

The equations are the same; the order of the gates, the orientation of matrices and the number of
biases differ. What cannot be mapped exactly is refused by name. Shapes: I input_size, H
hidden_size, P proj_size, D directions, G gates (RNN 1, LSTM 4, GRU 3).
"""

from bptt.importers._files import read_file
from bptt.importers._foreign import ForeignLayer, ForeignModel
from bptt.importers._keras import from_keras
from bptt.importers._onnx import from_onnx
from bptt.importers._torch import from_torch

__all__ = [
    "ForeignLayer",
    "ForeignModel",
    "from_keras",
    "from_onnx",
    "from_torch",
    "read_file",
]
