"""Types of command-line arguments."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable

_MIN_INCHES, _MAX_INCHES = 1.0, 50.0  # of a figure


def positive_integer(text: str) -> int:
    """Parse an integer >= 1."""
    return _integer(text, 1)


def seed(text: str) -> int:
    """Parse an integer >= 0."""
    return _integer(text, 0)


def learning_rate(text: str) -> float:
    """Parse a number in (0, 1]: Adam moves every weight by about the learning rate per update."""
    return _number(text, lambda value: 0.0 < value <= 1.0, "in (0, 1]")


def positive_number(text: str) -> float:
    """Parse a number > 0."""
    return _number(text, lambda value: 0.0 < value < math.inf, "> 0")


def fraction(text: str) -> float:
    """Parse a number in [0, 1)."""
    return _number(text, lambda value: 0.0 <= value < 1.0, "in [0, 1)")


def probability(text: str) -> float:
    """Parse a number in (0, 1]."""
    return _number(text, lambda value: 0.0 < value <= 1.0, "in (0, 1]")


def class_weight(text: str) -> str | dict[str, float]:
    """Parse "balanced", or weights of labels such as O=0.2,X=3."""
    if text == "balanced":
        return text
    weights = {}
    for part in text.split(","):
        label, equals, number = part.rpartition("=")
        if not equals or not label:
            raise ArgumentTypeError(f"must be balanced, or LABEL=WEIGHT,.., got {text!r}")
        weights[label] = positive_number(number)
    return weights


def figure_size(text: str) -> tuple[float, float]:
    """Parse width x height of a figure in inches, such as 3.4x2.6."""
    parts = text.lower().replace("×", "x").split("x")
    try:
        width, height = map(float, parts)
    except ValueError:
        width = height = 0.0
    if not (_MIN_INCHES <= width <= _MAX_INCHES and _MIN_INCHES <= height <= _MAX_INCHES):
        raise ArgumentTypeError(
            f"must be WIDTHxHEIGHT in inches, {_MIN_INCHES:g} to {_MAX_INCHES:g} each, such as "
            f"3.4x2.6, got {text!r}"
        )
    return width, height


def _number(text: str, is_valid: Callable[[float], bool], rule: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not is_valid(value):
        raise ArgumentTypeError(f"must be a number {rule}, got {text!r}")
    return value


def _integer(text: str, minimum: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = minimum - 1
    if value < minimum:
        raise ArgumentTypeError(f"must be an integer >= {minimum}, got {text!r}")
    return value
