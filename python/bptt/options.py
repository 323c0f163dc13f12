"""What the commands of ``python -m bptt`` share: kinds of arguments, and errors a user can mend."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError


class CommandError(Exception):
    """What the user can mend, in one sentence: it is printed, and the exit code is 2."""


def positive_integer(text: str) -> int:
    """Read an integer >= 1."""
    return _integer(text, 1)


def seed(text: str) -> int:
    """Read an integer >= 0."""
    return _integer(text, 0)


def learning_rate(text: str) -> float:
    """Read a number in (0, 1]: beyond, Adam moves every weight by more than 1 at a time."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value <= 1.0:
        raise ArgumentTypeError(f"must be a number in (0, 1], got {text!r}")
    return value


def _integer(text: str, minimum: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = minimum - 1
    if value < minimum:
        raise ArgumentTypeError(f"must be an integer >= {minimum}, got {text!r}")
    return value
