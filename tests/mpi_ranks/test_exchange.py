"""Sums over ranks, averages of gradients, and an end of all if a rank fails."""

from __future__ import annotations

import numpy as np
import pytest

import bptt
from bptt.distributed import (
    Communicator,
    _guard,
    _ordered_sum,
    average,
    broadcast_parameters,
    check_equal_parameters,
    no_gradients,
)
from bptt.distributed._guard import joined, threads_of_rank
from thread_ranks import Aborted, run_ranks


def summed(comm, rows):
    values = rows[comm.Get_rank()].copy()
    _ordered_sum.ordered_sum(comm, values)
    return values


@pytest.mark.parametrize("ranks", [2, 3, 5])
@pytest.mark.parametrize("size", [0, 1, 4, 1001])
@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_sum_has_the_order_of_ranks(ranks, size, limit, monkeypatch):
    monkeypatch.setattr(_ordered_sum, "GATHERED_BYTES", limit)  # both ways
    scale = 10.0 ** np.arange(ranks)[:, np.newaxis]  # so that another order has other bits
    rows = (np.random.default_rng(size).standard_normal((ranks, size)) * scale).astype(np.float32)
    expected = rows[0].copy()
    for row in rows[1:]:
        expected = expected + row
    for found in run_ranks(ranks, summed, rows):
        np.testing.assert_array_equal(found, expected, strict=True)


def test_large_arrays_are_sent_twice_at_most():
    """(P - 1)/P of the bytes there and back, and not P - 1 times as many."""
    sent = []

    def function(comm):
        _ordered_sum.ordered_sum(comm, np.ones(1 << 16))
        sent.extend(one for one in comm._shared.sent if one[0] == comm.Get_rank())

    run_ranks(4, function)
    per_rank = sum(size for rank, _, size in sent if rank == 0)
    assert per_rank == (1 << 19) + (1 << 17)  # all parts, then the own sum


def model(dtype="float64"):
    return bptt.Sequential(
        bptt.Embedding(50, 4, dtype=dtype, seed=0),
        bptt.GRU(4, 5, dtype=dtype, seed=1),
        bptt.Linear(5, 3, dtype=dtype, seed=2),
        pool="last",
    )


def gradients_of(net, ids, targets):
    run = net.forward(ids)
    return run.backward(bptt.softmax_cross_entropy(run.output, targets, reduction="mean"))


@pytest.mark.parametrize("ranks", [2, 4])
def test_average_is_the_gradient_of_all_targets(ranks):
    """Also with a rank that has none; of the embedding only rows that occur are exchanged."""
    random = np.random.default_rng(0)
    ids, targets = random.integers(0, 9, (7, 6)), random.integers(0, 3, 7)
    borders = np.sort(random.integers(0, 8, ranks - 2)).tolist() if ranks > 2 else []
    borders = [0, *borders, 7, 7]  # the last has none

    def function(comm):
        net = model()
        part = slice(*borders[comm.Get_rank() : comm.Get_rank() + 2])
        count = len(targets[part])
        found = gradients_of(net, ids[part], targets[part]) if count else no_gradients(net)
        average(found, comm, weight=count)
        parts = list(getattr(found, "modules", found))
        rows = parts[0]._stored().rows.copy()  # still sparse
        bptt.clip_by_global_norm(found, 0.1)
        bptt.LazyAdam([net.modules[0]]).step(parts[0])
        bptt.Adam(list(net.modules[1:])).step(parts[1:])
        check_equal_parameters(net, comm)
        return [dict(one) for one in parts], rows

    alone = gradients_of(model(), ids, targets).modules
    rows = alone[0]._stored().rows.copy()
    bptt.clip_by_global_norm(alone, 0.1)
    for found, occurring in run_ranks(ranks, function):
        np.testing.assert_array_equal(occurring, rows)
        for one, expected in zip(found, alone, strict=True):
            for name, value in expected.items():
                np.testing.assert_allclose(one[name], value, rtol=1e-12, atol=1e-15)


