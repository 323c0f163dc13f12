"""Look into a saved model: what it is, how it was trained, and what it does with a sequence.

With a FILE or --text, it shows gates and saliency at every step, and whether gradients vanish or
explode on their way back.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bptt.cli.arguments import positive_integer
from bptt.cli.console import TASKS, bar, describe_estimator, format_file_size, print_section
from bptt.cli.errors import CommandError, require_packages
from bptt.cli.evaluation import Evaluation
from bptt.cli.predict import load_input
from bptt.cli.readers import FORMATS
from bptt.cli.saved_models import Model, load
from bptt.cli.schema import LANGUAGE, extract_sequences, group_rows
from bptt.cli.tables import join_names
from bptt.nn.cells import CELLS

NAME = "inspect"
SUMMARY = "look into a saved model: training, gates, gradient flow"
USAGE = "MODEL [FILE] [options]"
EXAMPLES = """\
examples:
  python -m bptt inspect reviews.safetensors
  python -m bptt inspect reviews.safetensors --text 'not a good film'
  python -m bptt inspect waves.safetensors waves.csv --number 3 --plot pictures"""
_EPOCHS = 12  # shown
_STEPS = 40  # shown
_MOST_STEPS = 200  # of a sequence that is looked into
_BATCH = 32  # sequences whose gradients are looked at
_KEEPS = {
    "forget": "forget gate: 1 keeps the cell, 0 forgets it",
    "update": "update gate: 1 keeps the state, 0 replaces it",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that train has saved")
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="sequences to look at")
    parser.add_argument("--text", action="append", metavar="TEXT", help="instead of a file")
    parser.add_argument("--format", choices=FORMATS, help="of the file, if its name does not say")
    parser.add_argument(
        "--number",
        type=positive_integer,
        default=1,
        metavar="N",
        help="which sequence of the file is shown step by step (default: the first)",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="DIR", help="draw pictures into this directory (matplotlib)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.file is not None and arguments.text is not None:
        raise CommandError("takes either a FILE or --text TEXT")
    if arguments.plot is not None:
        require_packages("matplotlib.figure", extra="plot")
        _make_directory(arguments.plot)
    model = load(arguments.model)
    X: list[Any] = []
    if arguments.file is not None or arguments.text is not None:
        table = load_input(arguments, model.form)
        X = extract_sequences(table, model.form, group_rows(table, model.form))
        if arguments.number > len(X):
            raise CommandError(f"argument --number: must be at most {len(X)}, the sequences in "
                               f"{table.name}, got {arguments.number}")  # fmt: skip
    _show_model(arguments.model, model)
    drawn = {"history": _HistoryPlot(model.estimator.history_)}
    if X:
        try:
            drawn |= _inspect_sequences(model, X, arguments.number - 1)
        except (TypeError, ValueError) as error:
            raise CommandError(f"cannot look inside: {error}") from error
    if arguments.plot is not None:
        _draw(arguments.plot, drawn)


# ---- the model


def _show_model(path: Path, model: Model) -> None:
    estimator, metadata = model.estimator, model.metadata
    kind = f"{path} ({format_file_size(path)}): {type(estimator).__name__}"
    print_section("Model", f"{kind}\n{describe_estimator(estimator)}")
    if model.task is not None:
        form = model.form
        target = "" if form.target is None else f", target {form.target!r}"
        what = f"{TASKS[model.task]} ({model.task}), from {metadata['file']}"
        print_section("Learned", f"{what}: {form.content} in {join_names(form.inputs, 4)}{target}")
    if hasattr(estimator, "classes_"):
        classes = estimator.classes_.tolist()
        print_section("", f"{len(classes)} labels: {join_names(classes)}")
    if "validation" in metadata:
        print_section("Result", str(Evaluation(**metadata["validation"])))
    _show_history(estimator, in_bits=model.task == LANGUAGE)
    _show_parameters(estimator._task().modules)


def _show_history(estimator: Any, *, in_bits: bool) -> None:
    history = estimator.history_
    best = len(history) - history.epochs_since_best(estimator.min_delta)
    seconds = sum(history["seconds"])
    print_section(
        "Training", f"{len(history)} epochs in {seconds:.0f} s, the best was epoch {best}"
    )
    unit = math.log(2.0) if in_bits else 1.0
    print(f"\n{'epoch':>7}{'bits' if in_bits else 'loss':>10}{'validation':>12}{'gradient':>10}")
    shown = np.unique(np.linspace(0, len(history) - 1, _EPOCHS).round().astype(int))
    for epoch in (history[int(i)] for i in shown):
        held_out = epoch.validation_loss
        validation = "-" if held_out is None else f"{held_out / unit:.4f}"
        norm = epoch.gradient_norm
        print(f"{epoch.number:7}{epoch.loss / unit:10.4f}{validation:>12}{norm:10.3g}")


def _show_parameters(modules: Any) -> None:
    print(f"\n{'parameter':34}{'shape':>16}{'norm':>10}{'largest':>10}")
    total = 0
    for module, name, value in (
        (key, name, value) for key, m in modules.items() for name, value in m.parameters.items()
    ):
        shape = " x ".join(map(str, value.shape))
        norm, largest = np.linalg.norm(value), np.abs(value).max(initial=0.0)
        print(f"{f'{module} {name}':34}{shape:>16}{norm:10.3g}{largest:10.3g}")
        total += value.size
    print(f"{'all':34}{total:>16,}")


# ---- what it does with sequences


class _HistoryPlot:
    """A history as something that can be drawn."""

    def __init__(self, history: Any) -> None:
        self._history = history

    def plot(self, ax: Any) -> Any:
        from bptt.diagnostics.plots import plot_history

        return plot_history(self._history, ax)


def _inspect_sequences(model: Model, X: list[Any], number: int) -> dict[str, Any]:
    """Print gates, saliency and gradient flow; return what can be drawn of them."""
    from bptt import diagnostics

    estimator = model.estimator
    X = [x[:_MOST_STEPS] for x in X[:_BATCH]] if number < _BATCH else [X[number][:_MOST_STEPS]]
    x = X[number if number < len(X) else 0]
    found: dict[str, Any] = {}
    if CELLS[estimator.cell].saved_gates:
        found["gates"] = diagnostics.gate_trace(estimator, x)
    if not hasattr(estimator, "attention_weights"):
        found["saliency"] = diagnostics.saliency(estimator, x)
    if found:
        _show_steps(x, found)
    y, why = _surrogate_targets(estimator, X)
    found["flow"] = diagnostics.estimator_flow(estimator, X, y)
    count = "1 sequence" if len(X) == 1 else f"{len(X)} sequences"
    print()
    print_section("Gradient", f"of {count}, {why}, on its way back through time:")
    for name, verdict in zip(found["flow"].names, found["flow"].verdicts, strict=True):
        print_section("", f"{name}: {verdict}")
    return found


def _show_steps(x: Any, found: dict[str, Any]) -> None:
    """Print a row a step: token, mean of every gate over the units, saliency."""
    saliency, trace = found.get("saliency"), found.get("gates")
    gates = {} if trace is None else {
        name: values.mean(axis=1)
        for name, values in trace.gates.items()
        if name not in ("cell", "candidate")
    }  # fmt: skip
    tokens = next((t.tokens for t in (trace, saliency) if t is not None), None)
    names = list(tokens) if tokens else [_format_value(row) for row in np.asarray(x)]
    if saliency is not None:
        at = "" if saliency.step is None else f" at step {saliency.step + 1}"
        which = f" ({saliency.output!r})" if isinstance(saliency.output, str) else ""
        print(f"\nStep by step; saliency: how much the output{at}{which} hangs on each")
    head = "".join(f"{name:>9}" for name in gates)
    print(f"\n{'step':>6}  {'':16}{head}{'  saliency' if saliency is not None else ''}")
    largest = 1.0 if saliency is None else max(float(saliency.norms.max()), 1e-300)
    for t, name in enumerate(names[:_STEPS]):
        line = "".join(f"{values[t]:9.2f}" for values in gates.values())
        size = "" if saliency is None else f"  {bar(saliency.norms[t] / largest, 16)}"
        text = repr(name) if isinstance(name, str) and not name.strip() else str(name)
        print(f"{t + 1:6}  {text[:15]:16}{line}{size}".rstrip())
    if len(names) > _STEPS:
        print(f"{'..':>6}  {len(names) - _STEPS} more")
    for gate in gates:
        if gate in _KEEPS:
            print(f"Means over the units of layer 0. {_KEEPS[gate].capitalize()}.")


def _format_value(row: Any) -> str:
    return ", ".join(f"{value:.4g}" for value in np.atleast_1d(row)[:3])


def _surrogate_targets(estimator: Any, X: Sequence[Any]) -> tuple[Any, str]:
    """Return targets that are not what the model says, so that its loss has a gradient."""
    if hasattr(estimator, "classes_"):
        shares = estimator.predict_proba(X)
        second = "as if the second likeliest label were the right one"
        if isinstance(shares, list):
            return [estimator.classes_[_second_most_likely(p)] for p in shares], second
        return estimator.classes_[_second_most_likely(shares)], second
    if hasattr(estimator, "next_token_probabilities"):
        return None, "from its own loss"
    found = estimator.predict(X)
    if isinstance(found, np.ndarray):
        return found + 0.1 * np.abs(found).max() + 1.0, "as if all answers were too small"
    return found, "as if its answers were right"


def _second_most_likely(shares: Any) -> Any:
    return np.argsort(-shares, axis=-1, kind="stable")[..., 1]


# ---- pictures


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot draw into {path}: {error.strerror}") from error


def _draw(directory: Path, drawn: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    for name, result in drawn.items():
        picture = Figure(figsize=(10.0, 5.6), dpi=100, layout="constrained")
        result.plot(picture.add_subplot())
        try:
            picture.savefig(directory / f"{name}.png")
        except OSError as error:
            raise CommandError(f"cannot draw into {directory}: {error.strerror}") from error
    print()
    print_section("Drawn", ", ".join(str(directory / f"{name}.png") for name in drawn))
