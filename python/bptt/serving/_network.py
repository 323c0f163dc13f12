"""One step of a model for many streams: a recurrent layer, a chain, or an estimator.

Shapes: N streams, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._core.tensor_files import checksum_of
from bptt.nn.crf import CRF
from bptt.nn.module import Module
from bptt.nn.packing import Description
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential
from bptt.nn.serialization import pack_modules
from bptt.nn.state import arrays_of, as_state


class SteppedNetwork:
    """A model, its states as a flat list of arrays, (num_layers, N, H) each.

    Parameters
    ----------
    model : recurrent layer, Sequential, or estimator

    Raises
    ------
    TypeError
        If it is none of them.
    ValueError
        If it needs whole sequences.
    """

    def __init__(self, model: Any) -> None:
        self._encode: Callable[[Any], NDArray[Any]] | None = None
        self._finish: Callable[[FloatArray], Any] | None = None
        self._start: int | None = None
        network = model
        if getattr(model, "_is_chain", False):
            stream = model._stepwise()
            network, self._encode, self._finish, self._start = stream
        if not isinstance(network, (Recurrent, Sequential)):
            rule = "model must be a recurrent layer, a Sequential, or a classifier, regressor"
            raise TypeError(f"{rule}, tagger or language model, got {type(model).__name__}")
        self._model, self._network = model, network
        self.modules: tuple[Module, ...] = (
            network.modules if isinstance(network, Sequential) else (network,)
        )
        self._layers = [module for module in self.modules if isinstance(module, Recurrent)]
        self._check(network)
        self.shapes = [
            (layer.num_layers, size) for layer in self._layers for size in layer.state_sizes
        ]
        self.dtype = self._layers[0].dtype

    def __repr__(self) -> str:
        model = self._model
        return repr(model) if model is self._network else type(model).__name__

    def _check(self, network: Recurrent[Any] | Sequential) -> None:
        if not self._layers:
            raise ValueError(f"model must have a recurrent layer, got {network!r}")
        for layer in self._layers:
            if option := layer._needs_whole:
                raise ValueError(f"sessions need {option}=False, got {layer}")
        pool = getattr(network, "pool", None)
        if pool not in (None, "last"):
            raise ValueError(f"sessions need pool=None or pool='last', got pool={pool!r}")
        if isinstance(self.modules[-1], CRF):
            raise ValueError(
                "sessions need a model without a CRF, whose labels depend on later steps"
            )

    def encode(self, x: Any, count: int) -> NDArray[Any]:
        """Return the network's input for a step of `count` streams."""
        if self._encode is not None:
            x = self._encode(x)
        steps = checks.numpy_array("x", x, layer=True)
        if steps.ndim == 0 or len(steps) != count:
            rule = f"x must have {count} rows, one for each key"
            raise ValueError(f"{rule}, got shape {steps.shape}")
        return steps

    def step(
        self, x: NDArray[Any], states: Sequence[FloatArray]
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Return outputs (N, ..) and states after a step."""
        try:
            output, after = self._network.step(x, self.grouped(states))
        except (TypeError, ValueError) as error:
            raise _with_name_of_x(error) from None
        found = list(self._flat(after))
        return (output if self._finish is None else self._finish(output)), found

    def initial(self) -> list[FloatArray]:
        """Return the states before the first step, (num_layers, 1, H) each."""
        states = []
        for layer in self._layers:
            learned = layer._current(False).initial
            for size, part in zip(layer.state_sizes, learned or [None] * 4, strict=False):
                shape = (layer.num_layers, 1, size)
                zero = np.zeros(shape, self.dtype)
                states.append(zero if part is None else part.reshape(shape))
        if self._start is not None:
            states = self.step(np.array([self._start]), states)[1]
        return states

    @property
    def versions(self) -> list[object]:
        """What changes whenever a parameter does."""
        return [module._version for module in self.modules]

    def grouped(self, states: Sequence[FloatArray]) -> Any:
        """Return the states in the form of the network: of the layer, or a tuple of them."""
        if isinstance(self._network, Recurrent):
            return as_state(*states)
        rest, groups = iter(states), []
        for layer in self._layers:
            groups.append(as_state(*(next(rest) for _ in layer.state_sizes)))
        return tuple(groups)

    def _flat(self, after: Any) -> Iterator[FloatArray]:
        states = (after,) if isinstance(self._network, Recurrent) else after
        for state in states:
            yield from arrays_of(state)

    def digest(self) -> str:
        """Return SHA-256 of all that determines outputs: parameters, classes, arguments, encoder.

        Arguments that change nothing in inference, seeds and rates of dropout, are left out.
        """
        import json

        network: Any = self._network
        tensors, descriptions = pack_modules({"model": network})
        _without_training(descriptions)
        estimator = None
        if network is not self._model:
            estimator = [type(self._model).__name__, self._model._fitted_state()]
        return checksum_of(json.dumps([descriptions, estimator], sort_keys=True), tensors)


def _with_name_of_x(error: TypeError | ValueError) -> TypeError | ValueError:
    """Return the error with the name that x has here; models call it x_t."""
    rule, text = "x_t ", str(error)
    return type(error)(f"x {text[len(rule) :]}") if text.startswith(rule) else error


def _without_training(descriptions: Mapping[str, Description]) -> None:
    """Remove arguments that do not change inference from descriptions of modules."""
    for entry in descriptions.values():
        for one in entry.get("modules", [entry]):
            for name in ("seed", "dropout", "recurrent_dropout"):
                one["config"].pop(name, None)
