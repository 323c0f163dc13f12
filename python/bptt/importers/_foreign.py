"""What a file of another library holds: tensors, layers, and the network that they become.

The reader of every format fills in these classes; `build` of a layer calls the importer of its
library.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bptt.importers._weights import array_of, check_option
from bptt.nn.elementwise import ReLU, Sigmoid, Tanh
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.normalization import LayerNorm
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential

_HEADER = ("layer", "kind", "array", "shape", "becomes")
_NOTE_WIDTH = 60
_MAX_OTHERS = 12  # other tensors in the table
_ELEMENTWISE = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid}


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignLayer:
    """A layer in a file of another library.

    Attributes
    ----------
    name : str
        Name in the file, such as "encoder.lstm".
    kind : str
        "RNN", "LSTM", "GRU", "Linear", "Embedding", "LayerNorm", or two of these, as "Embedding or
        Linear".
    shapes : mapping of str to tuple
        Shape of every array, by its name in the layer.
    gates : tuple of str
        Gates in the order of the arrays; none of other layers.
    becomes : str
        What `build` returns, such as ``"LSTM(100, 128, num_layers=2)"``.
    inputs, outputs : int
        Features of input and output; of an embedding `inputs` is the number of ids.
    note : str
        What the file does not say, and which option says it.
    activation : str or None
        Function after a Linear, such as "identity", "relu" or "softmax"; None if the file does not
        say.
    pool : str or None
        Pooling over time after a recurrent layer, if the file says it.
    refusal : str
        Why bptt has no such layer; "" if it has.
    readings : mapping of str to ForeignLayer
        By kind, of arrays that may be of several kinds.
    """

    name: str
    kind: str
    shapes: Mapping[str, tuple[int, ...]]
    gates: tuple[str, ...] = ()
    becomes: str
    inputs: int = 0
    outputs: int = 0
    note: str = ""
    activation: str | None = None
    pool: str | None = None
    refusal: str = ""
    readings: Mapping[str, ForeignLayer] = field(default_factory=dict)
    make: Callable[..., Module] | None = field(default=None, repr=False)

    def build(self, **options: Any) -> Any:
        """Return the layer with its weights.

        Parameters
        ----------
        **options
            Further arguments of the layer, such as `activation` or `time_major`.

        Returns
        -------
        Module
            An `RNN`, `LSTM`, `GRU`, `Linear`, `Embedding` or `LayerNorm`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If bptt has no such layer, the weights do not fit together, an option is unknown, or the
            layer may be of several kinds, of which `readings` has each.
        """
        if self.refusal:
            raise ValueError(f"{self.name!r} is not supported: {self.refusal}")
        if self.make is None:
            choices = " or ".join(f"readings[{kind!r}].build()" for kind in self.readings)
            raise ValueError(f"{self.name!r} may be of several kinds: use its {choices}")
        return self.make(**options)


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignModel:
    """Content of a file of another library. ``print(model)`` shows its layers as a table.

    Attributes
    ----------
    path : Path
        The file.
    library : str
        "PyTorch", "Keras" or "ONNX".
    tensors : mapping of str to array
        All tensors by name, in the order of the file.
    layers : mapping of str to ForeignLayer
        Layers by name, in the order of the file.
    others : mapping of str to str
        What belongs to no layer, with its shape or its kind.
    unchained : str
        Why the layers are no chain, if the file says so.
    """

    path: Path
    library: str
    tensors: Mapping[str, NDArray[Any]]
    layers: Mapping[str, ForeignLayer]
    others: Mapping[str, str] = field(default_factory=dict)
    unchained: str = ""

    def __getitem__(self, name: str) -> ForeignLayer:
        """Return a layer.

        Parameters
        ----------
        name : str

        Returns
        -------
        ForeignLayer

        Raises
        ------
        KeyError
            If there is no such layer.
        """
        try:
            return self.layers[name]
        except (KeyError, TypeError):  # TypeError: not hashable
            known = ", ".join(map(repr, self.layers)) or "none"
            raise KeyError(f"{self.path} has no layer {name!r}, it has {known}") from None

    def chain(
        self, *names: str, pool: str | None = None, epsilon: float | None = None, **options: Any
    ) -> Sequential:
        """Return layers as one network, each of which reads the output of the one before.

        Recurrent layers of one kind, size and direction that follow each other become one, with
        `num_layers`. Functions between layers that have no weights, such as dropout, are not in
        every file; a softmax at the end is left out: outputs are logits. `activation` of the layers
        says which functions follow them.

        Parameters
        ----------
        *names : str
            Names of layers, from input to output. By default all, in the order of the file.
        pool : {None, "last", "mean", "max"}, optional
            Pooling over time after the last recurrent layer; by default what the file says.
        epsilon : float, optional
            ε of the layer normalizations; by default what the file says, else 1e-5.
        **options
            Further arguments of the recurrent layers, such as `activation`.

        Returns
        -------
        Sequential

        Raises
        ------
        KeyError
            If there is no such layer.
        TypeError, ValueError
            If the layers are no chain, or may be several, or an option is wrong.
        """
        if not names and self.others:
            raise ValueError(
                f"{self.path} has arrays of no known layer, such as {next(iter(self.others))!r}: "
                f"give the names of the layers, of {', '.join(map(repr, self.layers)) or 'none'}"
            )
        if not names and self.unchained:
            raise ValueError(f"the layers of {self.path} are no chain: {self.unchained}")
        layers = _read_as([self[name] for name in names or self.layers])
        if not layers:
            raise ValueError(f"{self.path} has no layers")
        for one, above in pairwise(layers):
            _check_pair(one, above)
        _check_last(layers[-1])
        modules: list[Module] = []
        further = {} if epsilon is None else {"epsilon": epsilon}
        for layer in layers:
            if layer.kind == "LayerNorm":
                modules.append(layer.build(**further))
            else:
                modules.append(layer.build(**(options if layer.gates else {})))
            if layer.activation in _ELEMENTWISE:
                modules.append(_ELEMENTWISE[layer.activation](dtype=modules[-1].dtype))
        return Sequential(*_stacked(modules), pool=_pool_of(layers) if pool is None else pool)

    def __str__(self) -> str:
        rows = [_HEADER]
        for layer in self.layers.values():
            rows += _rows(layer)
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
        lines = [
            "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        if self.unchained:
            lines += ["", f"no chain: {self.unchained}"]
        if self.others:
            shown = [f"{name} {text}" for name, text in list(self.others.items())[:_MAX_OTHERS]]
            left = len(self.others) - len(shown)
            shown += [f"{left:,} more"] * (left > 0)
            lines += ["", f"of no known layer: {', '.join(shown)}"]
        return "\n".join([f"{self.path}: {self.library}", "", *lines])


def with_weights(
    kind: type[Module], config: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]
) -> Callable[..., Module]:
    """Return a function of further options that makes a module with these weights."""

    def make(**options: Any) -> Module:
        arrays = {name: array_of(name, value, value.ndim) for name, value in weights.items()}
        dtype = next(iter(arrays.values())).dtype
        for name, value in {**config, "dtype": dtype.name}.items():
            check_option(options, name, value, "that of the file")
        return kind._with_parameters(options, arrays.__getitem__)

    return make


def linear(
    name: str,
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    shapes: Mapping[str, tuple[int, ...]],
    **fields: Any,
) -> ForeignLayer:
    """Return an affine layer with weight (K, D) and bias (K,); `shapes` are those of the file."""
    rows, columns = weight.shape
    biased = bias is not None
    config = {"in_features": columns, "out_features": rows, "bias": biased}
    weights = {"weight": weight} | ({} if bias is None else {"bias": bias})
    return ForeignLayer(
        name=name,
        kind="Linear",
        shapes=shapes,
        becomes=f"Linear({columns}, {rows}{'' if biased else ', bias=False'})",
        inputs=columns,
        outputs=rows,
        make=with_weights(Linear, config, weights),
        **fields,
    )


def embedding(
    name: str, weight: NDArray[Any], shapes: Mapping[str, tuple[int, ...]], **fields: Any
) -> ForeignLayer:
    """Return an embedding with weight (V, E); `shapes` are those of the file."""
    ids, size = weight.shape
    return ForeignLayer(
        name=name,
        kind="Embedding",
        shapes=shapes,
        becomes=f"Embedding({ids}, {size})",
        inputs=ids,
        outputs=size,
        make=with_weights(
            Embedding, {"num_embeddings": ids, "embedding_dim": size}, {"weight": weight}
        ),
        **fields,
    )


def layer_norm(
    name: str,
    weights: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, tuple[int, ...]],
    epsilon: float | None = None,
    **fields: Any,
) -> ForeignLayer:
    """Return a layer normalization with weight and bias (D,); `shapes` are those of the file."""
    size = weights["weight"].size
    known = {} if epsilon is None else {"epsilon": epsilon}
    texts = [str(size), *(f"{option}={value!r}" for option, value in known.items())]
    return ForeignLayer(
        name=name,
        kind="LayerNorm",
        shapes=shapes,
        becomes=f"LayerNorm({', '.join(texts)})",
        inputs=size,
        outputs=size,
        make=with_weights(LayerNorm, {"num_features": size, **known}, weights),
        **fields,
    )


# ---- chains


def _read_as(layers: Sequence[ForeignLayer]) -> list[ForeignLayer]:
    """Return the layers, each of the one kind that fits its place."""
    found = list(layers)
    for place, layer in enumerate(layers):
        if layer.refusal:
            layer.build()
        if not layer.readings:
            continue
        fitting = list(layer.readings.values())
        if place:  # an embedding is the first
            fitting = [one for one in fitting if one.kind != "Embedding"]
        elif len(layers) > 1:
            fitting = [one for one in fitting if one.outputs == layers[1].inputs] or fitting
        if len(fitting) > 1 or len(layers) == 1:
            raise ValueError(
                f"{layer.name!r} may be {layer.kind}: build it by its readings, and put a "
                "Sequential together"
            )
        found[place] = fitting[0]
    return found


def _check_pair(one: ForeignLayer, above: ForeignLayer) -> None:
    """Check that a layer can read the output of another."""
    if above.kind == "Embedding":
        raise ValueError(f"{above.name!r} reads ids and must be the first layer, not after others")
    if one.outputs != above.inputs:
        raise ValueError(
            f"{above.name!r} reads {above.inputs} features, {one.name!r} before it has "
            f"{one.outputs}: give the names of layers that are a chain"
        )
    if one.kind == "Linear" and one.activation is None:
        raise ValueError(
            f"the file does not say which function is between {one.name!r} and {above.name!r}: "
            "build them, and put a Sequential together"
        )
    if one.activation not in (None, "identity", *_ELEMENTWISE):
        raise ValueError(f"{one.name!r} is followed by {one.activation}, which must be at the end")


def _check_last(layer: ForeignLayer) -> None:
    """Check that bptt has the function at the end, but for a softmax."""
    if layer.activation not in (None, "identity", "softmax", *_ELEMENTWISE):
        raise ValueError(
            f"{layer.name!r} is followed by {layer.activation}, which bptt does not have: build "
            "the layers, and put a Sequential together"
        )


def _pool_of(layers: Sequence[ForeignLayer]) -> str | None:
    """Return the pooling after the last recurrent layer; refuse one before."""
    recurrent = [layer for layer in layers if layer.gates]
    for layer, above in pairwise(recurrent):
        if layer.pool is not None:
            raise ValueError(
                f"{layer.name!r} has pool={layer.pool!r}, not an output at every step, which "
                f"{above.name!r} reads"
            )
    return recurrent[-1].pool if recurrent else None


def _stacked(modules: Sequence[Module]) -> list[Module]:
    """Return the modules, with recurrent ones that can be one layer as one."""
    groups: list[list[Module]] = []
    for module in modules:
        if groups and _same(groups[-1][-1], module):
            groups[-1].append(module)
        else:
            groups.append([module])
    return [group[0] if len(group) == 1 else _one(group) for group in groups]


def _same(below: Module, above: Module) -> bool:
    """Return whether two modules are recurrent, and the same but for inputs and number."""
    if type(below) is not type(above) or not isinstance(below, Recurrent):
        return False
    free = ("input_size", "num_layers", "seed")
    first, second = (
        {name: value for name, value in one.config.items() if name not in free}
        for one in (below, above)
    )
    return first == second and not first["learn_initial_state"]


def _one(layers: Sequence[Any]) -> Module:
    """Return one recurrent layer with the parameters of several."""
    parameters, count = {}, 0
    for layer in layers:
        for name, value in layer.parameters.items():
            base, _, rest = name.rpartition("_l")
            index, reverse, _ = rest.partition("_reverse")
            parameters[f"{base}_l{count + int(index)}{reverse}"] = value
        count += layer.num_layers
    config = {**layers[0].config, "num_layers": count}
    return type(layers[0])._with_parameters(config, parameters.__getitem__)  # type: ignore[no-any-return]


# ---- table


def _rows(layer: ForeignLayer) -> list[tuple[str, str, str, str, str]]:
    """Return the lines of a layer in the table."""
    arrays = [(name, str(shape)) for name, shape in layer.shapes.items()]
    texts = [layer.becomes]
    texts += [f"gates: {', '.join(layer.gates)}"] * (len(layer.gates) > 1)
    texts += textwrap.wrap(layer.note, _NOTE_WIDTH)
    first = (layer.name or '""', layer.kind)
    rows = []
    for array, text in zip_longest(arrays, texts):
        rows.append((*first, *(array or ("", "")), text or ""))
        first = ("", "")
    return rows
