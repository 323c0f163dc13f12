"""Estimators that are fitted on ranks, and what must be the same on all of them."""

from __future__ import annotations

import numpy as np

from bptt.distributed._gradients import digest

OPTIONS = {"epochs": 3, "batch_size": 8, "random_state": 0, "hidden_size": 4, "dtype": "float64"}


def modules_of(model):
    return list(model._task().modules.values())


def fit(comm, kind, data, options, **arguments):
    """Fit, and return the estimator and the digests of its weights after every update."""
    digests = []

    class Digests:
        def on_batch_end(self, training):
            digests.append(digest(list(training.modules.values())))

    model = kind(**{**OPTIONS, **options}, callbacks=[Digests()])
    model.fit(*data, communicator=comm, **arguments)
    return model, digests


def losses(model):
    return [
        value
        for epoch in model.history_
        for value in (epoch.loss, epoch.gradient_norm, epoch.validation_loss, epoch.metric)
        if value is not None
    ]


def check_same_bits(results):
    model, digests = results[0]
    assert digests
    for other, found in results[1:]:
        assert found == digests
        for mine, others in zip(modules_of(model), modules_of(other), strict=True):
            np.testing.assert_array_equal(others._flat, mine._flat, strict=True)
