"""What every module is made of: named parameters in one flat array, and their gradients.

One flat array a module is all that the kernels, the optimizers and the clipping ever see. A reader
sees read-only views of it by name. Every change goes through `Module._changing`, which gives the
module a new version, so that weights packed from an older version are never used again.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from bptt._core import checks
from bptt._core.checks import Dimension, FloatArray

Shapes: TypeAlias = Mapping[str, tuple[Dimension, ...]]

_Self = TypeVar("_Self", bound="NamedArrays")
_Kind = TypeVar("_Kind", "Module", "Gradients")
_versions = itertools.count(1)  # shared by all modules: `next` is atomic, so no version comes twice


@dataclass(frozen=True)
class Layout:
    """Names, shapes and order of the arrays that share one flat array."""

    owner: str = field(compare=False)  # for error messages, as "LSTM(input_size=3, hidden_size=4)"
    dtype: np.dtype[np.floating[Any]]
    shapes: Shapes

    @property
    def size(self) -> int:
        """Number of elements of the flat array."""
        return sum(math.prod(size for _, size in shape) for shape in self.shapes.values())

    def views(self, flat: FloatArray) -> dict[str, FloatArray]:
        """Cut `flat` into its named arrays, without a copy."""
        views: dict[str, FloatArray] = {}
        start = 0
        for name, dimensions in self.shapes.items():
            shape = tuple(size for _, size in dimensions)
            stop = start + math.prod(shape)
            views[name] = flat[start:stop].reshape(shape)
            start = stop
        return views

    def unknown(self, name: object) -> KeyError:
        """Return the error for a name that is not among `shapes`."""
        names = ", ".join(self.shapes) or "none"
        return KeyError(f"{self.owner} has no parameter {name!r}, it has {names}")

    def check(self, name: str, value: object) -> FloatArray:
        """Return `value` if it may be assigned to `name`."""
        if name not in self.shapes:
            raise self.unknown(name)
        array = checks.array(name, value, self.dtype)
        checks.shape(name, array, self.shapes[name])
        return array


class NamedArrays:
    """Named arrays in one flat, C-contiguous array."""

    _layout: Layout
    _flat: FloatArray
    _views: Mapping[str, FloatArray]

    def __getitem__(self, name: str) -> FloatArray:
        """Return the array called `name`, as a view."""
        try:
            return self._views[name]
        except KeyError:
            raise self._layout.unknown(name) from None

    def __setitem__(self, name: str, value: FloatArray) -> None:
        """Copy `value` into the array called `name`.

        Raises
        ------
        KeyError
            If there is no such name.
        TypeError
            If `value` is not an array of the same dtype: it is never cast.
        ValueError
            If its shape differs: it is never broadcast.
        """
        array = self._layout.check(name, value)
        with self._changing() as flat:
            self._layout.views(flat)[name][...] = array

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of the flat array."""
        return iter(self._layout.shapes)

    def __copy__(self: _Self) -> _Self:
        # Two objects over one flat array could not know of each other's changes.
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_views"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._views = self._make_views()

    def _make_views(self) -> Mapping[str, FloatArray]:
        return self._layout.views(self._flat)

    def _changing(self) -> AbstractContextManager[FloatArray]:
        """Hand out the flat array for writing."""
        return nullcontext(self._flat)


