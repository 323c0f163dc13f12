"""Rows of the comparison that are whole models: architectures, sizes, data, matrix products.

An update is embedding, recurrent layers, output layer, cross-entropy, their gradients, clipping by
the global norm, and Adam. Inference is the logits of a minibatch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from grid import Array, Row, parameter_shapes

LANGUAGE_MODEL, TAGGER, CLASSIFIER = "language model", "tagger", "classifier"
ENCODER_DECODER = "encoder-decoder"
GROUP = "models"
MAX_NORM = 1.0  # of the clipped gradients
LEARNING_RATE = 0.001

Parameters: TypeAlias = Mapping[str, Mapping[str, Array]]  # by part and by their names in bptt
LinearMap: TypeAlias = tuple[int, int, int]  # rows, inputs, outputs


@dataclass(frozen=True)
class ModelRow:
    """A row of the table: a model, its size and its mode."""

    task: str
    cell: str
    mode: str  # "training": an update; "inference"
    steps: int
    batch: int
    vocabulary: int
    embedding_size: int
    hidden_size: int
    outputs: int  # classes, or tokens
    num_layers: int = 1
    shortest: int = 0  # length of the shortest sequence; 0: all have `steps` steps
    dtype: str = "float32"
    group: str = GROUP

    @property
    def layers(self) -> Row:
        """The recurrent layers; those of the encoder and of the decoder are equal."""
        return Row(
            "grid",
            self.cell,
            self.mode,
            self.steps,
            self.batch,
            self.embedding_size,
            self.hidden_size,
            num_layers=self.num_layers,
            dtype=self.dtype,
        )

    @property
    def size(self) -> tuple[int, int, int, int]:
        return self.layers.size

    @property
    def ragged(self) -> bool:
        return self.shortest > 0

    @property
    def lengths(self) -> Array | None:
        """(B,), a permutation of values evenly spaced from the shortest to T; None if all are T."""
        return self.spaced_lengths(0) if self.ragged else None

    @property
    def target_lengths(self) -> Array | None:
        """Lengths of the targets of an encoder-decoder, in another order; None for other tasks."""
        return self.spaced_lengths(1) if self.task == ENCODER_DECODER else None

    def spaced_lengths(self, seed: int) -> Array:
        lengths = np.linspace(self.shortest, self.steps, self.batch).round().astype(np.int64)
        return np.random.default_rng(seed).permutation(lengths)

    @property
    def sequence_steps(self) -> int:
        """Number of tokens: of the input, or of an encoder-decoder's targets."""
        return self.steps * self.batch if self.lengths is None else int(self.lengths.sum())

    @property
    def output_rows(self) -> int:
        """Number of rows of the output layer's input."""
        return self.batch if self.task == CLASSIFIER else self.sequence_steps

    @property
    def output_inputs(self) -> int:
        """Features that the output layer reads."""
        parts = 2 if self.task == ENCODER_DECODER else self.layers.directions
        return parts * self.hidden_size

    @property
    def linear_maps(self) -> list[LinearMap]:
        """All linear maps of the model; the recurrent ones as if of all steps at once."""
        row, steps = self.layers, self.sequence_steps
        gates = len(row.bptt_cell.gates) * self.hidden_size
        maps = [(steps, n, gates) for inputs in row.inputs for n in (inputs, self.hidden_size)]
        maps *= row.directions * (2 if self.task == ENCODER_DECODER else 1)
        return [*maps, (self.output_rows, self.output_inputs, self.outputs)]

    @property
    def flops(self) -> float:
        """Operations of the matrix products, without those of the attention (below 1 %)."""
        forward = sum(2.0 * rows * inputs * outputs for rows, inputs, outputs in self.linear_maps)
        return forward * (3 if self.mode == "training" else 1)

    @property
    def bytes(self) -> float:
        """Bytes of all parameters."""
        sizes = [array.size for part in shapes(self).values() for array in part.values()]
        return float(sum(sizes) * np.dtype(self.dtype).itemsize)

    @property
    def label(self) -> str:
        words = [f"{self.num_layers}-layer"] if self.num_layers > 1 else []
        words += [self.cell, self.task, f"V {self.vocabulary:,}"]
        words += [f"({', '.join(map(str, self.size))})"]
        words += [f"ragged from {self.shortest}"] if self.ragged else []
        return " ".join(words)

    def __str__(self) -> str:
        return f"{self.group}: {self.label} {self.mode} {self.dtype}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


AnyRow: TypeAlias = "Row | ModelRow"

# Character and word language models, taggers, a classifier of reviews, translation.
MODELS = (
    ModelRow(LANGUAGE_MODEL, "lstm", "training", 100, 32, 65, 64, 256, 65),
    ModelRow(LANGUAGE_MODEL, "lstm", "training", 50, 64, 65, 64, 512, 65, num_layers=2),
    ModelRow(LANGUAGE_MODEL, "lstm", "training", 35, 20, 10_000, 200, 200, 10_000, num_layers=2),
    ModelRow(LANGUAGE_MODEL, "gru", "training", 35, 32, 30_000, 128, 256, 30_000),
    ModelRow(TAGGER, "bilstm", "training", 30, 32, 20_000, 64, 64, 17),
    ModelRow(TAGGER, "bigru", "training", 30, 32, 20_000, 64, 64, 17),
    ModelRow(TAGGER, "bilstm", "training", 60, 32, 20_000, 64, 64, 17, shortest=5),
    ModelRow(TAGGER, "bigru", "training", 60, 32, 20_000, 64, 64, 17, shortest=5),
    ModelRow(CLASSIFIER, "bilstm", "training", 400, 32, 20_000, 100, 128, 2, shortest=20),
    ModelRow(ENCODER_DECODER, "lstm", "training", 40, 32, 8_000, 128, 256, 8_000, shortest=5),
)


