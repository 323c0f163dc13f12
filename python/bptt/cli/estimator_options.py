"""Which estimator learns a file, with settings that suit its size where the user says none."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from bptt.cli.arguments import fraction, learning_rate, positive_integer, seed
from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, TAGGING, Schema
from bptt.nn.cells import CELLS

_MIN_UPDATES = 2000  # of the parameters, at least, where the data are few
_LARGE_VOCABULARY = 2000  # different ones: from here on each gets a vector
_LONG_SEQUENCE = 100  # steps: further, the last state has mostly forgotten
_WINDOW_LENGTH = 64  # steps of a running text between two updates
_ESTIMATORS = {
    CLASSIFICATION: "SequenceClassifier",
    REGRESSION: "SequenceRegressor",
    TAGGING: "SequenceTagger",
    LANGUAGE: "LanguageModel",
}


def add_estimator_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the model, none of which has to be given."""
    model = parser.add_argument_group("model (all are chosen to suit the file)")
    count: dict[str, Any] = {"type": positive_integer, "metavar": "N"}
    model.add_argument("--cell", choices=tuple(CELLS), help="recurrent cell")
    model.add_argument("--hidden-size", help="units of a layer and direction", **count)
    model.add_argument("--layers", help="layers on top of each other", **count)
    model.add_argument(
        "--bidirectional",
        action=argparse.BooleanOptionalAction,
        help="whether sequences are read from both ends",
    )
    model.add_argument(
        "--pool",
        choices=("last", "mean", "max"),
        help="what stands for a whole sequence: the last state, or the mean or the largest of all",
    )
    model.add_argument("--tokens", choices=("characters", "words"), help="what texts are cut into")
    model.add_argument(
        "--min-count", help="how often a token must come to be known, not <unk>", **count
    )
    model.add_argument("--embedding-size", help="length of a token's vector", **count)
    model.add_argument(
        "--dropout",
        type=fraction,
        metavar="X",
        help="part of the values dropped, in [0, 1)",
    )
    training = parser.add_argument_group("training (all are chosen to suit the file)")
    training.add_argument("--epochs", help="most passes over the data", **count)
    training.add_argument("--batch-size", help="sequences in one training step", **count)
    training.add_argument(
        "--learning-rate", type=learning_rate, metavar="X", help="step size of Adam (0.003 or 0.01)"
    )
    training.add_argument(
        "--patience", help="stop after so many epochs that did not improve validation", **count
    )
    training.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="the same seed gives the same model (default: 0)",
    )


def make_estimator(task: str, form: Schema, X: Sequence[Any], arguments: argparse.Namespace) -> Any:
    """Return an unfitted estimator for sequences X: what the user has said, and what suits them."""
    import bptt

    chosen = {
        **_network_defaults(task, form, X, arguments.tokens, arguments.min_count),
        **_training_defaults(task, form, X, arguments),
    }
    names = {"layers": "num_layers", "seed": "random_state"}
    for option in (
        *("cell", "hidden_size", "layers", "bidirectional", "pool", "tokens", "min_count"),
        *("embedding_size", "dropout", "epochs", "batch_size", "learning_rate", "patience", "seed"),
    ):
        value = getattr(arguments, option)
        if value is not None:
            chosen[names.get(option, option)] = value
    kind = getattr(bptt, _ESTIMATORS[task])
    if form.content != "texts":
        chosen["tokens"] = None
    if task in (TAGGING, LANGUAGE):
        chosen.pop("pool", None)
    return kind(**chosen)


def _network_defaults(
    task: str, form: Schema, X: Sequence[Any], tokens: str | None, min_count: int | None
) -> dict[str, Any]:
    lengths = [len(x) for x in X]
    if task == LANGUAGE:
        if form.content == "texts" and tokens is None:
            tokens = "characters"
        # Characters are few: with vectors of their own, and larger steps, they are learned sooner.
        characters = {"embedding_size": 32, "learning_rate": 0.01}
        known = (
            characters
            if tokens == "characters"
            else _vocabulary_defaults(form, X, tokens, min_count)
        )
        return {"cell": "lstm", "hidden_size": 128, "tokens": tokens, "dropout": 0.1, **known}
    chosen: dict[str, Any] = {"cell": "gru", "bidirectional": True, "hidden_size": 64}
    if form.content == "numbers":
        pool = "last" if np.mean(lengths) <= _LONG_SEQUENCE else "mean"
        return {**chosen, "scale": True, "pool": pool}
    if form.content == "texts" and tokens is None:
        words = np.mean([len(x.split()) for x in X])
        tokens = "words" if words >= 2 else "characters"
    if tokens == "characters":
        return {**chosen, "tokens": tokens, "pool": "mean", "dropout": 0.3}
    known = _vocabulary_defaults(form, X, tokens, min_count)
    if task == TAGGING:  # words are known by their looks, too
        known |= {"embedding_size": 64, "affixes": 4}
    return {**chosen, "tokens": tokens, "pool": "mean", "dropout": 0.3, **known}


def _vocabulary_defaults(
    form: Schema, X: Sequence[Any], tokens: str | None, min_count: int | None
) -> dict[str, Any]:
    """Leave rare words out of large texts, and give each a vector where there are many."""
    cut = X if form.content == "tokens" else [x.split() for x in X]
    counts = Counter(word for x in cut for word in x)
    least = min_count or (2 if sum(counts.values()) >= 1000 else 1)
    many = sum(count >= least for count in counts.values()) > _LARGE_VOCABULARY
    return {"min_count": least, "embedding_size": 64 if many else None}


def _training_defaults(
    task: str, form: Schema, X: Sequence[Any], arguments: argparse.Namespace
) -> dict[str, Any]:
    if form.shape == "running":
        updates = max(1, len(X[0]) // _WINDOW_LENGTH)
        chosen: dict[str, Any] = {"truncate": (_WINDOW_LENGTH, _WINDOW_LENGTH)}
    else:
        batch_size = arguments.batch_size or min(32, max(4, len(X) // 20))
        updates = -(-len(X) // batch_size)
        chosen = {"batch_size": batch_size}
    epochs = arguments.epochs or min(200, max(10, _MIN_UPDATES // updates))
    return {**chosen, "epochs": epochs, "patience": max(3, epochs // 5), "min_delta": 0.001}
