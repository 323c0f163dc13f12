"""What a forward pass leaves behind: its output, and all that backward needs.

Shapes: B batch, T steps, I input_size, H hidden_size, D output_size: 2H for a bidirectional layer
with merge="concat", else H. With ``time_major=True`` every (B, T, ..) below is (T, B, ..).
"""

from __future__ import annotations

from typing import Any, Generic, Protocol

from numpy.typing import NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt.nn.cells import Cell
from bptt.nn.module import Gradients, Layout, StepGradients
from bptt.nn.state import StateT, as_state


class _Layer(Protocol):
    """What a run reads of its layer."""

    num_layers: int
    bidirectional: bool
    dropout: float
    _layout: Layout

    @property
    def cell(self) -> Cell: ...


class Run(Generic[StateT]):
    """A forward pass of a recurrent layer, ready to go backward.

    Everything in it belongs to the moment of `forward`: if the layer's parameters change before
    `backward`, the gradients are still those at the parameters of the forward pass. With
    ``recompute_every``, each of `backward`, `gates` and `cells` runs forward once more.

    Attributes
    ----------
    output : array (B, T, output_size), read-only
    state : array, or LSTMState, (num_layers*directions, B, hidden_size)
        State after each sequence's own last step.
    """

    output: FloatArray
    state: StateT

    def __init__(
        self,
        layer: _Layer,
        kept: tuple[Any, Any, NDArray[Any]],
        output: FloatArray,
        state: StateT,
    ) -> None:
        output.flags.writeable = False  # backward reads it again
        self.output = output
        self.state = state
        self._layer = layer
        self._kept: tuple[Any, Any, NDArray[Any]] | None = kept  # network, saved, x

    def backward(
        self,
        d_output: FloatArray | None = None,
        d_state: StateT | None = None,
        *,
        steps: bool = False,
        input: bool = True,
        retain: bool = False,
    ) -> Gradients:
        """Backpropagate through time, exactly.

        dL/dW = Σ_t Σ_k dL_t/ds_t · ds_t/ds_k · ∂⁺s_k/∂W, and in the same way for every parameter,
        the input and the initial state: P. Werbos (1990), Backpropagation through time.

        Parameters
        ----------
        d_output : array (B, T, output_size), optional
            Gradient of the loss with respect to the output. What it says beyond a sequence's
            length is not read.
        d_state : array, or LSTMState, (num_layers*directions, B, hidden_size), optional
            Gradient with respect to the final state.
        steps : bool
            Whether to also return the total gradients of every step's state.
        input : bool
            Whether to compute the gradient of the input: without it, training is faster.
        retain : bool
            Whether to keep what forward kept, so that `backward` can be called again.

        Returns
        -------
        Gradients
            Those of the parameters by name, ``.input``, ``.state`` and, on request, ``.steps``.

        Raises
        ------
        TypeError
            If an argument is not an array, or not of the layer's dtype.
        ValueError
            If a shape does not fit, or there is neither `d_output` nor `d_state`.
        RuntimeError
            If what forward kept has been released.
        """
        network, saved, x = self._use("backward")
        steps, retain = checks.flag("steps", steps), checks.flag("retain", retain)
        input = checks.flag("input", input)
        if d_output is None and d_state is None:
            raise ValueError("backward needs d_output, d_state or both, got neither")
        d_input, d_h, d_c, flat, hidden_steps, cell_steps = loader.kernels.backward(
            network, saved, x, self.output, d_output, d_state, steps, input
        )
        if not retain:
            self.release()
        return Gradients(
            self._layer._layout,
            flat,
            input=d_input,
            state=as_state(d_h, d_c),
            steps=None if hidden_steps is None else StepGradients(hidden_steps, cell_steps),
        )

    def gates(self, layer: int = 0, reverse: bool = False) -> dict[str, FloatArray]:
        """Return the gates of one layer and direction at every step.

        Returns
        -------
        dict of str to array (B, T, hidden_size)
            LSTM: input, forget, cell, output. GRU: reset, update, candidate. RNN: none.

        Raises
        ------
        ValueError
            If there is no such layer or direction.
        RuntimeError
            If what forward kept has been released.
        """
        kept = self._of_layer("gates", layer, reverse)
        names = self._layer.cell.saved_gates
        if not names:
            return {}
        columns = loader.kernels.gates(*kept, layer, reverse)  # and what backward needs besides
        return dict(zip(names, columns, strict=False))

    def cells(self, layer: int = 0, reverse: bool = False) -> FloatArray:
        """Return the cell state c_t of one layer and direction at every step, (B, T, hidden_size).

        Raises
        ------
        ValueError
            If the layer is not an LSTM, or there is no such layer or direction.
        RuntimeError
            If what forward kept has been released.
        """
        if not self._layer.cell.has_cell_state:
            raise ValueError(f"cells needs an LSTM, got {self._layer}")
        return loader.kernels.cells(*self._of_layer("cells", layer, reverse), layer, reverse)

    def dropout_mask(self, layer: int = 0) -> FloatArray:
        """Return what the output of `layer` was multiplied with, (B, T, output_size).

        Each element is 0 or 1/(1-dropout).

        Raises
        ------
        ValueError
            If there is no dropout after `layer`: it is the last, or the layer was made without.
        RuntimeError
            If what forward kept has been released.
        """
        network, saved, _ = self._of_layer("dropout_mask", layer, False)
        if layer == self._layer.num_layers - 1 or not self._layer.dropout:
            raise ValueError(f"dropout_mask needs dropout after layer {layer} of {self._layer}")
        return loader.kernels.dropout_mask(network, saved, layer)

    def release(self) -> None:
        """Free what forward kept. `output` and `state` stay."""
        self._kept = None

    def _use(self, what: str) -> tuple[Any, Any, NDArray[Any]]:
        if self._kept is None:
            raise RuntimeError(
                f"{what} needs what forward kept, and this run has released it: "
                "call backward(..., retain=True) to use it again"
            )
        return self._kept

    def _of_layer(self, what: str, layer: int, reverse: bool) -> tuple[Any, Any, NDArray[Any]]:
        """Return what forward kept, if there is such a layer and direction."""
        kept = self._use(what)
        count = self._layer.num_layers
        if checks.integer("layer", layer, 0) >= count:
            raise ValueError(f"layer must be in [0, num_layers) = [0, {count}), got {layer}")
        if checks.flag("reverse", reverse) and not self._layer.bidirectional:
            raise ValueError("reverse=True needs a bidirectional layer")
        return kept
