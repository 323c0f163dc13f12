"""Text of the C file and of its header, from the stages of a step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt.exporters._c_matrices import is_narrow, type_of
from bptt.exporters._c_modules import BothDirections, Stage, number

_LINE = 100  # characters
_OPERAND = re.compile(r"\b(?:INPUT|ID)\b")

State = Mapping[str, NDArray[Any]]
Stages = Sequence[Stage | BothDirections]


class Shape(NamedTuple):
    """What the functions of a network read and write.

    Attributes
    ----------
    name : str
        Prefix of their names.
    inputs, outputs : int
        Numbers of a step.
    ids : bool
        Whether the input of a step is the number of a token.
    pooled : bool
        Whether a sequence has one output.
    """

    name: str
    inputs: int
    outputs: int
    ids: bool
    pooled: bool

    @property
    def x(self) -> str:
        """The input of step t of a sequence."""
        return "x[t]" if self.ids else f"x + {self.inputs} * t"


def constant(name: str, value: NDArray[Any]) -> str:
    """Return the definition of an array of constants."""
    as_text, flat = (str, value) if is_narrow(value) else (number, value.astype(np.float64))
    numbers = [as_text(one) for one in np.ravel(flat).tolist()]
    lines, line = [], " "
    for text in numbers:
        if len(line) + len(text) + 2 > _LINE:
            lines.append(line)
            line = " "
        line += f" {text},"
    body = "\n".join([*lines, line])
    return f"static const {type_of(value)} {name}[{len(numbers)}] = {{\n{body}\n}};"


# ---- header


def header_of(shape: Shape, state: State, stages: Stages, steps: bool) -> str:
    """Return the header; with `steps` there is a function for a step."""
    name, guard = shape.name, f"{shape.name.upper()}_H"
    of_x = "the number of a token" if shape.ids else f"{shape.inputs} numbers"
    of_run = f"{shape.outputs} numbers" + " for each step" * (not shape.pooled)
    kind = "int" if shape.ids else "float"
    enum = f"{name}_inputs = {shape.inputs}, {name}_outputs = {shape.outputs}"
    x = "int x" if shape.ids else "const float *x"
    parts = [f"enum {{ {enum} }};"]
    work = ""
    if steps:
        parts += [
            f"/* The state of one stream. */\n{_struct(name, state)}",
            f"/* Begin a stream. */\nvoid {name}_reset({name}_state *state);",
            f"/* One step: x is {of_x}, y gets {shape.outputs} numbers. */\n"
            f"void {name}_step({name}_state *state, {x}, float *y);",
        ]
    else:
        parts[0] = f"enum {{ {enum}, {name}_work = {2 * width_of(stages)} }};"
        work = "float *work, "
    of_work = "" if steps else f" work has room for {name}_work numbers for each step."
    parts.append(
        f"/* A whole sequence, of {of_x} for each step; y gets {of_run}.{of_work} */\n"
        f"void {name}_run(const {kind} *x, int steps, {work}float *y);"
    )
    body = "\n\n".join(parts)
    return f"""\
/* A recurrent network: made by bptt. */
#ifndef {guard}
#define {guard}

#ifdef __cplusplus
extern "C" {{
#endif

{body}

#ifdef __cplusplus
}}
#endif

#endif
"""


def _struct(name: str, state: State) -> str:
    members = "\n".join(f"  float {key}[{value.size}];" for key, value in state.items())
    return f"typedef struct {{\n{members}\n}} {name}_state;"


# ---- networks of one direction


def streaming(shape: Shape, state: State, stages: Stages) -> str:
    """Return the functions reset, step and run."""
    name = shape.name
    code, value = _inline(stages, "x")
    x = "int x" if shape.ids else "const float *x"
    step = f"void {name}_step({name}_state *state, {x}, float *y) {{\n{code}"
    step += f"{_copied(value, shape.outputs, 'y')}}}\n"
    y = "y" if shape.pooled else f"y + {shape.outputs} * t"
    run = f"""\
