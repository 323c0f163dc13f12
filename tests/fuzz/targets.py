"""One valid call of every public callable, from which the fuzzers make invalid ones."""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import bptt
from bptt import (
    data,
    decoding,
    diagnostics,
    distributed,
    exporters,
    importers,
    losses,
    metrics,
    nn,
    optim,
    serving,
    training,
)
from bptt.nn.recurrent import LAYERS
from bptt.nn.state import as_state
from bptt.optim import schedules
from bptt.optim.optimizers import OPTIMIZERS

try:
    from public_packages import PACKAGES
except ImportError:
    from tests.public_packages import PACKAGES

F8: dict[str, Any] = {"dtype": "float64", "seed": 0}
X = np.random.default_rng(0).normal(size=(2, 5, 3))
IDS = np.array([[0, 1, 2, 1, 0], [2, 2, 0, 0, 1]])
LENGTHS = np.array([2, 5])
H = np.full((2, 2, 4), 0.5)
TEXTS = ["ab", "ba", "abab", "b"]
TAGS = [list(text.upper()) for text in TEXTS]
NUMBERS = [np.random.default_rng(i).normal(size=(4, 2)).astype("float32") for i in range(4)]
SMALL: dict[str, Any] = {"hidden_size": 3, "epochs": 1, "random_state": 0}
MAKERS = {"LSTM", "GRU", "MGU", "RNN", "SLSTM"}


@dataclass
class Target:
    """A valid call, and what must not change when it fails."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    watched: tuple[Any, ...] = ()
    """Modules, optimizers and estimators whose parameters an error leaves as they were."""
    changes: bool = False
    """A call that succeeds may change what is watched, and its arguments."""
    loose: bool = False
    """Documented to check nothing: no crash, but any exception."""


Targets = dict[str, Callable[[], Target]]
LEFT_OUT = {
    "abstract base classes and protocols, called through their subclasses": (
        *("estimators.SequenceEstimator", "nn.Module", "nn.Recurrent", "optim.Optimizer"),
        *("optim.schedules.Schedule", "training.Dataset", "training.OrderedDataset"),
        "training.TrainingTask",
    ),
    "functions of packages that the tests do not install": (
        "exporters.to_onnx",
        "data.Stream.from_files",
    ),
    "results, whose constructors the package itself calls": (
        *(
            "decoding.Hypothesis",
            "exporters.CSource",
            "importers.ForeignLayer",
            "importers.ForeignModel",
            "decoding.NGram",
            "diagnostics.Contributions",
            "diagnostics.GateTrace",
        ),
        *("diagnostics.GradientFlow", "diagnostics.JacobianProducts", "diagnostics.Saliency"),
        *("diagnostics.Verdict", "losses.LinearLoss", "losses.Loss", "metrics.Span"),
        *("nn.AttentionGradients", "nn.AttentionRun", "nn.CRFRun", "nn.CharacterEmbeddingRun"),
        "nn.CompressionReport",
        "nn.DecoderGradients",
        *("nn.DecoderRun", "reference.CRFGradients"),
        *("nn.DropoutRun", "nn.ElementwiseRun", "nn.EmbeddingBagRun", "nn.EmbeddingRun"),
        *("nn.EncoderDecoderRun", "nn.Gradients", "nn.LSTMState", "nn.LayerNormRun"),
        "nn.SLSTMState",
        "nn.InputDecayRun",
        *("nn.LinearRun", "nn.OutputLoss", "nn.Run", "nn.SequentialGradients"),
        *("nn.SequentialRun", "nn.StepGradients", "reference.Activation", "reference.Gradients"),
        *("nn.SequentialStepper", "nn.Stepper"),
        *("reference.Result", "training.Epoch", "training.Evaluation", "training.TrainingStep"),
        *("training.WeightedMean", "training.Window", "training.WindowBatch"),
    ),
    "an exception": ("serving.SessionsFullError",),
    "declaration of a compiled cell": ("nn.Cell",),
    "prints `config`, without arguments": ("bptt.show_config",),
    "needs MPI: tests/mpi_ranks": ("distributed.Communicator",),
}
"""Reason -> classes and functions without a target; of a class in the first line all methods."""


def exported() -> Iterator[tuple[str, Any]]:
    """Yield dotted name and value of every public class and function, each once."""
    seen: set[int] = set()
    for package in (*PACKAGES[1:], "bptt"):
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and id(value) not in seen and inspect.getmodule(value) is not None:
                seen.add(id(value))
                yield f"{package.removeprefix('bptt.')}.{name}", value


def methods(cls: type) -> Iterator[str]:
    """Yield the names of the public methods of a class that the package defines."""
    for name, value in inspect.getmembers(cls):
        function = getattr(value, "__func__", value)
        module = getattr(function, "__module__", None) or ""
        public = not name.startswith("_") or name in ("__call__", "__getitem__", "__setitem__")
        if public and callable(value) and inspect.isroutine(value) and module.startswith("bptt"):
            yield name


def public_callables() -> dict[str, Any]:
    """Return dotted name and value of functions, of constructors, and of methods."""
    found: dict[str, Any] = {}
    for name, value in exported():
        found[name] = value
        if inspect.isclass(value):
            found.update({f"{name}.{method}": getattr(value, method) for method in methods(value)})
    return found


def without_target() -> set[str]:
    """Return the public callables that need a target and have none, or the other way round."""
    abstract, *others = LEFT_OUT.values()
    left_out = {name for names in others for name in names}
    needed = {
        name
        for name in public_callables()
        if name not in left_out
        and not any(name == base or name.startswith(f"{base}.") for base in abstract)
    }
    return needed ^ set(targets())


def parameters_of(function: Any) -> list[str]:
    """Return the names of the arguments of a function."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    signature = inspect.signature(function).parameters.values()
    return [p.name for p in signature if p.kind not in kinds and p.name not in ("self", "cls")]


# ---- networks ------------------------------------------------------------------------------------

COUNTED: dict[str, Any] = {
    "lengths": LENGTHS,
    "mask": np.ones((2, 5), bool),
    "weights": np.ones((2, 5)),
    "time_major": False,
    "reduction": "sum",
}
SMOOTH: dict[str, Any] = {"label_smoothing": 0.1}


