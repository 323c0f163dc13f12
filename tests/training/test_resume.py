"""Training interrupted anywhere and resumed equals uninterrupted training, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import bptt
import tensor_files
from bptt.optim import schedules
from bptt.training.loop import Training
from training_tasks import (
    SEED,
    IndexDataset,
    ScriptedTask,
    count_updates,
    parity,
    run,
    tagger,
    weights,
    without_seconds,
)

EVERYTHING = {
    "epochs": 4,
    "batch_size": 8,
    "accumulate": 2,
    "clip_norm": 0.2,
    "clip_value": 0.1,
    "schedule": schedules.WarmUp(3, schedules.Plateau(1, 0.5)),
    "patience": 2,
    "min_delta": 1e-3,
    "save_every": 3,
    "learning_rate": 0.03,
}
OPTIMIZERS = {
    **{name: name for name in bptt.optim.OPTIMIZERS},
    "rmsprop": partial(bptt.RMSProp, learning_rate=0.01, momentum=0.5),
    "nesterov": partial(bptt.SGD, learning_rate=0.1, momentum=0.9, nesterov=True),
}


class StopError(Exception):
    pass


class Interrupt:
    def __init__(self, event, updates):
        self._event, self._updates = event, updates

    def on_batch_end(self, training: Training) -> None:
        self._look("batch", training)

    def on_epoch_end(self, training: Training) -> None:
        self._look("epoch", training)

    def _look(self, event, training):
        if (event, training.updates) == (self._event, self._updates):
            raise StopError


def content(path):
    """Tensors and header of a checkpoint, without seconds."""
    header, tensors = tensor_files.read(path)
    header["history"].pop("seconds")
    header["totals"].pop("seconds")
    return header, {name: (t.dtype, t.tobytes()) for name, t in tensors.items()}


def trained(path, data, validation=None, **arguments):
    task = tagger(np.float32)
    history = run(
        task, data, validation=validation, checkpoint_path=path, **{**EVERYTHING, **arguments}
    )
    return weights(task).tobytes(), without_seconds(history), content(path)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_interrupted_at_every_update(tmp_path, optimizer):
    data, validation = parity(60), parity(9, seed=1)
    chosen = {"optimizer": OPTIMIZERS[optimizer]}
    expected = trained(tmp_path / "whole", data, validation, **chosen)
    path = tmp_path / "interrupted"
    moments = [("batch", n) for n in range(1, 13)] + [("epoch", n) for n in (4, 8, 12)]
    for moment in moments:
        with pytest.raises(StopError):
            trained(path, data, validation, callbacks=[Interrupt(*moment)], **chosen)
        assert trained(path, data, validation, resume=True, **chosen) == expected
        path.unlink()


def test_interrupted_again_and_again(tmp_path):
    data = parity(60)
    expected = trained(tmp_path / "whole", data)
    path, resume = tmp_path / "interrupted", False
    for updates in range(1, 13):
        with pytest.raises(StopError):
            trained(path, data, resume=resume, callbacks=[Interrupt("batch", updates)])
        resume = True
    assert trained(path, data, resume=True) == expected


def test_checkpoint_of_a_task_without_a_metric_is_valid_json(tmp_path):
    """NaN is not valid JSON: a missing metric is stored as null."""
    path = tmp_path / "t"
    with pytest.raises(StopError):
        count_updates(
            ScriptedTask(losses=[3.0, 2.0]),
            epochs=2,
            checkpoint_path=path,
            callbacks=[Interrupt("epoch", 1)],
            save_every=1,
        )
    count_updates(ScriptedTask(losses=[3.0]), epochs=1, checkpoint_path=path, save_every=1)
    header, _ = content(path)
    json.dumps(header, allow_nan=False)
    task = ScriptedTask(losses=[2.0])
    history = count_updates(task, epochs=2, checkpoint_path=path, save_every=1, resume=True)
    assert history["loss"] == [3.0, 2.0]
    assert history["metric"] == [None, None]
    assert task.updates == 2


class OrderedIndexDataset(IndexDataset):
    """Five minibatches in a fixed order."""

    def __init__(self):
        super().__init__(5)

    def batches(self):
        return list(np.arange(5)[:, np.newaxis])


class StatefulTask(ScriptedTask):
    """A task whose gradient is the state carried from one minibatch to the next."""

    def training_step(self, batch):
        self.state = 0.0 if batch[0] == 0 else self.state
        self.state += batch[0] + self.updates / 100
        step = super().training_step(batch)
        step.gradients[0]._flat[:] = self.state
        return step


def test_ordered_dataset_is_resumed_at_the_beginning_of_the_epoch(tmp_path):
    def trained(path, **arguments):
        task = StatefulTask()
        history = run(
            task,
            OrderedIndexDataset(),
            "sgd",
            epochs=3,
            checkpoint_path=tmp_path / path,
            save_every=1,
            **arguments,
        )
        return weights(task).tobytes(), without_seconds(history), content(tmp_path / path)

    expected = trained("whole")
    resume = False
    for updates in (3, 7, 13):
        with pytest.raises(StopError):
            trained("t", resume=resume, callbacks=[Interrupt("batch", updates)])
        resume = True
    assert trained("t", resume=True) == expected


def test_resumed_on_another_number_of_threads(tmp_path):
    data = parity(60)
    expected = trained(tmp_path / "whole", data)
    path = tmp_path / "interrupted"
    with bptt.threads(2), pytest.raises(StopError):
        trained(path, data, callbacks=[Interrupt("batch", 6)])
    with bptt.threads(3):
        assert trained(path, data, resume=True) == expected


def test_completed_training_continues_with_more_epochs(tmp_path):
    data = parity(60)
    expected = trained(tmp_path / "whole", data, epochs=6, patience=None)
    path = tmp_path / "t"
    trained(path, data, epochs=3, patience=None)
    before = path.read_bytes()
    trained(path, data, epochs=3, patience=None, resume=True)  # no epochs remain
    assert path.read_bytes() == before
    assert trained(path, data, epochs=6, patience=None, resume=True) == expected


def test_resumed_training_that_stopped_early_does_nothing(tmp_path):
    path = tmp_path / "t"
    script, options = [3, 1, 2, 2], {"epochs": 9, "patience": 2, "checkpoint_path": path}
    count_updates(ScriptedTask(losses=script), **options)
    task = ScriptedTask()
    history = count_updates(task, resume=True, **options)
    assert history["loss"] == script
    assert task.updates == 2


def test_without_resume_training_restarts(tmp_path):
    path = tmp_path / "t"
    count_updates(ScriptedTask(), epochs=3, checkpoint_path=path)
    task = ScriptedTask()
    assert len(count_updates(task, epochs=2, checkpoint_path=path)) == 2
    assert task.updates == 2
    task = ScriptedTask()
    assert len(count_updates(task, epochs=4, checkpoint_path=path, resume=True)) == 4
    assert task.updates == 4


def test_temporary_files_of_a_killed_process_are_removed(tmp_path):
    path = tmp_path / "t[1]"
    ours, others = tmp_path / ".t[1].0badcafe.tmp", tmp_path / ".t1.0badcafe.tmp"
    for left in (ours, others):
        left.write_bytes(b"half")
    count_updates(ScriptedTask(), epochs=1, checkpoint_path=path)
    assert sorted(tmp_path.iterdir()) == sorted([path, others])


def test_checkpoints_need_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    task = ScriptedTask()
    with pytest.raises(
        ImportError, match=r"checkpoint_path needs safetensors: pip install 'bptt\["
    ):
        count_updates(task, epochs=1, checkpoint_path=tmp_path / "t")
    assert task.updates == 0


# ---- other arguments, invalid files --------------------------------------------------------------


def plain(update, updates_per_epoch, losses):
    return 1.0


def unchanged(path, message, task=None, **arguments):
    """Check that resuming fails and changes nothing."""
    task = task or tagger(np.float32)
    before = weights(task), path.read_bytes()
    states = [module._random.bit_generator.state for module in task.modules.values()]
    with pytest.raises(ValueError, match=message):
        run(
            task,
            **{
                "data": parity(20),
                "checkpoint_path": path,
                "resume": True,
                **EVERYTHING,
                **arguments,
            },
        )
    assert path.read_bytes() == before[1]
    np.testing.assert_array_equal(weights(task), before[0])
    assert states == [module._random.bit_generator.state for module in task.modules.values()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 9}, "batch_size must be unchanged, 8, got 9"),
        ({"accumulate": 1}, "accumulate must be unchanged, 2, got 1"),
        ({"clip_norm": None}, "clip_norm must be unchanged, 0.2, got None"),
        ({"patience": 3}, "patience must be unchanged, 2, got 3"),
        ({"schedule": plain}, r"schedule must be unchanged, WarmUp\(updates=3, .* got plain"),
        ({"seed": SEED + 1}, "seed must be unchanged, 3, got 4"),
        (
            {"learning_rate": 0.02},
            r"optimizer must be unchanged, Adam\(learning_rate=0.03, .*Adam\(learning_rate=0.02",
        ),
        (
            {"optimizer": "sgd"},
            r"optimizer must be unchanged, Adam\(learning_rate=.*, got SGD\(learn",
        ),
        ({"data": parity(21)}, "data must be unchanged, 20 sequences .*, got 21 sequences"),
        ({"data": parity(20, seed=1)}, r"data must be unchanged, 20 .* digest (\w+), got 20 seq"),
        ({"validation": parity(3)}, "validation must be unchanged, none, got 3 sequences"),
        ({"task": tagger(np.float32, dropout=0.1)}, "modules must be unchanged, 0-lstm: LSTM"),
        ({"task": tagger(np.float64)}, r"modules must be unchanged, .*dtype=float64"),
        ({"task": tagger(np.float32, hidden_size=9)}, "modules must be unchanged"),
    ],
)
def test_training_with_other_arguments_is_not_resumed(tmp_path, arguments, message):
    path = tmp_path / "t"
    trained(path, parity(20), epochs=1)
    unchanged(path, rf"^cannot resume .*t: {message}", **arguments)


def test_training_with_other_settings_is_not_resumed(tmp_path):
    path = tmp_path / "t"
    settings = {"vocabulary": "abc"}
    count_updates(ScriptedTask(), epochs=1, checkpoint_path=path, settings=settings)
    with pytest.raises(ValueError, match="vocabulary must be unchanged, abc, got ab"):
        count_updates(
            ScriptedTask(),
            epochs=1,
            checkpoint_path=path,
            settings={"vocabulary": "ab"},
            resume=True,
        )
    count_updates(ScriptedTask(), epochs=1, checkpoint_path=path, settings=settings, resume=True)


def test_schedules_that_are_functions_are_compared_by_name(tmp_path):
    class Falling:
        def __call__(self, update, updates_per_epoch, losses):
            return 1 / (1 + update)

    for make in (lambda: plain, Falling):
        path = tmp_path / "t"
        count_updates(ScriptedTask(), epochs=1, checkpoint_path=path, schedule=make())
        history = count_updates(
            ScriptedTask(), epochs=2, checkpoint_path=path, schedule=make(), resume=True
        )
        assert len(history) == 2


def without(name):
    return lambda header, tensors: tensors.pop(name)


def other(name, array):
    return lambda header, tensors: tensors.update({name: array})


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (without("modules/2-linear/bias"), "the tensor modules/2-linear/bias is missing"),
        (without("best/2-linear/bias"), "the tensor best/2-linear/bias is missing"),
        (without("optimizer/updates"), "state must hold updates"),
        (other("modules/2-linear/bias", np.ones(3, np.float32)), "bias must have shape"),
        (other("best/2-linear/bias", np.ones(2)), "bias must have dtype float32, got float64"),
        (other("optimizer/first_moment/0", np.ones(2, np.float32)), "must have shape"),
        (lambda h, t: h.pop("training"), "'training'"),
        (lambda h, t: h["training"].pop("seed"), "'seed'"),
        (lambda h, t: h.pop("history"), "'history'"),
        (lambda h, t: h["history"].pop("loss"), "'loss'"),
        (lambda h, t: h.update(batch=-1), "batch must be an integer >= 0, got -1"),
        (lambda h, t: h.update(totals={}), "'loss'"),
        (lambda h, t: h["generators"].pop("0-lstm"), "'0-lstm'"),
        (lambda h, t: h["generators"]["0-lstm"].update(bit_generator="MT"), "PCG64"),
    ],
)
def test_invalid_checkpoints(tmp_path, corrupt, message):
    path = tmp_path / "t"
    trained(path, parity(20), epochs=1)
    header, tensors = tensor_files.read(path)
    corrupt(header, tensors)
    tensor_files.write(path, header, tensors)
    unchanged(path, rf"^cannot resume .*t: .*{message}")


def test_files_that_are_not_checkpoints(tmp_path):
    path = tmp_path / "t"
    trained(path, parity(20), epochs=1)
    path.write_bytes(path.read_bytes()[:-10])
    unchanged(path, "cannot load .*t: ")
    bptt.save_modules(path, {"a": bptt.Linear(1, 1)})
    unchanged(path, "cannot load .*t: it is not a file of a training")


# ---- killed processes ----------------------------------------------------------------------------

UPDATES = 20 * 20  # 20 per epoch
MAX_UPDATES = UPDATES // 20  # of one process: ten processes do at most half of all updates
CHILD = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[i]) for i in (0, 1)]!r}
from test_resume import Heartbeat, train_or_resume
train_or_resume(sys.argv[1], Heartbeat())
"""


