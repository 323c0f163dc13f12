"""Sentences with a label for every word: files of tab-separated columns."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Rows: TypeAlias = list[list[str]]  # words, or labels, of all sentences
Tagged: TypeAlias = tuple[Rows, Rows]  # words and their labels


def read(text: str, word: int, label: int) -> Tagged:
    """Return two of the columns. Empty lines end sentences; lines without tabs are comments."""
    sentences: list[list[list[str]]] = [[]]
    for line in text.split("\n"):
        cells = line.split("\t")
        if not cells[0].strip():
            sentences.append([])
        elif len(cells) > 1:
            sentences[-1].append(cells)
    words, labels = (
        [[cells[k] for cells in rows] for rows in sentences if rows] for k in (word, label)
    )
    return words, labels


def train_test_split(sentences: Tagged, test: int, seed: int | list[int]) -> tuple[Tagged, Tagged]:
    """Hold out `test` random sentences; return the others, then these."""
    words, labels = sentences
    order = np.random.default_rng(seed).permutation(len(words))
    train, held_out = (
        ([words[i] for i in part], [labels[i] for i in part])
        for part in (order[test:], order[:test])
    )
    return train, held_out
