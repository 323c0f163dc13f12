"""Temporal contributions: terms (t, k) of the gradient of the recurrent weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics import plots
from bptt.diagnostics._float64 import LossFunction, check_recurrent, loss_gradient
from bptt.diagnostics._trajectory import Trajectory
from bptt.diagnostics.jacobians import step_jacobians
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.recurrent_run import Run
from bptt.nn.state import State

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Contributions:
    """Terms of dL/dW = Σ_t Σ_k ∂L_t/∂s_t · ∂s_t/∂s_k · ∂⁺s_k/∂W.

    t and k count steps from 0, like the rows of the output. The state of an LSTM is (h, c), that of
    an SLSTM (h, c, n, m), treated as independent variables. ∂⁺ is the immediate derivative: W
    varies at step k only.
    """

    states: FloatArray
    """(T, T): ``states[t, k]`` is ‖∂L_t/∂s_k‖; 0 for k > t."""
    weights: FloatArray
    """(T, T): ``weights[t, k]`` is the Frobenius norm of the term (t, k); 0 for k > t."""
    total: FloatArray
    """(G*H, H), or (G*H, P) if h is projected: sum of all terms, the gradient of ``weight_hh``."""
    _trajectory: Trajectory = field(repr=False)
    _jacobians: FloatArray = field(repr=False)  # (T, S, S)
    _d_states: FloatArray = field(repr=False)  # (T, S): ∂L_t/∂s_t

    def term(self, t: int, k: int) -> FloatArray:
        """Return one term of the gradient.

        Parameters
        ----------
        t, k : int
            Step of the loss and step of the state, 0 <= k <= t < T.

        Returns
        -------
        array (G*H, H), or (G*H, P) if h is projected

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer or out of range.
        """
        count = len(self.states)
        k, t = checks.integer("k", k, 0), checks.integer("t", t, 0)
        if not k <= t < count:
            k, t = checks.shown(k), checks.shown(t)  # type: ignore[assignment]
            raise ValueError(f"0 <= k <= t < T = {count} must hold, got k = {k} and t = {t}")
        gradient = self._d_states[t]
        for step in self._jacobians[k + 1 : t + 1][::-1]:
            gradient = gradient @ step
        run = self._trajectory.forward(np.array([k]))
        return _immediate_term(self._trajectory, run, gradient)

    def plot(self, ax: Axes | None = None, *, what: str = "weights") -> Axes:
        """Plot with `bptt.diagnostics.plots.plot_contributions`, whose parameters these are.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw into. By default those of a new figure.
        what : "weights" or "states"

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            If `what` is neither.
        """
        return plots.plot_contributions(self, ax, what=what)


def contributions(
    layer: Recurrent[Any], x: NDArray[np.generic], loss_fn: LossFunction, *, state: State = None
) -> Contributions:
    """Return the contribution of every pair of loss step and earlier state to the gradient of W.

    R. Pascanu, T. Mikolov and Y. Bengio (2013), On the difficulty of training recurrent neural
    networks: "temporal contributions". Runs T²/2 backward passes of one step: seconds for T = 200.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        A single layer that reads from the first step to the last.
    x : float array (T, input_size), or integer array (T,)
        One sequence.
    loss_fn : function
        Maps the output (1, T, H), in the layer's dtype, to a pair (loss, gradient), as the losses
        of this package do. Row t of the gradient belongs to L_t.
    state : array, LSTMState or SLSTMState, (1, 1, H), optional
        Initial state. Zero by default; the immediate derivative at step 0 is then zero.

    Returns
    -------
    Contributions

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range.

    Examples
    --------
    >>> def loss_fn(h):
    ...     scores = head.forward(h)  # a Linear
    ...     loss = softmax_cross_entropy(scores.output, targets)
    ...     return loss.value, scores.backward(loss.gradient).input
    >>> contributions(layer, x, loss_fn).plot()
    """
    check_recurrent("layer", layer)
    if layer.num_layers > 1 or layer.bidirectional or layer.reverse:
        rule = "num_layers=1, bidirectional=False and reverse=False"
        raise ValueError(f"contributions needs a layer with {rule}, got {layer}")
    trajectory = Trajectory.of(layer, x, state)
    count, size = len(trajectory), trajectory.states.shape[1]
    d_states = np.zeros((count, size))
    output = trajectory.states[np.newaxis, 1:, : layer.output_size]
    d_states[:, : layer.output_size] = loss_gradient(loss_fn, output, layer.dtype)[0]
    jacobians = step_jacobians(trajectory)
    states, weights = np.zeros((count, count)), np.zeros((count, count))
    total = np.zeros(trajectory.layer["weight_hh_l0"].shape)
    d = np.zeros((0, size))  # row i: ∂L_t/∂s_k with t = k + i
    for k in range(count - 1, -1, -1):
        d = d @ jacobians[k + 1] if len(d) else d
        d = np.concatenate([d_states[k : k + 1], d])
        states[k:, k] = np.linalg.norm(d, axis=1)
        run = trajectory.forward(np.array([k]))
        for t in range(k, count):
            term = _immediate_term(trajectory, run, d[t - k])
            weights[t, k] = np.linalg.norm(term)
            total += term
    return Contributions(states, weights, total, trajectory, jacobians, d_states)


def _immediate_term(trajectory: Trajectory, run: Run[Any], gradient: FloatArray) -> FloatArray:
    """Return gradient · ∂⁺s_k/∂W from the forward pass of step k."""
    d_state = trajectory.split_states(gradient[np.newaxis])
    return run.backward(d_state=d_state, input=False, retain=True)["weight_hh_l0"]
