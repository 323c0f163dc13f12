"""Rows of the comparison: computations, sizes and data.

T steps, B batch size, I input size, H hidden units. All sequences are time-major, (T, B, ..).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bptt.nn import cells

Array: TypeAlias = npt.NDArray[Any]
Size: TypeAlias = tuple[int, int, int, int]

# Names in bptt. The GRU has the reset gate after the product, as in all peers.
BPTT_CELLS = {
    "rnn": "rnn",
    "lstm": "lstm",
    "gru": "gru_reset_after",
    "bilstm": "lstm",
    "bigru": "gru_reset_after",
}
CELLS = ("rnn", "lstm", "gru", "bilstm")  # of the layers that are measured alone
MODES = ("inference", "training", "step")
DTYPES = ("float32", "float64")
GROUPS = ("grid", "step", "ragged", "lecture", "sweep")

# (T, B, I, H)
SIZES: tuple[Size, ...] = (
    (100, 1, 32, 64),
    (100, 1, 128, 128),
    (100, 1, 256, 256),
    (100, 1, 512, 512),
    (1000, 1, 64, 64),
    (100, 16, 64, 64),
    (50, 32, 128, 128),
    (100, 32, 256, 256),
    (35, 20, 200, 200),
    (1000, 8, 128, 128),
    (50, 64, 512, 512),
    (25, 128, 1024, 1024),
)
FLOAT64_SIZES = (SIZES[0], SIZES[2], SIZES[5], SIZES[6], SIZES[7], SIZES[8])
RAGGED_SIZES = (SIZES[5], SIZES[7], SIZES[8])
STACKED: tuple[tuple[Size, int], ...] = (((35, 20, 650, 650), 2), ((1000, 1, 256, 256), 2))
RANDOM_SIZES = ((20, 400), (1, 64), (5, 300), (20, 800))  # from T, B, I, H to T, B, I, H
STEP_SIZES = (16, 32, 64, 128, 256, 512)  # I = H
LECTURE_SIZE = SIZES[0]
SWEEP_BASE: Size = (100, 16, 128, 128)
SWEEPS = {  # varied size -> values
    "T": (10, 30, 100, 300, 1000),
    "B": (1, 2, 4, 8, 16, 32, 64, 128),
    "H": (16, 32, 64, 128, 256, 512),
}


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    group: str  # one of GROUPS: determines peers and figures
    cell: str
    mode: str
    steps: int
    batch: int
    input_size: int
    hidden_size: int
    num_layers: int = 1
    dtype: str = "float32"
    ragged: bool = False

    @property
    def bptt_cell(self) -> cells.Cell:
        """Declaration of the cell in bptt."""
        return cells.CELLS[BPTT_CELLS[self.cell]]

    @property
    def directions(self) -> int:
        return 2 if self.cell.startswith("bi") else 1

    @property
    def kind(self) -> str:
        """The cell without its directions."""
        return self.cell.removeprefix("bi")

    @property
    def size(self) -> Size:
        return self.steps, self.batch, self.input_size, self.hidden_size

    @property
    def lengths(self) -> Array | None:
        """(B,), a permutation of values evenly spaced in [1, T]; None if all are T."""
        if not self.ragged:
            return None
        lengths = np.linspace(1, self.steps, self.batch).round().astype(np.int64)
        return np.random.default_rng(0).permutation(lengths)

    @property
    def sequence_steps(self) -> int:
        """Total number of steps of all sequences."""
        return self.steps * self.batch if self.lengths is None else int(self.lengths.sum())

    @property
    def label(self) -> str:
        words = [self.cell]
        words += [f"{self.num_layers}-layer"] if self.num_layers > 1 else []
        words += [f"({', '.join(map(str, self.size))})"]
        words += ["ragged"] if self.ragged else []
        return " ".join(words)

    def __str__(self) -> str:
        return f"{self.group}: {self.label} {self.mode} {self.dtype}"

    @property
    def inputs(self) -> list[int]:
        """Input size of every layer."""
        return [self.input_size] + [self.directions * self.hidden_size] * (self.num_layers - 1)

    @property
    def flops(self) -> float:
        """Operations of the matrix products: 2·G·H·(I+H) per step, times 3 for training."""
        rows = len(self.bptt_cell.gates) * self.hidden_size * self.directions
        a_step = sum(2.0 * rows * (inputs + self.hidden_size) for inputs in self.inputs)
        return a_step * self.sequence_steps * (3 if self.mode == "training" else 1)

    @property
    def bytes(self) -> float:
        """Minimum memory traffic with only the state in cache: W once per step, all else once.

        Training reads W twice per step, and writes and reads the gates.
        """
        training, steps = self.mode == "training", self.sequence_steps
        rows = len(self.bptt_cell.gates) * self.hidden_size * self.directions
        elements = 0.0
        for inputs in self.inputs:
            weights = rows * (self.hidden_size * self.steps + inputs)
            sequences = steps * (inputs + self.directions * self.hidden_size)
            elements += (weights + sequences) * (2 if training else 1)
            elements += 2.0 * rows * steps if training else 0
        return elements * np.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Problem:
    """Data of a row, the same for all peers."""

    parameters: dict[str, Array]  # by their names in bptt
    x: Array  # (T, B, I)
    d_output: Array  # (T, B, directions*H): G in loss = sum(output*G); 0 in padding
    lengths: Array | None  # (B,)


def parameter_shapes(row: Row) -> dict[str, tuple[int, ...]]:
    """Return names and shapes in bptt; gates are i f g o, or r z n."""
    rows, size = len(row.bptt_cell.gates) * row.hidden_size, row.hidden_size
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, inputs in enumerate(row.inputs):
        for suffix in ("", "_reverse")[: row.directions]:
            shapes[f"weight_ih_l{layer}{suffix}"] = (rows, inputs)
            shapes[f"weight_hh_l{layer}{suffix}"] = (rows, size)
            shapes[f"bias_l{layer}{suffix}"] = (rows,)
            for name in row.bptt_cell.extra_parameters:
                shapes[f"{name}_l{layer}{suffix}"] = (size,)
    return shapes


def make_problem(row: Row, seed: int = 0) -> Problem:
    """Return the data: weights uniform within ±1/√H, as in PyTorch; x and d_output normal."""
    rng = np.random.default_rng(seed)
    bound = 1 / np.sqrt(row.hidden_size)
    parameters = {
        name: rng.uniform(-bound, bound, shape).astype(row.dtype)
        for name, shape in parameter_shapes(row).items()
    }
    x = rng.standard_normal((row.steps, row.batch, row.input_size)).astype(row.dtype)
    width = row.directions * row.hidden_size
    d_output = rng.standard_normal((row.steps, row.batch, width)).astype(row.dtype)
    lengths = row.lengths
    if lengths is not None:
        padding = np.arange(row.steps)[:, None] >= lengths
        x[padding] = d_output[padding] = 0
    return Problem(parameters, x, d_output, lengths)


def step_rows(sizes: Iterable[int] = STEP_SIZES) -> list[Row]:
    cells = ("rnn", "lstm", "gru")
    return [Row("step", cell, "step", 1, 1, size, size) for cell in cells for size in sizes]


def sweep_rows() -> list[Row]:
    """Return rows of the LSTM with one of T, B and H varied (I = H), for the plots of cost."""
    T, B, _, H = SWEEP_BASE
    sizes = [(steps, B, H, H) for steps in SWEEPS["T"]]
    sizes += [(T, batch, H, H) for batch in SWEEPS["B"]]
    sizes += [(T, B, hidden, hidden) for hidden in SWEEPS["H"]]
    modes = ("inference", "training")
    return [Row("sweep", "lstm", mode, *size) for mode in modes for size in dict.fromkeys(sizes)]


def all_rows() -> list[Row]:
    """Return the rows of the full comparison."""
    rows = step_rows()
    for mode in ("inference", "training"):
        rows += [Row("grid", cell, mode, *size) for cell in CELLS for size in SIZES]
        rows += [Row("grid", "lstm", mode, *size, num_layers=n) for size, n in STACKED]
        for cell in ("rnn", "lstm", "gru"):
            rows += [Row("grid", cell, mode, *size, dtype="float64") for size in FLOAT64_SIZES]
            rows += [Row("ragged", cell, mode, *size, ragged=True) for size in RAGGED_SIZES]
        rows += [Row("lecture", cell, mode, *LECTURE_SIZE) for cell in ("rnn", "lstm")]
    return by_cost(rows + sweep_rows())


def random_rows(count: int, seed: int) -> list[Row]:
    """Return rows of the LSTM at sizes drawn from RANDOM_SIZES, uniformly in their logarithms."""
    random = np.random.default_rng(seed)
    low, high = np.log(RANDOM_SIZES).T
    sizes = np.rint(np.exp(random.uniform(low, high, (count, 4)))).astype(int).tolist()
    rows = [Row("grid", "lstm", mode, *size) for size in sizes for mode in MODES[:2]]
    return by_cost(list(dict.fromkeys(rows)))


def quick_rows() -> list[Row]:
    """Return a few small rows of every kind."""
    rows = [Row("step", cell, "step", 1, 1, 64, 64) for cell in ("rnn", "lstm", "gru")]
    for mode in ("inference", "training"):
        rows += [Row("grid", cell, mode, *SIZES[0]) for cell in ("rnn", "lstm", "gru")]
        rows += [Row("grid", "lstm", mode, *SIZES[6]), Row("lecture", "rnn", mode, *LECTURE_SIZE)]
        rows += [Row("ragged", "lstm", mode, *SIZES[6], ragged=True)]
        rows += [Row("grid", "lstm", mode, *SIZES[0], dtype="float64")]
    rows += [
        Row("grid", "bilstm", "inference", *SIZES[0]),
        Row("grid", "gru", "inference", *SIZES[5]),
    ]
    return by_cost(rows)


def by_cost(rows: list[Row]) -> list[Row]:
    """Sort rows by cost: an interrupted run has most of the table."""
    return sorted(rows, key=lambda row: row.flops)
