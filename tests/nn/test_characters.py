"""Vectors of words from their characters, alone and in a chain."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

import bptt
from bptt import CharacterEmbedding, reference
from bptt.nn.cells import CELLS
from bptt.nn.state import as_state
from cases import DTYPES, dtype_id
from derivatives import assert_gradients, check_chain

N, E, H, L = 7, 3, 4, 5
F8 = {"dtype": "float64", "seed": 0}
every_cell = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def some_words(rng, shape=(3, 4)):
    """Return ids of words of 0 to L characters, one of which occurs twice."""
    ids = rng.integers(1, N, (*shape, L))
    ids[np.arange(L) >= np.arange(np.prod(shape)).reshape(*shape, 1) % (L + 1)] = 0
    ids[-1, -1] = ids[0, 2]
    return ids


def rounding(dtype):
    return {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-14}


def of_reference(module, ids, d_output):
    """Return vectors, and gradients of the parameters, one word after the other."""
    parameters = {name: module[name].astype(float) for name in module}
    weight = parameters.pop("weight")
    cell = CELLS[module.cell]
    output = np.zeros(d_output.shape)
    total = {name: np.zeros_like(value) for name, value in {"weight": weight, **parameters}.items()}
    for place in np.ndindex(ids.shape[:-1]):
        word = ids[place]
        word = word[: int(np.argmax(word == 0)) if (word == 0).any() else L]
        if not len(word):
            continue
        run = reference.forward(cell.name, weight[word][np.newaxis], parameters, bidirectional=True)
        hidden = run.state[0] if cell.has_cell_state else run.state
        output[place] = hidden[:, 0].reshape(-1)
        d = d_output[place].astype(float).reshape(2, 1, H)
        d_state = as_state(d, *(np.zeros_like(d) for _ in cell.states[1:]))
        found = reference.backward(run, d_state=d_state)
        for name in parameters:
            total[name] += found.parameters[name]
        np.add.at(total["weight"], word, found.input[0])
    return output, total


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
@every_cell
def test_vectors_and_gradients_are_those_of_the_reference(cell, dtype, rng):
    module = CharacterEmbedding(N, E, H, L, cell=cell, dtype=dtype, seed=0)
    ids = some_words(rng)
    d = rng.standard_normal((3, 4, 2 * H)).astype(dtype)
    run = module.forward(ids)
    expected, gradients = of_reference(module, ids, d)
    assert run.output.dtype == dtype
    np.testing.assert_allclose(run.output, expected, **rounding(dtype))
    np.testing.assert_array_equal(module(ids), run.output)
    for retain in (True, False):
        found = run.backward(d, retain=retain)
        assert found.input is None
        for name, value in gradients.items():
            np.testing.assert_allclose(found[name], value, **rounding(dtype), err_msg=name)
    with pytest.raises(RuntimeError, match="have been released"):
        run.backward(d)


@every_cell
def test_gradients_against_central_differences(cell, rng):
    module = CharacterEmbedding(N, E, H, L, cell=cell, **F8)
    ids, d = some_words(rng), rng.standard_normal((3, 4, 2 * H))
    gradients = module.forward(ids).backward(d)
    assert_gradients(gradients, lambda: float(np.sum(module(ids) * d)), module)


def test_gradients_are_those_of_the_parameters_of_forward(rng):
    module = CharacterEmbedding(N, E, H, L, **F8)
    ids, d = some_words(rng), rng.standard_normal((3, 4, 2 * H))
    expected, run = module.forward(ids).backward(d), module.forward(ids)
    for name in module:
        module[name] = -module[name]
    found = run.backward(d)
    for name in module:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_id)
def test_bits_do_not_depend_on_threads(dtype, rng):
    module = CharacterEmbedding(60, 16, 24, 12, dtype=dtype, seed=0)
    ids = rng.integers(0, 60, (16, 30, 12))
    lengths = rng.integers(0, 31, 16)
    d = rng.standard_normal((16, 30, 48)).astype(dtype)
    found = []
    for count in (1, 2, 3, 8):
        with bptt.threads(count):
            run = module.forward(ids, lengths=lengths)
            found.append((run.output.tobytes(), run.backward(d)._flat.tobytes()))
    assert len(set(found)) == 1


def test_a_word_has_one_vector_wherever_it_is(rng):
    module = CharacterEmbedding(N, E, H, L, **F8)
    words = some_words(rng).reshape(-1, L)
    vectors = module(words)
    order = rng.integers(0, len(words), (4, 6))
    np.testing.assert_allclose(module(words[order]), vectors[order], rtol=1e-13, atol=1e-15)
    longer = CharacterEmbedding(N, E, H, L + 3, **F8)
    padded = np.pad(words, ((0, 0), (0, 3)))
    np.testing.assert_allclose(longer(padded), vectors, rtol=1e-13, atol=1e-15)
    behind = np.where(np.arange(L) > (words == 0).argmax(1)[:, np.newaxis], 99, words)
    some = (words == 0).any(1)
    np.testing.assert_array_equal(module(behind[some]), module(words[some]))  # does not count


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (0, 2), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["i8", "i4", "u1", ">i2"])
def test_shapes_dtypes_and_strides_of_ids(shape, order, kind, rng):
    module = CharacterEmbedding(N, E, H, L, **F8)
    ids = rng.integers(0, N, (*shape, L))
    expected = module(ids)
    assert expected.shape == (*shape, 2 * H)
    given = np.asarray(ids, kind, order=order)
    if kind == ">i2":
        given = given.astype("i2")
    run = module.forward(given)
    np.testing.assert_array_equal(run.output, expected)
    assert np.isfinite(run.backward(np.ones(expected.shape))._flat).all()


def test_empty_words_have_the_vector_0_and_no_gradient():
    module = CharacterEmbedding(N, E, H, L, **F8)
    run = module.forward(np.zeros((2, 3, L), int))
    assert not run.output.any()
    assert not run.backward(np.ones((2, 3, 2 * H)))._flat.any()


def test_padding_is_not_read(rng):
    module = CharacterEmbedding(N, E, H, L, **F8)
    ids, lengths = some_words(rng), np.array([4, 0, 2])
    exists = (np.arange(4) < lengths[:, np.newaxis])[..., np.newaxis]
    d = rng.standard_normal((3, 4, 2 * H))
    run = module.forward(np.where(exists, ids, -1), lengths=lengths)
    np.testing.assert_allclose(run.output, module(ids) * exists, rtol=1e-13)
    assert not run.output[~exists[..., 0]].any()
    clean = module.forward(ids).backward(d * exists)
    found = run.backward(np.where(exists, d, np.nan))
    for name in module:
        np.testing.assert_allclose(found[name], clean[name], atol=1e-13)


def test_copies_are_independent(rng):
    module = CharacterEmbedding(N, E, H, L, cell="gru", **F8)
    ids = some_words(rng)
    expected = module(ids)
    copies = [copy.deepcopy(module), copy.copy(module), pickle.loads(pickle.dumps(module))]
    for name in module:
        module[name] = 2 * module[name]
    for other in copies:
        np.testing.assert_array_equal(other(ids), expected)
        assert np.abs(module(ids) - expected).max() > 1e-3
    assert repr(copies[0]) == repr(module)


def test_initial_parameters():
    module = CharacterEmbedding(2000, 16, 8, 5, seed=0)
    assert np.std(module["weight"]) == pytest.approx(0.25, rel=0.05)
    layer = bptt.LSTM(16, 8, bidirectional=True, seed=0)
    assert list(module) == ["weight", *layer]
    for name in layer:
        assert module[name].shape == layer[name].shape
    np.testing.assert_array_equal(module["bias_l0_reverse"], layer["bias_l0_reverse"])
    assert module.num_parameters == 2000 * 16 + layer.num_parameters


# ---- in a chain ----------------------------------------------------------------------------------


def chain(words, **options):
    """Return a tagger of words whose embedding is `words`, None for characters alone."""
    first = [] if words is None else [words]
    size = 2 * H + (0 if words is None else words.embedding_dim)
    return bptt.Sequential(
        *first,
        CharacterEmbedding(N, E, H, L, **F8),
        bptt.LSTM(size, 3, bidirectional=True, **F8),
        bptt.Linear(6 + (size if options.get("skip_input") else 0), 3, **F8),
        **options,
    )


def inputs(words, rng):
    """Return ids of words, if they are read, and of characters."""
    characters = some_words(rng)
    if words is None:
        return characters
    count = 2 if isinstance(words, bptt.EmbeddingBag) else 1
    return np.concatenate([rng.integers(0, 6, (3, 4, count)), characters], axis=2)


KINDS = {
    "alone": lambda: None,
    "word": lambda: bptt.Embedding(6, 2, **F8),
    "features": lambda: bptt.EmbeddingBag(6, 2, **F8),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"skip_input": True}, {"pool": "mean"}], ids=str)
def test_a_chain_puts_them_beside_the_vectors_of_words(kind, options, rng):
    words = KINDS[kind]()
    model, x = chain(words, **options), inputs(words, rng)
    lengths = np.array([4, 1, 3])
    model_characters = model.modules[0 if words is None else 1]
    vectors = model_characters(x[..., -L:], lengths=lengths)
    if words is not None:
        ids = x[..., :-L] if kind == "features" else x[..., 0]
        vectors = np.concatenate([words(ids, lengths=lengths), vectors], axis=2)
    rest = bptt.Sequential(*model.modules[1 if words is None else 2 :], **options)
    y, _ = model(x, lengths=lengths)
    np.testing.assert_array_equal(y, rest(vectors, lengths=lengths)[0])
    np.testing.assert_array_equal(y, model.forward(x, lengths=lengths).output)
    check_chain(model, x, rng.standard_normal(y.shape), lengths=lengths)


def test_a_chain_keeps_values_to_go_back_twice(rng):
    words = KINDS["features"]()
    model, x = chain(words), inputs(words, rng)
    run = model.forward(x)
    first = run.backward(np.ones((3, 4, 3)), retain=True)
    for one, other in zip(first.modules, run.backward(np.ones((3, 4, 3))).modules, strict=True):
        np.testing.assert_array_equal(one._flat, other._flat)
    with pytest.raises(RuntimeError, match="have been released"):
        run.backward(np.ones((3, 4, 3)))


def test_single_steps_and_files_of_a_chain(tmp_path, rng):
    words = KINDS["features"]()
    model = bptt.Sequential(
        words, CharacterEmbedding(N, E, H, L, **F8), bptt.GRU(2 + 2 * H, 3, **F8)
    )
    x = inputs(words, rng)
    y, _ = model(x)
    state = None
    for t in range(4):
        y_t, state = model.step(x[:, t], state)
        np.testing.assert_allclose(y_t, y[:, t], atol=1e-13)
    model.save(tmp_path / "model.safetensors")
    loaded = bptt.Sequential.load(tmp_path / "model.safetensors")
    assert repr(loaded) == repr(model)
    np.testing.assert_array_equal(loaded(x)[0], y)
    assert "1  CharacterEmbedding  (B, T, 10)" in model.summary()


def test_training_moves_what_characters_tell(rng):
    """Words whose last character says what they are, most of them seen once."""
    ids = rng.integers(1, 30, (200, 6, L))
    ids[..., 3] = rng.integers(1, 4, (200, 6))
    ids[..., 4] = 0
    model = bptt.Sequential(
        CharacterEmbedding(30, 8, 8, L, seed=0), bptt.LSTM(16, 8, seed=0), bptt.Linear(8, 3, seed=0)
    )
    optimizer = bptt.Adam(model, learning_rate=0.01)
    for _ in range(10):
        for i in range(0, 160, 16):
            x = ids[i : i + 16]
            run = model.forward(x)
            optimizer.step(run.backward(run.cross_entropy(x[..., 3] - 1, reduction="mean")))
    found = model(ids[160:])[0].argmax(2)
    assert np.mean(found == ids[160:, :, 3] - 1) > 0.95


WORDS, LETTERS = bptt.Embedding(6, 2), CharacterEmbedding(N, E, H, L)
BAG, LAYER = bptt.EmbeddingBag(6, 2), bptt.GRU(10, 3)


@pytest.mark.parametrize(
    ("modules", "sentence"),
    [
        (
            (WORDS, bptt.Dropout(0.5), LETTERS),
            "modules may have a CharacterEmbedding at the beginning, or after an Embedding there, "
            "got one at index 2",
        ),
        (
            (WORDS, LETTERS, bptt.GRU(8, 3)),
            f"modules[2] must take 10 features, got {bptt.GRU(8, 3)}",
        ),
        ((LETTERS, LAYER), f"modules[1] must take 8 features, got {LAYER}"),
    ],
)
def test_modules_that_do_not_fit(modules, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        bptt.Sequential(*modules)


@pytest.mark.parametrize(
    ("first", "shape", "sentence"),
    [
        (WORDS, (2, 3), "x must have shape (..., 1 + 5), got (2, 3)"),
        (WORDS, (2, 3, 7), "x must have shape (..., 1 + 5), got (2, 3, 7)"),
        (BAG, (2, 3, 4), "x must have shape (..., features + 5), got (2, 3, 4)"),
    ],
)
def test_a_chain_refuses_ids_of_other_shapes(first, shape, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        bptt.Sequential(first, LETTERS, LAYER)(np.zeros(shape, int))


@pytest.mark.parametrize(
    ("ids", "lengths", "error", "sentence"),
    [
        (
            np.zeros((2, 4), int),
            None,
            ValueError,
            "ids must have shape (..., word_length) = (..., 5), got (2, 4)",
        ),
        (
            np.array(0),
            None,
            ValueError,
            "ids must have shape (..., word_length) = (..., 5), got ()",
        ),
        (
            np.zeros((2, 5), int),
            np.array([1, 2]),
            ValueError,
            "ids must have shape (batch, steps, word_length) = (batch, steps, 5), got (2, 5)",
        ),
    ],
)
def test_wrong_shapes(ids, lengths, error, sentence):
    with pytest.raises(error) as raised:
        LETTERS(ids, lengths=lengths)
    assert str(raised.value) == sentence