class Heartbeat:
    def on_batch_end(self, training: Training) -> None:
        os.write(1, b".")


def train_or_resume(path, *callbacks):
    """Train, from the checkpoint if there is one."""
    task = tagger(np.float32, hidden_size=24)
    history = run(
        task,
        parity(160, 30),
        validation=parity(40, 30, seed=1),
        checkpoint_path=path,
        resume=True,
        callbacks=callbacks,
        **{**EVERYTHING, "accumulate": 1, "epochs": UPDATES // 20, "patience": None},
    )
    return weights(task).tobytes(), without_seconds(history), content(path)


def test_killed_ten_times_at_random_moments(tmp_path):
    expected = train_or_resume(tmp_path / "whole")
    assert len(expected[1]) == UPDATES // 20
    path = tmp_path / "killed" / "t"
    path.parent.mkdir()
    chance = random.Random(SEED)
    for _ in range(10):
        environment = {**os.environ, "BPTT_NUM_THREADS": str(chance.randint(1, 3))}
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE, env=environment, bufsize=0
        ) as child:
            left = chance.randint(1, MAX_UPDATES)
            while left:
                beats = child.stdout.read(left)
                assert beats, "training ended before it was killed"
                left -= len(beats)
            time.sleep(chance.uniform(0, 0.01))  # during an update, or while the file is written
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
    updates = content(path)[0]["updates"]
    assert 0 < updates < UPDATES
    assert train_or_resume(path) == expected
    assert [file.name for file in path.parent.iterdir()] == ["t"]
