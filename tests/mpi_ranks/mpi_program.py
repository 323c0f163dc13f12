"""What the tests run on ranks of MPI: ``mpiexec -n 2 python mpi_program.py NAME [ARGUMENT]``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

import bptt
from bptt.distributed import Communicator
from bptt.distributed._gradients import digest
from bptt.distributed._ordered_sum import ordered_sum

COMM = MPI.COMM_WORLD


def classifier(**options):
    return bptt.SequenceClassifier(
        **{"hidden_size": 8, "batch_size": 16, "random_state": 0, "epochs": 3, **options}
    )


def data():
    random = np.random.default_rng(0)
    X = [random.standard_normal((n, 3)) for n in random.integers(1, 20, 90)]
    return X, [int(x.sum() > 0) for x in X]


class Digests:
    def __init__(self):
        self.found = []

    def on_batch_end(self, training):
        self.found.append(digest(list(training.modules.values())))


def fits():
    """Whole data and shards: digests after every update, and the losses."""
    X, y = data()
    for dtype in ("float32", "float64"):
        for shards in (False, True):
            digests = Digests()
            model = classifier(dtype=dtype, validation_fraction=0.2, callbacks=[digests])
            part = slice(COMM.rank, None, COMM.size) if shards else slice(None)
            model.fit(X[part], y[part], communicator=Communicator(shards=shards))
            found = COMM.allgather(digests.found)
            if COMM.rank == 0:
                losses = [(one.loss, one.validation_loss) for one in model.history_]
                equal = all(one == found[0] for one in found)
                print(json.dumps([dtype, shards, equal, found[0][-1], losses]))


def sums():
    for size in (3, 5000, 100_000):
        rows = np.random.default_rng(0).standard_normal((COMM.size, size)).astype(np.float32)
        values = rows[COMM.rank].copy()
        if COMM.size > 1:
            ordered_sum(COMM, values)
        expected = rows[0].copy()
        for row in rows[1:]:
            expected += row
        assert np.array_equal(values, expected)
    if COMM.rank == 0:
        print("done")


def fails():
    """An error of one rank."""
    X, y = data()
    if COMM.rank == COMM.size - 1:
        y = y[:-1]
    classifier().fit(X, y, communicator=COMM)


def wrong():
    """An error of all ranks, which can be caught."""
    try:
        classifier(hidden_size=0).fit(*data(), communicator=COMM)
    except ValueError as error:
        messages = COMM.allgather(str(error))
        if COMM.rank == 0:
            print(*messages, sep="\n")


def dies(path):
    """A rank is killed in the middle of an update; then `resumes`."""

    class Killer:
        def on_batch_end(self, training):
            if training.updates == 9 and COMM.rank == COMM.size - 1:
                os.kill(os.getpid(), signal.SIGKILL)

    classifier(checkpoint_path=Path(path), save_every=2, callbacks=[Killer()]).fit(
        *data(), communicator=COMM
    )


def resumes(path):
    digests = Digests()
    model = classifier(checkpoint_path=Path(path), save_every=2, callbacks=[digests])
    model.fit(*data(), communicator=COMM, resume=True)
    if COMM.rank == 0:
        found = len(digests.found), digests.found[-1], [one.loss for one in model.history_]
        print(json.dumps(found))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
