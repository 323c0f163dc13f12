"""Training loop: gradients, early stopping, interruptions, progress and history."""

from __future__ import annotations

import io
import json
import math
import sys
from functools import partial

import numpy as np
import pytest
from tqdm import tqdm

import bptt
from bptt.optim import schedules
from bptt.training import Training, TrainingOptions, make_optimizer
from bptt.training import _progress as progress
from bptt.training.history import Epoch, History
from training_tasks import (
    IndexDataset,
    ScriptedTask,
    accuracy,
    count_updates,
    loss_fn,
    parity,
    run,
    tagger,
    weights,
    without_seconds,
)

# ---- updates -------------------------------------------------------------------------------------


def test_loss_decreases():
    task = tagger(dropout=0.0)
    history = run(task, parity(), epochs=40, learning_rate=0.03)
    assert history[-1].loss < 0.1 < history[0].loss
    assert history[-1].metric > 0.97
    assert history["number"] == list(range(1, 41))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accumulated_minibatches_equal_one_large_minibatch(dtype):
    """Minibatches of different weights; one SGD step shows the gradient."""
    data = parity(50)

    def gradient(batch_size, accumulate):
        task = tagger(dtype, dropout=0.0)
        before = weights(task)
        sizes = {"batch_size": batch_size, "accumulate": accumulate}
        history = run(task, data, "sgd", 1.0, epochs=1, clip_norm=None, **sizes)
        return history[0], before - weights(task)

    epoch, expected = gradient(50, 1)
    for batch_size, accumulate in ((20, 3), (7, 8), (7, 100), (1, 50)):
        found, g = gradient(batch_size, accumulate)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(g, expected, rtol=0, atol=50 * eps * abs(expected).max())
        np.testing.assert_allclose(found[1:3], epoch[1:3], rtol=50 * eps)
        np.testing.assert_allclose(found.gradient_norm, np.linalg.norm(expected), rtol=50 * eps)
    separate, _ = gradient(20, 1)
    assert abs(separate.gradient_norm - epoch.gradient_norm) > 1e-3


def test_history_holds_the_means_over_all_targets():
    """With a learning rate of 0, every epoch equals one evaluation of all data."""
    data, held_out = parity(50), parity(30, seed=1)
    task = tagger(dropout=0.0)
    history = run(task, data, learning_rate=0.0, epochs=2, batch_size=8, validation=held_out)

    def of(part):
        batch = part.batch(np.arange(len(part.lengths)))
        output = task.predict(batch.x, batch.lengths)
        return loss_fn(output, batch).value, accuracy(output, batch)

    for number, epoch in enumerate(history, start=1):
        assert epoch.number == number
        np.testing.assert_allclose((epoch.loss, epoch.metric), of(data), rtol=1e-12)
        found = epoch.validation_loss, epoch.validation_metric
        np.testing.assert_allclose(found, of(held_out), rtol=1e-12)
        assert epoch.seconds > 0
        assert epoch.gradient_norm > 0
        assert epoch.learning_rate == 0.0


def test_same_seed_same_bits_on_any_number_of_threads():
    def trained(threads, seed=1, **arguments):
        task = tagger(np.float32, hidden_size=32)
        with bptt.threads(threads):
            history = run(task, parity(), epochs=2, batch_size=8, seed=seed, **arguments)
        return weights(task).tobytes(), without_seconds(history)

    expected = trained(1)
    assert trained(1) == trained(2) == trained(3) == expected
    assert trained(1, seed=2)[0] != expected[0]
    assert trained(1, validation=parity(9))[0] == expected[0]


def test_dropout_is_off_in_validation_and_on_in_training():
    data = parity()
    task = tagger(dropout=0.5)
    history = run(task, data, learning_rate=0.0, epochs=2, validation=data)
    assert history[0].validation_loss == history[1].validation_loss
    assert len({*history["loss"], history[0].validation_loss}) == 3


