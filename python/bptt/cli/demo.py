"""Train a character-level language model on the words of a text, and complete words.

Prints the loss in bits per character compared with n-gram counts, the completions of
some prompts, and the time of a training step compared with NumPy.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bptt.cli import demo_report
from bptt.cli.arguments import learning_rate, positive_integer, seed
from bptt.cli.corpus import MAX_WORD_LENGTH, extract_words, normalize, python_documentation
from bptt.cli.errors import CommandError, check_output_path, require_packages
from bptt.cli.numpy_comparison import compare_in_worker
from bptt.cli.readers import read_text
from bptt.cli.schema import LANGUAGE, Schema
from bptt.cli.tables import TEXT
from bptt.nn.cells import CELLS
from bptt.optim.schedules import CosineDecay

if TYPE_CHECKING:
    from bptt.estimators.language_model import LanguageModel
    from bptt.training.loop import Training

NAME = "demo"
SUMMARY = "train a model that completes words"
USAGE = "[options]"
EXAMPLES = """\
examples:
  python -m bptt demo
  python -m bptt demo --text book.txt --epochs 20 --prompt re"""
PROMPTS = ("d", "re", "int")
MIN_WORDS = 20


class Words(NamedTuple):
    """The words of a text."""

    source: str
    train: list[str]
    validation: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Options of the estimator have its parameter as `dest`: ``arguments.estimator_options``.
    """
    parser.add_argument(
        "--prompt",
        action="append",
        metavar="LETTERS",
        help=f"beginning of a word to complete; may be repeated (default: {', '.join(PROMPTS)})",
    )
    parser.add_argument(
        "--load", type=Path, metavar="MODEL", help="load a saved MODEL instead of training"
    )
    group = parser.add_argument_group("training (not with --load)")
    declared: list[argparse.Action] = []
    passed: list[str] = []

    def add(flag: str, default: object, help: str, parameter: str = "", **options: Any) -> None:
        text = help if default in (None, False) else f"{help} (default: %(default)s)"
        options |= {"dest": parameter} if parameter else {}
        passed.extend([parameter] if parameter else [])
        declared.append(group.add_argument(flag, default=default, help=text, **options))

    count: dict[str, Any] = {"type": positive_integer, "metavar": "N"}
    text = "UTF-8 text to train on (default: documentation of Python)"
    add("--text", None, text, type=Path, metavar="FILE")
    cells = f"recurrent cell: {', '.join(CELLS)}"
    add("--cell", "lstm", cells, "cell", choices=tuple(CELLS), metavar="CELL")
    add("--hidden-size", 128, "hidden units per layer", "hidden_size", **count)
    add("--layers", 1, "number of stacked layers", "num_layers", **count)
    add("--epochs", 8, "number of epochs", "epochs", **count)
    add("--batch-size", 64, "minibatch size, in words", "batch_size", **count)
    add(
        "--learning-rate",
        0.005,
        "initial learning rate of Adam, with cosine decay to 0",
        "learning_rate",
        type=learning_rate,
        metavar="RATE",
    )
    dtypes = ("float32", "float64")
    add("--dtype", "float32", " or ".join(dtypes), "dtype", choices=dtypes, metavar="DTYPE")
    add("--seed", 0, "random seed", "random_state", type=seed, metavar="N")
    add("--no-compare", False, "skip the comparison with NumPy", action="store_true")
    output = Path("autocomplete.safetensors")
    add("--output", output, "write the model to MODEL", type=Path, metavar="MODEL")
    parser.set_defaults(training_options=tuple(declared), estimator_options=tuple(passed))


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.load is not None:
        _run_loaded(arguments)
        return
    require_packages("tqdm", "safetensors.numpy", "sklearn.base")
    import_module("tqdm").tqdm.get_lock()  # imports what a bar needs
    import_module("bptt.estimators.language_model")
    words = _read_words(arguments.text)
    letters = set().union(*words.train, *words.validation)
    prompts = _check_prompts(arguments.prompt, letters, _default_prompts(words.train))
    check_output_path(arguments.output, arguments.text, overwrite=True)
    model, best = _train(words, arguments)
    try:
        _report(model, words, best, prompts, arguments)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted, the model is saved in {arguments.output}") from None


def _report(
    model: LanguageModel,
    words: Words,
    best: int,
    prompts: Sequence[str],
    arguments: argparse.Namespace,
) -> None:
    """Print losses, completions, and the comparison with NumPy."""
    demo_report.print_losses(model, best, words.train, words.validation)
    for prompt in prompts:
        demo_report.print_completion(model, prompt)
    if not arguments.no_compare:
        comparison = compare_in_worker(
            arguments.output,
            words.train,
            batch_size=arguments.batch_size,
            learning_rate=arguments.learning_rate,
        )
        demo_report.print_comparison(comparison)
    demo_report.print_usage(arguments.output, model.complete(prompts[0], beam=5)[:2])


