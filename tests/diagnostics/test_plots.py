"""Plots of the diagnostics: they show the data, and no text is cut off or overlaps another."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import bptt
from bptt import diagnostics
from bptt.diagnostics import plots
from bptt.training.history import Epoch, History
from figures import assert_texts_are_legible

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

SIZES = [(10, 5.6), (3.4, 2.6)]
SENTENCE = ["what", "an", "extraordinarily", "$good$", "film_that", "was"]
TEXT = "the cat (sat) on\nthe mat"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def sequence(steps=40, features=3):
    return np.random.default_rng(0).standard_normal((steps, features))


def all_outputs(y):
    return bptt.mean_squared_error(y, np.zeros_like(y))


def last_output(y):
    d_y = np.zeros_like(y)
    d_y[:, -1] = 1
    return 0.0, d_y


def flow(**options):
    layer = bptt.RNN(3, 8, dtype=np.float64, seed=0, **options)
    return diagnostics.gradient_flow(layer, sequence()[np.newaxis], last_output)


def ragged_flow(**options):
    """A loss at every step, and most sequences short."""
    layer = bptt.RNN(3, 8, dtype=np.float64, seed=0, **options)
    x = np.random.default_rng(0).standard_normal((20, 40, 3))
    lengths = np.array([40, *[5] * 19])
    return diagnostics.gradient_flow(layer, x, all_outputs, lengths=lengths)


def recorded():
    norms = [np.logspace(0, -20 + epoch, 40) for epoch in range(12)]
    return [SimpleNamespace(names=("layer 0",), remaining=(values,)) for values in norms]


def products(cell, scale=1.0):
    layer = cell(3, 8, dtype=np.float64, seed=0)
    layer["weight_hh_l0"] = scale * layer["weight_hh_l0"]
    return diagnostics.jacobian_products(layer, sequence())


def rotation(scale):
    layer = bptt.RNN(3, 2, activation="identity", dtype=np.float64, seed=0)
    layer["weight_hh_l0"] = scale * np.array([[0.8, -0.6], [0.6, 0.8]])
    return diagnostics.jacobian_products(layer, sequence(100))


def contributions():
    return diagnostics.contributions(bptt.GRU(3, 4, seed=0), sequence(30), all_outputs)


def trace(tokens=None, cell=bptt.LSTM, steps=40):
    steps = steps if tokens is None else len(tokens)
    return diagnostics.gate_trace(cell(3, 8, dtype=np.float64), sequence(steps), tokens=tokens)


def reverse_trace():
    layer = bptt.LSTM(3, 8, num_layers=2, bidirectional=True, dtype=np.float64)
    return diagnostics.gate_trace(layer, sequence(), layer=1, reverse=True)


def salient(tokens=None, steps=40):
    model = bptt.Sequential(bptt.GRU(3, 8, dtype=np.float64), bptt.Linear(8, 2, dtype=np.float64))
    steps = steps if tokens is None else len(tokens)
    return diagnostics.saliency(model, sequence(steps), tokens=tokens)


def history(epochs=20, held_out=True, rate=0.8, metric=None):
    return History(
        Epoch(
            i,
            rate**i,
            metric and metric - rate**i,
            1.1 * rate**i + 1e-3 * i if held_out else None,
            metric and held_out and metric - 1.1 * rate**i,
            1.0,
            0.1,
            1.0,
        )
        for i in range(1, epochs + 1)
    )


PICTURES = {
    "flow": lambda ax=None: plots.plot_flow(flow(), ax),
    "ragged flow": lambda ax=None: plots.plot_flow(ragged_flow(), ax),
    "gates of two directions": lambda ax=None: plots.plot_gates(reverse_trace(), ax),
    "flow of a stack": lambda ax=None: plots.plot_flow(flow(num_layers=2, bidirectional=True), ax),
    "recorded": lambda ax=None: plots.plot_flow_history(recorded(), ax),
    "vanishing": lambda ax=None: plots.plot_jacobians(rotation(0.5), ax),
    "healthy": lambda ax=None: plots.plot_jacobians(rotation(1), ax),
    "exploding": lambda ax=None: plots.plot_jacobians(rotation(1.5), ax),
    "lstm": lambda ax=None: plots.plot_jacobians(products(bptt.LSTM), ax),
    "contributions": lambda ax=None: plots.plot_contributions(contributions(), ax),
    "states": lambda ax=None: plots.plot_contributions(contributions(), ax, what="states"),
    "gates": lambda ax=None: plots.plot_gates(trace(), ax),
    "gates of words": lambda ax=None: plots.plot_gates(trace(SENTENCE), ax),
    "gates of characters": lambda ax=None: plots.plot_gates(trace(TEXT), ax),
    "gates of a long text": lambda ax=None: plots.plot_gates(trace(10 * TEXT), ax),
    "candidate": lambda ax=None: plots.plot_gates(trace(cell=bptt.GRU), ax, gate="candidate"),
    "saliency": lambda ax=None: plots.plot_saliency(salient(), ax),
    "saliency of words": lambda ax=None: plots.plot_saliency(salient(SENTENCE), ax),
    "saliency of characters": lambda ax=None: plots.plot_saliency(salient(TEXT), ax),
    "long saliency": lambda ax=None: plots.plot_saliency(salient(steps=300), ax),
    "history": lambda ax=None: plots.plot_history(history(), ax),
    "training alone": lambda ax=None: plots.plot_history(history(3, held_out=False), ax),
    "history with a metric": lambda ax=None: plots.plot_history(
        history(metric=1.0), ax, metric="mean absolute error"
    ),
    "one epoch": lambda ax=None: plots.plot_history(history(1), ax),
}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PICTURES)
def test_texts_neither_overlap_nor_are_cut_off(name, size):
    with plt.rc_context({"figure.figsize": size, "figure.dpi": 100}):
        assert_texts_are_legible(PICTURES[name]().figure)


@pytest.mark.parametrize("name", PICTURES)
def test_axes_and_color_bars_have_labels(name):
    _, given = plt.subplots()
    ax = PICTURES[name](given)
    assert ax is given
    assert ax.get_title()
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    for bar in ax.figure.axes[1:]:
        assert bar.get_ylabel()


def line(ax, label):
    (found,) = [line for line in ax.lines if label in line.get_label()]
    return found


def test_lines_are_the_data():
    found = flow(num_layers=2)
    ax = found.plot()
    for name, values in zip(found.names, found.remaining, strict=True):
        np.testing.assert_array_equal(line(ax, name).get_ydata(), values)
        np.testing.assert_array_equal(line(ax, name).get_xdata(), np.arange(40))
    assert found.verdict.kind in ax.get_title()
    assert found.names[found.verdicts.index(found.verdict)] in ax.get_title()
    found = products(bptt.RNN, 0.9)
    ax = found.plot()
    np.testing.assert_array_equal(line(ax, "partial s_T").get_ydata(), found.norms)
    np.testing.assert_array_equal(line(ax, "bound").get_ydata(), found.bound)
    assert len(products(bptt.GRU).plot().lines) == 1
    found = salient(SENTENCE)
    np.testing.assert_array_equal([bar.get_height() for bar in found.plot().patches], found.norms)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}], ids=str)
def test_a_ragged_flow_shows_its_verdict_and_not_the_number_of_sequences(options):
    """One sequence of 40 steps and 19 of 5: a sum over sequences falls after 5 steps."""
    found = ragged_flow(**options)
    ax = found.plot()
    for drawn, verdict in zip(ax.lines, found.verdicts, strict=True):
        shown = np.array(drawn.get_ydata())
        assert shown[0] == pytest.approx(1.0)
        assert shown[-1] == pytest.approx(verdict.factor)
        assert len(shown) == verdict.steps + 1 == 40
    aligned = "steps from the end (reverse: beginning)" if options else "steps back from each"
    assert ax.get_xlabel().startswith(aligned)
    rate = found.verdict.rate
    assert f"×{rate:.3g} per step" in ax.get_title()


def test_a_flow_of_mixed_lengths_is_that_of_equal_ones():
    """The same sequence, whole and cut: at every step the mean over those that reach it."""
    layer = bptt.RNN(3, 8, dtype=np.float64, seed=0)
    x = np.repeat(sequence(12)[np.newaxis], 3, axis=0)
    x[1:, :4] = x[1:, 8:]
    flow = diagnostics.gradient_flow(layer, x, all_outputs, lengths=np.array([12, 4, 4]))
    (values,) = flow.remaining
    alone = diagnostics.gradient_flow(layer, x[:1], all_outputs).remaining[0]
    np.testing.assert_allclose(values[4:], alone[4:])


def test_gates_say_layer_and_direction():
    assert reverse_trace().plot().get_title() == "Forget gate, layer 1, reverse"
    layer = bptt.GRU(3, 8, bidirectional=True, dtype=np.float64)
    assert (
        diagnostics.gate_trace(layer, sequence()).plot().get_title()
        == "Update gate, layer 0, forward"
    )


def test_history_shows_the_metric_next_to_the_loss():
    found = history(metric=1.0)
    ax = plots.plot_history(found, metric="accuracy")
    _, right = ax.figure.axes
    assert right.get_ylabel() == "accuracy"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "validation loss", "training loss", "validation accuracy", "training accuracy",
        "lowest validation loss, epoch 20",
    ]  # fmt: skip
    np.testing.assert_array_equal(
        line(right, "validation accuracy").get_ydata(), found["validation_metric"]
    )
    ax = plots.plot_history(history())
    assert len(ax.figure.axes) == 1
    assert ax.get_legend().get_texts()[0].get_text() == "validation loss"


def test_maps_are_the_data():
    found = contributions()
    for what in ("weights", "states"):
        (image,) = plots.plot_contributions(found, what=what).images
        np.testing.assert_array_equal(image.get_array().filled(0), getattr(found, what))
    found = trace(TEXT)
    for gate, openness in found.gates.items():
        (image,) = plots.plot_gates(found, gate=gate).images
        np.testing.assert_array_equal(np.sort(image.get_array(), 0), np.sort(openness.T, 0))
    assert found.plot().get_title() == "Forget gate, layer 0"
    assert trace(cell=bptt.GRU).plot().get_title() == "Update gate, layer 0"
    bar = trace().plot(gate="cell").figure.axes[1]
    assert bar.get_ylabel() == "activation"
    assert bar.get_ylim()[0] == -bar.get_ylim()[1]
    (image,) = plots.plot_flow_history(recorded()).images
    assert image.get_array().shape == (12, 40)


def test_tokens_label_the_steps_where_there_is_room():
    with plt.rc_context({"figure.figsize": (3.4, 2.6)}):
        short, long = trace(TEXT).plot(), trace(10 * TEXT).plot()
    shown = [label.get_text() for label in short.get_xticklabels()]
    assert shown == list(TEXT.replace(" ", "␣").replace("\n", "↵"))
    assert short.get_xlabel() == "token"
    long.figure.draw_without_rendering()
    assert all(label.get_text().isdigit() for label in long.get_xticklabels())
    assert long.get_xlabel() == "step $t$"


def test_gradients_of_zero_are_drawn_without_a_warning():
    """Zero has no logarithm."""
    layer = bptt.RNN(3, 4, dtype=np.float64, seed=0)
    layer["weight_hh_l0"] = np.zeros((4, 4))
    x = sequence(10)
    for found in (
        diagnostics.gradient_flow(layer, x[np.newaxis], last_output),
        diagnostics.jacobian_products(layer, x),
        diagnostics.contributions(layer, x, lambda y: (0.0, np.zeros_like(y))),
    ):
        found.plot().figure.draw_without_rendering()


def test_error_messages():
    with pytest.raises(ValueError, match=r"gate must be one of input, forget, .* got 'update'"):
        plots.plot_gates(trace(), gate="update")
    with pytest.raises(ValueError, match=r"layer must be in \[0, 1\), got 1"):
        plots.plot_flow_history(recorded(), layer=1)
    with pytest.raises(ValueError, match="flows must have at least one epoch, got none"):
        plots.plot_flow_history([])
    with pytest.raises(ValueError, match="what must be one of 'weights', 'states', got 'gates'"):
        plots.plot_contributions(contributions(), what="gates")
    with pytest.raises(TypeError, match="history must be a History, got list"):
        plots.plot_history([])
    with pytest.raises(ValueError, match="history must have at least one epoch, got none"):
        plots.plot_history(History())


def test_an_error_says_how_to_install_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'bptt\[plot\]'"):
        flow().plot()


def test_importing_plots_does_not_import_matplotlib():
    code = "import sys, bptt.diagnostics.plots; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
