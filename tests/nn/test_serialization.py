"""Serialization of modules: atomic writing, validated reading."""

from __future__ import annotations

import copy
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import bptt
import tensor_files


@pytest.fixture
def modules():
    return {
        "encoder": bptt.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.1, seed=1),
        "decoder": bptt.GRU(8, 4, reset_after=True, time_major=True, dtype="float64"),
        "plain": bptt.RNN(2, 5, activation="relu"),
        "head": bptt.Linear(4, 7, bias=False),
        "tokens": bptt.Embedding(5, 3, seed=2),
        "drops": bptt.Dropout(0.25, seed=3),
        "looks": bptt.Attention(3, 4, kind="additive", seed=4),
        "compares": bptt.Attention(3, 3),
        "norm": bptt.LayerNorm(4, epsilon=1e-3),
        "fades": bptt.InputDecay(2, num_others=1, pass_times=True),
        "decays": bptt.GRU(4, 3, bidirectional=True, decay_size=2, learn_initial_state=True),
        "bends": bptt.ReLU(),
        "squashes": bptt.Tanh(dtype="float64"),
        "opens": bptt.Sigmoid(),
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_round_trip(path, modules):
    metadata = {"vocabulary": ["a", "ä"], "epochs": 3, "loss": 0.5}
    bptt.save_modules(path, modules, metadata)
    loaded, found = bptt.load_modules(str(path))
    assert found == metadata
    assert list(loaded) == list(modules)
    for name, module in modules.items():
        assert type(loaded[name]) is type(module)
        assert loaded[name].config == module.config
        for parameter, value in module.parameters.items():
            np.testing.assert_array_equal(loaded[name][parameter], value)
    x = np.ones((2, 3, 3), np.float32)
    np.testing.assert_array_equal(loaded["encoder"](x)[0], modules["encoder"](x)[0])


@pytest.fixture
def model():
    return bptt.Sequential(
        bptt.Embedding(7, 3, seed=0),
        bptt.LSTM(3, 4, seed=1),
        bptt.LayerNorm(4),
        bptt.Dropout(0.1),
        bptt.Linear(4, 2, seed=2),
        pool="mean",
    )


IDS = np.array([[1, 2, 0, 6], [3, 3, 5, 4]])


def assert_same_model(actual, expected):
    assert repr(actual) == repr(expected)
    assert (actual.pool, actual.skip_input) == (expected.pool, expected.skip_input)
    assert list(actual.parameters) == list(expected.parameters)
    for name, value in expected.parameters.items():
        np.testing.assert_array_equal(actual.parameters[name], value)
    np.testing.assert_array_equal(actual(IDS)[0], expected(IDS)[0])


def test_chain_saves_and_loads_itself(path, model):
    model.save(path)
    assert_same_model(bptt.Sequential.load(str(path)), model)
    modules, metadata = bptt.load_modules(path)
    assert list(modules) == ["model"]
    assert metadata == {}
    assert_same_model(modules["model"], model)


def test_chains_among_other_modules(path, model, modules):
    other = bptt.Sequential(bptt.GRU(2, 2, seed=0), bptt.Linear(4, 1, seed=1), skip_input=True)
    bptt.save_modules(path, {"model": model, **modules, "other": other}, {"epochs": 3})
    loaded, metadata = bptt.load_modules(path)
    assert list(loaded) == ["model", *modules, "other"]
    assert metadata == {"epochs": 3}
    assert_same_model(loaded["model"], model)
    assert (repr(loaded["other"]), loaded["other"].skip_input) == (repr(other), True)
    with pytest.raises(ValueError, match=r"hold one Sequential, got model \(Sequential\), encoder"):
        bptt.Sequential.load(path)


def test_chain_of_one_file_has_any_name(path, model):
    bptt.save_modules(path, {"best": model}, {"epochs": 3})
    assert_same_model(bptt.Sequential.load(path), model)


def test_files_of_chains_are_checked(path, model, modules):
    bptt.save_modules(path, {"head": modules["head"]})
    message = r"cannot load .*: it must hold one Sequential, got head \(Linear\): use bptt.load_mod"
    with pytest.raises(ValueError, match=message):
        bptt.Sequential.load(path)
    bptt.save_modules(path, {})
    with pytest.raises(ValueError, match=r"got none: use bptt.load_modules"):
        bptt.Sequential.load(path)
    model.save(path)
    header, tensors = tensor_files.read(path)
    assert "model/1.weight_ih_l0" in tensors
    for load in (bptt.Sequential.load, bptt.load_modules):
        tensor_files.write(path, header, {**tensors, "extra": np.ones(2)})
        with pytest.raises(ValueError, match="to modules, got others: extra"):
            load(path)
        short = {key: value for key, value in tensors.items() if key != "model/4.bias"}
        tensor_files.write(path, header, short)
        with pytest.raises(ValueError, match=r"tensor model/4\.bias is missing"):
            load(path)
        changed = copy.deepcopy(header)
        changed["modules"]["model"]["modules"][1]["class"] = "Exec"
        tensor_files.write(path, changed, tensors)
        with pytest.raises(ValueError, match="model/1 must be one of RNN, LSTM"):
            load(path)


