"""Files of Keras: ``.h5`` and ``.weights.h5`` of versions 2 and 3, and ``.keras``."""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from numpy.typing import NDArray

from bptt._core.tensor_files import broken_file_errors
from bptt.importers._foreign import ForeignLayer, ForeignModel
from bptt.importers._hdf5 import MAX_EXPANSION, Content, need_h5py, read_hdf5
from bptt.importers._keras_config import Architecture, architecture_of, with_last_axis
from bptt.importers._keras_groups import LISTS, roots_of, told_name
from bptt.importers._keras_layers import PASSED, folded, foreign_layer
from bptt.importers._keras_parts import Version
from bptt.importers._keras_weights import guessed, split

_ATTRIBUTES = re.compile(r"model_config|keras_version|name|layer_names\d*")
_OPTIMIZER = ("optimizer", "optimizer_weights")  # two more arrays for each of the model
_RANDOM = "seed_generator"  # its state is no weight
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MASKED = "padding was masked: give lengths"


class _File(NamedTuple):
    """What a file has, whatever its format."""

    content: Content
    model: Any  # JSON of the model; None without one
    version: Version


def read_keras(path: Path) -> ForeignModel:
    """Read a file of Keras; nothing in it is executed.

    Layers are found by the configuration in the file, which also has activations and options; in a
    file of weights alone by the names and shapes of their arrays.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ForeignModel

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, refers to other files, or is not of Keras.
    ImportError
        If h5py is not installed.
    """
    need_h5py()
    with _broken_files(path):
        file = _read(path)
        architecture = None if file.model is None else architecture_of(file.model)
        if architecture is None:
            return _without_architecture(path, file)
        return _with_architecture(path, file, architecture)


