"""Losses of the regressor: what its outputs are, and the quantiles that they predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt._distribution_losses import check_quantiles, gaussian_nll, pinball_loss
from bptt.losses import Loss, mean_squared_error

LOSSES = ("squared_error", "quantile", "gaussian")
DEFAULT_QUANTILES = (0.1, 0.5, 0.9)
_SAME = 1e-9  # difference of levels that are rounded differently


class RegressionLoss(Protocol):
    """Loss of K targets, and the meaning of the outputs of the network."""

    @property
    def per_target(self) -> int:
        """Number of outputs for each target."""

    def __call__(
        self, output: FloatArray, targets: FloatArray, weights: NDArray[np.float64] | None
    ) -> Loss:
        """Return the mean loss of outputs (.., K * per_target)."""

    def point(self, output: FloatArray) -> FloatArray:
        """Return the prediction (.., K)."""

    def quantile(self, output: FloatArray, level: float) -> FloatArray:
        """Return a quantile (.., K)."""

    def describe(self) -> str:
        """Return what is predicted, for the log."""


@dataclass(frozen=True)
class SquaredError:
    """Mean squared error: the outputs are the means of the targets."""

    per_target: ClassVar[int] = 1

    def __call__(
        self, output: FloatArray, targets: FloatArray, weights: NDArray[np.float64] | None
    ) -> Loss:
        """Return the mean loss."""
        return mean_squared_error(output, targets, weights=weights, reduction="mean")

    def point(self, output: FloatArray) -> FloatArray:
        """Return the outputs."""
        return output

    def quantile(self, output: FloatArray, level: float) -> FloatArray:
        """Raise an error: means have no quantiles."""
        raise ValueError("quantiles need loss='quantile' or loss='gaussian', got 'squared_error'")

    def describe(self) -> str:
        """Return nothing."""
        return ""


@dataclass(frozen=True)
class Quantiles:
    """Pinball loss: the outputs are quantiles of every target.

    Quantiles that cross are sorted: V. Chernozhukov, I. Fernández-Val and A. Galichon (2010),
    Quantile and probability curves without crossing.
    """

    levels: tuple[float, ...]

    @property
    def per_target(self) -> int:
        """Number of levels."""
        return len(self.levels)

    def __call__(
        self, output: FloatArray, targets: FloatArray, weights: NDArray[np.float64] | None
    ) -> Loss:
        """Return the mean loss."""
        return pinball_loss(output, targets, self.levels, weights=weights, reduction="mean")

    def point(self, output: FloatArray) -> FloatArray:
        """Return the medians."""
        return self.quantile(output, 0.5)

    def quantile(self, output: FloatArray, level: float) -> FloatArray:
        """Return the quantile of one of the levels."""
        found = [i for i, known in enumerate(self.levels) if abs(known - level) < _SAME]
        if not found:
            known = ", ".join(f"{one:g}" for one in self.levels)
            raise ValueError(f"quantiles must be among those in fit, {known}, got {level:g}")
        by_target = output.reshape(*output.shape[:-1], -1, len(self.levels))
        chosen: FloatArray = np.sort(by_target, axis=-1)[..., found[0]]
        return chosen

    def describe(self) -> str:
        """Return the levels."""
        return f", quantiles {', '.join(f'{level:g}' for level in self.levels)}"


@dataclass(frozen=True)
class Gaussian:
    """Negative log-likelihood of normal distributions: means, and logarithms of variances."""

    per_target: ClassVar[int] = 2

    def __call__(
        self, output: FloatArray, targets: FloatArray, weights: NDArray[np.float64] | None
    ) -> Loss:
        """Return the mean loss."""
        return gaussian_nll(output, targets, weights=weights, reduction="mean")

    def point(self, output: FloatArray) -> FloatArray:
        """Return the means."""
        return output[..., : output.shape[-1] // 2]

    def quantile(self, output: FloatArray, level: float) -> FloatArray:
        """Return a quantile of the normal distributions."""
        mean, log_variance = np.split(output, 2, axis=-1)
        distance = NormalDist().inv_cdf(level)
        found: FloatArray = mean + distance * np.exp(0.5 * log_variance)
        return found.astype(output.dtype)

    def describe(self) -> str:
        """Return the kind of distribution."""
        return ", mean and standard deviation"


def regression_loss(loss: Any, quantiles: Any) -> RegressionLoss:
    """Return the loss of these parameters of the regressor.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or an invalid value.
    """
    kind = checks.one_of(*LOSSES)("loss", loss)
    if kind != "quantile":
        if quantiles is not None:
            raise ValueError(f"quantiles needs loss='quantile', got loss={kind!r}")
        return SquaredError() if kind == "squared_error" else Gaussian()
    levels = tuple(check_quantiles(DEFAULT_QUANTILES if quantiles is None else quantiles))
    if not any(abs(level - 0.5) < _SAME for level in levels):
        raise ValueError(f"quantiles must have 0.5, which predict returns, got {quantiles}")
    return Quantiles(levels)


def levels_of(quantiles: Sequence[float] | None, loss: RegressionLoss) -> list[float]:
    """Return the levels of quantiles to predict; by default those of the loss."""
    if quantiles is None:
        return list(loss.levels if isinstance(loss, Quantiles) else DEFAULT_QUANTILES)
    return check_quantiles(quantiles)


def bounds_of(coverage: Any) -> list[float]:
    """Return the levels of the bounds of a central prediction interval.

    Raises
    ------
    TypeError, ValueError
        If `coverage` is not in (0, 1).
    """
    inside = checks.number("coverage", coverage)
    if not 0.0 < inside < 1.0:
        raise ValueError(f"coverage must be in (0, 1), got {coverage}")
    return [(1.0 - inside) / 2.0, (1.0 + inside) / 2.0]
