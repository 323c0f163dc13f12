"""Prediction over partitions: the model travels as the content of its file, once to a worker."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import dask
from dask.bag import Bag

from bptt.estimators.loading import load_estimator

_MAX_LOADED = 4  # models that a process keeps

_lock = threading.Lock()
_loaded: OrderedDict[str, Any] = OrderedDict()


def predict(
    model: Any, sequences: Any, *, method: str = "predict", options: dict[str, Any] | None = None
) -> Any:
    """Return the predictions for a bag or a column of Dask, lazily: partition by partition.

    The model travels as the content of its file, without the state of its optimizer and never as
    a pickle, once to every worker, which keeps it for further partitions. A worker that is lost
    loses nothing: its partitions are computed again.

    Parameters
    ----------
    model : estimator
        A fitted estimator of this package.
    sequences : dask.bag.Bag, or dask.dataframe.Series
        Sequences, as for `predict` of the model.
    method : str
        Name of the method that predicts, such as "predict_proba".
    options : dict of str to object, optional
        Further arguments of the method.

    Returns
    -------
    dask.bag.Bag, or dask.dataframe.Series of objects
        One prediction for every sequence; a Series has the index of that of the sequences.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or the model has no such method.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> bag = dask.bag.from_sequence(["good film", "bad film"], npartitions=2)
    >>> bptt.dask.predict(model, bag).compute()  # doctest: +SKIP
    ['+', '-']
    """
    if not callable(getattr(model, str(method), None)):
        rule = f"model must be an estimator with a method {method!r}"
        raise TypeError(f"{rule}, got {type(model).__name__}")
    if options is not None and not isinstance(options, dict):
        raise TypeError(f"options must be a dict, got {type(options).__name__}")
    content = _content_of(model)
    name = f"bptt-model-{content.digest}"
    given = dask.delayed(_held, pure=True)(content, dask_key_name=name)
    if isinstance(sequences, Bag):
        return sequences.map_partitions(_of_list, given, method, options or {})
    if not hasattr(sequences, "map_partitions") or not hasattr(sequences, "to_frame"):
        got = type(sequences).__name__
        raise TypeError(f"sequences must be a bag or a Series of Dask, got {got}")
    return sequences.map_partitions(_of_series, given, method, options or {}, meta=(method, object))


class _Content(NamedTuple):
    """A model's file, and its hash."""

    digest: str
    file: bytes


def _content_of(model: Any) -> _Content:
    """Return the file of a model, with what prediction needs."""
    from bptt.training.options import make_optimizer

    light = copy.copy(model)
    if hasattr(light, "_task") and getattr(light, "_optimizer", None) is not None:
        light.optimizer, light.schedule = "sgd", None  # which has no state
        light._optimizer = make_optimizer("sgd", light._task().modules, 1.0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        light.save(path)
        file = path.read_bytes()
    return _Content(hashlib.sha256(file).hexdigest(), file)


def _held(content: _Content) -> _Content:
    """Return the argument: as the result of a task, it is sent once to each worker."""
    return content


def _model(content: _Content) -> Any:
    """Return the model, which a process reads once."""
    digest, file = content
    with _lock:
        if digest not in _loaded:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "model.safetensors"
                path.write_bytes(file)
                _loaded[digest] = load_estimator(path)
            while len(_loaded) > _MAX_LOADED:
                _loaded.popitem(last=False)
        _loaded.move_to_end(digest)
        return _loaded[digest]


def _of_list(
    sequences: Iterable[Any], content: _Content, method: str, options: dict[str, Any]
) -> list[Any]:
    """Return the predictions for a partition of a bag."""
    part = list(sequences)
    return list(getattr(_model(content), method)(part, **options)) if part else []


def _of_series(sequences: Any, content: _Content, method: str, options: dict[str, Any]) -> Any:
    """Return the predictions for a partition of a Series."""
    import pandas

    found = _of_list(sequences, content, method, options)
    cells = pandas.Series([None] * len(found), index=sequences.index, name=method, dtype=object)
    for i, one in enumerate(found):
        cells.iat[i] = one
    return cells
