"""OpenVINO on the CPU: inference and steps, in float32 (its default may be less exact)."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino

from grid import Problem, Row
from peers import onnx_models
from peers.base import Peer, Task


class OpenVino(Peer):
    name = family = "openvino"
    version = openvino.__version__.partition("-")[0]

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.core = openvino.Core()

    def supports(self, row: Row) -> bool:
        if row.mode == "step" and row.hidden_size >= 256:
            return False  # 2026.4.1 computes something else or crashes with bound arrays so large
        return row.mode != "training" and row.dtype == "float32" and row.group != "lecture"

    def build(self, row: Row, problem: Problem) -> Task:
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        model = self.core.read_model(onnx_models.model(row, problem))
        compiled = self.core.compile_model(model, "CPU", settings)
        if row.mode == "step":
            return self._step(row, compiled, problem.x)
        request = compiled.create_infer_request()
        # The request does not keep what it reads in place.
        keep = [np.ascontiguousarray(problem.x)]
        request.set_tensor("x", openvino.Tensor(keep[0], shared_memory=True))
        if problem.lengths is not None:
            keep.append(problem.lengths.astype(np.int32))
            request.set_tensor("lengths", openvino.Tensor(keep[1], shared_memory=True))
        y = request.get_tensor("y")
        run = request.start_async, request.wait

        def infer(keep: Any = keep) -> Any:
            run[0]()
            run[1]()
            return y

        return Task(infer, lambda y: {"output": onnx_models.output(y.data.copy(), row)})

    def _step(self, row: Row, compiled: Any, x: Any) -> Task:
        """Two requests take turns: the state out of one is the state into the other."""
        names = ["y", "c"] if row.kind == "lstm" else ["y"]
        shape = (1, row.batch, row.hidden_size)
        arrays = [{n: np.zeros(shape, row.dtype) for n in names} for _ in range(2)]
        requests = [compiled.create_infer_request() for _ in range(2)]
        x = np.ascontiguousarray(x)
        for k, request in enumerate(requests):
            request.set_tensor("x", openvino.Tensor(x, shared_memory=True))
            for name in names:
                source, target = arrays[k][name], arrays[1 - k][name]
                request.set_tensor(f"{name}_in", openvino.Tensor(source, shared_memory=True))
                request.set_tensor(name, openvino.Tensor(target, shared_memory=True))
        outputs, turn = [arrays[1]["y"], arrays[0]["y"]], 1

        def call(keep: Any = x) -> Any:
            nonlocal turn
            turn = 1 - turn
            requests[turn].infer()
            return outputs[turn]

        return Task(call, lambda y: {"output": y.copy()})


def create(threads: int) -> list[Peer]:
    return [OpenVino(threads)]
