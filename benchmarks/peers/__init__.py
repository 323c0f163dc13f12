"""Libraries of the comparison; those that are not installed are left out."""

from __future__ import annotations

import importlib
import importlib.util

from peers.base import Peer, Task

__all__ = ["LIBRARIES", "Peer", "Task", "create", "installed"]

LIBRARIES = {  # name on the command line -> required modules, module of this package
    "torch": (("torch",), "torch_layers"),
    "jax": (("jax",), "jax_layers"),
    "tensorflow": (("tensorflow",), "tensorflow_layers"),
    "openvino": (("openvino", "onnx"), "openvino_layers"),
    "numpy": (("numpy",), "numpy_layers"),
    "onnxruntime": (("onnxruntime", "onnx"), "onnx_layers"),
}


def installed() -> list[str]:
    """Return the names of the installed libraries."""
    return [
        name
        for name, (modules, _) in LIBRARIES.items()
        if all(importlib.util.find_spec(module) for module in modules)
    ]


def create(names: list[str], threads: int) -> list[Peer]:
    """Return bptt, then all variants of the named libraries."""
    modules = ["bptt_layers", *(LIBRARIES[name][1] for name in LIBRARIES if name in names)]
    found: list[Peer] = []
    for module in modules:
        found += importlib.import_module(f"peers.{module}").create(threads)
    return found
