"""Streams on several ranks: whole, with the losses of one process, and a stream of each rank."""

from __future__ import annotations

import numpy as np
import pytest

from thread_ranks import run_ranks

pytest.importorskip("sklearn")

import bptt
from bptt.data import Stream
from bptt.distributed import Communicator
from rank_fits import OPTIONS, check_same_bits, fit, losses

RANDOM = np.random.default_rng(0)
TEXTS = ["".join(RANDOM.choice(list("abcdef"), n)) for n in RANDOM.integers(1, 9, 43)]
SERIES = [RANDOM.standard_normal((n, 2)) for n in RANDOM.integers(2, 9, 43)]
LABELS = [text[0] for text in TEXTS]
NUMBERS = [float(one.sum()) for one in SERIES]

CASES = {
    "classifier": (bptt.SequenceClassifier, (TEXTS, LABELS), {"class_weight": "balanced"}),
    "regressor": (bptt.SequenceRegressor, (SERIES, NUMBERS), {"scale": True}),
    "masked": (bptt.SequenceRegressor, (SERIES, NUMBERS), {"scale": True, "missing": "mask"}),
    "tagger": (bptt.SequenceTagger, (TEXTS, TEXTS), {}),
    "language model": (bptt.LanguageModel, (TEXTS,), {}),
    "generator": (bptt.SequenceGenerator, (LABELS, TEXTS), {}),
    "encoder-decoder": (bptt.EncoderDecoder, (TEXTS, TEXTS), {}),
}
CLASSIFIER = CASES["classifier"]
CUTS = [slice(0, 27), slice(27, 43)]  # ragged


def stream(data, window=16):
    if len(data) == 1:
        return Stream(data[0], window=window)
    return Stream(lambda: zip(*data, strict=True), window=window)


def cut(data, rank):
    return tuple(part[CUTS[rank]] for part in data)


class Stopper:
    """Callback that ends a training as an error does."""

    def __init__(self, after):
        self.after = after

    def on_batch_end(self, training):
        if training.updates == self.after:
            raise InterruptedError


# ---- whole data


@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_one_process(name):
    """Windows of two minibatches; validation on windows, too."""
    kind, data, options = CASES[name]

    def function(comm):
        held_out = stream([part[:21] for part in data])
        return fit(comm, kind, (stream(data),), options, validation=held_out)

    found = run_ranks(2, function)
    check_same_bits(found)
    alone, digests = function(None)
    assert len(found[0][1]) == len(digests) == 3 * 6
    np.testing.assert_allclose(losses(found[0][0]), losses(alone), rtol=1e-12)
    assert found[0][0]._fitted_state() == alone._fitted_state()


@pytest.mark.parametrize("options", [{"accumulate": 3}, {"validation_fraction": 0.3}])
def test_options_mean_the_same(options):
    case = (bptt.SequenceClassifier, (stream((TEXTS, LABELS)),), options)
    found = run_ranks(3, fit, *case)
    check_same_bits(found)
    np.testing.assert_allclose(losses(found[0][0]), losses(fit(None, *case)[0]), rtol=1e-12)


def test_one_window_has_the_bits_of_data_in_memory():
    kind, data, options = CLASSIFIER
    in_memory = run_ranks(2, fit, *CLASSIFIER)
    found = run_ranks(2, fit, kind, (stream(data, 43),), options)
    check_same_bits([*in_memory, *found])


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, None), (None, 2)])
@pytest.mark.parametrize("updates", [1, 2, 9])
def test_resumed_within_an_epoch(before, after, updates, tmp_path):
    """By as many ranks with the same bits, by others to rounding; also within a window."""
    kind, data, options = CLASSIFIER
    files = {"checkpoint_path": tmp_path / "checkpoint", "save_every": 1}

    def function(comm, **arguments):
        held_out = stream([part[:21] for part in data])
        given = {**options, **files}
        return fit(comm, kind, (stream(data),), given, validation=held_out, **arguments)

    def interrupted(comm):
        model = kind(**{**OPTIONS, **options, **files}, callbacks=[Stopper(updates)])
        with pytest.raises(InterruptedError):
            model.fit(
                stream(data), validation=stream([part[:21] for part in data]), communicator=comm
            )

    def started(ranks, task):
        return [task(None)] if ranks is None else run_ranks(ranks, task)

    started(before, interrupted)
    found = started(after, lambda comm: function(comm, resume=True))
    check_same_bits(found)
    assert len(found[0][1]) == 18 - updates + 1  # the checkpoint is written after the callback
    whole = started(before, function)
    if before == after:
        check_same_bits([(whole[0][0], found[0][1]), *found])
    np.testing.assert_allclose(losses(found[0][0]), losses(whole[0][0]), rtol=1e-11)


def test_other_windows_on_a_rank_are_refused():
    def function(comm):
        data = stream((TEXTS, LABELS), 16 + 8 * comm.Get_rank())
        bptt.SequenceClassifier(**OPTIONS).fit(data, communicator=comm)

    with pytest.raises(ValueError, match="data must be the same on all ranks, got 43 sequences"):
        run_ranks(2, function)