def _run_loaded(arguments: argparse.Namespace) -> None:
    """Print completions of a saved model."""
    for action in arguments.training_options:
        if getattr(arguments, action.dest) != action.default:
            option = action.option_strings[0]
            raise CommandError(f"{option} is an option for training, which --load skips")
    require_packages("safetensors", "sklearn.base")
    path = arguments.load
    if not path.is_file():
        raise CommandError(f"cannot load {path}: there is no such file")
    from bptt.estimators.language_model import LanguageModel

    try:
        model = LanguageModel.load(path)
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot load {path}: {error.strerror or error}") from error
    characters = [str(token) for token in model.tokens_ if len(str(token)) == 1]
    known = [prompt for prompt in PROMPTS if set(prompt) <= set(characters)]
    prompts = _check_prompts(arguments.prompt, set(characters), known or characters[:1])
    demo_report.print_model(model.decoder_.modules)
    for prompt in prompts:
        demo_report.print_completion(model, prompt)


def _read_words(path: Path | None) -> Words:
    """Return the words of a text, the last tenth of them for validation."""
    try:
        text = python_documentation() if path is None else read_text(path)
    except ImportError as error:
        raise CommandError("this Python has no pydoc_data.topics: use --text FILE") from error
    source = "Python's documentation" if path is None else path.name
    words = extract_words(text)
    if len(words) < MIN_WORDS:
        raise CommandError(
            f"{source} must have at least {MIN_WORDS} words of 2 to {MAX_WORD_LENGTH} letters, "
            f"got {len(words)}"
        )
    split = len(words) - len(words) // 10
    return Words(source, words[:split], words[split:])


def _default_prompts(words: Sequence[str]) -> list[str]:
    """Return the default prompts that begin some word, or else the most frequent first letter."""
    found = [prompt for prompt in PROMPTS if any(word.startswith(prompt) for word in words)]
    return found or [Counter(word[0] for word in words).most_common(1)[0][0]]


def _check_prompts(given: Sequence[str] | None, letters: set[str], default: list[str]) -> list[str]:
    """Return the normalized prompts of the user, or the default ones."""
    if given is None:
        return default
    prompts = [normalize(prompt) for prompt in given]
    for prompt in prompts:
        if not prompt:
            raise CommandError("argument --prompt: must have at least one letter")
        unknown = [letter for letter in prompt if letter not in letters]
        if unknown:
            known = "".join(sorted(letters)[:60])
            raise CommandError(
                f"argument --prompt: letters must be among {known}, got {unknown[0]!r}"
            )
        if len(prompt) >= MAX_WORD_LENGTH:
            raise CommandError(
                f"argument --prompt: must have fewer than {MAX_WORD_LENGTH} letters, "
                f"got {len(prompt)}"
            )
    return prompts


@dataclass
class _HeaderPrinter:
    """Callback that prints the data and the model before training."""

    words: Words

    def on_train_begin(self, training: Training) -> None:
        demo_report.print_data(*self.words)
        demo_report.print_model(training.modules)


def _train(words: Words, arguments: argparse.Namespace) -> tuple[LanguageModel, int]:
    """Train and save a model, also if interrupted; return it and its epoch."""
    from bptt.cli.training_progress import EpochReporter
    from bptt.estimators.language_model import LanguageModel

    path, epochs = arguments.output, arguments.epochs
    reporter = EpochReporter(LANGUAGE)
    model = LanguageModel(
        **{name: getattr(arguments, name) for name in arguments.estimator_options},
        patience=epochs,  # never stops early, but keeps the best epoch
        schedule=CosineDecay(epochs),
        callbacks=[_HeaderPrinter(words), reporter],
    )
    try:
        model.fit(words.train, validation=(words.validation,))
        return model, _save(model, words, path)
    except FloatingPointError as error:
        raise CommandError(str(error).replace("learning_rate", "--learning-rate")) from error
    except (MemoryError, ValueError) as error:  # the options are valid, only too large
        raise CommandError(f"cannot create such a large model: {error}") from error
    except KeyboardInterrupt:
        reporter.close()
        if not getattr(model, "history_", ()):
            raise KeyboardInterrupt("interrupted in the first epoch, no model saved") from None
        best = _save(model, words, path)
        raise KeyboardInterrupt(
            f"interrupted, the model of epoch {best}, the best of {len(model.history_)}, "
            f"is saved in {path}"
        ) from None
    finally:
        reporter.close()


def _save(model: LanguageModel, words: Words, path: Path) -> int:
    """Save a model with the metadata of `train`; return its epoch."""
    schema = Schema("texts", "cell", [TEXT])
    metadata = {
        "task": LANGUAGE,
        "schema": schema.to_dict(),
        "file": words.source,
        "format": "text",
    }
    try:
        model.save(path, metadata)
    except OSError as error:
        raise CommandError(f"cannot save {path}: {error.strerror}") from error
    return len(model.history_) - model.history_.epochs_since_best()
