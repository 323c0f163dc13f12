"""One call with bad input, and its judgement.

Allowed: a result, an exception that the docstring or the rules below allow, or one that the input
itself raises. After an exception everything is as before, and the same valid call still works.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import functools
import inspect
import linecache
import random
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bptt
from tests.fuzz import values
from tests.fuzz.targets import Target

PACKAGE = str(Path(bptt.__file__).parent)
ALWAYS = (
    ValueError,
    TypeError,
    LookupError,
    MemoryError,
    FloatingPointError,
    OSError,
    RuntimeError,
)
"""Allowed types. LookupError: of names; RuntimeError: of runs that were released."""
NEVER = (AttributeError, RecursionError, AssertionError, SystemError, UnicodeError)
"""Types that say that something was not checked."""


class Outcome(NamedTuple):
    """What a call came to."""

    name: str
    """Name of the exception's type, or "result"."""
    failure: str
    """What is wrong with it; empty if nothing is."""
    unclear: str
    """Sentence of an exception that the package has not raised itself; empty otherwise."""
    where: str = ""
    """Place of the exception."""


def snapshot(watched: tuple[Any, ...]) -> list[bytes]:
    """Return the content of modules, optimizers and estimators."""
    found = []
    for item in watched:
        if hasattr(item, "_flat"):
            found.append(item._flat.tobytes())
        elif hasattr(item, "state"):
            found += [np.asarray(array).tobytes() for array in item.state().values()]
    return found


def arrays(value: Any, depth: int = 3) -> Iterator[np.ndarray]:
    """Yield the arrays in an argument."""
    if type(value) is np.ndarray and value.dtype.kind in "fiub" and value.size < 10**6:
        yield value
    elif depth and type(value) in (list, tuple, dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays(item, depth - 1)


def fill(
    r: random.Random, target: Target
) -> tuple[dict[str, Any], str, contextlib.AbstractContextManager[Any]]:
    """Return arguments some of which are bad, their description, and what runs meanwhile."""
    given = dict(target.arguments)
    names = list(given)
    meanwhile: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if not names:
        return given, "", meanwhile
    for name in r.sample(names, min(len(names), r.choice((1, 1, 1, 2, 2, 3)))):
        given[name] = values.variation(r, given[name], name)
    if r.randrange(60) == 0:
        given[r.choice(("colour", "x ", "name"))] = values.anything(r)
    if r.randrange(100) == 0:
        flat = [v for v in target.arguments.values() if type(v) is np.ndarray and v.ndim > 1]
        owned = [v for v in flat if v.flags.owndata and v.flags.c_contiguous]
        if owned:
            meanwhile = values.ShapeChanger(r.choice(owned))
    return given, describe(given), meanwhile


def describe(given: dict[str, Any]) -> str:
    """Return arguments as text, in one line."""
    parts = []
    for name, value in given.items():
        try:
            text = repr(value)
        except BaseException as error:
            text = f"<{type(value).__name__}: {type(error).__name__}>"
        extra = ""
        if isinstance(value, np.ndarray):
            extra = f" {value.dtype} {value.shape} strides {value.strides}"
        parts.append(f"{name}={type(value).__name__}{extra} {text[:120]}")
    return "; ".join(parts).replace("\n", " ")


def call(name: str, make: Callable[[], Target], r: random.Random) -> tuple[Outcome, str]:
    """Make one call with bad input; return what it came to, and the arguments as text."""
    target = make()
    given, text, meanwhile = fill(r, target)
    before = snapshot(target.watched)
    copies = [(array, array.tobytes(), array.shape) for array in arrays(given)]
    outcome = Outcome("result", "", "")
    with warnings.catch_warnings(), meanwhile:
        warnings.simplefilter("ignore")
        try:
            _use(target.function(**given))
        except Exception as error:
            outcome = judge(name, target, error)
    failure = outcome.failure
    # A callback that raises does so when some updates have been made.
    if not failure and not (target.changes and outcome.name in ("result", "planted")):
        if snapshot(target.watched) != before:
            failure = "changed parameters"
        elif any(array.tobytes() != old for array, old, _ in copies) and not target.changes:
            failure = "changed an argument"
    if not failure and outcome.name != "result" and r.randrange(8) == 0 and not target.loose:
        failure = still_works(make, target)
    return outcome._replace(failure=failure), text


def still_works(make: Callable[[], Target], target: Target) -> str:
    """Return what is wrong with a valid call after an error; empty if nothing is."""
    if "__getitem__" in getattr(target.function, "__name__", "") or not target.watched:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _use(target.function(**make().arguments))
    except Exception as error:
        own = "has no parameter" in str(error) or "saved for" in str(error)
        return "" if own else f"a valid call fails afterwards: {error!r}"[:300]
    return ""


def valid(target: Target) -> str:
    """Make a valid call; return the sentence of its exception, or nothing."""
    try:
        _use(target.function(**target.arguments))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _use(result: Any) -> None:
    """Read what a call returns lazily."""
    if isinstance(result, Iterator):
        collections.deque(result, maxlen=0)


def judge(name: str, target: Target, error: Exception) -> Outcome:
    """Return whether an exception is allowed, and its sentence if the package did not raise it."""
    kind = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if f.filename.startswith(PACKAGE)), frames[-1])
    where = f"{last.filename.removeprefix(PACKAGE)}:{last.lineno}"
    if _planted(error):
        return Outcome("planted", "", "", where)
    if target.loose:
        return Outcome(kind, "", "", where)
    failure = ""
    allowed = isinstance(error, ALWAYS) and not isinstance(error, NEVER)
    if not allowed and kind not in _documented(name):
        failure = f"{kind} is not allowed"
    if not str(error) and not isinstance(error, MemoryError):
        failure = failure or f"{kind} without a sentence"
    unclear = "" if _is_own(frames[-1], error) else f"{kind}: {str(error)[:200]}"
    return Outcome(kind, failure, unclear, where)


def _planted(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, values.Planted):
            return True
        seen = seen.__cause__ or seen.__context__
    return "planted" in str(error).lower()


@functools.cache
def _documented(name: str) -> str:
    from tests.fuzz.targets import public_callables

    return inspect.getdoc(public_callables()[name]) or ""


@functools.cache
def _raising_lines(filename: str) -> frozenset[int]:
    tree = ast.parse("".join(linecache.getlines(filename)))
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return frozenset(found)


def _is_own(frame: traceback.FrameSummary, error: BaseException) -> bool:
    """Return whether a `raise` of the package, or a kernel, has raised an exception."""
    if isinstance(error, (MemoryError, OSError)):
        return True
    text = str(error)
    if "required positional argument" in text or "required keyword-only argument" in text:
        return True
    if "unexpected keyword argument" in text:  # Python's own sentence about the call
        return True
    line = frame.line or ""
    if not frame.filename.startswith(PACKAGE):
        return "/sklearn/" in frame.filename or not frame.filename.startswith("/")
    if frame.lineno in _raising_lines(frame.filename):
        return True
    kernel = "kernel" in line or "function(*arguments)" in line
    return kernel and "incompatible function arguments" not in text
