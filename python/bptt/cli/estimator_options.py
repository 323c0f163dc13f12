"""Options of the estimator on the command line, and defaults that suit the data."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from bptt.cli.arguments import class_weight, fraction, learning_rate, positive_integer, seed
from bptt.cli.errors import CommandError
from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, TAGGING, Schema
from bptt.nn.cells import CELLS
from bptt.nn.pooling import POOLS

_MIN_UPDATES = 2000  # of the parameters, for small data
_LARGE_VOCABULARY = 2000  # tokens; from here on they are embedded
_LONG_SEQUENCE = 100  # mean steps from which the last state has mostly forgotten the beginning
_WINDOW_LENGTH = 64  # steps of a running text per update
_ESTIMATORS = {
    CLASSIFICATION: "SequenceClassifier",
    REGRESSION: "SequenceRegressor",
    TAGGING: "SequenceTagger",
    LANGUAGE: "LanguageModel",
}


def add_estimator_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the estimator.

    Every `dest` is a parameter of the estimators. All that are declared here, and no others, are
    passed on by `make_estimator`: their names are ``arguments.estimator_options``.
    """
    declared: list[str] = []
    group = parser.add_argument_group("model (defaults depend on the file)")

    def add(flag: str, parameter: str, help: str, **options: Any) -> None:
        group.add_argument(flag, dest=parameter, help=help, **options)
        declared.append(parameter)

    count: dict[str, Any] = {"type": positive_integer, "metavar": "N"}
    cells = f"recurrent cell: {', '.join(CELLS)}"
    add("--cell", "cell", cells, choices=tuple(CELLS), metavar="CELL")
    add("--hidden-size", "hidden_size", "hidden units per layer and direction", **count)
    add("--layers", "num_layers", "number of stacked layers", **count)
    add(
        "--bidirectional",
        "bidirectional",
        "read sequences in both directions",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--pool",
        "pool",
        "pooling over the steps of a sequence: last state, mean or maximum",
        choices=tuple(POOLS),
    )
    add("--tokens", "tokens", "unit of tokenization", choices=("characters", "words"))
    add("--min-count", "min_count", "minimum token frequency; rarer tokens map to <unk>", **count)
    add("--embedding-size", "embedding_size", "dimension of the token embeddings", **count)
    add(
        "--embedding-vectors",
        "embedding_vectors",
        "pretrained vectors of words: a file of word2vec or GloVe, text or binary, also .gz",
        type=str,
        metavar="FILE",
    )
    add(
        "--freeze-embedding",
        "freeze_embedding",
        "keep the embeddings as they are at the beginning (default: no)",
        action=argparse.BooleanOptionalAction,
    )
    add("--dropout", "dropout", "dropout probability, in [0, 1)", type=fraction, metavar="P")
    add(
        "--recurrent-dropout",
        "recurrent_dropout",
        "dropout probability of the hidden state, one mask a sequence, in [0, 1)",
        type=fraction,
        metavar="P",
    )
    add(
        "--zoneout",
        "zoneout",
        "probability with which an element of the state keeps its value, in [0, 1)",
        type=fraction,
        metavar="P",
    )
    add(
        "--learn-initial-state",
        "learn_initial_state",
        "train the state in which sequences begin (default: no, zero)",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--characters",
        "characters",
        "hidden units of a layer over the characters of each word (tagging; default: none)",
        **count,
    )
    add(
        "--crf",
        "crf",
        "conditional random field over the labels of a sequence (tagging; default: no)",
        action=argparse.BooleanOptionalAction,
    )
    group = parser.add_argument_group("training (defaults depend on the file)")
    add("--epochs", "epochs", "maximum number of epochs", **count)
    add("--batch-size", "batch_size", "minibatch size, in sequences", **count)
    add(
        "--learning-rate",
        "learning_rate",
        "learning rate of Adam (default: 0.01 for characters, else 0.003)",
        type=learning_rate,
        metavar="RATE",
    )
    add(
        "--class-weight",
        "class_weight",
        "weights of labels in the loss: balanced, or LABEL=WEIGHT,.., such as O=0.2",
        type=class_weight,
        metavar="WEIGHTS",
    )
    add(
        "--loss",
        "loss",
        "loss of a regression: squared error, quantiles 0.1, 0.5 and 0.9, or a normal distribution",
        choices=("squared_error", "quantile", "gaussian"),
    )
    add(
        "--label-smoothing",
        "label_smoothing",
        "probability that is spread over all labels or tokens, in [0, 1)",
        type=fraction,
        metavar="P",
    )
    add("--patience", "patience", "epochs without improvement before early stopping", **count)
    add(
        "--seed",
        "random_state",
        "random seed (default: %(default)s)",
        type=seed,
        default=0,
        metavar="N",
    )
    parser.set_defaults(estimator_options=tuple(declared))


