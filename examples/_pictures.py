"""Plots shared by several examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def draw_map(
    values: NDArray[Any],
    path: Path,
    *,
    rows: list[str],
    columns: list[str],
    title: str,
    x: str,
    y: str,
    color: str,
) -> None:
    """Draw a heat map with a label for every row and column, such as attention weights."""
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(10, 5.6), layout="constrained")
    image = ax.imshow(values, cmap="cividis", vmin=0, aspect="auto")
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title)
    figure.colorbar(image, label=color)
    figure.savefig(path, dpi=100)
    plt.close(figure)
