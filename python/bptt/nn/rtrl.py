"""Real-time recurrent learning: gradients that are carried forward in time, step by step.

Shapes: H hidden_size, S size of the state, in all of its arrays, A number of these arrays, N number
of parameters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.losses import Loss
from bptt.nn.module import Gradients, output_gradient
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import State, arrays_of, as_state, check_state, join_states, split_states


class RTRL:
    """Real-time recurrent learning (RTRL): exact gradients of a sequence without its past.

    The influence of the parameters θ on the state is carried along,

    ds_t/dθ = ∂s_t/∂s_{t-1} · ds_{t-1}/dθ + ∂⁺s_t/∂θ,

    so that the gradient of the loss at a step is known at that step, and no earlier step is stored:
    R. Williams and D. Zipser (1989), A learning algorithm for continually running fully recurrent
    neural networks. While the parameters stay as they are, the gradients of all steps sum to those
    of backpropagation through time. A step takes time O(S²·N), H⁴ for an RNN, and memory O(S·N), of
    any number of steps: it is for small layers.

    With ``approximation="diagonal"`` a parameter acts on the state of its own unit alone, as if
    between units ∂s_t/∂s_{t-1} were 0; an LSTM's h and c of a unit act on each other. It is exact
    if the recurrent weights are diagonal, else biased, and takes memory O(A·N), and time O(H³) for
    ∂s_t/∂s_{t-1}. J. Menick et al. (2021), Practical real time recurrent learning with a sparse
    approximation, where it is called SnAp-1.

    Parameters
    ----------
    layer : Recurrent
        One layer in one direction, without zoneout and recurrent dropout.
    approximation : {"diagonal"}, optional
        None, the default, for the exact influence. "diagonal" needs a cell in which parameters of a
        unit act on that unit alone within a step: an RNN, LSTM or SLSTM without layer normalization
        and projection, or a GRU with ``reset_after=True``.
    state : array, LSTMState or SLSTMState, (1, 1, hidden_size), optional
        Initial state. By default zero, or the learned one.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the layer or the approximation is not one of the above, or a shape does not fit.

    Notes
    -----
    If parameters change between steps, as in online learning, the influence is the sum of terms of
    the parameters at each of these steps, which is close to the influence as long as they change
    slowly.

    The derivatives of a step are those of `Run.backward` over one step; no equation of a cell is
    repeated.

    Examples
    --------
    >>> import numpy as np
    >>> from bptt import RNN
    >>> from bptt.nn import RTRL
    >>> rtrl = RTRL(RNN(3, 8, seed=0))
    >>> for x_t in np.ones((5, 1, 3), np.float32):
    ...     y_t = rtrl.step(x_t)
    ...     gradients = rtrl.gradients(y_t)  # of the loss ‖y_t‖²/2
    >>> gradients["weight_hh_l0"].shape
    (8, 8)
    """

    def __init__(
        self, layer: Recurrent[Any], *, approximation: str | None = None, state: State = None
    ) -> None:
        self._layer = checks.instance("layer", layer, Recurrent)
        if approximation is not None:
            approximation = checks.one_of("diagonal")("approximation", approximation)
        self._diagonal = approximation is not None
        self._mixes = layer.cell.mixes_units or layer.state_sizes[0] < layer.hidden_size
        self._check_layer()
        self._cotangents = self._unit_cotangents()
        self._units = _units_of_parameters(layer)
        self.reset(state)

    def _check_layer(self) -> None:
        layer = self._layer
        rule = {"num_layers": 1, "bidirectional": False, "reverse": False}
        for name, value in {**rule, "zoneout": 0, "recurrent_dropout": 0}.items():
            if getattr(layer, name) != value:
                raise ValueError(f"layer must have {name}={value}, got {layer}")
        if self._diagonal and self._mixes:
            cure = ": use reset_after=True" if layer.cell.name == "gru" else ""
            raise ValueError(
                "approximation='diagonal' needs a cell in which parameters of a unit act on that "
                f"unit alone within a step, got {layer}{cure}"
            )

    def reset(self, state: State = None) -> None:
        """Begin a new sequence: no parameter has acted on the state yet.

        Parameters
        ----------
        state : array, LSTMState or SLSTMState, (1, 1, hidden_size), optional
            Initial state. By default zero, or the learned one.

        Raises
        ------
        TypeError, ValueError
            If the state has the wrong type, dtype or shape. Nothing has changed then.
        """
        layer = self._layer
        initial = layer._initial_state(1)
        check_state("state", state, initial)
        learned = layer._learned_size if state is None else 0
        sizes, hidden, parameters = layer.state_sizes, layer.hidden_size, layer._layout.size
        rows = len(sizes) if self._diagonal else sum(sizes)
        influence = np.zeros((rows, parameters), layer.dtype)
        components = np.arange(learned)  # the state begins with what is learned, in the same order
        influence[
            components // hidden if self._diagonal else components,
            parameters - sum(layer._decay_sizes) - learned + components,
        ] = 1.0
        self._state = as_state(*map(np.copy, arrays_of(initial if state is None else state)))
        self._influence = influence

    @property
    def state(self) -> State:
        """State after the last step, (1, 1, hidden_size) each array; read it, do not change it."""
        return self._state

    @property
    def influence(self) -> FloatArray:
        """The influence ds_t/dθ of all parameters, as they follow each other, after the last step.

        (S, N); with ``approximation="diagonal"`` (A, N): row a is the influence of every parameter
        on array a of the state of its unit. Read it, do not change it.
        """
        return self._influence

    def step(self, x_t: NDArray[Any]) -> FloatArray:
        """Run one time step, and carry the influence along.

        Parameters
        ----------
        x_t : array (1, input_size), or integer array (1,)
            Input of the step, or a token id.

        Returns
        -------
        array (1, output_size)
            Output of the step.

        Raises
        ------
        TypeError, ValueError
            If the input has the wrong type, dtype or shape. Nothing has changed then.
        """
        layer, state = self._layer, self._state
        checks.numpy_array("x_t", x_t, layer=True)
        axes = 1 if x_t.dtype.kind in "iu" else 2
        if x_t.ndim != axes or len(x_t) != 1:
            rule = "(1, input_size), or (1,) of token ids"
            raise ValueError(f"x_t must have shape {rule}, got {x_t.shape}")
        rows = 1 if self._mixes else layer.hidden_size
        before = as_state(*(part.repeat(rows, axis=1) for part in arrays_of(state)))
        time = 0 if layer.time_major else 1
        run = layer.forward(np.expand_dims(x_t.repeat(rows, axis=0), time), state=before)
        self._influence = self._carried(run)
        self._state = as_state(*(part[:, :1].copy() for part in arrays_of(run.state)))
        output: FloatArray = run.output.reshape(rows, -1)[:1].copy()
        return output

    def gradients(self, d_output: FloatArray | Loss) -> Gradients:
        """Return the gradients of the loss at the current step.

        Parameters
        ----------
        d_output : array (1, output_size) or Loss
            Gradient of the loss with respect to the output of the last `step`, or the loss with its
            gradient.

        Returns
        -------
        Gradients
            Gradients of the parameters by name; ``.input`` and ``.state`` are None.

        Raises
        ------
        TypeError
            If the gradient is not an array of the layer's dtype.
        ValueError
            If its shape is not that of the output.
        """
        layer = self._layer
        d = checks.array("d_output", output_gradient(d_output), layer.dtype)
        checks.same_shape("d_output", d, "the output", (1, layer.output_size))
        if self._diagonal:
            flat: FloatArray = d[0][self._units] * self._influence[0]
        else:
            flat = d[0] @ self._influence[: layer.output_size]
        return Gradients(layer._layout, flat, None)

    def _arrays(self) -> dict[str, FloatArray]:
        """Return state and influence, which later steps depend on."""
        parts = {f"state_{i}": part for i, part in enumerate(arrays_of(self._state))}
        return {**parts, "influence": self._influence}

    def _restore(self, given: dict[str, FloatArray]) -> None:
        """Take what `_arrays` returned."""
        own = self._arrays()
        checks.like("recurrence", given, own)
        for name, array in own.items():
            array[...] = given[name]

    def _carried(self, run: Any) -> FloatArray:
        """Return the influence after a step: ∂s_t/∂s_{t-1} · ds_{t-1}/dθ + ∂⁺s_t/∂θ."""
        jacobian, direct = [], []
        for cotangent in self._cotangents:
            gradients = run.backward(d_state=cotangent, input=False, retain=True)
            jacobian.append(join_states(gradients.state))
            direct.append(gradients._flat)
        transition, size = np.concatenate(jacobian), self._layer.hidden_size
        if self._mixes:
            influence: FloatArray = transition @ self._influence
            influence += direct
            return influence
        arrays = len(direct)
        if self._diagonal:
            blocks = transition.reshape(arrays, size, arrays, size)
            own = np.einsum("akbk->abk", blocks)[:, :, self._units]
            influence = np.einsum("abn,bn->an", own, self._influence, order="C")
            influence += direct
            return influence
        influence = transition @ self._influence
        parameters = np.arange(len(self._units))
        for a, values in enumerate(direct):
            influence[a * size + self._units, parameters] += values
        return influence

    def _unit_cotangents(self) -> list[State]:
        """Return the rows of the identity (S, S) as states, one list item for each backward pass.

        Gradients of parameters are summed over the rows of a pass. If parameters act on their own
        unit alone, all units of an array of the state share a pass, and each has its own terms.
        """
        sizes = self._layer.state_sizes
        identity = np.eye(sum(sizes), dtype=self._layer.dtype)
        rows = 1 if self._mixes else sizes[0]
        return [
            split_states(identity[first : first + rows], sizes)
            for first in range(0, len(identity), rows)
        ]


def _units_of_parameters(layer: Recurrent[Any]) -> NDArray[np.intp]:
    """Return the unit of every parameter (N,): its row of the block of rows of its gate."""
    return np.concatenate(
        [
            np.repeat(np.arange(len(array)) % layer.hidden_size, array.size // len(array))
            for array in layer.parameters.values()
        ]
    )
