"""Initializers of weights, drawn in float64 so that a seed gives one network in every dtype.

Sources:

- X. Glorot and Y. Bengio (2010), Understanding the difficulty of training deep feedforward neural
  networks: input and output weights keep the variance of activations and gradients.
- A. Saxe, J. McClelland and S. Ganguli (2014), Exact solutions to the nonlinear dynamics of
  learning in deep linear neural networks: orthogonal recurrent weights keep the length of the state
  and of its gradient over time. Those of a projected state have orthogonal columns.
- R. Jozefowicz, W. Zaremba and I. Sutskever (2015), An empirical exploration of recurrent network
  architectures: a forget bias of 1 makes an LSTM remember at first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt.nn.cells import Cell

DECAY_RATE = 0.1
"""Initial rate of a decay, per step: what decays is half as large after 7 steps."""


def glorot_uniform(
    random: np.random.Generator, blocks: int, fan_out: int, fan_in: int
) -> NDArray[np.float64]:
    """Return `blocks` stacked matrices (fan_out, fan_in), uniform in ±√(6/(fan_in + fan_out))."""
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return random.uniform(-limit, limit, (blocks * fan_out, fan_in))


def orthogonal(
    random: np.random.Generator, blocks: int, rows: int, columns: int
) -> NDArray[np.float64]:
    """Return `blocks` stacked matrices (rows, columns), uniform in the Haar measure.

    Columns, at most as many as rows, are orthonormal.
    """
    q, r = np.linalg.qr(random.standard_normal((blocks, rows, columns)))
    # Without the signs of R's diagonal, Q would follow LAPACK's sign convention, not Haar measure.
    signs = np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)
    return (q * signs[:, np.newaxis, :]).reshape(blocks * rows, columns)


def recurrent(
    parameters: Mapping[str, NDArray[np.floating[Any]]],
    cell: Cell,
    hidden_size: int,
    random: np.random.Generator,
    num_heads: int = 1,
) -> None:
    """Fill the `parameters` of a recurrent layer with their initial values."""
    gates = len(cell.gates)
    for name, parameter in parameters.items():
        if name.startswith("weight_ih"):
            columns = parameter.shape[1]
            parameter[...] = glorot_uniform(random, gates, hidden_size, columns)
        elif name.startswith("weight_hh"):
            size, columns = hidden_size // num_heads, parameter.shape[1]
            parameter[...] = orthogonal(random, gates * num_heads, size, columns)
        elif name.startswith("weight_hr"):
            parameter[...] = glorot_uniform(random, 1, *parameter.shape)
        elif name.startswith("weight_decay"):
            parameter[...] = DECAY_RATE / parameter.shape[1]
        elif name.startswith("bias_l"):
            blocks = [cell.initial_bias.get(gate, 0.0) for gate in cell.gates]
            parameter[...] = np.repeat(blocks, hidden_size)
        else:
            initial = {**cell.gate_parameters, **cell.extra_parameters}
            parameter[...] = initial.get(name.rpartition("_l")[0], 0.0)
