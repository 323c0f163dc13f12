"""A trained network as an ONNX model: batch, time and lengths stay dynamic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.tensor_files import as_path
from bptt.exporters._onnx_graph import Graph
from bptt.exporters._parts import parts_of
from bptt.nn.cells import Cell
from bptt.nn.dropout import Dropout
from bptt.nn.elementwise import ReLU, Sigmoid, Tanh
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.normalization import LayerNorm
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential
from bptt.nn.summary import feature_sizes

# Our gates in the order of the operator's blocks of rows.
_GATES = {
    "RNN": ("hidden",),
    "LSTM": ("input", "output", "forget", "cell"),
    "GRU": ("update", "reset", "candidate"),
}
_OPERATORS = {
    "rnn": "RNN",
    "lstm": "LSTM",
    "lstm_peephole": "LSTM",
    "lstm_coupled": "LSTM",
    "lstm_peephole_coupled": "LSTM",
    "gru": "GRU",
    "gru_reset_after": "GRU",
}
_ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "identity": "Affine"}
_SLOPES = {"hard_sigmoid": 1 / 6, "hard_sigmoid_keras2": 0.2}
_ELEMENTWISE = {ReLU: "Relu", Tanh: "Tanh", Sigmoid: "Sigmoid"}


def to_onnx(
    model: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    ids: bool | None = None,
    lengths: bool = True,
    state: bool = False,
) -> Any:
    """Return a trained network as an ONNX model, and write it to a file.

    Batch and time are dynamic. Inputs are ``x`` (batch, steps, features), or token ids (batch,
    steps), with `lengths` also ``lengths`` (batch,), and with `state` the initial state of every
    recurrent module; outputs are ``y`` (batch, steps, K), with pooling (batch, K), and with
    `state` the final states. Everything is float32, which is what ONNX Runtime's recurrent
    operators take; lengths and ids are int32 and int64.

    Parameters
    ----------
    model : Recurrent, Sequential, or a fitted classifier, regressor, tagger or language model
        `RNN`, `LSTM` (peepholes and coupled gates too) and `GRU` layers, after an `Embedding` and
        with `Linear`, `LayerNorm`, `ReLU`, `Tanh`, `Sigmoid` and `Dropout` around them, with any
        pooling. Of an estimator, its ``model_`` with the standardization of features and targets;
        texts and classes stay numbers: outputs of a classifier are its logits. Of a language model,
        its ``decoder_``: ids, the start token first, to logits of the next token.
    path : path, optional
        File to write, such as ``"model.onnx"``.
    ids : bool, optional
        Whether the input is token ids instead of features. By default for an `Embedding`, and for
        an estimator of tokens.
    lengths : bool, default True
        Whether sequences have different lengths. Outputs of steps beyond them mean nothing.
    state : bool, default False
        Whether initial states are inputs, ``h_0`` and ``c_0`` of the first recurrent module, and so
        on, (num_layers*directions, batch, hidden_size), and final states are outputs, ``h_0_last``.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ImportError
        If the package onnx is not installed.
    TypeError
        If an argument has the wrong type.
    ValueError
        If ONNX has no operator for a module or an option.
    OSError
        If the file cannot be written.
    """
    ragged, states = checks.flag("lengths", lengths), checks.flag("state", state)
    file = None if path is None else as_path(path)
    network, features, targets, tokens = parts_of(model)
    if network.skip_input:
        raise ValueError("skip_input=True has no ONNX model")
    is_ids = tokens if ids is None else checks.flag("ids", ids)
    is_ids = is_ids or isinstance(network.modules[0], Embedding)
    writer = _Writer(network, is_ids, ragged, states)
    proto = writer.model(features, targets)
    if file is not None:
        file.write_bytes(proto.SerializeToString())
    return proto


class _Writer:
    """Nodes of a network, from input to output; sequences are (steps, batch, ..) between them."""

    def __init__(self, network: Sequential, ids: bool, ragged: bool, states: bool) -> None:
        self.network, self.ids, self.states = network, ids, states
        self.graph = Graph()
        self.lengths = "lengths" if ragged else ""
        self.recurrent = 0

    def model(self, features: Any, targets: Any) -> Any:
        """Return the model, with scaling of features and targets if they are not None."""
        graph, network = self.graph, self.network
        sizes = list(map(feature_sizes, network.modules))
        if self.ids:
            graph.input("x", "int64", ("batch", "steps"))
        else:
            inputs = next(size for size, _ in sizes if size is not None)
            graph.input("x", "float32", ("batch", "steps", inputs))
        if self.lengths:
            graph.input("lengths", "int32", ("batch",))
        value = graph.node("Transpose", ["x"], perm=[1, 0] if self.ids else [1, 0, 2])
        if features is not None:
            value = self._scaled(value, 1 / features.std, -features.mean / features.std)
        places = [i for i, one in enumerate(network.modules) if isinstance(one, Recurrent)]
        if not places:
            raise ValueError("a network without a recurrent layer has no ONNX model")
        is_ids, pooled = self.ids, False
        for place, module in enumerate(network.modules):
            if isinstance(module, Recurrent):
                value, last = self._recurrent(module, value, is_ids)
                if place == places[-1] and network.pool is not None:
                    value, pooled = self._pooled(network.pool, value, last), True
            else:
                value = self._module(module, value)
            is_ids = False
        if targets is not None:
            value = self._scaled(value, targets.std, targets.mean)
        shape = ("batch",) if pooled else ("batch", "steps")
        if not pooled:
            value = graph.node("Transpose", [value], perm=[1, 0, 2])
        outputs = next(size for _, size in reversed(sizes) if size is not None)
        graph.output("y", value, "float32", (*shape, outputs))
        return graph.model()

    def _scaled(self, value: str, factor: NDArray[Any], offset: NDArray[Any]) -> str:
        graph = self.graph
        product = graph.node("Mul", [value, graph.constant(factor)])
        return graph.node("Add", [product, graph.constant(offset)])

    def _module(self, module: Any, value: str) -> str:
        graph = self.graph
        if isinstance(module, Dropout):  # which does nothing in inference
            return value
        if type(module) is Embedding:  # not EmbeddingBag, which reads several ids
            return graph.node("Gather", [graph.constant(module["weight"]), value])
        if isinstance(module, Linear):
            value = graph.node("MatMul", [value, graph.constant(module["weight"].T)])
            if "bias" in module:
                value = graph.node("Add", [value, graph.constant(module["bias"])])
            return value
        if isinstance(module, LayerNorm):
            weights = [graph.constant(module[name]) for name in ("weight", "bias")]
            return graph.node(
                "LayerNormalization", [value, *weights], axis=-1, epsilon=module.epsilon
            )
        if type(module) in _ELEMENTWISE:
            return graph.node(_ELEMENTWISE[type(module)], [value])
        raise ValueError(f"a {type(module).__name__} has no ONNX operator")

    # ---- recurrent layers

    def _recurrent(self, module: Recurrent[Any], value: str, ids: bool) -> tuple[str, str]:
        """Return output (steps, batch, D) and final h of the last layer, (directions, batch, H)."""
        _check(module)
        graph, number = self.graph, self.recurrent
        self.recurrent += 1
        directions = 1 + module.bidirectional
        if ids:
            values = graph.constant(np.array([0.0, 1.0]))
            depth = graph.constant(np.array(module.input_size), np.int64)
            value = graph.node("OneHot", [value, depth, values], axis=-1)
        names = module.cell.states
        rows = module.num_layers * directions
        initial = [self._initial(module, number, i, name) for i, name in enumerate(names)]
        finals: list[list[str]] = []
        for layer in range(module.num_layers):
            start = [self._rows(one, layer * directions, directions) for one in initial]
            value, *last = self._layer(module, layer, value, start)
            finals.append(last)
        if self.states:
            for i, name in enumerate(names):
                parts = [last[i] for last in finals]
                joined = parts[0]
                if len(parts) > 1:
                    joined = graph.node("Concat", parts, axis=0)
                shape = (rows, "batch", module.hidden_size)
                graph.output(f"{name}_{number}_last", joined, "float32", shape)
        return value, finals[-1][0]

    def _initial(self, module: Recurrent[Any], number: int, i: int, name: str) -> str:
        """Return the initial state of all layers, or "" for zero."""
        graph, rows = self.graph, module.num_layers * (1 + module.bidirectional)
        if self.states:
            shape = (rows, "batch", module.hidden_size)
            return graph.input(f"{name}_{number}", "float32", shape)
        learned = module._current(False).initial
        if not learned:
            return ""
        batch = graph.node("Shape", ["x"], start=0, end=1)
        ends = [graph.constant(np.array([n]), np.int64) for n in (rows, module.hidden_size)]
        shape_of_all = graph.node("Concat", [ends[0], batch, ends[1]], axis=0)
        return graph.node("Expand", [graph.constant(learned[i][:, np.newaxis]), shape_of_all])

    def _rows(self, value: str, first: int, count: int) -> str:
        if not value:
            return ""
        graph = self.graph
        limits = [graph.constant(np.array([n]), np.int64) for n in (first, first + count, 0)]
        return graph.node("Slice", [value, *limits])

    def _layer(
        self, module: Recurrent[Any], layer: int, value: str, start: Sequence[str]
    ) -> list[str]:
        """Return output and final states of one layer."""
        graph, cell = self.graph, module.cell
        operator = _OPERATORS[cell.name]
        suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: 1 + module.bidirectional]
        found = [_arrays(module, suffix) for suffix in suffixes]
        weights = [graph.constant(np.stack(parts)) for parts in zip(*found, strict=True)]
        inputs = [value, *weights[:3], self.lengths, *start]
        if len(weights) > 3:
            inputs += [*[""] * (3 - len(start) - 1), weights[3]]
        attributes = _attributes(module, operator)
        outputs = graph.nodes(operator, inputs, 2 + (operator == "LSTM"), **attributes)
        return [self._merged(module, outputs[0]), *outputs[1:]]

    def _merged(self, module: Recurrent[Any], output: str) -> str:
        """Return (steps, batch, D) from the operator's (steps, directions, batch, H)."""
        graph = self.graph
        axis = graph.constant(np.array([1]), np.int64)
        if not module.bidirectional:
            return graph.node("Squeeze", [output, axis])
        if module.merge != "concat":
            operator = {"sum": "ReduceSum", "mean": "ReduceMean", "mul": "ReduceProd"}
            return self._reduced(operator[module.merge], output, 1)
        value = graph.node("Transpose", [output], perm=[0, 2, 1, 3])
        shape = graph.constant(np.array([0, 0, -1]), np.int64)
        return graph.node("Reshape", [value, shape])

    # ---- pooling

    def _pooled(self, pool: str, value: str, last: str) -> str:
        """Return (batch, D) from the output and the final h of a layer."""
        graph = self.graph
        module = next(m for m in self.network.modules[::-1] if isinstance(m, Recurrent))
        if pool == "last":
            axis = graph.constant(np.array([0]), np.int64)
            four = graph.node("Unsqueeze", [last, axis])  # as the output of a single step
            return graph.node("Squeeze", [self._merged(module, four), axis])
        if not self.lengths:
            return self._reduced({"mean": "ReduceMean", "max": "ReduceMax"}[pool], value, 0)
        mask = self._mask()
        if pool == "mean":
            zero = graph.constant(np.array(0.0))
            kept = graph.node("Where", [mask, value, zero])
            total = self._reduced("ReduceSum", kept, 0)
            one = graph.constant(np.array([1]), np.int32)
            counts = graph.node("Cast", [graph.node("Max", ["lengths", one])], to=1)
            last_axis = graph.constant(np.array([1]), np.int64)
            return graph.node("Div", [total, graph.node("Unsqueeze", [counts, last_axis])])
        lowest = graph.constant(np.array(-np.inf))
        kept = graph.node("Where", [mask, value, lowest])
        return self._reduced("ReduceMax", kept, 0)

    def _reduced(self, operator: str, value: str, axis: int) -> str:
        """Return the sum, mean, product or maximum over one axis."""
        if operator == "ReduceSum":  # whose axes are an input since version 13
            axes = self.graph.constant(np.array([axis]), np.int64)
            return self.graph.node(operator, [value, axes], keepdims=0)
        return self.graph.node(operator, [value], axes=[axis], keepdims=0)

    def _mask(self) -> str:
        """Return whether each step is one of its sequence, (steps, batch, 1)."""
        graph = self.graph
        steps = graph.node("Shape", ["x"], start=1, end=2)
        zero, one = (graph.constant(np.array(n), np.int64) for n in (0, 1))
        count = graph.node("Squeeze", [steps])
        times = graph.node(
            "Unsqueeze",
            [graph.node("Range", [zero, count, one]), graph.constant(np.array([1, 2]), np.int64)],
        )
        long = graph.node("Cast", ["lengths"], to=7)
        ends = graph.node("Unsqueeze", [long, graph.constant(np.array([0, 2]), np.int64)])
        return graph.node("Less", [times, ends])


