"""All combinations of attributes of ONNX's RNN, LSTM and GRU: onnxruntime agrees, or we refuse.

Every node that `from_onnx` takes is compared with the operator's specification in NumPy, and with
onnxruntime. ``pytest -s`` prints how many agree, and what is refused by whom.

onnxruntime 1.32 differs from the specification here:

- layout=1 is refused ("Batchwise recurrent operations (layout == 1) are not supported");
- Affine and ScaledTanh without alpha and beta are 0 (the specification refers to the defaults of
  operators that are no longer there): we refuse them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import bptt
from bptt.importers import from_onnx

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

T, B, D, H = 5, 3, 2, 3  # steps, batch, features, hidden units
LENGTHS = np.array([5, 2, 3], np.int32)
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
POSITIONS = {"RNN": ("Tanh",), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
# Activation -> alpha and beta by default, as in the operators of the same names.
ACTIVATIONS: dict[str, tuple[float, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "Affine": (1.0, 0.0),
    "LeakyRelu": (0.01,),
    "ThresholdedRelu": (1.0,),
    "ScaledTanh": (1.0, 1.0),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0,),
    "Softsign": (),
    "Softplus": (),
}
# Parameters other than those by default.
SLOPES: dict[str, list[tuple[float, ...]]] = {
    "Affine": [(0.75, 0.25), (-0.5, 0.0)],
    "LeakyRelu": [(0.0,), (1.0,), (0.3,)],
    "ThresholdedRelu": [(0.0,), (0.2,)],
    "ScaledTanh": [(1.0, 0.5), (0.5, 1.0)],
    "HardSigmoid": [(1 / 6, 0.5), (0.3, 0.4), (-0.25, 0.6)],
    "Elu": [(0.0,), (0.5,)],
}


@dataclass(frozen=True)
class Node:
    """A node and its inputs."""

    kind: str
    direction: str = "forward"
    activations: tuple[str, ...] = ()  # by default those of the operator
    slopes: tuple[tuple[float, ...], ...] = ()  # of each activation; () for the default ones
    layout: int = 0
    input_forget: int = 0
    linear_before_reset: int = 0
    clip: float | None = None
    ragged: bool = False
    state: bool = False
    peephole: bool = False
    bias: bool = True

    @property
    def directions(self) -> int:
        return DIRECTIONS[self.direction]

    @property
    def attributes(self) -> dict[str, Any]:
        """Those of the node, without the ones that have their default values."""
        alpha = [slope[0] for slope in self.slopes if slope]
        beta = [slope[1] for slope in self.slopes if len(slope) > 1]
        given = {
            "hidden_size": H,
            "direction": self.direction,
            "activations": list(self.activations),
            "activation_alpha": alpha,
            "activation_beta": beta,
            "layout": self.layout,
            "input_forget": self.input_forget,
            "linear_before_reset": self.linear_before_reset,
            "clip": self.clip,
        }
        return {name: value for name, value in given.items() if value}

    def parameters(self) -> list[tuple[str, tuple[float, ...]]]:
        """Every activation with its alpha and beta."""
        names = self.activations or POSITIONS[self.kind] * self.directions
        slopes = self.slopes or ((),) * len(names)
        return [(n, slope or ACTIVATIONS[n]) for n, slope in zip(names, slopes, strict=True)]

    def inputs(self, dtype: Any) -> dict[str, Any]:
        """X, W, R, B, lengths, initial states and P; None for what the node does not have."""
        rng = np.random.default_rng(0)
        rows, count = GATES[self.kind] * H, self.directions

        def normal(*shape: int) -> Any:
            return rng.normal(size=shape).astype(np.float32).astype(dtype)

        W, R, bias = normal(count, rows, D), normal(count, rows, H), normal(count, 2 * rows)
        X, P, h, c = (normal(*s, H) for s in ((T, B), (count, 3), (count, B), (count, B)))
        X, P = X[..., :D].copy(), P.reshape(count, -1)
        is_lstm = self.kind == "LSTM"
        return {
            "X": X,
            "W": W,
            "R": R,
            "B": bias if self.bias else None,
            "sequence_lens": LENGTHS if self.ragged else None,
            "initial_h": h if self.state else None,
            "initial_c": c if self.state and is_lstm else None,
            "P": P if self.peephole else None,
        }


# ---- the specification


def activate(name: str, parameters: tuple[float, ...], x: Any) -> Any:
    a, b = (*parameters, 0.0, 0.0)[:2]
    with np.errstate(over="ignore"):
        functions = {
            "Relu": lambda: np.maximum(x, 0),
            "Tanh": lambda: np.tanh(x),
            "Sigmoid": lambda: 1 / (1 + np.exp(-x)),
            "Affine": lambda: a * x + b,
            "LeakyRelu": lambda: np.where(x < 0, a * x, x),
            "ThresholdedRelu": lambda: np.where(x > a, x, 0),
            "ScaledTanh": lambda: a * np.tanh(b * x),
            "HardSigmoid": lambda: np.clip(a * x + b, 0, 1),
            "Elu": lambda: np.where(x < 0, a * (np.exp(x) - 1), x),
            "Softsign": lambda: x / (1 + np.abs(x)),
            "Softplus": lambda: np.log1p(np.exp(x)),
        }
        return functions[name]()


def step(node: Node, f: Any, arrays: dict[str, Any], x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """The equations of one step, as the operators' documentation has them."""
    gates = GATES[node.kind]
    W, R = (np.split(arrays[name], gates) for name in "WR")
    Wb, Rb = (np.split(part, gates) for part in np.split(arrays["B"], 2))
    if node.kind == "RNN":
        return f[0](x @ W[0].T + h @ R[0].T + Wb[0] + Rb[0]), c
    if node.kind == "GRU":
        z, r = (f[0](x @ W[k].T + h @ R[k].T + Wb[k] + Rb[k]) for k in (0, 1))
        if node.linear_before_reset:
            n = f[1](x @ W[2].T + r * (h @ R[2].T + Rb[2]) + Wb[2])
        else:
            n = f[1](x @ W[2].T + (r * h) @ R[2].T + Rb[2] + Wb[2])
        return (1 - z) * n + z * h, c
    Pi, Po, Pf = np.split(arrays["P"], 3)
    a = [x @ W[k].T + h @ R[k].T + Wb[k] + Rb[k] for k in range(4)]  # i, o, f, c
    i = f[0](a[0] + Pi * c)
    forget = 1 - i if node.input_forget else f[0](a[2] + Pf * c)
    C = forget * c + i * f[1](a[3])
    return f[0](a[1] + Po * C) * f[2](C), C


