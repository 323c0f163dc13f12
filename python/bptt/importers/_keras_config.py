"""The architecture in a file of Keras: its layers, and whether they are a chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MODELS = ("Sequential", "Functional", "Model")
TIME_DISTRIBUTED = "TimeDistributed"
_LIBRARIES = ("keras", "tf_keras", "tensorflow")  # first part of the modules of its classes
_OURS = "bptt>"  # before the names of the layers of bptt.keras, which are Keras' but for the loop
_MASKS = ("NotEqual", "Any")  # of Keras 3, which computes the masks of an Embedding and a Masking
_MAX_DEPTH = 32  # of models in models
_FEATURES = (  # layers that do to one step what they do to every step of a sequence
    *("InputLayer", "Dense", "LayerNormalization", "Activation", "ReLU", "Softmax", "Dropout"),
    *("GaussianDropout", "AlphaDropout", "GaussianNoise", "ActivityRegularization"),
)


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
    inside : sequence of LayerConfig or None
        The layers of a model inside the model, or the one model of a TimeDistributed; None for a
        layer.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    custom: str = ""
    calls: Sequence[Any] = ()
    inside: Sequence[LayerConfig] | None = None


class Architecture(NamedTuple):
    """The layers of a model, and why they are no chain ("" if they are one)."""

    layers: list[LayerConfig]
    unchained: str

    def leaves(self) -> Iterator[LayerConfig]:
        """Yield all layers that are no models, named as in "encoder/lstm"."""
        return leaves(self.layers)


def leaves(layers: Sequence[LayerConfig], before: str = "") -> Iterator[LayerConfig]:
    """Yield the layers that are no models, by their full names, which begin with `before`."""
    for layer in layers:
        name = f"{before}{layer.name}"
        if layer.inside is None:
            yield layer._replace(name=name)
        else:
            yield from leaves(layer.inside, f"{name}/")


def architecture_of(model: Any) -> Architecture | None:
    """Return the layers of a model from its JSON; None if its class is not one of Keras.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the JSON is not that of a model.
    """
    description = _mapping("model", model)
    if not _is_model(description):
        return None
    found = _architecture(description, 0)
    _check_names([layer.name for layer in found.leaves()])
    return found


def _is_model(description: Mapping[str, Any]) -> bool:
    return description["class_name"] in MODELS and not _custom(description)


def _architecture(description: Mapping[str, Any], depth: int) -> Architecture:
    """Return the layers of a model that is inside of `depth` others."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"models must be at most {_MAX_DEPTH} deep in each other, got more")
    config = description["config"]
    if isinstance(config, list):  # of a Sequential before Keras 2.2.3
        config = {"layers": config}
    given = _mapping("config", config)["layers"]
    if not isinstance(given, list):
        raise TypeError(f"layers must be a list, got {type(given).__name__}")
    layers, reasons = list[LayerConfig](), list[str]()
    for entry in given:
        layer, why = _with_inside(entry, depth)
        layers.append(layer)
        reasons.append(why)
    _check_names([layer.name for layer in layers])
    if description["class_name"] != "Sequential":
        layers = [layer for layer in layers if layer.custom or layer.kind not in _MASKS]
        reasons.insert(0, _not_a_chain(layers, config.get("output_layers")))
    return Architecture(layers, next(filter(None, reasons), ""))


def _check_names(names: Sequence[str]) -> None:
    seen = set[str]()
    for name in names:
        if name in seen:
            raise ValueError(f"names of layers must be different, got {name!r} twice")
        seen.add(name)


def _with_inside(entry: Any, depth: int) -> tuple[LayerConfig, str]:
    """Return a layer or a model inside the model, and why its own layers are no chain."""
    layer = layer_config(entry)
    if layer.custom:
        return layer, ""
    if layer.kind in MODELS:
        found = _architecture(entry, depth + 1)
        why = found.unchained
    elif layer.kind == TIME_DISTRIBUTED and _is_model(_mapping("layer", layer.config["layer"])):
        model, why = _with_inside(layer.config["layer"], depth + 1)
        other = next((one for one in leaves([model]) if one.kind not in _FEATURES), None)
        if other is not None:
            why = f"{other.name!r} is called at every step of a longer sequence"
        found = Architecture([_at_one_step(model)], "")
    else:
        return layer, ""
    return layer._replace(inside=found.layers), f"in {layer.name!r}, {why}" if why else ""


def _at_one_step(layer: LayerConfig) -> LayerConfig:
    """Return a layer or model whose inputs have one axis less than sequences, as if they were."""
    if layer.inside is None:
        return with_last_axis(layer, 1)
    return layer._replace(inside=[_at_one_step(one) for one in layer.inside])


def with_last_axis(layer: LayerConfig, last: int) -> LayerConfig:
    """Return a LayerNormalization whose axis is counted from the right; Keras 2 does from the left.

    `last` is the number of the last axis of its input.
    """
    if layer.kind != "LayerNormalization" or layer.config.get("axis") not in (last, [last]):
        return layer
    return layer._replace(config={**layer.config, "axis": -1})


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
