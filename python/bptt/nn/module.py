"""Modules: named parameters in one flat array, and their gradients.

Kernels, optimizers and clipping work on the flat array; users see read-only views of it by name.
Every change goes through `Module._changing`, which gives the module a new version, so that weights
packed from an older version are never used again.
"""

from __future__ import annotations

import copy
import inspect
import math
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.arguments import NamedArguments
from bptt._core.checks import Dimension, FloatArray
from bptt._core.memory import new_array
from bptt.losses import Loss
from bptt.nn.compression import NarrowArray, NarrowParameters, check_kind

Shapes: TypeAlias = Mapping[str, tuple[Dimension, ...]]

_Self = TypeVar("_Self", bound="NamedArrays")
_M = TypeVar("_M", bound="Module")
_Kind = TypeVar("_Kind", "Module", "Gradients")
_Result = TypeVar("_Result")

# Shared among all modules, so that none is a part of a module, which may be copied and pickled. A
# fork waits for the threads that hold one: its child has neither them nor half of a change.
_locks = tuple(threading.RLock() for _ in range(64))


def _acquire_locks() -> None:
    for lock in _locks:
        lock.acquire()


def _release_locks() -> None:
    for lock in _locks:
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_acquire_locks, after_in_parent=_release_locks, after_in_child=_release_locks
    )


@dataclass(frozen=True)
class Layout:
    """Names, shapes and order of the arrays that share one flat array."""

    owner: str = field(compare=False)  # for error messages, as "LSTM(input_size=3, hidden_size=4)"
    dtype: np.dtype[np.floating[Any]]
    shapes: Shapes

    @cached_property
    def size(self) -> int:
        """Number of elements of the flat array."""
        return sum(math.prod(size for _, size in shape) for shape in self.shapes.values())

    @cached_property
    def _places(self) -> list[tuple[str, slice, tuple[int, ...]]]:
        """Name, place in the flat array and shape of every array."""
        shapes = [tuple(size for _, size in shape) for shape in self.shapes.values()]
        stops = list(accumulate(map(math.prod, shapes)))
        places = map(slice, [0, *stops], stops)
        return list(zip(self.shapes, places, shapes, strict=True))

    def zeros(self) -> FloatArray:
        """Return a new flat array of zeros."""
        if self.size * self.dtype.itemsize > sys.maxsize:
            raise ValueError(f"parameters must fit into memory, got {self.size:,} for {self.owner}")
        return np.zeros(self.size, self.dtype)

    def views(self, flat: FloatArray) -> dict[str, FloatArray]:
        """Cut `flat` into its named arrays, without a copy."""
        return {name: flat[place].reshape(shape) for name, place, shape in self._places}

    def unknown(self, name: object) -> KeyError:
        """Return the error for a name that is not in `shapes`."""
        names = ", ".join(self.shapes) or "none"
        return KeyError(f"{self.owner} has no parameter {name!r}, it has {names}")

    def check(self, name: str, value: object) -> FloatArray:
        """Return `value` if its dtype and shape are those of `name`."""
        try:
            shape = self.shapes[name]
        except (KeyError, TypeError):  # TypeError: not hashable
            raise self.unknown(name) from None
        array = checks.array(name, value, self.dtype)
        checks.shape(name, array, shape)
        return array


