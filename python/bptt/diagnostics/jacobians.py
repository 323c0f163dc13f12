"""Jacobians of the state transitions, and their products ∂s_t/∂s_k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics import plots
from bptt.diagnostics._trajectory import Trajectory
from bptt.diagnostics.verdict import Verdict
from bptt.nn.activations import ACTIVATIONS
from bptt.nn.recurrent import RNN
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import State, join_states

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = 4096  # batch size of one backward pass


@dataclass(frozen=True, eq=False)
class JacobianProducts:
    """Jacobians of all steps of a sequence, and the norms of their products.

    s_0 is the initial state and s_t the state after step t, t = 1..T. The state of an LSTM is h and
    c concatenated, that of an SLSTM h, c, n and m, treated as independent variables.
    """

    steps: FloatArray
    """(T, S, S): ``steps[t-1]`` is ∂s_t/∂s_{t−1}."""
    norms: FloatArray
    """(T+1,): ‖∂s_T/∂s_k‖₂ for k = 0..T."""
    bound: FloatArray | None
    """(T+1,): (γλ)^(T−k) for an RNN; None for gated cells."""
    slope: float | None
    """γ, the largest slope of φ: 1/4 for sigmoid, otherwise 1; None for gated cells."""
    spectral_norm: float | None
    """λ = ‖W‖₂; None for gated cells."""
    verdict: Verdict
    """Verdict on ‖∂s_T/∂s_0‖₂."""

    def product(self, t: int, k: int) -> FloatArray:
        """Return ∂s_t/∂s_k.

        Parameters
        ----------
        t, k : int
            Indices of states, 0 <= k <= t <= T.

        Returns
        -------
        array (S, S)

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer or out of range.
        """
        last = len(self.steps)
        k, t = checks.integer("k", k, 0), checks.integer("t", t, 0)
        if not k <= t <= last:
            k, t = checks.shown(k), checks.shown(t)  # type: ignore[assignment]
            raise ValueError(f"0 <= k <= t <= T = {last} must hold, got k = {k} and t = {t}")
        product = np.eye(self.steps.shape[1])
        for step in self.steps[k:t]:
            product = step @ product
        return product

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot with `bptt.diagnostics.plots.plot_jacobians`, whose parameters these are.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw into. By default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return plots.plot_jacobians(self, ax)


def jacobian_products(
    layer: Recurrent[Any],
    x: NDArray[np.generic],
    *,
    state: State = None,
    level: int = 0,
    reverse: bool = False,
) -> JacobianProducts:
    """Return the exact Jacobians of every state of a sequence with respect to earlier states.

    ∂s_t/∂s_k = Π ∂s_j/∂s_{j−1} over j = k+1..t. For an RNN, each factor is diag(φ'(a_j)) W, so that
    ‖∂s_t/∂s_k‖₂ <= (γλ)^(t−k) with γ = max φ' and λ = ‖W‖₂: R. Pascanu, T. Mikolov and Y. Bengio
    (2013), On the difficulty of training recurrent neural networks.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
    x : float array (T, input_size), or integer array (T,)
        One sequence.
    state : array, LSTMState or SLSTMState, (num_layers*directions, 1, H), optional
        Initial state. Zero by default.
    level : int
        Index of the layer in the stack, from 0 at the input.
    reverse : bool
        Analyze the backward direction of a bidirectional layer: s_1 is then the state after the
        last step of x.

    Returns
    -------
    JacobianProducts
        It holds T·S² float64 numbers: 26 MB for an RNN with H = 128 over 200 steps.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range.
    """
    trajectory = Trajectory.of(layer, x, state, level, reverse)
    steps = step_jacobians(trajectory)
    logs = _log_norms(steps)
    bound = slope = spectral_norm = None
    if isinstance(layer, RNN):
        slope = ACTIVATIONS[layer.activation].slope
        spectral_norm = float(np.linalg.norm(trajectory.layer["weight_hh_l0"], 2))
    with np.errstate(over="ignore"):
        norms = np.exp(logs)
        if slope is not None and spectral_norm is not None:
            bound = (slope * spectral_norm) ** np.arange(len(trajectory), -1.0, -1.0)
    return JacobianProducts(
        steps, norms, bound, slope, spectral_norm, Verdict.from_log_factors(logs[::-1])
    )


def step_jacobians(trajectory: Trajectory) -> FloatArray:
    """Return ∂s_t/∂s_{t−1} for t = 1..T, (T, S, S); row i is the gradient of s_t[i]."""
    count, size = len(trajectory), trajectory.states.shape[1]
    found = np.empty((count * size, size))
    for first in range(0, len(found), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(found)))
        basis = np.zeros((len(rows), size))
        basis[np.arange(len(rows)), rows % size] = 1.0
        run = trajectory.forward(rows // size)
        found[rows] = join_states(
            run.backward(d_state=trajectory.split_states(basis), input=False).state
        )
    return found.reshape(count, size, size)


def _log_norms(steps: FloatArray) -> FloatArray:
    """Return log ‖∂s_T/∂s_k‖₂ for k = 0..T, from a product that is rescaled at every step."""
    logs = np.zeros(len(steps) + 1)
    product, scale = np.eye(steps.shape[1]), 0.0
    for k in range(len(steps) - 1, -1, -1):
        product = product @ steps[k]
        size = float(np.linalg.norm(product, 2))
        if size == 0.0:
            logs[: k + 1] = -np.inf
            break
        product /= size
        scale += float(np.log(size))
        logs[k] = scale
    return logs
