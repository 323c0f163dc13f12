"""Files of Keras: those in the repository, and files made by hand."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bptt.importers import read_file

DATA = Path(__file__).parent / "importers" / "data"
rng = np.random.default_rng(0)


def extracted(version, folder):
    """Put the files that Keras 2 or 3 has written into a folder."""
    with zipfile.ZipFile(DATA / f"keras{version}.zip") as archive:
        archive.extractall(folder)
    return folder


def write(path, layers, *, weights=None, version="2.2.4", kind="Sequential", **config):
    """Write a file of Keras 2: layers as (class, arguments), arrays by layer and name."""
    entries = []
    for name, (kind_of_layer, arguments) in layers.items():
        entry = {"class_name": kind_of_layer, "config": {"name": name, **arguments}}
        extra = {k: entry["config"].pop(k) for k in ("inbound_nodes", "module") if k in arguments}
        entries.append({**entry, "name": name, **extra})
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        model = {"class_name": kind, "config": {"layers": entries, **config}}
        file.attrs["model_config"] = json.dumps(model)
        if version is not None:
            file.attrs["keras_version"] = version
        group = file.create_group("model_weights")
        for layer, arrays in (weights or {}).items():
            for name, value in arrays.items():
                group[f"{layer}/{layer}/{name}:0"] = value
    return path


def arrays(inputs, hidden, gates=4, bias=None):
    columns = gates * hidden
    shape = (columns,) if bias is None else bias
    shapes = {"kernel": (inputs, columns), "recurrent_kernel": (hidden, columns), "bias": shape}
    return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"cannot load {path}: ")
