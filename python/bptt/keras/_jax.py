"""Calls of the kernels within Keras' backend JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from bptt.jax._functions import run_layer
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import arrays_of, as_state


def supports(x: jax.Array) -> bool:
    """Return whether the kernels can run: float32 or float64."""
    return str(x.dtype) in ("float32", "float64")


def run(
    layer: Recurrent[Any],
    params: Mapping[str, jax.Array],
    x: jax.Array,
    states: Sequence[jax.Array],
    lengths: jax.Array | None,
) -> tuple[jax.Array, list[jax.Array]]:
    """Run over whole sequences: as `bptt.keras._torch.run`, with arrays of JAX."""
    y, last = run_layer(layer, params, x, as_state(*states), lengths)
    return y, list(arrays_of(last))
