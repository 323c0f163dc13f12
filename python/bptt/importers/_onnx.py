"""Weights of ONNX nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._core import checks
from bptt.importers._onnx_activations import Activations, activations_of, scaled
from bptt.importers._weights import (
    ONNX,
    Kind,
    Layer,
    Weights,
    array_of,
    build,
    check_option,
    check_shape,
    hidden_size,
)


def from_onnx(
    kind: type[Layer],
    W: ArrayLike,
    R: ArrayLike,
    B: ArrayLike | None = None,
    P: ArrayLike | None = None,
    *,
    attributes: Mapping[str, Any] | None = None,
    **options: Any,
) -> Layer:
    """Return a layer with the weights of an ONNX node.

    Parameters
    ----------
    kind : type
        `RNN`, `LSTM` or `GRU`.
    W : array (D, G*H, I)
        Input weights.
    R : array (D, G*H, H)
        Recurrent weights.
    B : array (D, 2*G*H), optional
        Biases of the input and of the recurrent product. Zero by default.
    P : array (D, 3*H), optional
        Peepholes of an LSTM.
    attributes : mapping, optional
        The node's attributes: ``direction``, ``activations`` with ``activation_alpha`` and
        ``activation_beta``, ``linear_before_reset``, ``input_forget``, ``layout`` and
        ``hidden_size`` are mapped, slopes of activations by weights that are scaled; those that
        cannot be are refused by name, as ``clip``. Without them the arguments below say what the
        node is.
    **options
        Further arguments of the layer: without `attributes`, `reset_after` is the node's
        ``linear_before_reset``, `coupled` its ``input_forget``, and ``time_major=True``
        corresponds to ``layout`` 0.

    Returns
    -------
    RNN, LSTM or GRU
        With the sizes, directions and dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        If ONNX has no such layer, the layer has no such attribute, a dtype is not one of floats, a
        shape does not fit, or `peephole` is not whether there is a `P`.
    """
    cell = Kind.of(ONNX, kind)
    check_option(options, "proj_size", 0, "the library's LSTM has no projection")
    del options["proj_size"]
    W, R = array_of("W", W, 3), array_of("R", R, 3)
    directions, rows = W.shape[:2]
    if not directions or directions > 2:
        raise ValueError(f"W must have 1 or 2 directions, got shape {W.shape}")
    size = hidden_size("W", rows, cell)
    gates = f"{len(cell.order)}*hidden_size"
    check_shape("R", R, f"(directions, {gates}, hidden_size)", (directions, rows, size))
    B = np.zeros((directions, 2 * rows), W.dtype) if B is None else array_of("B", B, 2)
    check_shape("B", B, f"(directions, 2*{gates})", (directions, 2 * rows))
    if P is not None:
        if cell.name != "LSTM":
            raise ValueError(f"P needs an LSTM, got {kind.__name__}")
        P = array_of("P", P, 2)
        check_shape("P", P, "(directions, 3*hidden_size)", (directions, 3 * size))
    arrays: Sequence[Any] = (W, R, B, P)
    if attributes is not None:
        given = checks.fields("attributes", attributes)
        mapped, activations = options_of(cell.name, given, directions, size)
        for name, value in mapped.items():
            check_option(options, name, value, "that of the attributes")
        arrays = scaled(activations, *arrays)
    found = [Weights(w, r, *np.split(b, 2)) for w, r, b in zip(*arrays[:3], strict=True)]
    if cell.name == "LSTM":
        return _lstm(kind, found, arrays[3], cell, options)
    return build(kind, [found], cell.order, options)


def _lstm(
    kind: type[Layer],
    directions: list[Weights],
    P: NDArray[Any] | None,
    cell: Kind,
    options: dict[str, Any],
) -> Layer:
    """Return an LSTM, with peepholes and coupled gates if the node has them."""
    order: Sequence[int] = cell.order
    peephole = checks.flag("peephole", options.pop("peephole", P is not None))
    if peephole != (P is not None):
        raise ValueError(f"peephole must be whether there is a P, got peephole={peephole}")
    coupled = checks.flag("coupled", options.get("coupled", False))
    if coupled:
        order = [block - 1 for block in order[1:]]  # without that of the input gate
        directions = [_coupled(weights) for weights in directions]
    layer = build(kind, [directions], order, {**options, "peephole": peephole})
    if P is not None:
        for peepholes, reverse in zip(P, ("", "_reverse"), strict=False):
            of_input, of_output, of_forget = np.split(peepholes, 3)
            layer[f"peephole_output_l0{reverse}"] = of_output
            layer[f"peephole_forget_l0{reverse}"] = -of_input if coupled else of_forget
            if not coupled:
                layer[f"peephole_input_l0{reverse}"] = of_input
    return layer


def _coupled(weights: Weights) -> Weights:
    """Return the weights of o, f and g if ONNX couples i and f: f = 1 − σ(a_i) = σ(−a_i)."""

    def without_input(array: NDArray[Any]) -> NDArray[Any]:
        of_input, of_output, _, of_cell = np.split(array, 4)
        return np.concatenate([of_output, -of_input, of_cell])

    return Weights(*map(without_input, weights[:4]))


# ---- attributes


def options_of(
    kind: str, attributes: Mapping[str, Any], directions: int, size: int
) -> tuple[dict[str, Any], Activations]:
    """Return the options of the layer that the attributes stand for, and the activations."""
    given = dict(attributes)
    direction = _text("direction", given.pop("direction", "forward"))
    checks.one_of("forward", "reverse", "bidirectional")("direction", direction)
    if (direction == "bidirectional") != (directions == 2):
        raise ValueError(f"direction {direction!r} does not fit W with {directions} directions")
    if checks.integer("hidden_size", given.pop("hidden_size", size)) != size:
        raise ValueError(f"hidden_size must be {size}, that of W, got {attributes['hidden_size']}")
    if given.pop("clip", None) is not None:
        raise ValueError(f"clip={attributes['clip']} is not supported: no layer clips its gates")
    options: dict[str, Any] = {"reverse": direction == "reverse"}
    options["time_major"] = not _bit("layout", given.pop("layout", 0))
    if kind == "GRU":
        options["reset_after"] = _bit("linear_before_reset", given.pop("linear_before_reset", 0))
    if kind == "LSTM":
        options["coupled"] = _bit("input_forget", given.pop("input_forget", 0))
    names = given.pop("activations", None) or ()
    texts = [_text("activations", name) for name in checks.items("activations", names)]
    alpha, beta = given.pop("activation_alpha", None), given.pop("activation_beta", None)
    if given:
        raise ValueError(f"the {kind} has no attribute {sorted(map(str, given))[0]!r}")
    activations = activations_of(kind, texts, alpha, beta, directions)
    *gates, cell = activations[0]
    options["activation"] = cell.name
    if gates:
        options["gate_activation"] = gates[0].name
    return options, activations


def _text(name: str, value: Any) -> str:
    """Return an attribute of text, which may be bytes."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text: str = checks.instance(name, value, str)
    return text


def _bit(name: str, value: Any) -> bool:
    """Return an attribute that is 0 or 1."""
    number = checks.integer(name, value, 0)
    if number > 1:
        raise ValueError(f"{name} must be 0 or 1, got {number}")
    return bool(number)
