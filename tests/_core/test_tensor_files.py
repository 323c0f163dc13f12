"""Files of tensors: what is written is what is read."""

from __future__ import annotations

import numpy as np
import pytest

from bptt._core.tensor_files import read_file, write_file

pytest.importorskip("safetensors")


def test_arrays_of_any_strides(tmp_path):
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensors = {"dense": a, "transposed": a.T, "parts": a[::2, ::-1], "number": np.float32(3)}
    tensors["broadcast"] = np.broadcast_to(a[0], (2, 4))
    tensors = {name: np.asarray(value) for name, value in tensors.items()}
    write_file(tmp_path / "a", tensors, {"format": "test 1"})
    found, _ = read_file(tmp_path / "a", "test 1", "test")
    assert list(found) == sorted(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)
