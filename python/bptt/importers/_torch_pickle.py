"""Pickles as PyTorch writes them, read as data.

The opcodes, which `pickletools` names, run on a machine that knows tensors, storages, dicts and
lists. Nothing is imported and nothing is called: every other class or function is a placeholder
with its name. Time and memory are proportional to the number of opcodes.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple

from bptt._core import checks

_MAX_NAME = 500  # characters of the name of a tensor
_MAX_TENSORS = 100_000
_MAX_MEMO = 1 << 32  # so that no index can be chosen for its hash

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONTAINERS = {"EMPTY_LIST": list, "EMPTY_SET": list, "EMPTY_DICT": dict}
_LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_IGNORED = ("PROTO", "FRAME")
_REBUILD = "torch._utils._rebuild_"
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")


class Global(NamedTuple):
    """A class or a function, which is only a name here."""

    name: str


class Storage(NamedTuple):
    """Numbers beside the pickle, which tensors share."""

    kind: str
    """Class, such as "FloatStorage"."""
    key: str
    size: int
    """Number of elements."""
    start: int
    """First element: not 0 of a view of another storage."""
    whole: int
    """Number of elements of that storage."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """Where the elements of a tensor are."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str = ""
    """Of a storage of bytes, such as "uint16"."""


@dataclass(eq=False)
class Placeholder:
    """An object of a class, or the result of a function, that is not known."""

    kind: str
    state: Any = None
    items: dict[str, Any] = field(default_factory=dict)


class Pickle(NamedTuple):
    """Content of a pickle."""

    root: Any
    storages: list[Storage]


def load(file: BytesIO) -> Pickle:
    """Return what the pickle at the position of a file describes.

    The file must be in memory: others allocate what a pickle asks for.

    Raises
    ------
    ValueError
        If it is no valid pickle.
    """
    machine, opcodes, last = _Machine(), pickletools.genops(file), "beginning"
    while last != "STOP":
        try:
            opcode, argument, place = next(opcodes)
        except ValueError as error:
            raise ValueError(f"its pickle is damaged after the {last}") from error
        last = opcode.name
        try:
            machine.run(last, argument)
        except (IndexError, KeyError, TypeError, ValueError) as error:  # not what must be there
            raise ValueError(f"its pickle has a wrong {last} at byte {place}") from error
    return Pickle(machine.result, machine.storages)


def named_tensors(root: Any) -> Iterator[tuple[str, Tensor | Placeholder]]:
    """Yield the tensors in dicts, lists and modules, with names such as "model.lstm.weight".

    Placeholders are of tensors that are not dense.
    """
    seen: set[int] = set()
    pending, count = [("", root)], 0
    while pending:
        name, value = pending.pop()
        if len(name) > _MAX_NAME:
            raise ValueError(f"names must have at most {_MAX_NAME} characters, got {len(name)}")
        is_other = isinstance(value, Placeholder) and value.kind.startswith(_REBUILD)
        if isinstance(value, Tensor) or is_other:
            count += 1
            if count > _MAX_TENSORS:
                raise ValueError(f"there must be at most {_MAX_TENSORS:,} tensors, got more")
            yield name, value
        elif isinstance(value, (dict, list, tuple, Placeholder)) and id(value) not in seen:
            seen.add(id(value))
            begin = f"{name}." if name else ""
            pending += [(begin + key, child) for key, child in reversed(_children(value))]


def _children(value: Any) -> list[tuple[str, Any]]:
    """Return what can have tensors in a container or an object."""
    if isinstance(value, Placeholder):
        state = value.state if isinstance(value.state, dict) else {}
        parts = [state.get(name) for name in _MODULE_PARTS]
        if not all(isinstance(part, (dict, Placeholder)) for part in parts):  # no nn.Module
            parts = [state]
        dicts = [part.items if isinstance(part, Placeholder) else part for part in parts]
        items = [item for part in (value.items, *dicts) for item in (part or {}).items()]
    elif isinstance(value, dict):
        items = list(value.items())
    else:
        items = [(str(i), child) for i, child in enumerate(value)]
    kinds = (dict, list, tuple, Tensor, Placeholder)
    return [(key, child) for key, child in items if isinstance(child, kinds)]


