"""What every peer is: a name, a version, and a way to build what a row asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grid import Array, Problem, Row


@dataclass(frozen=True)
class Task:
    """What is timed, and how its result reads.

    `call` returns what the peer returns, in the peer's own types. Training returns the output and
    all gradients; a step carries the state over from the call before, first from 0.
    `arrays` makes NumPy arrays of it, for the check before the timing: "output" (T, B, D), and for
    training "input" and the gradients by bptt's names of the parameters.
    """

    call: Callable[[], Any]
    arrays: Callable[[Any], Mapping[str, Array]]


class Peer:
    """One way to compute the rows."""

    name: str
    family: str  # variants of one library, of which only the faster counts
    version: str

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def supports(self, row: Row) -> bool:
        raise NotImplementedError

    def build(self, row: Row, problem: Problem) -> Task:
        raise NotImplementedError

    def close(self) -> None:
        """Free what is kept between rows."""


def places(row: Row) -> list[tuple[int, str]]:
    """Layer and suffix, "" or "_reverse", of every direction of every layer, in order."""
    return [(n, s) for n in range(row.num_layers) for s in ("", "_reverse")[: row.directions]]


def reorder(array: Array, order: str, given: str, axis: int = 0) -> Array:
    """Put blocks of gates into another order: `given` and `order` have one letter a gate."""
    blocks = dict(zip(given, np.split(array, len(given), axis), strict=True))
    return np.concatenate([blocks[gate] for gate in order], axis)


def small(row: Row) -> bool:
    """Whether a step is so short that the loop around it counts: unrolling it may pay."""
    return row.batch * row.hidden_size <= 1024


def huge(row: Row) -> bool:
    """Whether a call takes seconds: peers far from the best there are spared, and so is time."""
    return row.flops > 5e10
