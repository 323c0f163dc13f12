"""A trained network as one C file: weights, and a function for a step."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from bptt._core import checks
from bptt._core.tensor_files import as_path
from bptt.exporters._c_functions import used_by
from bptt.exporters._c_matrices import bytes_of, is_narrow, with_types
from bptt.exporters._c_modules import POOLS, BothDirections, Stage, scaling, stages_of
from bptt.exporters._c_text import Shape, constant, header_of, streaming, whole_sequences
from bptt.exporters._parts import parts_of
from bptt.nn.embedding import Embedding
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential
from bptt.nn.summary import feature_sizes


class CSource(NamedTuple):
    """The C source of a network.

    Attributes
    ----------
    name : str
        Prefix of all public names.
    code, header : str
        Content of the C file and of its header.
    weight_bytes : int
        Bytes of the constants, in read-only memory.
    state_bytes : int
        Bytes of the state of one stream; 0 with two directions.
    """

    name: str
    code: str
    header: str
    weight_bytes: int
    state_bytes: int

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the functions without the prefix."""
        return ("reset", "step", "run") if self.state_bytes else ("run",)


def to_c(model: Any, path: str | os.PathLike[str], *, ids: bool | None = None) -> CSource:
    """Write a trained network as a C file and a header beside it: C99, ``math.h`` and nothing else.

    The file has the weights as constants: float32, or the 16 or 8 bits of a compressed model, for
    which it includes ``stdint.h`` too. It has three functions, with the name of the file as their
    prefix: ``NAME_reset(state)`` begins a stream, ``NAME_step(state, x, y)`` computes the output of
    one step, and ``NAME_run(x, steps, y)`` those of a whole sequence (with pooling its one output).
    With two directions there is ``NAME_run(x, steps, work, y)`` alone. They allocate nothing; state
    and work are the caller's. Computation is in float32, and results are those of inference, up to
    rounding: with weights of 8 bits bptt itself also rounds the inputs of products, to 16 bits.

    Parameters
    ----------
    model : Recurrent, Sequential, or a fitted classifier, regressor, tagger or language model
        Recurrent layers, after an `Embedding` or `InputDecay` and with `Linear`, `LayerNorm`,
        `ReLU`, `Tanh`, `Sigmoid` and `Dropout` around them, with any pooling. Of an estimator, its
        ``model_`` with the standardization of features and targets; texts and classes stay numbers:
        outputs of a classifier are its logits.
    path : path
        The C file, such as ``"model.c"``; its name without suffix must be an identifier of C.
    ids : bool, optional
        Whether the input of a step is the number of a token instead of features. By default for an
        `Embedding`, and for an estimator of tokens.

    Returns
    -------
    CSource
        What was written, and its sizes.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If there is no C code for a module or an option, or the name is no identifier.
    OSError
        If a file cannot be written.
    """
    file = as_path(path).with_suffix(".c")
    name = file.stem
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"the name of path must be an identifier of C, got {name!r}")
    source = _source(model, name, None if ids is None else checks.flag("ids", ids))
    file.write_text(source.code, encoding="ascii")
    file.with_suffix(".h").write_text(source.header, encoding="ascii")
    return source


def _source(model: Any, name: str, ids: bool | None) -> CSource:
    network, features, targets, tokens = parts_of(model)
    ids = tokens if ids is None else ids
    if isinstance(network.modules[0], Embedding):
        ids = True
    inputs, pool, stages = _stages(network, name, ids)
    if features is not None:
        scaled = scaling(f"{name}_features", 1 / features.std, -features.mean / features.std)
        stages, pool = [scaled, *stages], None if pool is None else pool + 1
    if targets is not None:
        stages = [*stages, scaling(f"{name}_targets", targets.std, targets.mean)]
    single = list(_single(stages))
    weights = {key: value for stage in single for key, value in stage.weights.items()}
    state = {key: value for stage in single for key, value in stage.state.items()}
    steps = len(single) == len(stages)  # no layer has two directions
    shape = Shape(name, inputs, stages[-1].size, ids, pool is not None)
    functions = "\n".join(stage.function for stage in single if stage.function)
    public = (
        streaming(shape, state, stages) if steps else whole_sequences(shape, state, stages, pool)
    )
    functions, public = with_types(functions, weights), with_types(public, weights)
    headers = ["math.h"] + ["stdint.h"] * any(map(is_narrow, weights.values()))
    parts = [
        "\n".join([f'#include "{name}.h"\n', *(f"#include <{one}>" for one in headers), ""]),
        used_by(functions + public),
        "\n".join(constant(key, value) for key, value in weights.items()),
        "",
        functions,
        public,
    ]
    code = "\n".join(part for i, part in enumerate(parts) if part or i == 3)
    sizes = [sum(map(bytes_of, of.values())) for of in (weights, state)]
    header = header_of(shape, state, stages, steps)
    return CSource(name, code, header, sizes[0], sizes[1] if steps else 0)


def _single(stages: Iterable[Stage | BothDirections]) -> Iterator[Stage]:
    """Yield the stages, and those of both directions of a layer."""
    for stage in stages:
        if isinstance(stage, BothDirections):
            yield from (stage.forward, stage.reverse)
        else:
            yield stage


def _stages(
    network: Sequential, name: str, ids: bool
) -> tuple[int, int | None, list[Stage | BothDirections]]:
    """Return the number of inputs, the place of the pooling, and the stages of the modules."""
    if network.skip_input:
        raise ValueError("skip_input=True has no C code")
    places = [i for i, one in enumerate(network.modules) if isinstance(one, Recurrent)]
    if not places:
        raise ValueError("a network without a recurrent layer has no C code")
    first = network.modules[0]
    sizes = (size for size, _ in map(feature_sizes, network.modules) if size is not None)
    size = 1 if ids else next(sizes)
    if ids and places[0] > 0 and not isinstance(first, Embedding):
        raise ValueError(f"ids need an Embedding or a recurrent layer first, got {first}")
    pool, stages = None, list[Stage | BothDirections]()
    for place, module in enumerate(network.modules):
        inputs = stages[-1].size if stages else size
        stages += stages_of(module, f"{name}_{place}", inputs, ids and not stages)
        if place == places[-1] and network.pool is not None:
            pool = len(stages)
            stages.append(POOLS[network.pool](f"{name}_{network.pool}", stages[-1].size))
    return size, pool, stages
