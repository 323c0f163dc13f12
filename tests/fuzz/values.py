"""Hostile values: variations of a right value, and objects that are wrong anywhere.

Every function takes a `random.Random`: a seeded one in the counting harness, one of Hypothesis in
the tests, which shrinks its choices, and one that reads the bytes of a coverage-guided fuzzer.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import datetime
import decimal
import fractions
import functools
import io
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bptt

Random = random.Random

CAPS = {  # arguments for which a large value is a long computation, and rightly so
    **dict.fromkeys(("epochs", "max_length", "beam", "count", "updates", "patience"), 8),
    **dict.fromkeys(("hidden_size", "embedding_size", "attention_size", "num_layers"), 40),
    **dict.fromkeys(("batch_size", "save_every", "accumulate", "min_count", "n"), 100),
}


class Planted(Exception):  # noqa: N818
    """Raised by hostile objects; it may pass through a call, or become another exception."""


# ---- objects whose methods misbehave -------------------------------------------------------------


def _raise(*_: Any, **__: Any) -> Any:
    raise Planted("planted")


HOOKS = (
    *("__array__", "__len__", "__getitem__", "__iter__", "__index__", "__float__", "__int__"),
    *("__bool__", "__eq__", "__hash__", "__str__", "__repr__", "__fspath__", "__call__"),
    *("__contains__", "__lt__", "__array_interface__", "shape", "dtype", "columns", "__add__"),
)


def raising(hook: str, base: type = object) -> Any:
    """Return an object one of whose methods or attributes raises."""
    plain = {"__hash__": object.__hash__} if hook == "__eq__" else {}
    value = (
        property(_raise) if hook in ("shape", "dtype", "columns", "__array_interface__") else _raise
    )
    return type("Raising", (base,), {hook: value, **plain})()


class Lying(Sequence):  # type: ignore[type-arg]
    """A sequence whose length is not the number of its items."""

    def __init__(self, items: Any, claimed: int) -> None:
        self.items, self.claimed = list(items), claimed

    def __len__(self) -> int:
        return self.claimed

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]


class Shrinking(list):  # type: ignore[type-arg]
    """A list that loses an item whenever its length is asked for."""

    def __len__(self) -> int:
        size = super().__len__()
        if size > 1:
            self.pop()
        return size


class Growing(list):  # type: ignore[type-arg]
    """A list that grows while it is iterated, a few times."""

    def __iter__(self) -> Iterator[Any]:
        for i, item in enumerate(list(super().__iter__())):
            if i < 5:
                self.append(item)
            yield item


class ArrayLike:
    """An object with `__array__`, that calls a function before."""

    def __init__(self, value: Any, before: Callable[[], Any] = lambda: None) -> None:
        self.value, self.before = value, before

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self.before()
        found = np.asarray(self.value)
        return found if dtype is None else found.astype(dtype)


class Index:
    """An integer by `__index__` that is another one at every call."""

    def __init__(self, *values: int) -> None:
        self.values = list(values)

    def __index__(self) -> int:
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]


class Changing(Mapping):  # type: ignore[type-arg]
    """A mapping whose keys are not those that it has."""

    def __init__(self, content: Any) -> None:
        self.content = dict(content)

    def __getitem__(self, key: Any) -> Any:
        return self.content[key]

    def __len__(self) -> int:
        return len(self.content)

    def __iter__(self) -> Iterator[Any]:
        yield from list(self.content)
        yield "one more"


class Subclass(np.ndarray):
    """An array whose results are of its class."""


class Text(str):
    """A string of another class."""


# ---- pools ---------------------------------------------------------------------------------------

TEXTS = (
    *("", " ", "a", "ab", "\0", "a\0b", "\n", "\r\n", "\t", "\x1b[31m", "é", "e\u0301", "ß", "İ"),
    *("\ud800", "a\udfffb", "\udc80", "👩\u200d👧", "\u202eabc", "\ufeff", "\u2028", "\U0010ffff"),
    *("١٢", "²", "½", "1e5", "NaN", "inf", "0x10", "1_000", "-0", "<unk>", "<start>", "<stop>"),
    *("../../x", "a/b", "__class__", "None", "x" * 5000, "\u0300" * 50, "lstm", "float64"),
)
INTEGERS = (
    *(0, 1, 2, 3, 5, 7, 8, 16, 100, -1, -2, -100, 2**16, 2**31 - 1, 2**31, 2**32, 2**53 + 1),
    *(2**62, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30, -(10**30), 10**5000),
    -(10**5000),
)
FLOATS = (
    *(
        0.0,
        -0.0,
        0.5,
        1.0,
        -1.0,
        1.5,
        1e-320,
        5e-324,
        1e-45,
        1e38,
        3.5e38,
        1e308,
        sys.float_info.max,
    ),
    *(float("nan"), float("inf"), float("-inf"), -1e308, 1 - 2**-53, 1 + 2**-52, 2.0**63),
)
DTYPES = (
    *("f2", "f4", "f8", "g", ">f4", ">f8", "c8", "c16", "G", "?", "i1", "i2", "i4", "i8", ">i8"),
    *("u1", "u2", "u4", "u8", "O", "S3", "U2", "M8[s]", "m8[ns]", "V4"),
)


def scalar(r: Random) -> Any:
    """Return a number of some type."""
    integer, real = r.choice(INTEGERS), r.choice(FLOATS)
    kind = r.randrange(14)
    if kind == 0:
        return integer
    if kind == 1:
        return real
    if kind == 2:
        return bool(r.getrandbits(1))
    if kind == 3:
        return np.dtype(r.choice(DTYPES[:9])).type(1.0)
    if kind == 4:
        return np.dtype(r.choice(("i1", "i8", "u1", "u8"))).type(r.choice((0, 1, 3, 100)))
    if kind == 5:
        return np.bool_(r.getrandbits(1))
    if kind == 6:
        return decimal.Decimal(r.choice(("1", "0.5", "NaN", "sNaN", "Infinity", "1e400")))
    if kind == 7:
        return fractions.Fraction(r.choice((1, 3, 10**400)), r.choice((1, 2, 10**400 + 1)))
    if kind == 8:
        return complex(real, 1.0)
    if kind == 9:
        return Index(integer, r.choice(INTEGERS))
    if kind == 10:
        return np.array(r.choice((0, 1, 2, 0.5)))
    if kind == 11:
        return np.longdouble(real)
    if kind == 12:
        return np.datetime64("2020-01-01") if r.getrandbits(1) else np.timedelta64(3, "s")
    return np.float16(r.choice(FLOATS[:8]))


def text(r: Random) -> str:
    """Return a text of any characters."""
    parts = [r.choice(TEXTS) for _ in range(r.randrange(1, 4))]
    if r.randrange(4) == 0:
        parts.append("".join(chr(r.randrange(0x110000)) for _ in range(r.randrange(6))))
    return Text("".join(parts)) if r.randrange(8) == 0 else "".join(parts)


def anything(r: Random, depth: int = 2) -> Any:
    """Return a value of any type."""
    kind = r.randrange(22)
    if kind < 4:
        return scalar(r)
    if kind < 6:
        return text(r)
    if kind == 6:
        return r.choice(
            (None, object(), NotImplemented, ..., type, len, int, str, np, b"", b"ab\xff")
        )
    if kind == 7:
        return raising(r.choice(HOOKS), r.choice((object, object, list, str, dict, int)))
    if kind < 11 and depth:
        items = [anything(r, depth - 1) for _ in range(r.randrange(4))]
        wrap = (
            list,
            tuple,
            iter,
            Growing,
            Shrinking,
            lambda v: Lying(v, r.choice((0, 1, 9, 2**40))),
        )
        return r.choice(wrap)(items)
    if kind < 13 and depth:
        return {r.choice(("a", "b", 0, None, "\ud800")): anything(r, depth - 1) for _ in range(2)}
    if kind < 17:
        return some_array(r)
    if kind == 17:
        return r.choice(
            (range(3), range(10**6), set(), {1, 2}, frozenset("ab"), (i for i in range(3)))
        )
    if kind == 18:
        return ArrayLike(some_array(r), r.choice((_raise, lambda: None)))
    if kind == 19:
        return r.choice(
            (memoryview(b"abcd"), array.array("d", [1, 2]), bytearray(b"ab"), io.BytesIO())
        )
    if kind == 20:
        return r.choice((_raise, lambda *a, **k: None, lambda: 1, lambda *a, **k: (0.0, None)))
    return r.choice((datetime.date(2020, 1, 1), np.random.RandomState(0), np.random.default_rng(0)))


def some_array(r: Random) -> Any:
    """Return an array of any shape and dtype."""
    shape = tuple(r.choice((0, 1, 2, 3, 5)) for _ in range(r.choice((0, 1, 1, 2, 2, 3, 3, 4, 20))))
    if np.prod(shape) > 10000:
        shape = shape[:3]
    return recast(r, np.ones(shape))


# ---- variations of arrays ------------------------------------------------------------------------


def recast(r: Random, value: Any) -> Any:
    """Return an array in another dtype."""
    kind = r.choice((*DTYPES, "structured"))
    try:
        with np.errstate(all="ignore"):
            if kind == "structured":
                return value.astype([("a", "f8"), ("b", "O")])
            return value.astype(kind)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # of dates
        return value.astype("O")


def special(r: Random, value: Any) -> Any:
    """Return an array some of whose elements are extreme."""
    value = value.copy()
    if value.size and value.dtype.kind in "fiuc":
        pool: Sequence[Any] = FLOATS
        if value.dtype.kind in "iu":
            limits = np.iinfo(value.dtype)
            pool = (limits.min, limits.max, 0, 1, 2, 5, limits.max - 1)
        with np.errstate(all="ignore"):
            for _ in range(r.randrange(1, 4)):
                value.flat[r.randrange(value.size)] = r.choice(pool)
            if r.randrange(6) == 0:
                value[...] = r.choice(pool)
    elif value.size and value.dtype.kind in "OU":
        value.flat[r.randrange(value.size)] = text(r) if value.dtype.kind == "U" else anything(r, 1)
    return value


def reshape(r: Random, value: Any) -> Any:
    """Return an array of another shape."""
    kind = r.randrange(9)
    shape = list(value.shape)
    if kind == 0:
        return value.reshape(-1)
    if kind == 1:
        return value[np.newaxis] if r.getrandbits(1) else value[..., np.newaxis]
    if kind == 2 and shape:
        return value[0] if shape[0] else value.reshape(-1)
    if kind == 3:
        return value.T
    if kind == 4:
        return np.zeros((), value.dtype) if value.dtype.kind != "O" else np.array(None)
    if kind == 5 and shape:  # huge, of no memory
        axis = r.randrange(len(shape))
        rest = int(np.prod(shape[:axis] + shape[axis + 1 :]))
        shape[axis] = min(2**17, 2**23 // rest) if rest else r.choice((2**17, 2**31, 2**40))
        one = value.reshape(-1)[:1] if value.size else np.zeros(1, value.dtype)
        try:
            return np.broadcast_to(one.reshape((1,) * len(shape)), shape)
        except ValueError:
            return value
    if shape:
        axis = r.randrange(len(shape))
        shape[axis] = r.choice(
            (0, 0, 1, max(0, shape[axis] - 1), shape[axis] + 1, 2 * shape[axis], 70)
        )
    return np.resize(value, shape) if value.size else np.zeros(shape, value.dtype)


def restride(r: Random, value: Any) -> Any:
    """Return the same elements in another memory layout, or with overlapping ones."""
    kind = r.randrange(9)
    if kind == 0 and value.ndim:
        return np.flip(np.flip(value).copy())
    if kind == 1:
        return np.asfortranarray(value)
    if kind == 2 and value.ndim and value.shape[0]:
        return np.broadcast_to(value[:1], value.shape)
    if kind == 3 and value.ndim:
        wide = np.repeat(value, 2, axis=-1)
        return wide[..., ::2]
    if kind == 4 and value.dtype.kind in "fiu":  # unaligned
        raw = np.zeros(value.nbytes + 1, np.uint8)
        found = raw[1:].view(value.dtype).reshape(value.shape) if value.size else value
        if value.size:
            found[...] = value
        return found
    if kind == 5 and value.size > 2 and value.ndim:
        step = value.itemsize
        strides = tuple(step for _ in value.shape)
        if sum(n - 1 for n in value.shape) < value.size:
            return np.lib.stride_tricks.as_strided(
                np.ascontiguousarray(value), value.shape, strides
            )
    if kind == 6:
        found = value.copy()
        found.flags.writeable = False
        return found
    if kind == 7:
        return value.astype(value.dtype.newbyteorder())
    return value[...]


def _memmap(value: Any) -> Any:
    if not value.nbytes or value.dtype.kind not in "fiub":
        return value
    with tempfile.TemporaryFile() as file:
        file.write(value.tobytes())
        file.flush()
        return np.memmap(file, value.dtype, "r", shape=value.shape)


def rewrap(r: Random, value: Any) -> Any:
    """Return an array as another class or as an array-like."""
    kind = r.randrange(11)
    if kind == 0:
        return np.ma.masked_array(value, mask=r.choice((False, True, np.ma.nomask)))
    if kind == 1:
        return value.view(Subclass)
    if kind == 2 and value.ndim <= 2:
        return np.asmatrix(value) if value.dtype.kind in "fiub" else value
    if kind == 3:
        return value.view(np.recarray) if value.ndim else value
    if kind == 4:
        return _memmap(value)
    if kind == 5:
        return value.tolist()
    if kind == 6:
        return ArrayLike(value, r.choice((_raise, lambda: None)))
    if kind == 7 and value.dtype.kind in "fiub":
        return memoryview(np.ascontiguousarray(value))
    if kind == 8:
        return value.astype("O")
    if kind == 9 and value.dtype.kind in "fiu":
        return type(
            "Interface", (), {"__array_interface__": value.__array_interface__, "kept": value}
        )()
    rows = [*value] if value.ndim else [value]
    return r.choice((tuple, list, Growing, Shrinking))(rows)


def of_array(r: Random, value: Any) -> Any:
    """Return a variation of an array."""
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        if not isinstance(value, np.ndarray) or value.size > 10**5:
            return value
        change = r.choice((recast, special, special, reshape, reshape, restride, restride, rewrap))
        with contextlib.suppress(Exception):  # what NumPy refuses stays as it is
            value = change(r, value)
        if isinstance(value, np.matrix) and value.ndim != 2:
            value = np.asarray(value)  # as a copy of such a matrix, NumPy returns damaged memory
    return value


class ShapeChanger(threading.Thread):
    """A thread that changes the shape of an array to and fro."""

    def __init__(self, value: Any) -> None:
        super().__init__(daemon=True)
        self.value, self.done = value, threading.Event()
        self.shapes = (value.shape, value.shape[::-1], (value.size,))

    def run(self) -> None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while not self.done.is_set():
                for shape in self.shapes:
                    self.value.shape = shape

    def __enter__(self) -> ShapeChanger:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()
        self.value.shape = self.shapes[0]


# ---- variations of any value ---------------------------------------------------------------------


def of_integer(r: Random, value: int) -> Any:
    """Return a variation of an integer."""
    kind = r.randrange(8)
    if kind == 0:
        return value + r.choice((-1, 1))
    if kind == 1:
        return float(value)
    if kind == 2:
        return np.dtype(r.choice(("i1", "i8", "u8", "f8"))).type(value % 100)
    if kind == 3:
        return np.array(value)
    if kind == 4:
        return str(value)
    if kind == 5:
        return Index(value, r.choice(INTEGERS))
    return r.choice(INTEGERS)


def of_sequence(r: Random, value: Any) -> Any:
    """Return a variation of a list or tuple."""
    items = list(value)
    kind = r.randrange(10)
    if kind == 0 and items:
        del items[r.randrange(len(items))]
    elif kind == 1:
        items.insert(r.randrange(len(items) + 1), anything(r))
    elif kind == 2 and items:
        items.append(items[0])
    elif kind == 3:
        return iter(items)
    elif kind == 4:
        return Lying(items, r.choice((0, len(items) + 1, 2**40)))
    elif kind == 5:
        return r.choice((Shrinking, Growing, tuple, list))(items)
    elif kind == 6:
        found = np.empty(len(items), object)
        for i, item in enumerate(items):
            found[i] = item
        return found
    elif kind == 7:
        return type(value)() if type(value) in (list, tuple) else ()
    elif items:
        i = r.randrange(len(items))
        items[i] = variation(r, items[i])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value._replace(**dict(zip(value._fields, items, strict=False)))
    return tuple(items) if isinstance(value, tuple) else items


def of_mapping(r: Random, value: Any) -> Any:
    """Return a variation of a mapping."""
    content = dict(value)
    keys = list(content)
    kind = r.randrange(7)
    if kind == 0 and keys:
        del content[r.choice(keys)]
    elif kind == 1:
        content[r.choice(("more", "\ud800", "", 3, None, "a/b"))] = anything(r)
    elif kind == 2:
        return Changing(content)
    elif kind == 3:
        return list(content.items())
    elif keys:
        key = r.choice(keys)
        content[key] = variation(r, content[key], str(key))
    return content


def of_function(r: Random, value: Any) -> Any:
    """Return a function that misbehaves, or returns something else."""
    kind = r.randrange(5)
    if kind == 0:
        return _raise
    if kind == 1:
        return lambda: None
    given = anything(r)
    if kind == 2:
        return lambda *_, **__: given

    @functools.wraps(value)
    def changed(*arguments: Any, **options: Any) -> Any:
        found = value(*arguments, **options)
        return variation(r, found) if not isinstance(found, (type(None), str)) else given

    return changed


PATHS = (
    "",
    ".",
    "/",
    "/nowhere/x",
    "a\0b",
    "\ud800",
    "x" * 300,
    "/dev/full",
    "/proc/self/mem",
    "~/x",
)


def variation(r: Random, value: Any, name: str = "") -> Any:
    """Return a hostile variation of a right value.

    Parameters
    ----------
    r : Random
    value : object
    name : str
        Name of the argument, for the size of integers.
    """
    changed = _variation(r, value)
    cap = CAPS.get(name)
    if cap is not None:
        number = changed.values[-1] if isinstance(changed, Index) else changed
        try:
            too_large = float(number) > cap
        except (TypeError, ValueError, OverflowError, Planted):
            too_large = False if not isinstance(number, int) else number > cap
        if too_large and not isinstance(changed, np.ndarray):
            return cap
        if isinstance(changed, Index):
            return Index(*[min(item, cap) for item in changed.values])
    return changed


def _variation(r: Random, value: Any) -> Any:
    if r.randrange(5) == 0:
        return anything(r)
    if isinstance(value, (bool, np.bool_)):
        return r.choice((not value, int(value), np.bool_(value), str(value), None, np.array(value)))
    if isinstance(value, np.ndarray):
        return of_array(r, value)
    if isinstance(value, (int, np.integer)):
        return of_integer(r, int(value))
    if isinstance(value, (float, np.floating)):
        return scalar(r) if r.randrange(2) else r.choice(FLOATS)
    if isinstance(value, Path):
        return r.choice((*PATHS, str(value).encode(), value.parent, Path("\ud800")))
    if isinstance(value, str):
        return text(r)
    if isinstance(value, Mapping):
        return of_mapping(r, value)
    if isinstance(value, (list, tuple)):
        return of_sequence(r, value)
    if isinstance(value, type):
        return r.choice((*OTHER_TYPES, value, type(value)))
    if dataclasses.is_dataclass(value):
        return of_dataclass(r, value)
    if isinstance(value, np.random.Generator):
        return r.choice((np.random.default_rng(), np.random.RandomState(0), 0, None, np.random))
    if callable(value):
        return of_function(r, value)
    return anything(r)


OTHER_TYPES = (bptt.RNN, bptt.LSTM, bptt.GRU, bptt.Linear, int, str, np.ndarray, object)


def of_dataclass(r: Random, value: Any) -> Any:
    """Return a dataclass with a variation of one of its fields, if its checks let it pass."""
    names = [field.name for field in dataclasses.fields(value) if field.init]
    name = r.choice(names)
    try:
        return dataclasses.replace(value, **{name: variation(r, getattr(value, name), name)})
    except Exception:
        return anything(r)