@contextlib.contextmanager
def _broken_files(path: Path) -> Iterator[None]:
    """Turn the errors of a broken file into ValueError."""
    action = f"cannot load {path}"
    try:
        with broken_file_errors(action):
            yield
    except (EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{action}: {str(error) or 'it ends too early'}") from error


def _read(path: Path) -> _File:
    size = path.stat().st_size
    with open(path, "rb") as file:
        if file.read(4) == b"PK\x03\x04":
            return _read_archive(file, size)
        content = read_hdf5(file, size, _ATTRIBUTES, _OPTIMIZER)
    attributes = {**content.attributes.get("model_weights", {}), **content.attributes[""]}
    text = attributes.get("model_config")
    model = None if text is None else _json("model_config", text)
    return _File(content, model, _version(attributes.get("keras_version")))


def _read_archive(file: BinaryIO, size: int) -> _File:
    with zipfile.ZipFile(file) as archive:
        model, metadata = (_json(n, _member(archive, n, size)) for n in (_CONFIG, _METADATA))
        weights = io.BytesIO(_member(archive, _WEIGHTS, size))
    content = read_hdf5(weights, size, _ATTRIBUTES, _OPTIMIZER)
    return _File(content, model, _version(metadata.get("keras_version")))


def _member(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """Return the bytes of a member, at most a multiple of those of the archive."""
    if name not in archive.namelist():
        raise ValueError(f"it has no {name}")
    limit = MAX_EXPANSION * size
    with archive.open(name) as file:
        found = file.read(limit + 1)
    if len(found) > limit:
        raise ValueError(f"{name} must have at most {limit:,} bytes, as the file has {size:,}")
    return found


def _json(name: str, text: Any) -> Mapping[str, Any]:
    """Return an object of JSON."""
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"{name} must be a text, got {type(text).__name__}")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError(f"{name} must be an object, got {type(found).__name__}")
    return found


def _version(text: Any) -> Version:
    """Return the first two numbers of a version such as "2.2.4-tf"; None if there are none."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", text) if isinstance(text, str) else None
    return (int(found[1]), int(found[2])) if found else None


# ---- with the architecture -----------------------------------------------------------------------


def _with_architecture(path: Path, file: _File, architecture: Architecture) -> ForeignModel:
    """Return the model with the layers of its configuration."""
    owned, others = _owned(file.content, roots_of(file.content, architecture))
    layers: dict[str, ForeignLayer] = {}
    before: ForeignLayer | None = None
    masked = False
    for layer in architecture.leaves():
        if layer.kind in PASSED and not layer.custom:
            masked |= layer.kind == "Masking"
            continue
        joined = None if architecture.unchained else folded(before, layer)
        if joined is not None:
            layers[joined.name] = before = joined
            continue
        pooled = any(found.pool for found in layers.values())
        arrays = owned.get(layer.name, {})
        last = 1 if pooled else 2
        before = foreign_layer(with_last_axis(layer, last), arrays, file.version)
        if masked:
            before = replace(before, note="; ".join(filter(None, (_MASKED, before.note))))
            masked = False
        layers[layer.name] = before
    return ForeignModel(
        path=path,
        library="Keras",
        tensors=file.content.arrays,
        layers=layers,
        others={**others, **file.content.others},
        unchained=architecture.unchained,
    )


def _owned(
    content: Content, roots: Mapping[str, str]
) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, str]]:
    """Return the arrays of every layer, and the shapes of those that are of none."""
    owned: dict[str, dict[str, NDArray[Any]]] = {}
    others = {}
    for path, array in content.arrays.items():
        if _RANDOM in path:
            continue
        ends = [place for place, character in enumerate(path) if character == "/"]
        layer = next((roots[path[:end]] for end in ends if path[:end] in roots), None)
        if layer is None:
            others[path] = str(array.shape)
            continue
        arrays, name = owned.setdefault(layer, {}), split(path)[1]
        arrays[path if name in arrays else name] = array
    return owned, others


# ---- without -------------------------------------------------------------------------------------


def _without_architecture(path: Path, file: _File) -> ForeignModel:
    """Return the model with the layers that its arrays show."""
    content = file.content
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in content.arrays.items():
        if _RANDOM not in name:
            group, short = split(name)
            groups.setdefault(group, {})[short] = array
    layers, others = {}, dict(content.others)
    for group in _in_order(content, groups):
        name = _name_of(content, group, groups)
        layer = guessed(name, group, groups[group], file.version)
        if layer is None:
            others |= {f"{group}/{array}": str(v.shape) for array, v in groups[group].items()}
        else:
            layers[name] = layer
    unchained = ""
    if file.model is not None:
        unchained = f"its class {file.model.get('class_name')!r} is not of Keras"
    elif not _layer_names(content) and len(layers) > 1:
        unchained = "the file does not have their order: give their names"
    return ForeignModel(
        path=path,
        library="Keras",
        tensors=content.arrays,
        layers=layers,
        others=others,
        unchained=unchained,
    )


def _layer_names(content: Content) -> list[str]:
    """Return the names of the layers in their order, which Keras splits if there are many."""
    attributes = content.attributes.get("model_weights") or content.attributes[""]
    parts = [name for name in attributes if name.startswith("layer_names")]
    parts.sort(key=lambda name: int(name.removeprefix("layer_names") or 0))
    return [name for part in parts for name in attributes[part] or ()]


def _in_order(content: Content, groups: Mapping[str, Any]) -> list[str]:
    """Return the groups in the order of the layers, if the file has it."""
    places = {name: place for place, name in enumerate(_layer_names(content))}

    def place(group: str) -> int:
        first = group.removeprefix("model_weights/").partition("/")[0]
        return places.get(first, len(places))

    return sorted(groups, key=place)


def _name_of(content: Content, group: str, groups: Mapping[str, Any]) -> str:
    """Return the name of a layer: that of its first group, if it is the only one there."""
    if told := told_name(content, group):
        return told
    short = group.removeprefix("model_weights/")
    first, _, rest = short.partition("/")
    if first in LISTS:
        return rest
    alone = sum(other.removeprefix("model_weights/").partition("/")[0] == first for other in groups)
    return first if alone == 1 else short