# ---- shards


@pytest.mark.parametrize("name", CASES)
def test_shards_learn_from_all_data(name):
    """Each rank has a stream of its own, of another number of windows."""
    kind, data, options = CASES[name]

    def function(comm):
        ranks = Communicator(comm, shards=True)
        own = cut(data, comm.Get_rank())
        held_out = stream([part[:12] for part in own], 8)
        return fit(ranks, kind, (stream(own, 8),), options, validation=held_out)

    found = run_ranks(2, function)
    check_same_bits(found)
    alone, _ = fit(None, kind, data, options)
    mine, expected = found[0][0], alone
    if name in ("regressor", "masked"):
        pairs = (
            (mine.encoder_.standardizer, expected.encoder_.standardizer),
            (mine._standardizer, expected._standardizer),
        )
        for one, other in pairs:
            np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
            np.testing.assert_allclose(one.std, other.std, rtol=1e-12)
    else:
        assert mine._fitted_state() == expected._fitted_state()
    assert losses(mine) == losses(found[1][0])
    assert mine.history_[-1].loss < 1.01 * mine.history_[0].loss


def test_a_shard_of_one_window_has_the_bits_of_data_in_memory():
    kind, data, options = CLASSIFIER

    def function(comm, as_stream):
        own = cut(data, comm.Get_rank())
        ranks = Communicator(comm, shards=True)
        return fit(ranks, kind, (stream(own, 43),) if as_stream else own, options)

    check_same_bits([*run_ranks(2, function, True), *run_ranks(2, function, False)])


def test_a_stream_and_data_in_memory_as_shards():
    kind, data, options = CLASSIFIER

    def function(comm):
        own = cut(data, comm.Get_rank())
        ranks = Communicator(comm, shards=True)
        return fit(ranks, kind, own if comm.Get_rank() else (stream(own),), options)

    check_same_bits(run_ranks(2, function))


def test_whole_epoch_in_one_update_has_the_same_losses():
    """Shards in one minibatch are the same minibatch, of training and of validation."""
    kind, data, options = CASES["regressor"]
    options = {**options, "batch_size": 43}

    def function(comm):
        own = cut(data, comm.Get_rank())
        ranks = Communicator(comm, shards=True)
        return fit(ranks, kind, (stream(own),), options, validation=stream(own))

    alone, _ = fit(None, kind, data, options, validation=data)
    found = run_ranks(2, function)
    np.testing.assert_allclose(losses(found[0][0]), losses(alone), rtol=1e-10)


def test_shards_resumed_within_an_epoch(tmp_path):
    """Windows end with smaller minibatches, so that there are more of them than in one process."""
    kind, data, options = CLASSIFIER
    files = {"checkpoint_path": tmp_path / "checkpoint", "save_every": 1}

    def function(comm, swapped=False, **arguments):
        own = cut(data, comm.Get_rank() ^ swapped)
        ranks = Communicator(comm, shards=True)
        return fit(ranks, kind, (stream(own, 8),), {**options, **files}, **arguments)

    def interrupted(comm):
        model = kind(**{**OPTIONS, **options, **files}, callbacks=[Stopper(8)])
        own = stream(cut(data, comm.Get_rank()), 8)
        with pytest.raises(InterruptedError):
            model.fit(own, communicator=Communicator(comm, shards=True))

    run_ranks(2, interrupted)
    found = run_ranks(2, lambda comm: function(comm, resume=True))
    whole = run_ranks(2, function)
    updates = len(whole[0][1]) // 3
    assert updates == 7  # of 5 sequences: 5 + 3 of each window of 8, and 3 of the last one of 3
    assert len(found[0][1]) == 3 * updates - 7
    check_same_bits([(whole[0][0], found[0][1]), *found])
    run_ranks(2, lambda comm: function(comm, swapped=True, resume=True))  # completed, the same data


def test_shards_with_other_columns_are_refused():
    def function(comm):
        own = [one[:, : 2 - comm.Get_rank()] for one in SERIES]
        ranks = Communicator(comm, shards=True)
        bptt.SequenceRegressor(**OPTIONS).fit(stream((own, NUMBERS)), communicator=ranks)

    rule = "data of rank 1: X must have the number of columns of numbers 2, got 1"
    with pytest.raises(ValueError, match=rule):
        run_ranks(2, function)


def test_shards_with_targets_of_another_shape_are_refused():
    def function(comm):
        own = [[number] * (1 + comm.Get_rank()) for number in NUMBERS]
        ranks = Communicator(comm, shards=True)
        bptt.SequenceRegressor(**OPTIONS).fit(SERIES, own, communicator=ranks)

    with pytest.raises(ValueError, match="data of rank 1: y must have 1 outputs, as before, got 2"):
        run_ranks(2, function)