def copies(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with copies of the arrays, which a fuzzer may change."""
    return {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in arguments.items()}


def in_float32(made: Any) -> Any:
    """Return a module of the same arguments in float32, which can be compressed."""
    return type(made)(**{**made.config, "dtype": "float32"})


def compressed(make: Callable[[], Any]) -> Any:
    """Return the target of `compressed`."""

    def target() -> Target:
        made = make()
        parts = tuple(getattr(made, "modules", [made]))
        return Target(made.compressed, {"kind": "int8"}, parts)

    return target


def of_layer(kind: Any) -> Targets:
    """Return the targets of a recurrent layer."""
    package = f"nn.{kind.__name__}"

    def layer() -> Any:
        own = {bptt.LSTM: {"proj_size": 3}, bptt.GRU: {"decay_size": 1}}
        return kind(3, 4, num_layers=2, dropout=0.5, **own.get(kind, {}), **F8)

    def state(made: Any) -> Any:
        return as_state(*(H[..., :size].copy() for size in made.state_sizes))

    def on(method: str, arguments: Callable[[Any], dict[str, Any]], **options: Any) -> Any:
        def make() -> Target:
            made = layer()
            return Target(getattr(made, method), arguments(made), (made,), **options)

        return make

    def sequence(made: Any) -> dict[str, Any]:
        return {"x": X.copy(), "lengths": LENGTHS.copy(), "state": state(made)}

    def out(made: Any) -> dict[str, Any]:
        given = (np.zeros((2, made.output_size)), state(made))
        return {"x_t": X[:, 0].copy(), "state": state(made), "out": given}

    return {
        package: lambda: Target(kind, dict(layer().config)),
        f"{package}.__call__": on("__call__", sequence),
        f"{package}.forward": on("forward", lambda m: {**sequence(m), "recompute_every": 2}),
        f"{package}.step": on("step", out, changes=True),
        f"{package}.stepper": on("stepper", lambda m: {"batch": 2}),
        f"{package}.compressed": compressed(lambda: in_float32(layer())),
        f"{package}.__getitem__": on("__getitem__", lambda m: {"name": "bias_l1"}),
        f"{package}.__setitem__": on(
            "__setitem__",
            lambda m: {"name": "weight_ih_l0", "value": m["weight_ih_l0"].copy()},
            changes=True,
        ),
    }


def of_run(method: str, arguments: dict[str, Any], kind: Any = bptt.LSTM) -> Any:
    """Return the target of a method of a run."""

    def make() -> Target:
        masks = {"dropout": 0.5, "recurrent_dropout": 0.2, "zoneout": 0.1}
        layer = kind(3, 4, num_layers=2, **masks, learn_initial_state=True, **F8)
        run = layer.forward(X.copy(), lengths=LENGTHS)
        given = copies(arguments)
        if "d_output" in given:
            given["d_state"] = as_state(*(H.copy() for _ in layer.cell.states))
        return Target(getattr(run, method), given, (layer,), changes=method == "release")

    return make


_CHANGING = ("__setitem__", "set_vectors")


def module(make: Callable[[], Any], calls: dict[str, dict[str, Any]], run: str = "") -> Targets:
    """Return the targets of a module; `run` is the class of what `forward` returns."""
    name = f"nn.{type(make()).__name__}"

    def on(method: str, arguments: dict[str, Any]) -> Any:
        def target() -> Target:
            made = make()
            return Target(getattr(made, method), copies(arguments), (made,), method in _CHANGING)

        return target

    def backward(arguments: dict[str, Any]) -> Any:
        def target() -> Target:
            made = make()
            found = made.forward(**calls["forward"])
            return Target(found.backward, copies(arguments), (made,))

        return target

    kind = type(make())
    found: Targets = {name: lambda: Target(kind, dict(make().config))}
    found[f"{name}.compressed"] = compressed(lambda: in_float32(make()))
    if list(make()):
        first = next(iter(make()))
        calls = {
            "__getitem__": {"name": first},
            "__setitem__": {"name": first, "value": make()[first].copy()},
            **calls,
        }
    else:  # it has no parameter: every name is an error
        empty = {"name": "weight"}
        found[f"{name}.__getitem__"] = on("__getitem__", empty)
        found[f"{name}.__setitem__"] = on("__setitem__", {**empty, "value": np.ones(3)})
    for method, arguments in calls.items():
        if method == "backward":
            found[f"nn.{run}.backward"] = backward(arguments)
        else:
            found[f"{name}.{method}"] = on(method, arguments)
    return found


def modules() -> Targets:
    """Return the targets of all modules but the recurrent ones."""
    x: dict[str, Any] = {"x": X}
    d: dict[str, Any] = {"d_output": np.ones((2, 5, 3))}
    wide = {"d_output": np.ones((2, 5, 4))}
    ids: dict[str, Any] = {"ids": IDS, "lengths": LENGTHS}
    bag: dict[str, Any] = {"ids": np.stack([IDS, IDS], axis=-1), "lengths": LENGTHS}
    keys = np.random.default_rng(1).normal(size=(2, 4, 6))
    pair: dict[str, Any] = {"queries": X, "keys": keys, "lengths": np.array([2, 4])}
    entropy = {"x": X, "targets": IDS, **COUNTED, **SMOOTH, "gradients": True}

    def attention() -> Any:
        return bptt.Attention(3, 6, kind="additive", attention_size=7, **F8)

    found: Targets = {}
    for kind in (bptt.ReLU, bptt.Tanh, bptt.Sigmoid):
        calls = {"__call__": x, "forward": x, "backward": d}
        found |= module(functools.partial(kind, dtype="float64"), calls, "ElementwiseRun")
    plain = {"__call__": x, "forward": x}
    calls = {**plain, "cross_entropy": entropy, "backward": {**wide, "input": True}}
    found |= module(lambda: bptt.Linear(3, 4, **F8), calls, "LinearRun")
    found |= module(
        lambda: bptt.LayerNorm(3, dtype="float64"),
        {**plain, "backward": {**d, "input": True}},
        "LayerNormRun",
    )
    found |= module(
        lambda: bptt.InputDecay(1, pass_times=True, dtype="float64"),
        {**plain, "backward": {"d_output": np.ones((2, 5, 3)), "input": True}},
        "InputDecayRun",
    )
    sequence = {**x, "lengths": LENGTHS}
    labels = {**sequence, "targets": IDS, "mask": np.ones((2, 5), bool), "weights": np.ones(2)}
    calls = {
        **plain,
        "decode": sequence,
        "marginals": sequence,
        "cross_entropy": {**labels, "reduction": "sum", "gradients": True, "predictions": True},
        "backward": d,
    }
    found |= module(lambda: bptt.CRF(3, dtype="float64"), calls, "CRFRun")
    found |= module(lambda: bptt.Dropout(0.5, **F8), {**plain, "backward": d}, "DropoutRun")
    vectors = {"tokens": ["a", "B"], "vectors": {"a": np.ones(4), "b": np.zeros(4)}}
    calls = {"__call__": ids, "forward": ids, "backward": wide, "set_vectors": vectors}
    found |= module(lambda: bptt.Embedding(3, 4, **F8), calls, "EmbeddingRun")
    calls = {"__call__": bag, "forward": bag, "backward": wide, "set_vectors": vectors}
    found |= module(lambda: bptt.EmbeddingBag(3, 4, **F8), calls, "EmbeddingBagRun")
    calls = {"__call__": bag, "forward": bag, "backward": {**wide, "retain": True}}
    found |= module(
        lambda: bptt.CharacterEmbedding(3, 4, 2, 2, **F8), calls, "CharacterEmbeddingRun"
    )
    calls = {"__call__": pair, "forward": pair, "backward": {"d_output": np.ones((2, 5, 6))}}
    found |= module(attention, calls, "AttentionRun")

    def gradients(method: str, arguments: dict[str, Any], kind: str = "") -> Any:
        def target() -> Target:
            made = attention() if kind else bptt.Linear(3, 4, **F8)
            shape = (2, 5, 6) if kind else (2, 5, 4)
            run = made.forward(**pair) if kind else made.forward(X)
            d = run.backward(np.ones(shape))
            return Target(getattr(d, method), copies(arguments), (made,), method == "__setitem__")

        return target

    for name, kind, weight in (
        ("Gradients", "", {"name": "weight", "value": np.ones((4, 3))}),
        ("AttentionGradients", "a", {"name": "weight_key", "value": np.ones((7, 6))}),
    ):
        found[f"nn.{name}.__getitem__"] = gradients("__getitem__", {"name": weight["name"]}, kind)
        found[f"nn.{name}.__setitem__"] = gradients("__setitem__", weight, kind)

    def release() -> Target:
        return Target(bptt.Linear(3, 4, **F8).forward(X).release, {}, changes=True)

    found["nn.LinearRun.release"] = release
    return found


# ---- chains, decoders ----------------------------------------------------------------------------


def chain() -> Any:
    """Return a chain that ends with an output layer."""
    return bptt.Sequential(bptt.GRU(3, 4, **F8), bptt.LSTM(4, 4, **F8), bptt.Linear(4, 6, **F8))


def chain_state() -> Any:
    """Return a state of `chain`."""
    return (H[:1].copy(), bptt.LSTMState(H[:1].copy(), H[:1].copy()))


def folder() -> Path:
    """Return a folder for files, the same one in a process."""
    global _FOLDER
    if _FOLDER is None:
        _FOLDER = tempfile.TemporaryDirectory(prefix="bptt-fuzz-")
    return Path(_FOLDER.name)


_FOLDER: tempfile.TemporaryDirectory[str] | None = None


def sequential() -> Targets:
    """Return the targets of chains and of truncated BPTT."""

    def on(method: str, arguments: Callable[[], dict[str, Any]]) -> Any:
        def target() -> Target:
            made = chain()
            return Target(getattr(made, method), arguments(), tuple(made.modules))

        return target

    def of(method: str, arguments: Callable[[], dict[str, Any]]) -> Any:
        def target() -> Target:
            made = chain()
            run = made.forward(**sequence())
            return Target(getattr(run, method), arguments(), tuple(made.modules))

        return target

    def sequence() -> dict[str, Any]:
        return {"x": X.copy(), "lengths": LENGTHS.copy(), "state": chain_state()}

    def loss() -> dict[str, Any]:
        given = {k: v for k, v in COUNTED.items() if k not in ("time_major", "lengths")}
        return copies({"targets": IDS, **given, **SMOOTH})

    def make(modules: Any, **options: Any) -> Any:
        return bptt.Sequential(*modules, **options)

    def load() -> Target:
        path = folder() / "chain.safetensors"
        if not path.exists():
            chain().save(path)
        return Target(bptt.Sequential.load, {"path": path})

    def backward() -> dict[str, Any]:
        d = {"d_output": np.ones((2, 5, 6)), "d_state": chain_state()}
        return {**d, "steps": True, "input": True, "retain": True}

    def report() -> Target:
        layer = bptt.GRU(3, 4, seed=0)
        given = {"x": X.astype(np.float32), "y": None, "lengths": LENGTHS.copy(), "score": np.sum}
        bounds = {"max_difference": 1.0, "max_score_loss": 1.0}
        models = {"model": layer, "compressed": layer.compressed("int8")}
        return Target(bptt.compression_report, {**models, **given, **bounds}, (layer,))

    def truncated() -> Target:
        model = chain()

        def learn(**arguments: Any) -> Any:
            return list(itertools.islice(bptt.truncated_bptt(**arguments), 1000))

        stream = {
            "model": model,
            "x": X.copy(),
            "loss_fn": lambda output, steps: (0.0, output),
            "k1": 1,
            "k2": 3,
            "lengths": LENGTHS.copy(),
            "state": chain_state(),
        }
        return Target(learn, stream, tuple(model.modules))

    def constructor() -> Target:
        made = chain().modules
        return Target(
            make, {"modules": list(made), "pool": "max", "skip_input": False}, tuple(made)
        )

    return {
        "nn.Sequential": constructor,
        "nn.Sequential.__call__": on("__call__", sequence),
        "nn.Sequential.forward": on("forward", lambda: {**sequence(), "recompute_every": 2}),
        "nn.Sequential.cross_entropy": on("cross_entropy", lambda: {**sequence(), **loss()}),
        "nn.Sequential.__getitem__": on("__getitem__", lambda: {"index": 1}),
        "nn.Sequential.save": on("save", lambda: {"path": folder() / "saved.safetensors"}),
        "nn.Sequential.load": load,
        "nn.Sequential.stepper": on("stepper", lambda: {"batch": 2}),
        "nn.Sequential.step": on("step", lambda: {"x_t": X[:, 0].copy(), "state": chain_state()}),
        "nn.Sequential.summary": on("summary", dict),
        "nn.Sequential.compressed": compressed(
            lambda: bptt.Sequential(*map(in_float32, chain().modules))
        ),
        "nn.compression_report": report,
        "nn.SequentialRun.backward": of("backward", backward),
        "nn.SequentialRun.cross_entropy": of(
            "cross_entropy", lambda: {**loss(), "num_sampled": None}
        ),
        "training.truncated_bptt": truncated,
    }


def decoder(attention: str | None = None) -> Any:
    """Return a small decoder."""
    return nn.Decoder(
        embedding=bptt.Embedding(5, 3, **F8),
        recurrent=bptt.GRU(3, 4, **F8),
        attention=bptt.Attention(4, 4, kind=attention, **F8) if attention else None,
        dropout=bptt.Dropout(0.5, **F8),
        output=bptt.Linear(8 if attention else 4, 5, **F8),
    )


def network() -> Any:
    """Return a small encoder-decoder network."""
    return nn.EncoderDecoderNetwork(
        bptt.Sequential(bptt.GRU(3, 4, bidirectional=True, **F8)),
        nn.Bridge([bptt.Linear(8, 4, **F8)], 1),
        nn.Decoder(
            embedding=bptt.Embedding(5, 3, **F8),
            recurrent=bptt.GRU(3, 4, **F8),
            attention=bptt.Attention(4, 8, kind="additive", **F8),
            output=bptt.Linear(12, 5, **F8),
        ),
    )


def decoders() -> Targets:
    """Return the targets of decoders and of encoder-decoder networks."""
    memory: dict[str, Any] = {"memory": np.ones((2, 3, 4)), "memory_lengths": np.array([3, 2])}
    tokens: dict[str, Any] = {"tokens": IDS, "lengths": LENGTHS, "state": H[:1], **memory}
    search: dict[str, Any] = {"start": np.array([3, 3]), "state": H[:1], "stop": 4, "max_length": 4}
    search |= {"forbidden": (3,), **memory}
    beams = {**search, "beam": 2, "count": 1, "length_penalty": 0.5}
    draws = {**search, "random": np.random.default_rng(0)}
    draws |= {"temperature": 0.7, "top_k": 2, "top_p": 0.9}
    pair: dict[str, Any] = {"x": X, "lengths": LENGTHS, "tokens": IDS}
    pair["token_lengths"] = np.array([5, 3])

    def on(make: Callable[[], Any], method: str, arguments: Callable[[Any], dict[str, Any]]) -> Any:
        def target() -> Target:
            made = make()
            parts = tuple(made.modules.values()) if hasattr(made, "modules") else ()
            return Target(getattr(made, method), copies(arguments(made)), parts)

        return target

    def given(method: str, arguments: dict[str, Any]) -> Any:
        return on(lambda: decoder("dot"), method, lambda _: arguments)

    def of_network(method: str, arguments: Callable[[Any], dict[str, Any]]) -> Any:
        return on(network, method, arguments)

    def run(make: Callable[[], Any], method: str, arguments: dict[str, Any]) -> Any:
        def target() -> Target:
            made = make()
            given = tokens if isinstance(made, nn.Decoder) else pair
            return Target(getattr(made.forward(**given), method), copies(arguments))

        return target

    def encoded(made: Any) -> Any:
        return made.encode(X, LENGTHS)

    parts: dict[str, Any] = {
        "embedding": bptt.Embedding(5, 3, **F8),
        "recurrent": bptt.GRU(3, 4, **F8),
        "attention": bptt.Attention(4, 4, **F8),
        "dropout": bptt.Dropout(0.5, **F8),
        "output": bptt.Linear(8, 5, **F8),
    }
    loss = {"targets": IDS, "weights": np.ones(2), **SMOOTH, "reduction": "sum"}
    bridge = {"state": np.ones((2, 2, 4))}

    def make_bridge() -> Any:
        return nn.Bridge([bptt.Linear(8, 4, **F8)], 1)

    return {
        "nn.Decoder": lambda: Target(nn.Decoder, dict(parts)),
        "nn.Decoder.__call__": given("__call__", tokens),
        "nn.Decoder.features": given("features", tokens),
        "nn.Decoder.forward": given("forward", {**tokens, "recompute_every": 2}),
        "nn.Decoder.step": given("step", {"tokens": np.array([1, 2]), "state": H[:1], **memory}),
        "nn.Decoder.greedy_search": given("greedy_search", search),
        "nn.Decoder.beam_search": given("beam_search", beams),
        "nn.Decoder.sample": given("sample", draws),
        "nn.DecoderRun.backward": run(
            lambda: decoder("dot"),
            "backward",
            {"d_logits": np.ones((2, 5, 5)), "d_state": np.ones((1, 2, 4)), "steps": True},
        ),
        "nn.DecoderRun.cross_entropy": run(
            lambda: decoder("dot"), "cross_entropy", {**loss, "num_sampled": None}
        ),
        "nn.Bridge": lambda: Target(
            nn.Bridge, {"linears": [bptt.Linear(8, 4, **F8)], "num_layers": 1}
        ),
        "nn.Bridge.__call__": on(make_bridge, "__call__", lambda _: bridge),
        "nn.Bridge.forward": on(make_bridge, "forward", lambda _: bridge),
        "nn.EncoderDecoderNetwork": lambda: Target(
            nn.EncoderDecoderNetwork,
            {name: getattr(network(), name) for name in ("encoder", "bridge", "decoder")},
        ),
        "nn.EncoderDecoderNetwork.__call__": of_network("__call__", lambda _: pair),
        "nn.EncoderDecoderNetwork.features": of_network("features", lambda _: pair),
        "nn.EncoderDecoderNetwork.forward": of_network(
            "forward", lambda _: {**pair, "forced": np.ones((2, 5), bool), "recompute_every": None}
        ),
        "nn.EncoderDecoderNetwork.encode": of_network(
            "encode", lambda _: {"x": X, "lengths": LENGTHS}
        ),
        "nn.EncoderDecoderNetwork.of": lambda: Target(
            nn.EncoderDecoderNetwork.of, {"modules": dict(network().modules)}
        ),
        "nn.EncoderDecoderNetwork.attention_weights": of_network(
            "attention_weights",
            lambda m: {"memory": encoded(m), "tokens": IDS, "lengths": LENGTHS},
        ),
        "nn.EncoderDecoderNetwork.with_predictions": of_network(
            "with_predictions",
            lambda m: {"memory": encoded(m), "tokens": IDS, "forced": np.ones((2, 5), bool)},
        ),
        "nn.EncoderDecoderRun.backward": run(
            network, "backward", {"d_output": np.ones((2, 5, 5)), "steps": True}
        ),
    }


def files() -> Targets:
    """Return the targets that read and write files of modules."""

    def saved() -> Path:
        path = folder() / "modules.safetensors"
        if not path.exists():
            bptt.save_modules(
                path, {"a": bptt.Linear(2, 3, **F8), "b": bptt.GRU(2, 2, **F8)}, {"k": 1}
            )
        return path

    def save() -> Target:
        given = {"a": bptt.Linear(2, 3, **F8), "b": bptt.GRU(2, 2, **F8)}
        path = folder() / "written.safetensors"
        arguments = {"path": path, "modules": given, "metadata": {"k": [1, "a"]}}
        return Target(bptt.save_modules, arguments, tuple(given.values()))

    return {
        "nn.save_modules": save,
        "nn.load_modules": lambda: Target(bptt.load_modules, {"path": saved()}),
    }


# ---- losses, optimizers, decoding ----------------------------------------------------------------


def plain_functions() -> Targets:
    """Return the targets of functions of arrays and of settings."""
    logits = np.random.default_rng(2).normal(size=(2, 5, 6))
    ids = {"logits": logits, "targets": IDS, **SMOOTH, **COUNTED}
    values = {"targets": np.ones((2, 5, 6)), **COUNTED}
    linear = {"x": logits, "weight": np.eye(6), "bias": np.ones(6), "gradients": True, **ids}
    del linear["logits"]
    ctc = {
        "logits": logits,
        "targets": IDS[:, :2] + 1,
        "lengths": np.array([3, 5]),
        "target_lengths": np.array([0, 2]),
        "blank": 0,
        "zero_infinity": True,
        "weights": np.ones(2),
        "time_major": False,
        "reduction": "sum",
    }
    paths = {"logits": logits, "lengths": LENGTHS, "blank": 1}
    prefixes = {**paths, "beam": 2, "count": 1, "weight": 0.5, "bonus": 0.1}
    prefixes["language_model"] = lambda labels: np.log(np.full(6, 1 / 6))
    draw: dict[str, Any] = {"temperature": 0.7, "top_k": 2, "top_p": 0.9}

    def step(tokens: Any, state: Any) -> Any:
        return np.log(np.full((len(tokens), 4), 0.25)), state

    beam = {"step": step, "state": (np.ones((1, 2, 3)),), "start": np.array([0, 1]), "stop": 3}
    beam |= {"max_length": 3, "beam": 2, "count": 1, "length_penalty": 0.5}
    labels = ["B-a", "I-a", "O"]
    arpa = decoding.read_arpa(arpa_file(), [None, "a"])
    span = metrics.Span(0, 1, "a")
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "losses.softmax_cross_entropy": (losses.softmax_cross_entropy, ids),
        "losses.linear_cross_entropy": (losses.linear_cross_entropy, linear),
        "losses.ctc_loss": (losses.ctc_loss, ctc),
        "losses.binary_cross_entropy": (losses.binary_cross_entropy, {"logits": logits, **values}),
        "losses.mean_squared_error": (losses.mean_squared_error, {"output": logits, **values}),
        "losses.pinball_loss": (
            losses.pinball_loss,
            {"output": logits, **values, "targets": logits[..., :3], "quantiles": [0.2, 0.5]},
        ),
        "losses.gaussian_nll": (
            losses.gaussian_nll,
            {"output": logits, **values, "targets": logits[..., :3]},
        ),
        "losses.ordinal_cross_entropy": (
            losses.ordinal_cross_entropy,
            {"logits": logits, "targets": IDS, **COUNTED},
        ),
        "losses.softmax": (losses.softmax, {"logits": logits}),
        "losses.sigmoid": (losses.sigmoid, {"logits": logits}),
        "decoding.sampling_distribution": (
            decoding.sampling_distribution,
            {"logits": logits[0], **draw},
        ),
        "decoding.sample": (
            decoding.sample,
            {"logits": logits[0], "random": np.random.default_rng(0), **draw},
        ),
        "decoding.most_likely": (decoding.most_likely, {"logits": logits[0]}),
        "decoding.viterbi_decode": (
            decoding.viterbi_decode,
            {"probabilities": np.full((4, 3), 1 / 3), "classes": labels},
        ),
        "decoding.beam_search": (decoding.beam_search, beam),
        "decoding.ctc_greedy": (decoding.ctc_greedy, paths),
        "decoding.ctc_beam_search": (decoding.ctc_beam_search, prefixes),
        "decoding.read_arpa": (decoding.read_arpa, {"path": arpa_file(), "labels": [None, "a"]}),
        "decoding.NGram.__call__": (arpa, {"prefix": (1, 1)}),
        "decoding.NGram.end": (arpa.end, {"prefix": (1, 1)}),
        "metrics.edit_distance": (metrics.edit_distance, {"a": "kitten", "b": list("sitting")}),
        "metrics.error_rate": (
            metrics.error_rate,
            {"predicted": ["ab", "c"], "expected": ["ab", "cd"]},
        ),
        "metrics.spans": (metrics.spans, {"labels": labels}),
        "metrics.span_f1": (
            metrics.span_f1,
            {"predicted": [{span}], "expected": [{span}], "kind": "a"},
        ),
        "bptt.set_flush_denormals": (bptt.set_flush_denormals, {"flush": True}),
        "bptt.set_num_threads": (bptt.set_num_threads, {"n": 2}),
        "bptt.threads": (bptt.threads, {"n": 2}),
        "bptt.config": (bptt.config, {}),
        "bptt.get_num_threads": (bptt.get_num_threads, {}),
        "bptt.get_flush_denormals": (bptt.get_flush_denormals, {}),
    }

    def make(function: Any, arguments: dict[str, Any]) -> Any:
        return lambda: Target(function, copies(arguments))

    return {name: make(*call) for name, call in calls.items()}


def optimizers() -> Targets:
    """Return the targets of optimizers, clipping and schedules."""
    found: Targets = {}

    def head() -> Any:
        return bptt.Linear(3, 4, **F8)

    def gradients(made: Any) -> Any:
        return made.forward(X).backward(np.ones((2, 5, 4)))

    def constructor(kind: Any) -> Any:
        names = parameters_of(kind)
        values = dict.fromkeys(("beta1", "beta2", "decay", "momentum"), 0.5)
        values |= {"learning_rate": 0.1, "epsilon": 1.0, "nesterov": True, "weight_decay": 0.1}
        given = {name: values[name] for name in names if name in values}
        return lambda: Target(kind, {"modules": [head()], **given})

    def on(kind: Any, method: str) -> Any:
        def target() -> Target:
            made = head()
            optimizer = kind([made])
            arguments: dict[str, Any] = {}
            if method == "step":
                arguments = {"gradients": gradients(made), "gradient_scale": 1.0}
            if method == "restore":
                arguments = {"state": optimizer.state()}
            changes = method != "state"
            return Target(getattr(optimizer, method), arguments, (made, optimizer), changes)

        return target

    for kind in OPTIMIZERS.values():
        name = f"optim.{kind.__name__}"
        found[name] = constructor(kind)
        for method in ("step", "state", "restore"):
            found[f"{name}.{method}"] = on(kind, method)
    found["optim.clip_by_value"] = lambda: Target(
        optim.clip_by_value, {"gradients": gradients(head()), "limit": 1.0}, changes=True
    )
    found["optim.clip_by_global_norm"] = lambda: Target(
        optim.clip_by_global_norm, {"gradients": gradients(head()), "max_norm": 1.0}, changes=True
    )
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "CosineDecay": (schedules.CosineDecay, {"epochs": 3, "floor": 0.1}),
        "Plateau": (schedules.Plateau, {"patience": 3, "factor": 0.5, "floor": 0.1}),
        "StepDecay": (schedules.StepDecay, {"every": 2, "factor": 0.1}),
        "WarmUp": (schedules.WarmUp, {"updates": 3, "then": schedules.StepDecay(2)}),
    }
    at = {"update": 4, "updates_per_epoch": 2, "losses": [3.0, 2.0]}

    def make(function: Any, arguments: dict[str, Any]) -> Any:
        return lambda: Target(function, dict(arguments))

    for name, (kind, arguments) in calls.items():
        found[f"optim.schedules.{name}"] = make(kind, arguments)
        found[f"optim.schedules.{name}.__call__"] = make(kind(**arguments).__call__, at)
    plan = calls["WarmUp"][0](**calls["WarmUp"][1])
    found["optim.schedules.to_dict"] = make(schedules.to_dict, {"schedule": plan})
    found["optim.schedules.from_dict"] = make(
        schedules.from_dict, {"description": schedules.to_dict(plan)}
    )
    return found


def of_distributed() -> Targets:
    """Return the targets of functions of ranks, here of a single one."""

    def made(function: Any, **arguments: Any) -> Any:
        def target() -> Target:
            layer = bptt.Linear(3, 4, **F8)
            given: dict[str, Any] = {"model": [layer]}
            if function is distributed.average:
                found = layer.forward(X).backward(np.ones((2, 5, 4)))
                given = {"gradients": found, "weight": 2.0}
            changes = function in (distributed.average, distributed.broadcast_parameters)
            return Target(function, {**given, **arguments}, (layer,), changes=changes)

        return target

    ranks: dict[str, Any] = {"communicator": None}
    return {
        "distributed.average": made(distributed.average, **ranks),
        "distributed.broadcast_parameters": made(distributed.broadcast_parameters, **ranks),
        "distributed.check_equal_parameters": made(distributed.check_equal_parameters, **ranks),
        "distributed.no_gradients": made(distributed.no_gradients),
    }


def of_exporters() -> Targets:
    """Return the targets that write networks for other programs."""
    path = Path(tempfile.mkdtemp()) / "network.c"
    return {
        "exporters.to_c": lambda: Target(
            exporters.to_c, {"model": bptt.GRU(2, 3, seed=0), "path": path, "ids": False}
        ),
        "exporters.to_torch": lambda: Target(
            exporters.to_torch, {"layer": bptt.LSTM(2, 3, seed=0), "prefix": "a."}
        ),
        "exporters.to_keras": lambda: Target(
            exporters.to_keras, {"layer": bptt.RNN(2, 3, num_layers=2, seed=0), "index": 1}
        ),
    }


def of_importers() -> Targets:
    """Return the targets that take weights of other libraries."""
    random = np.random.default_rng(3)

    def weights(*shape: int) -> Any:
        return random.normal(size=shape).astype("float32")

    torch = {
        "weight_ih_l0": weights(16, 3),
        "weight_hh_l0": weights(16, 4),
        "bias_ih_l0": weights(16),
        "bias_hh_l0": weights(16),
    }
    keras = [weights(3, 16), weights(4, 16), weights(16)]
    onnx = {"W": weights(1, 16, 3), "R": weights(1, 16, 4), "B": weights(1, 32)}
    onnx["P"] = weights(1, 12)
    path = Path(__file__).parents[1] / "importers" / "data" / "torch_zip.pt"
    file = importers.read_file(path)
    names = ("model.embedding", "model.encoder", "model.decoder", "model.output")
    return {
        "importers.read_file": lambda: Target(importers.read_file, {"path": path}),
        "importers.ForeignModel.__getitem__": lambda: Target(
            file.__getitem__, {"name": "model.encoder"}
        ),
        "importers.ForeignModel.chain": lambda: Target(
            functools.partial(file.chain, *names), {"pool": "last", "merge": "concat"}
        ),
        "importers.ForeignLayer.build": lambda: Target(
            file["model.encoder"].build, {"activation": "relu", "time_major": True}
        ),
        "importers.from_torch": lambda: Target(
            importers.from_torch, {"kind": bptt.LSTM, "tensors": dict(torch), "prefix": ""}
        ),
        "importers.from_keras": lambda: Target(
            importers.from_keras,
            {"kind": bptt.LSTM, "weights": list(keras), "cudnn": False, "bidirectional": False},
        ),
        "importers.from_onnx": lambda: Target(
            importers.from_onnx,
            {
                "kind": bptt.LSTM,
                **copies(onnx),
                "attributes": {"layout": 1, "clip": None},
            },
        ),
    }


# ---- data ----------------------------------------------------------------------------------------


def of_data() -> Targets:
    """Return the targets of encoders, vocabularies and batches."""
    vocabulary = data.Vocabulary(["<unk>", "a", "b"])
    encoder = data.SequenceEncoder().fit(TEXTS)
    targets = data.TargetEncoder().fit(TEXTS)
    labels = data.LabelEncoder(steps=True).fit(TAGS)
    scaler = data.Standardizer.from_values(np.concatenate(NUMBERS))
    sequences = data.Sequences.from_arrays([np.arange(3), np.arange(2)])
    options = {"tokens": "words", "min_count": 1, "special": ("x",), "dtype": "float32"}
    options |= {
        "scale": False,
        "integers": "ids",
        "affixes": 2,
        "characters": True,
        "missing": "error",
        "categorical_features": None,
        "words": ("c",),
    }
    fit = {"X": TEXTS, "lengths": None, "name": "X"}
    padded = {"X": IDS, "lengths": LENGTHS, "name": "X"}
    steps = {"y": TAGS, "lengths": np.array([2, 2, 4, 1]), "name": "y"}
    vectors = {"path": vectors_file(), "words": ["a", "b"], "binary": False}
    vectors |= {"skip_invalid": False, "dtype": "float32"}
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "read_word_vectors": (data.read_word_vectors, vectors),
        "Vocabulary": (data.Vocabulary, {"tokens": ["a", "b"]}),
        "Vocabulary.from_sequences": (
            data.Vocabulary.from_sequences,
            {"sequences": TEXTS, "special": ("<unk>",), "min_count": 1},
        ),
        "Vocabulary.encode": (vocabulary.encode, {"tokens": ["a", "c"]}),
        "Vocabulary.decode": (vocabulary.decode, {"ids": [0, 1]}),
        "SequenceEncoder": (data.SequenceEncoder, options),
        "SequenceEncoder.describe": (encoder.describe, {}),
        "SequenceEncoder.to_dict": (encoder.to_dict, {}),
        "SequenceEncoder.from_dict": (
            data.SequenceEncoder.from_dict,
            {"content": encoder.to_dict()},
        ),
        "SequenceEncoder.tokenize": (encoder.tokenize, {"text": "ab"}),
        "SequenceEncoder.transform": (encoder.transform, fit),
        "SequenceEncoder.fit": (data.SequenceEncoder().fit, padded),
        "TargetEncoder": (data.TargetEncoder, {"tokens": "characters", "min_count": 1}),
        "TargetEncoder.fit": (data.TargetEncoder().fit, fit),
        "TargetEncoder.transform": (targets.transform, fit),
        "TargetEncoder.tokenize": (targets.tokenize, {"text": "ab"}),
        "TargetEncoder.decode": (targets.decode, {"ids": np.array([3, 4]), "prefix": "a"}),
        "TargetEncoder.describe": (targets.describe, {}),
        "TargetEncoder.to_dict": (targets.to_dict, {}),
        "TargetEncoder.from_dict": (data.TargetEncoder.from_dict, {"content": targets.to_dict()}),
        "LabelEncoder": (data.LabelEncoder, {"steps": True, "ignore": "A"}),
        "LabelEncoder.fit": (data.LabelEncoder(steps=True).fit, steps),
        "LabelEncoder.transform": (labels.transform, {**steps, "allow_unknown": True}),
        "LabelEncoder.to_dict": (labels.to_dict, {}),
        "LabelEncoder.from_dict": (
            data.LabelEncoder.from_dict,
            {"content": labels.to_dict(), "steps": True},
        ),
        "Standardizer": (data.Standardizer, {"mean": np.zeros(2), "std": np.ones(2)}),
        "Standardizer.from_values": (
            data.Standardizer.from_values,
            {"values": np.concatenate(NUMBERS)},
        ),
        "Standardizer.to_dict": (scaler.to_dict, {}),
        "Standardizer.from_dict": (data.Standardizer.from_dict, {"content": scaler.to_dict()}),
        "Standardizer.transform": (scaler.transform, {"values": NUMBERS[0]}),
        "Standardizer.inverse_transform": (scaler.inverse_transform, {"standardized": NUMBERS[0]}),
        "Sequences": (
            data.Sequences,
            {"values": np.arange(5), "starts": np.array([0, 3]), "lengths": np.array([3, 2])},
        ),
        "Sequences.from_arrays": (
            data.Sequences.from_arrays,
            {"rows": [np.arange(3), np.arange(2)]},
        ),
        "Sequences.from_lengths": (
            data.Sequences.from_lengths,
            {"values": np.arange(5), "lengths": np.array([3, 2])},
        ),
        "Sequences.__getitem__": (sequences.__getitem__, {"index": 1}),
        "Sequences.pad": (sequences.pad, {"indices": np.array([1, 0])}),
        "Sequences.take": (sequences.take, {"indices": np.array([1])}),
        "shuffled_batches": (
            data.shuffled_batches,
            {"lengths": np.arange(9), "batch_size": 2, "seed": 0, "epoch": 1, "window": 1},
        ),
        "Stream": (data.Stream, {"source": TEXTS, "window": 2}),
        "Stream.from_arrays": (
            data.Stream.from_arrays,
            {"x": IDS, "y": None, "lengths": LENGTHS, "offsets": None, "window": 2},
        ),
        "Stream.windows": (data.Stream(TEXTS).windows, {}),
        "sorted_batches": (data.sorted_batches, {"lengths": np.arange(9), "batch_size": 2}),
    }

    def make(function: Any, arguments: dict[str, Any]) -> Any:
        return lambda: Target(function, copies(arguments), changes=True)

    return {f"data.{name}": make(*call) for name, call in calls.items()}


# ---- training ------------------------------------------------------------------------------------


def _loss_fn(output: Any, batch: Any) -> Any:
    return bptt.softmax_cross_entropy(output, batch.y, lengths=batch.lengths, reduction="mean")


def _metric_fn(output: Any, batch: Any) -> float:
    return float(np.mean(output.argmax(axis=-1) == batch.y))


def _weight_fn(batch: Any) -> float:
    return float(batch.lengths.sum())


def tagging_data() -> Any:
    """Return sequences with a target at every step."""
    rows = [np.array([0, 1, 0]), np.array([1, 1]), np.array([0])]
    sequences = data.Sequences.from_arrays(rows)
    return training.SequenceDataset(sequences, sequences, np.ones(3))


def supervised() -> Any:
    """Return a small supervised task."""
    model = bptt.Sequential(bptt.GRU(2, 3, **F8), bptt.Linear(3, 2, **F8))
    return training.SupervisedTask(model, _loss_fn, _metric_fn, _weight_fn)


def of_training() -> Targets:
    """Return the targets of tasks, datasets and the loop."""
    batch = tagging_data().batch(np.arange(3))
    token_data = training.TokenDataset(
        data.Sequences.from_arrays([np.array([0, 1, 2]), np.array([2])]), 3, 4, None, np.ones(2)
    )
    token_batch = token_data.batch(np.arange(2))
    pairs = training.PairDataset(
        data.Sequences.from_arrays([np.ones((3, 3)), np.ones((2, 3))]), token_data
    )
    windows = training.WindowDataset(token_data, 2)
    windowed = training.WindowedDataset(lambda first: iter([token_data]), 2, 2, "two")
    opened = training.WindowedDataset(windowed._read, 2, 2, "two")
    opened.epoch_batches(2, 0, 1)[:]
    history = training.History([training.Epoch(1, 0.5, None, 0.4, None, 1.0, 0.1, 0.1)])
    supervised_fields = {"loss_fn": _loss_fn, "metric_fn": _metric_fn, "weight_fn": _weight_fn}
    supervised_fields |= {"recompute_every": 2, "class_targets": None}

    def decoder_task() -> Any:
        plain = nn.Decoder(
            embedding=bptt.Embedding(5, 3, **F8),
            recurrent=bptt.GRU(3, 4, **F8),
            output=bptt.Linear(4, 5, **F8),
        )
        return training.DecoderTask(plain)

    def feedback() -> Any:
        model = bptt.Sequential(bptt.GRU(5, 3, **F8), bptt.Linear(3, 2, **F8))
        embedding = bptt.Embedding(2, 3, **F8)
        return training.LabelFeedbackTask(embedding, model, _loss_fn, _metric_fn, _weight_fn)

    def on(make: Callable[[], Any], method: str, arguments: dict[str, Any]) -> Any:
        def target() -> Target:
            made = make()
            parts = tuple(made.modules.values()) if hasattr(made, "modules") else ()
            return Target(getattr(made, method), copies(arguments), parts)

        return target

    def sequence_task() -> Any:
        return training.SequenceToSequenceTask(network())

    def truncated() -> Any:
        return training.TruncatedBPTTTask(decoder_task(), 2, 4)

    def loop() -> dict[str, Any]:
        task = supervised()
        return {
            "task": task,
            "data": tagging_data(),
            "options": training.TrainingOptions(epochs=1, batch_size=2),
            "optimizer": training.make_optimizer("adam", task.modules, 0.01),
            "seed": 0,
            "validation": tagging_data(),
            "callbacks": [lambda training: None],
            "communicator": None,
        }

    def made_loop(method: str, arguments: dict[str, Any]) -> Any:
        def target() -> Target:
            given = loop()
            found = training.Training(**given)
            parts = tuple(given["task"].modules.values())
            return Target(getattr(found, method), dict(arguments), parts, changes=True)

        return target

    def constructor(function: Any) -> Any:
        def target() -> Target:
            given = loop()
            if function is training.train:
                given |= {"checkpoint_path": folder() / "t", "save_every": 1, "resume": False}
            else:
                given |= {"settings": {"a": "b"}}
            return Target(function, given, tuple(given["task"].modules.values()), changes=True)

        return target

    options = {"epochs": 1, "batch_size": 2, "schedule": schedules.StepDecay(2), "clip_norm": 1.0}
    options |= {"clip_value": 2.0, "accumulate": 1, "patience": 1, "monitor": "loss"}
    options |= {"min_delta": 0.1, "verbose": 0}
    options = {k: v for k, v in options.items() if k in parameters_of(training.TrainingOptions)}
    made = decoder_task()
    linear = bptt.Linear(2, 4, **F8)
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "TrainingOptions": (training.TrainingOptions, options),
        "make_optimizer": (
            training.make_optimizer,
            {"kind": "adam", "modules": {"a": linear}, "learning_rate": 0.1},
        ),
        "History": (training.History, {"epochs": list(history)}),
        "History.__getitem__": (history.__getitem__, {"key": 0}),
        "History.append": (training.History().append, {"epoch": history[0]}),
        "History.epochs_since_best": (
            history.epochs_since_best,
            {"min_delta": 0.1, "monitor": "loss"},
        ),
        "History.from_dict": (training.History.from_dict, {"columns": history.to_dict()}),
        "History.to_dict": (history.to_dict, {}),
        "Epoch.cost": (history[0].cost, {"monitor": "loss"}),
        "SequenceDataset": (
            training.SequenceDataset,
            {"sequences": tagging_data().sequences, "targets": np.arange(3), "weights": np.ones(3)},
        ),
        "SequenceDataset.batch": (tagging_data().batch, {"indices": np.array([0, 2])}),
        "SequenceDataset.take": (tagging_data().take, {"indices": np.array([0, 2])}),
        "TokenDataset": (
            training.TokenDataset,
            {
                "sequences": token_data.sequences,
                "start": 3,
                "stop": 4,
                "condition": np.ones((2, 2)),
                "weights": np.ones(2),
            },
        ),
        "TokenDataset.batch": (token_data.batch, {"indices": np.array([1, 0])}),
        "TokenDataset.take": (token_data.take, {"indices": np.array([1])}),
        "TokenBatch": (training.TokenBatch, dict(vars(token_batch))),
        "SequenceBatch": (training.SequenceBatch, dict(vars(batch))),
        "PairBatch": (training.PairBatch, dict(vars(pairs.batch(np.arange(2))))),
        "TokenBatch.window": (token_batch.window, {"steps": slice(0, 2)}),
        "PairDataset": (training.PairDataset, {"sources": pairs.sources, "targets": token_data}),
        "PairDataset.batch": (pairs.batch, {"indices": np.array([1, 0])}),
        "PairDataset.take": (pairs.take, {"indices": np.array([1])}),
        "WindowDataset": (training.WindowDataset, {"data": token_data, "k1": 2}),
        "WindowDataset.batch": (windows.batch, {"indices": np.array([0])}),
        "WindowDataset.batches": (windows.batches, {}),
        "WindowedDataset": (
            training.WindowedDataset,
            {"read": windowed._read, "count": 2, "window": 2, "description": "two"},
        ),
        "WindowedDataset.windows": (windowed.windows, {"first": 0}),
        "WindowedDataset.epoch_batches": (
            windowed.epoch_batches,
            {"batch_size": 1, "seed": 0, "epoch": 1},
        ),
        "WindowedDataset.batch": (opened.batch, {"indices": np.array([1, 0])}),
        "WindowDataset.part": (windows.part, {"rank": 0, "size": 2}),
        "SupervisedTask": (
            training.SupervisedTask,
            {"model": supervised().model, **supervised_fields},
        ),
        "LabelFeedbackTask": (
            training.LabelFeedbackTask,
            {"embedding": None, "chain": feedback().chain, **supervised_fields},
        ),
        "DecoderTask": (
            training.DecoderTask,
            {"decoder": made.decoder, "condition": linear, **SMOOTH, "recompute_every": 2}
            | {"num_sampled": None},
        ),
        "SequenceToSequenceTask": (
            training.SequenceToSequenceTask,
            {"network": network(), "scheduled_sampling": 0.5, **SMOOTH, "recompute_every": 2},
        ),
        "TruncatedBPTTTask": (training.TruncatedBPTTTask, {"task": made, "k1": 2, "k2": 4}),
    }

    def make(function: Any, arguments: dict[str, Any]) -> Any:
        return lambda: Target(function, copies(arguments), changes=True)

    found: Targets = {f"training.{name}": make(*call) for name, call in calls.items()}
    one = {"batch": batch}
    x = {"x": batch.x, "lengths": batch.lengths}
    token = {"batch": token_batch}
    with_features = {"features": np.ones((2, 4, 4)), **token}
    with_logits = {"logits": np.ones((2, 4, 5)), **token}
    pair = {"batch": pairs.batch(np.arange(2))}
    window = {"batch": windows.batch(np.array([0]))}
    for name, task, method, arguments in (
        ("SupervisedTask", supervised, "training_step", one),
        ("SupervisedTask", supervised, "evaluate", one),
        ("SupervisedTask", supervised, "predict", x),
        ("LabelFeedbackTask", feedback, "training_step", one),
        ("LabelFeedbackTask", feedback, "evaluate", one),
        ("LabelFeedbackTask", feedback, "predict", x),
        ("LabelFeedbackTask", feedback, "embed", {"x": batch.x}),
        ("LabelFeedbackTask", feedback, "append_labels", {"x": np.ones((3, 3, 3)), "y": batch.y}),
        ("DecoderTask", decoder_task, "training_step", token),
        ("DecoderTask", decoder_task, "evaluate", token),
        ("DecoderTask", decoder_task, "evaluate_features", with_features),
        ("DecoderTask", decoder_task, "initial_state", {"condition": np.ones((2, 2))}),
        ("DecoderTask", decoder_task, "last_logits", token),
        ("DecoderTask", decoder_task, "loss", with_logits),
        ("DecoderTask", decoder_task, "loss_options", token),
        ("DecoderTask", decoder_task, "surprisal", token),
        ("SequenceToSequenceTask", sequence_task, "attention_weights", pair),
        ("SequenceToSequenceTask", sequence_task, "evaluate", pair),
        ("SequenceToSequenceTask", sequence_task, "training_step", pair),
        ("TruncatedBPTTTask", truncated, "evaluate", window),
        ("TruncatedBPTTTask", truncated, "training_step", window),
    ):
        found[f"training.{name}.{method}"] = on(task, method, arguments)
    path = {"path": folder() / "loop", "save_every": 1, "resume": False}
    return found | {
        "training.Training": constructor(training.Training),
        "training.train": constructor(training.train),
        "training.Training.run": made_loop("run", {}),
        "training.Training.stop": made_loop("stop", {}),
        "training.Training.enable_checkpoints": made_loop("enable_checkpoints", path),
    }


# ---- estimators, diagnostics ---------------------------------------------------------------------


@functools.cache
def fitted(kind: str) -> Any:
    """Return an estimator that has been trained for an epoch, one for each kind."""
    made, given = estimator(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made.fit(**given)


def estimator(kind: str) -> tuple[Any, dict[str, Any]]:
    """Return an estimator, and arguments of its `fit`."""
    pairs: dict[str, tuple[dict[str, Any], Any, Any]] = {
        "SequenceClassifier": ({}, TEXTS, ["x", "y", "x", "y"]),
        "SequenceRegressor": ({"scale": True, "loss": "gaussian"}, NUMBERS, [0.5, 1.0, 2.0, 0.0]),
        "SequenceTagger": ({}, TEXTS, TAGS),
        "LanguageModel": ({}, TEXTS, None),
        "SequenceGenerator": ({}, [0, 1, 2, 3], TEXTS),
        "EncoderDecoder": ({"attention": "dot"}, TEXTS, ["x", "y", "xy", "yx"]),
    }
    if kind == "SequenceForecaster":
        options, given = {"horizon": 2, "lookback": 4, "loss": "gaussian"}, of_forecaster()
        return bptt.SequenceForecaster(**SMALL, **options), given
    options, X, y = pairs[kind]
    return getattr(bptt, kind)(**SMALL, **options), {"X": X, **({} if y is None else {"y": y})}


def of_forecaster() -> dict[str, Any]:
    """Return series of different lengths with covariates that reach beyond their ends."""
    rng = np.random.default_rng(0)
    return {
        "series": [rng.normal(size=steps) for steps in (12, 15)],
        "future_covariates": [rng.normal(size=(steps + 3, 2)) for steps in (12, 15)],
        "static_covariates": rng.normal(size=(2, 1)),
    }


def of_estimators() -> Targets:
    """Return the targets of estimators."""
    weights = {"sample_weight": [1.0, 2.0, 1.0, 1.0]}
    decode = {"beam": 2, "max_length": 3, "length_penalty": 0.5}
    draw = {"max_length": 3, "temperature": 0.7, "top_k": 2, "top_p": 0.9, "random_state": 0}
    beams = {"beam": 2, "count": 1, "max_length": 3, "length_penalty": 0.5}
    found: Targets = {
        "estimators.load_estimator": lambda: Target(bptt.load_estimator, {"path": saved_model()})
    }

    def constructor(kind: str) -> Any:
        def build(**options: Any) -> Any:  # parameters are checked in fit
            cls = getattr(bptt, kind)
            _, given = estimator(kind)
            return cls(**{**SMALL, **options}).fit(**given)

        def target() -> Target:
            made, _ = estimator(kind)
            return Target(build, made.get_params())

        return target

    def fit(kind: str, method: str) -> Any:
        def target() -> Target:
            made, given = estimator(kind)
            names = parameters_of(getattr(made, method))
            given = {**given, **{k: v for k, v in weights.items() if k in names}}
            given |= {"lengths": None, "classes": None} | (
                {"validation": None, "groups": None, "resume": False, "communicator": None}
                if method == "fit"
                else {}
            )
            given = {name: value for name, value in given.items() if name in names}
            return Target(getattr(made, method), given)

        return target

    def call(kind: str, method: str, arguments: dict[str, Any]) -> Any:
        def target() -> Target:
            made = fitted(kind)
            parts = tuple(made.modules_.values()) if hasattr(made, "modules_") else (made,)
            return Target(getattr(made, method), dict(arguments), parts)

        return target

    for kind in (
        *("SequenceClassifier", "SequenceRegressor", "SequenceTagger", "LanguageModel"),
        *("SequenceGenerator", "EncoderDecoder", "SequenceForecaster"),
    ):
        cls = getattr(bptt, kind)
        _, given = estimator(kind)
        found[f"estimators.{kind}"] = constructor(kind)
        for method in methods(cls):
            names = parameters_of(getattr(cls, method))
            name = f"estimators.{kind}.{method}"
            if method in ("fit", "partial_fit"):
                found[name] = fit(kind, method)
            elif method == "save":
                path = folder() / f"saved-{kind}"
                found[name] = call(kind, method, {"path": path, "metadata": {"a": 1}})
            elif method == "load":
                found[name] = functools.partial(
                    lambda cls, kind: Target(cls.load, {"path": saved_model(kind)}), cls, kind
                )
            else:
                pool = {**given, **weights, "lengths": None, "prompt": "a"}
                pool |= {"coverage": 0.8, "quantiles": [0.1, 0.9], "horizon": 3}
                pool |= {"kind": "int8"} if method == "compressed" else {}
                pool |= {"origins": 2, "step": 1, "season": 2, "refit": False}
                pool |= {"baselines": {"zero": lambda values, horizon: np.zeros(horizon)}}
                pool |= {"count": 1} | decode | draw | (beams if method == "beam_search" else {})
                found[name] = call(kind, method, {n: pool[n] for n in names if n in pool})
    return found


def vectors_file() -> Path:
    """Return the path of a file of word vectors."""
    path = folder() / "vectors.txt"
    path.write_bytes(b"a 0.5 1\nb 1 2\n")
    return path


def arpa_file() -> Path:
    """Return the path of an n-gram language model."""
    path = folder() / "model.arpa"
    path.write_text("\\1-grams:\n-1 a -0.5\n-1 </s>\n\\2-grams:\n-0.5 a a\n", encoding="utf-8")
    return path


def saved_model(kind: str = "SequenceClassifier") -> Path:
    """Return the path of a saved estimator."""
    path = folder() / f"model-{kind}"
    if not path.exists():
        fitted(kind).save(path)
    return path


def of_rtrl() -> Targets:
    """Return the targets of real-time recurrent learning."""

    def on(method: str, arguments: dict[str, Any]) -> Any:
        def made() -> Target:
            rtrl = nn.RTRL(bptt.RNN(3, 4, **F8))
            rtrl.step(X[:1, 0])
            return Target(getattr(rtrl, method), copies(arguments), (rtrl._layer,))

        return made

    def constructor() -> Target:
        layer = bptt.RNN(3, 4, **F8)
        given = {"layer": layer, "approximation": "diagonal", "state": np.ones((1, 1, 4))}
        return Target(nn.RTRL, given, (layer,))

    return {
        "nn.RTRL": constructor,
        "nn.RTRL.step": on("step", {"x_t": X[:1, 0]}),
        "nn.RTRL.gradients": on("gradients", {"d_output": np.ones((1, 4))}),
        "nn.RTRL.reset": on("reset", {"state": np.ones((1, 1, 4))}),
    }


def of_steppers() -> Targets:
    """Return the targets of streams, step by step."""

    def on(method: str, arguments: dict[str, Any], *, chained: bool = False) -> Any:
        def made() -> Target:
            layer = bptt.RNN(3, 4, **F8)
            stepper: Any = (bptt.Sequential(layer) if chained else layer).stepper()
            stepper(X[:1, 0])
            return Target(getattr(stepper, method), arguments, (layer,))

        return made

    h = np.ones((1, 1, 4))
    return {
        "nn.Stepper.reset": on("reset", {"state": h}),
        "nn.SequentialStepper.reset": on("reset", {"state": (h,)}, chained=True),
        "nn.SequentialStepper.__call__": on("__call__", {"x_t": X[:1, 0]}, chained=True),
    }


def online(kind: str) -> Any:
    """Return an online estimator after a step."""
    made = getattr(bptt, kind)(hidden_size=3, random_state=0)
    made.learn_one({"a": 1.0, "b": 2.0}, 1)
    return made


def of_online() -> Targets:
    """Return the targets of online estimators."""
    sample = {"x": {"a": 2.0, "b": 0.5}, "y": 1}

    def constructor(kind: str) -> Any:
        def build(**options: Any) -> None:  # parameters are checked by learn_one
            getattr(bptt, kind)(**options).learn_one(**sample)

        return lambda: Target(build, online(kind).get_params())

    def on(kind: str, method: str) -> Any:
        given = dict(sample)
        if method.startswith("predict"):
            del given["y"]
        elif method == "save":
            given = {"path": folder() / f"saved-{kind}", "metadata": {"a": 1}}

        def target() -> Target:
            made = online(kind)
            watched = (made._layer, made._head)
            return Target(getattr(made, method), copies(given), watched, method == "learn_one")

        return target

    def load(kind: str) -> Any:
        def target() -> Target:
            path = folder() / f"{kind}.safetensors"
            online(kind).save(path)
            return Target(getattr(bptt, kind).load, {"path": path})

        return target

    found: Targets = {}
    for kind in ("OnlineRegressor", "OnlineClassifier"):
        found[f"estimators.{kind}"] = constructor(kind)
        for method in methods(getattr(bptt, kind)):
            made = load(kind) if method == "load" else on(kind, method)
            found[f"estimators.{kind}.{method}"] = made
    return found


def of_serving() -> Targets:
    """Return the targets of sessions."""
    calls: dict[str, dict[str, Any]] = {
        "step": {"keys": ["a", "c"], "x": X[:, 0]},
        "state": {"key": "a"},
        "reset": {"keys": ["b", "a"]},
        "remove": {"keys": ["b"]},
        "evict": {"idle_seconds": 0.5},
        "save": {"path": folder() / "written-sessions"},
    }

    def made() -> Any:
        sessions = serving.Sessions(bptt.LSTM(3, 4, **F8))
        sessions.step(["a", "b"], X[:, 1].copy())
        return sessions

    def on(method: str) -> Any:
        def target() -> Target:
            sessions = made()
            return Target(getattr(sessions, method), copies(calls[method]), (sessions.model,))

        return target

    def constructor() -> Target:
        given = {"capacity": 5, "idle": 2.0, "when_full": "error", "clock": lambda: 1.0}
        return Target(serving.Sessions, {"model": bptt.GRU(3, 4, **F8), **given})

    def load() -> Target:
        path, sessions = folder() / "sessions", made()
        sessions.save(path)
        return Target(serving.Sessions.load, {"path": path, "model": sessions.model})

    return {
        "serving.Sessions": constructor,
        "serving.Sessions.load": load,
        **{f"serving.Sessions.{method}": on(method) for method in calls},
    }


def of_diagnostics() -> Targets:
    """Return the targets of diagnostics."""
    x = X[0].copy()
    rnn = bptt.RNN(3, 4, **F8)

    def loss_fn(output: Any) -> Any:
        return np.ones_like(output)

    state: dict[str, Any] = {"state": None}
    layer = {"layer": rnn, "x": x}
    logs = np.log(np.full(5, 0.5))

    def loss_and_gradient(output: Any) -> Any:
        return 0.0, np.ones_like(output)

    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "contributions": (
            diagnostics.contributions,
            {**layer, "loss_fn": loss_and_gradient, **state},
        ),
        "gradient_flow": (
            diagnostics.gradient_flow,
            {"model": rnn, "x": X, "loss_fn": loss_and_gradient, "lengths": LENGTHS, **state},
        ),
        "jacobian_products": (
            diagnostics.jacobian_products,
            {**layer, **state, "level": 0, "reverse": False},
        ),
        "gate_trace": (
            diagnostics.gate_trace,
            {
                "model": bptt.GRU(3, 4, **F8),
                "x": x,
                "layer": 0,
                "reverse": False,
                "tokens": list("abcde"),
            },
        ),
        "saliency": (
            diagnostics.saliency,
            {
                "model": bptt.Sequential(rnn, bptt.Linear(4, 2, **F8)),
                "x": x,
                "output": 0,
                "step": -1,
                "tokens": list("abcde"),
            },
        ),
        "Verdict.from_log_factors": (diagnostics.Verdict.from_log_factors, {"logs": logs}),
    }

    def make(function: Any, arguments: dict[str, Any]) -> Any:
        return lambda: Target(function, copies(arguments), (rnn,))

    def flow() -> Target:
        made = fitted("SequenceClassifier")
        given = {"estimator": made, "X": TEXTS, "y": ["x", "y", "x", "y"], "lengths": None}
        return Target(diagnostics.estimator_flow, given)

    def recorder() -> Target:
        given = {"X": TEXTS, "y": ["x", "y", "x", "y"], "lengths": None}
        return Target(diagnostics.GradientFlowRecorder, given)

    def of(name: str, method: str, arguments: dict[str, Any]) -> Any:
        def target() -> Target:
            function, given = calls[name]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = function(**copies(given))
            return Target(getattr(result, method), dict(arguments))

        return target

    def plot(name: str, options: dict[str, Any]) -> Any:
        def target() -> Target:
            made = of(name, "plot", options)()
            function = made.function

            def drawn(**arguments: Any) -> None:
                import matplotlib
                import matplotlib.pyplot as plt

                matplotlib.use("Agg")
                try:
                    function(**arguments)
                finally:
                    plt.close("all")

            return Target(drawn, {"ax": None, **made.arguments})

        return target

    def recording(method: str) -> Any:
        def target() -> Target:
            made = diagnostics.GradientFlowRecorder(TEXTS, ["x", "y", "x", "y"])
            fitted_ = bptt.SequenceClassifier(**SMALL, callbacks=[made])
            fitted_.fit(TEXTS, ["x", "y", "x", "y"])
            if method != "plot":
                return Target(getattr(made, method), {"training": None})
            return Target(made.plot, {"ax": None, "layer": 0})

        return target

    return {
        "diagnostics.Contributions.plot": plot("contributions", {"what": "weights"}),
        "diagnostics.GateTrace.plot": plot("gate_trace", {"gate": "update"}),
        "diagnostics.GradientFlow.plot": plot("gradient_flow", {}),
        "diagnostics.JacobianProducts.plot": plot("jacobian_products", {}),
        "diagnostics.Saliency.plot": plot("saliency", {}),
        "diagnostics.GradientFlowRecorder.on_epoch_end": recording("on_epoch_end"),
        "diagnostics.GradientFlowRecorder.on_train_begin": recording("on_train_begin"),
        "diagnostics.GradientFlowRecorder.plot": recording("plot"),
        **{f"diagnostics.{name}": make(*call) for name, call in calls.items()},
        "diagnostics.estimator_flow": flow,
        "diagnostics.GradientFlowRecorder": recorder,
        "diagnostics.Contributions.term": of("contributions", "term", {"t": 3, "k": 1}),
        "diagnostics.JacobianProducts.product": of(
            "jacobian_products", "product", {"t": 3, "k": 1}
        ),
        "diagnostics.GateTrace.by_token": of("gate_trace", "by_token", {"gate": "update"}),
    }


def of_reference() -> Targets:
    """Return the targets of the reference in NumPy, which checks few of its arguments."""
    from bptt import reference

    shapes = reference.parameter_shapes("lstm", input_size=3, hidden_size=4)
    parameters = {name: np.ones(shape) * 0.1 for name, shape in shapes.items()}
    result = reference.forward("lstm", X, parameters)
    array = np.ones((4, 3))
    ctc = {"logits": X, "targets": IDS[:, :2]}
    ends = {"start": np.ones(3), "end": np.ones(3)}
    field = {"emissions": X, "transitions": np.eye(3), **ends, "lengths": LENGTHS}
    five = {"p": array, "g": array, "m": array, "v": array, "t": 1}
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "forward": (
            reference.forward,
            {
                "cell": "lstm",
                "x": X,
                "parameters": parameters,
                "num_layers": 1,
                "bidirectional": False,
                "reverse": False,
                "merge": "concat",
                "activation": "tanh",
                "gate_activation": "sigmoid",
                "lengths": LENGTHS,
            },
        ),
        "backward": (
            reference.backward,
            {"result": result, "d_output": np.ones((2, 5, 4)), "d_state": None},
        ),
        "Result.cells": (result.cells, {"layer": 0, "reverse": False}),
        "Result.gates": (result.gates, {"layer": 0, "reverse": False}),
        "parameter_shapes": (
            reference.parameter_shapes,
            {
                "cell": "lstm",
                "input_size": 3,
                "hidden_size": 4,
                "num_layers": 1,
                "bidirectional": False,
                "merge": "concat",
            },
        ),
        "one_hot": (reference.one_hot, {"ids": IDS, "size": 3, "dtype": "float64"}),
        "linear": (reference.linear, {"x": X, "V": array, "c": np.ones(4)}),
        "linear_backward": (
            reference.linear_backward,
            {"x": X, "V": array, "d_y": np.ones((2, 5, 4))},
        ),
        "layer_norm": (
            reference.layer_norm,
            {"x": X, "w": np.ones(3), "b": np.ones(3), "epsilon": 1e-5},
        ),
        "layer_norm_backward": (
            reference.layer_norm_backward,
            {"x": X, "w": np.ones(3), "d_y": X, "epsilon": 1e-5},
        ),
        "input_decay": (reference.input_decay, {"x": X, "w": np.ones(1), "b": np.ones(1)}),
        "input_decay_backward": (
            reference.input_decay_backward,
            {"x": X, "w": np.ones(1), "b": np.ones(1), "d_y": X[..., :2].copy()},
        ),
        "hidden_decay": (reference.hidden_decay, {"times": X, "V": array, "b": np.ones(4)}),
        "hidden_decay_backward": (
            reference.hidden_decay_backward,
            {"times": X, "V": array, "b": np.ones(4), "d_gamma": np.ones((2, 5, 4))},
        ),
        "sigmoid": (reference.sigmoid, {"x": X}),
        "softmax_cross_entropy": (
            reference.softmax_cross_entropy,
            {"logits": X, "targets": IDS, "lengths": LENGTHS},
        ),
        "ctc_loss": (
            reference.ctc_loss,
            {**ctc, "lengths": LENGTHS, "target_lengths": np.array([0, 2]), "blank": 0},
        ),
        "crf_loss": (reference.crf_loss, {**field, "targets": IDS}),
        "crf_marginals": (reference.crf_marginals, field),
        "crf_viterbi": (reference.crf_viterbi, field),
        "clip_by_value": (reference.clip_by_value, {"gradients": {"a": array}, "limit": 1.0}),
        "clip_by_global_norm": (
            reference.clip_by_global_norm,
            {"gradients": {"a": array}, "max_norm": 1.0},
        ),
        "adam_step": (reference.adam_step, five),
        "adamw_step": (reference.adamw_step, five),
        "lazyadam_step": (reference.lazyadam_step, {**five, "rows": np.array([0, 2])}),
        "rmsprop_step": (reference.rmsprop_step, {"p": array, "g": array, "s": array, "v": array}),
        "sgd_step": (reference.sgd_step, {"p": array, "g": array, "v": array}),
    }

    def make(function: Any, arguments: dict[str, Any]) -> Any:
        return lambda: Target(function, copies(arguments), changes=True, loose=True)

    return {f"reference.{name}": make(*call) for name, call in calls.items()}


@functools.cache
def targets() -> Targets:
    """Return all targets by name."""
    found: Targets = {}
    for kind in LAYERS:
        found |= of_layer(kind)
    found |= of_rtrl()
    found |= of_steppers()
    backward = {"d_output": np.ones((2, 5, 4)), "steps": True, "input": True, "retain": True}
    place = {"layer": 0, "reverse": False}
    found |= {
        "nn.Run.backward": of_run("backward", backward),
        "nn.Run.gates": of_run("gates", place),
        "nn.Run.cells": of_run("cells", place),
        "nn.Run.dropout_mask": of_run("dropout_mask", {"layer": 0}),
        "nn.Run.recurrent_dropout_mask": of_run("recurrent_dropout_mask", place),
        "nn.Run.zoneout_mask": of_run("zoneout_mask", place),
        "nn.Run.release": of_run("release", {}),
    }
    parts = (modules, sequential, decoders, files, plain_functions, optimizers)
    parts += (of_distributed, of_exporters, of_importers, of_data, of_training, of_estimators)
    parts += (of_online, of_serving)
    for part in (*parts, of_diagnostics, of_reference):
        found |= part()
    return found