def test_gradients_are_clipped_by_value_and_then_by_norm():
    def moved(gradient, **options):
        task = ScriptedTask(gradients=[gradient])
        history = count_updates(task, epochs=1, **options)
        assert history[0].gradient_norm == abs(gradient)  # before clipping
        return task.updates

    assert moved(-8.0) == 8.0
    assert moved(-8.0, clip_norm=2.0) == pytest.approx(2.0, rel=1e-12)
    assert moved(8.0, clip_value=3.0) == -3.0
    assert moved(8.0, clip_value=3.0, clip_norm=0.5) == pytest.approx(-0.5, rel=1e-12)
    assert moved(8.0, clip_value=3.0, clip_norm=4.0) == -3.0


def test_schedules_see_updates_and_monitored_losses():
    seen = []

    def schedule(update, updates_per_epoch, losses):
        seen.append((update, updates_per_epoch, list(losses)))
        return 1 / (1 + update)

    task = ScriptedTask(validation=[0.5, 0.25])
    optimizer = make_optimizer("sgd", task.modules, 2.0)
    history = run(
        task,
        IndexDataset(3),
        lambda _: optimizer,
        epochs=2,
        batch_size=1,
        accumulate=2,
        validation=IndexDataset(1),
        schedule=schedule,
    )
    assert seen == [(0, 2, []), (1, 2, []), (2, 2, [0.5]), (3, 2, [0.5])]
    assert history["learning_rate"] == [2 / 2, 2 / 4]
    np.testing.assert_allclose(task.updates, 2 * (1 + 1 / 2 + 1 / 3 + 1 / 4))
    assert optimizer.learning_rate == 2.0  # restored


def test_plateau_schedule():
    task = ScriptedTask(losses=[3.0, 2.0, 2.0, 2.0, 2.0])
    plateau = schedules.Plateau(patience=1, factor=0.5)
    history = count_updates(task, epochs=5, schedule=plateau)
    assert history["learning_rate"] == [1.0, 1.0, 1.0, 0.5, 0.25]


def test_optimizers_by_name_and_by_function():
    modules = {"a": bptt.Linear(1, 1)}
    for name, kind in bptt.optim.OPTIMIZERS.items():
        made = make_optimizer(name, modules, 0.25)
        assert type(made) is kind
        assert made.learning_rate == 0.25
    made = make_optimizer(partial(bptt.SGD, learning_rate=3.0, momentum=0.5), modules, 0.25)
    assert made.learning_rate == 3.0
    with pytest.raises(ValueError, match=r"optimizer must be one of 'adam', .*, got 'newton'"):
        make_optimizer("newton", modules, 0.25)
    with pytest.raises(TypeError, match=r"optimizer must be one of .*, got int"):
        make_optimizer(3, modules, 0.25)
    assert make_optimizer(bptt.SGD, modules, 0.25).learning_rate == 0.25
    with pytest.raises(TypeError, match=r"or a function, got an object: use SGD$"):
        make_optimizer(bptt.SGD(list(modules.values())), modules, 0.25)
    with pytest.raises(TypeError, match="optimizer must return an Optimizer, got list"):
        make_optimizer(list, modules, 0.25)


# ---- early stopping and callbacks ----------------------------------------------------------------


@pytest.mark.parametrize("monitored", ["losses", "validation"])
@pytest.mark.parametrize(
    ("script", "patience", "min_delta", "epochs", "best"),
    [
        ([3, 2, 1, 2, 1, 1, 0], 3, 0.0, 6, 3),  # an equal loss is not an improvement
        ([3, 2, 1, 2, 1, 0.5, 2, 3, 4], 3, 0.0, 9, 6),
        ([1.0, 0.95, 0.9, 0.85, 0.8], 2, 0.08, 5, 5),  # counted from the last improvement
        ([1.0, 0.95, 0.91, 0.5], 2, 0.25, 3, 1),
        ([1, 2, 3], 1, 0.0, 2, 1),
    ],
)
def test_early_stopping(monitored, script, patience, min_delta, epochs, best):
    task = ScriptedTask(**{monitored: script})
    validation = IndexDataset(1) if monitored == "validation" else None
    options = {"patience": patience, "min_delta": min_delta, "epochs": max(epochs, len(script))}
    history = count_updates(task, **options, validation=validation)
    assert len(history) == epochs
    assert task.updates == best


