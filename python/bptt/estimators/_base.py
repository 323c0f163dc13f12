"""What all estimators share: parameters, data, training, files, in scikit-learn's conventions.

An estimator is a chain of modules with `fit` and `predict`. Its parameters are the fields of a
dataclass, which are the arguments of its constructor, checked when `fit` begins; what `fit` learns
ends in an underscore.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt.data.sequences import SequenceEncoder, Sequences
from bptt.estimators._persistence import read_estimator, write_estimator
from bptt.nn.cells import CELLS
from bptt.nn.dropout import Dropout
from bptt.nn.embedding import Embedding, EmbeddingBag
from bptt.nn.linear import Linear
from bptt.nn.module import Module
from bptt.nn.recurrent import make_recurrent
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential import Sequential
from bptt.optim.optimizers import Optimizer
from bptt.optim.schedules import Schedule
from bptt.training.history import History
from bptt.training.loop import Training, train
from bptt.training.options import TrainingOptions, make_optimizer

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils import get_tags
    from sklearn.utils.validation import check_is_fitted, check_random_state
except ImportError as error:
    raise ImportError("estimators need scikit-learn: pip install 'bptt[train]'") from error

_MOST_SEED = 2**31 - 1
# Parameters that may differ when training is resumed. `train` itself compares the optimizer.
_RESUME_MAY_CHANGE = (
    "epochs",
    "verbose",
    "callbacks",
    "checkpoint_path",
    "save_every",
    "optimizer",
)

_Self = TypeVar("_Self", bound="SequenceEstimator")


@dataclass(kw_only=True, repr=False, eq=False)
class SequenceEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of all estimators; the parameters that all of them have.

    Parameters
    ----------
    cell : "rnn", "lstm", "gru" or "gru_reset_after"
        The recurrent layer.
    hidden_size, num_layers : int
        Units of each layer and direction; layers on top of each other.
    bidirectional : bool
        Whether every layer also reads from the end.
    dropout : float
        Probability, in [0, 1), that a value between two layers, or before the output layer, is set
        to 0 in training.
    embedding_size : int, optional
        Length of the vector that is learned for every token. By default tokens are one-hot, which
        costs no more: the first layer then learns the vectors.
    tokens : "characters", "words" or None
        What the strings among the input are cut into; None for sequences of tokens.
    min_count : int
        How often a token must come to be in the vocabulary; others are unknown.
    scale : bool
        Whether numbers are brought to mean 0 and deviation 1, each feature as those of the
        sequences to `fit`, and so are the targets of a regressor, whose predictions are brought
        back.
    epochs, batch_size : int
        Passes over the data, and sequences of a minibatch. Minibatches hold sequences of about
        the same length, so that little is padded.
    optimizer : "adam", "adamw", "sgd", "rmsprop" or a function
        A function takes the list of modules and returns an `Optimizer`.
    learning_rate : float
    schedule : Schedule, optional
        What the learning rate is multiplied with as training goes on.
    clip_norm, clip_value : float, optional
        Bounds of the gradients' common norm, and of each of their elements.
    accumulate : int
        Minibatches whose gradients make one update.
    recompute_every : int, optional
        Keep the state of every so many steps only, and compute the steps between again in
        backward: less memory for long sequences, the same bits. Not with ``bidirectional=True``.
    validation_fraction : float
        Part of the sequences, in [0, 1), that is not learned from but watched.
    patience : int, optional
        Stop after so many epochs without a lower validation loss (training loss, without
        validation), and go back to the best weights.
    min_delta : float
        By how much a loss must be lower to count as lower.
    dtype : "float32" or "float64"
    callbacks : sequence of objects
        See `bptt.training`.
    verbose : bool
        Whether to show progress (with tqdm).
    checkpoint_path : path, optional
        File that is written after every epoch, and every `save_every` updates, so that
        ``fit(.., resume=True)`` goes on where training was interrupted, with the same result, bit
        for bit. Needs an integer `random_state`.
    save_every : int, optional
    random_state : int, RandomState or None
        Of initial weights, order of the data and dropout.
    """

    cell: str = "lstm"
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    embedding_size: int | None = None
    tokens: str | None = "characters"
    min_count: int = 1
    scale: bool = False
    epochs: int = 20
    batch_size: int = 32
    optimizer: str | Callable[[list[Module]], Optimizer] = "adam"
    learning_rate: float = 0.003
    schedule: Schedule | None = None
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    accumulate: int = 1
    recompute_every: int | None = None
    validation_fraction: float = 0.0
    patience: int | None = None
    min_delta: float = 0.0
    dtype: str = "float32"
    callbacks: Sequence[object] = ()
    verbose: bool = False
    checkpoint_path: str | os.PathLike[str] | None = None
    save_every: int | None = None
    random_state: int | np.random.RandomState | None = None

    @property
    def n_iter_(self) -> int:
        """Number of epochs, or of calls of `partial_fit`, so far."""
        return len(self.history_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # ---- fit

    def fit(
        self: _Self,
        X: Any,
        y: Any = None,
        lengths: Any = None,
        sample_weight: Any = None,
        *,
        validation: tuple[Any, ...] | None = None,
        resume: bool = False,
    ) -> _Self:
        """Learn from sequences and their targets.

        Parameters
        ----------
        X : list of strings, of token lists, of id arrays or of float arrays, or a padded array
            Sequences: strings are cut into `tokens`; float arrays are (T, I), or (T,) for one
            feature; a padded array is (B, T, I), or (B, T), with `lengths`.
        y : array or list
            Targets, as the estimator says.
        lengths : integer array (B,), optional
            Number of steps of each sequence of a padded array. All by default.
        sample_weight : array (B,), optional
            How much each sequence counts.
        validation : tuple (X, y) or (X, y, lengths), optional
            Sequences to watch, instead of a part of X.
        resume : bool
            Whether to go on from the file `checkpoint_path`, if there is one.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data are of the wrong kind, or out of their range.
        FloatingPointError
            If the loss stops being finite.
        """
        self._check_parameters()
        self._check_target(y)
        seeds = self._seeds()
        self._begin(X, y, lengths, seeds)
        data = self._data(X, y, lengths, sample_weight)
        held_out = None if validation is None else self._data(*validation)
        if held_out is None and self.validation_fraction:
            data, held_out = data.split(self.validation_fraction, seeds)
        task = self._task()
        self._optimizer = make_optimizer(self.optimizer, task.modules, self.learning_rate)
        train(
            task,
            data,
            options=self._options(),
            optimizer=self._optimizer,
            seed=int(seeds.integers(_MOST_SEED)),
            validation=held_out,
            callbacks=[_KeepHistory(self), *self.callbacks],
            checkpoint_path=self.checkpoint_path,
            save_every=self.save_every,
            resume=resume,
            settings={
                name: repr(value)
                for name, value in self.get_params(deep=False).items()
                if name not in _RESUME_MAY_CHANGE
            },
        )
        return self

    def partial_fit(
        self: _Self,
        X: Any,
        y: Any = None,
        lengths: Any = None,
        sample_weight: Any = None,
        **first: Any,
    ) -> _Self:
        """Learn from some more sequences: one epoch, with the optimizer as it was left.

        Arguments and errors are those of `fit`. What the first call learns about the data
        (vocabulary, number of features, classes) stays; a classifier's and a tagger's first call
        needs ``classes``, all classes that will ever come, unless y has them all.
        """
        self._check_target(y)
        if not hasattr(self, "history_"):
            self._check_parameters()
            self._seeds_left = self._seeds()
            self._begin(X, y, lengths, self._seeds_left, **first)
            modules = self._task().modules
            self._optimizer = make_optimizer(self.optimizer, modules, self.learning_rate)
            self.history_ = History()
        data = self._data(X, y, lengths, sample_weight)
        self.history_ += train(
            self._task(),
            data,
            options=self._options(epochs=1, patience=None),
            optimizer=self._optimizer,
            seed=len(self.history_),
            callbacks=self.callbacks,
        )
        return self

    # ---- files

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
        """Write the fitted estimator to one safetensors file, whole or not at all.

        It is all there: what `fit` has learned, the parameters, the history, and what the optimizer
        remembers, so that `partial_fit` goes on as if nothing had happened. Callbacks are not.

        Parameters
        ----------
        path : path
        metadata : mapping of str to object, optional
            Anything else that belongs to the model, fit for JSON; `metadata_` of what is loaded.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If it has not been fitted.
        TypeError
            If a parameter does not fit JSON: an optimizer, or a schedule, that is a function.
        ImportError
            If safetensors is not installed.
        """
        check_is_fitted(self)
        write_estimator(self, path, metadata)

    @classmethod
    def load(cls: type[_Self], path: str | os.PathLike[str]) -> _Self:
        """Read what `save` has written; `bptt.load_estimator` reads any class.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is broken, or of another estimator.
        ImportError
            If safetensors is not installed.
        """

        def class_of(name: str) -> type[_Self]:
            if name != cls.__name__:
                raise ValueError(f"it must be a {cls.__name__}, got a {name}")
            return cls

        return read_estimator(path, class_of)

    # ---- what subclasses build on

    def _check_parameters(self) -> None:
        """Check what no module, optimizer or loop checks later.

        Raises
        ------
        TypeError, ValueError
            If a parameter is of the wrong kind, or has a value out of its range.
        """
        checks.one_of(*CELLS)("cell", self.cell)
        checks.flag("bidirectional", self.bidirectional)
        checks.fraction("dropout", self.dropout)
        checks.fraction("validation_fraction", self.validation_fraction)
        checks.dtype("dtype", self.dtype)
        if self.checkpoint_path is not None and not isinstance(
            self.random_state, (int, np.integer)
        ):
            raise ValueError(
                f"checkpoint_path needs random_state, an integer, got {self.random_state!r}: "
                "without it nothing could go on in the same way"
            )

    def _check_target(self, y: Any) -> None:
        if y is None and get_tags(self).target_tags.required:
            name = type(self).__name__
            raise ValueError(f"{name} requires y to be passed, but the target y is None")

    def _seeds(self) -> np.random.Generator:
        """The generator of all seeds of one `fit`."""
        return np.random.default_rng(check_random_state(self.random_state).randint(_MOST_SEED))

    def _recurrent(
        self, input_size: int, seeds: np.random.Generator, **options: Any
    ) -> Recurrent[Any]:
        """The recurrent layers, for inputs of this size."""
        arguments = {
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout,
            **self._common(seeds),
        }
        return make_recurrent(self.cell, input_size, self.hidden_size, **{**arguments, **options})

    def _model(
        self,
        outputs: int,
        seeds: np.random.Generator,
        *,
        pool: str | None = None,
        skip_input: bool = False,
    ) -> Sequential:
        """[Embedding] -> recurrent layers -> [Dropout] -> Linear, for the input as learned."""
        size = self.encoder_.size
        first: list[Module] = []
        if self.encoder_.kind == "ids" and self.embedding_size is not None:
            kind = Embedding if self.encoder_.affixes is None else EmbeddingBag
            first.append(kind(size, self.embedding_size, **self._common(seeds)))
            size = self.embedding_size
        chain = self._chain(size, outputs, seeds, skip_input=skip_input)
        return Sequential(*first, *chain, pool=pool, skip_input=skip_input)

    def _chain(
        self, size: int, outputs: int, seeds: np.random.Generator, *, skip_input: bool = False
    ) -> list[Module]:
        """Recurrent layers -> [Dropout] -> Linear."""
        recurrent = self._recurrent(size, seeds)
        chain: list[Module] = [recurrent]
        if self.dropout:
            chain.append(Dropout(self.dropout, **self._common(seeds)))
        features = recurrent.output_size + (size if skip_input else 0)
        return [*chain, Linear(features, outputs, **self._common(seeds))]

    def _common(self, seeds: np.random.Generator) -> dict[str, Any]:
        """The arguments that every module has."""
        return {"dtype": self.dtype, "seed": int(seeds.integers(_MOST_SEED))}

    def _learn_input(self, X: Any, lengths: Any, **options: Any) -> None:
        self.encoder_ = SequenceEncoder(
            tokens=self.tokens,
            min_count=self.min_count,
            dtype=self.dtype,
            scale=self.scale,
            **options,
        ).fit(X, lengths)
        if self.encoder_.kind == "features":
            self.n_features_in_ = self.encoder_.size

    def _sequences(self, X: Any, lengths: Any) -> Sequences:
        """The sequences of a fitted estimator's input."""
        check_is_fitted(self, "encoder_")
        return self.encoder_.transform(X, lengths)

    def _weights(self, sample_weight: Any, count: int) -> NDArray[np.float64] | None:
        if sample_weight is None:
            return None
        weights = np.asarray(sample_weight, np.float64)
        if weights.shape != (count,):
            rule = f"(B,) = ({count},)"
            raise ValueError(f"sample_weight must have shape {rule}, got {weights.shape}")
        if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
            raise ValueError("sample_weight must be finite and >= 0, and not zero everywhere")
        return weights

    def _options(self, **changed: Any) -> TrainingOptions:
        names = (
            "epochs",
            "batch_size",
            "schedule",
            "clip_norm",
            "clip_value",
            "accumulate",
            "patience",
            "min_delta",
            "verbose",
        )
        return TrainingOptions(**{**{name: getattr(self, name) for name in names}, **changed})


@dataclass
class _KeepHistory:
    """A callback: an estimator whose training is interrupted can be used and saved."""

    estimator: SequenceEstimator

    def on_train_begin(self, training: Training) -> None:
        self.estimator.history_ = training.history
