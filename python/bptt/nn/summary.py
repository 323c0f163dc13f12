"""Summary of a chain of modules: shapes and numbers of parameters, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from bptt.nn.characters import CharacterEmbedding
from bptt.nn.crf import CRF
from bptt.nn.decay import InputDecay
from bptt.nn.embedding import Embedding
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.normalization import LayerNorm
from bptt.nn.recurrent_base import Recurrent

_HEADER = ("", "module", "output", "parameter", "shape", "count")


def feature_sizes(module: Module) -> tuple[int | None, int | None]:
    """Return the number of input and output features; None for any."""
    if isinstance(module, (Recurrent, InputDecay)):
        return module.input_size, module.output_size
    if isinstance(module, Linear):
        return module.in_features, module.out_features
    if isinstance(module, LayerNorm):
        return module.num_features, module.num_features
    if isinstance(module, CRF):
        return module.num_labels, module.num_labels
    if isinstance(module, CharacterEmbedding):
        return None, module.output_size
    return None, module.embedding_dim if isinstance(module, Embedding) else None


def summarize(modules: Sequence[Module], pool: str | None) -> str:
    """Return the table of a chain: one line for each parameter, and the total."""
    recurrent = [i for i, module in enumerate(modules) if isinstance(module, Recurrent)]
    inputs = (feature_sizes(module)[0] for module in modules)
    features = next((size for size in inputs if size is not None), None)
    axes = ["B", "T"] if recurrent else ["..."]
    rows = [_HEADER]
    total = 0
    for i, module in enumerate(modules):
        outputs = feature_sizes(module)[1]
        beside = isinstance(module, CharacterEmbedding) and i  # those of the words
        features = (features or 0) + (outputs or 0) if beside else outputs or features
        start = (str(i), type(module).__name__, _output(axes, features))
        for name, value in module.parameters.items():
            rows.append((*start, name, str(value.shape), f"{value.size:,}"))
            start = ("", "", "")
            total += value.size
        if any(start):
            rows.append((*start, "", "", ""))
        if pool and i == recurrent[-1]:
            axes = ["B"]
            rows.append(("", f"pool {pool!r}", _output(axes, features), "", "", ""))
    rows.append(("", "total", "", "", "", f"{total:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return "\n".join(_line(row, widths) for row in rows)


def _output(axes: Sequence[str], features: int | None) -> str:
    return f"({', '.join([*axes, '?' if features is None else str(features)])})"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    *texts, count = (f"{text:{width}}" for text, width in zip(row, widths, strict=True))
    return "  ".join([*texts, f"{count.strip():>{widths[-1]}}"]).rstrip()