def test_without_patience_the_last_weights_stay():
    task = ScriptedTask(losses=[1, 2, 3])
    assert len(count_updates(task, epochs=3)) == 3
    assert task.updates == 3


def test_restored_weights_have_the_best_validation_loss():
    data, held_out = parity(5), parity(30, seed=1)
    task = tagger()
    history = run(task, data, learning_rate=0.1, epochs=30, patience=30, validation=held_out)
    batch = held_out.batch(np.arange(30))
    best = min(history["validation_loss"])
    assert best < history[-1].validation_loss
    np.testing.assert_allclose(task.evaluate(batch).loss, best, rtol=1e-12)


class Callback:
    """Records events; runs an action at one of them."""

    def __init__(self, event=None, when=None, action=None):
        self.events = []
        self._action = event, when, action

    def _record(self, event, training):
        self.events.append((event, len(training.history), training.updates))
        if self._action[:2] == (event, training.updates):
            self._action[2](training)

    def __getattr__(self, name):
        if not name.startswith("on_"):
            raise AttributeError(name)
        return partial(self._record, name[3:])


def test_callbacks_are_called_in_order():
    callback = Callback()
    count_updates(ScriptedTask(), epochs=2, callbacks=[callback])
    assert callback.events == [
        ("train_begin", 0, 0),
        ("batch_end", 0, 1),
        ("epoch_end", 1, 1),
        ("batch_end", 1, 2),
        ("epoch_end", 2, 2),
        ("train_end", 2, 2),
    ]


def test_callbacks_see_the_last_update():
    seen = []

    class Look:
        def on_batch_end(self, training: Training) -> None:
            seen.append((training.loss, training.metric, training.gradient_norm, training.batch))
            assert training.epoch == 1

    task = ScriptedTask(losses=[1, 2, 3, 4, 5], gradients=[-3, -3, -5, -5, -2])
    run(task, IndexDataset(5), batch_size=1, accumulate=2, epochs=1, callbacks=[Look()])
    assert seen == [(1.5, None, 3.0, 2), (3.5, None, 5.0, 4), (5.0, None, 2.0, 5)]


def test_a_function_is_called_after_every_epoch():
    epochs = []
    count_updates(ScriptedTask(), epochs=3, callbacks=[lambda t: epochs.append(len(t.history))])
    assert epochs == [1, 2, 3]


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (
            print,
            r"^callbacks must be a list of objects or functions, got <built-in function print>",
        ),
        (
            [Callback],
            r"^callbacks\[0\] must be an object, got the class Callback: write Callback\(\)$",
        ),
        ([print, 3], r"^callbacks\[1\] must be a function, which is called after every epoch, or "),
    ],
)
def test_wrong_callbacks(callbacks, message):
    with pytest.raises(TypeError, match=message):
        count_updates(ScriptedTask(), epochs=1, callbacks=callbacks)


@pytest.mark.parametrize(("event", "epochs"), [("batch_end", 3), ("epoch_end", 3)])
def test_a_callback_stops_training_after_the_epoch(event, epochs):
    callback = Callback(event, 3, Training.stop)
    history = count_updates(ScriptedTask(), epochs=9, callbacks=[callback])
    assert len(history) == epochs
    assert callback.events[-1] == ("train_end", epochs, epochs)


# ---- interruptions -------------------------------------------------------------------------------


