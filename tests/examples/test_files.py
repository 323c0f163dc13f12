"""Tensors from files of ONNX, read without this library."""

from __future__ import annotations

import numpy as np

from examples.pretrained._files import onnx_tensors


def field(number, value):
    """Return a protocol buffers field: an integer, or bytes."""
    if isinstance(value, int):
        return bytes([8 * number, value])
    size = bytes([len(value) & 127 | 128, len(value) >> 7])
    return bytes([8 * number + 2]) + size + value


def test_onnx(tmp_path):
    values = np.arange(40, dtype="<f4").reshape(5, 8)
    tensor = field(1, 5) + field(1, 8) + field(2, 1) + field(8, b"W") + field(9, values.tobytes())
    shape = field(1, 1) + field(2, 7) + field(8, b"shape") + field(9, bytes(8))  # int64
    graph = field(2, b"graph") + field(5, tensor) + field(5, shape)
    (tmp_path / "model.onnx").write_bytes(field(1, 8) + field(7, graph))
    tensors = onnx_tensors(tmp_path / "model.onnx")
    assert list(tensors) == ["W"]
    np.testing.assert_array_equal(tensors["W"], values)