def test_average_of_dense_and_sparse_gradients():
    """A rank that has read the dense array of an embedding makes it dense on all."""

    def function(comm):
        net = bptt.Embedding(5, 2, dtype="float64", seed=0)
        run = net.forward(np.array([[comm.Get_rank()]]))
        found = run.backward(np.full((1, 1, 2), 3.0))
        if comm.Get_rank() == 1:
            found["weight"][4] = 1.0
        average(found, comm)
        return found["weight"]

    for found in run_ranks(3, function):
        expected = np.zeros((5, 2))
        expected[:3], expected[4] = 1.0, 1 / 3
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_average_refuses_no_weight_and_leaves_one_process_alone():
    net = model()
    found = gradients_of(net, np.ones((2, 3), int), np.array([0, 1]))
    before = found.modules[1]["bias_l0"].copy()
    run_ranks(1, lambda comm: average(found, comm, weight=5.0))
    np.testing.assert_array_equal(found.modules[1]["bias_l0"], before)
    with pytest.raises(ValueError, match="weight must be > 0 on at least one rank, got 0 on all"):
        run_ranks(2, lambda comm: average(no_gradients(model()), comm, weight=0.0))
    with pytest.raises(TypeError, match="communicator must be a communicator of mpi4py"):
        average(found, 3)


def test_broadcast_and_check_of_parameters():
    def function(comm):
        net = bptt.Linear(2, 3, seed=comm.Get_rank())
        with pytest.raises(ValueError, match="the digest of the parameters must be the same on"):
            check_equal_parameters(net, comm)
        broadcast_parameters(net, comm)
        check_equal_parameters(net, comm)
        return net["weight"].copy()

    first = bptt.Linear(2, 3, seed=0)["weight"]
    for found in run_ranks(3, function):
        np.testing.assert_array_equal(found, first)
    with pytest.raises(ValueError, match="the shapes of the parameters must be the same on"):
        run_ranks(2, lambda comm: broadcast_parameters(bptt.Linear(2, 3 + comm.Get_rank()), comm))


def test_communicator_shows_itself_and_refuses_others():
    shown = run_ranks(2, lambda comm: repr(Communicator(comm, shards=True)))
    assert shown[1] == "Communicator(rank 1 of 2, shards=True)"
    with pytest.raises(TypeError, match="comm must be a communicator of mpi4py, got int"):
        Communicator(3)


# ---- failures


def test_error_of_all_ranks_is_raised_on_all(monkeypatch):
    def function(comm):
        with pytest.raises(ValueError, match="wrong"), joined(comm):
            raise ValueError("wrong")
        with joined(Communicator(comm)) as ranks:  # and nothing is left of it
            return ranks._gather(ranks.rank)

    assert run_ranks(3, function) == [[0, 1, 2]] * 3


def test_error_of_one_rank_ends_all_with_a_sentence(monkeypatch, capfd):
    monkeypatch.setattr(_guard, "PATIENCE", 0.2)

    def function(comm):
        with joined(comm) as ranks:
            if ranks.rank == 1:
                raise ValueError("this one alone")
            ranks._gather(0)

    with pytest.raises(Aborted):
        run_ranks(3, function)
    sentence = "rank 1 of 3 failed and ends all others: ValueError: this one alone\n"
    assert sentence in capfd.readouterr().err


def test_threads_of_a_rank_are_its_share_of_the_cores(monkeypatch):
    def with_cores(*masks, own=64, quota=0):
        monkeypatch.setattr(_guard.threads, "_core_quota", lambda: quota)

        def function(comm):
            found = masks[comm.Get_rank()]
            comm.allgather_before = comm.allgather
            comm.allgather = lambda value: comm.allgather_before(found)
            return threads_of_rank(Communicator(comm), min(own, len(found)))

        return run_ranks(len(masks), function)

    everywhere = set(range(8))
    assert with_cores(everywhere, everywhere) == [4, 4]
    assert with_cores(*[everywhere] * 3) == [2, 2, 2]
    assert with_cores({0, 1, 2, 3}, {4, 5, 6, 7}) == [4, 4]  # bound by mpiexec
    assert with_cores(*[{0, 1}] * 4) == [1, 1, 1, 1]  # more ranks than cores
    assert with_cores(everywhere, everywhere, quota=2) == [1, 1]
    assert with_cores(everywhere, everywhere, own=3) == [3, 3]


def test_threads_are_limited_within_joint_work_alone(monkeypatch):
    for name in ("BPTT_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_guard, "threads_of_rank", lambda ranks, own: 1)

    def function(comm):
        with bptt.threads(2):
            before = bptt.get_num_threads()
            with joined(comm):
                within = bptt.get_num_threads()
            return before, within, bptt.get_num_threads()

    for before, within, after in run_ranks(2, function):
        assert within == 1
        assert before == after