def fail(error):
    def act(_):
        raise error

    return act


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize(
    ("event", "when", "left"),
    [
        ("train_begin", 0, 0),
        ("batch_end", 1, 0),  # no complete epoch: the initial weights
        ("epoch_end", 1, 1),
        ("batch_end", 2, 1),
        ("batch_end", 4, 2),  # the best epoch, not the last
        ("epoch_end", 4, 4),
    ],
)
def test_interrupted_training_restores_the_best_complete_epoch(error, event, when, left):
    task = ScriptedTask(losses=[3, 1, 2, 0.5])
    callback = Callback(event, when, fail(error))
    optimizer = make_optimizer("sgd", task.modules, 1.0)
    with pytest.raises(error):
        run(
            task,
            IndexDataset(1),
            lambda _: optimizer,
            epochs=9,
            clip_norm=None,
            callbacks=[callback],
            schedule=lambda *_: 1.0,
        )
    assert task.updates == left
    assert callback.events[-1][0] == event
    assert optimizer.learning_rate == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("what", "script"),
    [
        ("loss", {"losses": [3, 2, 4]}),
        ("norm of the gradients", {"gradients": [-1, -1, -1]}),
        ("validation loss", {"validation": [3, 2, 4]}),
    ],
)
def test_training_stops_if_a_value_is_not_finite(value, what, script):
    name, before = next(iter(script.items()))
    task = ScriptedTask(**{"losses": [3, 2, 4, 5], name: [*before, value]})
    shown = abs(value) if name == "gradients" else value
    done = 1 if name == "validation" else 0
    where = ", and the gradient of counter.weight is not finite" if name == "gradients" else ""
    message = rf"the {what} is {shown} in epoch 4, after {done} minibatches{where}: try a smaller"
    with pytest.raises(FloatingPointError, match=message):
        count_updates(task, epochs=9, validation=IndexDataset(1) if name == "validation" else None)
    assert task.updates == 2


