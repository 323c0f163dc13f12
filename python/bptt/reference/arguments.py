"""Parameter shapes and argument checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .activations import Array
from .cells import CELLS
from .cells.cell import State
from .merges import MERGES


def require(condition: bool, rule: str, got: object, error: type[Exception] = ValueError) -> None:
    """Raise `error` unless `condition` holds: the rule, then the value given."""
    if not condition:
        raise error(f"{rule}, got {got}")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Check that `value` is one of `choices`."""
    require(value in choices, f"{name} must be one of {', '.join(choices)}", repr(value))


def check_array(
    name: str, array: object, symbols: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    """Check that `array` is an array of this shape and dtype."""
    rule = f"{name} must be a NumPy array of {dtype}"
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{rule}, got {type(array).__name__}")
    require(array.dtype == dtype, rule, array.dtype, TypeError)
    require(array.shape == shape, f"{name} must have shape {symbols} = {shape}", array.shape)


def parameter_shapes(
    cell: str,
    *,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bidirectional: bool = False,
    merge: str = "concat",
    proj_size: int = 0,
    num_heads: int = 1,
    learn_initial_state: bool = False,
    decay_size: int = 0,
) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of all parameters, in the order of the compiled layers.

    Layer l has ``weight_ih_l{l}`` (G*H, I_l), ``weight_hh_l{l}`` (G*H, H), ``bias_l{l}`` (G*H,),
    the gains (G*H,) of a cell with layer normalization, and the cell's extra parameters (H,), such
    as ``bias_hn_l{l}`` of "gru_reset_after"; those of the reverse direction follow, with the suffix
    ``_reverse``. I_l is `input_size` for the first layer and the size of the merged directions for
    the others. With a projection to P units there is ``weight_hr_l{l}`` (P, H) as well, and
    ``weight_hh_l{l}`` is (G*H, P). Learned initial states ``h0_l{l}`` of all layers, (H,) or (P,),
    and ``c0_l{l}`` of an LSTM, (H,), come next. Where h decays by the last D features,
    ``weight_ih_l0`` is (G*H, I - D), and ``weight_decay_l0`` (H, D) and ``bias_decay_l0`` (H,) come
    last.

    Parameters
    ----------
    cell : str
        A key of `CELLS`.
    input_size : int
        I.
    hidden_size : int
        H.
    num_layers : int, default 1
        Number of stacked layers.
    bidirectional : bool, default False
        Whether every layer has a reverse direction.
    merge : {"concat", "sum", "mean", "mul"}, default "concat"
        Combination of the two directions.
    proj_size : int, default 0
        P, of an LSTM; 0 for no projection.
    num_heads : int, default 1
        Blocks on the diagonal of W, of which "slstm" may have more than one: weight_hh is
        (G*H, H/num_heads).
    learn_initial_state : bool, default False
        Whether the initial state is a parameter.
    decay_size : int, default 0
        D, the number of the last features by which h of layer 0 decays.

    Returns
    -------
    dict of str to tuple of int

    Raises
    ------
    ValueError
        If there is no such cell or merge, or the cell has no projection or no heads.
    """
    check_choice("cell", cell, CELLS)
    check_choice("merge", merge, MERGES)
    require(proj_size == 0 or CELLS[cell].states == 2, "proj_size needs an LSTM", cell)
    require(num_heads == 1 or CELLS[cell].has_heads, "num_heads needs an SLSTM", cell)
    h_size = proj_size or hidden_size
    rows = CELLS[cell].gates * hidden_size
    input_size -= decay_size
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(num_layers):
        for suffix in ("", "_reverse") if bidirectional else ("",):
            shapes[f"weight_ih_l{layer}{suffix}"] = (rows, input_size)
            shapes[f"weight_hh_l{layer}{suffix}"] = (rows, h_size // num_heads)
            shapes[f"bias_l{layer}{suffix}"] = (rows,)
            for name in CELLS[cell].gate_parameters:
                shapes[f"{name}_l{layer}{suffix}"] = (rows,)
            for name in CELLS[cell].extra_parameters:
                shapes[f"{name}_l{layer}{suffix}"] = (hidden_size,)
            if proj_size:
                shapes[f"weight_hr_l{layer}{suffix}"] = (proj_size, hidden_size)
        input_size = h_size * (2 if bidirectional and merge == "concat" else 1)
    if learn_initial_state:
        all_names = initial_names(cell, num_layers, bidirectional)
        for names, size in zip(all_names, (h_size, hidden_size), strict=False):
            shapes |= dict.fromkeys(names, (size,))
    if decay_size:
        weights, biases = decay_names(bidirectional)
        shapes |= dict.fromkeys(weights, (h_size, decay_size)) | dict.fromkeys(biases, (h_size,))
    return shapes


def initial_names(cell: str, num_layers: int, bidirectional: bool) -> list[list[str]]:
    """Return the names of the learned initial states: of h, and of c for the LSTM."""
    suffixes = ("", "_reverse") if bidirectional else ("",)
    places = [f"l{layer}{suffix}" for layer in range(num_layers) for suffix in suffixes]
    return [[f"{part}0_{place}" for place in places] for part in "hc"[: CELLS[cell].states]]


def decay_names(bidirectional: bool) -> list[list[str]]:
    """Return the names of the parameters of the decay of h: the weights, then the biases."""
    suffixes = ("", "_reverse") if bidirectional else ("",)
    return [[f"{kind}_decay_l0{suffix}" for suffix in suffixes] for kind in ("weight", "bias")]


def check_parameters(
    cell: str, parameters: Mapping[str, Array], num_layers: int, bidirectional: bool, merge: str
) -> tuple[int, np.dtype[Any]]:
    """Check that the parameters fit together; return input size and dtype."""
    projected, decays = "weight_hr_l0" in parameters, "weight_decay_l0" in parameters
    matrices = ["weight_ih_l0", "weight_hh_l0"]
    matrices += ["weight_hr_l0"] if projected else []
    matrices += ["weight_decay_l0"] if decays else []
    for name in matrices:
        matrix = parameters.get(name)
        require(
            isinstance(matrix, np.ndarray) and matrix.ndim == 2,
            f"parameters must hold a matrix {name}",
            type(matrix).__name__ if matrix is None else np.shape(matrix),
        )
    decay_size = parameters["weight_decay_l0"].shape[1] if decays else 0
    input_size = parameters["weight_ih_l0"].shape[1] + decay_size
    rows, columns = parameters["weight_hh_l0"].shape
    proj_size, hidden_size, num_heads = 0, columns, 1
    if projected:
        proj_size, hidden_size = parameters["weight_hr_l0"].shape
    elif CELLS[cell].has_heads:
        hidden_size = rows // CELLS[cell].gates
        num_heads = max(hidden_size // max(columns, 1), 1)
    dtype = parameters["weight_hh_l0"].dtype
    require(
        dtype in (np.float32, np.float64, np.longdouble),
        "parameters must be float32, float64 or longdouble",
        dtype,
        TypeError,
    )
    shapes = parameter_shapes(
        cell,
        input_size=input_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        merge=merge,
        proj_size=proj_size,
        num_heads=num_heads,
        learn_initial_state="h0_l0" in parameters,
        decay_size=decay_size,
    )
    rule = f"parameters must be named {', '.join(shapes)}"
    require(set(parameters) == set(shapes), rule, ", ".join(parameters))
    for name, shape in shapes.items():
        symbols = {
            "weight_ih": "(G*H, I)",
            "weight_hh": "(G*H, P)" if projected else "(G*H, H)",
            "bias": "(G*H,)",
            "weight_hr": "(P, H)",
            "weight_decay": "(H, D)",
        }
        symbols |= dict.fromkeys(CELLS[cell].gate_parameters, "(G*H,)")
        check_array(name, parameters[name], symbols.get(name.split("_l")[0], "(H,)"), shape, dtype)
    return input_size, dtype


def check_lengths(lengths: object, batch: int, steps: int) -> Array:
    """Check lengths (B,), integers in [0, T]; return them as an array."""
    array = np.asarray(lengths)
    rule = "lengths must be integers"
    require(np.issubdtype(array.dtype, np.integer), rule, array.dtype, TypeError)
    require(array.shape == (batch,), f"lengths must have shape (B,) = ({batch},)", array.shape)
    within = bool(np.all((array >= 0) & (array <= steps)))
    require(within, f"lengths must be in [0, T] = [0, {steps}]", array)
    return array


def check_state(
    name: str,
    state: object,
    shape: tuple[int, int],
    sizes: tuple[int, ...],
    dtype: np.dtype[Any],
) -> State:
    """Check a state (L*directions, B, size); return its parts, h first, or zeros for None."""
    if state is None:
        return tuple(np.zeros((*shape, size), dtype) for size in sizes)
    parts: tuple[object, ...] = (state,)
    if len(sizes) > 1:
        lstm, slstm = "an LSTM must be a tuple (h, c)", "an SLSTM must be (h, c, n, m)"
        rule = f"{name} of {lstm if len(sizes) == 2 else slstm}"
        if not isinstance(state, tuple):
            raise TypeError(f"{rule}, got {type(state).__name__}")
        require(len(state) == len(sizes), rule, f"a tuple of {len(state)}")
        parts = state
    for part, size in zip(parts, sizes, strict=True):
        check_array(name, part, "(num_layers*directions, B, H)", (*shape, size), dtype)
    return tuple(np.asarray(part) for part in parts)


def check_dropout_masks(
    masks: Sequence[object], num_layers: int, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> None:
    """Check that there is one array (B, T, D) for each layer but the last."""
    rule = f"dropout_masks must be num_layers - 1 = {num_layers - 1} arrays"
    require(len(masks) == num_layers - 1, rule, len(masks))
    for mask in masks:
        check_array("a dropout mask", mask, "(B, T, D)", shape, dtype)


def check_zoneout_masks(
    masks: Sequence[Sequence[object]],
    count: int,
    shape: tuple[int, int],
    sizes: tuple[int, ...],
    dtype: np.dtype[Any],
) -> None:
    """Check that there are arrays (B, T, size) for each layer and direction."""
    rule = f"zoneout_masks must be num_layers*directions = {count} arrays"
    require(len(masks) == count, rule, len(masks))
    for parts in masks:
        rule = f"a layer must have {len(sizes)} zoneout masks, one for each part of the state"
        require(len(parts) == len(sizes), rule, len(parts))
        for part, size in zip(parts, sizes, strict=True):
            check_array("a zoneout mask", part, "(B, T, H)", (*shape, size), dtype)
