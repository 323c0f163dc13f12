"""EncoderDecoder: training, decoding and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bptt import EncoderDecoder, get_num_threads, set_num_threads, softmax
from bptt.optim.schedules import CosineDecay


def texts(count: int, seed: int, longest: int = 6) -> list[str]:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, longest + 1, count)
    return ["".join(random.choice(list("abcd"), n)) for n in lengths]


def reversed_texts(given: list[str]) -> list[str]:
    return [text[::-1] for text in given]


def small(**changed: Any) -> EncoderDecoder:
    """A small estimator that trains fast."""
    arguments = {"hidden_size": 8, "epochs": 2, "batch_size": 16, "random_state": 3}
    return EncoderDecoder(**{**arguments, **changed})


def weights_of(model: EncoderDecoder) -> NDArray[Any]:
    return np.concatenate([module._flat for module in model.network_.modules.values()])


# ---- training


@pytest.mark.parametrize(
    ("attention", "bidirectional", "backwards"),
    [(None, False, False), ("dot", True, False), ("additive", False, True), ("dot", True, True)],
)
def test_learns_to_copy_and_to_reverse(
    attention: str | None, bidirectional: bool, backwards: bool
) -> None:
    learned = texts(3000, 0)
    fresh = sorted(set(texts(400, 1)) - set(learned))
    assert len(fresh) > 80
    task = reversed_texts if backwards else list
    model = EncoderDecoder(
        cell="gru",
        hidden_size=48,
        attention=attention,
        bidirectional=bidirectional,
        epochs=14,
        learning_rate=0.01,
        schedule=CosineDecay(14),
        random_state=0,
    ).fit(learned, task(learned))
    assert model.score(fresh, task(fresh)) == 1.0
    assert model.predict(fresh) == task(fresh)
    if attention == "dot":
        found = model.attention_weights(["abcda"], ["adcba"])[0]
        assert found.shape == (6, 5)
        np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-5)


def test_loss_does_not_depend_on_the_other_sequences_of_the_batch() -> None:
    given = texts(20, 0)
    model = small(attention="dot", bidirectional=True, dtype="float64").fit(given, given)
    data, task = model._dataset(given, given), model._task()
    together = task.evaluate(data.batch(np.arange(20)))
    alone = [task.evaluate(data.batch(np.array([i]))) for i in range(20)]
    weights = [score.weight for score in alone]
    assert together.weight == sum(len(text) + 1 for text in given) == sum(weights)
    for field in ("loss", "metric"):
        expected = np.average([getattr(score, field) for score in alone], weights=weights)
        np.testing.assert_allclose(getattr(together, field), expected, rtol=1e-12)


def test_sample_weights() -> None:
    given = texts(4, 0)
    model = small(dtype="float64").fit(given, given)
    task, everyone = model._task(), np.arange(4)
    weighted = model._dataset(given, given, sample_weight=[1, 0, 2, 0])
    chosen = [given[0], given[2], given[2]]
    expected = task.evaluate(model._dataset(chosen, chosen).batch(np.arange(3)))
    found = task.evaluate(weighted.batch(everyone))
    np.testing.assert_allclose(found[:3], expected[:3], rtol=1e-12)


@pytest.mark.parametrize("sampling", [0.0, 0.5])
def test_training_is_the_same_on_one_and_two_threads(sampling: float) -> None:
    given, before = texts(64, 0), get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            set_num_threads(threads)
            model = small(attention="additive", bidirectional=True, dropout=0.2, hidden_size=32)
            model.set_params(scheduled_sampling=sampling).fit(given, reversed_texts(given))
            found.append(weights_of(model))
    finally:
        set_num_threads(before)
    assert np.array_equal(*found)


def test_partial_fit_decreases_the_loss() -> None:
    given = texts(200, 0)
    model = small(hidden_size=32)
    for _ in range(3):
        model.partial_fit(given, given)
    losses = model.history_["loss"]
    assert losses[2] < losses[1] < losses[0]


# ---- scheduled sampling


def test_without_scheduled_sampling_no_random_numbers_are_drawn() -> None:
    given = texts(16, 0)
    model = small().fit(given, given)
    batch = model._dataset(given, given).batch(np.arange(16))
    before = model.network_.decoder.output._random.bit_generator.state
    step = model._task().training_step(batch)
    assert model.network_.decoder.output._random.bit_generator.state == before
    targets = batch.targets
    run = model.network_.forward(batch.x, batch.lengths, targets.tokens, targets.lengths)
    assert np.array_equal(run.tokens, targets.tokens)
    assert step.loss == model._task().evaluate(batch).loss


def test_with_scheduled_sampling_of_1_inputs_are_predictions() -> None:
    given = texts(16, 0)
    model = small(scheduled_sampling=1.0, dtype="float64").fit(given, given)
    batch = model._dataset(given, given).batch(np.arange(16))
    targets = batch.targets
    own = model.network_.forward(
        batch.x, batch.lengths, targets.tokens, targets.lengths, np.zeros((16, 7), np.bool_)
    )
    log_p = np.log(softmax(own.output))
    alive = np.arange(7) < targets.lengths[:, np.newaxis]
    expected = -np.take_along_axis(log_p, targets.targets[..., np.newaxis], 2)[..., 0][alive].mean()
    np.testing.assert_allclose(model._task().training_step(batch).loss, expected, rtol=1e-12)


def test_scheduled_sampling_is_resumed_exactly(tmp_path: Path) -> None:
    given = texts(48, 0)
    options = {"scheduled_sampling": 0.4, "dropout": 0.2, "attention": "dot"}
    whole = small(epochs=4, **options).fit(given, given)
    path = tmp_path / "training"
    small(epochs=2, checkpoint_path=path, **options).fit(given, given)
    resumed = small(epochs=4, checkpoint_path=path, **options).fit(given, given, resume=True)
    assert np.array_equal(weights_of(whole), weights_of(resumed))
    forced = small(epochs=4, **{**options, "scheduled_sampling": 0.0}).fit(given, given)
    assert not np.array_equal(weights_of(whole), weights_of(forced))


# ---- decoding


@pytest.mark.parametrize("attention", [None, "additive"])
def test_beam_search_returns_log_probabilities(attention: str | None) -> None:
    given = texts(100, 0, 4)
    model = small(attention=attention, epochs=10, dtype="float64").fit(given, given)
    asked = texts(5, 1, 4)
    beams = model.beam_search(asked, beam=4, count=3)
    assert model.predict(asked, beam=4) == [found[0][0] for found in beams]
    assert model.predict(asked) == [found[0][0] for found in model.beam_search(asked, beam=1)]
    encoder = model.target_encoder_
    for text, found in zip(asked, beams, strict=True):
        scores = [score for _, score in found]
        assert len({written for written, _ in found}) == len(found) == 3
        assert scores == sorted(scores, reverse=True)
        for written, score in found:
            if len(written) == 2 * 4:
                continue  # truncated, without a stop token
            batch = model._dataset([text], [written]).batch(np.array([0]))
            targets = batch.targets
            logits = model.network_(batch.x, batch.lengths, targets.tokens, targets.lengths)[0]
            logits[:, list(encoder.forbidden)] = -np.inf  # never generated
            p = softmax(logits)[np.arange(len(written) + 1), targets.targets[0]]
            np.testing.assert_allclose(score, np.log(p).sum(), rtol=1e-10)


def test_samples_follow_the_distribution() -> None:
    model = small(epochs=60, learning_rate=0.02).fit(["x"] * 8, ["aa"] * 6 + ["b"] * 2)
    asked = ["x"] * 1000
    found = model.sample(asked, random_state=0)
    probabilities = {text: np.exp(log_p) for text, log_p in model.beam_search(["x"])[0]}
    for text in ("aa", "b"):
        assert found.count(text) / 1000 == pytest.approx(probabilities[text], abs=0.06)
    assert found == model.sample(asked, random_state=0) != model.sample(asked, random_state=1)
    assert model.sample(["x"], temperature=0.0) == model.sample(["x"], top_k=1) == ["aa"]


def test_score_decodes_as_predict_does() -> None:
    given = texts(50, 0)
    model = small(epochs=5, hidden_size=16).fit(given, given)
    for options in ({}, {"beam": 3, "max_length": 4, "length_penalty": 0.5}):
        written = model.predict(given, **options)
        expected = np.mean([one == other for one, other in zip(written, given, strict=True)])
        assert model.score(given, given, **options) == expected


def test_prediction_does_not_depend_on_the_other_sequences() -> None:
    given = texts(100, 0)
    model = small(attention="dot", bidirectional=True, epochs=5, dtype="float64")
    model.fit(given, reversed_texts(given))
    assert model.predict(given) == [model.predict([text])[0] for text in given]


def test_max_length_bounds_generated_sequences() -> None:
    given = texts(20, 0)
    model = small(epochs=1).fit(given, given)
    assert max(map(len, model.predict(given, beam=2, max_length=3))) <= 3
    assert max(map(len, model.sample(given, max_length=3, random_state=0))) <= 3


@pytest.mark.parametrize("y_given", [False, True])
def test_attention_weights_have_a_row_per_token_and_sum_to_1(y_given: bool) -> None:
    given = texts(30, 0)
    model = small(attention="additive", bidirectional=True).fit(given, given)
    written = given if y_given else model.predict(given)
    found = model.attention_weights(given, written if y_given else None)
    for source, target, weights in zip(given, written, found, strict=True):
        assert weights.shape == (len(target) + 1, len(source))
        np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-5)


# ---- types of sequences


def test_generated_words_have_the_type_of_the_targets() -> None:
    source, target = ["good day", "good night", "night"], ["guten tag", "gute nacht", "nacht"]
    model = EncoderDecoder(
        tokens="words", epochs=100, hidden_size=16, embedding_size=8, random_state=0
    ).fit(source, target)
    assert model.predict(source) == target
    lists = EncoderDecoder(epochs=100, hidden_size=16, random_state=0)
    split = [text.split() for text in target]
    assert lists.fit([text.split() for text in source], split).predict([["night"]]) == [["nacht"]]


def test_features_to_ids() -> None:
    random = np.random.default_rng(0)
    ids = [random.integers(0, 3, n) for n in random.integers(1, 5, 100)]
    spoken = [np.repeat(np.eye(3)[row], 2, axis=0) for row in ids]  # two frames per token
    model = EncoderDecoder(hidden_size=32, epochs=30, learning_rate=0.01, random_state=0)
    model.fit(spoken, ids)
    assert model.score(spoken, ids) > 0.9
    assert model.predict(spoken[:1])[0].dtype == np.int64


def test_an_empty_target_is_learned() -> None:
    model = small(epochs=60, learning_rate=0.02).fit(["a", "b"] * 8, ["", "bb"] * 8)
    assert model.predict(["a", "b"]) == ["", "bb"]


# ---- files


@pytest.mark.parametrize("attention", [None, "dot", "additive"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_loaded_estimator_predicts_and_trains_identically(
    tmp_path: Path, attention: str | None, bidirectional: bool
) -> None:
    given = texts(48, 0)
    model = small(
        attention=attention,
        bidirectional=bidirectional,
        num_layers=2,
        dropout=0.2,
        embedding_size=4,
        scheduled_sampling=0.3,
    ).fit(given, given)
    model.save(tmp_path / "model")
    loaded = EncoderDecoder.load(tmp_path / "model")
    assert loaded.predict(given) == model.predict(given)
    assert loaded.beam_search(given[:3]) == model.beam_search(given[:3])
    for one in (model, loaded):
        one.partial_fit(given, given)
    assert np.array_equal(weights_of(model), weights_of(loaded))


# ---- errors


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"attention": "local"}, "attention must be one of"),
        ({"scheduled_sampling": 1.5}, r"scheduled_sampling must be in \[0, 1\], got 1.5"),
        ({"scheduled_sampling": float("nan")}, "scheduled_sampling must be in"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(["a"], ["b"])


def test_wrong_data() -> None:
    with pytest.raises(ValueError, match="y must have 2 sequences, as X, got 1"):
        small().fit(["a", "b"], ["b"])
    with pytest.raises(TypeError, match=r"^y must be a list of sequences or an array, got None"):
        small().fit(["a", "b"])
    with pytest.raises(TypeError, match=r"^y\[1\] must be a string, a list or an array, got int"):
        small().fit(["a", "b"], ["c", 1])
    with pytest.raises(TypeError, match="must hold tokens or integer ids"):
        small().fit(["a"], [np.ones((2, 3))])
    model = small(epochs=1).fit(["a"], ["b"])
    with pytest.raises(ValueError, match="attention_weights needs attention"):
        model.attention_weights(["a"])
    with pytest.raises(ValueError, match="beam must be an integer >= 1"):
        model.predict(["a"], beam=0)
    with pytest.raises(ValueError, match="max_length must be an integer >= 1"):
        model.predict(["a"], max_length=0)
    with pytest.raises(ValueError, match="length_penalty must be in"):
        model.predict(["a"], length_penalty=-1.0)