void {name}_run(const {"int" if shape.ids else "float"} *x, int steps, float *y) {{
  {name}_state state;
  {name}_reset(&state);
  for (int t = 0; t < steps; ++t) {name}_step(&state, {shape.x}, {y});
}}
"""
    return "\n".join([_reset(name, state, "void"), step, run])


def _inline(stages: Stages, value: str) -> tuple[str, str]:
    """Return the code of some stages, and the expression of their output."""
    code = ""
    for stage in stages:
        assert isinstance(stage, Stage)
        code += _OPERAND.sub(value, stage.code)
        value = _OPERAND.sub(value, stage.output)
    return code, value


def _copied(value: str, size: int, to: str) -> str:
    element = f"({value})[i]" if " " in value else f"{value}[i]"
    target = f"({to})[i]" if " " in to else f"{to}[i]"
    return f"  for (int i = 0; i < {size}; ++i) {target} = {element};\n"


def _reset(name: str, state: State, kind: str) -> str:
    lines, constants = [], []
    for key, value in state.items():
        if (value == value.flat[0]).all():
            same = number(float(value.flat[0]))
            lines.append(f"  for (int i = 0; i < {value.size}; ++i) state->{key}[i] = {same};")
        else:
            constants.append(constant(f"{key}_start", value))
            lines.append(f"  copy({key}_start, {value.size}, state->{key});")
    body = "\n".join(lines)
    text = "".join(f"{one}\n\n" for one in constants)
    return f"{text}{kind} {name}_reset({name}_state *state) {{\n{body}\n}}\n"


# ---- networks of two directions


def width_of(stages: Stages) -> int:
    """Return the most numbers that a stage leaves for the next one."""
    return max(stage.size for stage in stages)


def whole_sequences(shape: Shape, state: State, stages: Stages, pool: int | None) -> str:
    """Return the function run: stage after stage, each over all steps."""
    name, width = shape.name, width_of(stages)
    end = len(stages) if pool is None else pool
    body = _over_steps(stages[:end], shape, width)
    if pool is not None:
        body += _pooled(stages, end, shape, width)
    kind = "int" if shape.ids else "float"
    return f"""\
{_struct(name, state)}

{_reset(name, state, "static void")}
void {name}_run(const {kind} *x, int steps, float *work, float *y) {{
  {name}_state memory, *const state = &memory;
  float *from = work, *to = work + {width} * steps, *swap;
  {name}_reset(state);
{body}}}
"""


_SWAP = "  swap = from, from = to, to = swap;\n"


def _over_steps(stages: Stages, shape: Shape, width: int) -> str:
    """Return the code of stages over all steps: their output is in `from`, or in y."""
    body, value, waiting = "", shape.x, list[Stage]()
    for i, stage in enumerate([*stages, None]):
        if isinstance(stage, Stage):
            waiting.append(stage)
            continue
        if waiting:
            code, output = _inline(waiting, value)
            to = f"to + {width} * t"
            if stage is None and not shape.pooled:
                to = f"y + {shape.outputs} * t"
            body += _loop(code + _copied(output, waiting[-1].size, to)) + _SWAP
            value, waiting = f"from + {width} * t", []
        if stage is not None:
            body += _both(stage, value, width)
            value = f"from + {width} * t"
            if i + 1 == len(stages) and not shape.pooled:
                body += _loop(_copied(value, stage.size, f"y + {shape.outputs} * t"))
    return body


def _loop(code: str, order: str = "int t = 0; t < steps; ++t") -> str:
    lines = code.replace("\n", "\n  ").rstrip()
    return f"  for ({order}) {{\n  {lines}\n  }}\n"


def _both(layer: BothDirections, value: str, width: int) -> str:
    """Return the code of a layer with two directions."""
    to = f"to + {width} * t"
    code, first = _inline([layer.forward], value)
    body = _loop(code + _copied(first, layer.forward.size, to))
    code, second = _inline([layer.reverse], value)
    merged = f"  {layer.merged(second, to)}\n"
    return body + _loop(code + merged, "int t = steps - 1; t >= 0; --t") + _SWAP


def _pooled(stages: Stages, place: int, shape: Shape, width: int) -> str:
    """Return the code of the pooling, and of what reads its output."""
    last, pool, head = stages[place - 1], stages[place], stages[place + 1 :]
    assert isinstance(pool, Stage)
    body = ""
    if pool.code:
        code, value = _inline([pool], f"(from + {width} * t)")
        body += _loop(code)
    elif isinstance(last, BothDirections):  # the final states
        value = "to"
        body += _copied(last.forward.output, last.forward.size, "to")
        body += f"  {last.merged(last.reverse.output, 'to')}\n"
    else:
        value = last.output
    code, value = _inline(head, value)
    return body + code + _copied(value, shape.outputs, "y")
