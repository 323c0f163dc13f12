"""Cells, options, dtypes and shapes that all tests are parametrized over.

A test over them begins like this:

    @pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
    @pytest.mark.parametrize("case", all_cases(), ids=str)
    def test_output(case, dtype):
        problem = make(case, dtype)
        result, gradients = run_reference(case, problem)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import bptt
from bptt import reference
from bptt.nn import activations, cells
from bptt.nn.recurrent import LAYER_OF_CELL, LAYERS

Array: TypeAlias = npt.NDArray[Any]
State: TypeAlias = Array | tuple[Array, ...]

CELLS = tuple(cells.CELLS)
ACTIVATIONS = tuple(activations.ACTIVATIONS)
GATE_ACTIVATIONS = tuple(activations.GATE_ACTIVATIONS)
MERGES = ("concat", "sum", "mean", "mul")
LENGTHS = ("full", "ragged", "short")
DTYPES = (np.float32, np.float64)

every_cell = pytest.mark.parametrize("cell", CELLS)
every_layer = pytest.mark.parametrize("layer_type", LAYERS)


def gate_activations(cell: str) -> tuple[str, ...]:
    """Gate activations of a cell; one, which is ignored, for a cell without gates."""
    return GATE_ACTIVATIONS if cells.CELLS[cell].has_gate_activation else GATE_ACTIVATIONS[:1]


FORMS: tuple[dict[str, Any], ...] = (
    *({"cell": cell} for cell in CELLS),
    *({"cell": cell, "proj_size": 2} for cell in ("lstm", "lstm_peephole_coupled")),
    *({"cell": cell, "decay_size": 2} for cell in ("gru", "gru_layer_norm")),
)
"""Arguments of a `Case`: every cell, and cells whose h is projected or decays."""

every_form = pytest.mark.parametrize(
    "form", FORMS, ids=lambda form: "-".join([form["cell"], *list(form)[1:]])
)


def has_cell_state(cell: str) -> bool:
    """Whether the state of a cell is a tuple (h, c, ..)."""
    return cells.CELLS[cell].has_cell_state


def can_project(cell: str) -> bool:
    """Whether h of a cell can be projected to fewer units."""
    return LAYER_OF_CELL[cell] is bptt.LSTM and "proj_size" not in cells.CELLS[cell].options


def can_decay(cell: str) -> bool:
    """Whether h of a cell can decay by times."""
    return LAYER_OF_CELL[cell] is bptt.GRU


def is_normalized(cell: str) -> bool:
    """Whether a cell has layer normalization: of a few numbers, it is ill-conditioned."""
    return bool(cells.CELLS[cell].gate_parameters)


@dataclass(frozen=True)
class Case:
    """One network on one batch."""

    cell: str
    activation: str = "tanh"
    gate_activation: str = "sigmoid"
    num_layers: int = 1
    bidirectional: bool = False
    reverse: bool = False
    merge: str = "concat"
    steps: int = 6  # T
    batch: int = 3  # B
    input_size: int = 4  # I
    hidden_size: int = 5  # H
    proj_size: int = 0  # P; ignored by cells without a projection
    num_heads: int = 1
    decay_size: int = 0  # D; ignored by cells without a decay, and where x holds ids
    lengths: str = "full"  # "ragged": any order, with 0 and T; "short": all below T
    state: bool = False  # an initial state, and a gradient of the final one
    dropout: float = 0.0
    zoneout: float = 0.0
    recurrent_dropout: float = 0.0  # not in the reference
    learn_initial_state: bool = False
    ids: bool = False  # x holds ids

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The size of h, and those of the arrays beside it."""
        h_size = self.proj_size if can_project(self.cell) else 0
        others = len(cells.CELLS[self.cell].states) - 1
        return (h_size or self.hidden_size, *[self.hidden_size] * others)

    @property
    def times(self) -> int:
        """The number of the last features by which h decays."""
        return self.decay_size if can_decay(self.cell) and not self.ids else 0

    @property
    def output_size(self) -> int:  # D
        return self.state_sizes[0] * (2 if self.bidirectional and self.merge == "concat" else 1)

    @property
    def state_shapes(self) -> list[tuple[int, int, int]]:
        runs = self.num_layers * self.directions
        return [(runs, self.batch, size) for size in self.state_sizes]

    def states(self, make: Callable[..., Array]) -> State:
        """The state of arrays that `make` makes of their shapes, as of `np.zeros`."""
        parts = [make(shape) for shape in self.state_shapes]
        return tuple(parts) if len(parts) > 1 else parts[0]

    @property
    def layer(self) -> str:
        """The name of the class in `bptt`."""
        return LAYER_OF_CELL[self.cell].__name__

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments of the layer, except dtype, seed and time_major."""
        arguments = {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "reverse": self.reverse,
            "merge": self.merge,
            "dropout": self.dropout,
            "zoneout": self.zoneout,
            "recurrent_dropout": self.recurrent_dropout,
            "learn_initial_state": self.learn_initial_state,
            "activation": self.activation,
        }
        if cells.CELLS[self.cell].has_gate_activation:
            arguments["gate_activation"] = self.gate_activation
        if can_project(self.cell):
            arguments["proj_size"] = self.proj_size
        if self.times:
            arguments["decay_size"] = self.times
        if self.num_heads > 1:
            arguments["num_heads"] = self.num_heads
        return {**arguments, **cells.CELLS[self.cell].options}

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `reference.forward`, except those of the problem."""
        return {
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "reverse": self.reverse,
            "merge": self.merge,
            "activation": self.activation,
            "gate_activation": self.gate_activation,
        }

    def __str__(self) -> str:
        words = [self.cell]
        words += [self.activation] if self.activation != "tanh" else []
        words += [self.gate_activation] if self.gate_activation != "sigmoid" else []
        words += [f"{self.num_layers}layers"] if self.num_layers > 1 else []
        words += [f"bi_{self.merge}"] if self.bidirectional else []
        words += ["reverse"] if self.reverse else []
        words += [f"T{self.steps}B{self.batch}I{self.input_size}H{self.hidden_size}"]
        words += [f"P{self.proj_size}"] if self.proj_size else []
        words += [f"{self.num_heads}heads"] if self.num_heads > 1 else []
        words += [f"decay{self.decay_size}"] if self.decay_size else []
        words += [self.lengths] if self.lengths != "full" else []
        words += ["state"] if self.state else []
        words += [f"dropout{self.dropout}"] if self.dropout else []
        words += [f"zoneout{self.zoneout}"] if self.zoneout else []
        words += [f"recurrent{self.recurrent_dropout}"] if self.recurrent_dropout else []
        words += ["learned"] if self.learn_initial_state else []
        words += ["ids"] if self.ids else []
        return "-".join(words)


