"""Saved models, with the schema by which they read files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bptt.cli.errors import CommandError, require_packages
from bptt.cli.schema import Schema
from bptt.cli.tables import TEXT, join_names

_OTHER_VERSION = "was saved by another version of bptt: train it again"


class SavedModel(NamedTuple):
    """A fitted estimator, and the metadata saved by `train`."""

    estimator: Any
    schema: Schema
    task: str | None
    """None if the model was saved in Python."""
    metadata: dict[str, Any]


def load_model(path: Path, *, predict_only: bool = False) -> SavedModel:
    """Load a model saved by `train`, or in Python by ``save``.

    With `predict_only`, scikit-learn need not be installed, and is not imported.

    Raises
    ------
    CommandError
        If the file is missing or is no model.
    """
    if not path.is_file():
        raise CommandError(f"cannot load {path}: there is no such file")
    from bptt.estimators import _stand_ins

    if predict_only:
        _stand_ins.use()
    require_packages("safetensors", *(() if _stand_ins.in_use else ("sklearn.base",)))
    from bptt.estimators.loading import load_estimator

    try:
        estimator = load_estimator(path)
    except (TypeError, ValueError) as error:
        if isinstance(error.__cause__, KeyError):  # a field that the file does not have
            raise CommandError(f"{path} {_OTHER_VERSION}") from error
        raise CommandError(f"{error}; MODEL must be a file saved by train") from error
    except OSError as error:
        raise CommandError(f"cannot load {path}: {error.strerror or error}") from error
    if hasattr(estimator, "learn_one"):
        kind = type(estimator).__name__
        raise CommandError(f"{path} is an {kind}, which reads streams in Python, not files")
    metadata = estimator.metadata_
    fields = metadata.get("schema")
    try:
        schema = _default_schema(estimator) if fields is None else Schema.from_dict(fields)
    except TypeError:
        raise CommandError(f"{path} {_OTHER_VERSION}") from None
    return SavedModel(estimator, schema, metadata.get("task"), metadata)


def warn_unknown_tokens(model: SavedModel, X: Iterable[Any]) -> None:
    """Print the tokens of some sequences that are not in the vocabulary, on standard error."""
    estimator = model.estimator
    target_encoder = getattr(estimator, "target_encoder_", None)
    encoder = getattr(estimator, "encoder_", None)
    encoder = encoder if target_encoder is None else target_encoder._encoder
    if encoder is None or encoder.vocabulary is None:
        return
    tokens = dict.fromkeys(token for x in X for token in encoder.tokenize(x))
    unknown = [repr(token) for token in tokens if token not in encoder.vocabulary]
    if unknown:
        print(f"unknown tokens: {join_names(unknown)}", file=sys.stderr)


def _default_schema(estimator: Any) -> Schema:
    """Return the schema of an estimator saved in Python, from what it was fitted to."""
    encoder = getattr(estimator, "encoder_", None)
    if encoder is None or encoder.vocabulary is not None:
        return Schema("tokens" if estimator.tokens is None else "texts", "cell", [TEXT])
    return Schema("numbers", "cell", ["x"])
