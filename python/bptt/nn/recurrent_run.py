"""Forward pass of a recurrent layer, and its backward pass.

Shapes: B batch, T steps, I input_size, H hidden_size, P size of h: proj_size of an LSTM that has
one, else H; D output_size: 2P for a bidirectional layer with merge="concat", else P. With
``time_major=True`` every (B, T, ..) below is (T, B, ..).
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks, loader
from bptt._core.checks import FloatArray
from bptt._core.memory import side_by_side
from bptt.losses import Loss
from bptt.nn.cells import Cell
from bptt.nn.module import Gradients, Layout, StepGradients, output_gradient
from bptt.nn.recurrent_decay import Decayed
from bptt.nn.recurrent_order import ReverseOrder
from bptt.nn.state import StateT, as_state

_Kept: TypeAlias = tuple[Any, Any, NDArray[Any]]  # network, saved values, x


class _Layer(Protocol):
    """The attributes of a recurrent layer that its run reads."""

    num_layers: int
    bidirectional: bool
    dropout: float
    zoneout: float
    recurrent_dropout: float
    learn_initial_state: bool
    _layout: Layout

    @property
    def cell(self) -> Cell: ...


class Run(Generic[StateT]):
    """Forward pass of a recurrent layer, as `Recurrent.forward` returns it.

    Gradients are taken at the parameters of the forward pass, even if the layer's parameters have
    changed since. With ``recompute_every``, `backward`, `gates` and `cells` each run the forward
    pass once more.

    Attributes
    ----------
    output : array (B, T, output_size), read-only
        Output of the last layer; 0 in the padding.
    state : array, LSTMState or SLSTMState, (num_layers*directions, B, hidden_size)
        Final state: after the last step of each sequence. With `proj_size`, h is
        (num_layers*directions, B, proj_size), here and in gradients.
    """

    output: FloatArray
    state: StateT

    def __init__(
        self,
        layer: _Layer,
        kept: _Kept,
        output: FloatArray,
        state: StateT,
        *,
        shared: tuple[bool, ...] = (),
        learned: bool = False,
        decayed: Decayed | None = None,
        order: ReverseOrder | None = None,
    ) -> None:
        self._order = order  # of the steps in all arrays that are kept, if it is not that of x
        output = self._ordered(output)
        output.flags.writeable = False  # backward reads it again
        self.output = output
        self.state = state
        self._layer = layer
        self._kept: _Kept | None = kept
        self._shared = shared  # which arrays of the initial state were one of all sequences
        self._learned = learned  # whether the initial state is the layer's
        self._decayed = decayed

    def backward(
        self,
        d_output: FloatArray | Loss | None = None,
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
        d_output : array (B, T, output_size) or Loss, optional
            Gradient of the loss with respect to the output, or the loss with its gradient. Padding
            is not read.
        d_state : array, LSTMState or SLSTMState, (num_layers*directions, B, hidden_size), optional
            Gradient of the loss with respect to the final state.
        steps : bool, default False
            Whether to return the gradients of the state at every step as well.
        input : bool, default True
            Whether to compute the gradient of the input; False is faster.
        retain : bool, default False
            Whether to keep the saved values, so that `backward` can be called again.

        Returns
        -------
        Gradients
            Gradients of the parameters by name, ``.input``, ``.state`` of the shape of the initial
            state that `forward` was given and, if requested, ``.steps``.

        Raises
        ------
        TypeError
            If an argument is not an array or does not have the layer's dtype.
        ValueError
            If a shape does not fit, or neither `d_output` nor `d_state` is given.
        RuntimeError
            If the saved values have been released.
        """
        network, saved, x = self._saved("backward")
        steps, retain = checks.flag("steps", steps), checks.flag("retain", retain)
        input = checks.flag("input", input)
        if d_output is None and d_state is None:
            raise ValueError("backward needs d_output, d_state or both, got neither")
        d, y = output_gradient(d_output), self._ordered(self.output)
        if isinstance(d, np.ndarray) and d.shape == y.shape:  # the kernels refuse others
            d = self._ordered(d)
        decayed = self._decayed
        try:
            d_input, d_states, flat, *d_steps, d_factors = loader.kernels.backward(
                network, saved, x, y, d, d_state, steps, input, self._factors
            )
        except TypeError as error:
            raise checks.with_cure(error) from None
        if not retain:
            self.release()
        flat = self._with_learned_state(flat, d_states)
        if decayed is not None and d_factors is not None:
            flat = side_by_side(flat, decayed.backward(d_factors, d_input))
        return Gradients(
            self._layer._layout,
            flat,
            input=self._ordered(d_input),
            state=self._of_initial(d_states),
            steps=StepGradients(*(self._ordered(d, 1) for d in d_steps)) if steps else None,
        )

    def _ordered(self, array: Any, before: int = 0) -> Any:
        """Return an array (B, T, ..), or None, with the steps in the other order, if there is one.

        `before` axes precede B.
        """
        order = self._order
        return array if order is None or array is None else order(array, before)

    def _of_initial(self, d_states: tuple[FloatArray, ...]) -> StateT:
        """Return the gradient of the initial state, in its shape, from those of the sequences."""
        parts = zip(d_states, self._shared or [False] * len(d_states), strict=True)
        state: StateT = as_state(*(d.sum(1, keepdims=True) if one else d for d, one in parts))
        return state

    def _with_learned_state(self, flat: FloatArray, d_initial: tuple[Any, ...]) -> FloatArray:
        """Append the gradients of the learned initial state, which all sequences share."""
        if not self._layer.learn_initial_state:
            return flat
        mapped = d_initial[: len(self._layer.cell.mapped_states)]
        learned = np.concatenate([d.sum(axis=1).ravel() for d in mapped])
        return side_by_side(flat, learned if self._learned else np.zeros_like(learned))

    def gates(self, layer: int = 0, reverse: bool = False) -> dict[str, FloatArray]:
        """Return the gates of one layer and direction at every step.

        Parameters
        ----------
        layer : int, default 0
            Index of the layer, from the input.
        reverse : bool, default False
            Whether to return the gates of the second direction.

        Returns
        -------
        dict of str to array (B, T, hidden_size)
            LSTM: input, forget, cell, output. GRU: reset, update, candidate. RNN: none. SLSTM: as
            LSTM, with input and forget the weights exp(ĩ_t−m_t) and f·exp(m_{t-1}−m_t), at most 1.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If there is no such layer or direction.
        RuntimeError
            If the saved values have been released.
        """
        kept, layer, reverse = self._of_layer("gates", layer, reverse)
        names = self._layer.cell.saved_gates
        if not names:
            return {}
        columns = loader.kernels.gates(*kept, layer, reverse, self._factors)
        ordered = map(self._ordered, columns)
        return dict(zip(names, ordered, strict=False))  # further columns are not gates

    def cells(self, layer: int = 0, reverse: bool = False) -> FloatArray:
        """Return the cell state c_t of one layer and direction at every step.

        That of an SLSTM is in the scale of its stabilizer.

        Parameters
        ----------
        layer : int, default 0
            Index of the layer, from the input.
        reverse : bool, default False
            Whether to return the cell state of the second direction.

        Returns
        -------
        array (B, T, hidden_size)

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If the layer has no cell state, or there is no such layer or direction.
        RuntimeError
            If the saved values have been released.
        """
        if not self._layer.cell.has_cell_state:
            raise ValueError(f"cells needs an LSTM, got {self._layer}")
        kept, layer, reverse = self._of_layer("cells", layer, reverse)
        cells: FloatArray = self._ordered(
            loader.kernels.cells(*kept, layer, reverse, self._factors)
        )
        return cells

    def dropout_mask(self, layer: int = 0) -> FloatArray:
        """Return the dropout mask that multiplied the output of one layer.

        Parameters
        ----------
        layer : int, default 0
            Index of the layer, from the input.

        Returns
        -------
        array (B, T, output_size)
            Each element is 0 or 1/(1 − dropout).

        Raises
        ------
        TypeError
            If `layer` is not an integer.
        ValueError
            If there is no such layer, it is the last one, or `dropout` is 0.
        RuntimeError
            If the saved values have been released.
        """
        (network, saved, _), layer, _ = self._of_layer("dropout_mask", layer, False)
        if layer == self._layer.num_layers - 1 or not self._layer.dropout:
            raise ValueError(f"dropout_mask needs dropout after layer {layer} of {self._layer}")
        mask: FloatArray = self._ordered(loader.kernels.dropout_mask(network, saved, layer))
        return mask

    def recurrent_dropout_mask(self, layer: int = 0, reverse: bool = False) -> FloatArray:
        """Return the mask that multiplied h_{t-1} in the products with W, the same at every step.

        Parameters
        ----------
        layer : int, default 0
            Index of the layer, from the input.
        reverse : bool, default False
            Whether to return that of the second direction.

        Returns
        -------
        array (B, hidden_size), or (B, proj_size) if h is projected
            Each element is 0 or 1/(1 − recurrent_dropout).

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If there is no such layer or direction, or `recurrent_dropout` is 0.
        RuntimeError
            If the saved values have been released.
        """
        mask: FloatArray = self._recurrent_mask("recurrent_dropout", layer, reverse)
        return mask

    def zoneout_mask(self, layer: int = 0, reverse: bool = False) -> tuple[FloatArray, ...]:
        """Return the masks of zoneout of one layer and direction.

        Parameters
        ----------
        layer : int, default 0
            Index of the layer, from the input.
        reverse : bool, default False
            Whether to return those of the second direction.

        Returns
        -------
        tuple of 1 or 2 arrays (B, T, hidden_size)
            Of h, which is (B, T, proj_size) if it is projected, and for the LSTM of c (for the
            SLSTM of c, n and m together): 0 where an element kept its previous value, 1 where not;
            0 in the padding.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If there is no such layer or direction, or `zoneout` is 0.
        RuntimeError
            If the saved values have been released.
        """
        masks: tuple[FloatArray, ...] = self._recurrent_mask("zoneout", layer, reverse)
        return tuple(map(self._ordered, masks))

    def _recurrent_mask(self, option: str, layer: int, reverse: bool) -> Any:
        """Return the mask of an option of the recurrence, by the kernel of its name."""
        what = f"{option}_mask"
        (network, saved, _), layer, reverse = self._of_layer(what, layer, reverse)
        if not getattr(self._layer, option):
            raise ValueError(f"{what} needs a layer with {option}, got {self._layer}")
        return getattr(loader.kernels, what)(network, saved, layer, reverse)

    def release(self) -> None:
        """Free the values saved for backward; `output` and `state` stay."""
        self._kept = self._decayed = None

    @property
    def _factors(self) -> FloatArray | None:
        """The factors (B, T, directions*H) that h of layer 0 decayed with."""
        return self._decayed and self._decayed.factors

    def _saved(self, what: str) -> _Kept:
        if self._kept is None:
            raise RuntimeError(
                f"{what} needs the values that forward saved, which have been released: "
                "call backward(..., retain=True) to keep them"
            )
        return self._kept

    def _of_layer(self, what: str, layer: int, reverse: bool) -> tuple[_Kept, int, bool]:
        """Return the saved values, layer and direction, if there are such ones.

        Further on only the integer is used: an object may have another value when asked again.
        """
        kept = self._saved(what)
        count = self._layer.num_layers
        index = checks.integer("layer", layer, 0)
        if index >= count:
            got = checks.shown(index)
            raise ValueError(f"layer must be in [0, num_layers) = [0, {count}), got {got}")
        second = checks.flag("reverse", reverse)
        if second and not self._layer.bidirectional:
            raise ValueError("reverse=True needs a bidirectional layer")
        return kept, index, second
