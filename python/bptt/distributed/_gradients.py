"""Gradients of all ranks as one: weighted means, in one flat buffer for each update."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.distributed._communicator import Communicator, as_communicator
from bptt.distributed._ordered_sum import padded
from bptt.nn.module import AllGradients, Gradients, Module, Modules, as_list
from bptt.nn.sparse_gradients import SparseGradients, no_gradient

_DENSE = -1.0  # instead of a number of rows


def average(
    gradients: AllGradients, communicator: Communicator | None, weight: float = 1.0
) -> None:
    """Replace gradients by their weighted mean over all ranks, Σ w g / Σ w, in place.

    With the number of targets as weight, and on each rank the gradients of the mean loss of its
    targets, the result is the gradient of the mean loss of all targets, as in one process. Every
    rank must call it, one without targets with `no_gradients` and the weight 0.

    All gradients are exchanged in one buffer for each dtype; of sparse gradients, only the rows
    that occurred on any rank are. Sums have the order of ranks: all ranks get the same bits.

    Parameters
    ----------
    gradients : Gradients, SequentialGradients, or list of them
        What `backward` returned, of the same modules on all ranks. Changed in place.
    communicator : Communicator, mpi4py.MPI.Comm or None
        The ranks; None for one process, which does nothing.
    weight : float
        Weight of this rank's gradients, >= 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value, or the weights of all ranks are 0.
    """
    chosen = as_list("gradients", gradients, Gradients)
    ranks = as_communicator(communicator)
    share = checks.number("weight", weight, 0.0)
    if ranks.is_alone:
        return
    numbers = ranks._gather_rows(np.array([share, *row_counts(chosen)]))
    total = float(numbers[:, 0].sum())
    if not total:
        raise ValueError("weight must be > 0 on at least one rank, got 0 on all")
    add_scaled(ranks, chosen, share / total, numbers[:, 1:])


def no_gradients(model: Modules) -> list[Gradients]:
    """Return gradients 0, for a rank without targets.

    Parameters
    ----------
    model : Module, Sequential, or list of them
        The modules.

    Returns
    -------
    list of Gradients
        Of each module, in order.

    Raises
    ------
    TypeError, ValueError
        If `model` holds no modules, or one of them twice.
    """
    return [_zero(module) for module in as_list("model", model, Module)]


def _zero(module: Module) -> Gradients:
    layout = module._layout
    if [len(shape) for shape in layout.shapes.values()] == [2]:  # of a table others may have rows
        return no_gradient(layout)
    return Gradients(layout, layout.zeros(), None)


def broadcast_parameters(model: Modules, communicator: Communicator | None) -> None:
    """Set the parameters on all ranks to those of rank 0.

    Parameters
    ----------
    model : Module, Sequential, or list of them
        Modules of the same shapes on all ranks.
    communicator : Communicator, mpi4py.MPI.Comm or None
        The ranks; None for one process, which does nothing.

    Raises
    ------
    TypeError, ValueError
        If `model` holds no modules, or one of them twice, or others than on rank 0.
    """
    modules = as_list("model", model, Module)
    ranks = as_communicator(communicator)
    shapes = [{name: array.shape for name, array in one.parameters.items()} for one in modules]
    ranks._check_same({"the shapes of the parameters": shapes})
    for module in modules:
        received = ranks._broadcast(module._flat)
        with module._changing() as flat:
            flat[...] = received


def check_equal_parameters(model: Modules, communicator: Communicator | None) -> None:
    """Check that all ranks have the same parameters, bit for bit.

    Parameters
    ----------
    model : Module, Sequential, or list of them
        The modules.
    communicator : Communicator, mpi4py.MPI.Comm or None
        The ranks; None for one process, which does nothing.

    Raises
    ------
    TypeError
        If `model` holds no modules.
    ValueError
        On all ranks, if a parameter differs.
    """
    modules = as_list("model", model, Module)
    as_communicator(communicator)._check_same({"the digest of the parameters": digest(modules)})


def digest(modules: Sequence[Module]) -> str:
    """Return a digest of all parameters."""
    found = hashlib.blake2b(digest_size=8)
    for module in modules:
        found.update(module._flat.data)
    return found.hexdigest()


def row_counts(gradients: Sequence[Gradients]) -> list[float]:
    """Return the number of rows that each of the gradients stores; `_DENSE` for all parameters."""
    rows = [gradient._stored().rows for gradient in gradients]
    return [_DENSE if found is None else float(len(found)) for found in rows]


def add_scaled(
    ranks: Communicator,
    gradients: Sequence[Gradients],
    factor: float,
    counts: NDArray[np.float64],
) -> None:
    """Replace gradients by the sum over all ranks of their gradients times their factors.

    Parameters
    ----------
    ranks : Communicator
        The ranks.
    gradients : sequence of Gradients
        Of this rank; changed in place.
    factor : float
        Factor of this rank.
    counts : float64 array (ranks, modules)
        The `row_counts` of all ranks.
    """
    occurring = _occurring_rows(ranks, gradients, counts)
    pairs = list(zip(gradients, occurring, strict=True))
    for dtype in sorted({gradient._layout.dtype for gradient in gradients}, key=str):
        chosen = [pair for pair in pairs if pair[0]._layout.dtype == dtype]
        sizes = [_size(*pair) for pair in chosen]
        buffer: FloatArray = np.zeros(padded(sum(sizes), ranks.size), dtype)
        parts = np.split(buffer, np.cumsum(sizes))[:-1]  # views
        for part, (gradient, rows) in zip(parts, chosen, strict=True):
            _fill(part, gradient, rows, factor)
        ranks._sum(buffer)
        for part, (gradient, rows) in zip(parts, chosen, strict=True):
            _store(part, gradient, rows)


def _occurring_rows(
    ranks: Communicator, gradients: Sequence[Gradients], counts: NDArray[np.float64]
) -> list[NDArray[np.int32] | None]:
    """Return the rows of each of the gradients that occur on any rank; None for all parameters."""
    is_sparse = (counts != _DENSE).all(axis=0)
    numbers = np.where(is_sparse, counts, 0).astype(np.int64)
    per_rank = numbers.sum(axis=1).tolist()
    if not sum(per_rank):
        empty = np.empty(0, np.int32)
        return [empty if sparse else None for sparse in is_sparse]
    stored = [
        np.asarray(gradient._stored().rows, np.int32)
        for gradient, sparse in zip(gradients, is_sparse, strict=True)
        if sparse
    ]
    rows = np.concatenate(stored)
    gathered = ranks._gather_ragged(rows, per_rank)
    parts = np.split(gathered, np.cumsum(numbers.reshape(-1))[:-1])  # by rank, then by module
    width = len(gradients)
    return [
        np.unique(np.concatenate(parts[i::width])) if sparse else None
        for i, sparse in enumerate(is_sparse)
    ]


def _size(gradient: Gradients, rows: NDArray[np.int32] | None) -> int:
    """Return the number of elements that are exchanged."""
    if rows is None:
        return gradient._layout.size
    assert isinstance(gradient, SparseGradients)
    return int(rows.size * gradient._values.shape[1])


def _fill(
    part: FloatArray, gradient: Gradients, rows: NDArray[np.int32] | None, factor: float
) -> None:
    """Write the gradients times the factor to a part of the buffer."""
    if rows is None:
        np.multiply(gradient._flat, factor, out=part)
        return
    assert isinstance(gradient, SparseGradients)
    part[...] = 0
    table = part.reshape(rows.size, -1) if rows.size else part.reshape(0, 1)
    values = gradient._values
    if len(values):
        table[np.searchsorted(rows, gradient._ids)] = values * factor


def _store(part: FloatArray, gradient: Gradients, rows: NDArray[np.int32] | None) -> None:
    """Write a part of the buffer to the gradients."""
    if rows is None:
        gradient._flat[...] = part
        return
    assert isinstance(gradient, SparseGradients)
    width = gradient._values.shape[1]
    gradient._ids, gradient._values = rows, part.reshape(rows.size, width).copy()
