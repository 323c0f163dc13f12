"""Base class of the peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grid import Array, Row


@dataclass(frozen=True)
class Task:
    """A call to time, and the conversion of its result.

    `call` returns the types of the peer. Training returns the output and all gradients; a step
    starts from the state of the previous call, the first one from 0. `arrays` converts the result
    to NumPy arrays for the check before the timing: "output" (T, B, D), and for training "input"
    and the gradients by the names of the parameters in bptt. For a whole model it is the output
    (B, T, K) or (B, K), or "loss" and the gradients, by part and name, of the first update.
    """

    call: Callable[[], Any]
    arrays: Callable[[Any], Mapping[str, Array]]


class Peer:
    """A library, or a variant of one, that computes the rows: layers, or whole models."""

    name: str
    family: str  # library; only the fastest variant counts
    version: str

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def supports(self, row: Any) -> bool:
        raise NotImplementedError

    def build(self, row: Any, problem: Any) -> Task:
        raise NotImplementedError

    def close(self) -> None:
        """Free what is cached for a row."""


def layer_directions(row: Row) -> list[tuple[int, str]]:
    """Return layer and suffix, "" or "_reverse", of every direction of every layer."""
    return [(n, s) for n in range(row.num_layers) for s in ("", "_reverse")[: row.directions]]


def reorder(array: Array, order: str, given: str, axis: int = 0) -> Array:
    """Reorder blocks of gates; `given` and `order` have one letter per gate."""
    blocks = dict(zip(given, np.split(array, len(given), axis), strict=True))
    return np.concatenate([blocks[gate] for gate in order], axis)


def small(row: Row) -> bool:
    """Return whether a step is so short that unrolling the loop may pay."""
    return row.batch * row.hidden_size <= 1024


def huge(row: Row) -> bool:
    """Return whether a call takes seconds; slow peers are skipped there."""
    return row.flops > 5e10
