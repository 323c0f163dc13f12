"""Data-parallel training: ranks of MPI compute parts of a minibatch and average their gradients.

Estimators take a communicator of mpi4py, ``model.fit(X, y, communicator=MPI.COMM_WORLD)``, or a
`Communicator` with options. By hand, with modules:

>>> broadcast_parameters(model, ranks)
>>> for x, targets in parts_of_this_rank:
...     run = model.forward(x)
...     loss = bptt.softmax_cross_entropy(run.output, targets, reduction="mean")
...     gradients = run.backward(loss)
...     average(gradients, ranks, weight=len(targets))
...     optimizer.step(gradients)

Sums have a fixed order: all ranks hold the same bits after every update, and a run with the same
number of ranks repeats bit for bit. mpi4py is imported when it is first needed.
"""

from bptt.distributed._communicator import Communicator
from bptt.distributed._gradients import (
    average,
    broadcast_parameters,
    check_equal_parameters,
    no_gradients,
)

__all__ = [
    "Communicator",
    "average",
    "broadcast_parameters",
    "check_equal_parameters",
    "no_gradients",
]