def _check(module: Recurrent[Any]) -> None:
    """Check that the operators have the layer's options."""
    if module.cell.name not in _OPERATORS:
        raise ValueError(f"ONNX has no operator for {module.cell.title} layers")
    if module.state_sizes[0] != module.hidden_size:
        raise ValueError(f"ONNX's LSTM has no projection, got {module}")
    if module._decay_size:
        raise ValueError(f"ONNX's operators have no decay, got {module}")
    if module.zoneout:
        raise ValueError(f"ONNX's operators have no zoneout, got {module}")


def _arrays(module: Recurrent[Any], suffix: str) -> list[NDArray[Any]]:
    """Return W, R, B and perhaps P of one layer and direction."""
    cell, size = module.cell, module.hidden_size
    ih, hh, bias = (module[f"{name}{suffix}"] for name in ("weight_ih", "weight_hh", "bias"))
    second = np.zeros_like(bias)
    if cell.name == "gru_reset_after":
        second[-size:] = module[f"bias_hn{suffix}"]
    arrays = [_blocks(array, cell) for array in (ih, hh, bias, second)]
    found = [arrays[0], arrays[1], np.concatenate(arrays[2:])]
    if cell.extra_parameters.keys() & {"peephole_output"}:
        of_forget, of_output = (module[f"peephole_{g}{suffix}"] for g in ("forget", "output"))
        coupled = "input" not in cell.gates
        of_input = -of_forget if coupled else module[f"peephole_input{suffix}"]
        found.append(np.concatenate([of_input, of_output, of_forget]))
    return found