def test_chain_with_a_module_of_ones_own_is_not_saved(path):
    class MyLinear(bptt.Linear):
        pass

    with pytest.raises(TypeError, match=r"modules\[1\] must be one of RNN, .*, got MyLinear"):
        bptt.Sequential(bptt.RNN(1, 1), MyLinear(1, 1)).save(path)
    assert not path.exists()


def test_equal_modules_give_equal_files(path, modules):
    bptt.save_modules(path, modules)
    first = path.read_bytes()
    bptt.save_modules(path, modules)
    assert path.read_bytes() == first
    assert bptt.load_modules(path)[1] == {}


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("existing", [True, False])
def test_interrupted_saving_keeps_the_old_file(
    path, modules, monkeypatch, failing, error, existing
):
    if existing:
        bptt.save_modules(path, modules)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    def fail(*_):
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(error):
        bptt.save_modules(path, {"other": bptt.RNN(1, 1)})
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_values_that_cannot_be_saved(path, modules):
    class MyRNN(bptt.RNN):
        pass

    with pytest.raises(
        TypeError, match=r"modules\['a'\] must be one of RNN, .*, Sequential, got MyRNN"
    ):
        bptt.save_modules(path, {"a": MyRNN(1, 1)})
    with pytest.raises(TypeError, match="JSON"):
        bptt.save_modules(path, modules, {"layer": modules["plain"]})
    assert not path.exists()


def test_missing_file(path):
    with pytest.raises(FileNotFoundError):
        bptt.load_modules(path)


def test_missing_directory(path, modules):
    with pytest.raises(FileNotFoundError, match=r"^No such directory: .*missing$"):
        bptt.save_modules(path.parent / "missing" / "model", modules)


def test_without_safetensors(path, modules, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: bptt.load_modules(path), lambda: bptt.save_modules(path, modules)):
        with pytest.raises(ImportError, match=r"needs safetensors: pip install 'bptt\[train\]'"):
            call()


def rename(tensors, old, new):
    tensors[new] = tensors.pop(old)


def change(description, name, **arguments):
    description[name]["config"].update(arguments)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d, t: t.pop("plain/bias_l0"), "tensor plain/bias_l0 is missing"),
        (lambda d, t: rename(t, "plain/bias_l0", "plain/b"), "tensor plain/bias_l0 is missing"),
        (
            lambda d, t: t.update(extra=np.ones(2)),
            "to modules, got others: extra",
        ),
        (lambda d, t: d.pop("head"), "tensors must belong to modules, got others: head/weight"),
        (
            lambda d, t: t.update({"head/weight": np.ones((7, 3), np.float32)}),
            "weight must have shape (out_features, in_features) = (7, 4), got (7, 3)",
        ),
        (
            lambda d, t: t.update({"head/weight": np.ones((7, 4))}),
            "weight must have dtype float32, got float64",
        ),
        (
            lambda d, t: d["head"].update({"class": "Exec"}),
            "head must be one of RNN, LSTM, GRU, ",
        ),
        (lambda d, t: d["head"].pop("class"), "'class'"),
        (lambda d, t: d.update(head=[]), "indices must be integers"),
        (lambda d, t: change(d, "plain", hidden_size=0), "hidden_size must be an integer >= 1"),
        (
            lambda d, t: change(d, "plain", hidden_size=6),
            "must have shape (hidden_size, input_size)",
        ),
        (
            lambda d, t: change(d, "plain", color="red"),
            "unknown argument color: RNN has input_size",
        ),
        (lambda d, t: change(d, "plain", merge="max"), "merge must be one of"),
    ],
)
def test_inconsistent_files(path, modules, spoil, message):
    bptt.save_modules(path, modules)
    description, tensors = tensor_files.read(path)
    spoil(description["modules"], tensors)
    tensor_files.write(path, description, tensors)
    with pytest.raises(ValueError, match=r"cannot load .*model\.safetensors: ") as raised:
        bptt.load_modules(path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "header",
    [
        None,
        {"format": "pt"},
        {"bptt": "{}"},
        {"bptt": "{"},
        {"bptt": "[]"},
        {"bptt": '{"format": 1}'},
    ],
)
def test_foreign_files(path, header):
    save_file({"weight": np.ones(3)}, path, header)
    with pytest.raises(ValueError, match=r"cannot load .*model\.safetensors: "):
        bptt.load_modules(path)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_corrupt_files(path, modules, length):
    bptt.save_modules(path, modules)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"cannot load .*model\.safetensors: "):
        bptt.load_modules(path)


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="directories cannot be synchronized")
def test_the_new_name_is_written_to_the_disk(path, modules, monkeypatch):
    """Content, then name, then directory: in this order both survive a failure of the power."""
    events = []
    open_, fsync, replace = os.open, os.fsync, os.replace
    monkeypatch.setattr(os, "open", lambda *a, **k: events.append(a[0]) or open_(*a, **k))
    monkeypatch.setattr(os, "fsync", lambda file: events.append("fsync") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda *a: events.append("replace") or replace(*a))
    bptt.save_modules(path, modules)
    assert events == ["fsync", "replace", path.parent, "fsync"]


def test_a_directory_is_not_a_file(tmp_path, modules):
    for call in (bptt.load_modules, lambda path: bptt.save_modules(path, modules)):
        with pytest.raises(IsADirectoryError, match=f"^Is a directory: {tmp_path}$"):
            call(tmp_path)
    assert list(tmp_path.iterdir()) == []
