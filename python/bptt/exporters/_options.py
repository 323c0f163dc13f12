"""Options of layers that other libraries do not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bptt._core import checks
from bptt.nn.recurrent import GRU, LSTM, RNN
from bptt.nn.recurrent_base import Recurrent

PLAIN: Mapping[str, tuple[Any, ...]] = {
    "peephole": (False,),
    "coupled": (False,),
    "layer_norm": (False,),
    "decay_size": (0,),
    "zoneout": (0.0,),
    "learn_initial_state": (False,),
    "reverse": (False,),
}
"""Option -> the values that layers of every library have."""


def check_layer(layer: Any, library: str, allowed: Mapping[str, tuple[Any, ...]]) -> Recurrent[Any]:
    """Check that another library has a layer, with its options.

    Raises
    ------
    TypeError, ValueError
        If it is no recurrent layer, or not one of that library.
    """
    module: Recurrent[Any] = checks.instance("layer", layer, Recurrent)
    if not isinstance(module, (RNN, LSTM, GRU)):
        raise ValueError(f"{library} has no {type(module).__name__}, got {module}")
    for name, values in {**PLAIN, **allowed}.items():
        value = module.config.get(name, values[0])
        if value not in values:
            rule = " or ".join(map(repr, values))
            raise ValueError(f"{name} must be {rule}, as in {library}, got {value!r}")
    return module
