"""Inspect a saved model: architecture, training history, parameters, diagnostics.

With FILE or --text, it also prints gates and saliency at every step of a sequence,
and whether gradients vanish or explode. Of a file of PyTorch, safetensors, Keras or
ONNX it prints the layers, and how to load them.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from bptt.cli.arguments import figure_size, positive_integer
from bptt.cli.console import (
    describe_estimator,
    epochs_since_best,
    format_file_size,
    pluralize,
    print_section,
    task_title,
    text_bar,
)
from bptt.cli.errors import CommandError, require_packages
from bptt.cli.evaluation import Evaluation
from bptt.cli.predict import add_input_arguments, read_input
from bptt.cli.saved_models import SavedModel, load_model, warn_unknown_tokens
from bptt.cli.schema import (
    LANGUAGE,
    REGRESSION,
    adapt_schema,
    extract_sequences,
    fill_missing,
    group_rows,
)
from bptt.cli.tables import join_names
from bptt.nn.cells import CELLS

NAME = "inspect"
SUMMARY = "inspect a saved model: training, gates, gradient flow"
USAGE = "MODEL [FILE] [options]"
EXAMPLES = """\
examples:
  python -m bptt inspect reviews.safetensors
  python -m bptt inspect reviews.safetensors --text 'not a good film'
  python -m bptt inspect waves.safetensors waves.csv --number 3 --plot plots
  python -m bptt inspect tagged.safetensors --text 'the old dog' --step 2
  python -m bptt inspect waves.safetensors --plot waves.pdf --size 3.4x2.6
  python -m bptt inspect network.pt"""
_MAX_EPOCHS = 12  # rows of the history
_MAX_ROWS = 40  # steps printed
_MAX_STEPS = 200  # steps analyzed
_MAX_SEQUENCES = 32  # in the batch of the gradient flow
_PLOT_FORMATS = (".png", ".svg", ".pdf")
_OTHER_FORMATS = (".jpg", ".jpeg", ".eps", ".ps", ".tif", ".tiff", ".gif", ".webp", ".bmp")
_SIZE = (10.0, 5.6)  # inches
_MIN_PIXELS = 1000  # width of a plot in pixels
_CANDIDATES = ("cell", "candidate")  # saved with the gates, but not in [0, 1]
_LEGENDS = {
    "forget": "Forget gate: 1 keeps the cell state, 0 erases it.",
    "update": "Update gate: 1 keeps the state, 0 replaces it.",
}


class _Plottable(Protocol):
    def plot(self, ax: Any) -> Any:
        """Draw into the axes."""


class _HistoryPlot(NamedTuple):
    history: Any
    metric: str

    def plot(self, ax: Any) -> Any:
        """Draw into the axes."""
        from bptt.diagnostics.plots import plot_history

        return plot_history(self.history, ax, metric=self.metric)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_input_arguments(parser, 'sequences to analyze; "-" reads stdin')
    parser.add_argument(
        "--number",
        type=positive_integer,
        default=1,
        metavar="N",
        help="number of the sequence to print step by step (default: %(default)s)",
    )
    parser.add_argument(
        "--step",
        type=positive_integer,
        metavar="N",
        help="step whose output the saliency explains, if there is one per step (default: last)",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="PATH",
        help="write plots to the directory PATH, or as NAME-history.pdf, .. if PATH is NAME.pdf, "
        "NAME.svg or NAME.png (needs matplotlib)",
    )
    parser.add_argument(
        "--size",
        type=figure_size,
        metavar="WxH",
        help="width and height of a plot in inches (default: 10x5.6)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.file is not None and arguments.text is not None:
        raise CommandError("takes either FILE or --text TEXT")
    if arguments.file is None and arguments.text is None:
        for option, is_given in (("number", arguments.number > 1), ("step", arguments.step)):
            if is_given:
                raise CommandError(f"argument --{option}: needs FILE or --text TEXT")
    if arguments.size is not None and arguments.plot is None:
        raise CommandError("argument --size: needs --plot")
    if arguments.plot is not None:
        require_packages("matplotlib.figure", extra="plot")
        _make_directory(_plot_path(arguments.plot, "").parent)
    from bptt.cli.other_libraries import print_other, read_other

    other = read_other(arguments.model)
    if other is not None:
        if (arguments.file, arguments.text, arguments.plot) != (None, None, None):
            raise CommandError(f"{arguments.model} is of {other.library}, and is only listed")
        print_other(other)
        return
    model = load_model(arguments.model)
    X: list[Any] = []
    if arguments.file is not None or arguments.text is not None:
        table = read_input(arguments, model)
        model = model._replace(schema=adapt_schema(model.schema, table))
        X = extract_sequences(table, model.schema, group_rows(table, model.schema))
        X = fill_missing(X, model.schema)
        if arguments.number > len(X):
            raise CommandError(
                f"argument --number: must be at most {len(X)}, the number of sequences in "
                f"{table.name}, got {arguments.number}"
            )
    _print_model(arguments.model, model)
    results: dict[str, _Plottable] = {
        "history": _HistoryPlot(model.estimator.history_, _metric_name(model.estimator))
    }
    if X:
        try:
            results |= _analyze(model, X, arguments.number - 1, arguments.step)
        except (TypeError, ValueError) as error:
            raise CommandError(f"cannot analyze the sequence: {error}") from error
        if arguments.text is not None:
            warn_unknown_tokens(model, X)
    if arguments.plot is not None:
        _save_plots(arguments.plot, results, arguments.size or _SIZE)


def _metric_name(estimator: Any) -> str:
    """Return the name of the metric in the history of an estimator."""
    if getattr(estimator, "metric", None) == "span_f1":
        return "span F1"
    return "mean absolute error" if type(estimator).__name__ == "SequenceRegressor" else "accuracy"


# ---- the model


def _print_model(path: Path, model: SavedModel) -> None:
    estimator, metadata = model.estimator, model.metadata
    title = f"{path} ({format_file_size(path)}), {type(estimator).__name__}"
    print_section("Model", f"{title}\n{describe_estimator(estimator)}")
    if model.task is not None:
        schema = model.schema
        inputs = join_names([repr(name) for name in schema.inputs], 4)
        targets = join_names([repr(name) for name in schema.targets], 4)
        target = f", target in {targets}" if targets else ""
        print_section("Data", f"{metadata['file']}; {schema.content} in {inputs}{target}")
        print_section("Task", task_title(model.task, schema))
    if hasattr(estimator, "classes_"):
        classes = estimator.classes_.tolist()
        print_section("", f"{len(classes)} labels: {join_names(classes)}")
    if "validation" in metadata:
        results = [Evaluation(**fields) for fields in metadata["validation"]]
        print_section("Result", "\n".join(map(str, results)))
    _print_history(estimator, in_bits=model.task == LANGUAGE)
    _print_parameters(estimator._task().modules)


def _print_history(estimator: Any, *, in_bits: bool) -> None:
    history = estimator.history_
    best = len(history) - epochs_since_best(estimator)
    seconds = sum(history["seconds"])
    epochs = pluralize(len(history), "epoch")
    print_section("Training", f"{epochs} in {seconds:.0f} s, best epoch {best}")
    unit = math.log(2.0) if in_bits else 1.0
    print(f"\n{'epoch':>7}{'bits' if in_bits else 'loss':>10}{'validation':>12}{'gradient':>10}")
    shown = np.unique(np.linspace(0, len(history) - 1, _MAX_EPOCHS).round().astype(int))
    for epoch in (history[int(i)] for i in shown):
        loss = epoch.validation_loss
        validation = "-" if loss is None else f"{loss / unit:.4f}"
        norm = epoch.gradient_norm
        print(f"{epoch.number:7}{epoch.loss / unit:10.4f}{validation:>12}{norm:10.3g}")


def _print_parameters(modules: Mapping[str, Any]) -> None:
    print(f"\n{'parameter':34}{'shape':>16}{'norm':>10}{'max |w|':>10}")
    total = 0
    for module, name, value in (
        (key, name, value) for key, m in modules.items() for name, value in m.parameters.items()
    ):
        shape = " x ".join(map(str, value.shape))
        norm, largest = np.linalg.norm(value), np.abs(value).max(initial=0.0)
        print(f"{f'{module} {name}':34}{shape:>16}{norm:10.3g}{largest:10.3g}")
        total += value.size
    print(f"{'total':34}{total:>16,}")


# ---- diagnostics of sequences


def _analyze(
    model: SavedModel, X: list[Any], number: int, step: int | None
) -> dict[str, _Plottable]:
    """Print gates, saliency and gradient flow, and return them."""
    from bptt import diagnostics

    estimator = model.estimator

    if number < _MAX_SEQUENCES:
        X = [x[:_MAX_STEPS] for x in X[:_MAX_SEQUENCES]]
    else:
        X, number = [X[number][:_MAX_STEPS]], 0
    x = X[number]
    trace = diagnostics.gate_trace(estimator, x) if CELLS[estimator.cell].saved_gates else None
    has_attention = hasattr(estimator, "attention_weights")
    saliency = None if has_attention else diagnostics.saliency(estimator, x)
    if step is not None:
        if saliency is None or saliency.step is None:
            raise CommandError("argument --step: needs a model with an output at every step")
        if step > saliency.step + 1:
            raise CommandError(
                f"argument --step: must be at most {saliency.step + 1}, the last step of the "
                f"sequence, got {step}"
            )
        saliency = diagnostics.saliency(estimator, x, step=step - 1)
    if saliency is not None and model.task == REGRESSION:
        saliency = replace(saliency, output=model.schema.targets[saliency.output])
    if trace is not None or saliency is not None:
        _print_steps(x, trace, saliency)
    y, targets = _surrogate_targets(estimator, X)
    flow = diagnostics.estimator_flow(estimator, X, y)
    print()
    print_section("Gradient", f"flow of {pluralize(len(X), 'sequence')}, targets: {targets}")
    for name, verdict in zip(flow.names, flow.verdicts, strict=True):
        print_section("", f"{name}: {verdict}")
    results = {"gates": trace, "saliency": saliency, "flow": flow}
    return {name: result for name, result in results.items() if result is not None}


def _print_steps(x: Any, trace: Any, saliency: Any) -> None:
    """Print a table with a row per step: token, mean activation of every gate, saliency."""
    gates: dict[str, Any] = {}
    if trace is not None:
        means = {name: values.mean(axis=1) for name, values in trace.gates.items()}
        gates = {name: values for name, values in means.items() if name not in _CANDIDATES}
    tokens = next((t.tokens for t in (trace, saliency) if t is not None), None)
    labels = list(tokens) if tokens else [_format_vector(row) for row in np.asarray(x)]
    direction = ", forward" if gates and trace.bidirectional else ""
    titles = [f"gates (means over the units of layer 0{direction})"] if gates else []
    largest = 1.0
    if saliency is not None:
        output = f" {saliency.output!r}" if isinstance(saliency.output, str) else ""
        step = "" if saliency.step is None else f" at step {saliency.step + 1}"
        titles.append(f"saliency of the output{output}{step}")
        largest = max(float(saliency.norms.max()), 1e-300)
    title = "; ".join(titles)
    head = "".join(f"{name:>9}" for name in gates) + "  saliency" * (saliency is not None)
    print(f"\n{title[0].upper()}{title[1:]}\n\n{'step':>6}  {'':16}{head}")
    for t, label in enumerate(labels[:_MAX_ROWS]):
        line = "".join(f"{values[t]:9.2f}" for values in gates.values())
        bar = "" if saliency is None else f"  {text_bar(saliency.norms[t] / largest, 16)}"
        text = repr(label) if isinstance(label, str) and not label.strip() else str(label)
        text = text if len(text) < 16 else f"{text[:14]}…"
        print(f"{t + 1:6}  {text:16}{line}{bar}".rstrip())
    if len(labels) > _MAX_ROWS:
        print(f"{'..':>6}  {len(labels) - _MAX_ROWS} more")
    for gate in gates:
        if gate in _LEGENDS:
            print(_LEGENDS[gate])


def _format_vector(row: Any) -> str:
    return ", ".join(f"{value:.4g}" for value in np.atleast_1d(row))


def _surrogate_targets(estimator: Any, X: Sequence[Any]) -> tuple[Any, str]:
    """Return targets that differ from the predictions, so that the loss has a gradient."""
    if hasattr(estimator, "classes_"):
        probabilities = estimator.predict_proba(X)
        classes, name = estimator.classes_, "the second most likely labels"
        if isinstance(probabilities, list):
            return [classes[_second_most_likely(p)] for p in probabilities], name
        return classes[_second_most_likely(probabilities)], name
    if hasattr(estimator, "next_token_probabilities"):
        return None, "the next tokens"
    predictions = estimator.predict(X)
    if isinstance(predictions, np.ndarray):
        offset = 0.1 * np.abs(predictions).max() + 1.0
        return predictions + offset, f"the predictions plus {offset:.3g}"
    return predictions, "the predictions"


def _second_most_likely(probabilities: Any) -> Any:
    return np.argsort(-probabilities, axis=-1, kind="stable")[..., 1]


# ---- plots


def _plot_path(path: Path, name: str) -> Path:
    """Return the file of a plot: DIR/name.png, or for NAME.pdf NAME-name.pdf."""
    suffix = path.suffix.lower()
    if suffix in _OTHER_FORMATS:
        formats = ", ".join(_PLOT_FORMATS)
        raise CommandError(f"argument --plot: must end in {formats}, or be a directory, got {path}")
    if suffix not in _PLOT_FORMATS:
        return path / f"{name}.png"
    return path.with_name(f"{path.stem}-{name}{suffix}")


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot write plots to {path}: {error.strerror}") from error


def _save_plots(path: Path, results: Mapping[str, _Plottable], size: tuple[float, float]) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    files = {name: _plot_path(path, name) for name in results}
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "Glyph ")
        for name, result in results.items():
            figure = Figure(figsize=size, dpi=100, layout="constrained")
            result.plot(figure.add_subplot())
            try:
                with rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):  # text remains text
                    figure.savefig(files[name], dpi=max(100, round(_MIN_PIXELS / size[0])))
            except OSError as error:
                raise CommandError(f"cannot write plots to {path}: {error.strerror}") from error
    print()
    print_section("Plots", ", ".join(map(str, files.values())))
    missing: dict[str, None] = {}
    for warning in caught:
        if glyph := re.match(r"Glyph (\d+)", str(warning.message)):
            missing[chr(int(glyph[1]))] = None
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if missing:
        names = join_names(list(missing))
        print(f"boxes in the plots: matplotlib's font has no {names}", file=sys.stderr)
