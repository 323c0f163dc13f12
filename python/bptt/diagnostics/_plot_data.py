"""Attributes of the results that the plots read."""

from __future__ import annotations

from typing import Any, Protocol

from bptt._core.checks import FloatArray
from bptt.diagnostics.verdict import Verdict


class FlowData(Protocol):
    """Those of `GradientFlow`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Layers and directions."""

    @property
    def remaining(self) -> tuple[FloatArray, ...]:
        """(n+1,) each."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Verdicts on `remaining`."""

    @property
    def verdict(self) -> Verdict:
        """Verdict on the layer in which the gradient changes most."""


class JacobianData(Protocol):
    """Those of `JacobianProducts`."""

    @property
    def norms(self) -> FloatArray:
        """(T+1,)."""

    @property
    def bound(self) -> FloatArray | None:
        """(T+1,), or None."""

    @property
    def verdict(self) -> Verdict:
        """Verdict on the whole product."""


class ContributionData(Protocol):
    """Those of `Contributions`."""

    @property
    def states(self) -> FloatArray:
        """(T, T)."""

    @property
    def weights(self) -> FloatArray:
        """(T, T)."""


class GateData(Protocol):
    """Those of `GateTrace`."""

    @property
    def layer(self) -> int:
        """Index of the layer."""

    @property
    def reverse(self) -> bool:
        """Whether the direction is reverse."""

    @property
    def bidirectional(self) -> bool:
        """Whether the layer has two directions."""

    @property
    def gates(self) -> dict[str, FloatArray]:
        """Name -> (T, H)."""

    @property
    def tokens(self) -> tuple[Any, ...] | None:
        """(T,), or None."""


class SaliencyData(Protocol):
    """Those of `Saliency`."""

    @property
    def norms(self) -> FloatArray:
        """(T,)."""

    @property
    def output(self) -> Any:
        """Number or name of the output."""

    @property
    def step(self) -> int | None:
        """Step of the output, from 0."""

    @property
    def tokens(self) -> tuple[Any, ...] | None:
        """(T,), or None."""
