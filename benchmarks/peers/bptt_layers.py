"""bptt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import bptt
from bptt.nn.recurrent import make_recurrent
from grid import Array, Problem, Row
from peers.base import Peer, Task


class Bptt(Peer):
    name = family = "bptt"
    version = bptt.__version__

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        bptt.set_num_threads(threads)

    def supports(self, row: Row) -> bool:
        return True

    def build(self, row: Row, problem: Problem) -> Task:
        layer = make_layer(row, problem.parameters)
        x, G, lengths = problem.x, problem.d_output, problem.lengths
        if row.mode == "training":
            bias = problem.parameters["bias_l0"]

            def train() -> Any:
                # What an optimizer does: the weights are new, and have to be packed again.
                layer["bias_l0"] = bias
                run = layer.forward(x, lengths=lengths)
                return run.output, run.backward(G)

            return Task(train, lambda r: {"output": r[0], "input": r[1].input, **r[1]})
        if row.mode == "inference":
            return Task(lambda: layer(x, lengths=lengths), lambda r: {"output": r[0]})
        return self._step(layer, x[0])

    def _step(self, layer: Any, x: Any) -> Task:
        """In place, as the peers whose buffers are bound."""
        step = layer.step
        result: Any = step(x, None)
        for array in (result[1],) if isinstance(result[1], np.ndarray) else result[1]:
            array[...] = 0  # the first step starts from 0, as those of the peers

        def call() -> Any:
            nonlocal result
            result = step(x, result[1], out=result)
            return result[0]

        return Task(call, lambda y: {"output": y[None]})


def make_layer(row: Row, parameters: Mapping[str, Array], *, time_major: bool = True) -> Any:
    layer = make_recurrent(
        row.bptt_cell.name,
        row.input_size,
        row.hidden_size,
        num_layers=row.num_layers,
        bidirectional=row.directions == 2,
        time_major=time_major,
        dtype=row.dtype,
        seed=0,
    )
    for name, value in parameters.items():
        layer[name] = value
    return layer


def create(threads: int) -> list[Peer]:
    return [Bptt(threads)]
