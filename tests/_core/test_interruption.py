"""Signals during a call: their handlers run within 0.2 seconds, and may end the call."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

import bptt

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")

SLOWER = int(os.environ.get("BPTT_TEST_SLOWER", "1"))  # how much the kernels are, under sanitizers
MOST = 1.0 * SLOWER  # seconds; 0.2 on an idle machine


class StopError(Exception):
    pass


class Alarm:
    """A signal after some time, whose handler raises StopError."""

    def __init__(self, delay=0.05, handler=None):
        self.delay, self._handler = delay, handler
        self.handled = 0
        self.late = 0.0  # seconds from the signal to the end of the call

    def __enter__(self):
        self._before = signal.signal(signal.SIGALRM, self._handle)
        self.start()
        return self

    def start(self):
        signal.setitimer(signal.ITIMER_REAL, self.delay)
        self._due = time.monotonic() + self.delay

    def on_train_begin(self, _):
        self.start()

    def _handle(self, *_):
        self.handled += 1
        if self._handler is None:
            raise StopError
        self._handler()

    def __exit__(self, *_):
        self.late = time.monotonic() - self._due
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


LAYERS = {  # options, batch, steps: several seconds each
    "batch split": ({}, 16, 8000 // SLOWER),
    "hidden units split": ({}, 1, 100_000 // SLOWER),
    "stacked": ({"num_layers": 2}, 16, 4000 // SLOWER),
    "bidirectional": ({"bidirectional": True, "merge": "sum"}, 16, 4000 // SLOWER),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", LAYERS)
def test_inference_ends_early(kind, threads):
    options, batch, steps = LAYERS[kind]
    layer = bptt.LSTM(8, 320, seed=0, **options)
    x = np.broadcast_to(normal(batch, 1, 8), (batch, steps, 8))
    short = x[:, :20]
    expected = layer(short)[0].tobytes()
    parameters = layer._flat.tobytes()
    with bptt.threads(threads):
        with Alarm() as alarm, pytest.raises(StopError):
            layer(x)
        assert alarm.handled == 1
        assert alarm.late < MOST
        assert layer._flat.tobytes() == parameters
        assert layer(short)[0].tobytes() == expected


@pytest.mark.parametrize("every", [None, 50])
def test_training_ends_early(every):
    layer = bptt.GRU(8, 320, seed=0)
    steps = 1500 // SLOWER
    x = np.broadcast_to(normal(32, 1, 8), (32, steps, 8))
    with Alarm(0.02) as alarm, pytest.raises(StopError):
        layer.forward(x, recompute_every=every)
    assert alarm.late < MOST
    run = layer.forward(x[:, : steps * 2 // 5], recompute_every=every)
    d_output = np.ones_like(run.output)
    with Alarm(0.02) as alarm, pytest.raises(StopError):
        run.backward(d_output, retain=True)
    assert alarm.late < MOST
    first = run.backward(d_output, retain=True)
    assert first._flat.tobytes() == run.backward(d_output)._flat.tobytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_output_layers_end_early(threads):
    linear = bptt.Linear(1000, 2000, seed=0)
    x = np.broadcast_to(normal(1, 1000), (4000 // SLOWER, 1000))  # a block is not interrupted

    def repeat():
        while True:
            linear(x)

    with bptt.threads(threads), Alarm(0.02) as alarm, pytest.raises(StopError):
        repeat()
    assert alarm.late < MOST


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_handlers_that_return_change_nothing(threads):
    """A handler may use layers itself, and does not see the mode of denormal numbers of a call."""
    layer, other = bptt.LSTM(8, 320, seed=0), bptt.GRU(8, 64, seed=1)
    x = np.broadcast_to(normal(16, 1, 8), (16, 1500 // SLOWER, 8))
    expected = layer(x)[0].tobytes()
    expected_other = other(x[:, :50])[0].tobytes()
    seen = []

    def handler():
        seen.append(np.float32(1e-40) * np.float32(0.5) > 0)
        seen.append(other(x[:, :50])[0].tobytes() == expected_other)
        seen.append(other.forward(x[:, :50]).backward(np.ones((16, 50, 64), "f4")) is not None)

    with bptt.threads(threads):
        for delay in (0.01, 0.02, 0.03, 0.04):  # the threads are at different places
            with Alarm(delay, handler) as alarm:
                found = layer(x)[0].tobytes()
            assert alarm.handled == 1
            assert found == expected
    assert seen == [True] * 12


def test_calls_on_other_threads_are_not_interrupted():
    layer = bptt.LSTM(8, 320, seed=0)
    x = np.broadcast_to(normal(16, 1, 8), (16, 3000 // SLOWER, 8))
    expected = layer(x)[0].tobytes()
    found = []
    handled = threading.Event()

    def call():
        while not handled.is_set():  # one call after the other, so that the signal meets one
            found.append(layer(x)[0].tobytes())

    thread = threading.Thread(target=call)
    thread.start()
    try:
        with Alarm(0.2) as alarm, pytest.raises(StopError):
            threading.Event().wait()
    finally:
        handled.set()
        thread.join()
    assert alarm.handled == 1
    assert set(found) == {expected}


def test_interrupted_training_leaves_the_modules():
    pytest.importorskip("sklearn")
    X = [np.zeros((9000 // SLOWER, 4), np.float32) + i for i in range(64)]
    alarm = Alarm(60.0)
    model = bptt.SequenceClassifier(hidden_size=96, epochs=3, random_state=0, callbacks=[alarm])
    with alarm:
        alarm.delay = 0.2  # from the beginning of the training loop on
        with pytest.raises(StopError):
            model.fit(X, [0, 1] * 32)
    assert alarm.late < MOST
    assert len(model.history_) == 0
    assert np.isfinite(model.model_.modules[-1]["weight"]).all()
