"""What the commands say about files and models: for people, in 80 columns."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bptt._core.installation import config
from bptt.cli.schema import CLASSIFICATION, LANGUAGE, REGRESSION, TAGGING, Schema
from bptt.cli.tables import Table, join_names
from bptt.cli.worker_process import available_cores

_WIDTH = 79
_TITLE_WIDTH = 9  # columns of what a line is about
_INSTRUCTION_SETS = {"base": "baseline", "v3": "AVX2", "v4": "AVX-512"}
_MAX_EXAMPLE = 40  # characters of a text in a command


def print_section(head: str, text: str) -> None:
    """Print some lines about one thing."""
    for line in text.split("\n"):
        indent = " " * _TITLE_WIDTH
        first = head.ljust(_TITLE_WIDTH + head.startswith("\n"))
        print(textwrap.fill(line, _WIDTH, initial_indent=first, subsequent_indent=indent))
        head = ""


def print_data_summary(
    table: Table, task: str, why: str, said: Sequence[str], y: list[Any] | None
) -> None:
    """Print what a file holds, and what there is to learn."""
    lines = f"{table.name}: {table.lines[-1]:,} lines of {_FORMATS[table.format]}"
    print_section("Data", "; ".join([lines, *said]))
    what = f"{TASKS[task]} ({task}{', ' + why if why else ''})"
    if y is not None and task in (CLASSIFICATION, TAGGING):
        labels = y if task == CLASSIFICATION else [label for row in y for label in row]
        counts = Counter(labels).most_common()
        shown = join_names([f"{label} {count / len(labels):.0%}" for label, count in counts], 6)
        what += f"\n{len(counts)} labels: {shown}"
    if y is not None and task == REGRESSION:
        what += f"\nbetween {min(y):g} and {max(y):g}"
    print_section("Task", what)


_FORMATS = {
    "csv": "CSV",
    "tsv": "TSV",
    "tagged": "tagged sentences",
    "jsonl": "JSON",
    "text": "plain text",
}
TASKS = {
    CLASSIFICATION: "a class for every sequence",
    REGRESSION: "a number for every sequence",
    TAGGING: "a label for every step",
    LANGUAGE: "what comes next",
}


def describe_estimator(model: Any) -> str:
    """Return what an estimator is, in one or two lines."""
    layers = "1 layer" if model.num_layers == 1 else f"{model.num_layers} layers"
    sides = ", in both directions" if model.bidirectional else ""
    text = f"{model.cell.upper()}, {layers} of {model.hidden_size} units{sides}"
    options = [
        f"{name.replace('_', '-')} {getattr(model, name)}"
        for name in ("tokens", "embedding_size", "affixes", "pool", "dropout", "truncate")
        if getattr(model, name, None)
    ]
    return f"{text}; {', '.join(options)}" if options else text


def format_file_size(path: Path) -> str:
    """Return the size of a file."""
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def print_next_commands(path: Path, task: str, form: Schema, file: str, example: Any) -> None:
    """Print what to type next."""
    program = f"{Path(sys.executable).name} -m bptt"
    model = shlex.quote(str(path))
    if task == LANGUAGE:
        words = example.split() if isinstance(example, str) else list(example)
        prompt = next((word for word in words if word.isalpha()), words[0])
        if form.shape == "cell" and form.content == "texts" and len(words) == 1:
            prompt = prompt[:2]  # a whole word leaves nothing to write
        lines = [f"generate {model} --prompt {shlex.quote(prompt)}"]
    else:
        lines = [f"predict {model} {shlex.quote(file)}"]
        if form.content != "numbers":
            text = example if isinstance(example, str) else " ".join(example)
            text = text.replace("'", "")  # so that no shell needs to be told
            text = textwrap.shorten(text, _MAX_EXAMPLE, placeholder="") or text[:_MAX_EXAMPLE]
            lines.append(f"predict {model} --text {shlex.quote(text)}")
    lines.append(f"inspect {model}")
    print("\nNext:\n" + "\n".join(f"  {program} {line}" for line in lines))


def bar(share: float, width: int = 5) -> str:
    """Draw `share` of `width` characters, in eighths where the terminal can show them."""
    full, eighths = divmod(round(share * width * 8), 8)
    bar = "█" * full + " ▏▎▍▌▋▊▉"[eighths] * (eighths > 0)
    try:
        bar.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        bar = "#" * round(share * width)
    return bar.ljust(width)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def instruction_set_name() -> str:
    """Return the name of the instruction set of the kernels in use."""
    isa = str(config()["isa"])
    return _INSTRUCTION_SETS.get(isa, isa)


def machine() -> str:
    """Return the name of the processor and the number of cores this process may use."""
    return f"{config()['processor']}, {count(available_cores(), 'core')}"
