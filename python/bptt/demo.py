"""Learn to complete the words of a text, character by character, and show how well it went."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from bptt import display
from bptt.autocomplete import Autocomplete, Epoch
from bptt.comparison import compare_apart
from bptt.options import (
    CommandError,
    check_output,
    learning_rate,
    positive_integer,
    require,
    seed,
)
from bptt.recurrent import GRU, LSTM, RNN
from bptt.text import (
    LONGEST,
    Vocabulary,
    normalise,
    python_documentation,
    read_text,
    words_of,
)

NAME = "demo"
SUMMARY = "learn to complete the words of a text"
USAGE = "[options]"
EXAMPLES = """\
examples:
  python -m bptt demo
  python -m bptt demo --text book.txt --epochs 20 --prompt re"""
CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
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
    add("--cell", "lstm", "recurrent cell: rnn, lstm or gru", choices=CELLS, metavar="CELL")
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
    require("tqdm", "safetensors.numpy")
    import_module("tqdm").tqdm.get_lock()  # imports what a bar needs
    data = _read(arguments.text)
    vocabulary = Vocabulary.of(data.learnt + data.held_out)
    prompts = _prompts(arguments.prompt, vocabulary, _beginnings(data.learnt))
    check_output(arguments.output, arguments.text, overwrite=True)
    model = _new_model(vocabulary, arguments)
    display.data(data.source, data.learnt, data.held_out, vocabulary)
    display.model(model)
    best = _train(model, data, arguments)
    try:
        _show(model, data, best, prompts, arguments)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted, the model is saved in {arguments.output}") from None


def _show(
    model: Autocomplete,
    data: Data,
    best: Epoch,
    prompts: Sequence[str],
    arguments: argparse.Namespace,
) -> None:
    """Show what the trained model does, and what its training costs."""
    display.losses(model, best.number, data.learnt, data.held_out)
    for prompt in prompts:
        display.completion(model, prompt)
    if not arguments.no_compare:
        found = compare_apart(
            arguments.output,
            data.learnt,
            batch_size=arguments.batch_size,
            learning_rate=arguments.learning_rate,
        )
        display.comparison(found)
    display.use_again(arguments.output, model.complete(prompts[0])[:2])


def _new_model(vocabulary: Vocabulary, arguments: argparse.Namespace) -> Autocomplete:
    """Return the model that is to be trained."""
    try:
        layer = CELLS[arguments.cell](
            len(vocabulary.characters),
            arguments.hidden_size,
            num_layers=arguments.layers,
            dtype=arguments.dtype,
            seed=arguments.seed,
        )
    except (MemoryError, ValueError) as error:  # all is valid, so that it can only be too large
        raise CommandError(f"cannot make such a large model: {error}") from error
    return Autocomplete(vocabulary, layer)


def _show_loaded(arguments: argparse.Namespace) -> None:
    """Show the completions of a model in a file."""
    for name, default in arguments.training.items():
        if getattr(arguments, name) != default:
            option = "--" + name.replace("_", "-")
            raise CommandError(f"{option} is for training, and --load trains nothing")
    require("safetensors")
    path = arguments.load
    if not path.is_file():
        raise CommandError(f"cannot load {path}: there is no such file")
    try:
        model = Autocomplete.load(path)
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot load {path}: {error.strerror or error}") from error
    characters = model.vocabulary.characters
    known = [prompt for prompt in PROMPTS if set(prompt) <= set(characters)]
    prompts = _prompts(arguments.prompt, model.vocabulary, known or [characters[0]])
    display.model(model)
    for prompt in prompts:
        display.completion(model, prompt)


def _read(path: Path | None) -> Data:
    """Return the words of the text at `path`, the last tenth of them held out."""
    try:
        text = python_documentation() if path is None else read_text(path)
    except ImportError as error:
        raise CommandError("this Python has no pydoc_data.topics: use --text FILE") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandError(f"cannot read {path}: {reason}") from error
    source = "Python's documentation" if path is None else path.name
    words = words_of(text)
    if len(words) < FEWEST:
        raise CommandError(
            f"{source} must have at least {FEWEST} words of 2 to {LONGEST} letters, "
            f"got {len(words)}"
        )
    split = len(words) - len(words) // 10
    return Data(source, words[:split], words[split:])


def _beginnings(words: Sequence[str]) -> list[str]:
    """Return the usual prompts that some word begins with, or else the commonest first letter."""
    usual = [prompt for prompt in PROMPTS if any(word.startswith(prompt) for word in words)]
    return usual or [Counter(word[0] for word in words).most_common(1)[0][0]]


def _prompts(given: Sequence[str] | None, vocabulary: Vocabulary, default: list[str]) -> list[str]:
    """Return the prompts to show, all of them made of the vocabulary's characters."""
    if given is None:
        return default
    prompts = [normalise(prompt) for prompt in given]
    for prompt in prompts:
        try:
            vocabulary.ids(prompt)
        except ValueError as error:
            raise CommandError(f"argument --prompt: {error}") from error
        if len(prompt) >= LONGEST:
            raise CommandError(
                f"argument --prompt: must have less than {LONGEST} letters, got {len(prompt)}"
            )
    return prompts


def _train(model: Autocomplete, data: Data, arguments: argparse.Namespace) -> Epoch:
    """Train and save the model, as far as it got; return the epoch that it is from."""
    path, epochs = arguments.output, arguments.epochs
    done: list[Epoch] = []

    def best() -> Epoch:
        return min(reversed(done), key=lambda epoch: epoch.score)

    def save() -> None:
        learnt = [epoch._asdict() for epoch in done]
        model.about = {"text": data.source, "best_epoch": best().number, "epochs": learnt}
        try:
            model.save(path)
        except OSError as error:
            raise CommandError(f"cannot save {path}: {error.strerror}") from error

    try:
        with display.Progress(epochs, len(data.learnt)) as progress:

            def ended(epoch: Epoch) -> None:
                done.append(epoch)
                progress.epoch(epoch)

            model.fit(
                data.learnt,
                held_out=data.held_out,
                epochs=epochs,
                batch_size=arguments.batch_size,
                learning_rate=arguments.learning_rate,
                seed=arguments.seed,
                on_batch=progress.batch,
                on_epoch=ended,
            )
        save()
    except FloatingPointError as error:
        raise CommandError(
            f"the loss is not finite in epoch {len(done) + 1}: use a smaller --learning-rate"
        ) from error
    except KeyboardInterrupt:
        if not done:
            raise KeyboardInterrupt("interrupted in the first epoch, nothing is saved") from None
        save()
        raise KeyboardInterrupt(
            f"interrupted, the model of epoch {best().number}, the best of {len(done)}, "
            f"is saved in {path}"
        ) from None
    return best()
