"""Modules as named tensors and JSON-serializable descriptions, for files.

Files hold no code, and loading executes none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from bptt._core.tensor_files import broken_file_errors, read_file, write_file
from bptt.nn.attention import Attention
from bptt.nn.characters import CharacterEmbedding
from bptt.nn.crf import CRF
from bptt.nn.decay import InputDecay
from bptt.nn.dropout import Dropout
from bptt.nn.elementwise import ReLU, Sigmoid, Tanh
from bptt.nn.embedding import Embedding, EmbeddingBag
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.normalization import LayerNorm
from bptt.nn.recurrent import LAYERS

Tensors: TypeAlias = dict[str, NDArray[Any]]
Description: TypeAlias = dict[str, Any]

CLASSES: Mapping[str, type[Module]] = {
    kind.__name__: kind
    for kind in (
        *LAYERS,
        Linear,
        CRF,
        Embedding,
        EmbeddingBag,
        CharacterEmbedding,
        Dropout,
        Attention,
        LayerNorm,
        InputDecay,
        ReLU,
        Tanh,
        Sigmoid,
    )
}


class Packed(NamedTuple):
    """A module, or a chain of modules, for a file."""

    tensors: Tensors
    description: Description


class Content(NamedTuple):
    """What a file of modules holds."""

    descriptions: Mapping[str, Description]
    """By name of the module."""
    tensors: Tensors
    """Those of all modules; modules that are made take theirs out."""
    metadata: dict[str, Any]


def pack(prefix: str, module: Module) -> Packed:
    """Return the parameters as tensors "prefix + name", with class and arguments."""
    description: Description = {"class": type(module).__name__, "config": module.config}
    found: Mapping[str, NDArray[Any]] = module.parameters
    if module._narrow is not None:
        description["compression"] = module.compression
        found = module._narrow.tensors()
    return Packed({prefix + name: value for name, value in found.items()}, description)


def unpack(prefix: str, description: Description, tensors: Tensors) -> Module:
    """Return the module that `pack` described; remove its tensors from `tensors`."""
    if description["class"] not in CLASSES:
        rule = f"{prefix.rstrip('/.')} must be one of {', '.join(CLASSES)}"
        raise ValueError(f"{rule}, got {description['class']}")
    used: list[str] = []

    def tensor(name: str) -> NDArray[Any]:
        key = prefix + name
        if key not in tensors:
            raise ValueError(f"tensor {key} is missing")
        used.append(key)
        return tensors[key]

    kind, config = CLASSES[description["class"]], description["config"]
    if "compression" in description:
        module = kind._from_narrow(config, description["compression"], tensor)
    else:
        module = kind._with_parameters(config, tensor)
    for key in used:
        del tensors[key]
    return module


def write(
    path: str | os.PathLike[str], modules: Mapping[str, Packed], metadata: Mapping[str, object]
) -> None:
    """Write modules by name, and metadata, to a file."""
    descriptions = {name: packed.description for name, packed in modules.items()}
    tensors = {key: value for packed in modules.values() for key, value in packed.tensors.items()}
    header = {"format": 1, "modules": descriptions, "metadata": metadata}
    write_file(path, tensors, header)


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[Content]:
    """Yield the content of a file; errors of its content become ValueError with its path."""
    tensors, header = read_file(path, 1, "bptt.save_modules, format 1")
    with broken_file_errors(f"cannot load {path}"):
        yield Content(header["modules"], tensors, header["metadata"])
        if tensors:
            raise ValueError(f"tensors must belong to modules, got others: {', '.join(tensors)}")
