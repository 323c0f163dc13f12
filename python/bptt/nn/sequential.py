"""Chains of modules.

Shapes: B batch, T steps, K features of the output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks
from bptt._core.arguments import NamedArguments
from bptt._core.checks import FloatArray
from bptt._core.lengths import Ids, Lengths, Padding, padding_of, without_padding
from bptt._core.memory import side_by_side
from bptt._core.tensor_files import as_path
from bptt.nn import packing
from bptt.nn.characters import CharacterEmbedding
from bptt.nn.crf import CRF
from bptt.nn.decay import InputDecay
from bptt.nn.dropout import Dropout
from bptt.nn.elementwise import ReLU, Sigmoid, Tanh
from bptt.nn.embedding import Embedding, EmbeddingBag
from bptt.nn.linear import Linear, OutputLoss
from bptt.nn.module import Module, by_name
from bptt.nn.normalization import LayerNorm
from bptt.nn.packing import Description, Packed, Tensors
from bptt.nn.pooling import POOLS, Pooled
from bptt.nn.recurrent import LAYERS
from bptt.nn.recurrent_base import Recurrent
from bptt.nn.sequential_run import (
    SequentialRun,
    is_beside,
    last_head,
    output_place,
    recurrent_places,
    smoothing_of,
)
from bptt.nn.state import State, States, as_states
from bptt.nn.stepper import SequentialStepper
from bptt.nn.summary import feature_sizes, summarize

_Applied: TypeAlias = tuple[FloatArray, State | None]

_KINDS = (
    *(*LAYERS, Linear, CRF, Embedding, CharacterEmbedding),
    *(Dropout, LayerNorm, InputDecay, ReLU, Tanh, Sigmoid),
)
_OF_IDS = (Embedding, CharacterEmbedding)
_NONZERO = (Linear, LayerNorm, Sigmoid)  # of a zero input


class Sequential(NamedArguments):
    """Chain of modules, such as `Embedding`, `LSTM`, `Dropout`, `Linear`.

    Parameters
    ----------
    *modules : Module
        From input to output: batch-first recurrent layers, `Linear`, `Dropout`, `LayerNorm`,
        `InputDecay`, `ReLU`, `Tanh` and `Sigmoid` in any order, after at most one `Embedding` and
        then one `CharacterEmbedding`, and before at most one `CRF`. All have one dtype, and the
        output features of each are the input features of the next.
    pool : {None, "last", "mean", "max"}, default None
        Pooling over time after the last recurrent layer. None: its output at every step. "last":
        its final hidden state, with both directions merged as in its output. "mean", "max": mean or
        maximum of its output over the steps of each sequence, 0 for an empty one.
    skip_input : bool, default False
        Whether the last module, or the one before a `CRF`, a `Linear`, also reads the input x_t of
        the first recurrent layer: y_t = V [h_t, x_t] + c.

    Attributes
    ----------
    modules : tuple of Module
    pool, skip_input : as above

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or an invalid value, or the modules do not fit together.

    Examples
    --------
    >>> model = Sequential(Embedding(100, 16), LSTM(16, 32), Linear(32, 2), pool="last")
    >>> optimizer = Adam(model)
    >>> run = model.forward(ids, lengths=lengths)
    >>> loss = softmax_cross_entropy(run.output, classes)
    >>> optimizer.step(run.backward(loss))
    """

    modules: tuple[Module, ...]
    pool: str | None
    skip_input: bool

    def __init__(self, *modules: Module, pool: str | None = None, skip_input: bool = False) -> None:
        _check_kinds(modules)
        self.modules = modules
        self.pool = None if pool is None else checks.one_of(*POOLS)("pool", pool)
        self.skip_input = checks.flag("skip_input", skip_input)
        self._layers = recurrent_places(modules)
        self._check_options()
        self._read_size = feature_sizes(modules[self._layers[0]])[0] or 0 if self._layers else 0
        self._check_sizes()

    def __repr__(self) -> str:
        arguments = [repr(module) for module in self.modules]
        arguments += [f"pool={self.pool!r}"] if self.pool else []
        arguments += ["skip_input=True"] if self.skip_input else []
        return f"Sequential({', '.join(arguments)})"

    def __len__(self) -> int:
        return len(self.modules)

    def __iter__(self) -> Iterator[Module]:
        """Iterate over the modules, from input to output."""
        return iter(self.modules)

    def __getitem__(self, index: int) -> Any:
        """Return a module: ``model[0]`` is the first one, ``model[-1]`` the last one.

        Parameters
        ----------
        index : int

        Returns
        -------
        Module

        Raises
        ------
        TypeError
            If `index` is not an integer.
        IndexError
            If there is no such module.
        """
        count, place = len(self.modules), checks.integer("index", index, -sys.maxsize)
        if not -count <= place < count:
            raise IndexError(f"index must be in [-{count}, {count}), got {place}")
        return self.modules[place]

    @property
    def parameters(self) -> Mapping[str, FloatArray]:
        """Name -> read-only array, of all modules: "0.weight_ih_l0" is of the first module.

        As those of a module, the arrays are views, which show later changes of the parameter;
        ``model[0]["weight_ih_l0"] = array`` changes it.
        """
        return MappingProxyType(by_name([module.parameters for module in self.modules]))

    @property
    def num_parameters(self) -> int:
        """Number of elements of the parameters of all modules."""
        return sum(module.num_parameters for module in self.modules)

    def summary(self) -> str:
        """Return a table of the modules: shapes of output and parameters, and their numbers.

        Returns
        -------
        str
            For ``print(model.summary())``. B is the batch, T the number of steps.
        """
        return summarize(self.modules, self.pool)

    def compressed(self, kind: str) -> Sequential:
        """Return a copy whose modules have weights of 16 or 8 bits, for inference alone.

        Parameters
        ----------
        kind : {"bfloat16", "int8"}
            See `Module.compressed`.

        Returns
        -------
        Sequential
            With the same calls, float32 in and out. Modules without matrices to compress, such as
            `LayerNorm`, and a `CharacterEmbedding` or a `CRF` are copies.

        Raises
        ------
        TypeError
            If `kind` is not a string.
        ValueError
            If there is no such kind, the modules are not of float32 or compressed already, or a
            weight is not finite in it.

        See Also
        --------
        bptt.compression_report : What it changes, on given data.
        """
        modules = [module.compressed(kind) for module in self.modules]
        return Sequential(*modules, pool=self.pool, skip_input=self.skip_input)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, for `load`.

        The same as ``save_modules(path, {"model": model})``. Writing is atomic.

        Parameters
        ----------
        path : str or path
            File to write; replaced if it exists.

        Raises
        ------
        TypeError
            If `path` is neither a string nor a path, or a module is not of the library's classes.
        ImportError
            If safetensors is not installed.
        """
        packing.write(as_path(path), {"model": self._pack("model")}, {})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sequential:
        """Read a model from a file of `save`; nothing in the file is executed.

        Parameters
        ----------
        path : str or path
            File to read.

        Returns
        -------
        Sequential

        Raises
        ------
        TypeError
            If `path` is neither a string nor a path.
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is corrupt, or does not hold one `Sequential`.
        ImportError
            If safetensors is not installed.
        """
        with packing.reading(path) as content:
            found = {name: entry["class"] for name, entry in content.descriptions.items()}
            if list(found.values()) != [Sequential.__name__]:
                got = ", ".join(f"{name} ({kind})" for name, kind in found.items()) or "none"
                raise ValueError(f"it must hold one Sequential, got {got}: use bptt.load_modules")
            ((name, entry),) = content.descriptions.items()
            return cls._unpack(name, entry, content.tensors)

    def _pack(self, name: str) -> Packed:
        """Return the parameters as tensors "name/index.parameter", with all arguments."""
        tensors: Tensors = {}
        entries = []
        for i, module in enumerate(self.modules):
            if type(module) not in packing.CLASSES.values():  # attributes would be lost
                kinds, kind = ", ".join(packing.CLASSES), type(module).__name__
                raise TypeError(f"modules[{i}] must be one of {kinds}, got {kind}")
            part = packing.pack(f"{name}/{i}.", module)
            tensors |= part.tensors
            entries.append(part.description)
        config = {"pool": self.pool, "skip_input": self.skip_input}
        kind = Sequential.__name__
        return Packed(tensors, {"class": kind, "config": config, "modules": entries})

    @classmethod
    def _unpack(cls, name: str, description: Description, tensors: Tensors) -> Sequential:
        """Return the model that `_pack` described; remove its tensors from `tensors`."""
        modules = [
            packing.unpack(f"{name}/{i}.", entry, tensors)
            for i, entry in enumerate(description["modules"])
        ]
        return cls(*modules, **description["config"])

    def __call__(
        self,
        x: NDArray[Any],
        *,
        lengths: Lengths | None = None,
        state: Sequence[State | None] | None = None,
    ) -> tuple[FloatArray, States]:
        """Run over whole sequences: inference, without dropout, thread-safe.

        Parameters
        ----------
        x : array (B, T, features), or integer array (B, T), or (T,) for B = 1
            Input in the modules' dtype, or token ids. Without recurrent layers, of any shape that
            the modules accept.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], in any order. T by default.
        state : tuple of states, optional
            Initial state of each recurrent layer; None for zero, the default.

        Returns
        -------
        y : array (B, T, K), or (B, K) with `pool`
            Output; 0 in the padding.
        state : tuple of states
            Final state of each recurrent layer.

        Raises
        ------
        TypeError
            If an argument has the wrong type or dtype.
        ValueError
            If a shape does not fit, or a length or an id is out of its range.
        """
        return self._infer(x, lengths, state)

    def _infer(
        self,
        x: NDArray[Any],
        lengths: Lengths | None,
        state: Sequence[State | None] | None = None,
        *,
        output_layer: bool = True,
    ) -> tuple[FloatArray, States]:
        """Return the output, or without the output layer its input, and the final states."""
        x, padding = self._checked(x, lengths)

        def infer(module: Any, value: Any, initial: State | None) -> _Applied:
            result = module(value, **_arguments(module, lengths, initial))
            return result if isinstance(module, Recurrent) else (result, None)

        y, final, _ = self._run_modules(
            infer, x, state, padding, self.pool, output_layer=output_layer
        )
        return y, final

    def cross_entropy(
        self,
        x: NDArray[Any],
        targets: Ids,
        *,
        lengths: Lengths | None = None,
        state: Sequence[State | None] | None = None,
        mask: NDArray[np.bool_] | None = None,
        weights: FloatArray | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "sum",
    ) -> OutputLoss:
        """Return the softmax cross-entropy at inference, without dropout and without gradients.

        The last module must be a `Linear`, whose logits are never in memory at once, or a `CRF`.
        For training see `SequentialRun.cross_entropy`.

        Parameters
        ----------
        x : array (B, T, features), or integer array (B, T), or (T,) for B = 1
            Input in the modules' dtype, or token ids.
        targets : integer array (B, T), or (B,) with `pool`
            Class of each step or sequence, in [0, K).
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], in any order. T by default.
        state : tuple of states, optional
            Initial state of each recurrent layer; None for zero, the default.
        mask : bool array (B, T) or (B,), optional
            False for steps that are ignored.
        weights : float array (B, T), or (B,) for whole sequences, optional
            Weight of each step, finite and >= 0; steps of weight 0 are ignored.
        label_smoothing : float, default 0
            ε in [0, 1): see `bptt.softmax_cross_entropy`.
        reduction : {"sum", "mean"}, default "sum"
            "mean" divides the value by the sum of the weights (without weights: the number) of the
            steps that are not ignored.

        Returns
        -------
        OutputLoss
            Value, losses of the steps and predicted classes; no gradients.

        Raises
        ------
        TypeError
            If an argument has the wrong type or dtype.
        ValueError
            If the last module is neither a `Linear` nor a `CRF`, a shape does not fit, or a length,
            an id, a target, a weight or an option is out of its range.
        """
        head = last_head(self.modules)
        smoothing = smoothing_of(head, label_smoothing)
        features, _ = self._infer(x, lengths, state, output_layer=False)
        return head.cross_entropy(
            features,
            targets,
            lengths=None if self.pool else lengths,
            mask=mask,
            weights=weights,
            reduction=reduction,
            gradients=False,
            **smoothing,
        )

    def forward(
        self,
        x: NDArray[Any],
        *,
        lengths: Lengths | None = None,
        state: Sequence[State | None] | None = None,
        recompute_every: int | None = None,
    ) -> SequentialRun:
        """Run over whole sequences, ready for `SequentialRun.backward`: training, with dropout.

        Parameters
        ----------
        x : array (B, T, features), or integer array (B, T), or (T,) for B = 1
            Input in the modules' dtype, or token ids. It is kept, not copied: its values must not
            change before `SequentialRun.backward`.
        lengths : integer array (B,), optional
            Number of steps of each sequence, in [0, T], in any order. T by default.
        state : tuple of states, optional
            Initial state of each recurrent layer; None for zero, the default.
        recompute_every : int, optional
            Save the state of every k-th step only and recompute the steps between in the backward
            pass: see `Recurrent.forward`. Not for bidirectional layers.

        Returns
        -------
        SequentialRun
            After a recurrent layer, a last `Linear` is computed when ``run.output`` is first read:
            `SequentialRun.cross_entropy` does without.

        Raises
        ------
        TypeError
            If an argument has the wrong type or dtype.
        ValueError
            If a shape does not fit, a length or an id is out of its range, or `recompute_every` is
            given and a layer is bidirectional.
        """
        x, padding = self._checked(x, lengths)
        runs: list[Any] = []

        def train(module: Any, value: Any, initial: State | None) -> _Applied:
            arguments = _arguments(module, lengths, initial)
            if isinstance(module, Recurrent):
                arguments["recompute_every"] = recompute_every
            run = module.forward(value, **arguments)
            runs.append(run)
            return run.output, getattr(run, "state", None)

        head = self.modules[-1]
        delayed = bool(self._layers) and isinstance(head, Linear)  # its output may not be needed
        y: FloatArray | None
        y, final, pooled = self._run_modules(
            train, x, state, padding, self.pool, output_layer=not delayed
        )
        if isinstance(head, Linear) and delayed:
            runs.append(head._delayed(y))
            y = None
        skip_size = self._read_size if self.skip_input else 0
        return SequentialRun(self.modules, runs, pooled, padding, y, final, skip_size)

    def step(
        self, x_t: NDArray[Any], state: Sequence[State | None] | None = None
    ) -> tuple[FloatArray, States]:
        """Run one time step, without dropout: streaming inference.

        The bits of a row of the output and of the states do not depend on the other rows.

        Parameters
        ----------
        x_t : array (B, features), or integer array (B,)
            Input of the step, or token ids.
        state : tuple of states, optional
            States after the previous step. Zero by default.

        Returns
        -------
        y_t : array (B, K)
            Output; with pool="last", that of the sequence up to this step.
        state : tuple of states
            States after this step.

        Raises
        ------
        TypeError
            If an argument has the wrong type or dtype.
        ValueError
            If a shape does not fit, an id is out of its range, or the model needs whole sequences:
            a layer is bidirectional or reverse, or the pool is "mean" or "max".
        """
        if self.pool not in (None, "last"):
            raise ValueError(f"step needs pool=None or pool='last', got pool={self.pool!r}")

        def step(module: Any, value: Any, before: State | None) -> _Applied:
            if not isinstance(module, Recurrent):
                return _of_rows(module)(value), None
            result: _Applied = module.step(value, before)
            return result

        y_t, after, _ = self._run_modules(step, self._checked_input("x_t", x_t), state)
        return y_t, after

    def stepper(self, batch: int = 1) -> SequentialStepper:
        """Return a callable that runs one step of a stream after the other, faster than `step`.

        Parameters
        ----------
        batch : int
            B, the number of sequences that take each step.

        Returns
        -------
        SequentialStepper

        Raises
        ------
        TypeError
            If `batch` is not an integer.
        ValueError
            If `batch` is not positive or too large, or modules do not follow each other
            (``skip_input=True``, words with their characters), or the model needs whole sequences:
            a layer is bidirectional or reverse, or the pool is "mean" or "max".
        """
        size = checks.integer("batch", batch)
        if self.pool not in (None, "last"):
            raise ValueError(f"stepper needs pool=None or pool='last', got pool={self.pool!r}")
        if self.skip_input or is_beside(self.modules, 1):
            raise ValueError(f"stepper needs modules that follow each other, got {self}")
        parts: list[Any] = [
            module.stepper(size) if isinstance(module, Recurrent) else _of_rows(module)
            for module in self.modules
        ]
        return SequentialStepper(parts)

    def _run_modules(
        self,
        apply: Callable[[Module, NDArray[Any], State | None], _Applied],
        x: NDArray[Any],
        state: Sequence[State | None] | None,
        padding: Padding = None,
        pool: str | None = None,
        *,
        output_layer: bool = True,
    ) -> tuple[FloatArray, States, Pooled | None]:
        """Run `x` through all modules; return output, final states and the pooled output.

        Without the output layer, the last module, the output is its input.

        Inference, training and single steps differ in `apply` only: module, input and initial state
        -> output and final state. Padding is 0 throughout.
        """
        initial = iter(as_states("state", state, len(self._layers)))
        final: list[State] = []
        pooled = None
        value = read = x
        if is_beside(self.modules, 1):
            value, characters = self._words_and_characters(x)
        module: Any
        for i, module in enumerate(self.modules):
            if is_beside(self.modules, i):
                value = side_by_side(value, apply(module, characters, None)[0])
                continue
            if self.skip_input and i == output_place(self.modules):
                value = side_by_side(value, read)
            if not output_layer and i == len(self.modules) - 1:
                break
            if i not in self._layers:
                value, _ = apply(module, value, None)
                if isinstance(module, _NONZERO) and padding is not None and pooled is None:
                    value[padding] = 0.0
                continue
            read = read if final else value
            value, after = apply(module, value, next(initial))
            final.append(after)
            if pool and i == self._layers[-1]:
                pooled = POOLS[pool](module, value, after, padding)
                value = pooled.output
        return value, tuple(final), pooled

    def _checked(self, x: NDArray[Any], lengths: object) -> tuple[NDArray[Any], Padding]:
        """Return the input, zeroed in the padding if a module reads it there, and the padding."""
        self._checked_input("x", x)
        if x.ndim == 1 and self._layers and x.dtype.kind in "iu":
            x = x[np.newaxis]
        if lengths is None:
            return x, None
        if not any(isinstance(m, (EmbeddingBag, CharacterEmbedding)) for m in self.modules[:2]):
            check_sequences("lengths needs x of", x)  # they check it themselves
        padding = padding_of(lengths, *x.shape[:2])
        unread = isinstance(self.modules[0], (*_OF_IDS, Recurrent)) and not self.skip_input
        return x if unread else without_padding(x, padding), padding

    def _checked_input(self, name: str, x: NDArray[Any]) -> NDArray[Any]:
        checks.numpy_array(name, x, layer=True)
        if self.skip_input and x.dtype.kind in "iu" and not isinstance(self.modules[0], _OF_IDS):
            raise TypeError(f"skip_input needs an Embedding for {name} of dtype {x.dtype}")
        return x

    def _words_and_characters(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the ids of words, or of their features, and those of their characters."""
        words, embedding = self.modules[:2]
        assert isinstance(embedding, CharacterEmbedding)
        length, bag = embedding.word_length, isinstance(words, EmbeddingBag)
        if x.ndim == 0 or x.shape[-1] < length or (x.shape[-1] != length + 1 and not bag):
            first = "features" if bag else "1"
            raise ValueError(f"x must have shape (..., {first} + {length}), got {x.shape}")
        ids = x[..., :-length] if bag else x[..., 0]
        return np.ascontiguousarray(ids), x[..., -length:]

    def _check_options(self) -> None:
        for name, given in (("pool", self.pool), ("skip_input", self.skip_input)):
            if given and not self._layers:
                raise ValueError(f"{name}={given!r} needs a recurrent layer, got {self!r}")
        if self.pool and isinstance(self.modules[-1], CRF):
            raise ValueError(f"a CRF needs pool=None, got pool={self.pool!r}")
        if not self.skip_input:
            return
        if self.pool:
            raise ValueError(f"skip_input needs pool=None, got pool={self.pool!r}")
        head = self.modules[output_place(self.modules)]
        if not isinstance(head, Linear):
            raise ValueError(f"skip_input needs a Linear as the last module, got {head}")

    def _check_sizes(self) -> None:
        features = None  # of the input of a module, if a module before it determines them
        for i, module in enumerate(self.modules):
            inputs, outputs = feature_sizes(module)
            expected = str(features)
            if features is not None and self.skip_input and i == output_place(self.modules):
                features += self._read_size
                expected = f"{expected} + {self._read_size} = {features}"
            if features is not None and inputs not in (features, None):
                raise ValueError(f"modules[{i}] must take {expected} features, got {module}")
            if is_beside(self.modules, i):
                outputs = (features or 0) + (outputs or 0)
            features = outputs or features


def _of_rows(module: Any) -> Any:
    """Return what computes single steps of streams: bits of a row that do not depend on others."""
    return module._of_rows if isinstance(module, Linear) else module


def check_sequences(rule: str, x: NDArray[Any]) -> None:
    """Check that `x` is a batch of sequences; `rule` begins the error message."""
    if x.ndim != (2 if x.dtype.kind in "iu" else 3):
        shape = "shape (batch, steps, features), or (batch, steps) of token ids"
        raise ValueError(f"{rule} {shape}, got {x.shape}")


def _check_kinds(modules: tuple[Any, ...]) -> None:
    if not modules:
        raise ValueError("modules must not be empty")
    for i, module in enumerate(modules):
        if not isinstance(module, _KINDS):
            names = ", ".join(kind.__name__ for kind in _KINDS)
            # As in Keras, which takes a list.
            cure = ": use Sequential(*modules)" if isinstance(module, (list, tuple)) else ""
            got = type(module).__name__
            if isinstance(module, type):
                got, cure = f"the class {module.__name__}", f": use {module.__name__}(..)"
            raise TypeError(f"modules must be {names}, got {got}{cure}")
        if isinstance(module, Embedding) and i:
            raise ValueError(
                f"modules may have an Embedding at the beginning only, got one at index {i}"
            )
        if isinstance(module, CharacterEmbedding) and not (i == 0 or is_beside(modules, i)):
            raise ValueError(
                "modules may have a CharacterEmbedding at the beginning, or after an Embedding "
                f"there, got one at index {i}"
            )
        if isinstance(module, CRF) and i < len(modules) - 1:
            raise ValueError(f"modules may have a CRF at the end only, got one at index {i}")
        if getattr(module, "time_major", False):
            raise ValueError(f"modules must be batch-first, got {module}")
    if len({id(module) for module in modules}) < len(modules):
        raise ValueError(f"modules must be distinct, got {list(modules)}")
    dtypes = dict.fromkeys(module.dtype.name for module in modules)
    if len(dtypes) > 1:
        raise TypeError(f"modules must have one dtype, got {' and '.join(dtypes)}")


def _arguments(module: Module, lengths: Lengths | None, state: State | None) -> dict[str, Any]:
    """Return the arguments of a module besides its input."""
    if isinstance(module, Recurrent):
        return {"lengths": lengths, "state": state}
    return {"lengths": lengths} if isinstance(module, _OF_IDS) else {}