EVERYTHING = Case(
    "lstm",
    num_layers=2,
    bidirectional=True,
    steps=9,
    batch=6,
    input_size=7,
    hidden_size=11,
    lengths="ragged",
    state=True,
)
"""All options of a layer at once, except dropout and ids."""


def all_cells() -> list[Case]:
    """Every cell with every activation and every gate activation."""
    return [
        Case(cell, activation, gate_activation)
        for cell in CELLS
        for activation in ACTIVATIONS
        for gate_activation in gate_activations(cell)
    ]


# (T, B, I, H): each of them 1; H below, at and next to any register width; I ≠ H; long T.
SHAPES = (
    (1, 1, 1, 1),
    (1, 3, 4, 5),
    (7, 1, 2, 3),
    (7, 2, 1, 17),
    (5, 7, 33, 20),
    (4, 6, 16, 8),
    (9, 13, 12, 33),
    (6, 5, 20, 64),
    (3, 40, 5, 16),
    (50, 4, 10, 20),
    (200, 2, 6, 12),
)


def shapes() -> list[Case]:
    """Every cell at every shape.

    With one feature and one unit, what is normalized has no gradient but that of ε, of which
    float32 keeps few digits: two features then.
    """
    return [
        Case(cell, steps=T, batch=B, input_size=inputs, hidden_size=H, state=True)
        for cell in CELLS
        for T, B, inputs, H in SHAPES[is_normalized(cell) :]
    ] + [
        Case("lstm", steps=T, batch=B, input_size=inputs, hidden_size=H, proj_size=P, state=True)
        for T, B, inputs, H in SHAPES
        for P in sorted({1, H // 2, H - 1} - {0, H})
    ]


def options() -> list[Case]:
    """Every cell with every option of a layer, alone and together."""
    stack: dict[str, Any] = {"num_layers": 3}
    stacked: dict[str, Any] = {**stack, "bidirectional": True}
    ragged: dict[str, Any] = {"lengths": "ragged", "batch": 6, "state": True}
    choices: list[dict[str, Any]] = [
        {"state": True},
        {"lengths": "ragged", "batch": 6},
        {"lengths": "short", "batch": 4, "state": True},
        {"num_layers": 2},
        {"bidirectional": True},
        {"reverse": True},
        {"reverse": True, "hidden_size": 17, **stack, **ragged},
        *({"bidirectional": True, "merge": merge, **ragged} for merge in MERGES),
        *({"merge": merge, "hidden_size": 7, **stacked, **ragged} for merge in MERGES),
        {"num_layers": 2, "dropout": 0.3},
        {"dropout": 0.5, "hidden_size": 18, **stacked, **ragged},
        {"zoneout": 0.3, "hidden_size": 17},
        {"zoneout": 0.5, "dropout": 0.2, "hidden_size": 18, **stacked, **ragged},
        {"learn_initial_state": True},
        {"learn_initial_state": True, **stacked, **ragged},
        {"learn_initial_state": True, "dropout": 0.2, **stacked, "lengths": "ragged", "batch": 6},
        {"ids": True},
        {"ids": True, "input_size": 11, **stacked, **ragged},
        {"ids": True, "reverse": True, "learn_initial_state": True, "lengths": "short"},
        {"reverse": True, "zoneout": 0.3, "dropout": 0.2, **stack, "lengths": "ragged"},
        {"steps": 40, "batch": 9, "hidden_size": 19, **stacked, "lengths": "ragged"},
    ]
    projections: list[dict[str, Any]] = [
        {"proj_size": 3},
        {"proj_size": 2, "ids": True, "bidirectional": True},
        *({"proj_size": 4, "merge": merge, **stacked, **ragged} for merge in MERGES),
        {"proj_size": 17, "zoneout": 0.3, "hidden_size": 19, "num_layers": 2, **ragged},
        {"proj_size": 9, "zoneout": 0.5, "dropout": 0.2, "hidden_size": 21, **stacked, **ragged},
        {"proj_size": 3, "reverse": True, "num_layers": 2, **ragged},
        {"proj_size": 20, "steps": 40, "batch": 9, "hidden_size": 35, **stacked, "state": True},
    ]
    decays: list[dict[str, Any]] = [
        {"decay_size": 1},
        {"decay_size": 3, "num_layers": 2},
        *({"decay_size": 2, "merge": merge, **stacked, **ragged} for merge in MERGES),
        {"decay_size": 2, "zoneout": 0.5, "dropout": 0.2, "hidden_size": 18, **stacked, **ragged},
        {"decay_size": 2, "learn_initial_state": True, "hidden_size": 17, "lengths": "short"},
        {"decay_size": 2, "reverse": True, "num_layers": 2, **ragged},
        {"decay_size": 9, "input_size": 20, "steps": 40, "batch": 9, "hidden_size": 33, **stacked},
    ]
    return [
        *(Case(cell, **choice) for cell in CELLS for choice in choices),
        *(Case(cell, **choice) for cell in CELLS if can_project(cell) for choice in projections),
        *(Case(cell, **choice) for cell in CELLS if can_decay(cell) for choice in decays),
        *heads(),
    ]


def heads() -> list[Case]:
    """Heads of one unit, less than a register, about one, and several, alone and stacked."""
    stacked: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "lengths": "ragged"}
    return [
        Case("slstm", hidden_size=hidden, num_heads=count, state=True, batch=batch, **more)
        for hidden, count in ((6, 6), (15, 5), (34, 2), (33, 3), (24, 2), (96, 2), (96, 4))
        for batch, more in ((1, {}), (7, stacked))
    ]


def stacked_cells() -> list[Case]:
    """`all_cells`, each of them stacked, bidirectional, ragged and with states."""
    return [
        replace(case, num_layers=2, bidirectional=True, lengths="ragged", batch=4, state=True)
        for case in all_cells()
    ]


def large() -> list[Case]:
    """Every cell, with more than one block of rows, units, inputs and steps."""
    sizes: dict[str, Any] = {"steps": 60, "batch": 16, "input_size": 300, "hidden_size": 70}
    ids: dict[str, Any] = {"ids": True, "num_layers": 2, "bidirectional": True}
    ids["lengths"] = "ragged"
    return [
        Case(**form, **sizes, state=True, **more)
        for form in (
            *({"cell": cell} for cell in CELLS),
            {"cell": "lstm", "proj_size": 37},
            {"cell": "gru_reset_after", "decay_size": 50},
        )
        for more in ({}, ids)
    ]


def all_cases() -> list[Case]:
    return list(dict.fromkeys([*all_cells(), *stacked_cells(), *shapes(), *options()]))


def dtype_id(dtype: npt.DTypeLike) -> str:
    return np.dtype(dtype).name


@dataclass
class Problem:
    """The arrays of a case; all floats in one dtype."""

    parameters: dict[str, Array]
    x: Array  # (B, T, I), or ids (B, T)
    lengths: Array | None  # (B,)
    state: State | None  # h, or (h, c, ..); (num_layers*directions, B, H) each, P of h
    d_output: Array  # (B, T, D)
    d_state: State | None
    dropout_masks: list[Array] | None  # (B, T, D) for each layer but the last
    zoneout_masks: list[tuple[Array, ...]] | None  # of each layer and direction: (B, T, H) a state


def make_lengths(kind: str, batch: int, steps: int, seed: int = 0) -> Array | None:
    """Lengths (B,), in any order; "ragged" includes 0 and T if B allows it."""
    rng = np.random.default_rng(seed)
    if kind == "full":
        return None
    if kind == "short":
        return rng.integers(1, max(steps, 2), batch)
    lengths = rng.integers(0, steps + 1, batch)
    lengths[:2] = (steps, 0)[:batch]
    return rng.permutation(lengths)


def make(case: Case, dtype: npt.DTypeLike = np.float64, seed: int = 0, scale: float = 1) -> Problem:
    """Arrays for a case; float32 and float64 differ by rounding only.

    Parameters are uniform within ±scale/√H, which keeps every cell and activation bounded.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(dtype)

    def state() -> State | None:
        if not case.state:
            return None
        drawn = case.states(lambda shape: normal(*shape))
        if len(case.state_sizes) == 4:
            h, c, n, m = drawn
            return h, c, np.abs(n) + np.asarray(0.5, dtype), m  # n is a sum of weights
        return drawn

    T, B, D = case.steps, case.batch, case.output_size
    names = ("input_size", "hidden_size", "num_layers", "bidirectional", "merge", "num_heads")
    names += ("learn_initial_state",)
    sizes = {n: getattr(case, n) for n in names}
    if can_project(case.cell):
        sizes["proj_size"] = case.proj_size
    if case.times:
        sizes["decay_size"] = case.times
    shapes = reference.parameter_shapes(case.cell, **sizes)
    bound = scale / np.sqrt(case.hidden_size)
    keep = rng.random((case.num_layers - 1, B, T, D)) >= case.dropout
    zoneout_masks = None
    if case.zoneout:
        draws = np.random.default_rng(seed)
        zoneout_masks = [
            tuple(
                (draws.random((B, T, size)) >= case.zoneout).astype(dtype)
                for size in case.state_sizes[:2]
            )
            for _ in range(case.num_layers * case.directions)
        ]
    return Problem(
        {name: rng.uniform(-bound, bound, s).astype(dtype) for name, s in shapes.items()},
        rng.integers(0, case.input_size, (B, T)) if case.ids else normal(B, T, case.input_size),
        make_lengths(case.lengths, B, T, seed),
        state(),
        normal(B, T, D),
        state(),
        list((keep / (1 - case.dropout)).astype(dtype)) if case.dropout else None,
        zoneout_masks,
    )


def make_layer(case: Case, problem: Problem, **more: Any) -> Any:
    """The compiled layer of a case, with the problem's parameters and their dtype.

    Initial values would take longer than most cases, and are not used.
    """
    dtype = next(iter(problem.parameters.values())).dtype
    config = {**case.arguments, "dtype": dtype, "seed": 0, **more}
    layer = getattr(bptt, case.layer)._with_parameters(config, problem.parameters.__getitem__)
    assert set(layer) == set(problem.parameters)
    return layer


def in_float64(problem: Problem) -> Problem:
    """The same numbers in float64, for a reference with negligible rounding errors."""

    def cast(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            return value.astype(np.float64)
        if isinstance(value, (list, tuple)):
            return type(value)(map(cast, value))
        return {k: cast(v) for k, v in value.items()} if isinstance(value, dict) else value

    return Problem(**{name: cast(value) for name, value in vars(problem).items()})


def forward_reference(case: Case, problem: Problem) -> reference.Result:
    """Forward of the problem, in its own dtype."""
    return reference.forward(
        case.cell,
        problem.x,
        problem.parameters,
        lengths=problem.lengths,
        state=problem.state,
        dropout_masks=problem.dropout_masks,
        zoneout_masks=problem.zoneout_masks,
        **case.options,
    )


def run_reference(case: Case, problem: Problem) -> tuple[reference.Result, reference.Gradients]:
    """Forward and backward of the problem, in its own dtype."""
    result = forward_reference(case, problem)
    return result, reference.backward(result, problem.d_output, problem.d_state)


def tolerance(dtype: npt.DTypeLike, steps: int, gradient: bool = False) -> float:
    """Largest error of a value, relative to the largest value of its array."""
    if np.dtype(dtype) == np.float64:
        return 1e-10 if gradient else 1e-12
    return float(1e-5 * np.sqrt(steps))


def assert_close(
    actual: Array, expected: Array, dtype: npt.DTypeLike, steps: int, gradient: bool = False
) -> None:
    """max|actual - expected| ≤ `tolerance` · max|expected|, and the dtype and shape are right.

    NaN must be where NaN is expected, and Inf as well. `expected` may be of a higher precision.
    """
    assert actual.dtype == np.dtype(dtype), f"{actual.dtype} instead of {np.dtype(dtype)}"
    assert actual.shape == expected.shape, f"{actual.shape} instead of {expected.shape}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite].astype(dtype))
    if not finite.any():
        return
    error = np.zeros(expected.shape)
    error[finite] = np.abs(actual[finite] - expected[finite])
    scale = np.abs(expected[finite]).max()
    # below the smallest normal number there are no relative errors, and kernels flush to 0
    bound = tolerance(dtype, steps, gradient) * scale + np.finfo(dtype).tiny
    worst = np.unravel_index(np.argmax(error), error.shape)
    assert error[worst] <= bound, (
        f"{error[worst] / scale:.2e} relative at {tuple(map(int, worst))}: {actual[worst]} "
        f"instead of {expected[worst]}; {bound / scale:.2e} is allowed"
    )


def assert_all_close(
    actual: Mapping[str, Array],
    expected: Mapping[str, Array],
    dtype: npt.DTypeLike,
    steps: int,
    gradient: bool = False,
) -> None:
    """`assert_close` for every array of a mapping; the names are the same."""
    assert set(actual) == set(expected)
    for name in expected:
        try:
            assert_close(actual[name], expected[name], dtype, steps, gradient)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def trained(module, seed=0):
    """The module, with parameters that are all other than the initial ones."""
    rng = np.random.default_rng(seed)
    for name in module:
        module[name] = module[name] + rng.normal(0, 0.3, module[name].shape).astype(module.dtype)
    return module
