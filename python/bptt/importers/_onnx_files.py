"""Files of ONNX: the recurrent, affine and embedding nodes of a graph, with constant weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.tensor_files import broken_file_errors
from bptt.importers._foreign import ForeignLayer, ForeignModel, embedding, linear
from bptt.importers._onnx import from_onnx, options_of
from bptt.importers._onnx_values import STANDARD, Node, Values
from bptt.importers._weights import ONNX, Layer
from bptt.nn.recurrent import GRU, LSTM, RNN

_KINDS: dict[str, type[Any]] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_ACTIVATIONS = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
}
# Operators that change the form of a sequence alone.
_FORM = ("Identity", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Dropout")
_PARTS = ("Slice", "Split")  # which give each layer its part of a state
_TIME_MAJOR = "time_major=True reads (T, B, ..), as the node does"


def read_onnx(path: Path) -> ForeignModel:
    """Read a file of ONNX; the model is not run.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If the package onnx is not installed.
    ValueError
        If the file is damaged, or its data are in a file that is not beside it.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ImportError(
            "read_file of ONNX needs the package onnx: pip install 'bptt[onnx]'"
        ) from error
    with broken_file_errors(f"cannot load {path}"):
        try:
            model = onnx.load_model(path, load_external_data=False)
        except (DecodeError, RuntimeError) as error:
            raise ValueError("it is not a model of ONNX, or ends too early") from error
        values = Values(onnx, model.graph, path.parent)
        if not values.nodes:
            raise ValueError("it is a model of ONNX without nodes")
        reader = _Reader(values)
        for node in values.nodes:
            reader.read(node)
    return ForeignModel(
        path=path,
        library="ONNX",
        tensors=values.tensors,
        layers=reader.layers,
        others=reader.others | values.unread,
        unchained=reader.unchained,
    )