def test_the_gradient_that_is_not_finite_is_named():
    """Of the layer and parameter where it is first; the checkpoint from before stays."""
    task = tagger()
    task.modules["2-linear"]["bias"] = np.array([np.nan, 0.0])
    first = next(iter(task.modules["0-lstm"].parameters))
    message = f"after 0 minibatches, and the gradient of 0-lstm.{first} is not finite: try"
    with pytest.raises(FloatingPointError, match=message):
        run(task, parity(8), epochs=1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("script", ["losses", "gradients"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_updates_that_are_not_finite_are_left_out(accumulate, script, value):
    """As if their minibatches did not exist; the schedule counts them."""
    losses, gradients, factors = [3.0, 2.0, 4.0, 1.0], [-1.0, -3.0, -2.0, -2.0], []

    def train_scripted(count):
        task = ScriptedTask(losses, gradients=gradients)
        history = run(
            task,
            IndexDataset(count),
            partial(bptt.SGD, learning_rate=1.0),
            epochs=1,
            batch_size=1,
            accumulate=accumulate,
            nonfinite="skip",
            schedule=lambda update, *_: factors.append(update) or 1.0,
        )
        return task.updates, history[0].loss, history[0].gradient_norm

    expected = train_scripted(4)
    losses[2:2] = [9.0] * accumulate
    gradients[2:2] = [-9.0] * accumulate
    {"losses": losses, "gradients": gradients}[script][1 + accumulate] = value  # last of a group
    factors.clear()
    with pytest.warns(UserWarning, match=f"^update {4 - accumulate} is left out: the ") as caught:
        assert train_scripted(4 + accumulate) == expected
    assert len(caught) == 1
    assert factors == list(range((4 + accumulate) // accumulate))


def test_an_epoch_must_have_an_update():
    task = ScriptedTask(losses=[3.0, math.nan])
    with (
        pytest.raises(FloatingPointError, match=r"^all 1 updates of epoch 2 had "),
        pytest.warns(UserWarning, match=r"^update 2 is left out: the loss is nan in epoch 2"),
    ):
        count_updates(task, epochs=9, nonfinite="skip")
    assert task.updates == 1


@pytest.mark.parametrize("save_every", [None, 1])
def test_parameters_that_are_not_finite_reach_no_checkpoint(save_every, tmp_path):
    """The gradient is finite, and its update overflows: in an epoch, or at the end of one."""
    path, before = tmp_path / "training", []
    task = ScriptedTask(gradients=[-1.0, -1.0, -1.0, -1e150])

    def schedule(update, *_):
        before.append(path.read_bytes() if path.exists() else b"")
        return 1.0 if update < 3 else 1e200

    with pytest.raises(FloatingPointError, match=r"^the parameter counter\.weight is not finite"):
        run(
            task,
            IndexDataset(3 if save_every else 1),
            partial(bptt.SGD, learning_rate=1.0),
            epochs=4,
            batch_size=1,
            clip_norm=None,
            schedule=schedule,
            checkpoint_path=path,
            save_every=save_every,
        )
    assert len(before) == 4
    assert path.read_bytes() == before[-1] != b""
    assert math.isfinite(task.updates)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([0.5, 1e8, 1.1e8], r"^the loss is 1.1e\+08 in epoch 3, .* more than 100,000,000 times"),
        ([20.0, 1.9e9, 2.1e9], r"times the first, 20 \(or 1\): training diverges; try a smaller"),
    ],
)
def test_training_stops_if_the_loss_explodes(losses, message):
    task = ScriptedTask(losses=losses)
    with pytest.raises(FloatingPointError, match=message):
        count_updates(task, epochs=9)
    assert task.updates == 1  # the best epoch


# ---- progress ------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_no_progress_by_default(capfd):
    run(tagger(), parity(), epochs=2)
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_there_is_one_line_per_epoch(capfd):
    run(tagger(), parity(), epochs=2, validation=parity(), verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    for number, line in enumerate(err.splitlines(), start=1):
        assert line.startswith(f"epoch {number}/2: loss 0.")
        for name in ("metric 0.", "validation loss 0.", "validation metric 0.", "gradient "):
            assert f", {name}" in line
        assert line.endswith(" sequences/s")
    assert number == 2


def test_in_a_terminal_a_bar_is_replaced_by_a_line(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "bar_class", lambda: partial(tqdm, mininterval=0))
    run(tagger(), parity(), epochs=2, batch_size=20, verbose=True)
    *shown, end = terminal.getvalue().split("\n")
    assert end == ""
    assert len(shown) == 2  # final lines
    for number, line in enumerate(shown, start=1):
        *bars, last = line.split("\r")
        assert last.startswith(f"epoch {number}/2: loss 0.")
        assert any("33%|" in bar and "loss 0." in bar and "gradient " in bar for bar in bars)
        assert any("sequences/s" in bar for bar in bars)
        assert not bars[-1].strip()  # the bar is erased


def test_in_a_notebook_there_is_a_bar(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    count_updates(ScriptedTask(), epochs=1, verbose=True)
    err = capfd.readouterr().err
    assert "%|" in err
    assert "epoch 1/1: loss 1, gradient 1, " in err


def test_an_interrupted_bar_is_closed(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    callback = Callback("batch_end", 2, fail(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        count_updates(ScriptedTask(), epochs=3, verbose=True, callbacks=[callback])
    assert not terminal.getvalue().split("\r")[-1].strip()


def test_verbose_needs_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"needs tqdm: pip install 'bptt\[train\]'"):
        TrainingOptions(verbose=True)
    assert len(count_updates(ScriptedTask(), epochs=1)) == 1


# ---- history -------------------------------------------------------------------------------------


def make_history(count, **changed):
    return History(
        Epoch(n, 1 / n, None, 2 / n, None, 12345.678, 0.001, 1.5)._replace(**changed)
        for n in range(1, count + 1)
    )


def test_history_is_a_sequence_of_epochs_and_a_table():
    history = make_history(3)
    assert history[-1].loss == 1 / 3
    assert history["loss"] == [1, 1 / 2, 1 / 3]
    assert history[1:]["number"] == [2, 3]
    assert [epoch.monitored for epoch in history] == [2, 1, 2 / 3]
    assert (history + history)["number"] == [1, 2, 3, 4, 5, 6]
    assert len(history) == 3
    assert repr(history) == "History of 3 epochs"
    with pytest.raises(KeyError, match=r"key must be one of number, loss, .*, got 'losses'"):
        history["losses"]


def test_history_is_stored_in_json():
    history = make_history(3)
    text = json.dumps(history.to_dict(), allow_nan=False)
    again = History.from_dict(json.loads(text))
    assert list(again) == list(history)
    with pytest.raises(KeyError):
        History.from_dict({})


def test_history_prints_a_small_table():
    assert str(make_history(2)) == (
        "number  loss  validation loss  gradient norm  learning rate  seconds\n"
        "     1     1                2      1.235e+04          0.001      1.5\n"
        "     2   0.5                1      1.235e+04          0.001      1.5"
    )
    lines = str(make_history(200)).splitlines()
    assert len(lines) == 22
    assert lines[11].split() == ["..."] * 6
    assert lines[12].split()[0] == "191"
    assert str(History()) == ""


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("epochs", 0, ValueError),
        ("batch_size", 2.5, TypeError),
        ("accumulate", 0, ValueError),
        ("patience", 0, ValueError),
        ("min_delta", -0.5, ValueError),
        ("clip_norm", 0.0, ValueError),
        ("clip_value", "1", TypeError),
        ("schedule", 3, TypeError),
        ("schedule", schedules.CosineDecay, TypeError),
        ("verbose", 3, ValueError),
        ("verbose", "yes", ValueError),
        ("monitor", "accuracy", ValueError),
        ("nonfinite", "ignore", ValueError),
    ],
)
def test_wrong_options(option, value, kind):
    with pytest.raises(kind, match=f"^{option} must be .*got "):
        TrainingOptions(**{option: value})


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"data": IndexDataset(0)}, ValueError, "data must have at least one sequence, got none"),
        ({"data": None}, TypeError, "data must be a Dataset, got NoneType"),
        ({"validation": IndexDataset(0)}, ValueError, "validation must have "),
        ({"validation": 0.1}, TypeError, "validation must be a Dataset, got float"),
        ({"seed": -1}, ValueError, "seed must be "),
        ({"seed": None}, TypeError, "seed must be "),
        ({"resume": True}, ValueError, "resume=True needs checkpoint_path, got checkpoint_path=N"),
        ({"save_every": 3}, ValueError, "save_every needs checkpoint_path"),
        ({"checkpoint_path": 3}, TypeError, "checkpoint_path must be "),
        (
            {"checkpoint_path": "no/such/file"},
            FileNotFoundError,
            "checkpoint_path must be in a directory that exists, got no/such/file",
        ),
        ({"checkpoint_path": "."}, IsADirectoryError, "Is a directory: "),
        ({"checkpoint_path": "file", "save_every": 0}, ValueError, "save_every must be "),
        ({"checkpoint_path": "file", "resume": 1}, TypeError, "resume must be "),
        (
            {"optimizer": lambda _: bptt.SGD(bptt.Linear(3, 2))},
            ValueError,
            r"optimizer must be an optimizer of the task's modules, .*got one of \[Linear",
        ),
    ],
)
def test_wrong_arguments(arguments, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = ScriptedTask()
    with pytest.raises(kind, match=f"^{message}"):
        run(task, **{"data": IndexDataset(1), "epochs": 1, **arguments})
    assert task.updates == 0
    assert not list(tmp_path.iterdir())
