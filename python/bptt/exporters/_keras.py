"""Weights of a layer for Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.exporters._options import check_layer
from bptt.nn.recurrent import GRU
from bptt.nn.recurrent_base import Recurrent

_GRU = (1, 0, 2)  # where Keras' gates z, r and h are here


def to_keras(layer: Recurrent[Any], *, index: int | None = None) -> list[NDArray[Any]]:
    """Return the weights of a layer in the order of Keras' ``set_weights``.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Its `activation`, `gate_activation`, `reset_after` and `merge` are arguments of Keras'
        layer, and no part of its weights.
    index : int, optional
        Which of stacked layers, from 0: in Keras each is a layer of its own.

    Returns
    -------
    list of arrays
        kernel (I, G*H), recurrent_kernel (H, G*H) and bias (G*H,), or (2, G*H) of a GRU with
        ``reset_after=True``; with two directions these of each, for ``Bidirectional``.
        `from_keras` gives the same layer.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If Keras has no such layer, or not with such an option, or there is no layer `index`.
    """
    module = check_layer(layer, "Keras", {"proj_size": (0,)})
    count = module.num_layers
    if index is None and count > 1:
        raise ValueError(f"index must be one of 0 to {count - 1}: Keras has {count} layers for it")
    index = 0 if index is None else checks.integer("index", index, 0)
    if index >= count:
        raise ValueError(f"index must be < num_layers = {count}, got {index}")
    found: list[NDArray[Any]] = []
    for direction in ("", "_reverse")[: 1 + module.bidirectional]:
        suffix = f"_l{index}{direction}"
        bias = module[f"bias{suffix}"].copy()
        if f"bias_hn{suffix}" in module:
            second = np.zeros_like(bias)
            second[-module.hidden_size :] = module[f"bias_hn{suffix}"]
            bias = np.stack([bias, second], axis=1)
        arrays = [module[f"weight_ih{suffix}"], module[f"weight_hh{suffix}"], bias]
        found += [_ordered(array, module).T.copy() for array in arrays]
    return found


def _ordered(array: NDArray[Any], module: Recurrent[Any]) -> NDArray[Any]:
    """Return an array with the blocks of rows in Keras' order."""
    if not isinstance(module, GRU):
        return array
    blocks = np.split(array, 3)
    return np.concatenate([blocks[place] for place in _GRU])
