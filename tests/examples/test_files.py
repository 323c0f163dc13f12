"""Tensors from files of PyTorch and ONNX, read without executing code."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest

from examples.pretrained._files import onnx_tensors, torch_tensors


class Code:
    """An object that pickles as a call."""

    def __reduce__(self):
        return os.system, ("echo executed",)


def archive(path, index):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", index)
        file.writestr("model/data/0", np.arange(6, dtype="<f4").tobytes())


def state_dict(stride=(b"K\x03", b"K\x01")):
    """Return a pickle of {"weight": tensor (2, 3)} in the form of torch.save."""
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nK\x06tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00(K\x02K\x03t("
    tensor += b"".join(stride) + b"t\x89}tR"
    return b"\x80\x02ccollections\nOrderedDict\n)RVweight\n" + tensor + b"s."


def test_state_dict(tmp_path):
    archive(tmp_path / "model.pth", state_dict())
    tensors = torch_tensors(tmp_path / "model.pth")
    np.testing.assert_array_equal(tensors["weight"], [[0, 1, 2], [3, 4, 5]])


def test_strided_tensors_are_rejected(tmp_path):
    archive(tmp_path / "model.pth", state_dict((b"K\x01", b"K\x02")))
    with pytest.raises(ValueError, match=r"must be contiguous, got strides \(1, 2\) of \(2, 3\)"):
        torch_tensors(tmp_path / "model.pth")


def test_code_in_a_state_dict_is_not_executed(tmp_path, capfd):
    archive(tmp_path / "model.pth", pickle.dumps({"weight": Code()}))
    with pytest.raises(ValueError, match=r"a state_dict must be of .*, got \w+\.system"):
        torch_tensors(tmp_path / "model.pth")
    assert capfd.readouterr().out == ""


def test_file_written_by_torch(tmp_path):
    torch = pytest.importorskip("torch")
    layer = torch.nn.LSTM(3, 4, bidirectional=True)
    torch.save(layer.state_dict(), tmp_path / "model.pth")
    found = torch_tensors(tmp_path / "model.pth")
    assert list(found) == list(layer.state_dict())
    for name, tensor in layer.state_dict().items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


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
