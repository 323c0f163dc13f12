"""Base class of all estimators: parameters, training and files, in scikit-learn's conventions.

The parameters of an estimator are the fields of a dataclass, and so the arguments of its
constructor. They are checked by `fit`; fitted attributes end in an underscore.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.checks import FloatArray
from bptt.data._containers import check_order_of_groups
from bptt.data._missing import MISSING
from bptt.data.sequence_encoder import SequenceEncoder
from bptt.data.sequences import Sequences
from bptt.data.stream import Stream
from bptt.distributed._guard import jointly
from bptt.distributed._pooling import pooling
from bptt.estimators._holdout import hold_out, is_fraction, is_splitter
from bptt.estimators._network import MAX_SEED, NetworkBuilder
from bptt.estimators._persistence import only, read_estimator, restored, write_estimator
from bptt.estimators._sklearn import BaseEstimator, check_is_fitted, check_random_state
from bptt.estimators._stepwise import StepwiseModel, encode_with
from bptt.estimators._streams import Reader, StreamDataset, check_no_further
from bptt.losses import softmax
from bptt.nn.cells import CELLS
from bptt.nn.module import Module
from bptt.optim.optimizers import Optimizer
from bptt.optim.schedules import Schedule
from bptt.training.history import History
from bptt.training.loop import Training, train
from bptt.training.options import TrainingOptions, checked_verbose, make_optimizer

if TYPE_CHECKING:
    from bptt.exporters._parts import Parts

# Parameters that may differ when training is resumed. `train` itself compares the optimizer.
_RESUME_MAY_CHANGE = (
    "epochs",
    "verbose",
    "callbacks",
    "checkpoint_path",
    "save_every",
    "nonfinite",
    "optimizer",
)

# Parameters of training, which may differ when it continues from the weights of another `fit`.
_WARM_START_MAY_CHANGE = (
    *_RESUME_MAY_CHANGE,
    "batch_size",
    "learning_rate",
    "schedule",
    "clip_norm",
    "clip_value",
    "accumulate",
    "recompute_every",
    "validation_fraction",
    "patience",
    "monitor",
    "min_delta",
    "warm_start",
    "random_state",
    "embedding_vectors",
    "label_smoothing",
    "num_sampled",
    "scheduled_sampling",
    "truncate",
    "class_weight",
    "metric",
    "viterbi",
)

_Self = TypeVar("_Self", bound="SequenceEstimator")


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceEstimator(NetworkBuilder, BaseEstimator):  # type: ignore[misc]
    """Base class of all estimators, with their common parameters.

    Parameters
    ----------
    cell : str
        Type of the recurrent layers, a key of `bptt.nn.CELLS`: "lstm", "rnn", "gru", …
    hidden_size : int
        Number of hidden units per layer and direction.
    num_layers : int
        Number of stacked recurrent layers.
    bidirectional : bool
        Add a reverse direction to every layer.
    dropout : float
        Dropout probability between layers and before the output layer, in [0, 1).
    recurrent_dropout : float
        Dropout probability of the hidden state before the recurrent product, one mask a sequence,
        in [0, 1).
    zoneout : float
        Probability with which an element of the state keeps its previous value, in [0, 1).
    learn_initial_state : bool
        Whether sequences begin in a state that is trained, instead of zero.
    embedding_size : int, optional
        Dimension of the token embeddings. By default tokens are one-hot: the input weights
        of the first layer are then the embeddings. From thousands of tokens on, 50 to 200 trains
        several times faster.
    embedding_vectors : path or mapping, optional
        Initial embeddings of words: a file of pretrained vectors (see
        `bptt.data.read_word_vectors`), or a mapping from word to vector. A token without a vector
        gets that of its lower-case form, or a random one as without this option. `embedding_size`
        is then that of the vectors. A mapping is not saved.
    freeze_embedding : bool
        Whether the embeddings of the input keep their initial values.
    tokens : {"characters", "words"}, optional
        Unit into which strings are split; words are separated by white space. With None,
        sequences are lists of tokens.
    min_count : int
        Minimum frequency; rarer tokens map to ``<unk>``.
    scale : bool
        Standardize features (zero mean, unit variance), and a regressor's targets.
    missing : {"error", "mask", "decay"}
        Treatment of NaN in features: an error, or with "mask" three inputs for every feature: the
        last observed value (before the first one 0, with `scale` the mean), 1 if it was observed at
        this step or else 0, and the number of steps since the observation before. With "decay" two:
        the last value, which decays to the mean at a trained rate, and the mask; the state of a
        "gru" then decays as well, by the number of steps: see `bptt.InputDecay`.
    categorical_features : sequence of str or int, or "from_dtype", optional
        Names or indices of columns of categories, in a list of tables; or all columns that do not
        hold numbers. Each category has its own input weights, its embedding; one that is missing,
        or that `fit` has not seen, has none.
    epochs : int
        Number of epochs.
    batch_size : int
        Minibatch size, in sequences. Sequences of similar length are batched together.
    optimizer : str, class or function
        Name of the optimizer, a key of `bptt.optim.OPTIMIZERS` such as "adam" or "sgd", its class,
        or a function from the list of modules to an `Optimizer`.
    learning_rate : float
        Learning rate of an optimizer given by name or class.
    schedule : Schedule, optional
        Factor of the learning rate in the course of training; see `bptt.optim.schedules`.
    clip_norm : float, optional
        Maximum global norm of the gradients. None disables clipping by norm.
    clip_value : float, optional
        Maximum absolute value of every element of the gradients, applied before `clip_norm`.
    accumulate : int
        Number of minibatches whose gradients are accumulated for one update.
    nonfinite : {"raise", "skip"}
        What a loss or gradient that is NaN or infinite leads to: FloatingPointError, or a warning,
        and the update is left out.
    recompute_every : int, optional
        Interval, in steps, of the states that are stored for the backward pass; the others are
        recomputed. It saves memory for long sequences and does not change results. Not with
        ``bidirectional=True``.
    validation_fraction : float
        Fraction of the sequences held out for validation, in [0, 1).
    patience : int, optional
        Number of epochs without improvement of the monitored value after which training stops and
        the best weights are restored.
    monitor : {"loss", "metric"}
        Value that `patience` watches: the loss, or the metric of `history_`; of the validation data
        if there are any, else of the training data.
    min_delta : float
        Minimum change of the monitored value that counts as an improvement.
    dtype : {"float32", "float64"}
        Precision of weights and computation.
    callbacks : sequence of functions or objects
        Functions that are called after every epoch, or objects with methods such as
        ``on_epoch_end``; see `bptt.training.train`.
    verbose : bool or int
        Show what input and target were understood as, and progress: 1 (True) a bar in a terminal,
        with tqdm, and one line per epoch; 2 the lines alone.
    checkpoint_path : path, optional
        Checkpoint file, written after every epoch. ``fit(.., resume=True)`` continues from it with
        bit-identical results. Needs an integer `random_state`.
    save_every : int, optional
        Number of updates after which the checkpoint is also written.
    warm_start : bool
        Let `fit` continue from the weights, vocabulary and classes of the previous call, instead of
        new ones; the optimizer begins anew.
    random_state : int, RandomState or None
        Seed of the initial weights, the order of minibatches, and dropout.

    Attributes
    ----------
    history_ : History
        Loss, metric and gradient norm of every epoch.
    n_iter_ : int
        Number of epochs, or of calls of `partial_fit`.
    metadata_ : dict
        Metadata passed to `save`; only after `load`.
    """

    _has_classes: ClassVar[bool] = False
    _best_metric: ClassVar[str] = "max"
    _is_chain: ClassVar[bool] = False  # whose outputs are those of a chain, which is exported
    _reads_streams: ClassVar[bool] = False  # data that do not fit in memory
    _has_token_targets: ClassVar[bool] = False  # whose vocabulary has the options of tokens, too

    cell: str = "lstm"
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    learn_initial_state: bool = False
    embedding_size: int | None = None
    embedding_vectors: str | os.PathLike[str] | Mapping[str, FloatArray] | None = None
    freeze_embedding: bool = False
    tokens: str | None = "characters"
    min_count: int = 1
    scale: bool = False
    missing: str = "error"
    categorical_features: Sequence[str | int] | str | None = None
    epochs: int = 20
    batch_size: int = 32
    optimizer: str | Callable[[list[Module]], Optimizer] = "adam"
    learning_rate: float = 0.003
    schedule: Schedule | None = None
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    accumulate: int = 1
    nonfinite: str = "raise"
    recompute_every: int | None = None
    validation_fraction: float = 0.0
    patience: int | None = None
    monitor: str = "loss"
    min_delta: float = 0.0
    dtype: str = "float32"
    callbacks: Sequence[object] = ()
    verbose: bool | int = False
    checkpoint_path: str | os.PathLike[str] | None = None
    save_every: int | None = None
    warm_start: bool = False
    random_state: int | np.random.RandomState | None = None

    @property
    def n_iter_(self) -> int:
        """Number of epochs, or of calls of `partial_fit`."""
        return len(self.history_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing != "error"
        return tags

    # ---- fit

    @jointly
    def fit(
        self: _Self,
        X: Any,
        y: Any = None,
        lengths: Any = None,
        sample_weight: Any = None,
        *,
        validation: Any = None,
        groups: Any = None,
        classes: Any = None,
        resume: bool = False,
        communicator: Any = None,
    ) -> _Self:
        """Fit the estimator to sequences and their targets.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, a padded array, or a Stream
            Input; see the notes of the class. Strings are split into `tokens`; float arrays are
            (T, I), or (T,) for one feature; a padded array is (B, T, I) or (B, T), with `lengths`.
            A `bptt.data.Stream` holds data that do not fit in memory, with their targets.
        y : array or list
            Targets; see the notes of the class. None with a `Stream`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.
        sample_weight : array (B,), or with labels or numbers at every step list of arrays, optional
            Weight of each sequence in the loss, or of each step, arrays (T,) or a padded array
            (B, T). All 1 by default.
        validation : tuple (X, y) or (X, y, lengths), Stream, float, or splitter, optional
            Validation data, instead of `validation_fraction` of X: other sequences (for a
            `LanguageModel` also X alone), a fraction of X, or the last split of a splitter of
            scikit-learn, such as `GroupKFold` or `TimeSeriesSplit`. Classes that do not occur in y
            count as errors in the metric, and not in the loss.
        groups : array (B,), optional
            Group of each sequence, such as its speaker: a fraction holds out whole groups; a
            splitter gets them.
        classes : array, optional
            All classes of a classifier or tagger, or all labels of the input of a
            `SequenceGenerator`. By default those in the data.
        resume : bool
            Continue from the file `checkpoint_path` if it exists.
        communicator : mpi4py.MPI.Comm or bptt.distributed.Communicator, optional
            Ranks of MPI that train together. Every rank passes all data, the same, and computes its
            part of each minibatch, or, with ``Communicator(shards=True)``, a part of the data of
            its own. All end with the same weights.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data have the wrong type or an invalid value.
        FloatingPointError
            If a loss or the norm of the gradients is not finite, or a loss is more than 1e8 times
            the first one (or 1).
        OSError
            If no file `checkpoint_path` can be written: FileNotFoundError without its directory.
        ImportError
            If a checkpoint is requested and safetensors is not installed, or progress and tqdm.
        """
        self._check_parameters()
        if isinstance(X, Stream):
            check_no_further(y=y, lengths=lengths, sample_weight=sample_weight, groups=groups)
            X = self._stream_reader(X)
        else:
            self._check_target(y)
            check_order_of_groups(X, y)
        self._check_classes(classes)
        seeds = communicator._broadcast(self._seeds())
        earlier = self._earlier_history(resume)
        if earlier is None:
            with pooling(communicator):
                self._initialize(X, y, lengths, seeds, classes)
            self._fitted_network = self._network_parameters()
        if self.verbose and communicator.is_first:
            for name, meaning in self._describe_data().items():
                print(f"{name}: {meaning}", file=sys.stderr)
        if isinstance(X, Reader):
            data = X.dataset(self._dataset)
        else:
            data = self._dataset(X, y, lengths, sample_weight)
        with pooling(communicator):
            self._fit_class_weight(data)
        data, held_out = self._split(data, y, validation, groups, seeds)
        task = self._task()
        self._optimizer = make_optimizer(self.optimizer, task.modules, self.learning_rate)
        train(
            task,
            data,
            options=self._training_options(),
            optimizer=self._optimizer,
            seed=communicator._broadcast(int(seeds.integers(MAX_SEED))),
            validation=held_out,
            callbacks=[_ShareHistory(self, earlier), *self._callbacks()],
            checkpoint_path=self.checkpoint_path,
            save_every=self.save_every,
            resume=resume,
            settings={
                name: type(value).__name__ if isinstance(value, Mapping) else repr(value)
                for name, value in self.get_params(deep=False).items()
                if name not in _RESUME_MAY_CHANGE
            },
            communicator=communicator,
        )
        if communicator.is_first:
            self._check_result(data)
        return self

    def partial_fit(
        self: _Self,
        X: Any,
        y: Any = None,
        lengths: Any = None,
        sample_weight: Any = None,
        *,
        classes: Any = None,
    ) -> _Self:
        """Train for one epoch on further sequences, with the state of the optimizer kept.

        The first call also learns the vocabulary, the number of features and the classes; they
        remain fixed.

        Parameters
        ----------
        X : list of strings, token lists, id arrays or float arrays, or a padded array
            Input, as for `fit`.
        y : array or list
            Targets, as for `fit`.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All T by default.
        sample_weight : array (B,), or with labels or numbers at every step list of arrays, optional
            Weight of each sequence in the loss, or of each step, arrays (T,) or a padded array
            (B, T). All 1 by default.
        classes : array, optional
            First call only: all classes of a classifier or tagger, or all labels of the input of a
            `SequenceGenerator`. By default those in the data of the first call.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data have the wrong type or an invalid value.
        FloatingPointError
            If a loss or the norm of the gradients is not finite, or a loss is more than 1e8 times
            the first one (or 1).
        """
        self._check_target(y)
        check_order_of_groups(X, y)
        self._check_classes(classes)
        if hasattr(self, "history_"):
            for module in self._task().modules.values():
                module._check_trainable()
        else:
            self._check_parameters()
            self._seeds_left = self._seeds()
            self._initialize(X, y, lengths, self._seeds_left, classes)
            self._fitted_network = self._network_parameters()
            modules = self._task().modules
            self._optimizer = make_optimizer(self.optimizer, modules, self.learning_rate)
            self.history_ = History()
        data = self._dataset(X, y, lengths, sample_weight)
        if not self.history_:
            self._fit_class_weight(data)
        self.history_ += train(
            self._task(),
            data,
            options=self._training_options(epochs=1, patience=None),
            optimizer=self._optimizer,
            seed=len(self.history_),
            callbacks=self._callbacks(),
        )
        return self

    # ---- weights of fewer bits

    def compressed(self: _Self, kind: str) -> _Self:
        """Return a copy whose network has weights of 16 or 8 bits, for inference alone.

        It predicts, and is saved and loaded, as the original; `partial_fit` is refused, and `fit`
        begins anew with a network of float32.

        Parameters
        ----------
        kind : {"bfloat16", "int8"}
            The upper 16 bits of a float32, or integers of 8 bits with a scale for each row of a
            matrix; see `bptt.nn.Module.compressed`.

        Returns
        -------
        estimator

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If `kind` is not a string.
        ValueError
            If there is no such kind, or the network is not of float32 or compressed already.

        See Also
        --------
        bptt.compression_report : What it changes, on given data.
        """
        check_is_fitted(self)
        modules = {name: module.compressed(kind) for name, module in self._task().modules.items()}
        made = copy.copy(self)
        made._restore(json.loads(json.dumps(self._fitted_state())), modules)
        made.__dict__["_optimizer"] = None  # what it is not trained with
        return made

    # ---- files

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
        """Save the fitted estimator to a safetensors file, atomically.

        The file contains the parameters, all fitted attributes, the history and the state of the
        optimizer, so that `partial_fit` continues exactly. Callbacks are not saved.

        Parameters
        ----------
        path : path
            The file.
        metadata : mapping of str to object, optional
            Further data of the user, in JSON types; the attribute `metadata_` after loading.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If a parameter cannot be stored in JSON: an optimizer or a schedule that is a function.
        ImportError
            If safetensors is not installed.
        """
        check_is_fitted(self)
        write_estimator(self, path, metadata)

    @classmethod
    def load(cls: type[_Self], path: str | os.PathLike[str]) -> _Self:
        """Load a fitted estimator of this class; `bptt.load_estimator` loads any class.

        Parameters
        ----------
        path : path
            A file written by `save`.

        Returns
        -------
        estimator
            The fitted estimator.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file is broken, or holds an estimator of another class.
        ImportError
            If safetensors is not installed.
        """
        return read_estimator(path, only(cls))

    @classmethod
    def _from_file(
        cls: type[_Self], tensors: dict[str, NDArray[Any]], header: Mapping[str, Any]
    ) -> _Self:
        return restored(cls, tensors, header)

    # ---- for subclasses

    def _check_parameters(self) -> None:
        """Check the parameters that no module, optimizer or training option checks later.

        Raises
        ------
        TypeError, ValueError
            If a parameter has the wrong type or an invalid value.
        """
        checks.one_of(*CELLS)("cell", self.cell)
        checks.flag("bidirectional", self.bidirectional)
        checks.flag("learn_initial_state", self.learn_initial_state)
        for name in ("dropout", "recurrent_dropout", "zoneout"):
            checks.fraction(name, getattr(self, name))
        checks.fraction("validation_fraction", self.validation_fraction)
        checks.one_of("loss", "metric")("monitor", self.monitor)
        checks.flag("warm_start", self.warm_start)
        checks.one_of(*MISSING)("missing", self.missing)
        checks.flag("freeze_embedding", self.freeze_embedding)
        if self.embedding_vectors is not None and self.tokens == "characters":
            raise ValueError(
                "embedding_vectors needs tokens='words' or tokens=None, got tokens='characters'"
            )
        checks.dtype("dtype", self.dtype)
        if self.checkpoint_path is not None and not isinstance(
            self.random_state, (int, np.integer)
        ):
            raise ValueError(
                f"checkpoint_path needs an integer random_state, got {self.random_state!r}: "
                "otherwise training cannot be resumed exactly"
            )

    def _check_saved_parameters(self) -> None:
        """Check the parameters, as far as possible without data, when a file is written or read.

        Raises
        ------
        TypeError, ValueError
            If a parameter has the wrong type or an invalid value.
        """
        self._check_parameters()
        if self.recompute_every is not None:
            checks.integer("recompute_every", self.recompute_every)
        self._training_options(verbose=False)
        checked_verbose(self.verbose)  # without the need for a progress bar

    def _describe_data(self) -> dict[str, str]:
        """Return what input and target were understood as, for the log."""
        return {"input": self.encoder_.describe(), **self._describe_vectors()}

    def _callbacks(self) -> list[object]:
        """Return the callbacks as a list; the training loop checks them."""
        if isinstance(self.callbacks, Iterable):
            return list(self.callbacks)
        raise TypeError(
            f"callbacks must be a list of functions or objects, got {self.callbacks!r}: write [..]"
        )

    def _check_classes(self, classes: Any) -> None:
        if classes is not None and not self._has_classes:
            raise TypeError(f"classes must be None for a {type(self).__name__}, got {classes!r}")

    def _network_parameters(self) -> dict[str, Any]:
        """Return the parameters that determine the modules, with their values."""
        parameters = self.get_params(deep=False)
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in parameters.items()
            if name not in _WARM_START_MAY_CHANGE
        }

    def _earlier_history(self, resume: bool) -> History | None:
        """Return the history that a warm start continues; None without a warm start."""
        if not (self.warm_start and hasattr(self, "history_")):
            return None
        if resume:
            raise ValueError("resume=True cannot be combined with warm_start=True after a fit")
        for name, value in self._network_parameters().items():
            before = self._fitted_network[name]
            if value != before:
                raise ValueError(
                    f"warm_start=True needs {name} unchanged, {before!r}, got {value!r}: "
                    "set warm_start=False for a new network"
                )
        return self.history_

    def _split(
        self, data: Any, y: Any, validation: Any, groups: Any, seeds: np.random.Generator
    ) -> tuple[Any, Any]:
        """Return training data and validation data, which may be None."""
        name = "validation"
        if validation is None and self.validation_fraction:
            name, validation = "validation_fraction", self.validation_fraction
        by_index = is_fraction(validation) or is_splitter(validation)
        if groups is not None and not by_index:
            raise ValueError(
                "groups needs validation to be a fraction or a splitter of scikit-learn, "
                f"got {type(validation).__name__}"
            )
        if isinstance(validation, Stream):
            return data, self._stream_reader(validation).dataset(self._evaluation_dataset)
        if not by_index:
            return data, None if validation is None else self._validation_dataset(validation)
        if isinstance(data, StreamDataset):
            return data.hold_out(validation, groups, seeds, name)
        training, held_out = hold_out(validation, len(data.lengths), y, groups, seeds, name)
        return data.take(training), data.take(held_out)

    def _stream_reader(self, stream: Stream) -> Reader:
        """Return a stream as this estimator reads it.

        Raises
        ------
        TypeError
            If it cannot.
        """
        name = type(self).__name__
        if not self._reads_streams:
            raise TypeError(f"{name} needs sequences in memory, got a Stream")
        return Reader(stream, self.batch_size, name, self._requires_targets)

    def _validation_dataset(self, validation: Any) -> Any:
        """Return the dataset of validation data that were passed to `fit`."""
        if not isinstance(validation, tuple) or len(validation) not in (2, 3):
            raise TypeError(
                "validation must be a tuple (X, y) or (X, y, lengths), a Stream, a fraction, or a "
                f"splitter of scikit-learn, got {type(validation).__name__}"
            )
        return self._evaluation_dataset(*validation)

    def _evaluation_dataset(self, X: Any, y: Any = None, lengths: Any = None) -> Any:
        """Return the dataset of validation data, whose labels may be unknown."""
        return self._dataset(X, y, lengths)

    def _fit_class_weight(self, data: Any) -> None:
        """Learn the weights of classes from the training data."""

    def _check_result(self, data: Any) -> None:
        """Warn if training has not learned what it obviously should."""

    @property
    def _requires_targets(self) -> bool:
        from sklearn.utils import get_tags

        return bool(get_tags(self).target_tags.required)

    def _check_target(self, y: Any) -> None:
        if y is None and self._requires_targets:
            name = type(self).__name__
            raise ValueError(f"{name} requires y to be passed, but the target y is None")

    def _seeds(self) -> np.random.Generator:
        """Return the generator of all seeds of one `fit`."""
        return np.random.default_rng(check_random_state(self.random_state).randint(MAX_SEED))

    def _fit_encoder(self, X: Any, lengths: Any, y: Any = None, **options: Any) -> None:
        """Learn the input; in the same pass over a stream, `y.add` learns its targets."""
        encoder = SequenceEncoder(
            tokens=self.tokens,
            min_count=self.min_count,
            dtype=self.dtype,
            scale=self.scale,
            integers=self._integers(),
            missing=self.missing,
            categorical_features=self.categorical_features,
            **options,
        )
        if isinstance(X, Reader):
            encoder._begin()
            for window in X.windows():
                with window.located():
                    encoder._learn(window.x, check=True)
                    y.add(window.y)
            encoder._finish()
        else:
            encoder.fit(X, lengths)
        if self.missing != "error" and encoder.kind != "features":
            found = f"got X that holds {encoder.describe()}"
            raise ValueError(f"missing={self.missing!r} needs numbers, {found}: leave it out")
        if self.embedding_vectors is not None and encoder.vocabulary is None:
            found = f"got X that holds {encoder.describe()}"
            raise ValueError(f"embedding_vectors needs strings or tokens, {found}: leave it out")
        if not self._has_token_targets:
            self._check_options_of_tokens(encoder)
        self._set_encoder(encoder)

    def _integers(self) -> str:
        """Return the meaning of integers of the input, "ids" or "numbers"."""
        return "ids"

    def _check_options_of_tokens(self, encoder: SequenceEncoder) -> None:
        """Check that no option was set that has no effect on the input."""
        found = f"got X that holds {encoder.describe()}"
        if encoder.kind == "features" and self.embedding_size is not None:
            raise ValueError(
                f"embedding_size={self.embedding_size} needs tokens or integer ids, {found}: "
                "leave it out"
            )
        if encoder.vocabulary is not None:
            return
        min_count = checks.integer("min_count", self.min_count)
        for name, is_set in (
            ("min_count", min_count > 1),
            ("tokens", self.tokens == "words"),
        ):
            if is_set:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} needs strings or tokens, {found}: leave it out"
                )

    def _set_encoder(self, encoder: SequenceEncoder) -> None:
        self.encoder_ = encoder
        if encoder.kind == "features":
            self.n_features_in_ = encoder.num_features
        if encoder.feature_names is None:
            self.__dict__.pop("feature_names_in_", None)
        else:
            self.feature_names_in_ = np.array(encoder.feature_names, object)

    def _exported(self) -> Parts:
        """Return the network and the scaling around it, for `bptt.exporters`."""
        from bptt.exporters._parts import Parts

        check_is_fitted(self, "model_")
        network, encoder = vars(self)["model_"], self.encoder_
        return Parts(network, encoder.standardizer, ids=encoder.kind == "ids")

    def _stepwise(self) -> StepwiseModel:
        """Return what answers after every step, for `bptt.Sessions`."""
        check_is_fitted(self, "model_")
        if self.missing != "error":
            rule = "missing='error': a value that is missing is read as the last one observed"
            raise ValueError(f"sessions need {rule}, got missing={self.missing!r}")
        return StepwiseModel(vars(self)["model_"], encode_with(self.encoder_), self._finished)

    def _finished(self, output: FloatArray) -> Any:
        """Return the prediction for outputs (N, K) of the network."""
        return softmax(output)

    def _encode(self, X: Any, lengths: Any) -> Sequences:
        """Return the input as sequences of ids or features; the estimator must be fitted."""
        check_is_fitted(self, "encoder_")
        return self.encoder_.transform(X, lengths)

    def _training_options(self, **changed: Any) -> TrainingOptions:
        names = (
            "epochs",
            "batch_size",
            "schedule",
            "clip_norm",
            "clip_value",
            "accumulate",
            "nonfinite",
            "patience",
            "min_delta",
            "verbose",
        )
        options = {name: getattr(self, name) for name in names}
        monitor = "loss" if self.monitor == "loss" else f"{self._best_metric}_metric"
        return TrainingOptions(**{**options, "monitor": monitor, **changed})


@dataclass
class _ShareHistory:
    """Callback that gives the estimator the history, so that it is fitted after an interruption."""

    estimator: SequenceEstimator
    earlier: History | None

    def on_train_begin(self, training: Training) -> None:
        history = training.history
        self.estimator.history_ = history if self.earlier is None else self.earlier + history

    on_epoch_end = on_train_begin
