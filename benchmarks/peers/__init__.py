"""Libraries of the comparison; those that are not installed are left out."""

from __future__ import annotations

import importlib
import importlib.util

from peers.base import Peer, Task

__all__ = ["LIBRARIES", "Peer", "Task", "create", "create_models", "installed"]

LIBRARIES = {  # name on the command line -> required modules, module of its layers
    "torch": (("torch",), "torch_layers"),
    "jax": (("jax",), "jax_layers"),
    "tensorflow": (("tensorflow",), "tensorflow_layers"),
    "openvino": (("openvino", "onnx"), "openvino_layers"),
    "numpy": (("numpy",), "numpy_layers"),
    "onnxruntime": (("onnxruntime", "onnx"), "onnx_layers"),
}
MODELS = {"torch": "torch_models", "jax": "jax_models"}  # name -> module of its whole models


def installed() -> list[str]:
    """Return the names of the installed libraries."""
    return [
        name
        for name, (modules, _) in LIBRARIES.items()
        if all(importlib.util.find_spec(module) for module in modules)
    ]


def create(names: list[str], threads: int) -> list[Peer]:
    """Return bptt, then all variants of the named libraries: layers."""
    return _create(["bptt_layers", *(LIBRARIES[n][1] for n in LIBRARIES if n in names)], threads)


def create_models(names: list[str], threads: int) -> list[Peer]:
    """Return bptt, then all variants of the named libraries that have them: whole models."""
    return _create(["bptt_models", *(MODELS[n] for n in MODELS if n in names)], threads)


def _create(modules: list[str], threads: int) -> list[Peer]:
    found: list[Peer] = []
    for module in modules:
        found += importlib.import_module(f"peers.{module}").create(threads)
    return found
