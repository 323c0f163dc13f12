"""Error messages: wrong values for every argument of every public callable.

The table is complete: a public callable or an argument that is not in it fails a test. After every
error the same call works as before, and nothing has changed. More of the same for constructors,
head, optimizers and files is in their own tests.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import bptt
from bptt.nn.attention import AttentionRun
from bptt.nn.characters import CharacterEmbeddingRun
from bptt.nn.crf import CRFRun
from bptt.nn.decay import InputDecayRun
from bptt.nn.dropout import DropoutRun
from bptt.nn.elementwise import ElementwiseRun
from bptt.nn.embedding import EmbeddingRun
from bptt.nn.linear import LinearRun
from bptt.nn.normalization import LayerNormRun
from bptt.nn.recurrent import LAYERS
from bptt.nn.state import as_state
from bptt.optim.optimizers import OPTIMIZERS
from wrong_arguments import ELEMENTWISE, IDS, KEYS, TABLE, H, X, of_signature


class World:
    """An instance of every class, and valid arguments of every public callable."""

    def __init__(self, folder):
        masks = {"dropout": 0.5, "recurrent_dropout": 0.2, "zoneout": 0.1}
        options = {"num_layers": 2, **masks, "dtype": "float64", "seed": 0}
        self.modules = {kind.__name__: kind(3, 4, **options) for kind in LAYERS}
        self.calls = {}
        for name, layer in self.modules.items():
            self.add_layer(name, layer)
        self.modules["Linear"] = bptt.Linear(4, 6, dtype="float64", seed=0)
        self.add_head(self.modules["Linear"])
        self.modules["CRF"] = bptt.CRF(6, dtype="float64")
        self.add_crf(self.modules["CRF"])
        self.modules["Embedding"] = bptt.Embedding(3, 4, dtype="float64", seed=0)
        self.modules["CharacterEmbedding"] = bptt.CharacterEmbedding(
            3, 4, 2, 2, cell="gru", dtype="float64", seed=0
        )
        self.modules["Dropout"] = bptt.Dropout(0.5, dtype="float64", seed=0)
        self.modules["LayerNorm"] = bptt.LayerNorm(3, dtype="float64")
        self.modules["InputDecay"] = bptt.InputDecay(1, dtype="float64")
        self.modules |= {name: getattr(bptt, name)(dtype="float64") for name in ELEMENTWISE}
        self.add_normalization(self.modules["LayerNorm"])
        self.add_embedding(self.modules["Embedding"])
        self.add_characters(self.modules["CharacterEmbedding"])
        self.add_dropout(self.modules["Dropout"])
        self.modules["Attention"] = bptt.Attention(
            3, 6, kind="additive", attention_size=7, dtype="float64", seed=0
        )
        self.add_attention(self.modules["Attention"])
        self.add_chain(folder / "chain.safetensors")
        self.add_stream()
        self.add_compression()
        path = folder / "model.safetensors"
        files = {"path": path, "modules": self.modules, "metadata": {"epochs": 3}}
        self.calls["save_modules"] = (bptt.save_modules, files)
        self.calls["load_modules"] = (bptt.load_modules, {"path": path})
        bptt.save_modules(**files)

    def add_layer(self, name, layer):
        state = as_state(*(H for _ in layer.cell.states))
        out = (np.zeros((2, 4)), as_state(*(H.copy() for _ in layer.cell.states)))
        sequence = {"x": X, "lengths": np.array([2, 5]), "state": state}
        run = layer.forward(**sequence)
        weight = {"name": "weight_ih_l0", "value": layer["weight_ih_l0"].copy()}
        d = {"d_output": run.output, "d_state": state, "input": True, "steps": True, "retain": True}
        place = {"layer": 0, "reverse": False}
        self.calls |= {
            name: (type(layer), layer.config),
            f"{name}.__call__": (layer.__call__, sequence),
            f"{name}.forward": (layer.forward, {**sequence, "recompute_every": 2}),
            f"{name}.step": (layer.step, {"x_t": X[:, 0], "state": state, "out": out}),
            f"{name}.stepper": (layer.stepper, {"batch": 2}),
            f"{name}.__getitem__": (layer.__getitem__, {"name": "bias_l1"}),
            f"{name}.__setitem__": (layer.__setitem__, weight),
            f"{name} Run.backward": (run.backward, d),
            f"{name} Run.gates": (run.gates, place),
            f"{name} Run.dropout_mask": (run.dropout_mask, {"layer": 0}),
            f"{name} Run.recurrent_dropout_mask": (run.recurrent_dropout_mask, place),
            f"{name} Run.zoneout_mask": (run.zoneout_mask, place),
        }
        if layer.cell.has_cell_state:
            self.calls[f"{name} Run.cells"] = (run.cells, place)

    def add_head(self, head):
        run = head.forward(np.ones((2, 5, 4)))
        gradients, zero = (run.backward(np.zeros((2, 5, 6))) for _ in range(2))
        weight = {"name": "weight", "value": head["weight"].copy()}
        _, loss = self.losses(np.ones((2, 5, 4)))["linear_cross_entropy"]
        loss = {name: value for name, value in loss.items() if name not in ("weight", "bias")}
        self.calls |= {
            "Linear": (bptt.Linear, head.config),
            "Linear.__call__": (head.__call__, {"x": np.ones((2, 5, 4))}),
            "Linear.forward": (head.forward, {"x": np.ones((2, 5, 4))}),
            "Linear.cross_entropy": (head.cross_entropy, loss),
            "Linear.__getitem__": (head.__getitem__, {"name": "bias"}),
            "Linear.__setitem__": (head.__setitem__, weight),
            "LinearRun.backward": (run.backward, {"d_output": np.ones((2, 5, 6)), "input": True}),
            "Gradients.__getitem__": (gradients.__getitem__, {"name": "bias"}),
            "Gradients.__setitem__": (gradients.__setitem__, weight),
            **self.losses(run.output),
            **self.optimizers(head, zero),
            "set_flush_denormals": (bptt.set_flush_denormals, {"flush": True}),
            "set_num_threads": (bptt.set_num_threads, {"n": 2}),
            "threads": (bptt.threads, {"n": 2}),
            "clip_by_value": (bptt.clip_by_value, {"gradients": zero, "limit": 1.0}),
            "clip_by_global_norm": (
                bptt.clip_by_global_norm,
                {"gradients": zero, "max_norm": 1.0},
            ),
        }

    def add_crf(self, crf):
        x = np.ones((2, 5, 6))
        weight = {"name": "start", "value": crf["start"].copy()}
        sequence = {"x": x, "lengths": np.array([2, 5])}
        loss = {
            "targets": IDS,
            "mask": np.ones((2, 5), bool),
            "weights": np.ones(2),
            "reduction": "sum",
            "gradients": True,
            "predictions": True,
        }
        self.calls |= {
            "CRF": (bptt.CRF, crf.config),
            "CRF.__call__": (crf.__call__, {"x": x}),
            "CRF.forward": (crf.forward, {"x": x}),
            "CRF.decode": (crf.decode, sequence),
            "CRF.marginals": (crf.marginals, sequence),
            "CRF.cross_entropy": (crf.cross_entropy, {**sequence, **loss}),
            "CRF.__getitem__": (crf.__getitem__, {"name": "end"}),
            "CRF.__setitem__": (crf.__setitem__, weight),
            "CRFRun.backward": (crf.forward(x).backward, {"d_output": np.ones((2, 5, 6))}),
        }

    def add_embedding(self, embedding):
        ids = {"ids": IDS, "lengths": np.array([2, 5])}
        run = embedding.forward(**ids)
        weight = {"name": "weight", "value": embedding["weight"].copy()}
        self.calls |= {
            "Embedding": (bptt.Embedding, embedding.config),
            "Embedding.__call__": (embedding.__call__, ids),
            "Embedding.forward": (embedding.forward, ids),
            "Embedding.set_vectors": (
                embedding.set_vectors,
                {"tokens": ["a"], "vectors": {"a": embedding["weight"][0].copy()}},
            ),
            "Embedding.__getitem__": (embedding.__getitem__, {"name": "weight"}),
            "Embedding.__setitem__": (embedding.__setitem__, weight),
            "EmbeddingRun.backward": (run.backward, {"d_output": np.ones((2, 5, 4))}),
        }

    def add_characters(self, characters):
        ids = {"ids": np.stack([IDS, IDS], axis=-1), "lengths": np.array([2, 5])}
        run = characters.forward(**ids)
        weight = {"name": "weight", "value": characters["weight"].copy()}
        d = {"d_output": np.ones((2, 5, 4)), "retain": True}
        self.calls |= {
            "CharacterEmbedding": (bptt.CharacterEmbedding, characters.config),
            "CharacterEmbedding.__call__": (characters.__call__, ids),
            "CharacterEmbedding.forward": (characters.forward, ids),
            "CharacterEmbedding.__getitem__": (characters.__getitem__, {"name": "weight"}),
            "CharacterEmbedding.__setitem__": (characters.__setitem__, weight),
            "CharacterEmbeddingRun.backward": (run.backward, d),
        }

    def add_dropout(self, dropout):
        run = dropout.forward(X)
        self.calls |= {
            "Dropout": (bptt.Dropout, dropout.config),
            "Dropout.__call__": (dropout.__call__, {"x": X}),
            "Dropout.forward": (dropout.forward, {"x": X}),
            "DropoutRun.backward": (run.backward, {"d_output": np.ones((2, 5, 3))}),
        }

    def add_normalization(self, norm):
        weight = {"name": "weight", "value": norm["weight"].copy()}
        d = {"d_output": np.ones((2, 5, 3))}
        self.calls |= {
            "LayerNorm": (bptt.LayerNorm, norm.config),
            "LayerNorm.__call__": (norm.__call__, {"x": X}),
            "LayerNorm.forward": (norm.forward, {"x": X}),
            "LayerNorm.__getitem__": (norm.__getitem__, {"name": "bias"}),
            "LayerNorm.__setitem__": (norm.__setitem__, weight),
            "LayerNormRun.backward": (norm.forward(X).backward, {**d, "input": True}),
        }
        decay, d_decay = self.modules["InputDecay"], {"d_output": np.ones((2, 5, 2))}
        rate = {"name": "rate", "value": decay["rate"].copy()}
        self.calls |= {
            "InputDecay": (bptt.InputDecay, decay.config),
            "InputDecay.__call__": (decay.__call__, {"x": X}),
            "InputDecay.forward": (decay.forward, {"x": X}),
            "InputDecay.__getitem__": (decay.__getitem__, {"name": "bias"}),
            "InputDecay.__setitem__": (decay.__setitem__, rate),
            "InputDecayRun.backward": (decay.forward(X).backward, {**d_decay, "input": True}),
        }
        for name in ELEMENTWISE:
            module = self.modules[name]
            self.calls |= {
                name: (type(module), module.config),
                f"{name}.__call__": (module.__call__, {"x": X}),
                f"{name}.forward": (module.forward, {"x": X}),
                "ElementwiseRun.backward": (module.forward(X).backward, d),
            }

    def add_attention(self, attention):
        call = {"queries": X, "keys": KEYS, "lengths": np.array([2, 4])}
        run = attention.forward(**call)
        weight = {"name": "weight_query", "value": attention["weight_query"].copy()}
        self.calls |= {
            "Attention": (bptt.Attention, attention.config),
            "Attention.__call__": (attention.__call__, call),
            "Attention.forward": (attention.forward, call),
            "Attention.__getitem__": (attention.__getitem__, {"name": "weight_query"}),
            "Attention.__setitem__": (attention.__setitem__, weight),
            "AttentionRun.backward": (run.backward, {"d_output": np.ones((2, 5, 6))}),
        }

    def add_chain(self, path):
        made = {"dtype": "float64", "seed": 0}
        modules = (bptt.GRU(3, 4, **made), bptt.LSTM(4, 4, **made), bptt.Linear(4, 6, **made))
        self.modules |= {f"chain{i}": module for i, module in enumerate(modules)}
        chain = bptt.Sequential(*modules)
        state = (H[:1], bptt.LSTMState(H[:1], H[:1]))
        sequence = {"x": X, "lengths": None, "state": state}
        run = chain.forward(**sequence)
        d = {"d_output": np.ones((2, 5, 6)), "d_state": state, "input": True, "retain": True}

        def make(modules, **options):
            return bptt.Sequential(*modules, **options)

        def load(path):
            return tuple(bptt.Sequential.load(path).parameters.values())

        loss = {
            "targets": IDS,
            "mask": np.ones((2, 5), bool),
            "weights": np.ones((2, 5)),
            "label_smoothing": 0.1,
            "reduction": "sum",
        }
        chain.save(path)
        kept = {**sequence, "recompute_every": 2}
        self.calls |= {
            "Sequential": (make, {"modules": modules, "pool": "max", "skip_input": False}),
            "Sequential.__call__": (chain.__call__, sequence),
            "Sequential.forward": (chain.forward, kept),
            "Sequential.cross_entropy": (chain.cross_entropy, {**sequence, **loss}),
            "SequentialRun.cross_entropy": (run.cross_entropy, {**loss, "num_sampled": None}),
            "Sequential.__getitem__": (chain.__getitem__, {"index": 1}),
            "Sequential.save": (chain.save, {"path": path}),
            "Sequential.load": (load, {"path": path}),
            "Sequential.step": (chain.step, {"x_t": X[:, 0], "state": state}),
            "Sequential.stepper": (chain.stepper, {"batch": 2}),
            "SequentialRun.backward": (run.backward, d),
        }

    def add_compression(self):
        def in_float32(module):
            return type(module)(**{**module.config, "dtype": "float32"})

        kind = {"kind": "int8"}
        for name, module in self.modules.items():
            if name[-1].isalpha():  # not of a chain
                self.calls[f"{name}.compressed"] = (in_float32(module).compressed, kind)
        chain = bptt.Sequential(bptt.LSTM(3, 4), bptt.Linear(4, 6))
        self.calls["Sequential.compressed"] = (chain.compressed, kind)
        layer = bptt.GRU(3, 4, seed=0)
        report = {
            "model": layer,
            "compressed": layer.compressed("int8"),
            "x": X.astype(np.float32),
            "y": None,
            "lengths": np.array([2, 5]),
            "score": np.sum,
            "max_difference": 1.0,
            "max_score_loss": 1.0,
        }
        self.calls["compression_report"] = (bptt.compression_report, report)

    def add_stream(self):
        made = {"dtype": "float64", "seed": 0}
        modules = (bptt.GRU(3, 4, **made), bptt.LSTM(4, 4, **made))
        self.modules |= {f"stream{i}": module for i, module in enumerate(modules)}
        state = (H[:1], bptt.LSTMState(H[:1], H[:1]))

        def learn(**arguments):
            windows = bptt.truncated_bptt(**arguments)
            return tuple(gradient for window in windows for gradient in window.gradients)

        stream = {
            "model": bptt.Sequential(*modules),
            "x": X,
            "loss_fn": lambda output, steps: (0.0, output),
            "k1": 1,
            "k2": 3,
            "lengths": None,
            "state": state,
        }
        self.calls["truncated_bptt"] = (learn, stream)

    def losses(self, output):
        counted = {
            "lengths": np.array([2, 5]),
            "mask": np.ones((2, 5), bool),
            "weights": np.ones((2, 5)),
            "time_major": False,
            "reduction": "sum",
        }
        ids = {"logits": output, "targets": IDS, "label_smoothing": 0.1, **counted}
        values = {"targets": np.ones((2, 5, 6)), **counted}
        halves = np.ones((2, 5, 3))
        linear = {"x": output, "weight": np.eye(6), "bias": np.ones(6), "gradients": True, **ids}
        del linear["logits"]
        return {
            "softmax_cross_entropy": (bptt.softmax_cross_entropy, ids),
            "linear_cross_entropy": (bptt.linear_cross_entropy, linear),
            "ctc_loss": (
                bptt.ctc_loss,
                {
                    "logits": output,
                    "targets": IDS[:, :2] + 1,
                    "lengths": np.array([3, 5]),
                    "target_lengths": np.array([0, 2]),
                    "blank": 0,
                    "zero_infinity": True,
                    "weights": np.ones(2),
                    "time_major": False,
                    "reduction": "sum",
                },
            ),
            "binary_cross_entropy": (bptt.binary_cross_entropy, {"logits": output, **values}),
            "mean_squared_error": (bptt.mean_squared_error, {"output": output, **values}),
            "pinball_loss": (
                bptt.pinball_loss,
                {"output": output, **values, "targets": halves, "quantiles": [0.2, 0.5]},
            ),
            "gaussian_nll": (bptt.gaussian_nll, {"output": output, **values, "targets": halves}),
            "ordinal_cross_entropy": (
                bptt.ordinal_cross_entropy,
                {"logits": output, **values, "targets": IDS},
            ),
            "softmax": (bptt.softmax, {"logits": output}),
            "sigmoid": (bptt.sigmoid, {"logits": output}),
        }

    def optimizers(self, head, zero):
        fractions = dict.fromkeys(("beta1", "beta2", "decay", "momentum"), 0.5)
        others = {"epsilon": 1.0, "nesterov": True, "weight_decay": 0.0}
        arguments = {"modules": head, "learning_rate": 0.1, **fractions, **others}
        calls = {}
        for kind in OPTIMIZERS.values():
            right = of_signature(kind, arguments)
            name, optimizer = kind.__name__, kind(**right)
            calls[name] = (kind, right)
            calls[f"{name}.step"] = (
                optimizer.step,
                {"gradients": zero, "gradient_scale": 1.0},
            )
            calls[f"{name}.restore"] = (optimizer.restore, {"state": optimizer.state()})
        return calls

    def call(self, name, /, **wrong):
        function, right = self.calls[name]
        return function(**{**right, **wrong})

    def contents(self):
        """Everything that must not change, for comparison bit by bit."""
        files = [np.fromfile(self.calls["load_modules"][1]["path"], np.uint8)]
        return files + [module._flat.copy() for module in self.modules.values()]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("errors"))


def all_arrays(result):
    """All arrays in the result of a call."""
    if isinstance(result, np.ndarray):
        return [result]
    if isinstance(result, bptt.Gradients):
        return [result._flat, *all_arrays((result.input, result.state, result.steps))]
    if isinstance(result, bptt.SequentialGradients):
        return all_arrays((*result.modules, result.input, result.state))
    return [a for part in result for a in all_arrays(part)] if isinstance(result, tuple) else []


def assert_still_right(world, name, before, expected):
    after = world.contents()
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    found = all_arrays(world.call(name))
    for old, new in zip(expected, found, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("name", "argument", "value", "error", "sentence"),
    [
        pytest.param(name, argument, *row, id=f"{name}-{argument}-{i}")
        for name, arguments in TABLE.items()
        for argument, rows in arguments.items()
        for i, row in enumerate(rows)
    ],
)
def test_error(world, name, argument, value, error, sentence):
    expected = all_arrays(world.call(name))
    before = world.contents()
    with pytest.raises(error) as raised:
        world.call(name, **{argument: value})
    assert type(raised.value) is error
    assert raised.value.args[0] == sentence
    assert_still_right(world, name, before, expected)


# ---- completeness of the table -------------------------------------------------------------------

RUNS = {
    run.__name__: run
    for run in (
        LinearRun,
        CRFRun,
        EmbeddingRun,
        CharacterEmbeddingRun,
        DropoutRun,
        AttentionRun,
        LayerNormRun,
        InputDecayRun,
        ElementwiseRun,
    )
}  # not exported


def public_callables():
    """Name -> argument names, of the exports of `bptt` and their methods."""
    # Estimators check their parameters in fit: see their own tests.
    elsewhere = set(bptt.estimators.__all__)  # need scikit-learn
    elsewhere |= {"EmbeddingBag"}  # test_affixes.py
    elsewhere |= {"Sessions"}  # tests/serving
    exported = {name: getattr(bptt, name) for name in set(bptt.__all__) - elsewhere}
    found = {}
    for name, value in {**exported, **RUNS}.items():
        if inspect.isfunction(value):
            found[name] = value
        elif inspect.isclass(value):
            for method, function in inspect.getmembers(value, inspect.isfunction):
                if method == "__init__":
                    found[name] = function
                elif method in ("__call__", "__getitem__", "__setitem__") or method[0] != "_":
                    found[f"{name}.{method}"] = function
    for name in ("Run", "Gradients", "SequentialRun", "SequentialGradients", "Window", *RUNS):
        # made by modules only
        del found[name]
    for name in ("Dropout", *ELEMENTWISE):  # they have no parameters
        del found[f"{name}.__getitem__"], found[f"{name}.__setitem__"]
    arguments = {
        name: tuple(a for a in inspect.signature(function).parameters if a != "self")
        for name, function in found.items()
    }
    # methods of Mapping and tuple
    for mapping in ("Gradients.keys", "Gradients.items", "Gradients.values", "Gradients.get"):
        del arguments[mapping]
    return {name: names for name, names in arguments.items() if names}


def test_table_is_complete(world):
    table = {}
    for name, arguments in TABLE.items():
        assert all(arguments.values())
        table.setdefault(name.split()[-1], set()).update(arguments)
    for name, arguments in public_callables().items():
        assert name in table, f"{name} is not in the table"
        assert table[name] == set(arguments), name
    assert set(world.calls) == set(TABLE)


# ---- arbitrary values ----------------------------------------------------------------------------

GARBAGE = [
    None,
    object(),
    b"ab",
    {},
    [],
    [[1, 2], [3]],
    1 + 2j,
    np.nan,
    -1,
    len,
    range(3),
    np.float64(3),
    np.array(None),
    np.array("s"),
    np.zeros(0),
    np.zeros((2, 0, 3)),
    np.zeros((0, 5, 3)),
    np.zeros((2, 5, 0)),
    np.zeros((1,) * 20),
    np.zeros((2, 5), [("a", "f8")]),
    np.zeros((2, 5), "M8[s]"),
    np.zeros((2, 5, 3), "S3"),
    np.zeros((2, 5, 3), np.longdouble),
    np.full((2, 5), 2**64 - 1, np.uint64),
    np.iinfo(np.int64).min + np.zeros((2, 5), int),
]


@pytest.mark.parametrize("name", TABLE)
def test_arbitrary_values_raise_or_change_nothing(world, name):
    """No crash, no error of another library, and no change of state."""
    expected, before = all_arrays(world.call(name)), world.contents()
    for argument in set(world.calls[name][1]) - {"path"}:
        for value in GARBAGE:
            sentence = ""
            try:
                world.call(name, **{argument: value})
            except (TypeError, ValueError, LookupError) as error:
                sentence = str(error)
            assert "incompatible function arguments" not in sentence
    world.call("save_modules")  # empty modules and metadata are valid as well
    assert_still_right(world, name, before, expected)


# ---- more than one argument ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "cure"),
    [
        (
            lambda: bptt.LSTM(3, 4, batch_first=True),
            "batch_first: it is called time_major, and the batch comes first by default",
        ),
        (lambda: bptt.LSTM(3, units=4), "units: it is called hidden_size"),
        (lambda: bptt.Linear(3, units=4), "units: it is called out_features"),
        (lambda: bptt.RNN(3, 4, nonlinearity="relu"), "nonlinearity: it is called activation"),
        (lambda: bptt.GRU(3, 4, random_state=0), "random_state: it is called seed"),
        (lambda: bptt.Linear(3, 4, use_bias=False), "use_bias: it is called bias"),
        (lambda: bptt.Dropout(p=0.5), "p: it is called rate"),
        (lambda: bptt.LayerNorm(3, eps=1e-3), "eps: it is called epsilon"),
        (lambda: bptt.Embedding(3, output_dim=4), "output_dim: it is called embedding_dim"),
        (lambda: bptt.ReLU(inplace=True), "inplace: ReLU has dtype"),
        (
            lambda: bptt.Sequential(bptt.ReLU(), name="a"),
            "name: Sequential has modules, pool, skip_input",
        ),
    ],
)
def test_arguments_of_other_libraries_are_translated(make, cure):
    with pytest.raises(TypeError) as raised:
        make()
    assert str(raised.value) == f"unknown argument {cure}"


def test_errors_name_time_major_shapes():
    layer = bptt.GRU(3, 4, bidirectional=True, time_major=True, dtype="float64")
    run = layer.forward(X)  # T = 2, B = 5
    for call, sentence in [
        (
            lambda: layer(X[0]),
            "x must have shape (steps, batch, input_size) with input_size = 3, got (5, 3)",
        ),
        (
            lambda: layer(IDS[None]),
            "x as token ids must have shape (steps, batch) or (steps,), got (1, 2, 5)",
        ),
        (
            lambda: layer(X, lengths=np.array([2, 2])),
            "lengths must have shape (batch,) = (5,), got (2,)",
        ),
        (
            lambda: run.backward(np.zeros((5, 2, 8)), retain=True),
            "d_output must have shape (steps, batch, output_size) = (2, 5, 8), got (5, 2, 8)",
        ),
        (
            lambda: layer(X, state=H),
            "state must have shape (num_layers*directions, batch, hidden_size) = (2, 5, 4), "
            "got (2, 2, 4)",
        ),
    ]:
        with pytest.raises(ValueError) as raised:  # noqa: PT011
            call()
        assert str(raised.value) == sentence
    assert run.backward(run.output).input.shape == X.shape


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: bptt.LSTM(3, 4, **options),
        lambda **options: bptt.Linear(3, 4, **options),
        lambda **options: bptt.LayerNorm(3, **options),
        lambda **options: bptt.ReLU(**options),
        lambda **options: bptt.Dropout(0.5, **options),
        lambda **options: bptt.Sequential(bptt.GRU(3, 4, **options)),
        lambda **options: bptt.Sequential(bptt.Tanh(**options), bptt.Linear(3, 4, **options)),
    ],
)
def test_wrong_dtype_names_a_cure_that_works(make):
    """NumPy's arrays are float64, the layers float32 by default: one rule for all of them."""
    for call in (make().__call__, make().forward):
        with pytest.raises(TypeError, match="x must have dtype float32 as the layer") as raised:
            call(X)
        cure = ': use x.astype(np.float32), or dtype="float64" for the layer'
        assert str(raised.value).endswith(f", got float64{cure}")
        with pytest.raises(TypeError) as raised:
            call(list(X.astype(np.float32)))
        cure = "use np.array(x), or pad sequences of different lengths and pass lengths"
        assert str(raised.value) == f"x must be a NumPy array, got list: {cure}"
        call(X.astype(np.float32))
        call(np.array(list(X.astype(np.float32))))
    make(dtype="float64")(X)


def test_a_pair_for_a_gru_is_not_converted():
    with pytest.raises(TypeError, match=r"state must be a NumPy array, got tuple$"):
        bptt.GRU(3, 4, dtype="float64")(X, state=(H[:1], H[:1]))


def test_failed_backward_keeps_saved_values(world):
    run = world.modules["GRU"].forward(X)
    with pytest.raises(ValueError, match="d_output must have shape"):
        run.backward(np.zeros((2, 5, 3)))
    with pytest.raises(ValueError, match="backward needs d_output, d_state or both, got neither"):
        run.backward()
    run.backward(run.output)
    with pytest.raises(RuntimeError, match="backward needs the values that forward saved"):
        run.backward(run.output)


def test_missing_and_unknown_arguments():
    for kind in (*LAYERS, bptt.Linear):
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            kind(3)
        with pytest.raises(TypeError, match=f"unknown argument color: {kind.__name__} has in"):
            kind(3, 4, color="red")
    with pytest.raises(TypeError, match="unknown argument gate_activation: RNN has input_size"):
        bptt.RNN(3, 4, gate_activation="sigmoid")
    with pytest.raises(TypeError, match="unknown argument reset_after: LSTM has input_size"):
        bptt.LSTM(3, 4, reset_after=True)
