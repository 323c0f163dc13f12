"""The (t, k) map: how much the loss at step t teaches the state at step k."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.diagnostics import plots
from bptt.diagnostics._float64 import LossFunction, check_recurrent, gradient_of
from bptt.diagnostics._single_steps import Walk
from bptt.diagnostics.jacobians import step_jacobians
from bptt.nn.recurrent import Recurrent
from bptt.nn.run import Run
from bptt.nn.state import State

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Contributions:
    """The terms of dL/dW = Σ_t Σ_k ∂L_t/∂s_t · ∂s_t/∂s_k · ∂⁺s_k/∂W.

    t and k count steps from 0, as the rows of the output do; the state of an LSTM is (h, c), as
    independent parts. ∂⁺ is the immediate derivative: W moves in step k only.
    """

    states: FloatArray
    """(T, T): ``states[t, k]`` is ‖∂L_t/∂s_k‖; 0 for k > t."""
    weights: FloatArray
    """(T, T): ``weights[t, k]`` is the Frobenius norm of the term (t, k); 0 for k > t."""
    total: FloatArray
    """(G*H, H): the sum of all terms, which is the gradient of ``weight_hh``."""
    _walk: Walk = field(repr=False)
    _jacobians: FloatArray = field(repr=False)  # (T, S, S)
    _d_states: FloatArray = field(repr=False)  # (T, S): ∂L_t/∂s_t

    def of(self, t: int, k: int) -> FloatArray:
        """Return the term (t, k), a matrix of the shape of ``weight_hh``, for 0 <= k <= t < T.

        Raises
        ------
        ValueError
            If k and t are not so.
        """
        count = len(self.states)
        if not checks.integer("k", k, 0) <= checks.integer("t", t, 0) < count:
            raise ValueError(f"0 <= k <= t < T = {count} must hold, got k = {k} and t = {t}")
        gradient = self._d_states[t]
        for step in self._jacobians[k + 1 : t + 1][::-1]:
            gradient = gradient @ step
        run = self._walk.forward(np.array([k]))
        return _immediate(self._walk, run, gradient)

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
    layer: Recurrent[Any], x: NDArray[np.generic], loss_of: LossFunction, *, state: State = None
) -> Contributions:
    """Return how much every step's loss learns from every step before.

    Takes T²/2 calls of backward for one step each: some seconds for T = 200.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        With one layer and one direction.
    x : float array (T, input_size), or integer array (T,)
        One sequence.
    loss_of : function
        From the output (1, T, H), in the layer's dtype, to the loss and its gradient: what the
        losses of this package return. Row t of the gradient is that of L_t.
    state : array, or LSTMState, (1, 1, H), optional
        Initial state. Zero by default: then W does nothing at step 0, and learns nothing there.

    Returns
    -------
    Contributions

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, or has a value out of its range.

    Examples
    --------
    >>> def loss_of(h):
    ...     scores = head.forward(h)  # a Linear
    ...     loss = softmax_cross_entropy(scores.output, targets)
    ...     return loss.value, scores.backward(loss.gradient).input
    >>> contributions(layer, x, loss_of).plot()
    """
    check_recurrent("layer", layer)
    if layer.num_layers > 1 or layer.bidirectional:
        rule = "num_layers=1 and bidirectional=False"
        raise ValueError(f"contributions needs a layer with {rule}, got {layer}")
    walk = Walk.of(layer, x, state)
    count, size = len(walk), walk.states.shape[1]
    d_states = np.zeros((count, size))
    output = walk.states[np.newaxis, 1:, : layer.hidden_size]
    d_states[:, : layer.hidden_size] = gradient_of(loss_of, output, layer.dtype)[0]
    jacobians = step_jacobians(walk)
    states, weights = np.zeros((count, count)), np.zeros((count, count))
    total = np.zeros(walk.layer["weight_hh_l0"].shape)
    d = np.zeros((0, size))  # row i: ∂L_t/∂s_k with t = k + i
    for k in range(count - 1, -1, -1):
        d = d @ jacobians[k + 1] if len(d) else d
        d = np.concatenate([d_states[k : k + 1], d])
        states[k:, k] = np.linalg.norm(d, axis=1)
        run = walk.forward(np.array([k]))
        for t in range(k, count):
            term = _immediate(walk, run, d[t - k])
            weights[t, k] = np.linalg.norm(term)
            total += term
    return Contributions(states, weights, total, walk, jacobians, d_states)


def _immediate(walk: Walk, run: Run[Any], gradient: FloatArray) -> FloatArray:
    """Return gradient · ∂⁺s_k/∂W, for one step that has been run."""
    d_state = walk.split(gradient[np.newaxis])
    return run.backward(d_state=d_state, input=False, retain=True)["weight_hh_l0"]