def specified(node: Node) -> list[Any]:
    """Y (T, directions, B, H), Y_h and Y_c (directions, B, H), in float64."""
    given = node.inputs(np.float64)
    count = len(POSITIONS[node.kind])
    lengths = LENGTHS if node.ragged else np.full(B, T)
    Y, last = np.zeros((T, node.directions, B, H)), []
    for d in range(node.directions):
        f = [
            lambda x, name=name, slope=slope: activate(name, slope, x)
            for name, slope in node.parameters()[d * count : (d + 1) * count]
        ]
        zeros = {"B": np.zeros(2 * GATES[node.kind] * H), "P": np.zeros(3 * H)}
        arrays = {
            name: zeros[name] if given[name] is None else given[name][d]
            for name in ("W", "R", "B", "P")
        }
        for b in range(B):
            h, c = (
                np.zeros(H) if given[name] is None else given[name][d, b]
                for name in ("initial_h", "initial_c")
            )
            steps = range(lengths[b])
            for t in reversed(steps) if node.direction == "reverse" or d == 1 else steps:
                h, c = step(node, f, arrays, given["X"][t, b], h, c)
                Y[t, d, b] = h
            last.append((h, c))
    Y_h, Y_c = (
        np.stack([state[k] for state in last]).reshape(node.directions, B, H) for k in (0, 1)
    )
    return [Y, Y_h, Y_c] if node.kind == "LSTM" else [Y, Y_h]


# ---- onnxruntime, and our layer


def by_runtime(node: Node) -> list[Any]:
    """The same outputs by onnxruntime."""
    given = node.inputs(np.float32)
    if node.layout:
        for name in ("X", "initial_h", "initial_c"):
            given[name] = None if given[name] is None else np.swapaxes(given[name], 0, 1)
    if node.kind != "LSTM":
        del given["initial_c"], given["P"]
    feeds = {name: np.ascontiguousarray(a) for name, a in given.items() if a is not None}
    outputs = ["Y", "Y_h", "Y_c"][: 3 if node.kind == "LSTM" else 2]
    helper = onnx.helper
    names = [name if name in feeds else "" for name in given]
    while not names[-1]:
        names.pop()
    nodes = [helper.make_node(node.kind, names, outputs, **node.attributes)]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    results = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs
    ]
    graph = helper.make_graph(nodes, "one", infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options)
    found: list[Any] = session.run(None, feeds)
    return found


def by_layer(node: Node, dtype: Any) -> list[Any]:
    """The same outputs by the layer that `from_onnx` returns."""
    given = node.inputs(dtype)
    kind = getattr(bptt, node.kind)
    arrays = [given[name] for name in ("W", "R", "B", "P")]
    layer = from_onnx(kind, *arrays, attributes=node.attributes)
    state = given["initial_h"]
    if node.kind == "LSTM" and node.state:
        state = (state, given["initial_c"])
    x = np.swapaxes(given["X"], 0, 1) if node.layout else given["X"]
    assert layer.time_major == (not node.layout)
    y, last = layer(x, lengths=given["sequence_lens"], state=state)
    y = np.swapaxes(y, 0, 1) if node.layout else y
    Y = y.reshape(T, B, node.directions, H).transpose(0, 2, 1, 3)
    return [Y, *(last if isinstance(last, tuple) else (last,))]


def close(found: list[Any], expected: list[Any], tolerance: float) -> bool:
    return all(
        a.shape == b.shape and np.abs(a - b).max() <= tolerance * max(1.0, float(np.abs(b).max()))
        for a, b in zip(found, expected, strict=True)
    )


