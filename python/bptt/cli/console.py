"""Console output: labelled lines, descriptions of files and models, bars, sizes."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bptt._core.installation import config
from bptt.cli.readers import FORMATS
from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, TAGGING, Schema, stack_targets
from bptt.cli.tables import Table, join_names
from bptt.cli.worker_process import available_cores

_WIDTH = 79
_TITLE_WIDTH = 9
_MAX_EXAMPLE = 40  # characters of a text in a suggested command
_MAX_PROMPT = 20
_INSTRUCTION_SETS = {"base": "baseline", "v3": "AVX2", "v4": "AVX-512"}
_TASK_TITLES = {
    CLASSIFICATION: "classification, one class per sequence",
    REGRESSION: "regression, one number per sequence",
    TAGGING: "tagging, one label per step",
    LANGUAGE: "language modeling, prediction of the next token",
}


def print_section(title: str, text: str) -> None:
    """Print lines behind a title, wrapped and indented."""
    for line in text.split("\n"):
        first = title.ljust(_TITLE_WIDTH + title.startswith("\n"))
        indent = " " * _TITLE_WIDTH
        print(textwrap.fill(line, _WIDTH, initial_indent=first, subsequent_indent=indent))
        title = ""


def print_data_summary(
    table: Table,
    schema: Schema,
    task: str,
    reason: str,
    notes: Sequence[str],
    y: list[Any] | None,
) -> None:
    """Print the content of a file, the task and the distribution of the targets."""
    noun = "line" if table.lines[-1] == 1 else "lines"
    lines = f"{table.name}: {table.lines[-1]:,} {noun} of {FORMATS[table.format].title}"
    print_section("Data", "; ".join([lines, *notes]))
    text = task_title(task, schema) + (f" ({reason})" if reason else "")
    if y is not None and task in (CLASSIFICATION, TAGGING):
        labels = y if task == CLASSIFICATION else [label for row in y for label in row]
        counts = Counter(labels).most_common()
        shown = join_names(
            [f"{label} {_format_share(count / len(labels))}" for label, count in counts], 6
        )
        text += f"\n{len(counts)} labels: {shown}"
    if y is not None and task == REGRESSION:
        for name, values in zip(schema.targets, stack_targets(y, schema).T, strict=True):
            of = f" of {name!r}" if len(schema.targets) > 1 else ""
            text += f"\ntargets{of} from {values.min():g} to {values.max():g}"
    print_section("Task", text)


def _format_share(share: float) -> str:
    return "<1%" if share < 0.005 else f"{share:.0%}"


def task_title(task: str, schema: Schema) -> str:
    """Return the description of a task."""
    return "regression, one number per step" if schema.per_step else _TASK_TITLES[task]


def describe_estimator(model: Any) -> str:
    """Return the architecture and the main parameters of an estimator."""
    direction = ", bidirectional" if model.bidirectional else ""
    layers = pluralize(model.num_layers, "layer")
    text = f"{model.cell.upper()}, {layers} of {model.hidden_size} units{direction}"
    text += ", CRF" if getattr(model, "crf", False) else ""
    options = [
        f"{name.replace('_', '-')} {getattr(model, name)}"
        for name in (
            "tokens",
            "embedding_size",
            "affixes",
            "characters",
            "pool",
            "dropout",
            "recurrent_dropout",
            "zoneout",
            "learn_initial_state",
            "truncate",
        )
        if getattr(model, name, None)
    ]
    return f"{text}; {', '.join(options)}" if options else text


def epochs_since_best(model: Any) -> int:
    """Return the number of epochs since the best one, whose weights a fitted estimator has."""
    options = model._training_options()
    return int(model.history_.epochs_since_best(options.min_delta, options.monitor))


def format_file_size(path: Path) -> str:
    """Return the size of a file with its unit."""
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def print_next_commands(path: Path, task: str, schema: Schema, file: str, example: Any) -> None:
    """Print commands that use a saved model."""
    program = f"{Path(sys.executable).name} -m bptt"
    model = shlex.quote(str(path))
    if task == LANGUAGE:
        words = example.split() if isinstance(example, str) else list(example)
        prompt = next((word for word in words if word.isalpha()), words[0])
        if schema.layout == "cell" and schema.content == "texts" and len(words) == 1:
            prompt = prompt[:2]  # a whole word leaves nothing to generate
        lines = [f"generate {model} --prompt {shlex.quote(prompt[:_MAX_PROMPT])}"]
    else:
        lines = [f"predict {model} {shlex.quote(file)}"]
        if schema.content != "numbers":
            text = example if isinstance(example, str) else " ".join(example)
            text = text.replace("'", "")  # needs no escaping in any shell
            text = textwrap.shorten(text, _MAX_EXAMPLE, placeholder="") or text[:_MAX_EXAMPLE]
            lines.append(f"predict {model} --text {shlex.quote(text)}")
    lines.append(f"inspect {model}")
    print("\nNext:\n" + "\n".join(f"  {program} {line}" for line in lines))


def text_bar(fraction: float, width: int = 5) -> str:
    """Return a bar of `fraction` of `width` characters, in eighths if the terminal has them."""
    full, eighths = divmod(round(fraction * width * 8), 8)
    bar = "█" * full + " ▏▎▍▌▋▊▉"[eighths] * (eighths > 0)
    try:
        bar.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        bar = "#" * round(fraction * width)
    return bar.ljust(width)


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def instruction_set_name() -> str:
    """Return the name of the instruction set of the kernels in use."""
    isa = str(config()["isa"])
    return _INSTRUCTION_SETS.get(isa, isa)


def machine_name() -> str:
    """Return the name of the processor and the number of cores available to this process."""
    return f"{config()['processor']}, {pluralize(available_cores(), 'core')}"
