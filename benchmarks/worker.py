"""Worker that measures rows with a number of threads; started by compare.py.

Reads its settings, a JSON object, from standard input, and writes one JSON object per line: first
the versions of the peers, then the measurements of every row.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import numpy as np

import peers
import timing
from bptt import reference
from grid import Array, Row, make_problem
from models import GROUP, AnyRow, all_products, make_model_problem, row_from_json

REFERENCE_LIMIT = 3e7  # operations; larger rows are not compared with bptt.reference
LONG = 1e10  # operations of a call that takes 0.1 s or more
BPTT = "bptt"
MODEL_PATIENCE = 6  # factor of the budget: an update takes up to a second in every library


class MismatchError(Exception):
    """Results of a peer differ from those expected."""


def tolerance(row: AnyRow) -> float:
    """Return the tolerance relative to the largest element of an array."""
    if row.dtype == "float64":
        return 1e-10
    return 2e-5 * float(np.sqrt(max(row.steps, 25)))


def compare(
    row: AnyRow, name: str, found: Mapping[str, Array], expected: Mapping[str, Array]
) -> None:
    """Raise an error if results differ from those expected."""
    if set(found) != set(expected):
        raise MismatchError(f"{row}: {name} returned {sorted(found)}, not {sorted(expected)}")
    for key, right in expected.items():
        value = np.asarray(found[key])
        if value.shape != right.shape or value.dtype != row.dtype:
            raise MismatchError(
                f"{row}: {key} of {name} is {value.dtype} {value.shape}, not {row.dtype} "
                f"{right.shape}"
            )
        scale = float(np.abs(right).max())
        error = float(np.abs(value - right).max()) / (scale or 1.0)
        if not error <= tolerance(row):
            raise MismatchError(
                f"{row}: {key} of {name} has a relative error of {error:.1e}, "
                f"must be at most {tolerance(row):.1e}"
            )


def expected_results(row: Row, problem: Any) -> dict[str, Array]:
    """Return the output, and for training the gradients, of bptt.reference in float64."""
    result = reference.forward(
        row.bptt_cell.name,
        problem.x.swapaxes(0, 1).astype(np.float64),
        {name: value.astype(np.float64) for name, value in problem.parameters.items()},
        lengths=problem.lengths,
        num_layers=row.num_layers,
        bidirectional=row.directions == 2,
    )
    found = {"output": result.output.swapaxes(0, 1)}
    if row.mode == "training":
        d_output = problem.d_output.swapaxes(0, 1).astype(np.float64)
        gradients = reference.backward(result, d_output)
        found["input"] = gradients.input.swapaxes(0, 1)
        found.update(gradients.parameters)
    return found


class Worker:
    def __init__(self, settings: Mapping[str, Any], out: TextIO) -> None:
        self.threads: int = settings["threads"]
        self.rounds: int = settings["rounds"]
        self.budget: float = settings["budget"]
        self.rows = [row_from_json(row) for row in settings["rows"]]
        names = settings["peers"]
        self.peers = peers.create(names, self.threads)
        self.models: list[peers.Peer] = []
        if any(row.group == GROUP for row in self.rows):
            self.models = peers.create_models(names, self.threads)
        self.gemm = ["numpy"] + ["torch"] * ("torch" in settings["peers"])
        self.out = out

    def run(self) -> None:
        versions = {peer.family: peer.version for peer in self.peers}
        self.send(versions=versions, bandwidth=timing.bandwidths())
        for row in self.rows:
            self.send(**self.measure(row))

    def send(self, **message: Any) -> None:
        print(json.dumps(message), file=self.out, flush=True)

    def measure(self, row: AnyRow) -> dict[str, Any]:
        """Build the calls, compare their results, then time them."""
        start = time.perf_counter()
        failed: dict[str, str] = {}
        if isinstance(row, Row):
            timed = self._prepare(row, make_problem(row), failed)
            products = {name: timing.gemm(row.dtype, name) for name in self.gemm}
            operations, budget = timing.GEMM_OPERATIONS, self.budget
        else:
            timed = self._prepare(row, make_model_problem(row), failed)
            products = {name: all_products(row, name) for name in self.gemm}
            operations, budget = row.flops, MODEL_PATIENCE * self.budget
        calls = {name: self._warmed_up(product) for name, product in products.items()}
        waited, begin = timing.seconds_without_core(), time.perf_counter()
        timing.interleave([*timed.values(), *calls.values()], self.threads, self.rounds, budget)
        waited = (timing.seconds_without_core() - waited) / (time.perf_counter() - begin)
        for peer in self._peers_of(row):
            peer.close()
        rates = {name: operations / call.summary()["median"] for name, call in calls.items()}
        return {
            "row": row.to_json(),
            "threads": self.threads,
            "flops": row.flops,
            "bytes": row.bytes,
            "gemm": rates,
            "peers": {name: one.summary() for name, one in timed.items()},
            "failed": failed,
            "waited": round(waited, 3),  # for a core: seconds of all threads per second
            "seconds": round(time.perf_counter() - start, 2),
        }

    def _peers_of(self, row: AnyRow) -> list[peers.Peer]:
        return self.models if row.group == GROUP else self.peers

    def _prepare(
        self, row: AnyRow, problem: Any, failed: dict[str, str]
    ) -> dict[str, timing.TimedCall]:
        """Return the calls of all peers, after a check against bptt and the reference."""
        timed: dict[str, timing.TimedCall] = {}
        expected: Mapping[str, Array] = {}
        if isinstance(row, Row) and row.flops <= REFERENCE_LIMIT and row.mode != "step":
            expected = expected_results(row, problem)
        for peer in self._peers_of(row):
            if not peer.supports(row):
                continue
            try:
                task = peer.build(row, problem)
                result, first = timing.run(task.call)
                if row.mode == "step":  # carries its state over: the third call is checked
                    task.call()
                if row.flops < LONG:  # otherwise the first call was warm-up enough
                    result, first = timing.run(task.call)
                found = dict(task.arrays(result))
            except Exception:
                if peer.name == BPTT:
                    raise
                failed[peer.name] = traceback.format_exc(limit=-1)
                continue
            expected = expected or found
            compare(row, peer.name, found, expected)
            if peer.name == BPTT:
                expected = {name: value.copy() for name, value in found.items()}
            del result, found
            timed[peer.name] = timing.TimedCall(task.call, first)
            gc.collect()
        return timed

    def _warmed_up(self, product: Callable[[], Any]) -> timing.TimedCall:
        product()
        return timing.TimedCall(product, timing.seconds(product))


def main() -> int:
    # Libraries print to standard error, so that they do not disturb the messages.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        Worker(json.load(sys.stdin), out).run()
    except MismatchError as error:
        print(json.dumps({"error": str(error)}), file=out, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