class NamedArrays:
    """Named arrays in one flat, C-contiguous array."""

    _layout: Layout
    _flat: FloatArray
    _views: Mapping[str, FloatArray]

    def __getitem__(self, name: str) -> FloatArray:
        """Return a view of the array `name`.

        Parameters
        ----------
        name : str

        Returns
        -------
        array

        Raises
        ------
        KeyError
            If there is no such name.
        """
        try:
            return self._views[name]
        except (KeyError, TypeError):  # TypeError: not hashable
            raise self._layout.unknown(name) from None

    def __setitem__(self, name: str, value: FloatArray) -> None:
        """Copy `value` into the array `name`.

        Parameters
        ----------
        name : str
        value : array
            Of the same dtype and shape: nothing is cast or broadcast.

        Raises
        ------
        KeyError
            If there is no such name.
        TypeError
            If `value` is not an array of the same dtype.
        ValueError
            If its shape differs.
        """
        array = self._layout.check(name, value)
        with self._changing() as flat:
            self._layout.views(flat)[name][...] = array

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of the flat array."""
        return iter(self._layout.shapes)

    def __copy__(self: _Self) -> _Self:
        # Two objects that share a flat array would not see each other's new versions.
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_views", "_latest", "_is_changing", "_kernel_weight")
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._views = self._make_views()

    def _make_views(self) -> Mapping[str, FloatArray]:
        return self._layout.views(self._flat)

    def _changing(self) -> AbstractContextManager[FloatArray]:
        """Yield the flat array for writing."""
        return nullcontext(self._flat)


class Snapshot:
    """The parameters of a module at one time, without a copy as long as they do not change.

    Attributes
    ----------
    layout : Layout
        Names and shapes.
    flat : array
        The module's own flat array; a copy of it from the first change on.
    """

    __slots__ = ("__weakref__", "flat", "layout")

    def __init__(self, layout: Layout, flat: FloatArray) -> None:
        self.layout = layout
        self.flat = flat

    def compute(self, function: Callable[[Mapping[str, FloatArray]], _Result]) -> _Result:
        """Return `function` of the named parameters, again if another thread changed them in it."""
        while True:
            flat = self.flat
            result = function(self.layout.views(flat))
            if self.flat is flat:
                return result


class Module(NamedArguments, NamedArrays):
    """Base class of everything with parameters.

    `module[name]` and ``module.parameters`` are read-only arrays. Parameters change by assignment,
    `module[name] = array`, which checks dtype and shape and copies, or through an optimizer.

    Parameters
    ----------
    config : mapping
        Checked constructor arguments, which become attributes; "dtype" is among them, and "seed"
        unless nothing is random.
    """

    dtype: np.dtype[np.floating[Any]]
    seed: int | None
    frozen: bool = False  # whether no parameter is trained
    _compressible: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the names of the matrices that `compressed` keeps in fewer bits."""
    _narrow: NarrowParameters | None = None  # of a compressed module, which has no flat array
    _config: Mapping[str, Any]
    _random: np.random.Generator
    _version: object  # of the parameters; compared by identity
    _is_changing: bool = False  # whether a thread writes to the parameters
    _latest: Callable[[], Snapshot | None]  # snapshot of the current parameters, if one is alive

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.__dict__.update(config)
        self._config = {**config, "dtype": self.dtype.name}
        self._layout = Layout(_describe(type(self), config), self.dtype, self._shapes())
        self._random = np.random.default_rng(self.seed)
        self._latest = _no_snapshot
        self._version = object()
        source = self.__dict__.pop("_source", _initialized)
        if source is not None:
            self._flat = source(self)
            self._views = self._make_views()

    @classmethod
    def _with_parameters(
        cls, config: Mapping[str, Any], parameter: Callable[[str], NDArray[Any]]
    ) -> Module:
        """Return a module with given parameters; they are checked before anything is allocated.

        Parameters
        ----------
        config : mapping
            Arguments of the constructor.
        parameter : function
            Name of a parameter -> array. It raises ValueError for one that is missing.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong, or a parameter is missing or of the wrong dtype or shape.
        """

        def source(module: Module) -> FloatArray:
            layout = module._layout
            given = {name: layout.check(name, parameter(name)) for name in layout.shapes}
            flat: FloatArray = np.empty(layout.size, layout.dtype)
            for name, view in layout.views(flat).items():
                view[...] = given[name]
            return flat

        return cls._from_source(source, config)

    @classmethod
    def _outline(cls: type[_M], config: Mapping[str, Any]) -> _M:
        """Return a module without values, which knows names and shapes of its parameters."""
        return cls._from_source(None, config)

    @classmethod
    def _from_source(
        cls: type[_M], source: Callable[[Module], FloatArray] | None, config: Mapping[str, Any]
    ) -> _M:
        """Return a module whose flat array `source` makes; without it there is none."""
        module = cls.__new__(cls)
        module.__dict__["_source"] = source
        module.__init__(**config)  # type: ignore[misc]
        return module

    @property
    def compression(self) -> str | None:
        """Kind of the weights: "bfloat16" or "int8" of a compressed module, else None."""
        return None if self._narrow is None else self._narrow.kind

    def compressed(self: _M, kind: str) -> _M:
        """Return a copy with weights of 16 or 8 bits, for inference alone.

        It has the same calls, with float32 in and out: the kernels widen the weights in registers.
        Of large layers that run few sequences at a time, a step takes half or a third of the time.
        Recurrent layers keep their matrices in fewer bits, `Linear`, `Embedding` and `EmbeddingBag`
        their weight; all else, and the other modules, stay float32. ``forward``, optimizers and
        assignment of parameters are refused.

        Parameters
        ----------
        kind : {"bfloat16", "int8"}
            "bfloat16": the upper 16 bits of a float32, rounded to nearest, ties to even. "int8":
            8-bit integers times a scale for each row, that of a unit of a gate, of an output, or of
            a token: its largest magnitude / 127.

        Returns
        -------
        module
            Of the same class. Its ``parameters`` are the rounded ones, widened when they are read.

        Raises
        ------
        TypeError
            If `kind` is not a string.
        ValueError
            If there is no such kind, the module is not of float32 or compressed already, or a
            weight is not finite in it.

        See Also
        --------
        bptt.compression_report : What it changes, on given data.
        """
        kind = check_kind("kind", kind)
        if self.dtype != np.float32:
            raise ValueError(f"compressed needs a module of float32, got {self} of {self.dtype}")
        if self._narrow is not None:
            raise ValueError(f"compressed needs a module of float32, got {self}")
        if not any(map(self._is_compressible, self)):
            return copy.deepcopy(self)
        return self._with_narrow(
            self.config, self._whole(lambda: NarrowParameters(kind, dict(self._rounded(kind))))
        )

    @property
    def _nbytes(self) -> int:
        """Number of bytes of all parameters."""
        narrow = self._narrow
        return self._layout.size * self.dtype.itemsize if narrow is None else narrow.nbytes

    @classmethod
    def _with_narrow(cls: type[_M], config: Mapping[str, Any], narrow: NarrowParameters) -> _M:
        """Return a module with the parameters `narrow`, which fit its arguments."""
        module = cls._outline(config)
        module._narrow = narrow
        module._views = module._make_views()
        return module

    @classmethod
    def _from_narrow(
        cls, config: Mapping[str, Any], kind: str, tensor: Callable[[str], NDArray[Any]]
    ) -> Module:
        """Return a compressed module whose tensors, as of `NarrowParameters.tensors`, are given.

        Parameters
        ----------
        config : mapping
            Arguments of the constructor.
        kind : str
            Kind of compression.
        tensor : function
            Name -> array. It raises ValueError for one that is missing.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong, or a tensor is missing or of the wrong dtype or shape.
        """
        kind = check_kind("compression", kind)
        outline = cls._outline(config)
        if outline.dtype != np.float32 or not any(map(cls._is_compressible, outline)):
            raise ValueError(f"compression must be None for {outline} of {outline.dtype}")
        arrays = {
            name: NarrowArray.checked(name, shape, kind, tensor)
            if cls._is_compressible(name)
            else outline._layout.check(name, tensor(name)).copy()
            for name, shape in outline._layout.shapes.items()
        }
        return cls._with_narrow(config, NarrowParameters(kind, arrays))

    @classmethod
    def _is_compressible(cls, name: str) -> bool:
        return name.startswith(cls._compressible)

    def _rounded(self, kind: str) -> Iterator[tuple[str, FloatArray | NarrowArray]]:
        for name, array in self._views.items():
            if not self._is_compressible(name):
                yield name, array.copy()
                continue
            narrow = NarrowArray.of(array, kind)
            if not np.isfinite(narrow.widened()).all():
                raise ValueError(f"weights must be finite in {kind}, got others in {name}")
            yield name, narrow

    def _check_trainable(self) -> None:
        """Check that the parameters may change."""
        if self._narrow is not None:
            raise ValueError(
                f"training needs weights of float32, got {self}: train the original, and "
                "compress it again"
            )

    def _shapes(self) -> Shapes:
        """Return name -> shape of every parameter, in the order of the flat array."""
        raise NotImplementedError

    def _initialize(self, parameters: Mapping[str, FloatArray]) -> None:
        """Fill the writable `parameters`, all 0, with their initial values."""
        raise NotImplementedError

    def __repr__(self) -> str:
        kind = self.compression
        return self._layout.owner + (f".compressed({kind!r})" if kind else "")

    def __setattr__(self, name: str, value: object) -> None:
        # Shapes and packed weights are derived from the arguments.
        if not name.startswith("_") and name in self.__dict__.get("_config", ()):
            raise AttributeError(f"{name} of {type(self).__name__} is fixed when it is made")
        super().__setattr__(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._version = object()
        self._latest = _no_snapshot

    @property
    def config(self) -> dict[str, Any]:
        """JSON-serializable constructor arguments, for ``type(module)(**module.config)``."""
        return dict(self._config)

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """Name -> read-only array; a view, which shows later changes of the parameter."""
        return MappingProxyType(self._views)

    @property
    def num_parameters(self) -> int:
        """Number of elements of all parameters."""
        return self._layout.size

    @contextmanager
    def _changing(self) -> Iterator[FloatArray]:
        """Yield the flat array for writing, then give the module a new version.

        Other threads that change or pack the parameters wait. The snapshot of the old parameters,
        if a run holds it, gets a copy. The version changes also after an error.
        """
        self._check_trainable()
        with self._lock:
            latest = self._latest()
            if latest is not None:
                copied = new_array(self._flat.size, self.dtype)
                copied[...] = self._flat
                latest.flat = copied  # complete: other threads compute from it at once
            state = self.__dict__  # past the checks of __setattr__, which take a while
            state.update(_latest=_no_snapshot, _is_changing=True)
            try:
                yield self._flat
            finally:
                state.update(_version=object(), _is_changing=False)

    def _whole(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Return ``function(*arguments)``, which reads parameters, at one version of them.

        If another thread has changed them in the meantime, it is called again.
        """
        version = self._version
        result = function(*arguments)
        if self._is_changing or self._version is not version:
            with self._lock:
                return function(*arguments)
        return result

    @property
    def _lock(self) -> AbstractContextManager[bool]:
        """Lock of the parameters, which a thread holds while it changes or packs them."""
        return _locks[id(self) // 64 % len(_locks)]

    def _snapshot(self) -> Snapshot:
        """Return the current parameters, for a run whose backward pass needs them."""
        self._check_trainable()
        with self._lock:
            latest = self._latest()
            if latest is None:
                latest = Snapshot(self._layout, self._flat)
                self._latest = weakref.ref(latest)
        return latest

    def _make_views(self) -> Mapping[str, FloatArray]:
        if self._narrow is not None:
            return self._narrow
        # Through a read-only buffer: `setflags(write=True)` cannot make these views writable again.
        return self._layout.views(np.asarray(self._flat.data.toreadonly()))


def _initialized(module: Module) -> FloatArray:
    """Return the initial values of a module's parameters."""
    flat = module._layout.zeros()
    module._initialize(module._layout.views(flat))
    return flat


def _no_snapshot() -> None:
    return None


def _shown(value: Any) -> str:
    return checks.shown(value) if type(value) is int else str(value)


def _describe(kind: type[Module], config: Mapping[str, Any]) -> str:
    """Return the constructor call, without arguments at their defaults."""
    signature = inspect.signature(kind).parameters
    changed = {
        name: value
        for name, value in config.items()
        if name not in signature or value != signature[name].default
    }
    return f"{kind.__name__}({', '.join(f'{name}={_shown(v)}' for name, v in changed.items())})"


class StepGradients(NamedTuple):
    """Total gradients of the loss with respect to the state at every step."""

    hidden: FloatArray
    """dL/dh_t, along all paths, (num_layers*directions, B, T, H), or (.., T, B, H) time-major."""
    cell: FloatArray | None
    """dL/dc_t, of the same shape; None for cells without a cell state."""


class StoredValues(NamedTuple):
    """Flat values of the gradients of a module."""

    values: FloatArray
    """Gradients of all parameters, (size,), or of some rows of the only one."""
    rows: NDArray[np.int32] | None
    """These rows, ascending; None for all parameters."""


class Gradients(NamedArrays, Mapping[str, FloatArray]):
    """Gradients of a loss with respect to a module: a mapping of parameter names to arrays.

    The arrays may be changed in place; `gradients[name] = array` copies, with the same checks as
    for a parameter.

    Parameters
    ----------
    layout : Layout
        Names and shapes of the module's parameters.
    flat : array (size,)
        Gradients of all parameters.
    input : array or None
        Gradient of the input, of the input's shape; None for token ids, or if not requested.
    state : array, LSTMState, SLSTMState or None
        Gradient of the initial state, (num_layers*directions, B, H); None for a stateless module.
    steps : StepGradients or None
        Gradients of the state at every step, if `backward` was called with ``steps=True``.

    Attributes
    ----------
    input, state, steps : as above
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
        self.input = input
        self.state = state
        self.steps = steps

    def __getattr__(self, name: str) -> Any:
        # Called for missing attributes only. A training loop never needs the views.
        if name != "_views":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._views = self._make_views()
        return self._views

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __len__(self) -> int:
        return len(self._layout.shapes)

    def __repr__(self) -> str:
        return f"gradients of {self._layout.owner}"

    # What clipping, optimizers and accumulation use, also without a dense array: `SparseGradients`.

    def _stored(self) -> StoredValues:
        """Return the values that are stored: changed in place, they change the gradients."""
        return StoredValues(self._flat, None)

    def _occurring(self) -> StoredValues:
        """Return the values that an optimizer with lazy updates reads."""
        return self._stored()

    def _add(self, other: Gradients) -> None:
        """Add the gradients of another loss with respect to the same module, in place."""
        self._flat += other._flat

    # By identity: the comparison of arrays has no single truth value.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class HasModules(Protocol):
    """Protocol of networks, such as `Sequential` and `Decoder`."""

    @property
    def modules(self) -> Sequence[Module] | Mapping[str, Module]:
        """The modules, in the order of their gradients."""


class HasGradients(Protocol):
    """Protocol of the gradients of networks, in the order of their modules."""

    @property
    def modules(self) -> Sequence[Gradients]:
        """The gradients of each module."""


Modules: TypeAlias = Module | HasModules | Sequence[Module | HasModules]
AllGradients: TypeAlias = Gradients | HasGradients | Sequence[Gradients | HasGradients]

_RULES: Mapping[type, str] = {
    Module: "a Module, a Sequential, or a list or tuple of them",
    Gradients: "what backward returned, or a list or tuple of it",
}


def as_list(name: str, given: object, kind: type[_Kind]) -> list[_Kind]:
    """Check that `given` is one or several distinct objects of `kind`; return them as a list.

    A network stands for its modules, and the gradients of a network for those of its modules.
    """
    # A single module is iterable itself, over its names.
    items = given if isinstance(given, (list, tuple)) else [given]
    found: list[Any] = []
    for item in items:
        found += [item] if isinstance(item, kind) else _parts(item)
    if not all(isinstance(part, kind) for part in found):
        got = type(given).__name__
        if items is given:
            got += " of " + ", ".join(sorted({type(item).__name__ for item in items}))
        # As in PyTorch, where an optimizer takes model.parameters().
        cure = ": pass the model itself" if isinstance(given, MappingProxyType) else ""
        raise TypeError(f"{name} must be {_RULES[kind]}, got {got}{cure}")
    if not found:
        raise ValueError(f"{name} must not be empty")
    if len({id(part) for part in found}) < len(found):
        raise ValueError(f"{name} must be distinct, got {found}")
    return found


def _parts(item: Any) -> list[Any]:
    """Return the modules, or the gradients, that `item` consists of."""
    parts = getattr(item, "modules", None)
    if isinstance(parts, Mapping):
        return list(parts.values())
    return list(parts) if isinstance(parts, (list, tuple)) else [item]


def by_name(parts: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    """Return the arrays of the modules of a chain with names such as "0.weight_ih_l0"."""
    return {f"{i}.{name}": value for i, part in enumerate(parts) for name, value in part.items()}


def output_gradient(d_output: Any) -> Any:
    """Return the gradient of a `Loss`, and everything else unchanged."""
    return d_output.gradient if isinstance(d_output, Loss) else d_output
