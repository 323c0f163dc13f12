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
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

import peers
import timing
from bptt import reference
from grid import Array, Problem, Row, make_problem

REFERENCE_LIMIT = 3e7  # operations; larger rows are not compared with bptt.reference
LONG = 1e10  # operations of a call that takes 0.1 s or more
BPTT = "bptt"


class MismatchError(Exception):
    """Results of a peer differ from those expected."""


def tolerance(row: Row) -> float:
    """Return the tolerance relative to the largest element of an array."""
    if row.dtype == "float64":
        return 1e-10
    return 2e-5 * float(np.sqrt(max(row.steps, 25)))


def compare(row: Row, name: str, found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
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


def expected_results(row: Row, problem: Problem) -> dict[str, Array]:
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
        self.rows = [Row(**row) for row in settings["rows"]]
        self.peers = peers.create(settings["peers"], self.threads)
        self.gemm = ["numpy"] + ["torch"] * ("torch" in settings["peers"])
        self.out = out

    def run(self) -> None:
        versions = {peer.family: peer.version for peer in self.peers}
        self.send(versions=versions, bandwidth=timing.bandwidths())
        for row in self.rows:
            self.send(**self.measure(row))

    def send(self, **message: Any) -> None:
        print(json.dumps(message), file=self.out, flush=True)

    def measure(self, row: Row) -> dict[str, Any]:
        """Build the calls, compare their results, then time them."""
        start = time.perf_counter()
        problem = make_problem(row)
        failed: dict[str, str] = {}
        timed = self._prepare(row, problem, failed)
        products = {name: self._product(row, name) for name in self.gemm}
        turns = [*timed.values(), *products.values()]
        timing.interleave(turns, self.threads, self.rounds, self.budget)
        for peer in self.peers:
            peer.close()
        rates = {name: timing.gemm_rate(p.summary()["median"]) for name, p in products.items()}
        return {
            "row": row.to_json(),
            "threads": self.threads,
            "flops": row.flops,
            "bytes": row.bytes,
            "gemm": rates,
            "peers": {name: one.summary() for name, one in timed.items()},
            "failed": failed,
            "seconds": round(time.perf_counter() - start, 2),
        }

    def _prepare(
        self, row: Row, problem: Problem, failed: dict[str, str]
    ) -> dict[str, timing.TimedCall]:
        """Return the calls of all peers, after a check against bptt and the reference."""
        timed: dict[str, timing.TimedCall] = {}
        expected: Mapping[str, Array] = {}
        if row.flops <= REFERENCE_LIMIT and row.mode != "step":
            expected = expected_results(row, problem)
        for peer in self.peers:
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

    def _product(self, row: Row, library: str) -> timing.TimedCall:
        product = timing.gemm(row.dtype, library)
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
