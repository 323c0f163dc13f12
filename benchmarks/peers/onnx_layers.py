"""ONNX Runtime: inference and steps, with bound buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from grid import Problem, Row
from peers import onnx_models
from peers.base import Peer, Task


class OnnxRuntime(Peer):
    name = family = "onnxruntime"
    version = onnxruntime.__version__

    def supports(self, row: Row) -> bool:
        return row.mode != "training" and row.dtype == "float32" and row.group != "lecture"

    def build(self, row: Row, problem: Problem) -> Task:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            onnx_models.model(row, problem), options, providers=["CPUExecutionProvider"]
        )
        if row.mode == "step":
            return self._step(row, session, value(problem.x))
        y = value(np.zeros((row.steps, row.directions, row.batch, row.hidden_size), row.dtype))
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", value(problem.x))
        if problem.lengths is not None:
            binding.bind_ortvalue_input("lengths", value(problem.lengths.astype(np.int32)))
        binding.bind_ortvalue_output("y", y)

        def infer() -> Any:
            session.run_with_iobinding(binding)
            return y

        return Task(infer, lambda y: {"output": onnx_models.output(y.numpy(), row)})

    def _step(self, row: Row, session: Any, x: Any) -> Task:
        """Alternate two sets of buffers: the output state of a call is the next input state."""
        names = ["y", "c"] if row.kind == "lstm" else ["y"]
        shape = (1, row.batch, row.hidden_size)
        states = [{n: value(np.zeros(shape, row.dtype)) for n in names} for _ in range(2)]
        bindings = []
        for k in range(2):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", x)
            for name in names:
                binding.bind_ortvalue_input(f"{name}_in", states[k][name])
                binding.bind_ortvalue_output(name, states[1 - k][name])
            bindings.append(binding)
        outputs = [states[1]["y"], states[0]["y"]]
        run, turn = session.run_with_iobinding, 1

        def call() -> Any:
            nonlocal turn
            turn = 1 - turn
            run(bindings[turn])
            return outputs[turn]

        return Task(call, lambda y: {"output": y.numpy()})


def value(array: Any) -> Any:
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def create(threads: int) -> list[Peer]:
    return [OnnxRuntime(threads)]
