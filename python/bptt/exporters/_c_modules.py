"""Modules in C: the weights of each, and the code of one step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt.exporters._c_cells import EQUATIONS, PROJECTION
from bptt.exporters._c_functions import ACTIVATIONS
from bptt.exporters._c_matrices import in_columns, stored
from bptt.nn.decay import InputDecay
from bptt.nn.dropout import Dropout
from bptt.nn.elementwise import ReLU, Sigmoid, Tanh
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.normalization import LayerNorm
from bptt.nn.recurrent_base import Recurrent

_ELEMENTWISE: Mapping[type, str] = {ReLU: "relu", Tanh: "hyperbolic_tangent", Sigmoid: "sigmoid"}


class Stage(NamedTuple):
    """A part of a step: reads one array, and writes another.

    Attributes
    ----------
    weights : dict of str to array
        Constants of the file: float, or matrices of 16 or 8 bits.
    state : dict of str to array
        Members of the state, with their initial values.
    function : str
        A C function, or "".
    code : str
        Lines of the step's body: they read the array INPUT (or the number ID). Code of both is as
        for matrices of floats: see `_c_matrices.with_types`.
    output : str
        The expression of the array that is written.
    size : int
        Its number of elements.
    """

    weights: dict[str, NDArray[Any]]
    state: dict[str, NDArray[Any]]
    function: str
    code: str
    output: str
    size: int


class BothDirections(NamedTuple):
    """A layer with two directions, over whole sequences.

    Attributes
    ----------
    forward, reverse : Stage
        A step of each direction.
    merge : str
        How their outputs are combined, as in `bptt.nn.Recurrent`.
    """

    forward: Stage
    reverse: Stage
    merge: str

    @property
    def size(self) -> int:
        """Number of outputs."""
        return self.forward.size * (1 + (self.merge == "concat"))

    def merged(self, second: str, to: str) -> str:
        """Return the code by which `second` comes to what is in `to`."""
        size = self.forward.size
        if self.merge == "concat":
            return f"copy({second}, {size}, {to} + {size});"
        if self.merge == "sum":
            return f"add({second}, {size}, {to});"
        value = "v[i] * w[i]" if self.merge == "mul" else "0.5f * (v[i] + w[i])"
        return (
            f"{{ float *v = {to}; const float *w = {second}; "
            f"for (int i = 0; i < {size}; ++i) v[i] = {value}; }}"
        )


def stages_of(module: Any, name: str, inputs: int, ids: bool) -> Iterator[Stage | BothDirections]:
    """Yield the stages of a module.

    Parameters
    ----------
    module : Module
        A module of a chain.
    name : str
        Prefix of all names.
    inputs : int
        Number of elements that it reads.
    ids : bool
        Whether it reads the number of a token.

    Raises
    ------
    ValueError
        If there is no C code for it.
    """
    if isinstance(module, Recurrent):
        yield from _recurrent(module, name, ids)
    elif type(module) is Embedding:  # not EmbeddingBag, which reads several ids
        yield _embedding(module, name)
    elif isinstance(module, Linear):
        yield _linear(module, name)
    elif isinstance(module, LayerNorm):
        yield _layer_norm(module, name)
    elif type(module) in _ELEMENTWISE:
        function = _ELEMENTWISE[type(module)]
        code = (
            f"  float {name}[{inputs}];\n"
            f"  for (int i = 0; i < {inputs}; ++i) {name}[i] = {function}(INPUT[i]);\n"
        )
        yield Stage({}, {}, "", code, name, inputs)
    elif isinstance(module, InputDecay):
        yield _input_decay(module, name)
    elif not isinstance(module, Dropout):  # which does nothing in inference
        raise ValueError(f"a {type(module).__name__} has no C code")


def _embedding(module: Embedding, name: str) -> Stage:
    table, scales = stored(module, "weight")
    size, weights = table.shape[1], {f"{name}_weight": table}
    row = f"{name}_weight + {size} * ID"
    if module.compression is None:
        return Stage(weights, {}, "", "", row, size)
    fill = f"copy({row}, {size}, {name});"
    if scales is not None:  # of the tokens: one for all that is copied
        weights[f"{name}_scale"] = scales
        value = f"{name}_scale[ID] * (float)({row})[i]"
        fill = f"for (int i = 0; i < {size}; ++i) {name}[i] = {value};"
    return Stage(weights, {}, "", f"  float {name}[{size}];\n  {fill}\n", name, size)


def _linear(module: Linear, name: str) -> Stage:
    size = module.out_features
    weights = in_columns(stored(module, "weight"), f"{name}_weight")
    if "bias" in module:
        weights[f"{name}_bias"] = module["bias"]
        start = f"copy({name}_bias, {size}, {name});"
    else:
        start = f"zero({name}, {size});"
    code = (
        f"  float {name}[{size}];\n  {start}\n"
        f"  accumulate({name}_weight, INPUT, {module.in_features}, {size}, {name});\n"
    )
    return Stage(weights, {}, "", code, name, size)


def _layer_norm(module: LayerNorm, name: str) -> Stage:
    size = module.num_features
    weights = {f"{name}_weight": module["weight"], f"{name}_bias": module["bias"]}
    code = (
        f"  float {name}[{size}];\n  copy(INPUT, {size}, {name});\n"
        f"  normalize({name}, {size}, {name}_weight, {number(module.epsilon)});\n"
        f"  add({name}_bias, {size}, {name});\n"
    )
    return Stage(weights, {}, "", code, name, size)


def _input_decay(module: InputDecay, name: str) -> Stage:
    count, others, size = module.num_features, module.num_others, module.output_size
    weights = {f"{name}_rate": module["rate"], f"{name}_bias": module["bias"]}
    code = (
        f"  float {name}[{size}];\n"
        f"  for (int i = 0; i < {count}; ++i) {{\n"
        f"    const float value = (INPUT)[i], mask = (INPUT)[{count} + i];\n"
        f"    const float e = {name}_rate[i] * (INPUT)[{2 * count} + i] + {name}_bias[i];\n"
        f"    {name}[i] = (mask + (1.0f - mask) * expf(-relu(e))) * value;\n"
        f"    {name}[{count} + i] = mask;\n  }}\n"
    )
    if others:
        code += f"  copy((INPUT) + {3 * count}, {others}, {name} + {2 * count});\n"
    if module.pass_times:
        code += f"  copy((INPUT) + {2 * count}, {count}, {name} + {2 * count + others});\n"
    return Stage(weights, {}, "", code, name, size)


# ---- recurrent layers


def _recurrent(module: Recurrent[Any], name: str, ids: bool) -> Iterator[Stage | BothDirections]:
    if module.reverse:
        raise ValueError(f"a layer with reverse=True has no C code, got {module}")
    for layer in range(module.num_layers):
        first, *second = (
            _direction(module, name, layer, reverse, ids and layer == 0)
            for reverse in range(1 + module.bidirectional)
        )
        yield BothDirections(first, second[0], module.merge) if second else first


def _direction(module: Recurrent[Any], name: str, layer: int, reverse: int, ids: bool) -> Stage:
    """Return a step of one layer and direction."""
    suffix = f"_l{layer}" + "_reverse" * reverse
    own = f"{name}{suffix}"
    row = layer * (1 + module.bidirectional) + reverse
    start = [part[row] for part in module._current(False).initial]
    start = start or [np.zeros(size, np.float32) for size in module.state_sizes]
    states = dict(zip(module.cell.states, start, strict=True))
    weights = _weights(module, suffix)
    state = {f"{own}_{state}": value for state, value in states.items()}
    members = ", ".join(f"state->{member}" for member in state)
    return Stage(
        {f"{own}_{key}": value for key, value in weights.items()},
        state,
        _function(module, own, weights, list(states), ids),
        f"  {own}({'ID' if ids else 'INPUT'}, {members});\n",
        f"state->{own}_h",
        module.state_sizes[0],
    )


def _weights(module: Recurrent[Any], suffix: str) -> dict[str, NDArray[Any]]:
    """Return the weights of a layer and direction, matrices as their columns."""
    cell, size, hh = module.cell, module.hidden_size, stored(module, f"weight_hh{suffix}")

    def array(name: str) -> NDArray[Any]:
        value: NDArray[Any] = module[f"{name}{suffix}"]
        return value

    found = in_columns(stored(module, f"weight_ih{suffix}"), "weight_ih") | {"bias": array("bias")}
    if cell.name in ("gru", "mgu"):  # whose candidate has another operand
        found |= in_columns(hh, "weight_hh", slice(-size))
        found |= in_columns(hh, "weight_hn", slice(-size, None))
    elif cell.name == "slstm":
        of_head = hh.values.shape[1]
        blocks = (len(cell.gates), size // of_head, of_head)  # of each gate and head
        found["weight_hh"] = hh.values.reshape(*blocks, of_head).transpose(1, 0, 3, 2)
        if hh.scales is not None:
            found["weight_hh_scale"] = hh.scales.reshape(blocks).transpose(1, 0, 2)
    else:
        found |= in_columns(hh, "weight_hh")
    for name in (*cell.gate_parameters, *cell.extra_parameters):
        found[name] = array(name)
    if module.state_sizes[0] < size:
        found |= in_columns(stored(module, f"weight_hr{suffix}"), "weight_hr")
    if module._decay_size and suffix.startswith("_l0"):
        found["weight_decay"], found["bias_decay"] = array("weight_decay").T, array("bias_decay")
    return found


def _function(
    module: Recurrent[Any], name: str, weights: Mapping[str, Any], states: list[str], ids: bool
) -> str:
    """Return the C function of one step of a layer, which changes its states in place."""
    cell, gates = module.cell, len(module.cell.gates)
    inputs, rows = weights["weight_ih"].shape
    normalized = "gain_ih" in weights
    body = f"  float a[{rows}];\n"
    if "weight_decay" in weights:
        times = len(weights["weight_decay"])
        body += (
            "  float decay[H];\n  copy(BIAS_DECAY, H, decay);\n"
            f"  accumulate(WEIGHT_DECAY, x + {inputs}, {times}, H, decay);\n"
            "  for (int i = 0; i < H; ++i) h[i] *= expf(-relu(decay[i]));\n"
        )
    if ids:
        body += f"  copy(WEIGHT_IH + {rows} * x, {rows}, a);\n"
    else:
        body += f"  zero(a, {rows});\n" if normalized else f"  copy(BIAS, {rows}, a);\n"
        body += f"  accumulate(WEIGHT_IH, x, {inputs}, {rows}, a);\n"
    if normalized:
        body += f"  normalize(a, {rows}, GAIN_IH, 1e-5f);\n"
    if normalized or ids:
        body += f"  add(BIAS, {rows}, a);\n"
    sizes = dict(zip(states, ("P", *["H"] * (len(states) - 1)), strict=True))
    projects = "weight_hr" in weights
    if module.zoneout:
        for state, size in sizes.items():
            body += f"  float {state}_before[{size}];\n  copy({state}, {size}, {state}_before);\n"
    if cell.name.startswith("lstm") and not normalized:
        body += "  float cell_h[H];\n" if projects else "  float *const cell_h = h;\n"
    body += EQUATIONS[cell.name] + (PROJECTION if projects else "")
    if module.zoneout:
        for state, size in sizes.items():
            body += f"  keep({state}_before, {number(module.zoneout)}, {size}, {state});\n"
    constants = {"H": module.hidden_size, "P": module.state_sizes[0], "G": gates}
    if cell.name == "slstm":
        constants["HEADS"] = module._num_heads
    body = _with_names(body, name, weights, module)
    used = {key: value for key, value in constants.items() if _has_word(body, key)}
    enum = ", ".join(f"{key} = {value}" for key, value in used.items())
    arguments = ", ".join(f"float *{state}" for state in states)
    x = "int x" if ids else "const float *x"
    return f"static void {name}({x}, {arguments}) {{\n  enum {{ {enum} }};\n{body}}}\n"


def _with_names(body: str, name: str, weights: Mapping[str, Any], module: Recurrent[Any]) -> str:
    """Return the code with the names of weights and activations."""
    for key in weights:
        body = re.sub(rf"\b{key.upper()}\b", f"{name}_{key}", body)
    gate = getattr(module, "gate_activation", "sigmoid")
    return body.replace("PHI(", f"{ACTIVATIONS[module.activation]}(").replace("SIGMA(", f"{gate}(")


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"\b{word}\b", text) is not None


# ---- pooling


def _pool_last(name: str, size: int) -> Stage:
    return Stage({}, {}, "", "", "INPUT", size)


def _pool_mean(name: str, size: int) -> Stage:
    state = {name: np.zeros(size, np.float32), f"{name}_steps": np.zeros(1, np.float32)}
    code = (
        f"  state->{name}_steps[0] += 1.0f;\n"
        f"  for (int i = 0; i < {size}; ++i) {{\n"
        f"    state->{name}[i] += (INPUT[i] - state->{name}[i]) / state->{name}_steps[0];\n  }}\n"
    )
    return Stage({}, state, "", code, f"state->{name}", size)


def _pool_max(name: str, size: int) -> Stage:
    largest = np.full(size, -np.finfo(np.float32).max, np.float32)
    code = (
        f"  for (int i = 0; i < {size}; ++i) {{\n"
        f"    if (INPUT[i] > state->{name}[i]) state->{name}[i] = INPUT[i];\n  }}\n"
    )
    return Stage({}, {name: largest}, "", code, f"state->{name}", size)


POOLS: Mapping[str, Callable[[str, int], Stage]] = {
    "last": _pool_last,
    "mean": _pool_mean,
    "max": _pool_max,
}
"""Stages of pooling over the steps so far, by the names of `bptt.Sequential`."""


def scaling(name: str, factor: NDArray[Any], offset: NDArray[Any]) -> Stage:
    """Return the stage factor * x + offset of every element."""
    size = len(factor)
    code = (
        f"  float {name}[{size}];\n"
        f"  for (int i = 0; i < {size}; ++i) {{\n"
        f"    {name}[i] = {name}_factor[i] * INPUT[i] + {name}_offset[i];\n  }}\n"
    )
    weights = {f"{name}_factor": factor, f"{name}_offset": offset}
    return Stage(weights, {}, "", code, name, size)


def number(value: float) -> str:
    """Return a float constant of C."""
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if any(sign in text for sign in ".e") else f"{text}.0f"
