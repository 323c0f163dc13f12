"""Saved models, and how they read files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bptt.cli.errors import CommandError, require_packages
from bptt.cli.schema import Schema
from bptt.cli.tables import TEXT, join_names


class Model(NamedTuple):
    """An estimator, and what `train` has saved with it."""

    estimator: Any
    form: Schema
    task: str | None
    metadata: dict[str, Any]


def load(path: Path) -> Model:
    """Load a model that `train`, or `save` in Python, has written.

    Raises
    ------
    CommandError
        If there is none.
    """
    if not path.is_file():
        raise CommandError(f"cannot load {path}: there is no such file")
    require_packages("safetensors", "sklearn.base")
    from bptt.estimators.loading import load_estimator

    try:
        estimator = load_estimator(path)
        metadata = estimator.metadata_
        form = (
            Schema.from_dict(metadata["form"]) if "form" in metadata else _default_schema(estimator)
        )
    except (TypeError, ValueError) as error:
        raise CommandError(f"{error}; MODEL is a file that train has saved") from error
    except OSError as error:
        raise CommandError(f"cannot load {path}: {error.strerror or error}") from error
    return Model(estimator, form, metadata.get("task"), metadata)


def _default_schema(estimator: Any) -> Schema:
    """Return how an estimator that was saved in Python reads files: what it learned says it."""
    encoder = getattr(estimator, "encoder_", None)
    if encoder is None or encoder.vocabulary is not None:
        return Schema("tokens" if estimator.tokens is None else "texts", "cell", [TEXT])
    return Schema("numbers", "cell", ["x"])


def warn_unknown_tokens(model: Model, X: Iterable[Any]) -> None:
    """Say which tokens of some sequences the model does not know, on standard error."""
    estimator = model.estimator
    writer = getattr(estimator, "target_encoder_", None)
    encoder = getattr(estimator, "encoder_", None) if writer is None else writer._encoder
    if encoder is None or encoder.vocabulary is None:
        return
    tokens = dict.fromkeys(token for x in X for token in encoder.cut(x))
    unknown = [repr(token) for token in tokens if token not in encoder.vocabulary]
    if unknown:
        print(f"not in what was learned: {join_names(unknown)}", file=sys.stderr)