def model_rows(models: tuple[ModelRow, ...] = MODELS) -> list[ModelRow]:
    """Return the rows of all models, in training and in inference."""
    rows = [replace(model, mode=mode) for model in models for mode in ("inference", "training")]
    return sorted(rows, key=lambda row: row.flops)


def quick_model_rows() -> list[ModelRow]:
    return model_rows(MODELS[4:5])


def row_from_json(fields: Mapping[str, Any]) -> AnyRow:
    """Return the row whose `to_json` are the fields."""
    return ModelRow(**fields) if fields["group"] == GROUP else Row(**fields)


@dataclass(frozen=True)
class ModelProblem:
    """Data of a row, the same for all peers. Sequences are (B, T), padded with 0."""

    parameters: Parameters
    ids: Array  # int32, inputs; the sources of an encoder-decoder
    lengths: Array | None  # (B,)
    targets: Array  # int32, classes (B,), or (B, T), tokens or tags of every step
    decoder_ids: Array | None  # int32, inputs of the decoder
    target_lengths: Array | None  # (B,), of the targets; the same as `lengths` without a decoder

    @property
    def padding(self) -> Array | None:
        """(B, T), True for steps beyond a target's length."""
        if self.target_lengths is None or self.targets.ndim == 1:
            return None
        padding: Array = np.arange(self.targets.shape[1]) >= self.target_lengths[:, np.newaxis]
        return padding


def shapes(row: ModelRow) -> dict[str, dict[str, Any]]:
    """Return the parameters of every part, uninitialized."""

    def recurrent() -> dict[str, Any]:
        return {name: np.empty(shape) for name, shape in parameter_shapes(row.layers).items()}

    embedding = {"weight": np.empty((row.vocabulary, row.embedding_size))}
    output = {
        "weight": np.empty((row.outputs, row.output_inputs)),
        "bias": np.empty(row.outputs),
    }
    if row.task != ENCODER_DECODER:
        return {"embedding": embedding, "recurrent": recurrent(), "output": output}
    return {
        "encoder-embedding": embedding,
        "encoder-recurrent": recurrent(),
        "decoder-embedding": {"weight": np.empty_like(embedding["weight"])},
        "decoder-recurrent": recurrent(),
        "decoder-output": output,
    }


def make_model_problem(row: ModelRow, seed: int = 0) -> ModelProblem:
    """Return the data: ids of a Zipf distribution, as words have; weights uniform within ±1/√H."""
    rng = np.random.default_rng(seed)
    bound = 1 / np.sqrt(row.hidden_size)
    parameters = {
        part: {n: rng.uniform(-bound, bound, a.shape).astype(row.dtype) for n, a in arrays.items()}
        for part, arrays in shapes(row).items()
    }
    for part, arrays in parameters.items():
        if part.endswith("embedding"):
            normal = rng.standard_normal(arrays["weight"].shape)
            parameters[part] = {"weight": normal.astype(row.dtype)}
    frequencies = 1 / np.arange(2.7, row.vocabulary + 2.7)
    frequencies /= frequencies.sum()
    shape = row.batch, row.steps + 1

    def words() -> Array:
        return rng.choice(row.vocabulary, shape, p=frequencies).astype(np.int32)

    text = words()
    ids, following = text[:, :-1].copy(), text[:, 1:].copy()
    decoder_ids: Array | None = None
    if row.task == ENCODER_DECODER:
        target = words()
        decoder_ids, targets = target[:, :-1].copy(), target[:, 1:].copy()
    elif row.task == LANGUAGE_MODEL:
        targets = following
    else:
        per_sequence = row.task == CLASSIFIER
        size = row.batch if per_sequence else ids.shape
        targets = rng.integers(row.outputs, size=size).astype(np.int32)
    lengths, target_lengths = row.lengths, row.target_lengths
    problem = ModelProblem(
        parameters,
        ids,
        lengths,
        targets,
        decoder_ids,
        lengths if target_lengths is None else target_lengths,
    )
    if lengths is not None:
        ids[np.arange(row.steps) >= lengths[:, np.newaxis]] = 0
    if (padding := problem.padding) is not None:
        targets[padding] = 0
        if decoder_ids is not None:
            decoder_ids[padding] = 0
    return problem


def all_products(row: ModelRow, library: str) -> Callable[[], Any]:
    """Return all matrix products of the row with NumPy or PyTorch, each as large as possible.

    The recurrent products of all steps are one product, which a loop over the steps could not have:
    the time is a lower bound of a model with that library's product.
    """
    rng = np.random.default_rng(0)

    def random(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32).astype(row.dtype, copy=False)

    calls: list[tuple[Array, Array, Array]] = []  # factors and result
    for rows, inputs, outputs in row.linear_maps:
        x, weight, y = random(rows, inputs), random(outputs, inputs), random(rows, outputs)
        calls.append((x, weight.T, y))
        if row.mode == "training":
            calls.append((y, weight, np.empty_like(x)))
            calls.append((y.T, x, np.empty_like(weight)))

    multiply: Callable[..., Any] = np.matmul
    factors: list[tuple[Any, ...]] = list(calls)
    if library == "torch":
        import torch

        multiply, factors = torch.mm, [tuple(map(torch.from_numpy, call)) for call in calls]

    def products() -> None:
        for a, b, out in factors:
            multiply(a, b, out=out)

    return products
