"""Weights of ONNX nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bptt._core import checks
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

_CELL_ACTIVATIONS = {"tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu"}
_HARD_SIGMOIDS = {(0.2, 0.5): "hard_sigmoid_keras2", (1 / 6, 0.5): "hard_sigmoid"}
_DEFAULTS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}


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
        ``hidden_size`` are mapped; those that cannot be are refused by name, as ``clip``. Without
        them the arguments below say what the node is.
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
    if attributes is not None:
        given = checks.fields("attributes", attributes)
        for name, value in _mapped(cell.name, given, directions, size).items():
            check_option(options, name, value, "that of the attributes")
    found = [Weights(w, r, *np.split(b, 2)) for w, r, b in zip(W, R, B, strict=True)]
    if cell.name == "LSTM":
        return _lstm(kind, found, P, cell, options)
    if P is not None:
        raise ValueError(f"P needs an LSTM, got {kind.__name__}")
    return build(kind, [found], cell.order, options)


def _lstm(
    kind: type[Layer],
    directions: list[Weights],
    P: ArrayLike | None,
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
        P, H = array_of("P", P, 2), layer.hidden_size
        check_shape("P", P, "(directions, 3*hidden_size)", (len(directions), 3 * H))
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


def _mapped(kind: str, attributes: Mapping[str, Any], directions: int, size: int) -> dict[str, Any]:
    """Return the options of the layer that the attributes stand for."""
    given = dict(attributes)
    direction = _text("direction", given.pop("direction", "forward"))
    if direction == "reverse":
        raise ValueError(
            "direction 'reverse' has no layer of its own: reverse the steps of input and output, "
            "x[:, ::-1], and give direction 'forward'"
        )
    checks.one_of("forward", "bidirectional")("direction", direction)
    if (direction == "bidirectional") != (directions == 2):
        raise ValueError(f"direction {direction!r} does not fit W with {directions} directions")
    if checks.integer("hidden_size", given.pop("hidden_size", size)) != size:
        raise ValueError(f"hidden_size must be {size}, that of W, got {attributes['hidden_size']}")
    if given.pop("clip", None) is not None:
        raise ValueError(f"clip={attributes['clip']} is not supported: no layer clips its gates")
    options: dict[str, Any] = {"time_major": not _bit("layout", given.pop("layout", 0))}
    if kind == "GRU":
        options["reset_after"] = _bit("linear_before_reset", given.pop("linear_before_reset", 0))
    if kind == "LSTM":
        options["coupled"] = _bit("input_forget", given.pop("input_forget", 0))
    names = given.pop("activations", None) or _DEFAULTS[kind] * directions
    alpha, beta = given.pop("activation_alpha", None), given.pop("activation_beta", None)
    options |= _activations(kind, names, alpha, beta, directions)
    if given:
        raise ValueError(f"the {kind} has no attribute {sorted(map(str, given))[0]!r}")
    return options


def _activations(kind: str, names: Any, alpha: Any, beta: Any, directions: int) -> dict[str, Any]:
    """Return `activation` and `gate_activation`, which are the same for both directions."""
    texts = [_text("activations", name) for name in checks.items("activations", names)]
    count = len(_DEFAULTS[kind])
    if len(texts) != count * directions:
        raise ValueError(
            f"activations must have {count} names for each direction of the {kind}, got {texts}"
        )
    slopes = _parameters(texts, alpha, beta)
    found = list(zip(texts, slopes, strict=True))
    if found[:count] != found[-count:]:
        raise ValueError(f"activations must be the same in both directions, got {texts}")
    *gate, first = found[: min(count, 2)]
    if count == 3 and found[1] != found[2]:
        raise ValueError(
            f"the second and the third of activations must be the same, got {texts[1:3]}"
        )
    options = {"activation": _activation(*first, _CELL_ACTIVATIONS)}
    if gate:
        options["gate_activation"] = _activation(*gate[0], {"sigmoid": "sigmoid"})
    return options


def _activation(name: str, slope: tuple[float, float] | None, known: Mapping[str, str]) -> str:
    """Return our name of an activation; `known` are those without parameters."""
    lower = name.lower()
    if lower in known:
        return known[lower]
    if lower == "hardsigmoid" and "tanh" not in known and slope is not None:
        for (a, b), ours in _HARD_SIGMOIDS.items():
            if math.isclose(slope[0], a, rel_tol=1e-6) and math.isclose(slope[1], b, rel_tol=1e-6):
                return ours
        raise ValueError(
            f"HardSigmoid must have (alpha, beta) = (0.2, 0.5) or (1/6, 0.5), got {slope}"
        )
    if lower == "affine" and "tanh" in known and slope == (1.0, 0.0):
        return "identity"
    rule = ", ".join(name.capitalize() for name in known)
    raise ValueError(f"activation {name!r} is not supported here: the layer has {rule}")


def _parameters(names: Sequence[str], alpha: Any, beta: Any) -> list[tuple[float, float] | None]:
    """Return alpha and beta of the activations that have them, in their order."""
    defaults = {"hardsigmoid": (0.2, 0.5), "affine": (1.0, 0.0)}
    alphas, betas = (
        checks.real_numbers(f"activation_{name}", [] if values is None else values)
        for name, values in (("alpha", alpha), ("beta", beta))
    )
    found: list[tuple[float, float] | None] = []
    for name in names:
        default = defaults.get(name.lower())
        if default is None:
            found.append(None)
            continue
        a = alphas.pop(0) if alphas else default[0]
        b = betas.pop(0) if betas else default[1]
        found.append((a, b))
    if alphas or betas:
        raise ValueError(
            f"activation_alpha and activation_beta must be of {list(names)}, got more values"
        )
    return found


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