class _Reader:
    """Layers of a graph, in the order of its nodes.

    Attributes
    ----------
    layers : dict of str to ForeignLayer
    others : dict of str to str
        What belongs to no layer: output -> kind of the node.
    unchained : str
        Which layer does not read the one before it; "" if all do.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self.layers: dict[str, ForeignLayer] = {}
        self.others: dict[str, str] = {}
        self.unchained = ""
        self._used: set[str] = set()  # first outputs of nodes that belong to a layer
        self._shapes: set[str] = set()  # values that are computed of shapes
        self._end = ""  # the last layer
        self._sources: dict[str, str] = {}  # value -> the layer that it is the output of
        for node in values.nodes:
            for name in node.input[5:7] if node.op_type in _KINDS else ():
                self._used |= values.parts(name, (*_FORM, *_PARTS))[1]

    def read(self, node: Node) -> None:
        """Read one node, after those that it depends on."""
        names = [name for name in node.output if name]
        inputs = [name for name in node.input if name]
        if not names or names[0] in self._used or self.values.is_known(names[0]):
            return
        standard = node.domain in STANDARD
        of_shapes = all(n in self._shapes or self.values.is_known(n) for n in inputs)
        if standard and (node.op_type == "Shape" or (inputs and of_shapes)):
            self._shapes.update(names)
        elif standard and node.op_type in _KINDS:
            self._recurrent(node, names[0])
        elif standard and node.op_type in _FORM:
            self._sources[names[0]] = self._sources.get(inputs[0], "")
        elif not (standard and self._is_layer(node, names[0])):
            self.others[node.name or names[0]] = node.op_type

    def _add(self, node: Node, layer: ForeignLayer, outputs: list[str]) -> None:
        """Add a layer, and note if it does not read the one before it."""
        before = self._sources.get(node.input[0] if layer.kind != "Embedding" else "", "")
        if self._end and before != self._end and not self.unchained:
            self.unchained = f"{layer.name!r} does not read the output of {self._end!r}"
        self.layers[layer.name] = layer
        self._end = layer.name
        self._sources |= dict.fromkeys(outputs, layer.name)

    def _name(self, node: Node, output: str) -> str:
        return node.name if node.name and node.name not in self.layers else output

    # ---- affine layers and embeddings

    def _is_layer(self, node: Node, output: str) -> bool:
        """Add the layer that a product or a selection of rows is, if it is one."""
        if node.op_type == "Gather":
            return self._embedding(node, output)
        return node.op_type in ("MatMul", "Gemm") and self._linear(node, output)

    def _embedding(self, node: Node, output: str) -> bool:
        """Add an embedding, if the node is one: rows of a constant by ids that are none."""
        values, (table, ids) = self.values, node.input
        if not values.is_known(table) or values.is_known(ids) or ids in self._shapes:
            return False
        weight = values.array(table)
        if weight.ndim != 2 or weight.dtype.kind != "f" or values.attribute(node, "axis", 0):
            return False
        name = self._name(node, output)
        self._add(node, embedding(name, weight, {"data": weight.shape}), [output])
        return True

    def _linear(self, node: Node, output: str) -> bool:
        """Add an affine layer, if the node is one: the product with a constant matrix."""
        values = self.values
        if not values.is_known(node.input[1]) or values.is_known(node.input[0]):
            return False
        weight = values.array(node.input[1])
        if weight.ndim != 2 or weight.dtype.kind != "f":
            return False
        shapes, bias = {"B": weight.shape}, None
        given = values.attributes(node)
        if node.op_type == "Gemm":
            bias = self._bias(node.input[2]) if len(node.input) > 2 and node.input[2] else None
            plain = {"transA": 0, "alpha": 1.0, "beta": 1.0}
            if any(given.get(name, value) != value for name, value in plain.items()):
                return False
            if bias is None and len(node.input) > 2 and node.input[2]:
                return False
        weight = weight if given.get("transB", 0) else weight.T
        if node.op_type == "MatMul":
            bias, output = self._added(output)
        if bias is not None:
            if bias.shape != weight.shape[:1] or bias.dtype != weight.dtype:
                return False
            shapes["C"] = bias.shape
        activation, end = self._activation(output)
        name = self._name(node, node.output[0])
        layer = linear(name, weight, bias, shapes, activation=activation)
        self._add(node, layer, [node.output[0], output, end])
        return True

    def _bias(self, name: str) -> NDArray[Any] | None:
        """Return a constant vector, or None if the value is none."""
        array = self.values.array(name) if self.values.is_known(name) else None
        return array if array is not None and array.ndim == 1 else None

    def _next(self, output: str) -> Node | None:
        """Return the only node that reads a value, if it is not an output."""
        after = self.values.consumers.get(output, [])
        return after[0] if len(after) == 1 and output not in self.values.outputs else None

    def _added(self, output: str) -> tuple[NDArray[Any] | None, str]:
        """Return the bias that the next node adds, if it does, and its output."""
        node = self._next(output)
        if node is None or node.op_type != "Add" or node.domain not in STANDARD:
            return None, output
        bias = self._bias(next((name for name in node.input if name != output), output))
        if bias is None:
            return None, output
        self._used.add(node.output[0])
        return bias, node.output[0]

    def _activation(self, output: str) -> tuple[str | None, str]:
        """Return the function of the next node, and its output; None if it is another one."""
        node = self._next(output)
        if node is not None and node.domain in STANDARD and node.op_type in _ACTIVATIONS:
            self._used.add(node.output[0])
            return _ACTIVATIONS[node.op_type], node.output[0]
        after = self.values.consumers.get(output, [])
        plain = {*_FORM, *_KINDS, "MatMul", "Gemm"}
        return ("identity" if all(one.op_type in plain for one in after) else None), output

    # ---- recurrent layers

    def _recurrent(self, node: Node, output: str) -> None:
        """Add the layer of a node, or why there is none."""
        values, kind, name = self.values, _KINDS[node.op_type], self._name(node, output)
        given = {part: name for part, name in zip(_INPUTS, node.input, strict=False) if name}
        arrays: dict[str, NDArray[Any]] = {}
        states: dict[str, NDArray[Any]] = {}
        notes: list[str] = []
        inputs = outputs = 0
        becomes, refusal = "–", ""
        try:
            arrays |= {part: values.array(given[part]) for part in "WRBP" if part in given}
            W, R = arrays["W"], arrays["R"]
            if W.ndim != 3 or R.ndim != 3 or not W.size:
                raise ValueError(f"W and R must have 3 axes, got {W.shape} and {R.shape}")
            attributes = values.attributes(node)
            options, _ = options_of(node.op_type, attributes, len(W), R.shape[2])
            notes += [_TIME_MAJOR] * options.pop("time_major") + self._lengths(given)
            states, of_states = self._states(name, given, attributes, (len(W), 1, R.shape[2]))
            notes += of_states
            options |= {"bidirectional": len(W) == 2, "peephole": "P" in arrays}
            options["learn_initial_state"] = bool(states)
            inputs, outputs = W.shape[2], len(W) * R.shape[2]
            becomes = _becomes(node.op_type, inputs, R.shape[2], options)
        except ValueError as error:
            refusal = str(error)
        of_steps = node.output[0]
        is_read = of_steps in values.consumers or of_steps in values.outputs
        layer = ForeignLayer(
            name=name,
            kind=node.op_type,
            shapes={part: array.shape for part, array in (arrays | states).items()},
            gates=ONNX[kind],
            becomes=becomes,
            inputs=inputs,
            outputs=outputs,
            note=refusal or "; ".join(notes),
            pool=None if is_read else "last",  # the final h alone is read
            refusal=refusal,
            make=partial(_make, kind, arrays, values.attributes(node), states),
        )
        self._add(node, layer, [one for one in node.output if one])

    def _lengths(self, given: Mapping[str, str]) -> list[str]:
        """Return what to note of the lengths."""
        name = given.get("sequence_lens")
        if name is None:
            return []
        if self.values.is_known(name):
            lengths = self.values.array(name).tolist()
            raise ValueError(f"sequence_lens is the constant {lengths}: a layer takes no lengths")
        return [f"lengths are {name!r}"]

    def _states(
        self,
        layer: str,
        given: Mapping[str, str],
        attributes: Mapping[str, Any],
        shape: tuple[int, int, int],
    ) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """Return initial states (directions, H) that are constants, and what to note of others."""
        states: dict[str, NDArray[Any]] = {}
        notes: list[str] = []
        for part in ("initial_h", "initial_c"):
            name = given.get(part)
            if name is None:
                continue
            if not self.values.is_known(name):
                source, _ = self.values.parts(name, (*_FORM, *_PARTS))
                notes.append(f"{part} is {source!r}: give it as state")
                if source not in self.values.inputs:
                    self.others[f"{part} of {layer}"] = "computed"
                continue
            state = self.values.array(name)
            if attributes.get("layout", 0) and state.ndim == 3:
                state = np.swapaxes(state, 0, 1)
            if not state.any():
                continue
            if state.ndim == 3 and (state != state[:, :1]).any():
                raise ValueError(f"{part} is a constant that differs between sequences")
            if state.ndim != 3 or state[:, :1].shape != shape:
                rule = f"(directions, batch, hidden_size) = {shape}"
                raise ValueError(f"{part} must have shape {rule}, got {state.shape}")
            states[part] = state[:, 0]
            notes.append(f"{part} is the learned initial state")
        return states, notes


def _becomes(kind: str, inputs: int, size: int, options: Mapping[str, Any]) -> str:
    """Return the constructor's call, without what is the default."""
    plain = ("tanh", "sigmoid")  # of activation and gate_activation
    texts = [f"{name}={value!r}" for name, value in options.items() if value not in (*plain, False)]
    if options["activation"] == "sigmoid":
        texts.append("activation='sigmoid'")
    return f"{kind}({', '.join([str(inputs), str(size), *texts])})"


def _make(
    kind: type[Layer],
    arrays: Mapping[str, Any],
    attributes: Mapping[str, Any],
    states: Mapping[str, NDArray[Any]],
    *,
    time_major: bool = False,
    **options: Any,
) -> Layer:
    """Return the layer of a node."""
    layout = int(not checks.flag("time_major", time_major))
    if states:
        options["learn_initial_state"] = True
    layer = from_onnx(kind, **arrays, attributes={**attributes, "layout": layout}, **options)
    for part, value in states.items():
        for one, suffix in zip(value, ("", "_reverse"), strict=False):
            layer[f"{part[-1]}0_l0{suffix}"] = one.astype(layer.dtype)
    return layer
