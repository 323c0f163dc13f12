"""The architecture in a file of Keras: its layers, and whether they are a chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MODELS = ("Sequential", "Functional", "Model")
_LIBRARIES = ("keras", "tf_keras", "tensorflow")  # first part of the modules of its classes
_OURS = "bptt>"  # before the names of the layers of bptt.keras, which are Keras' but for the loop
_MASKS = ("NotEqual", "Any")  # of Keras 3, which computes the masks of an Embedding and a Masking


class LayerConfig(NamedTuple):
    """A layer in the architecture.

    Attributes
    ----------
    name : str
    kind : str
        Name of its class, such as "LSTM".
    config : mapping
        Arguments of its constructor.
    custom : str
        Name of a class that is not of Keras; "" otherwise.
    calls : sequence
        What the layer reads in a Functional model, one entry for each call.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    custom: str = ""
    calls: Sequence[Any] = ()


class Architecture(NamedTuple):
    """The layers of a model, and why they are no chain ("" if they are one)."""

    layers: list[LayerConfig]
    unchained: str


def architecture_of(model: Any) -> Architecture | None:
    """Return the layers of a model from its JSON; None if its class is not one of Keras.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the JSON is not that of a model.
    """
    description = _mapping("model", model)
    if description["class_name"] not in MODELS or _custom(description):
        return None
    config = description["config"]
    if isinstance(config, list):  # of a Sequential before Keras 2.2.3
        config = {"layers": config}
    given = _mapping("config", config)["layers"]
    if not isinstance(given, list):
        raise TypeError(f"layers must be a list, got {type(given).__name__}")
    layers = [layer_config(entry) for entry in given]
    names = [layer.name for layer in layers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"names of layers must be different, got {twice!r} twice")
    if description["class_name"] == "Sequential":
        return Architecture(layers, "")
    layers = [layer for layer in layers if layer.custom or layer.kind not in _MASKS]
    return Architecture(layers, _not_a_chain(layers, config.get("output_layers")))


def layer_config(entry: Any) -> LayerConfig:
    """Return a layer from its JSON.

    Raises
    ------
    KeyError, TypeError
        If the JSON is not that of a layer.
    """
    description = _mapping("layer", entry)
    config = _mapping("config", description["config"])
    name, kind = description.get("name", config.get("name", "")), description["class_name"]
    for value in (name, kind):
        if not isinstance(value, str):
            raise TypeError(f"names of layers must be strings, got {type(value).__name__}")
    calls = description.get("inbound_nodes", ())
    if not isinstance(calls, Sequence):
        raise TypeError(f"inbound_nodes must be a list, got {type(calls).__name__}")
    return LayerConfig(name, kind, config, _custom(description), calls)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be an object, got {type(value).__name__}")
    return value


def _custom(description: Mapping[str, Any]) -> str:
    """Return the name of a class that is not of Keras; "" otherwise."""
    module, registered = description.get("module"), description.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        is_ours = registered == f"{_OURS}{description.get('class_name')}"
        return "" if is_ours else registered
    if module is not None and str(module).partition(".")[0] not in _LIBRARIES:
        return f"{module}.{description.get('class_name')}"
    return ""


# ---- chains --------------------------------------------------------------------------------------


def _not_a_chain(layers: Sequence[LayerConfig], outputs: Any) -> str:
    """Return why not every layer reads the one before alone; "" if all do."""
    before = None
    for layer in layers:
        if len(layer.calls) != (before is not None):
            return f"{layer.name!r} is called {len(layer.calls)} times"
        if before is not None:
            sources = list(_sources(layer.calls[0]))
            if sources != [(before, 0)]:
                return f"{layer.name!r} reads {_names(sources)}, not {before!r} before it alone"
        before = layer.name
    ends = list(_tensors(outputs))
    return "" if ends == [(before, 0)] else f"its outputs are of {_names(ends)}"


def _names(tensors: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name!r}" + f"[{i}]" * (i > 0) for name, i in tensors) or "no layer"


def _sources(call: Any) -> Iterator[tuple[str, int]]:
    """Yield layer and number of output of every tensor that a call reads, but for its mask."""
    if isinstance(call, Mapping):  # of Keras 3
        arguments = dict(_mapping("kwargs", call.get("kwargs", {})))
        arguments.pop("mask", None)
        yield from _tensors([call.get("args"), arguments])
        return
    for tensor in call if isinstance(call, Sequence) else ():
        yield from _tensors(tensor)


def _tensors(value: Any) -> Iterator[tuple[str, int]]:
    """Yield layer and number of output of every tensor in a part of the JSON."""
    if isinstance(value, Mapping):
        history = value.get("config", {}) if "class_name" in value else {}
        if isinstance(history, Mapping) and "keras_history" in history:
            yield from _tensors(history["keras_history"])
            return
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[2], int):
            yield value[0], value[2]
            value = value[3:]  # further arguments, of Keras 2
        for part in value:
            yield from _tensors(part)