class Module(NamedArrays):
    """Base class of everything that has parameters.

    `module[name]` and `module.parameters` show the parameters as read-only arrays. They change by
    assignment, `module[name] = array`, which copies `array` in after checking its dtype and shape,
    and through an optimizer; in no other way.
    """

    dtype: np.dtype[np.floating[Any]]
    seed: int | None
    _config: Mapping[str, Any]
    _random: np.random.Generator
    _version: int

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Make the module's attributes and parameters from the checked arguments `config`."""
        self.__dict__.update(config)
        self._config = {**config, "dtype": self.dtype.name}
        self._layout = Layout(_describe(type(self), config), self.dtype, self._shapes())
        self._flat = np.zeros(self._layout.size, self.dtype)
        self._views = self._make_views()
        self._random = np.random.default_rng(self.seed)
        with self._changing() as flat:
            self._initialize(self._layout.views(flat))

    def _shapes(self) -> Shapes:
        """Return name -> shape of every parameter, in the order of the flat array."""
        raise NotImplementedError

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        """Fill the writable `parameters`, which are 0, with their first values."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._layout.owner

    def __setattr__(self, name: str, value: object) -> None:
        # Packed weights and parameter shapes follow from the arguments: a new value would be a lie.
        if name in self.__dict__.get("_config", ()):
            raise AttributeError(f"{name} of {type(self).__name__} is fixed when it is made")
        super().__setattr__(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._version = next(_versions)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, fit for JSON: `type(module)(**module.config)` is a twin."""
        return dict(self._config)

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """Name -> read-only array.

        The arrays are views: they show every later change of the parameters. Copy what is to stay.
        """
        return MappingProxyType(self._views)

    @contextmanager
    def _changing(self) -> Iterator[FloatArray]:
        """Hand out the flat array for writing, and give the module a new version.

        The new version comes last, and comes whatever happens: a thread that packs the parameters
        meanwhile does so under the old version, and packs again at its next call.
        """
        try:
            yield self._flat
        finally:
            self._version = next(_versions)

    def _make_views(self) -> Mapping[str, FloatArray]:
        # Through a read-only buffer: `setflags(write=True)` cannot make these views writable again.
        return self._layout.views(np.asarray(self._flat.data.toreadonly()))


def _describe(kind: type[Module], config: Mapping[str, Any]) -> str:
    """Write the call that makes such a module, without arguments left at their defaults."""
    signature = inspect.signature(kind).parameters
    changed = {
        name: value
        for name, value in config.items()
        if name not in signature or value != signature[name].default
    }
    return f"{kind.__name__}({', '.join(f'{name}={value}' for name, value in changed.items())})"


class StepGradients(NamedTuple):
    """Total gradients of the loss with respect to the state after every single step."""

    hidden: FloatArray
    """dL/dh_t, along all paths, (num_layers*directions, B, T, H), or (.., T, B, H) time-major."""
    cell: FloatArray | None
    """dL/dc_t, same shape, of an LSTM; None for the other cells."""


class Gradients(NamedArrays, Mapping[str, FloatArray]):
    """Gradients of a loss: a mapping from the module's parameter names to arrays of their shapes.

    The arrays may be changed in place, and `gradients[name] = array` copies in, with the same
    checks as for a parameter.

    Attributes
    ----------
    input : array or None
        Gradient of the input, with the input's shape; None if the input was token ids, or nobody
        asked for it.
    state : array, LSTMState or None
        Gradient of the initial state, (num_layers*directions, B, H); None for a module without one.
    steps : StepGradients or None
        Gradients of every step's state, if `backward` was called with ``steps=True``.
    """

    def __init__(
        self,
        layout: Layout,
        flat: FloatArray,
        input: FloatArray | None,
        state: Any = None,
        steps: StepGradients | None = None,
    ) -> None:
        self._layout = layout
        self._flat = flat
        self._views = self._make_views()
        self.input = input
        self.state = state
        self.steps = steps

    def __len__(self) -> int:
        return len(self._layout.shapes)

    def __repr__(self) -> str:
        return f"gradients of {self._layout.owner}"

    # By identity: equality of mappings of arrays has no single truth value.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


def as_list(name: str, given: _Kind | Sequence[_Kind], kind: type[_Kind]) -> list[_Kind]:
    """Return one or many of `kind` as a list, in which nothing comes twice."""
    # A single one is itself iterable, over its names.
    items = [given] if isinstance(given, kind) else given
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, kind) for item in items):
        article = "a Module" if kind is Module else "Gradients"
        got = type(given).__name__
        if isinstance(items, (list, tuple)):
            got += " of " + ", ".join(sorted({type(item).__name__ for item in items}))
        raise TypeError(f"{name} must be {article} or a list or tuple of them, got {got}")
    if not items:
        raise ValueError(f"{name} must not be empty")
    if len({id(item) for item in items}) < len(items):
        raise ValueError(f"{name} must not hold the same one twice, got {list(items)}")
    return list(items)
