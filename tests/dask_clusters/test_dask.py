"""Dask on a cluster of processes: predictions, a worker that is killed, and searches."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("distributed")

import cloudpickle
import dask
import distributed
from dask import bag as bags

import bptt
import bptt.dask
from bptt.dask import _predict

RNG = np.random.default_rng(0)
TEXTS = ["".join(RNG.choice(list("abcdef"), RNG.integers(1, 12))) for _ in range(120)]
MOODS = ["+" if "a" in text else "-" for text in TEXTS]
SMALL = {"hidden_size": 4, "epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def model():
    return bptt.SequenceClassifier(**SMALL).fit(TEXTS, MOODS)


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with (
        distributed.LocalCluster(**options, dashboard_address=None) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


def slowly(text):
    time.sleep(0.02)
    return text


def threads_of_a_worker():
    return bptt.get_num_threads()


def models_of_a_worker():
    return len(_predict._loaded)


def test_bag(client, model):
    bag = bags.from_sequence(TEXTS, npartitions=9)
    found = bptt.dask.predict(model, bag).compute()
    assert found == model.predict(TEXTS).tolist()
    rows = bptt.dask.predict(model, bag, method="predict_proba").compute()
    assert np.array_equal(rows, model.predict_proba(TEXTS))
    assert set(client.run(models_of_a_worker).values()) <= {0, 1}  # one file for both methods


def test_empty_partitions(client, model):
    bag = bags.from_sequence(TEXTS, npartitions=9).filter(lambda text: text == TEXTS[3])
    assert bptt.dask.predict(model, bag).compute() == model.predict([TEXTS[3]]).tolist()


def test_series(client, model):
    frames = pytest.importorskip("dask.dataframe")
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"text": TEXTS}, index=np.arange(120) * 2)
    column = frames.from_pandas(table, npartitions=5)["text"]
    found = bptt.dask.predict(model, column).compute()
    assert found.tolist() == model.predict(TEXTS).tolist()
    assert found.index.tolist() == table.index.tolist()
    rows = bptt.dask.predict(model, column, method="predict_proba").compute()
    assert np.array_equal(np.stack(rows.to_numpy()), model.predict_proba(TEXTS))


def test_options_and_sequences_as_predictions(client):
    model = bptt.EncoderDecoder(**SMALL).fit(TEXTS, TEXTS)
    bag = bags.from_sequence(TEXTS[:20], npartitions=3)
    found = bptt.dask.predict(model, bag, options={"beam": 2, "max_length": 3}).compute()
    assert found == model.predict(TEXTS[:20], beam=2, max_length=3)


def test_threads_are_those_of_a_worker(client):
    assert set(client.run(threads_of_a_worker).values()) == {1}


def test_killed_worker(client, model):
    bag = bags.from_sequence(TEXTS, npartitions=40).map(slowly)
    future = client.compute(bptt.dask.predict(model, bag))
    while not any(
        done.startswith("map_partitions") or "_of_list" in done for done in _done(client)
    ):
        time.sleep(0.01)
    victim = next(iter(client.run(os.getpid).values()))
    os.kill(victim, signal.SIGKILL)
    assert future.result(timeout=120) == model.predict(TEXTS).tolist()
    client.wait_for_workers(2, timeout=60)  # another one is in its place
    assert victim not in client.run(os.getpid).values()


def _done(client):
    """The tasks whose results are on workers."""
    return [str(key) for keys in client.has_what().values() for key in keys]


def test_search_has_the_results_of_one_process(client):
    joblib = pytest.importorskip("joblib")
    from sklearn.model_selection import GridSearchCV

    def search():
        model = bptt.SequenceClassifier(**SMALL)
        grid = {"hidden_size": [2, 4], "learning_rate": [0.001, 0.1]}
        return GridSearchCV(model, grid, cv=3, error_score="raise")

    expected = search().fit(TEXTS, MOODS)
    with joblib.parallel_config(backend="dask"):
        found = search().fit(TEXTS, MOODS)
    scores = [one.cv_results_["mean_test_score"] for one in (found, expected)]
    assert np.array_equal(*scores)
    assert found.best_params_ == expected.best_params_
    flat = [one.best_estimator_.model_.modules[0]._flat for one in (found, expected)]
    assert np.array_equal(*flat)


def test_model_is_one_task_of_the_graph(model):
    """What is sent for a partition is not the model: a worker gets it once, as a result."""
    found = bptt.dask.predict(model, bags.from_sequence(TEXTS, npartitions=8))
    graph = dict(dask.optimize(found)[0].__dask_graph__())
    sizes = {str(key): len(cloudpickle.dumps(task)) for key, task in graph.items()}
    large = [key for key, size in sizes.items() if size > 1000]
    assert len(sizes) == 17
    assert [key.startswith("bptt-model-") for key in large] == [True]


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_compressed_models(model, kind):
    small = model.compressed(kind)
    bag = bags.from_sequence(TEXTS, npartitions=2)
    found = bptt.dask.predict(small, bag).compute(scheduler="synchronous")
    assert list(found) == list(small.predict(TEXTS))
    assert len(_predict._content_of(small).file) < len(_predict._content_of(model).file)


def test_content_is_without_the_optimizer(model):
    file = _predict._content_of(model).file
    parameters = sum(module._flat.nbytes for module in model.model_.modules)
    assert parameters < len(file) < parameters + 8000
    assert _predict._content_of(model) == _predict._content_of(model)
    function = bptt.SequenceClassifier(optimizer=lambda modules: bptt.SGD(modules, 0.1), **SMALL)
    assert _predict._content_of(function.fit(TEXTS, MOODS)).file  # which `save` refuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model must be an estimator with a method 'predict', got int"),
        ({"method": "tag"}, "model must be an estimator with a method 'tag', got SequenceClass"),
        ({"method": 3}, "model must be an estimator with a method 3, got SequenceClassifier"),
        ({"sequences": TEXTS}, "sequences must be a bag or a Series of Dask, got list"),
        ({"options": 3}, "options must be a dict, got int"),
    ],
)
def test_wrong_arguments(model, arguments, message):
    right = {"model": model, "sequences": bags.from_sequence(TEXTS)}
    with pytest.raises(TypeError, match=message):
        bptt.dask.predict(**{**right, **arguments})
