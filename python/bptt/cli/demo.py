"""Learn to complete the words of a text, character by character, and show how well it went."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bptt.cli import demo_report as display
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
SUMMARY = "learn to complete the words of a text"
USAGE = "[options]"
EXAMPLES = """\
examples:
  python -m bptt demo
  python -m bptt demo --text book.txt --epochs 20 --prompt re"""
PROMPTS = ("d", "re", "int")
FEWEST = 20  # words: below, there is nothing to learn from


class Data(NamedTuple):
    """The words of a text, in two parts."""

    source: str
    learnt: list[str]
    held_out: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument(
        "--prompt",
        action="append",
        metavar="LETTERS",
        help="complete the words that begin so; may be repeated (default: "
        + ", ".join(PROMPTS)
        + ")",
    )
    parser.add_argument(
        "--load",
        type=Path,
        metavar="FILE",
        help="complete with the model that an earlier run has saved; train none",
    )
    training = parser.add_argument_group("training (not with --load)")
    defaults: dict[str, object] = {}

    def add(option: str, default: object, help: str, **kind: Any) -> None:
        shown = "" if default in (None, False) else " (default: %(default)s)"
        added = training.add_argument(option, default=default, help=help + shown, **kind)
        defaults[added.dest] = default

    count = {"type": positive_integer, "metavar": "N"}
    add(
        "--text",
        None,
        "learn the words of this UTF-8 text (default: the English prose that comes with Python)",
        type=Path,
        metavar="FILE",
    )
    add("--cell", "lstm", f"recurrent cell: {', '.join(CELLS)}", choices=CELLS, metavar="CELL")
    add("--hidden-size", 128, "hidden units of a layer", **count)
    add("--layers", 1, "recurrent layers, each on top of the one before", **count)
    add("--epochs", 8, "passes over all words", **count)
    add("--batch-size", 64, "words in one training step", **count)
    add(
        "--learning-rate",
        0.005,
        "step size of Adam in the first epoch; it falls to 0",
        type=learning_rate,
        metavar="X",
    )
    add("--dtype", "float32", "float32 or float64", choices=("float32", "float64"), metavar="TYPE")
    add("--seed", 0, "the same seed gives the same model", type=seed, metavar="N")
    add("--no-compare", False, "do not time the NumPy reference", action="store_true")
    add(
        "--output",
        Path("autocomplete.safetensors"),
        "where to save the model",
        type=Path,
        metavar="FILE",
    )
    parser.set_defaults(training=defaults)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.load is not None:
        _show_loaded(arguments)
        return
    require_packages("tqdm", "safetensors.numpy", "sklearn.base")
    import_module("tqdm").tqdm.get_lock()  # imports what a bar needs
    import_module("bptt.estimators.language_model")
    data = _read(arguments.text)
    prompts = _prompts(
        arguments.prompt, set().union(*data.learnt, *data.held_out), _default_prompts(data.learnt)
    )
    check_output_path(arguments.output, arguments.text, overwrite=True)
    model, best = _train(data, arguments)
    try:
        _show(model, data, best, prompts, arguments)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted, the model is saved in {arguments.output}") from None


def _show(
    model: LanguageModel,
    data: Data,
    best: int,
    prompts: Sequence[str],
    arguments: argparse.Namespace,
) -> None:
    """Show what the trained model does, and what its training costs."""
    display.losses(model, best, data.learnt, data.held_out)
    for prompt in prompts:
        display.completion(model, prompt)
    if not arguments.no_compare:
        found = compare_in_worker(
            arguments.output,
            data.learnt,
            batch_size=arguments.batch_size,
            learning_rate=arguments.learning_rate,
        )
        display.comparison(found)
    display.use_again(arguments.output, model.complete(prompts[0], beam=5)[:2])


def _show_loaded(arguments: argparse.Namespace) -> None:
    """Show the completions of a model in a file."""
    for name, default in arguments.training.items():
        if getattr(arguments, name) != default:
            option = "--" + name.replace("_", "-")
            raise CommandError(f"{option} is for training, and --load trains nothing")
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
    prompts = _prompts(arguments.prompt, set(characters), known or characters[:1])
    display.model(model.decoder_.modules)
    for prompt in prompts:
        display.completion(model, prompt)


def _read(path: Path | None) -> Data:
    """Return the words of the text at `path`, the last tenth of them held out."""
    try:
        text = python_documentation() if path is None else read_text(path)
    except ImportError as error:
        raise CommandError("this Python has no pydoc_data.topics: use --text FILE") from error
    source = "Python's documentation" if path is None else path.name
    words = extract_words(text)
    if len(words) < FEWEST:
        raise CommandError(
            f"{source} must have at least {FEWEST} words of 2 to {MAX_WORD_LENGTH} letters, "
            f"got {len(words)}"
        )
    split = len(words) - len(words) // 10
    return Data(source, words[:split], words[split:])


def _default_prompts(words: Sequence[str]) -> list[str]:
    """Return the usual prompts that some word begins with, or else the commonest first letter."""
    usual = [prompt for prompt in PROMPTS if any(word.startswith(prompt) for word in words)]
    return usual or [Counter(word[0] for word in words).most_common(1)[0][0]]


def _prompts(given: Sequence[str] | None, letters: set[str], default: list[str]) -> list[str]:
    """Return the prompts to show, all of them made of letters that were learned."""
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
                f"argument --prompt: must have less than {MAX_WORD_LENGTH} letters, "
                f"got {len(prompt)}"
            )
    return prompts


@dataclass
class _HeaderPrinter:
    """A callback that says what learns, and from what."""

    data: Data

    def on_train_begin(self, training: Training) -> None:
        display.data(*self.data)
        display.model(training.modules)


def _train(data: Data, arguments: argparse.Namespace) -> tuple[LanguageModel, int]:
    """Train and save the model, as far as it got; return it and the epoch that it is from."""
    from bptt.cli.training_progress import EpochReporter
    from bptt.estimators.language_model import LanguageModel

    path, epochs = arguments.output, arguments.epochs
    shown = EpochReporter(LANGUAGE)
    model = LanguageModel(
        cell=arguments.cell,
        hidden_size=arguments.hidden_size,
        num_layers=arguments.layers,
        epochs=epochs,
        patience=epochs,  # never stops, and keeps the best
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        schedule=CosineDecay(epochs),
        dtype=arguments.dtype,
        random_state=arguments.seed,
        callbacks=[_HeaderPrinter(data), shown],
    )
    try:
        model.fit(data.learnt, validation=(data.held_out,))
        return model, _save(model, data, path)
    except FloatingPointError as error:
        raise CommandError(str(error).replace("learning_rate", "--learning-rate")) from error
    except (MemoryError, ValueError) as error:  # all is valid, so that it can only be too large
        raise CommandError(f"cannot make such a large model: {error}") from error
    except KeyboardInterrupt:
        shown.close()
        if not getattr(model, "history_", ()):
            raise KeyboardInterrupt("interrupted in the first epoch, nothing is saved") from None
        best = _save(model, data, path)
        raise KeyboardInterrupt(
            f"interrupted, the model of epoch {best}, the best of {len(model.history_)}, "
            f"is saved in {path}"
        ) from None
    finally:
        shown.close()


def _save(model: LanguageModel, data: Data, path: Path) -> int:
    """Save a model so that other commands know how to use it; return the epoch it is from."""
    form = Schema("texts", "cell", [TEXT])
    about = {"task": LANGUAGE, "form": form.to_dict(), "file": data.source, "format": "text"}
    try:
        model.save(path, about)
    except OSError as error:
        raise CommandError(f"cannot save {path}: {error.strerror}") from error
    return len(model.history_) - model.history_.epochs_since_best()
