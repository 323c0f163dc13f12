"""Training on several ranks: losses of one process, equal bits on all ranks, resumed by others."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from thread_ranks import run_ranks

pytest.importorskip("sklearn")

import bptt
from bptt.distributed import Communicator, check_equal_parameters
from bptt.training import TrainingOptions
from bptt.training.loop import Training
from rank_fits import OPTIONS, check_same_bits, fit, losses, modules_of

RANDOM = np.random.default_rng(0)
TEXTS = ["".join(RANDOM.choice(list("abcdef"), n)) for n in RANDOM.integers(1, 9, 43)]
SERIES = [RANDOM.standard_normal((n, 2)) for n in RANDOM.integers(2, 9, 43)]
CLASSES = [text[0] for text in TEXTS]
NUMBERS = np.array([one.sum() for one in SERIES])

ESTIMATORS = {
    "classifier": (bptt.SequenceClassifier, (TEXTS, CLASSES), {"embedding_size": 3}),
    "balanced": (bptt.SequenceClassifier, (TEXTS, CLASSES), {"class_weight": "balanced"}),
    "regressor": (bptt.SequenceRegressor, (SERIES, NUMBERS), {"scale": True}),
    "tagger": (bptt.SequenceTagger, (TEXTS, TEXTS), {}),
    "crf": (bptt.SequenceTagger, (TEXTS, TEXTS), {"crf": True}),
    "feedback": (bptt.SequenceTagger, (TEXTS, TEXTS), {"feedback": True}),
    "language model": (bptt.LanguageModel, (TEXTS,), {}),
    "windows": (bptt.LanguageModel, (TEXTS,), {"truncate": (2, 4)}),
    "generator": (bptt.SequenceGenerator, (CLASSES, TEXTS), {}),
    "encoder-decoder": (bptt.EncoderDecoder, (TEXTS, TEXTS), {"attention": "dot"}),
    "forecaster": (
        bptt.SequenceForecaster,
        ([np.sin(np.arange(25.0) + i) for i in range(3)],),
        {"lookback": 5, "horizon": 2},
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_losses_are_those_of_one_process(name):
    found = run_ranks(3, fit, *ESTIMATORS[name])
    check_same_bits(found)
    alone, digests = fit(None, *ESTIMATORS[name])
    assert len(found[0][1]) == len(digests)
    np.testing.assert_allclose(losses(found[0][0]), losses(alone), rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate": 3, "clip_value": 0.05},
        {"validation_fraction": 0.3, "patience": 1, "epochs": 6, "learning_rate": 0.3},
        {"schedule": bptt.optim.schedules.Plateau(), "optimizer": "sgd"},
        {"batch_size": 2},
        {"embedding_size": 4, "optimizer": "lazyadam"},
    ],
    ids=["accumulate", "patience", "schedule", "idle", "lazy"],
)
@pytest.mark.parametrize("ranks", [2, 4])
def test_options_mean_the_same(options, ranks):
    """With batches of two sequences, most of four ranks have nothing to do."""
    case = (bptt.SequenceClassifier, (TEXTS, CLASSES), options)
    found = run_ranks(ranks, fit, *case)
    check_same_bits(found)
    alone, _ = fit(None, *case)
    np.testing.assert_allclose(losses(found[0][0]), losses(alone), rtol=1e-12)


def test_float32_is_close_after_200_updates():
    options = {"dtype": "float32", "epochs": 34}
    found = run_ranks(2, fit, bptt.SequenceClassifier, (TEXTS, CLASSES), options)
    check_same_bits(found)
    alone, digests = fit(None, bptt.SequenceClassifier, (TEXTS, CLASSES), options)
    assert len(digests) >= 200
    np.testing.assert_allclose(losses(found[0][0]), losses(alone), rtol=1e-5)


@pytest.mark.parametrize("shards", [False, True])
def test_a_run_with_dropout_repeats_bit_for_bit(shards):
    case = (bptt.SequenceClassifier, (TEXTS, CLASSES), {"dropout": 0.5})

    def function(comm):
        return fit(Communicator(comm, shards=shards), *case)

    first, second = run_ranks(3, function), run_ranks(3, function)
    check_same_bits(first)
    assert first[0][1] == second[0][1]


def test_masks_of_ranks_differ():
    def function(comm):
        seen = []
        layer = bptt.Dropout(0.5, dtype="float64", seed=0)
        net = bptt.Sequential(bptt.Linear(2, 4, dtype="float64", seed=0), layer)

        class Task:
            @property
            def modules(self):
                return {"0": net.modules[0], "1": layer}

            def training_step(self, batch):
                run = net.forward(np.ones((1, 1, 2)))
                seen.append(run.output != 0)
                gradients = run.backward(run.output)
                return bptt.training.TrainingStep(1.0, np.nan, 1.0, gradients.modules)

            def evaluate(self, batch):
                raise NotImplementedError

        class Data:
            lengths = np.ones(40, int)

            def batch(self, indices):
                return indices

        optimizer = bptt.SGD(net, learning_rate=0.0)
        options = TrainingOptions(epochs=1, batch_size=2)
        bptt.training.train(
            Task(), Data(), options=options, optimizer=optimizer, seed=0, communicator=comm
        )
        return np.array(seen), layer._random.bit_generator.state

    (first, state), (second, other_state) = run_ranks(2, function)
    assert 0.3 < np.mean(first == second) < 0.7
    assert 0.3 < np.mean(first[1:] == first[:-1]) < 0.7
    assert state == other_state


@pytest.mark.parametrize(("before", "after"), [(3, 3), (3, 2), (2, 4), (2, None), (None, 2)])
def test_resumed_by_any_number_of_ranks(before, after, tmp_path):
    """By as many ranks with the same bits, by others to rounding; also within an epoch."""
    path = tmp_path / "checkpoint"
    options = {"checkpoint_path": path, "save_every": 2, "epochs": 4, "validation_fraction": 0.2}
    case = (bptt.SequenceClassifier, (TEXTS, CLASSES), options)

    class StopError(Exception):
        pass

    class Stopper:
        def on_batch_end(self, training):
            if training.updates == 8:
                raise StopError

    def interrupted(comm):
        kind, data, given = case
        with pytest.raises(StopError):
            kind(**{**OPTIONS, **given}, callbacks=[Stopper()]).fit(*data, communicator=comm)

    def started(ranks, function, **arguments):
        if ranks is None:
            return [function(None)]
        return run_ranks(ranks, function)

    started(before, interrupted)
    assert path.exists()
    found = started(after, lambda comm: fit(comm, *case, resume=True))
    check_same_bits(found)
    assert len(found[0][1]) < 4 * 5  # not from the beginning
    whole = started(before, lambda comm: fit(comm, *case))
    if before == after:
        assert found[0][1][-1] == whole[0][1][-1]
    np.testing.assert_allclose(losses(found[0][0]), losses(whole[0][0]), rtol=1e-11)


def test_update_that_is_not_finite_is_left_out_on_all_ranks():
    """Also if the loss of one rank alone is not finite."""
    series = [one.copy() for one in SERIES]
    numbers = NUMBERS.copy()
    numbers[5] = 1e200  # whose square overflows
    case = (bptt.SequenceRegressor, (series, numbers), {"nonfinite": "skip"})

    def function(comm):
        return fit(comm, *case)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = run_ranks(3, function)
    left_out = [str(one.message) for one in caught if "is left out" in str(one.message)]
    assert len(left_out) == 3  # one an epoch, on rank 0
    check_same_bits(found)
    assert np.isfinite(losses(found[0][0])).all()
    with pytest.raises(FloatingPointError, match="the loss is inf in epoch 1"):
        run_ranks(3, lambda comm: fit(comm, *case[:2], {}))


def test_callback_of_one_rank_stops_all():
    def function(comm):
        def stop(training):
            if training.communicator.rank == 1 and training.history[-1].number == 2:
                training.stop()

        model = bptt.SequenceClassifier(**{**OPTIONS, "callbacks": [stop]})
        return model.fit(TEXTS, CLASSES, communicator=comm).n_iter_

    assert run_ranks(3, function) == [2, 2, 2]


def test_only_rank_0_shows_progress(capfd):
    options = {"verbose": 2, "epochs": 1}
    run_ranks(3, fit, bptt.SequenceClassifier, (TEXTS, CLASSES), options)
    shown = capfd.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in shown] == ["input", "target", "epoch 1/1"]


def test_random_state_none_is_drawn_once():
    check_same_bits(
        run_ranks(2, fit, bptt.SequenceClassifier, (TEXTS, CLASSES), {"random_state": None})
    )


def test_ranks_with_other_data_or_parameters_are_refused():
    def other_data(comm):
        count = 40 + comm.Get_rank()
        fit(comm, bptt.SequenceClassifier, (TEXTS[:count], CLASSES[:count]), {})

    with pytest.raises(ValueError, match="data must be the same on all ranks, got 40 sequences"):
        run_ranks(2, other_data)

    def other_option(comm):
        fit(comm, bptt.SequenceClassifier, (TEXTS, CLASSES), {"clip_norm": 1.0 + comm.Get_rank()})

    with pytest.raises(ValueError, match=r"clip_norm must be the same on all ranks, got 1.0 on"):
        run_ranks(2, other_option)


def test_weights_that_drift_apart_are_found():
    """As after a callback that changes them on one rank."""

    class Changer:
        def on_batch_end(self, training):
            if training.communicator.rank == 1:
                module = next(iter(training.modules.values()))
                module["bias_l0"] = module["bias_l0"] + 1.0

    def function(comm):
        bptt.SequenceClassifier(**OPTIONS, callbacks=[Changer()]).fit(
            TEXTS, CLASSES, communicator=comm
        )

    with pytest.raises(ValueError, match="the digest of the parameters must be the same on all"):
        run_ranks(2, function)


# ---- shards

CUTS = [slice(0, 20), slice(20, 38), slice(38, None)]  # ragged


def cut(data, rank):
    return tuple(part[CUTS[rank]] for part in data)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "forecaster"])
def test_shards_learn_from_all_data(name):
    """Vocabulary, classes, scaling and class weights are those of all data; the updates as many."""
    kind, data, options = ESTIMATORS[name]

    def function(comm):
        ranks = Communicator(comm, shards=True)
        return fit(ranks, kind, cut(data, comm.Get_rank()), options)

    found = run_ranks(3, function)
    check_same_bits(found)
    alone, digests = fit(None, kind, data, options)
    model = found[0][0]
    if name != "windows":
        assert len(found[0][1]) == len(digests)
    mine, expected = model._fitted_state(), alone._fitted_state()
    for key in mine:
        if "standardizer" in key + str(mine[key]):
            continue
        assert mine[key] == expected[key]
    if name == "regressor":
        for one, other in (
            (model.encoder_.standardizer, alone.encoder_.standardizer),
            (model._standardizer, alone._standardizer),
        ):
            np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
            np.testing.assert_allclose(one.std, other.std, rtol=1e-12)
    if name == "balanced":
        np.testing.assert_array_equal(model._class_weights, alone._class_weights)
    assert model.history_[-1].loss < 1.01 * model.history_[0].loss


def test_shards_of_series():
    series = [np.sin(np.arange(25.0 + 3 * i)) for i in range(3)]

    def function(comm):
        ranks = Communicator(comm, shards=True)
        options = {"lookback": 5, "horizon": 2, "validation_fraction": 0.2}
        rank = comm.Get_rank()
        return fit(ranks, bptt.SequenceForecaster, (series[rank : rank + 1],), options)

    check_same_bits(run_ranks(3, function))


def test_whole_epoch_in_one_update_has_the_same_loss():
    """Shards in one minibatch are the same minibatch."""
    case = (bptt.SequenceRegressor, (SERIES, NUMBERS), {"batch_size": 43, "scale": True})
    kind, data, options = case

    def function(comm):
        rank = comm.Get_rank()
        X, y = cut(data, rank)
        return fit(Communicator(comm, shards=True), kind, (X, y), options)

    found = run_ranks(3, function)
    alone, _ = fit(None, *case)
    np.testing.assert_allclose(losses(found[0][0]), losses(alone), rtol=1e-10)


def test_shards_resumed_by_fewer_ranks(tmp_path):
    options = {"checkpoint_path": tmp_path / "checkpoint", "epochs": 2}
    kind, data = bptt.SequenceClassifier, (TEXTS, CLASSES)

    def function(comm, halves, epochs, resume):
        rank = comm.Get_rank()
        part = tuple(one[:30] if rank == 0 else one[30:] for one in data) if halves else None
        given = {**options, "epochs": epochs}
        ranks = Communicator(comm, shards=True)
        return fit(ranks, kind, part or cut(data, rank), given, resume=resume)

    run_ranks(3, function, False, 2, False)
    found = run_ranks(2, function, True, 3, True)
    check_same_bits(found)
    assert [epoch.number for epoch in found[0][0].history_] == [1, 2, 3]
    assert len(found[0][1]) == -(-43 // 8)


def test_shards_of_other_kinds_are_refused():
    def function(comm):
        X = TEXTS if comm.Get_rank() else SERIES
        fit(Communicator(comm, shards=True), bptt.SequenceClassifier, (X, CLASSES), {})

    with pytest.raises(
        TypeError, match="data of rank 1: X must hold numbers, as before, got strings"
    ):
        run_ranks(2, function)


def test_training_of_modules_with_a_communicator_of_one_rank_is_that_of_one_process():
    found = run_ranks(1, fit, bptt.SequenceClassifier, (TEXTS, CLASSES), {"dropout": 0.3})
    alone = fit(None, bptt.SequenceClassifier, (TEXTS, CLASSES), {"dropout": 0.3})
    assert found[0][1] == alone[1]
    check_equal_parameters(modules_of(found[0][0]), Communicator(_Alone()))
    assert Training is bptt.training.Training


class _Alone:
    """A communicator of one rank, whose exchanges must not be called."""

    def Get_rank(self):  # noqa: N802
        return 0

    def Get_size(self):  # noqa: N802
        return 1

    Allgather = Alltoall = allgather = bcast = Get_rank