class _Machine:
    """Stack and memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}
        self.storages: list[Storage] = []
        self.result: Any = None

    def run(self, name: str, argument: Any) -> None:
        """Run an opcode."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _CONTAINERS:
            self.stack.append(_CONTAINERS[name]())
        elif not (
            name in _IGNORED or self._on_the_stack(name, argument) or self._in_containers(name)
        ):
            self._of_objects(name, argument)

    def _on_the_stack(self, name: str, argument: Any) -> bool:
        """Run an opcode of the stack or the memo; return False if it is none."""
        stack = self.stack
        match name:
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "POP" if not stack:
                self._above_mark()
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._above_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                if argument >= _MAX_MEMO:
                    raise IndexError
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "STOP":
                self.result = stack.pop()
            case _:
                return False
        return True

    def _in_containers(self, name: str) -> bool:
        """Run an opcode that makes or fills a container; return False if it is none."""
        match name:
            case "TUPLE" | "FROZENSET":
                items = tuple(self._above_mark())
                self.stack.append(items)
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                if len(self.stack) < count:
                    raise IndexError
                self.stack[-count:] = [tuple(self.stack[-count:])]
            case "LIST":
                values = self._above_mark()
                self.stack.append(values)
            case "DICT":
                values = self._above_mark()
                self.stack.append({})
                _fill(self.stack[-1], values)
            case "APPEND":
                value = self.stack.pop()
                _extend(self.stack[-1], [value])
            case "APPENDS" | "ADDITEMS":
                values = self._above_mark()
                _extend(self.stack[-1], values)
            case "SETITEM":
                value, key = self.stack.pop(), self.stack.pop()
                _fill(self.stack[-1], [key, value])
            case "SETITEMS":
                values = self._above_mark()
                _fill(self.stack[-1], values)
            case _:
                return False
        return True

    def _of_objects(self, name: str, argument: Any) -> None:
        """Run an opcode of classes, functions and objects."""
        match name:
            case "GLOBAL":
                self.stack.append(Global(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                attribute, module = self.stack.pop(), self.stack.pop()
                self.stack.append(Global(f"{_text(module)}.{_text(attribute)}"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = self.stack.pop(), self.stack.pop()
                self.stack.append(_called(function, arguments))
            case "NEWOBJ_EX":
                _, arguments, function = (self.stack.pop() for _ in range(3))
                self.stack.append(_called(function, arguments))
            case "OBJ":
                function, *rest = self._above_mark()
                self.stack.append(_called(function, tuple(rest)))
            case "INST":
                arguments = tuple(self._above_mark())
                self.stack.append(_called(Global(argument.replace(" ", ".", 1)), arguments))
            case "BUILD":
                state = self.stack.pop()
                if isinstance(self.stack[-1], Placeholder):
                    self.stack[-1].state = state
            case "BINPERSID":
                found = self.stack.pop()
                if found[0] == "module":  # a class, with its source, in the older format
                    self.stack.append(found[1])
                else:
                    self.storages.append(_storage(found))
                    self.stack.append(self.storages[-1])
            case _:
                raise TypeError  # of an opcode that PyTorch does not write

    def _above_mark(self) -> list[Any]:
        """Remove everything above the last mark, and the mark."""
        values, self.stack = self.stack, self.below.pop()
        return values


def _extend(target: Any, values: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(values)
    elif not isinstance(target, Placeholder):  # of a class of lists, which have no parameters
        raise TypeError


def _fill(target: Any, values: list[Any]) -> None:
    """Put keys and values into a dict; keys become text, so that none is chosen for its hash."""
    items = target.items if isinstance(target, Placeholder) else target
    if not isinstance(items, dict) or len(values) % 2:
        raise TypeError
    for key, value in zip(values[::2], values[1::2], strict=True):
        if isinstance(key, str):
            items[key] = value
        elif isinstance(key, int):
            items[checks.shown(key)] = value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


# ---- objects


def _called(function: Any, arguments: Any) -> Any:
    """Return what the call of a known function would give, else a placeholder."""
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        return Placeholder("?")
    match function.name:
        case "collections.OrderedDict":
            found: dict[str, Any] = {}
            for pair in arguments[0] if arguments else ():
                _fill(found, list(pair))
            return found
        case "torch.Size":
            return tuple(arguments[0])
        case "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state":
            return arguments[0]
        case "torch._tensor._rebuild_from_type_v2":  # of a subclass: function, class, arguments
            return _called(arguments[0], arguments[2])
        case "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2":
            if not any(arguments[6:]):  # neither conjugate nor negative views
                return _tensor(arguments)
        case "torch._utils._rebuild_tensor_v3":
            if not any(arguments[7:]):
                return _tensor(arguments, _class_of_torch(arguments[6]))
    return Placeholder(function.name)


def _tensor(arguments: tuple[Any, ...], dtype: str = "") -> Tensor:
    storage, offset, shape, strides = arguments[:4]
    sizes = (offset, *shape, *strides)
    if not all(type(size) is int and size >= 0 for size in sizes) or len(shape) != len(strides):
        raise TypeError
    if not isinstance(storage, Storage):
        raise TypeError
    return Tensor(storage, offset, tuple(shape), tuple(strides), dtype)


def _storage(found: Any) -> Storage:
    """Return the storage of ("storage", class, key, device, size[, view])."""
    tag, kind, key, _, whole, *view = found
    start, size = 0, whole
    if view and view[0] is not None:  # of a file of the older format
        _, start, size = view[0]
    sizes = (start, size, whole)
    if not all(type(number) is int and number >= 0 for number in sizes) or tag != "storage":
        raise TypeError
    return Storage(_class_of_torch(kind), _text(key), size, start, whole)


def _class_of_torch(kind: Any) -> str:
    """Return the name of a class without its module, such as torch.cuda."""
    if not isinstance(kind, Global) or not kind.name.startswith("torch."):
        raise TypeError
    return kind.name.rpartition(".")[2]
