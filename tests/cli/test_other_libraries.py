"""The command `inspect` with files of other libraries."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import bptt
from bptt.importers import read_file
from command_line import fails, run

DATA = Path(__file__).parents[1] / "importers" / "data"


@pytest.mark.parametrize("name", ["torch_zip.pt", "torch_legacy.pt"])
def test_layers_are_listed_and_the_code_loads_them(name, capsys):
    path = DATA / name
    shown, _ = run(capsys, "inspect", path)
    for text in (
        "PyTorch",
        "model.encoder",
        "(8, 3)",
        "LSTM(3, 2, bidirectional=True)",
        "x (2, 6)",
    ):
        assert text in shown
    assert "gates: input, forget, cell, output" in shown
    _, code = shown.split("In Python:\n")
    names = {"bptt": bptt}
    exec("\n".join(line.strip() for line in code.splitlines()), names)
    content = read_file(path).tensors
    np.testing.assert_allclose(names["network"](content["x"])[0], content["y"], atol=1e-6)


def test_files_of_keras(tmp_path, capsys):
    pytest.importorskip("h5py")
    with zipfile.ZipFile(DATA / "keras3.zip") as archive:
        archive.extractall(tmp_path)
    shown, _ = run(capsys, "inspect", tmp_path / "classifier.keras")
    assert "tokens  Embedding  embeddings" in shown
    assert "then softmax, which is left out" in shown
    assert "network = file.chain()" in shown
    shown, _ = run(capsys, "inspect", tmp_path / "classifier.weights.h5")
    assert "not in the file: pool, activation, gate_activation" in shown
    assert "no chain: the file does not have their order" in shown
    assert "layer = file['lstm'].build()" in shown


def test_models_of_onnx(tmp_path, capsys):
    pytest.importorskip("onnx")
    network = bptt.Sequential(bptt.GRU(3, 4, reverse=True, seed=0), bptt.Linear(4, 2, seed=1))
    bptt.exporters.to_onnx(network, tmp_path / "a.onnx", lengths=False)
    shown, _ = run(capsys, "inspect", tmp_path / "a.onnx")
    assert f"{tmp_path / 'a.onnx'}: ONNX" in shown
    assert "GRU(3, 4, reverse=True)" in shown
    _, code = shown.split("In Python:\n")
    names = {"bptt": bptt}
    exec("\n".join(line.strip() for line in code.splitlines()), names)
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(names["network"](x)[0], network(x)[0], atol=1e-6)


def test_a_layer_alone_and_files_without_one(tmp_path, capsys):
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "one.safetensors"
    weights = {"gru.weight_ih_l0": np.ones((6, 3)), "gru.weight_hh_l0": np.ones((6, 2))}
    numpy.save_file(weights, path)
    shown, _ = run(capsys, "inspect", path)
    assert "GRU(3, 2, reset_after=True)" in shown
    assert "layer = file['gru'].build()" in shown
    numpy.save_file({"x": np.ones(3)}, path)
    shown, _ = run(capsys, "inspect", path)
    assert "of no known layer: x (3,)" in shown
    assert "In Python" not in shown


def test_errors(tmp_path, capsys):
    path = tmp_path / "damaged.pt"
    path.write_bytes((DATA / "torch_zip.pt").read_bytes()[:3000])
    assert fails(capsys, "inspect", path).startswith(f"cannot load {path}: its archive is damaged")
    message = fails(capsys, "inspect", DATA / "torch_zip.pt", "--text", "a")
    assert message.endswith("torch_zip.pt is of PyTorch, and is only listed")
