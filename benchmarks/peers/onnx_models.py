"""ONNX models of the rows, for ONNX Runtime and OpenVINO: the operators RNN, LSTM and GRU.

Sequences are (T, B, ..), the operators' own layout. "y" is (T, directions, B, H); for a step it is
the state h (1, B, H), and the LSTM also has its "c".
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from grid import Array, Problem, Row
from peers.base import reorder

OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
# bptt's order of gates, ONNX's order
ORDERS = {"rnn": ("h", "h"), "lstm": ("ifgo", "iofg"), "gru": ("rzn", "zrn")}
OPSET, IR = 17, 9  # supported by all runtimes


def weights(row: Row, problem: Problem, layer: int) -> dict[str, Array]:
    """Return W (directions, G·H, I), R (directions, G·H, H), B (directions, 2·G·H) of one layer."""
    given, order = ORDERS[row.kind]
    W, R, B = [], [], []
    for suffix in ("", "_reverse")[: row.directions]:
        place = f"_l{layer}{suffix}"
        U, bias = problem.parameters[f"weight_ih{place}"], problem.parameters[f"bias{place}"]
        W.append(reorder(U, order, given))
        R.append(reorder(problem.parameters[f"weight_hh{place}"], order, given))
        second = np.zeros_like(bias)
        if row.kind == "gru":
            second[2 * row.hidden_size :] = problem.parameters[f"bias_hn{place}"]
        B.append(np.concatenate([reorder(bias, order, given), second]))
    return {f"W{layer}": np.stack(W), f"R{layer}": np.stack(R), f"B{layer}": np.stack(B)}


def model(row: Row, problem: Problem) -> bytes:
    """Return the serialized model of a row."""
    graph = Graph(row, problem)
    made = helper.make_model(
        graph.build(), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR
    )
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


class Graph:
    def __init__(self, row: Row, problem: Problem) -> None:
        self.row, self.problem = row, problem
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def build(self) -> Any:
        row = self.row
        T, B, H, D = row.steps, row.batch, row.hidden_size, row.directions
        inputs = [self._value("x", (T, B, row.input_size))]
        if row.ragged:
            lengths = helper.make_tensor_value_info("lengths", TensorProto.INT32, (B,))
            inputs.append(lengths)
        state = [f"{name}_in" for name in self.states] if row.mode == "step" else []
        inputs += [self._value(name, (1, B, H)) for name in state]
        if row.mode == "step":
            outputs = [self._value(name, (1, B, H)) for name in self.states]
        else:
            outputs = [self._value("y", (T, D, B, H))]
        x = "x"
        for n in range(row.num_layers):
            x = self._layer(n, x, state)
        initializers = [numpy_helper.from_array(v, name) for name, v in self.constants.items()]
        return helper.make_graph(self.nodes, "row", inputs, outputs, initializers)

    @property
    def states(self) -> list[str]:
        return ["y", "c"] if self.row.kind == "lstm" else ["y"]

    def _value(self, name: str, shape: tuple[int, ...]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def _layer(self, n: int, x: str, state: list[str]) -> str:
        """Add a layer; return the name of its output sequence."""
        row, last = self.row, n == self.row.num_layers - 1
        self.constants.update(weights(row, self.problem, n))
        lengths = "lengths" if row.ragged else ""
        y = "y" if last else f"y{n}"
        outputs = ["", *self.states] if row.mode == "step" else [y]
        self.nodes.append(
            helper.make_node(
                OPERATORS[row.kind],
                [x, f"W{n}", f"R{n}", f"B{n}", lengths, *state],
                outputs,
                hidden_size=row.hidden_size,
                direction="bidirectional" if row.directions == 2 else "forward",
                **({"linear_before_reset": 1} if row.kind == "gru" else {}),
            )
        )
        if last:
            return y
        shape = (row.steps, row.batch, row.directions * row.hidden_size)
        self.constants[f"shape{n}"] = np.array(shape, np.int64)
        turned = helper.make_node("Transpose", [y], [f"turned{n}"], perm=(0, 2, 1, 3))
        joined = helper.make_node("Reshape", [f"turned{n}", f"shape{n}"], [f"x{n + 1}"])
        self.nodes += [turned, joined]
        return f"x{n + 1}"


def output(y: Array, row: Row) -> Array:
    """Reshape (T, directions, B, H) to (T, B, directions·H)."""
    return y.swapaxes(1, 2).reshape(row.steps, row.batch, -1)