def _blocks(array: NDArray[Any], cell: Cell) -> NDArray[Any]:
    """Return the blocks of rows in the operator's order.

    ONNX couples the gates by f = 1 − i, with weights for i: those of −a_f, as 1 − σ(a) = σ(−a).
    """
    blocks = dict(zip(cell.gates, np.split(array, len(cell.gates)), strict=True))
    if "forget" in blocks and "input" not in blocks:
        blocks["input"] = -blocks["forget"]
    return np.concatenate([blocks[gate] for gate in _GATES[_OPERATORS[cell.name]]])


def _attributes(module: Recurrent[Any], operator: str) -> dict[str, Any]:
    directions = 1 + module.bidirectional
    direction = "reverse" if module.reverse else "forward"
    attributes: dict[str, Any] = {
        "hidden_size": module.hidden_size,
        "direction": "bidirectional" if module.bidirectional else direction,
    }
    names = [_ACTIVATIONS[module.activation]] * (1 if operator != "LSTM" else 2)
    alphas, betas = [], []
    if operator != "RNN":
        gate: str = getattr(module, "gate_activation", "sigmoid")
        if gate in _SLOPES:
            names = ["HardSigmoid", *names]
            alphas, betas = [_SLOPES[gate]], [0.5]
        else:
            names = ["Sigmoid", *names]
    affine = names.count("Affine")
    alphas, betas = alphas + [1.0] * affine, betas + [0.0] * affine
    attributes["activations"] = names * directions
    if alphas:
        attributes["activation_alpha"] = alphas * directions
        attributes["activation_beta"] = betas * directions
    if operator == "GRU":
        attributes["linear_before_reset"] = int(module.cell.name == "gru_reset_after")
    if operator == "LSTM":
        attributes["input_forget"] = int("input" not in module.cell.gates)
    return attributes
