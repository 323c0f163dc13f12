"""Models of Keras inside of models: layers by their full names, and which are a chain."""

from __future__ import annotations

import numpy as np
import pytest

from bptt.importers import read_file
from keras_files import arrays, extracted, refused, write

pytest.importorskip("h5py")


@pytest.mark.parametrize("version", [2, 3])
def test_layers_have_full_names(version, tmp_path):
    files = extracted(version, tmp_path)
    suffixes = [".keras", ".h5"] + [".weights.h5"] * (version == 3)  # of 2 it has no names
    for suffix in suffixes:
        model = read_file(files / f"nested{suffix}")
        becomes = {name: layer.becomes for name, layer in model.layers.items()}
        norm = next((name for name in becomes if "norm" in name), "middle/inner/")
        assert norm.startswith("middle/inner/")
        becomes.pop(norm, None)
        assert becomes == {
            "encoder/layer": "Embedding(5, 3)",
            "encoder/both": "LSTM(3, 2, bidirectional=True)",
            "middle/inner/layer": "GRU(4, 3, reset_after=True)",
            "middle/dense": "Linear(3, 3)",
            "layer": "Linear(3, 2)",
        }
        encoder = model.chain("encoder/layer", "encoder/both")
        assert encoder(np.zeros((2, 3), np.int64))[0].shape == (2, 3, 4)


def inner(kind, layers, **config):
    """A model as the layer of another: layers as (class, arguments)."""
    entries = [
        {"class_name": one, "config": {"name": name, **arguments}, "name": name}
        | {key: arguments.pop(key) for key in ("inbound_nodes",) if key in arguments}
        for name, (one, arguments) in layers.items()
    ]
    return (kind, {"layers": entries, **config})


def test_branches_of_a_model_inside(tmp_path):
    layers = {
        "in": ("InputLayer", {"inbound_nodes": []}),
        "a": ("Dense", {"inbound_nodes": [[["in", 0, 0, {}]]]}),
        "b": ("Dense", {"inbound_nodes": [[["in", 0, 0, {}]]]}),
    }
    branched = inner("Functional", layers, output_layers=[["a", 0, 0], ["b", 0, 0]])
    top = {"deep": inner("Sequential", {"first": ("Dense", {}), "two": branched})}
    weights = {"deep": {f"{name}/kernel": np.ones((3, 3), np.float32) for name in "ab"}}
    model = read_file(write(tmp_path / "a.h5", top, weights=weights))
    assert model.unchained == "in 'deep', in 'two', 'b' reads 'in', not 'a' before it alone"
    assert list(model.layers) == ["deep/first", "deep/two/a", "deep/two/b"]
    assert model["deep/two/b"].shapes == {"kernel": (3, 3)}
    with pytest.raises(ValueError, match=r"no chain: in 'deep', in 'two', 'b' reads 'in'"):
        model.chain()


def test_models_that_are_called_twice(tmp_path):
    node = [["in", 0, 0, {}]]
    kind, config = inner("Sequential", {"layer": ("Dense", {})})
    layers = {
        "in": ("InputLayer", {"inbound_nodes": []}),
        "twin": (kind, {**config, "inbound_nodes": [node, node]}),
    }
    weights = {"twin": {"layer/kernel": np.ones((3, 3), np.float32)}}
    path = write(tmp_path / "a.h5", layers, weights=weights, kind="Model", output_layers=[])
    assert read_file(path).unchained == "'twin' is called 2 times"


@pytest.mark.parametrize("kind", ["LSTM", "Embedding", "GlobalMaxPooling1D", "Masking"])
def test_models_of_sequences_at_every_step_are_no_chain(kind, tmp_path):
    """Such as words of characters."""
    name, config = inner("Sequential", {"characters": (kind, {})})
    model = {"class_name": name, "config": {"name": "word", **config}}
    layers = {"words": ("TimeDistributed", {"layer": model}), "sentence": ("LSTM", {})}
    weights = {
        "words": {f"word/characters/{n}": v for n, v in arrays(2, 3).items()},
        "sentence": arrays(3, 3),
    }
    file = read_file(write(tmp_path / "a.h5", layers, weights=weights))
    why = "'word/characters' is called at every step of a longer sequence"
    assert file.unchained == f"in 'words', {why}"
    if kind == "LSTM":
        assert file["words/word/characters"].build().input_size == 2


def test_axis_of_a_layer_at_every_step(tmp_path):
    """Of Keras 2, which counts it from the left: there are batch and features alone."""
    norm = ("LayerNormalization", {"axis": [1]})
    kind, config = inner("Sequential", {"norm": norm})
    model = {"class_name": kind, "config": {"name": "head", **config}}
    layers = {"steps": ("TimeDistributed", {"layer": model})}
    found = {f"norm/{name}": np.ones(3, np.float32) for name in ("gamma", "beta")}
    file = read_file(write(tmp_path / "a.h5", layers, weights={"steps": found}))
    assert file["steps/head/norm"].becomes == "LayerNorm(3, epsilon=0.001)"


def test_arrays_that_may_be_of_several_layers(tmp_path):
    layers = {
        "top": inner(
            "Sequential",
            {name: inner("Sequential", {"same": ("Dense", {})}) for name in ("one", "two")},
        )
    }
    found = {"one/same/kernel": np.ones((3, 3)), "same/kernel": np.ones((3, 3))}
    file = read_file(write(tmp_path / "a.h5", layers, weights={"top": found}))
    assert file["top/one/same"].build().in_features == 3
    assert list(file.others) == ["model_weights/top/top/same/kernel:0"]
    with pytest.raises(ValueError, match="'top/two/same' is not supported: it has no kernel"):
        file["top/two/same"].build()


def test_models_that_are_too_deep_in_each_other(tmp_path):
    layer = ("Dense", {})
    for _ in range(33):
        layer = inner("Sequential", {"a": layer})
    refused(
        write(tmp_path / "a.h5", {"a": layer}),
        "models must be at most 32 deep in each other, got more",
    )
    layers = {"a/b": ("Dense", {}), "a": inner("Sequential", {"b": ("Dense", {})})}
    refused(write(tmp_path / "a.h5", layers), "names of layers must be different, got 'a/b' twice")
