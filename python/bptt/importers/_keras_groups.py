"""Groups in files of Keras: in which of them the arrays of a layer are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from bptt.importers._hdf5 import Content
from bptt.importers._keras_config import TIME_DISTRIBUTED, Architecture, LayerConfig, leaves

LISTS = ("layers", "_layer_checkpoint_dependencies")
"""Groups with the layers of a model: of Keras 3, and of 2.12 and 2.13."""

_Named: TypeAlias = Mapping[str, Mapping[str, str]]


def roots_of(content: Content, architecture: Architecture) -> dict[str, str]:
    """Return the full name of the layer of every group that has the arrays of one."""
    layers = architecture.layers
    prefix = "model_weights/" if "model_weights" in content.attributes else ""
    lists = next((name for name in LISTS if name in content.attributes), None)
    if lists is None:
        return dict(_of_variables(content, layers, prefix))
    named: dict[str, dict[str, str]] = {}
    for group, found in content.attributes.items():
        path, name = group.removesuffix("/vars"), found.get("name")
        if path != group and isinstance(name, str):
            named.setdefault(path.rpartition("/")[0], {})[name] = path
    return dict(_of_objects(named, layers, lists, lists, ""))


def told_name(content: Content, group: str) -> str:
    """Return the full name of the layer of a group, if Keras 3 has told it there; else ""."""
    parts, names = group.split("/"), list[str]()
    for end in range(1, len(parts) + 1):
        name = content.attributes.get(f"{'/'.join(parts[:end])}/vars", {}).get("name")
        if isinstance(name, str):
            names.append(name)
        elif parts[end - 1] not in LISTS:
            return ""
    return "/".join(names)


# ---- files with a group for every object: Keras 3, and weights of 2.12 and newer -----------------


def _of_objects(
    named: _Named, layers: Sequence[LayerConfig], group: str, lists: str, before: str
) -> Iterator[tuple[str, str]]:
    """Yield group and full name of the layers in `group`.

    Parameters
    ----------
    named : mapping
        Groups by the names of their layers, of every group of layers.
    layers : sequence of LayerConfig
    group, lists : str
        Path of the group, and the name of such groups.
    before : str
        Beginning of the full names.
    """
    told = named.get(group, {})
    is_told = any(layer.name in told for layer in layers)
    counts: dict[str, int] = {}
    for layer in layers:
        if is_told:
            path = told.get(layer.name)
        else:  # without names: by class, in the order of the model
            kind = _snake_case(layer.kind)
            count = counts[kind] = counts.get(kind, -1) + 1
            path = f"{group}/{kind}_{count}" if count else f"{group}/{kind}"
        if path is None:
            continue
        name = f"{before}{layer.name}"
        if layer.inside is None:
            yield path, name
            continue
        inside = layer.inside
        if layer.kind == TIME_DISTRIBUTED:
            (model,) = inside
            path, name, inside = f"{path}/layer", f"{name}/{model.name}", model.inside or ()
        yield from _of_objects(named, inside, f"{path}/{lists}", lists, f"{name}/")


def _snake_case(name: str) -> str:
    """Return the name of a class as Keras has it in files."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


# ---- files with a group for every layer of the outermost model, and variables by name in it ------


def _of_variables(
    content: Content, layers: Sequence[LayerConfig], prefix: str
) -> Iterator[tuple[str, str]]:
    """Yield group and full name of the layers of ``.h5``.

    Variables have the names of the layers and models in which they were made, not always those of
    all models around a layer: the longest part of a full name decides, and the first of two.
    """
    for layer in layers:
        root = f"{prefix}{layer.name}"
        if layer.inside is None:
            yield root, layer.name
            continue
        if root not in content.attributes:
            continue
        ends = _ends(layer)
        longest = max(map(len, ends), default=0)
        for path in content.arrays:
            if not path.startswith(f"{root}/"):
                continue
            parts = path[len(root) + 1 :].split("/")[:-1]
            found = [
                (start - end, end)
                for end in range(1, len(parts) + 1)
                for start in range(max(0, end - longest), end)
                if tuple(parts[start:end]) in ends
            ]
            if not found:
                continue
            length, end = min(found)
            name = ends[tuple(parts[end + length : end])]
            if name is not None:
                yield f"{root}/{'/'.join(parts[:end])}", name


def _ends(model: LayerConfig) -> dict[tuple[str, ...], str | None]:
    """Return the full names of the layers in a model by their last parts; None of several."""
    ends: dict[tuple[str, ...], str | None] = {}
    for layer in leaves([model]):
        parts = layer.name.split("/")
        for start in range(len(parts)):
            end = tuple(parts[start:])
            ends[end] = None if end in ends else layer.name
    return ends
