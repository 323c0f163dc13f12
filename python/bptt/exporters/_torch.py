"""Weights of a layer for PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.exporters._options import check_layer
from bptt.nn.recurrent import RNN
from bptt.nn.recurrent_base import Recurrent


def to_torch(layer: Recurrent[Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """Return the weights of a layer as PyTorch's module of the same name has them.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        A GRU with ``reset_after=True``.
    prefix : str, default ""
        Prefix of all names, such as ``"encoder."``.

    Returns
    -------
    dict of str to array
        A ``state_dict`` of NumPy arrays: ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``,
        ``bias_hh_l0``, perhaps ``weight_hr_l0``, and so on. The second bias is 0 but for a GRU's
        candidate. ``load_state_dict`` takes them through ``torch.from_numpy``; `from_torch` gives
        the same layer.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If PyTorch has no such layer, or not with such an option.
    """
    activations = ("tanh", "relu") if isinstance(layer, RNN) else ("tanh",)
    module = check_layer(
        layer,
        "PyTorch",
        {
            "merge": ("concat",),
            "reset_after": (True,),
            "activation": activations,
            "gate_activation": ("sigmoid",),
        },
    )
    prefix = checks.instance("prefix", prefix, str)
    found = {}
    for index in range(module.num_layers):
        for direction in ("", "_reverse")[: 1 + module.bidirectional]:
            suffix = f"_l{index}{direction}"
            for name in ("weight_ih", "weight_hh"):
                found[f"{prefix}{name}{suffix}"] = module[f"{name}{suffix}"].copy()
            bias = module[f"bias{suffix}"].copy()
            second = np.zeros_like(bias)
            if f"bias_hn{suffix}" in module:
                second[-module.hidden_size :] = module[f"bias_hn{suffix}"]
            found |= {f"{prefix}bias_ih{suffix}": bias, f"{prefix}bias_hh{suffix}": second}
            if f"weight_hr{suffix}" in module:
                found[f"{prefix}weight_hr{suffix}"] = module[f"weight_hr{suffix}"].copy()
    return found
