"""Tensor files as they are on disk: header and tensors, without the checksum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return header and tensors of a file."""
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["bptt"])
    assert header.pop("checksum").startswith("sha256:")
    return header, load_file(path)


def write(path: Path, header: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> None:
    """Write a file without a checksum, as versions before 0.1 did."""
    save_file(tensors, path, {"bptt": json.dumps(header)})
