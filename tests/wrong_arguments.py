"""Table of `test_errors`: callable -> argument -> wrong values with exception and message.

The right values are in `test_errors.World`: x (2, 5, 3) in float64, two layers of hidden size 4,
an output layer from 4 to 6.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

import bptt
from bptt.nn.activations import ACTIVATIONS, GATE_ACTIVATIONS
from bptt.nn.cells import CELLS
from bptt.nn.recurrent import LAYERS
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.state import as_state
from bptt.optim.optimizers import OPTIMIZERS

T = TypeVar("T")
Rows: TypeAlias = list[tuple[Any, type[Exception], str]]

LAYER_NAMES = ", ".join(layer.__name__ for layer in LAYERS)
ELEMENTWISE = ("ReLU", "Tanh", "Sigmoid")
NAMES = ", ".join(ELEMENTWISE)

X = np.random.default_rng(0).normal(size=(2, 5, 3))
IDS = np.array([[0, 1, 2, 1, 0], [2, 2, 0, 0, 1]])
H = np.full((2, 2, 4), 0.5)


# ---- wrong values by type of argument ------------------------------------------------------------


OR_LAYER = 'or dtype="float32" for the layer'


def cast(name: str, dtype: str = "float64") -> str:
    """The cure for an array of another dtype."""
    return f": use {name}.astype(np.{dtype})"


def no_list_of(name: str, layer: bool = False) -> str:
    """The sentence for a list instead of an array; `layer` if it is the input of a layer."""
    ragged = ", or pad sequences of different lengths and pass lengths" if layer else ""
    cure = "" if " " in name else f": use np.array({name}){ragged}"
    return f"{name} must be a NumPy array, got list{cure}"


def no_array(
    name: str, rule: str, *, none: bool = True, integers: bool = True, layer: bool = False
) -> Rows:
    """Not an array, or of a wrong dtype.

    `none` and `integers` say whether these are wrong, `layer` whether it is the input of a layer.
    """
    kinds: list[Any] = ["ab", *([None] if none else [])]
    dtypes = ["float32", "float16", "complex128", "bool", "object", ">f8"]
    arrays = [X.astype(dtype) for dtype in dtypes] + ([IDS] if integers else [])

    def cure(got: str) -> str:
        if got in ("complex128", "object") or " " in name:
            return ""
        other = f", {OR_LAYER}" if layer and got == "float32" else ""
        return f"{cast(name)}{other}"

    start = f"{name} must have dtype {rule}, got "
    return [
        ([0.5], TypeError, no_list_of(name, layer)),
        *((v, TypeError, f"{name} must be a NumPy array, got {type(v).__name__}") for v in kinds),
        *((a, TypeError, f"{start}{a.dtype}{cure(str(a.dtype))}") for a in arrays),
    ]


def no_shape(name: str, rule: str, *shapes: tuple[int, ...]) -> Rows:
    start = f"{name} must have {rule}, got "
    return [(np.zeros(shape), ValueError, f"{start}{shape}") for shape in shapes]


def no_ids(name: str, symbol: str, limit: int) -> Rows:
    start = f"{name} must lie in [0, {symbol}) = [0, {limit}), got "
    wrong = (-1, limit, 2**40, -(2**40))
    huge = np.full_like(IDS, 2**64 - 1, dtype=np.uint64)
    return [
        *((np.where(IDS == 2, id_, IDS), ValueError, f"{start}{id_}") for id_ in wrong),
        (huge, ValueError, f"{start}{2**64 - 1}"),
    ]


def no_state(name: str, states: Sequence[str]) -> Rows:
    rule = "shape (num_layers*directions, batch, hidden_size) = (2, 2, 4)"

    def part(part_name: str) -> Rows:
        shapes = [(2, 4), (1, 2, 4), (2, 3, 4), (2, 2, 5), ()]
        return [
            *no_array(part_name, "float64", none=False),
            *no_shape(part_name, rule, *shapes),
        ]

    if len(states) == 1:
        array = f"{name} must be a NumPy array, got "
        pair = bptt.LSTMState(H, H)
        return [
            *part(name),
            ((H, H), TypeError, f"{array}tuple"),
            (pair, TypeError, f"{array}LSTMState"),
        ]
    kind = "LSTM must be a pair" if len(states) == 2 else "SLSTM must be a tuple"
    all_of = f"{name} of an {kind} ({', '.join(states)}) of arrays, got "
    wrong: list[Any] = [H, "hc", dict.fromkeys(states, H)]
    parts = [
        (tuple(value if other == state else H for other in states), error, text)
        for state in states
        for value, error, text in part(f"{name}.{state}")
    ]
    return [
        *((value, TypeError, all_of + type(value).__name__) for value in wrong),
        ((H,), TypeError, f"{all_of}tuple of 1"),
        ([H, H, H], TypeError, f"{all_of}list of 3"),
        *parts,
    ]


def no_out(states: Sequence[str]) -> Rows:
    y = np.zeros((2, 4))
    last: Any = as_state(*(H.copy() for _ in states))
    locked = y.copy()
    locked.flags.writeable = False
    whole = np.zeros((2, 2, 4))
    pair = "out must be what step returns: a tuple (y_t, state)"
    plain = "out must be writeable, aligned, C-contiguous arrays in the machine's byte order"
    apart = "out must be arrays that share no memory with each other"
    return [
        (y, TypeError, pair),
        ((y,), TypeError, pair),
        ([y, last], TypeError, pair),
        ((y, None), TypeError, pair),
        *[((v, last), *row) for v, *row in no_array("out's y_t", "float64", none=False)],
        *[
            ((v, last), *row)
            for v, *row in no_shape(
                "out's y_t", "shape (batch, output_size) = (2, 4)", (4,), (3, 4), (2, 5)
            )
        ],
        *[((y, v), *row) for v, *row in no_state("out's state", states) if v is not None],
        ((locked, last), ValueError, plain),
        ((np.zeros((4, 2)).T, last), ValueError, plain),
        ((whole[0], as_state(*(H.copy() for _ in states[1:]), whole)), ValueError, apart),
    ]


def no_integer(name: str, minimum: int = 1) -> Rows:
    return [
        (minimum - 1, ValueError, f"{name} must be an integer >= {minimum}, got {minimum - 1}"),
        (2.0, TypeError, f"{name} must be an integer, got float"),
        (True, TypeError, f"{name} must be an integer, got bool"),
    ]


def no_flag(name: str) -> Rows:
    wrong: list[Any] = [1, "no", None]
    rule = f"{name} must be True or False, got "
    return [(value, TypeError, rule + type(value).__name__) for value in wrong]


def no_choice(name: str, *choices: str) -> Rows:
    rule = f"{name} must be one of {', '.join(map(repr, choices))}, got "
    return [("soft", ValueError, f"{rule}'soft'"), (None, TypeError, f"{rule}NoneType")]


def no_number(name: str, rule: str, *wrong: float) -> Rows:
    return [
        *((value, ValueError, f"{name} must be {rule}, got {value}") for value in (*wrong, np.nan)),
        ("0", TypeError, f"{name} must be a real number, got str"),
        (False, TypeError, f"{name} must be a real number, got bool"),
    ]


def no_name(owner: str, names: str) -> Rows:
    return [
        (wrong, KeyError, f"{owner} has no parameter {wrong!r}, it has {names}")
        for wrong in ("U", 0, None)
    ]


def no_list(name: str, kind: str) -> Rows:
    rule = f"{name} must be {kind}, got "
    return [
        (None, TypeError, f"{rule}NoneType"),
        ([3], TypeError, f"{rule}list of int"),
        ((), ValueError, f"{name} must not be empty"),
    ]


# ---- recurrent layers ----------------------------------------------------------------------------

DTYPE_AND_SEED: dict[str, Rows] = {
    "dtype": [
        (np.float16, TypeError, "dtype must be float32 or float64, got <class 'numpy.float16'>")
    ],
    "seed": no_integer("seed", 0),
}
RECURRENT = {
    **{name: no_integer(name) for name in ("input_size", "hidden_size", "num_layers")},
    "num_heads": [
        *no_integer("num_heads"),
        (3, ValueError, "num_heads must divide hidden_size = 4, got 3"),
    ],
    **{
        name: no_flag(name)
        for name in ("bidirectional", "reverse", "time_major", "learn_initial_state")
    },
    "merge": no_choice("merge", "concat", "sum", "mean", "mul"),
    **{
        name: no_number(name, "in [0, 1)", 1.0, -0.5)
        for name in ("dropout", "recurrent_dropout", "zoneout")
    },
    "activation": no_choice("activation", *ACTIVATIONS),
    "gate_activation": no_choice("gate_activation", *GATE_ACTIVATIONS),
    **{name: no_flag(name) for name in ("peephole", "coupled", "reset_after", "layer_norm")},
    "proj_size": [
        *no_integer("proj_size", 0),
        (4, ValueError, "proj_size must be < hidden_size = 4, got 4"),
    ],
    "decay_size": [
        *no_integer("decay_size", 0),
        (3, ValueError, "decay_size must be < input_size = 3, got 3"),
    ],
    **DTYPE_AND_SEED,
}
"""The arguments that recurrent layers have."""

AS_LAYER = "float64 as the layer (or integers as token ids)"
SEQUENCE = "shape (batch, steps, input_size) with input_size = 3"
STEP = "shape (batch, input_size) with input_size = 3"
WIDE = "(batch, steps) or (steps,)"

X_ROWS: Rows = [
    *no_array("x", AS_LAYER, integers=False, layer=True),
    *no_shape("x", SEQUENCE, (2, 5), (5, 3), (2, 5, 2), (2, 3, 5), (2, 5, 3, 1), ()),
    *no_ids("token ids", "input_size", 3),
    (IDS[None], ValueError, f"x as token ids must have shape {WIDE}, got (1, 2, 5)"),
    (IDS[0, 0], TypeError, "x must be a NumPy array, got int64"),
]
X_T_ROWS: Rows = [
    *no_array("x_t", AS_LAYER, integers=False, layer=True),
    *no_shape("x_t", STEP, (3,), (2, 2), (2, 5, 3), ()),
    (np.array([1, 3]), ValueError, "token ids must lie in [0, input_size) = [0, 3), got 3"),
    (np.array([-1, 1]), ValueError, "token ids must lie in [0, input_size) = [0, 3), got -1"),
    (IDS, ValueError, "x_t as token ids must have shape (batch,), got (2, 5)"),
]
LENGTHS_ROWS: Rows = [
    (np.array([-1, 2]), ValueError, "lengths must lie in [0, steps] = [0, 5], got -1"),
    (np.array([2, 6]), ValueError, "lengths must lie in [0, steps] = [0, 5], got 6"),
    (np.array([2**40, 1]), ValueError, f"lengths must lie in [0, steps] = [0, 5], got {2**40}"),
    (np.array([2]), ValueError, "lengths must have shape (batch,) = (2,), got (1,)"),
    (np.array([[2, 2]]), ValueError, "lengths must have shape (batch,) = (2,), got (1, 2)"),
    (3, ValueError, "lengths must have shape (batch,) = (2,), got ()"),
    (np.array([2.0, 1.0]), TypeError, "lengths must be integers, got dtype float64"),
    (np.array([True, False]), TypeError, "lengths must be integers, got dtype bool"),
    (["2", "1"], TypeError, "lengths must be integers, got dtype <U1"),
    ([2, None], TypeError, "lengths must be integers, got dtype object"),
]
THREADS: Rows = [
    *no_integer("n"),
    (1025, ValueError, "n must be an integer <= 1024, got 1025"),
]
LAYER_ROWS: Rows = [
    *no_integer("layer", 0),
    (2, ValueError, "layer must be in [0, num_layers) = [0, 2), got 2"),
]
REVERSE_ROWS: Rows = [
    *no_flag("reverse"),
    (True, ValueError, "reverse=True needs a bidirectional layer"),
]


def of_signature(function: Any, table: Mapping[str, T]) -> dict[str, T]:
    """The entries of a table for the arguments of a function."""
    return {name: table[name] for name in inspect.signature(function).parameters if name in table}


def recurrent(layer_type: type[Recurrent[Any]]) -> dict[str, dict[str, Rows]]:
    """The table of a recurrent layer."""
    kind, cell = layer_type.__name__, layer_type.variants[0]
    count = len(cell.gates)
    gates, rows = "" if count == 1 else f"{count}*", 4 * count
    state = no_state("state", cell.states)
    sequence = {"x": X_ROWS, "lengths": LENGTHS_ROWS, "state": state}
    output = "shape (batch, steps, output_size) = (2, 5, 4)"
    masks = "dropout=0.5, recurrent_dropout=0.2, zoneout=0.1"
    options = f"num_layers=2, {masks}, dtype=float64, seed=0"
    owner = f"{kind}(input_size=3, hidden_size=4, {options})"
    kinds = ("weight_ih", "weight_hh", "bias")
    name = no_name(owner, ", ".join(f"{kind}_l{layer}" for layer in (0, 1) for kind in kinds))
    shape = f"shape ({gates}hidden_size, input_size) = ({rows}, 3)"
    last = (1, ValueError, f"dropout_mask needs dropout after layer 1 of {owner}")
    place = {"layer": LAYER_ROWS, "reverse": REVERSE_ROWS}
    return {
        kind: of_signature(layer_type, RECURRENT),
        f"{kind}.__call__": sequence,
        f"{kind}.forward": {**sequence, "recompute_every": no_integer("recompute_every")},
        f"{kind}.step": {"x_t": X_T_ROWS, "state": state, "out": no_out(cell.states)},
        f"{kind}.stepper": {"batch": no_integer("batch")},
        f"{kind}.__getitem__": {"name": name},
        f"{kind}.__setitem__": {
            "name": name,
            "value": [
                *no_array("weight_ih_l0", "float64"),
                *no_shape("weight_ih_l0", shape, (rows, 2), (3, rows), (1, rows, 3), ()),
            ],
        },
        f"{kind} Run.backward": {
            "d_output": [
                *no_array("d_output", "float64", none=False),
                *no_shape("d_output", output, (5, 4), (2, 4, 4), (2, 5, 3), (5, 2, 4), ()),
            ],
            "d_state": no_state("d_state", cell.states),
            "steps": no_flag("steps"),
            "input": no_flag("input"),
            "retain": no_flag("retain"),
        },
        f"{kind} Run.gates": place,
        **({f"{kind} Run.cells": place} if cell.has_cell_state else {}),
        f"{kind} Run.dropout_mask": {"layer": [*LAYER_ROWS, last]},
        f"{kind} Run.recurrent_dropout_mask": place,
        f"{kind} Run.zoneout_mask": place,
    }


# ---- attention -----------------------------------------------------------------------------------

KEYS = np.random.default_rng(1).normal(size=(2, 4, 6))


def attention() -> dict[str, dict[str, Rows]]:
    """The table of Attention, of queries (2, 5, 3), keys (2, 4, 6) and a size of 7."""
    options = "kind=additive, attention_size=7, dtype=float64, seed=0"
    owner = f"Attention(query_size=3, key_size=6, {options})"
    name = no_name(owner, "weight_query, weight_key, weight_score")
    shape = "shape (attention_size, query_size) = (7, 3)"
    wrong = [(2, 5), (2, 5, 4), (2, 5, 3, 1), ()]
    batch = "keys must have the batch of queries, 2, got "
    steps = "lengths must lie in [0, steps] = [0, 4], got "
    call = {
        "queries": [
            *no_array("queries", "float64 as the layer", layer=True),
            *no_shape("queries", "shape (batch, steps, query_size) with query_size = 3", *wrong),
            (X[:1], ValueError, "keys must have the batch of queries, 1, got 2"),
        ],
        "keys": [
            *no_array("keys", "float64 as the layer", layer=True),
            *no_shape("keys", "shape (batch, steps, key_size) with key_size = 6", *wrong),
            (KEYS[:1], ValueError, f"{batch}1"),
            (KEYS[:0], ValueError, f"{batch}0"),
        ],
        "lengths": [
            (value, error, sentence.replace("[0, 5]", "[0, 4]"))
            for value, error, sentence in LENGTHS_ROWS
        ]
        + [(np.array([2, 5]), ValueError, f"{steps}5")],
    }
    return {
        "Attention": {
            **{name: no_integer(name) for name in ("query_size", "key_size", "attention_size")},
            "kind": [
                *no_choice("kind", "dot", "additive"),
                ("dot", ValueError, "attention_size needs kind='additive', got kind='dot'"),
            ],
            **DTYPE_AND_SEED,
        },
        "Attention.__getitem__": {"name": name},
        "Attention.__setitem__": {
            "name": name,
            "value": [
                *no_array("weight_query", "float64"),
                *no_shape("weight_query", shape, (7, 6), (3, 7), ()),
            ],
        },
        "Attention.__call__": call,
        "Attention.forward": call,
        "AttentionRun.backward": like_output((2, 5, 6), (2, 5, 4), (10, 6), ()),
    }


# ---- chains --------------------------------------------------------------------------------------


def no_states(name: str) -> Rows:
    """Not a tuple of the states of a GRU and of an LSTM, (1, 2, 4) each."""
    h = H[:1]
    rule = f"{name} must be a tuple of states, one for each of 2 recurrent layers, got "
    return [
        (h, TypeError, f"{rule}ndarray"),
        (bptt.LSTMState(h, h), TypeError, f"{rule}LSTMState"),
        ((h,), ValueError, f"{rule}1"),
        ([None] * 3, ValueError, f"{rule}3"),
    ]


def no_d_states() -> Rows:
    h, first, second = H[:1], "d_state[0] must have", "d_state[1] of an LSTM must be a pair (h, c)"
    single, shape = h.astype("float32"), "shape of the state, (1, 2, 4)"
    return [
        *no_states("d_state"),
        ((h, h), TypeError, f"{second} of arrays, got ndarray"),
        ((h, (h,)), TypeError, f"{second} of arrays, got tuple"),
        ((H, None), ValueError, f"{first} the {shape}, got (2, 2, 4)"),
        (
            (single, None),
            TypeError,
            f"{first} dtype float64, got float32{cast('d_state[0]')}",
        ),
        ((None, (h, H)), ValueError, f"d_state[1].c must have the {shape}, got (2, 2, 4)"),
        ((0, None), TypeError, "d_state[0] must be a NumPy array, got int"),
    ]


def compression() -> dict[str, dict[str, Rows]]:
    """The table of weights of fewer bits."""
    kind = {"kind": no_choice("kind", "bfloat16", "int8")}
    classes = "model and compressed must be of the same class, got "
    others = "Sequential Linear CRF Embedding CharacterEmbedding Dropout LayerNorm InputDecay"
    layers = [layer.__name__ for layer in LAYERS]
    bounds = ("max_difference", "max_score_loss")
    rule = "x must have dtype float32 as the layer (or integers as token ids), got float64"
    wide = f"{rule}{cast('x', 'float32')}"
    return {
        **{
            f"{name}.compressed": kind
            for name in (*layers, *others.split(), "Attention", *ELEMENTWISE)
        },
        "compression_report": {
            "model": [
                (None, TypeError, f"{MODEL}NoneType"),
                (bptt.Dropout(0.5), TypeError, f"{classes}Dropout and GRU"),
            ],
            "compressed": [(None, TypeError, f"{classes}GRU and NoneType")],
            "x": [(X, TypeError, f'{wide}, or dtype="float64" for the layer')],
            "y": [(IDS, TypeError, "y needs the score of an estimator, got ndarray")],
            "lengths": LENGTHS_ROWS,
            "score": [(1, TypeError, "score must be a function of the output, got int")],
            **{n: [("0", TypeError, f"{n} must be a real number, got str")] for n in bounds},
        },
    }


MODEL = "model must be a module, a Sequential or an estimator, got "


def chains() -> dict[str, dict[str, Rows]]:
    """The table of Sequential."""
    linear, layer, tokens = bptt.Linear(4, 6), bptt.GRU(3, 4), bptt.Embedding(3, 4)
    turned, wide = bptt.GRU(3, 4, time_major=True), bptt.Linear(4, 6, dtype="float64")
    kinds = (
        f"modules must be {LAYER_NAMES}, Linear, CRF, Embedding, CharacterEmbedding, Dropout, "
        f"LayerNorm, InputDecay, {NAMES}, got "
    )
    modules: Rows = [
        ((), ValueError, "modules must not be empty"),
        ((layer, None), TypeError, f"{kinds}NoneType"),
        ((bptt.Linear,), TypeError, f"{kinds}the class Linear: use Linear(..)"),
        (([layer, linear],), TypeError, f"{kinds}list: use Sequential(*modules)"),
        (
            (layer, tokens),
            ValueError,
            "modules may have an Embedding at the beginning only, got one at index 1",
        ),
        ((turned,), ValueError, f"modules must be batch-first, got {turned}"),
        (
            (layer, linear, layer),
            ValueError,
            f"modules must be distinct, got [{layer}, {linear}, {layer}]",
        ),
        ((layer, wide), TypeError, "modules must have one dtype, got float32 and float64"),
        ((tokens, layer), ValueError, f"modules[1] must take 4 features, got {layer}"),
    ]
    sequence = {"x": X_ROWS, "lengths": LENGTHS_ROWS, "state": no_states("state")}
    return {
        "Sequential": {
            "modules": modules,
            "pool": no_choice("pool", "last", "mean", "max")[:1],
            "skip_input": no_flag("skip_input"),
        },
        "Sequential.__call__": sequence,
        "Sequential.forward": {**sequence, "recompute_every": no_integer("recompute_every")},
        "Sequential.cross_entropy": {**sequence, **CLASS_LOSS},
        "SequentialRun.cross_entropy": {
            **CLASS_LOSS,
            "num_sampled": [
                *no_integer("num_sampled"),
                (7, ValueError, f"{MOST_CLASSES}, got 7"),
            ],
        },
        "Sequential.__getitem__": {
            "index": [
                (3, IndexError, "index must be in [-3, 3), got 3"),
                (-4, IndexError, "index must be in [-3, 3), got -4"),
                ("0.weight", TypeError, "index must be an integer, got str"),
                (slice(2), TypeError, "index must be an integer, got slice"),
                (True, TypeError, "index must be an integer, got bool"),
            ]
        },
        "Sequential.save": {"path": [(3, TypeError, "path must be a string or a path, got int")]},
        "Sequential.load": {"path": [(3, TypeError, "path must be a string or a path, got int")]},
        "Sequential.step": {"x_t": X_T_ROWS, "state": no_states("state")},
        "Sequential.stepper": {"batch": no_integer("batch")},
        "SequentialRun.backward": {
            **like_output((2, 5, 6), (2, 5, 4), (10, 6), (), none=False),
            "d_state": no_d_states(),
            "steps": no_flag("steps"),
            "input": no_flag("input"),
            "retain": no_flag("retain"),
        },
        "truncated_bptt": {
            "model": [
                (layer, TypeError, "model must be a Sequential, got GRU"),
                (None, TypeError, "model must be a Sequential, got NoneType"),
            ],
            "x": [
                ([0.5], TypeError, no_list_of("x", layer=True)),
                (None, TypeError, "x must be a NumPy array, got NoneType"),
                *no_shape(
                    "x",
                    "shape (batch, steps, features), or (batch, steps) of token ids",
                    *((5, 3), (2, 5, 3, 1), ()),
                ),
                (
                    X.astype("float32"),
                    TypeError,
                    f"x must have dtype {AS_LAYER}, got float32{cast('x')}, {OR_LAYER}",
                ),
                *no_ids("token ids", "input_size", 3),
            ],
            "loss_fn": [(0.5, TypeError, "loss_fn must be a function, got float")],
            "k1": [
                *no_integer("k1"),
                (4, ValueError, "k2 must be an integer >= k1 = 4, got 3"),
            ],
            "k2": [
                (0, ValueError, "k2 must be an integer >= 1, got 0"),
                (2.0, TypeError, "k2 must be an integer, got float"),
            ],
            "lengths": LENGTHS_ROWS,
            "state": no_states("state"),
        },
    }


# ---- all -----------------------------------------------------------------------------------------

OWNER = "Linear(in_features=4, out_features=6, dtype=float64, seed=0)"
NAME = no_name(OWNER, "weight, bias")
LINEAR_X = {
    "x": [
        *no_array("x", "float64 as the layer", layer=True),
        *no_shape("x", "shape (..., in_features) = (..., 4)", (2, 5, 3), (4, 1), ()),
    ]
}


def no_output(name: str, last: str) -> Rows:
    """What a loss is of: (2, 5, 6) or (2, 6)."""
    rule = f"{name} must have dtype float32 or float64, got"
    sizes = f"shape (batch, steps, {last}) or (batch, {last}) with {last} >= 1"
    return [
        ([0.5], TypeError, no_list_of(name)),
        (None, TypeError, f"{name} must be a NumPy array, got NoneType"),
        (np.ones((2, 5, 6), int), TypeError, f"{rule} int64{cast(name, 'float32')}"),
        (X.astype(complex), TypeError, f"{rule} complex128"),
        (X.astype(object), TypeError, f"{rule} object"),
        (X.astype(">f8"), TypeError, f"{rule} >f8{cast(name, 'float32')}"),
        *no_shape(name, sizes, (5,), (2, 5, 6, 1), (2, 5, 0), (2, 0)),
    ]


def no_target(name: str) -> Rows:
    return [
        *no_array("targets", "float64"),
        *no_shape("targets", f"the shape of the {name}, (2, 5, 6)", (2, 5), (2, 6), (5, 2, 6)),
    ]


def no_halves() -> Rows:
    return [
        *no_array("targets", "float64"),
        *no_shape("targets", "shape (2, 5, 3)", (2, 5), (2, 3), (2, 5, 6)),
    ]


IDS_OR_FLOATS = "targets must be integers (classes) or float64 (probabilities), got dtype"
PROBABILITIES = "targets must be probabilities, >= 0 with a sum of 1 over the classes"
EVEN = np.full((2, 5, 6), 1 / 6)
TARGETS: Rows = [
    ([0], TypeError, no_list_of("targets")),
    (None, TypeError, "targets must be a NumPy array, got NoneType"),
    (IDS > 0, TypeError, f"{IDS_OR_FLOATS} bool"),
    (IDS.astype(complex), TypeError, f"{IDS_OR_FLOATS} complex128"),
    (IDS.T, ValueError, "targets must have shape (batch, steps) = (2, 5), got (5, 2)"),
    (IDS[0], ValueError, "targets must have shape (batch, steps) = (2, 5), got (5,)"),
    *no_ids("targets", "classes", 6),
    (
        IDS.astype(float),
        TypeError,
        f"{IDS_OR_FLOATS} float64: use targets.astype(np.int64)",
    ),
    (
        EVEN.astype(np.float32),
        TypeError,
        f"targets must have dtype float64, got float32{cast('targets')}",
    ),
    (EVEN - 1, ValueError, f"{PROBABILITIES}, got {1 / 6 - 1}"),
    (EVEN * np.nan, ValueError, f"{PROBABILITIES}, got nan"),
    (np.ones((2, 5, 6)), ValueError, f"{PROBABILITIES}, got a sum of 6.0"),
]
CLASSES: Rows = [  # where probabilities are no targets
    (value, error, text.replace(" or float64 (probabilities)", ""))
    for value, error, text in TARGETS[:-4]
]
SMOOTHING = no_number("label_smoothing", "in [0, 1)", 1.0, -0.5)
COUNTED: dict[str, Rows] = {
    "lengths": LENGTHS_ROWS,
    "mask": [
        ([True], TypeError, no_list_of("mask")),
        (np.ones((2, 5)), TypeError, "mask must have dtype bool, got float64"),
        *[
            (
                np.ones(shape, bool),
                ValueError,
                f"mask must have shape (batch, steps) = (2, 5), got {shape}",
            )
            for shape in ((5, 2), (2,), (2, 5, 6), ())
        ],
    ],
    "weights": [
        ([1.0], TypeError, no_list_of("weights")),
        (
            IDS,
            TypeError,
            f"weights must have dtype float32 or float64, got int64{cast('weights', 'float32')}",
        ),
        *no_shape("weights", "shape (batch, steps) = (2, 5)", (5, 2), (2, 5, 6), ()),
        *no_shape("weights", "shape (batch,) = (2,)", (5,)),
        *[
            (np.full(2, wrong), ValueError, f"weights must be finite and >= 0, got {wrong}")
            for wrong in (-1.0, np.nan, np.inf)
        ],
    ],
    "time_major": no_flag("time_major"),
    "reduction": no_choice("reduction", "sum", "mean"),
}
MOST_CLASSES = "num_sampled must be an integer <= the number of classes, 6"
CLASS_LOSS: dict[str, Rows] = {
    "targets": CLASSES,
    "label_smoothing": SMOOTHING,
    **{name: COUNTED[name] for name in ("mask", "weights", "reduction")},
}
RATE = no_number("learning_rate", "in [0, inf)", -1.0, np.inf)
MODULES = no_list("modules", "a Module, a Sequential, or a list or tuple of them")
GRADIENTS = no_list("gradients", "what backward returned, or a list or tuple of it")
DECAY = no_number("weight_decay", "in [0, inf)", -1.0, np.inf)
OPTIMIZER: dict[str, Rows] = {
    "modules": MODULES,
    "learning_rate": RATE,
    **{
        name: no_number(name, "in [0, 1)", 1.0, -0.5)
        for name in ("momentum", "decay", "beta1", "beta2")
    },
    "epsilon": no_number("epsilon", "> 0", 0.0, -0.5),
    "nesterov": no_flag("nesterov"),
    "weight_decay": DECAY,
}
"""The arguments that optimizers have."""
STATE: Rows = [
    (wrong, TypeError, f"state must be a mapping of arrays, got {type(wrong).__name__}")
    for wrong in (None, [1], 3)
]
KINDS = (
    f"{LAYER_NAMES}, Linear, CRF, Embedding, EmbeddingBag, CharacterEmbedding, Dropout, Attention, "
    f"LayerNorm, InputDecay, {NAMES}, Sequential"
)

NO_IDS: Rows = [
    ([0], TypeError, no_list_of("ids", layer=True)),
    (None, TypeError, "ids must be a NumPy array, got NoneType"),
    (IDS.astype(float), TypeError, "ids must be integers, got dtype float64"),
    (IDS > 0, TypeError, "ids must be integers, got dtype bool"),
    (IDS[0], ValueError, "lengths needs ids of shape (batch, steps), got (5,)"),
    *no_ids("ids", "num_embeddings", 3),
]
CHARACTERS = "(batch, steps, word_length) = (batch, steps, 2)"
NO_CHARACTERS: Rows = [
    *NO_IDS[:4],
    (IDS, ValueError, f"ids must have shape {CHARACTERS}, got (2, 5)"),
    *(
        (np.stack([ids, ids], axis=-1), error, sentence)
        for ids, error, sentence in no_ids("ids", "num_embeddings", 3)
    ),
]
EMBEDDING = "Embedding(num_embeddings=3, embedding_dim=4, dtype=float64, seed=0)"


def like_output(
    shape: tuple[int, ...], *wrong: tuple[int, ...], none: bool = True
) -> dict[str, Rows]:
    """Wrong gradients of an output of `shape`; `none` says whether None is wrong."""
    rule = f"the shape of the output, {shape}"
    arrays = no_array("d_output", "float64", none=none)
    return {"d_output": [*arrays, *no_shape("d_output", rule, *wrong)]}


OF_SEQUENCES: Rows = [
    ([1.0], TypeError, no_list_of("weights")),
    (np.ones((2, 5)), ValueError, "weights must have shape (batch,) = (2,), got (2, 5)"),
    (np.ones(5), ValueError, "weights must have shape (batch,) = (2,), got (5,)"),
    (np.array([1.0, -1.0]), ValueError, "weights must be finite and >= 0, got -1.0"),
    (np.array([1.0, np.inf]), ValueError, "weights must be finite and >= 0, got inf"),
]
CTC: dict[str, Rows] = {
    "logits": [
        ([0.5], TypeError, no_list_of("logits")),
        *no_shape(
            "logits",
            "shape (batch, steps, classes) with classes >= 1",
            *((2, 6), (2, 5, 0), (2, 5, 1, 6), ()),
        ),
    ],
    "targets": [
        ([0], TypeError, no_list_of("targets")),
        (None, TypeError, "targets must be a NumPy array, got NoneType"),
        (IDS > 0, TypeError, "targets must be integers (labels), got dtype bool"),
        (
            IDS.astype(float),
            TypeError,
            "targets must be integers (labels), got dtype float64: use targets.astype(np.int64)",
        ),
        *(
            (
                np.ones(shape, int),
                ValueError,
                f"targets must have shape (batch, labels) with batch = 2, got {shape}",
            )
            for shape in ((3, 2), (2,), ())
        ),
        (IDS[:, :2] + 5, ValueError, "targets must lie in [0, classes) = [0, 6), got 7"),
        (IDS[:, :2] - 3, ValueError, "targets must lie in [0, classes) = [0, 6), got -1"),
        (np.zeros((2, 2), int), ValueError, "targets must not have the blank, 0"),
    ],
    "lengths": LENGTHS_ROWS,
    "target_lengths": [
        (value, error, f"target_{text}".replace("steps", "labels").replace("5]", "2]"))
        for value, error, text in LENGTHS_ROWS
    ],
    "blank": [
        *no_integer("blank", 0),
        (6, ValueError, "blank must be in [0, classes) = [0, 6), got 6"),
    ],
    "zero_infinity": no_flag("zero_infinity"),
    "weights": OF_SEQUENCES,
    "time_major": no_flag("time_major"),
    "reduction": COUNTED["reduction"],
}


def random_field() -> dict[str, dict[str, Rows]]:
    """The table of CRF, of emissions (2, 5, 6)."""
    name = no_name("CRF(num_labels=6, dtype=float64)", "transitions, start, end")
    start = [
        *no_array("start", "float64"),
        *no_shape("start", "shape (num_labels,) = (6,)", (5,), (1, 6), ()),
    ]
    types = no_array("x", "float64 as the layer", layer=True)
    rule = "shape (batch, steps, num_labels) with num_labels = 6"
    x = [*types, *no_shape("x", rule, (2, 5, 3), (5, 6), (2, 5, 1, 6), ())]
    sequence = {"x": x, "lengths": LENGTHS_ROWS}
    labels = [
        (
            value,
            error,
            text.replace("(classes)", "(labels)").replace("[0, classes)", "[0, num_labels)"),
        )
        for value, error, text in CLASSES
    ]
    return {
        "CRF": {"num_labels": no_integer("num_labels"), "dtype": DTYPE_AND_SEED["dtype"]},
        "CRF.__getitem__": {"name": name},
        "CRF.__setitem__": {"name": name, "value": start},
        "CRF.__call__": {
            "x": [*types, *no_shape("x", "shape (..., num_labels) = (..., 6)", (2, 5, 3), ())]
        },
        "CRF.forward": {"x": x},
        "CRF.decode": sequence,
        "CRF.marginals": sequence,
        "CRF.cross_entropy": {
            **sequence,
            "targets": labels,
            "mask": COUNTED["mask"],
            "weights": OF_SEQUENCES,
            "reduction": COUNTED["reduction"],
            "gradients": no_flag("gradients"),
            "predictions": no_flag("predictions"),
        },
        "CRFRun.backward": like_output((2, 5, 6), (2, 5, 4), (10, 6), ()),
    }


def token_vectors() -> dict[str, dict[str, Rows]]:
    """The table of Embedding and Dropout."""
    name = no_name(EMBEDDING, "weight")
    sizes = "num_embeddings=3, embedding_dim=4, hidden_size=2, word_length=2"
    kinds = ("weight_ih", "weight_hh", "bias")
    parts = [f"{kind}_l0{way}" for way in ("", "_reverse") for kind in kinds]
    letters = no_name(
        f"CharacterEmbedding({sizes}, cell=gru, dtype=float64, seed=0)",
        ", ".join(["weight", *parts]),
    )
    shape = "shape (num_embeddings, embedding_dim) = (3, 4)"
    weight = [*no_array("weight", "float64"), *no_shape("weight", shape, (4, 3), (12,), ())]
    ids = {"ids": NO_IDS, "lengths": LENGTHS_ROWS}
    x = {"x": no_array("x", "float64 as the layer", layer=True)}
    no_tokens: Rows = [
        (None, TypeError, "tokens must be a sequence of str, got NoneType"),
        ("ab", TypeError, "tokens must be a sequence of str, got str"),
        ([1], TypeError, "tokens must be strings, got int"),
        (["a"] * 4, ValueError, "tokens must be at most num_embeddings = 3, got 4"),
    ]
    rule = "vectors['a'] must have shape (embedding_dim,) = (4,), got (3,)"
    no_vectors: Rows = [
        (None, TypeError, "vectors must be a mapping, got NoneType"),
        ([("a", H)], TypeError, "vectors must be a mapping, got list"),
        ({"a": [1.0]}, TypeError, no_list_of("vectors['a']")),
        ({"a": IDS[0]}, TypeError, "vectors['a'] must be of floats, got dtype int64"),
        ({"a": H}, ValueError, "vectors['a'] must have 1 dimensions, got shape (2, 2, 4)"),
        ({"a": np.ones(3)}, ValueError, rule),
        (
            {"a": np.full(4, np.nan)},
            ValueError,
            "vectors must be finite in float64, got NaN or infinity: 'a'",
        ),
    ]
    return {
        "Embedding": {
            **{name: no_integer(name) for name in ("num_embeddings", "embedding_dim")},
            "frozen": no_flag("frozen"),
            **DTYPE_AND_SEED,
        },
        "Embedding.set_vectors": {"tokens": no_tokens, "vectors": no_vectors},
        "Embedding.__getitem__": {"name": name},
        "Embedding.__setitem__": {"name": name, "value": weight},
        "Embedding.__call__": ids,
        "Embedding.forward": ids,
        "EmbeddingRun.backward": like_output((2, 5, 4), (2, 5, 3), (10, 4), ()),
        "CharacterEmbedding": {
            **{name: no_integer(name) for name in ("num_embeddings", "embedding_dim")},
            **{name: no_integer(name) for name in ("hidden_size", "word_length")},
            "cell": no_choice("cell", *CELLS),
            **DTYPE_AND_SEED,
        },
        "CharacterEmbedding.__getitem__": {"name": letters},
        "CharacterEmbedding.__setitem__": {"name": letters, "value": weight},
        "CharacterEmbedding.__call__": {**ids, "ids": NO_CHARACTERS},
        "CharacterEmbedding.forward": {**ids, "ids": NO_CHARACTERS},
        "CharacterEmbeddingRun.backward": {
            **like_output((2, 5, 4), (2, 5, 3), (10, 4), ()),
            "retain": no_flag("retain"),
        },
        "Dropout": {"rate": no_number("rate", "in [0, 1)", 1.0, -0.5), **DTYPE_AND_SEED},
        "Dropout.__call__": x,
        "Dropout.forward": x,
        "DropoutRun.backward": like_output((2, 5, 3), (2, 5, 4), (10, 3), ()),
    }


def normalization() -> dict[str, dict[str, Rows]]:
    """The table of LayerNorm and of the activation functions."""
    name = no_name("LayerNorm(num_features=3, dtype=float64)", "weight, bias")
    weight = [
        *no_array("weight", "float64"),
        *no_shape("weight", "shape (num_features,) = (3,)", (4,), (1, 3), ()),
    ]
    x = {
        "x": [
            *no_array("x", "float64 as the layer", layer=True),
            *no_shape("x", "shape (..., num_features) = (..., 3)", (2, 5, 4), (3, 1), ()),
        ]
    }
    width = "shape (..., 3*num_features + num_others) = (..., 3)"
    decayed = {
        "x": [
            *no_array("x", "float64 as the layer", layer=True),
            *no_shape("x", width, (2, 5, 4), (3, 1), ()),
        ]
    }
    any_x = {"x": no_array("x", "float64 as the layer", layer=True)}
    d_output = like_output((2, 5, 3), (2, 5, 4), (10, 3), ())
    dtype = {"dtype": DTYPE_AND_SEED["dtype"]}
    return {
        "LayerNorm": {
            "num_features": no_integer("num_features"),
            "epsilon": no_number("epsilon", "> 0", 0.0, -0.5),
            **dtype,
        },
        "LayerNorm.__getitem__": {"name": name},
        "LayerNorm.__setitem__": {"name": name, "value": weight},
        "LayerNorm.__call__": x,
        "LayerNorm.forward": x,
        "LayerNormRun.backward": {**d_output, "input": no_flag("input")},
        "InputDecay": {
            "num_features": no_integer("num_features"),
            "num_others": no_integer("num_others", 0),
            "pass_times": no_flag("pass_times"),
            **dtype,
        },
        "InputDecay.__getitem__": {
            "name": no_name("InputDecay(num_features=1, dtype=float64)", "rate, bias")
        },
        "InputDecay.__setitem__": {
            "name": no_name("InputDecay(num_features=1, dtype=float64)", "rate, bias"),
            "value": [
                *no_array("rate", "float64"),
                *no_shape("rate", "shape (num_features,) = (1,)", (4,), (1, 3), ()),
            ],
        },
        "InputDecay.__call__": decayed,
        "InputDecay.forward": decayed,
        "InputDecayRun.backward": {
            **like_output((2, 5, 2), (2, 5, 3), (10, 2), ()),
            "input": no_flag("input"),
        },
        **dict.fromkeys(ELEMENTWISE, dtype),
        **{f"{kind}.__call__": any_x for kind in ELEMENTWISE},
        **{f"{kind}.forward": any_x for kind in ELEMENTWISE},
        "ElementwiseRun.backward": d_output,
    }


TABLE: dict[str, dict[str, Rows]] = {
    **{name: rows for layer in LAYERS for name, rows in recurrent(layer).items()},
    "Linear": {
        **{name: no_integer(name) for name in ("in_features", "out_features")},
        "bias": no_flag("bias"),
        **DTYPE_AND_SEED,
    },
    "Linear.__getitem__": {"name": NAME},
    "Linear.__setitem__": {
        "name": NAME,
        "value": [
            *no_array("weight", "float64"),
            *no_shape("weight", "shape (out_features, in_features) = (6, 4)", (4, 6), (24,), ()),
        ],
    },
    "Linear.__call__": LINEAR_X,
    "Linear.forward": LINEAR_X,
    "Linear.cross_entropy": {
        "x": [
            *LINEAR_X["x"],
            *no_shape(
                "x",
                "shape (batch, steps, in_features) or (batch, in_features) with in_features >= 1",
                *((4,), (2, 5, 1, 4)),
            ),
        ],
        "targets": CLASSES,
        "label_smoothing": SMOOTHING,
        "gradients": no_flag("gradients"),
        **COUNTED,
    },
    "LinearRun.backward": {
        **like_output((2, 5, 6), (2, 5, 4), (10, 6), ()),
        "input": no_flag("input"),
    },
    **compression(),
    **random_field(),
    **token_vectors(),
    **normalization(),
    **chains(),
    **attention(),
    "Gradients.__getitem__": {"name": NAME},
    "Gradients.__setitem__": {
        "name": NAME,
        "value": [
            *no_array("weight", "float64"),
            *no_shape("weight", "shape (out_features, in_features) = (6, 4)", (4, 6), (24,), ()),
        ],
    },
    "softmax_cross_entropy": {
        "logits": no_output("logits", "classes"),
        "targets": TARGETS,
        "label_smoothing": SMOOTHING,
        **COUNTED,
    },
    "linear_cross_entropy": {
        "x": no_output("x", "features"),
        "weight": [
            *no_array("weight", "float64"),
            *no_shape(
                "weight",
                "shape (classes, features) with features = 6 and classes >= 1",
                *((6, 5), (0, 6), (6,), ()),
            ),
        ],
        "bias": [
            *no_array("bias", "float64", none=False),
            *no_shape("bias", "shape (classes,) = (6,)", (5,), (6, 1), ()),
        ],
        "targets": CLASSES,
        "label_smoothing": SMOOTHING,
        "gradients": no_flag("gradients"),
        **COUNTED,
    },
    "ctc_loss": CTC,
    "binary_cross_entropy": {
        "logits": no_output("logits", "outputs"),
        "targets": [
            *no_target("logits"),
            *[
                (np.full((2, 5, 6), wrong), ValueError, f"targets must lie in [0, 1], got {wrong}")
                for wrong in (-0.5, 1.5, np.nan)
            ],
        ],
        **COUNTED,
    },
    "mean_squared_error": {
        "output": no_output("output", "outputs"),
        "targets": no_target("output"),
        **COUNTED,
    },
    "pinball_loss": {
        "output": [
            *no_output("output", "outputs"),
            (
                np.zeros((2, 5, 7)),
                ValueError,
                "output must have outputs for each of 2 quantiles of every target, got (2, 5, 7)",
            ),
        ],
        "targets": no_halves(),
        "quantiles": [
            (0.5, TypeError, "quantiles must be a list or an array, got float"),
            (["a"], TypeError, "quantiles[0] must be a real number, got str"),
            *(
                (wrong, ValueError, f"quantiles must be increasing numbers in (0, 1), got {wrong}")
                for wrong in ([], [0.0, 0.5], [0.5, 1.0], [0.5, 0.5], [0.9, 0.1], [np.nan])
            ),
        ],
        **COUNTED,
    },
    "gaussian_nll": {
        "output": [
            *no_output("output", "outputs"),
            (
                np.zeros((2, 5, 7)),
                ValueError,
                "output must have an even number of outputs, means and logarithms of variances, "
                "got (2, 5, 7)",
            ),
        ],
        "targets": no_halves(),
        **COUNTED,
    },
    "ordinal_cross_entropy": {
        "logits": no_output("logits", "classes - 1"),
        "targets": [
            *[row for row in CLASSES if "classes) = [0, 6)" not in row[2]],
            *no_ids("targets", "classes", 7),
        ],
        **COUNTED,
    },
    "softmax": {
        "logits": [
            *no_output("logits", "classes")[:6],
            *no_shape("logits", "shape (..., classes) with classes >= 1", (), (0,), (2, 5, 0)),
        ]
    },
    "sigmoid": {"logits": no_output("logits", "classes")[:6]},
    **{kind.__name__: of_signature(kind, OPTIMIZER) for kind in OPTIMIZERS.values()},
    **{
        f"{kind.__name__}.step": {
            "gradients": GRADIENTS,
            "gradient_scale": no_number("gradient_scale", "in [0, inf)", -1.0, np.inf),
        }
        for kind in OPTIMIZERS.values()
    },
    **{f"{kind.__name__}.restore": {"state": STATE} for kind in OPTIMIZERS.values()},
    "set_flush_denormals": {"flush": no_flag("flush")},
    "set_num_threads": {"n": THREADS},
    "threads": {"n": THREADS},
    "clip_by_value": {"gradients": GRADIENTS, "limit": no_number("limit", "> 0", 0.0, -1.0)},
    "clip_by_global_norm": {
        "gradients": GRADIENTS,
        "max_norm": no_number("max_norm", "> 0", 0.0, -1.0),
    },
    "save_modules": {
        "path": [(3, TypeError, "path must be a string or a path, got int")],
        "modules": [
            (3, TypeError, "modules must be a mapping of names to modules, got int"),
            (
                bptt.Sequential(bptt.RNN(1, 1)),
                TypeError,
                "modules must be a mapping of names to modules, got Sequential: "
                'use {"model": model}',
            ),
            ({0: bptt.RNN(1, 1)}, TypeError, "names of modules must be strings, got int"),
            ({"a": 3}, TypeError, f"modules['a'] must be one of {KINDS}, got int"),
        ],
        "metadata": [
            (3, TypeError, "metadata must be a mapping, got int"),
            (
                {"a": 1j},
                TypeError,
                "metadata must be JSON-serializable: Object of type complex is not JSON "
                "serializable",
            ),
            ({1: 2}, TypeError, "names of metadata must be strings, got int"),
        ],
    },
    "load_modules": {"path": [(3, TypeError, "path must be a string or a path, got int")]},
}