# ---- the combinations


def flags(kind: str) -> list[Node]:
    """Every combination of what is on or off, with two sets of activations."""
    choices: dict[str, list[Any]] = {
        "direction": list(DIRECTIONS),
        "layout": [0, 1],
        "ragged": [False, True],
        "state": [False, True],
        "bias": [True, False],
        "clip": [None, 1.0],
    }
    if kind == "LSTM":
        choices |= {"input_forget": [0, 1], "peephole": [False, True]}
    if kind == "GRU":
        choices["linear_before_reset"] = [0, 1]
    other = {"RNN": ("Relu",), "LSTM": ("HardSigmoid", "Relu", "Relu")}
    other["GRU"] = ("HardSigmoid", "Relu")
    return [
        Node(kind, **dict(zip(choices, values, strict=True)), activations=names)
        for values in itertools.product(*choices.values())
        for names in ((), other[kind] * DIRECTIONS[values[0]])
    ]


def every_activation(kind: str) -> list[Node]:
    """Every activation in each position, with every other one: all pairs and triples."""
    return [
        Node(kind, "forward", names, slopes, input_forget=forget, linear_before_reset=after)
        for names in itertools.product(ACTIVATIONS, repeat=len(POSITIONS[kind]))
        for slopes in dict.fromkeys([(), tuple(ACTIVATIONS[name] for name in names)])
        for forget in ((0, 1) if kind == "LSTM" else (0,))
        for after in ((0, 1) if kind == "GRU" else (0,))
    ]


def every_slope(kind: str) -> list[Node]:
    """Every activation with parameters, in each position, beside others with and without them."""
    found = []
    positions = POSITIONS[kind]
    for place, name in itertools.product(range(len(positions)), SLOPES):
        for slope in SLOPES[name]:
            for beside in (None, "HardSigmoid", "Affine"):
                names, slopes = list(positions), [()] * len(positions)
                if beside is not None:
                    for other in range(len(positions)):
                        names[other], slopes[other] = beside, ACTIVATIONS[beside]
                names[place], slopes[place] = name, slope
                if kind == "LSTM" and place == 1:  # that of c as that of g, without its slope
                    names[2], slopes[2] = name, ACTIVATIONS[name]
                node = Node(kind, activations=tuple(names), slopes=tuple(slopes))
                found += [node, replace(node, input_forget=1)] if kind == "LSTM" else [node]
    return found


def both_directions(kind: str) -> list[Node]:
    """Activations and slopes that differ between the directions, in each position."""
    positions = POSITIONS[kind]
    found = []
    for place, name in itertools.product(range(len(positions)), ACTIVATIONS):
        for slope in [ACTIVATIONS[name], *SLOPES.get(name, [])]:
            for first in ("Sigmoid", "HardSigmoid", "Tanh", "Affine"):
                names = [*positions, *positions]
                slopes = [()] * len(names)
                names[place], slopes[place] = first, ACTIVATIONS[first]
                names[len(positions) + place] = name
                slopes[len(positions) + place] = slope
                if kind == "LSTM" and place == 1:  # that of c as that of g, without its slope
                    names[2], slopes[2], names[5] = first, ACTIVATIONS[first], name
                    slopes[5] = ACTIVATIONS[name]
                node = Node(kind, "bidirectional", tuple(names), tuple(slopes))
                found.append(replace(node, linear_before_reset=1) if kind == "GRU" else node)
    return found


GROUPS = (flags, every_activation, every_slope, both_directions)


def reason(error: ValueError) -> str:
    """What was refused: the attribute that the message begins with, and why."""
    text = str(error)
    if text.startswith("activation ") and "not supported" in text:
        return (
            f"activation {text.split()[1]} {'of a gate' if 'gates have' in text else 'of a cell'}"
        )
    if text.startswith("clip="):
        return "clip"
    return text.split(", got")[0]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
@pytest.mark.parametrize("kind", GATES)
def test_runtime_agrees_or_we_refuse_by_name(kind: str, group: Any) -> None:
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    reasons: Counter[str] = Counter()  # of onnxruntime
    for node in group(kind):
        counts["nodes"] += 1
        try:
            ours = by_layer(node, np.float64)
        except ValueError as error:
            refused[reason(error)] += 1
            continue
        assert close(ours, specified(node), 1e-9), node
        try:
            theirs = by_runtime(node)
        except Exception as error:  # of its own classes
            reasons["layout == 1" if "layout == 1" in str(error) else str(error)] += 1
            continue
        assert close(by_layer(node, np.float32), theirs, 1e-6), node
        counts["agree"] += 1
    print(f"\n{kind}, {group.__name__}: {counts['nodes']} nodes")
    print(f"  {counts['agree']} agree with onnxruntime and the specification")
    for text, count in reasons.most_common():
        print(f"  {count} agree with the specification, refused by onnxruntime: {text}")
    for text, count in refused.most_common():
        print(f"  {count} refused here: {text}")
    assert counts["agree"] > 0
    assert set(reasons) <= {"layout == 1"}
    assert all(text.startswith(("clip", "activation", "the second and")) for text in refused)
