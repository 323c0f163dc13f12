"""Unknown arguments of constructors: errors that name the argument that is meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

_OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "alpha": ("decay",),
    "batch_first": ("time_major",),
    "beta_1": ("beta1",),
    "beta_2": ("beta2",),
    "betas": ("beta1", "beta2"),
    "eps": ("epsilon",),
    "input_dim": ("num_embeddings",),
    "lr": ("learning_rate",),
    "merge_mode": ("merge",),
    "nonlinearity": ("activation",),
    "normalized_shape": ("num_features",),
    "output_dim": ("embedding_dim",),
    "p": ("rate",),
    "params": ("modules",),
    "random_state": ("seed",),
    "recurrent_activation": ("gate_activation",),
    "rho": ("decay",),
    "units": ("hidden_size", "out_features"),
    "use_bias": ("bias",),
}
"""Name in PyTorch, Keras or scikit-learn -> names here, of which a class has some or none."""

_NOTES = {"batch_first": ", and the batch comes first by default"}


class NamedArguments:
    """Base class: an unknown argument of a subclass's constructor is named in the error."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "__init__" in vars(cls):
            type.__setattr__(cls, "__init__", _checked(vars(cls)["__init__"]))


def _checked(init: Callable[..., None]) -> Callable[..., None]:
    parameters = list(inspect.signature(init).parameters.values())[1:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return init
    known = [parameter.name for parameter in parameters]

    @functools.wraps(init)
    def checked(self: object, *args: Any, **arguments: Any) -> None:
        for name in arguments:
            if name not in known:
                others = [other for other in _OTHER_NAMES.get(name, ()) if other in known]
                cure = f"{type(self).__name__} has {', '.join(known)}"
                if others:
                    cure = f"it is called {' and '.join(others)}{_NOTES.get(name, '')}"
                raise TypeError(f"unknown argument {name}: {cure}")
        init(self, *args, **arguments)

    return checked