def make_estimator(
    task: str, schema: Schema, X: Sequence[Any], arguments: argparse.Namespace
) -> Any:
    """Return an unfitted estimator with the options of the user, and defaults for all others.

    Parameters
    ----------
    task : str
    schema : Schema
    X : sequence of sequences
        Training data, to which the defaults are fitted.
    arguments : Namespace
        Parsed options of `add_estimator_arguments`.

    Raises
    ------
    CommandError
        If an option does not apply to the task or the data.
    """
    import bptt

    kind = getattr(bptt, _ESTIMATORS[task])
    given = {
        name: value
        for name in arguments.estimator_options
        if (value := getattr(arguments, name)) is not None
    }
    if task == LANGUAGE and schema.content == "numbers":
        raise CommandError("a language model needs texts or tokens, got sequences of numbers")
    if "pool" in given and (task in (TAGGING, LANGUAGE) or schema.per_step):
        per_step = " with a number per step" if schema.per_step else ""
        raise CommandError(f"argument --pool: does not apply to {task}{per_step}")
    if "class_weight" in given and task in (REGRESSION, LANGUAGE):
        raise CommandError(f"argument --class-weight: does not apply to {task}")
    if "loss" in given and task != REGRESSION:
        raise CommandError(f"argument --loss: does not apply to {task}")
    if "label_smoothing" in given and task == REGRESSION:
        raise CommandError(f"argument --label-smoothing: does not apply to {task}")
    for name in ("characters", "crf"):
        if name in given and task != TAGGING:
            raise CommandError(f"argument --{name}: does not apply to {task}")
    if "tokens" in given and schema.content != "texts":
        raise CommandError(f"argument --tokens: needs texts, got sequences of {schema.content}")
    defaults = _network_defaults(task, schema, X, given) | _training_defaults(schema, X, given)
    if "embedding_vectors" in given:
        defaults["embedding_size"] = None  # that of the vectors
        if given.get("freeze_embedding"):
            defaults.pop("affixes", None)
    return kind(**{**defaults, **given})


def _network_defaults(
    task: str, schema: Schema, X: Sequence[Any], given: dict[str, Any]
) -> dict[str, Any]:
    tokens = given.get("tokens", "words" if "embedding_vectors" in given else None)
    if task == LANGUAGE:
        if schema.content == "texts" and tokens is None:
            tokens = "characters"
        # Characters are few: with embeddings and a larger learning rate they are learned sooner.
        characters = {"embedding_size": 32, "learning_rate": 0.01}
        by_tokens = characters if tokens == "characters" else _vocabulary_defaults(schema, X, given)
        return {"cell": "lstm", "hidden_size": 128, "tokens": tokens, "dropout": 0.1, **by_tokens}
    defaults: dict[str, Any] = {"cell": "gru", "bidirectional": True, "hidden_size": 64}
    if task == REGRESSION:
        defaults["scale"] = True  # targets too
    pool: dict[str, str | None] = {} if task == TAGGING else {"pool": "mean"}
    if schema.per_step:  # the targets are often later inputs, which a reverse direction reads
        defaults["bidirectional"] = False
        pool = {"pool": None}
    if schema.categories:
        count = len(schema.inputs)
        defaults["categorical_features"] = list(range(count - len(schema.categories), count))
    if schema.missing in ("mask", "decay"):
        defaults["missing"] = schema.missing
    if schema.content == "numbers":
        if pool.get("pool") and np.mean([len(x) for x in X]) <= _LONG_SEQUENCE:
            pool = {"pool": "last"}
        return {**defaults, **pool, "tokens": None, "scale": True}
    if schema.content == "texts" and tokens is None:
        words = np.mean([len(x.split()) for x in X])
        tokens = "words" if words >= 2 else "characters"
    defaults |= {**pool, "tokens": tokens, "dropout": 0.3}
    if tokens == "characters":
        return defaults
    defaults |= _vocabulary_defaults(schema, X, given)
    if task == TAGGING:  # affixes help with rare and unknown words
        defaults |= {"embedding_size": 64, "affixes": 4}
    return defaults


def _vocabulary_defaults(schema: Schema, X: Sequence[Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a minimum frequency, and an embedding for large vocabularies."""
    sequences = X if schema.content == "tokens" else [x.split() for x in X]
    counts = Counter(word for x in sequences for word in x)
    min_count = given.get("min_count", 2 if sum(counts.values()) >= 1000 else 1)
    is_large = sum(count >= min_count for count in counts.values()) > _LARGE_VOCABULARY
    return {"min_count": min_count, "embedding_size": 64 if is_large else None}


def _training_defaults(schema: Schema, X: Sequence[Any], given: dict[str, Any]) -> dict[str, Any]:
    if schema.layout == "running":
        updates = max(1, len(X[0]) // _WINDOW_LENGTH)
        defaults: dict[str, Any] = {"truncate": (_WINDOW_LENGTH, _WINDOW_LENGTH)}
    else:
        batch_size = given.get("batch_size", min(32, max(4, len(X) // 20)))
        updates = -(-len(X) // batch_size)
        defaults = {"batch_size": batch_size}
    epochs = given.get("epochs", min(200, max(10, _MIN_UPDATES // updates)))
    return {**defaults, "epochs": epochs, "patience": max(3, epochs // 5), "min_delta": 0.001}
