"""The commands `train`, `predict`, `generate` and `inspect`, with every format of file."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

import bptt
import tensor_files
from bptt.cli.main import main
from command_line import fails, run
from torch_pickles import Opcodes, archive

SMALL = ("--hidden-size", "8", "--epochs", "3")
MOODS = {"great": "good", "lovely": "good", "fine": "good", "dull": "bad", "poor": "bad"}
TAGS = {"the": "DET", "a": "DET", "dog": "NOUN", "cat": "NOUN", "old": "ADJ", "light": "VERB"}


def reviews(count=60):
    random = np.random.default_rng(0)
    for i in range(count):
        word = str(random.choice(list(MOODS)))
        yield f'the {random.choice(["film", "cast"])}, "no {i}", was {word}', MOODS[word]


def write_csv(path, rows, delimiter=","):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def write_reviews_csv(path):
    write_csv(path, [("text", "label"), *reviews()])


def write_reviews_jsonl(path):
    rows = ({"id": i, "text": text, "label": label} for i, (text, label) in enumerate(reviews()))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_waves(path, count=60):
    """A row a sequence of up to 12 numbers, and its frequency."""
    random = np.random.default_rng(0)
    rows = [[*(f"x{t}" for t in range(12)), "speed"]]
    for _ in range(count):
        speed, steps = random.uniform(0.2, 0.8), int(random.integers(6, 13))
        wave = [f"{20 + 5 * math.sin(speed * t):.3f}" for t in range(steps)]
        rows.append([*wave, *[""] * (12 - steps), f"{100 * speed:.1f}"])
    write_csv(path, rows)


def write_walks(path, each_step=False, count=40):
    """A row a step; a walk goes left or right, or is above or below at each step."""
    random = np.random.default_rng(0)
    rows = [["sequence", "x", "y", "label"]]
    for number in range(count):
        right = bool(random.integers(2))
        steps = random.normal((0.5 if right else -0.5, 0.0), 0.3, (random.integers(4, 9), 2))
        for x, y in steps.cumsum(axis=0):
            label = ("up" if y > 0 else "down") if each_step else "right" if right else "left"
            rows.append([f"walk {number}", f"{x:.3f}", f"{y:.3f}", label])
    write_csv(path, rows, ";")


def write_tagged(path, count=40):
    random = np.random.default_rng(0)
    lines = ["# some sentences"]
    for _ in range(count):
        words = random.choice(list(TAGS), random.integers(2, 6)).tolist()
        for before, word in zip(["", *words[:-1]], words, strict=True):
            noun = word == "light" and before in ("the", "a", "old")
            lines.append(f"{word}\t{'NOUN' if noun else TAGS[word]}")
        lines.append("")
    path.write_text("\n".join(lines))


def write_names(path):
    path.write_text("".join(f"{a}{b}{c}\n" for a in "bdgkl" for b in "aeio" for c in "nrs"))


def write_book(path):
    path.write_text("the cat sat on the mat.\n\nthe dog sat on the log.\n\n" * 40)


FILES = {
    "reviews.csv": (write_reviews_csv, "SequenceClassifier", "accuracy on 6 sequences"),
    "reviews.jsonl": (write_reviews_jsonl, "SequenceClassifier", "accuracy on 6 sequences"),
    "waves.csv": (write_waves, "SequenceRegressor", "mean absolute error on 6 sequences"),
    "walks.csv": (write_walks, "SequenceClassifier", "accuracy on 4 sequences"),
    "steps.csv": (
        lambda path: write_walks(path, each_step=True),
        "SequenceTagger",
        r"accuracy on \d+ steps",
    ),
    "tagged.tsv": (write_tagged, "SequenceTagger", r"accuracy on \d+ steps"),
    "names.txt": (write_names, "LanguageModel", r"bits per character on \d+ characters"),
    "book.txt": (write_book, "LanguageModel", r"bits per character on \d+ characters"),
}
MORE = {"waves.csv": ("--target", "speed")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with one of every file, and the model learned from it."""
    folder = tmp_path_factory.mktemp("trained")
    before = os.getcwd()
    os.chdir(folder)
    for name, (write, _, _) in FILES.items():
        write(folder / name)
        more = ("--learning-rate", "0.03", "--epochs", "12", "--hidden-size", "16")
        model = f"{name}.model"
        assert main(["train", name, "--output", model, *more, *MORE.get(name, ())]) == 0
    os.chdir(before)
    return folder


# ---- train


@pytest.mark.parametrize("name", FILES)
def test_train_infers_prints_and_saves(name, here, capsys):
    write, kind, figure = FILES[name]
    write(here / name)
    shown, progress = run(capsys, "train", name, *SMALL, *MORE.get(name, ()))
    path = name.split(".")[0] + ".safetensors"
    assert shown.startswith(f"Data     {name}: ")
    assert re.search(rf"^Result   {figure}: [\d.]+%?\n +baseline, .*: [\d.]+%?$", shown, re.M)
    assert f"\nSaved    {path} (" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert re.fullmatch(r"(epoch +\d/3  loss .*  validation loss .* s\n){1,3}", progress)
    model = bptt.load_estimator(path)
    assert type(model).__name__ == kind
    assert model.hidden_size == 8
    again = re.findall(r"^  \S+ -m bptt (.*)$", shown, re.M)
    assert len(again) >= 2


def test_trained_models_beat_the_baseline(trained):
    for name in FILES:
        (found,) = bptt.load_estimator(trained / f"{name}.model").metadata_["validation"]
        for baseline, value in found["baselines"]:
            better = found["value"] > value
            assert better == found["higher_is_better"], (name, baseline)


def test_the_same_seed_gives_the_same_file(here):
    write_reviews_csv(here / "a.csv")
    for seed, output in ((0, "x"), (0, "y"), (1, "z")):
        assert main(["train", "a.csv", *SMALL, "--seed", str(seed), "--output", output]) == 0
    same, other = (
        [np.array_equal(p, q) for p, q in zip(*(parameters(f) for f in pair), strict=True)]
        for pair in (("x", "y"), ("x", "z"))
    )
    assert all(same)
    assert not all(other)


def parameters(path):
    modules = bptt.load_estimator(path)._task().modules
    return [module._flat for module in modules.values()]


def test_options_are_parameters_of_the_model(here, capsys):
    write_reviews_csv(here / "a.csv")
    options = ("--cell", "rnn", "--layers", 2, "--no-bidirectional", "--pool", "max", "--tokens",
               "characters", "--embedding-size", 5, "--dropout", 0.25, "--batch-size", 7,
               "--recurrent-dropout", 0.1, "--zoneout", 0.05, "--learn-initial-state",
               "--learning-rate", 0.01, "--patience", 2, "--min-count", 3)  # fmt: skip
    shown = " ".join(run(capsys, "train", "a.csv", *SMALL, *options)[0].split())
    model = bptt.load_estimator("a.safetensors")
    expected = {"cell": "rnn", "num_layers": 2, "bidirectional": False, "pool": "max",
                "tokens": "characters", "embedding_size": 5, "dropout": 0.25, "batch_size": 7,
                "recurrent_dropout": 0.1, "zoneout": 0.05, "learn_initial_state": True,
                "learning_rate": 0.01, "patience": 2, "min_count": 3}  # fmt: skip
    assert {name: getattr(model, name) for name in expected} == expected
    assert "RNN, 2 layers of 8 units; tokens characters, embedding-size 5, pool max" in shown


def test_pretrained_word_vectors(here, capsys):
    write_reviews_csv(here / "a.csv")
    words = "".join(f"{word} 0.5 {i}\n" for i, word in enumerate(MOODS))
    (here / "vectors.txt").write_text(words, "utf-8")
    options = ("--embedding-vectors", "vectors.txt", "--freeze-embedding", *SMALL)
    run(capsys, "train", "a.csv", *options)
    model = bptt.load_estimator("a.safetensors")
    assert (model.tokens, model.embedding_vectors) == ("words", "vectors.txt")
    embedding, tokens = model.model_[0], model.encoder_.vocabulary.tokens
    np.testing.assert_array_equal(embedding["weight"][tokens.index("dull")], [0.5, 3])
    run(capsys, "predict", "a.safetensors", "--text", "the film was great")
    options = ("--embedding-vectors", "absent.txt", *SMALL, "--output", "b.safetensors")
    message = fails(capsys, "train", "a.csv", *options)
    assert message == "cannot read absent.txt: No such file or directory"
    (here / "vectors.txt").write_text("a 1\nb 1 2\n", "utf-8")
    options = ("--embedding-vectors", "vectors.txt", *SMALL, "--output", "b.safetensors")
    message = fails(capsys, "train", "a.csv", *options)
    assert message.startswith("cannot read vectors.txt: a vector must have 1 columns, got 2")


def test_several_classes_of_a_sequence_are_one_cell(here, capsys):
    texts, topics = ["a", "b", "ab", "x"] * 5, [["A"], ["B"], ["A", "B"], []] * 5
    indicators = np.array([[int(k in row) for k in "AB"] for row in topics])
    options = {"hidden_size": 16, "epochs": 40, "learning_rate": 0.02, "random_state": 0}
    for y, expected in ((topics, ["A,B", "B"]), (indicators, ["0,1", "1"])):
        bptt.SequenceClassifier(multi_label=True, **options).fit(texts, y).save("a.model")
        arguments = ("predict", "a.model", "--text", "ab", "--text", "b", "--probabilities")
        rows = [line.split("\t") for line in run(capsys, *arguments)[0].splitlines()]
        assert [row[1] for row in rows[1:]] == expected
        assert rows[0][2:] == [f"P({label})" for label in expected[0].split(",")]


def test_the_task_is_an_option(here, capsys):
    write_csv(
        here / "a.csv", [("text", "label"), *((t, i % 3) for i, (t, _) in enumerate(reviews()))]
    )
    shown, _ = run(capsys, "train", "a.csv", *SMALL)
    assert (
        "classification, one class per sequence ('label' has only 3 distinct integers)"
        in " ".join(shown.split())
    )
    shown, _ = run(capsys, "train", "a.csv", *SMALL, "--task", "regression", "--overwrite")
    assert "regression, one number per sequence\n" in shown
    shown, _ = run(capsys, "train", "a.csv", *SMALL, "--task", "language", "--overwrite")
    assert type(bptt.load_estimator("a.safetensors")).__name__ == "LanguageModel"


def test_validation_in_another_file(here, capsys):
    write_tagged(here / "a.tsv")
    (here / "b.tsv").write_text("the\tDET\ncat\tNOUN\n\nthe\tDET\ndog\tX\n")
    shown, _ = run(capsys, "train", "a.tsv", *SMALL, "--validation", "b.tsv")
    note = "b.tsv: sequences with labels that are not in the training data: 1; these labels count"
    assert note in " ".join(shown.split())
    assert "accuracy on 4 steps: " in shown
    (here / "c.csv").write_text("text,label\ngreat,good\nodd,strange\n")
    write_reviews_csv(here / "a.csv")
    shown, _ = run(capsys, "train", "a.csv", *SMALL, "--validation", "c.csv", "--overwrite")
    assert "accuracy on 2 sequences: " in shown


def test_a_label_that_occurs_once_is_in_the_training_data(here, capsys):
    rows = [("text", "label"), *reviews(20), ("once upon", "rare")]
    write_csv(here / "a.csv", rows)
    for seed in range(4):
        run(capsys, "train", "a.csv", *SMALL, "--seed", seed, "--validation", 0.5, "--overwrite")
        assert "rare" in bptt.load_estimator("a.safetensors").classes_


def test_a_model_is_overwritten_with_an_option_only(here, capsys):
    write_names(here / "a.txt")
    run(capsys, "train", "a.txt", *SMALL)
    message = fails(capsys, "train", "a.txt", *SMALL)
    assert message == ("a.safetensors exists: use --overwrite, or another name with --output")
    run(capsys, "train", "a.txt", *SMALL, "--overwrite")


# ---- predict


@pytest.mark.parametrize("name", ["reviews.csv", "waves.csv", "walks.csv", "steps.csv"])
def test_predictions_have_the_format_of_the_input(name, trained, here, capsys):
    shown, how_good = run(capsys, "predict", trained / f"{name}.model", trained / name)
    delimiter = ";" if name in ("walks.csv", "steps.csv") else ","
    rows = list(csv.DictReader(io.StringIO(shown), delimiter=delimiter))
    with open(trained / name, newline="") as file:
        before = list(csv.DictReader(file, delimiter=delimiter))
    if name == "walks.csv":  # one answer for several rows
        assert list(rows[0]) == ["sequence", "prediction"]
        answers = {row["sequence"]: row["prediction"] for row in rows}
        right = [answers[row["sequence"]] == row["label"] for row in before]
    else:
        assert [{k: v for k, v in row.items() if k != "prediction"} for row in rows] == before
        if name == "waves.csv":
            right = [abs(float(r["prediction"]) - float(r["speed"])) < 15 for r in rows]
        else:
            right = [row["prediction"] == row["label"] for row in rows]
    assert np.mean(right) > 0.8
    assert re.match(r"(accuracy|mean absolute error) on [\d,]+ (sequences|steps): ", how_good)


def test_predictions_in_json_lines(trained, here, capsys):
    model = trained / "reviews.jsonl.model"
    shown, _ = run(capsys, "predict", model, trained / "reviews.jsonl", "--probabilities")
    rows = [json.loads(line) for line in shown.splitlines()]
    assert list(rows[0]) == ["id", "text", "label", "prediction", "probabilities"]
    for row in rows:
        assert max(row["probabilities"], key=row["probabilities"].get) == row["prediction"]
        assert sum(row["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)


def test_predictions_of_tags(trained, here, capsys):
    model = trained / "tagged.tsv.model"
    shown, how_good = run(capsys, "predict", model, trained / "tagged.tsv")
    comment, *rest = shown.splitlines()
    assert comment == "# some sentences"
    lines = [line.split("\t") for line in rest if line]
    assert np.mean([line[1] == line[2] for line in lines]) > 0.9
    assert shown.count("\n\n") == 39
    assert "accuracy" in how_good
    shown, _ = run(capsys, "predict", model, "--text", "the old dog", "--text", "a cat")
    assert shown == "the\tDET\nold\tADJ\ndog\tNOUN\n\na\tDET\ncat\tNOUN\n"
    shown, _ = run(capsys, "predict", model, "--text", "a cat", "--probabilities")
    first, _, *rest = shown.splitlines()
    assert first.split()[-4:] == ["P(ADJ)", "P(DET)", "P(NOUN)", "P(VERB)"]
    assert rest[0].split("\t")[:2] == ["cat", "NOUN"]
    (here / "tokens.conll").write_text("the\ncat\n")
    assert run(capsys, "predict", model, "tokens.conll") == ("the\tDET\ncat\tNOUN\n", "")


def test_predictions_for_texts_and_a_pipe(trained, here, capsys, monkeypatch):
    model = trained / "reviews.csv.model"
    shown, messages = run(capsys, "predict", model, "--text", "was great", "--text", "was\tdull it")
    assert messages == "unknown tokens: 'it'\n"
    shown, _ = run(capsys, "predict", model, "--text", "was great", "--text", "was\tdull")
    assert shown == "text\tprediction\nwas great\tgood\nwas dull\tbad\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"was great\n")))
    shown, messages = run(capsys, "predict", model, "-")
    assert shown == "text\tprediction\nwas great\tgood\n"
    assert messages == "standard input is read as plain text (else use --format)\n"


def test_a_file_of_unknown_suffix_has_the_format_of_the_training_data(trained, here, capsys):
    for name in ("reviews.csv", "reviews.jsonl", "waves.csv", "tagged.tsv"):
        content = (trained / name).read_text()
        (here / "new.data").write_text(content)
        known, _ = run(capsys, "predict", trained / f"{name}.model", trained / name)
        assert run(capsys, "predict", trained / f"{name}.model", "new.data")[0] == known
    (here / "new.data").write_text("words\nwas great\n")
    message = fails(capsys, "predict", trained / "reviews.csv.model", "new.data")
    assert message.startswith("new.data: there is no column 'text' (input of the model)")


def test_standard_input_has_the_format_of_the_training_data(trained, capsys, monkeypatch):
    content = (trained / "reviews.csv").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    shown, messages = run(capsys, "predict", trained / "reviews.csv.model", "-")
    assert shown.startswith("text,label,prediction\n")
    assert messages.startswith("accuracy on 60 sequences")


def test_a_tagger_needs_sentences(trained, capsys):
    message = fails(capsys, "predict", trained / "tagged.tsv.model", trained / "waves.csv")
    assert "waves.csv is CSV, and the model reads sentences: it needs one token per line" in message


def test_predictions_written_to_a_file(trained, here, capsys):
    model = trained / "reviews.csv.model"
    arguments = ("predict", model, trained / "reviews.csv", "--output", "p.csv")
    shown, messages = run(capsys, *arguments)
    assert shown == ""
    assert messages.startswith("60 predictions written to p.csv\naccuracy on 60 sequences: ")
    assert (here / "p.csv").read_text().startswith("text,label,prediction\n")
    assert fails(capsys, *arguments).startswith("p.csv exists: use --overwrite")
    # what was predicted can be predicted anew
    run(capsys, "predict", model, "p.csv", "--output", "q.csv")
    assert (here / "q.csv").read_bytes() == (here / "p.csv").read_bytes()


def test_predictions_of_a_model_saved_in_python(here, capsys):
    texts = ["good", "bad"] * 10
    model = bptt.SequenceClassifier(hidden_size=8, epochs=20, learning_rate=0.03, random_state=0)
    model.fit(texts, texts).save("m")
    assert run(capsys, "predict", "m", "--text", "good")[0] == "text\tprediction\ngood\tgood\n"


def test_a_model_of_another_version_is_an_error(here, capsys):
    model = bptt.SequenceClassifier(hidden_size=4, epochs=1).fit(["a", "b"], [0, 1])
    model.save("m", {"task": "classification", "schema": {"content": "texts", "columns": 3}})
    message = fails(capsys, "predict", "m", "--text", "a")
    assert message == "m was saved by another version of bptt: train it again"


# ---- generate


def test_generate_samples_searches_and_ranks(trained, here, capsys):
    model = trained / "names.txt.model"
    shown, _ = run(capsys, "generate", model, "--count", 4, "--seed", 1, "--prompt", "b")
    assert len(shown.splitlines()) == 4
    assert all(line.startswith("b") for line in shown.splitlines())
    assert run(capsys, "generate", model, "--count", 4, "--seed", 1, "--prompt", "b")[0] == shown
    best, _ = run(capsys, "generate", model, "--beam", 10, "--prompt", "ka")
    assert re.fullmatch("ka[nrs]\n", best)
    assert run(capsys, "generate", model, "--top-p", 1e-9, "--prompt", "ka")[0] == best
    shares, _ = run(capsys, "generate", model, "--next", "--prompt", "ka")
    assert re.fullmatch(r"( *[\d.]+%  \S+\n){1,10}", shares)
    assert {line.split()[1] for line in shares.splitlines()[:3]} == set("nrs")


@pytest.mark.parametrize("option", [("--count", 3), ("--top-k", 2), ("--seed", 1)])
def test_options_of_sampling_do_not_search(option, trained, capsys):
    message = fails(capsys, "generate", trained / "names.txt.model", "--beam", 2, *option)
    assert message == f"argument {option[0]}: applies to samples, remove it or --beam"


def test_generate_warns_of_unknown_tokens(trained, here, capsys):
    shown, messages = run(capsys, "generate", trained / "book.txt.model", "--prompt", "the café",
                      "--max-length", 20, "--seed", 0)  # fmt: skip
    assert shown.startswith("the café")
    assert messages == "unknown tokens: 'f', 'é'\n"


# ---- inspect


@pytest.mark.parametrize("name", FILES)
def test_inspect_shows_a_model(name, trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    path = f"{name}.model"
    shown, _ = run(capsys, "inspect", path)
    assert re.match(rf"Model +{path} \(.*\), {FILES[name][1]}\n", shown)
    total = sum(parameter.size for parameter in parameters(path))
    assert re.search(rf"^total +{total:,}$", shown, re.M)
    assert f"Training {len(bptt.load_estimator(path).history_)} epochs in " in shown
    assert re.search(rf"^Result   {FILES[name][2]}: ", shown, re.M)
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", FILES)
def test_inspect_analyzes_a_file(name, trained, here, capsys):
    number = 1 if name == "book.txt" else 2
    shown, _ = run(capsys, "inspect", trained / f"{name}.model", trained / name, "--number", number)
    assert re.search(r"^ +1  .* \d\.\d\d", shown, re.M)
    verdict = r"layer 0(, reverse)?: (vanishing|healthy|exploding): over \d+ steps? the gradient"
    assert re.search(verdict, " ".join(shown.split()))


def file_of_pytorch():
    """A state_dict of embedding, GRU and output layer, whose weights are 0."""
    opcodes = Opcodes()
    opcodes.extend(b"}")
    for name, shape in {
        "embedding.weight": (5, 3),
        "decoder.weight_ih_l0": (9, 3),
        "decoder.weight_hh_l0": (9, 3),
        "decoder.bias_ih_l0": (9,),
        "decoder.bias_hh_l0": (9,),
        "output.weight": (2, 3),
        "output.bias": (2,),
    }.items():
        opcodes.text(name)
        opcodes.tensor(shape=shape, strides=(3, 1)[-len(shape) :], size=27)
        opcodes.extend(b"s")
    return archive(opcodes, storage=bytes(4 * 27))


def test_sessions_of_the_page_print_what_it_shows(here, capsys):
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text("utf-8")
    Path("tagger.pt").write_bytes(file_of_pytorch())
    names = {}
    for kind, block in re.findall(r"^```(python|text)\n(.*?)^```", page, re.M | re.S):
        if kind == "python":
            exec(block, names)
            continue
        for session in re.split(r"^\$ python -m bptt ", block, flags=re.M)[1:]:
            line, _, expected = session.partition("\n")
            arguments = re.sub(r"--epochs \d+", "--epochs 1", line)
            shown = "".join(run(capsys, *shlex.split(arguments)))
            for what in ("Data ", "Task ", "Model "):  # weights differ between machines
                lines = [line for line in expected.splitlines() if line.startswith(what)]
                assert all(line in shown for line in lines)
            if "tagger.pt" in line:
                assert shown.strip() == expected.strip()


def test_inspect_prints_the_mean_gates_of_every_token(trained, here, capsys):
    model = trained / "tagged.tsv.model"
    shown, _ = run(capsys, "inspect", model, "--text", "the light cat")
    trace = bptt.diagnostics.gate_trace(bptt.load_estimator(model), ["the", "light", "cat"])
    for t, token in enumerate(["the", "light", "cat"]):
        reset, update = (trace.gates[gate][t].mean() for gate in ("reset", "update"))
        assert re.search(rf"^ +{t + 1}  {token} +{reset:.2f} +{update:.2f}", shown, re.M)


def test_inspect_writes_plots(trained, here, capsys):
    pytest.importorskip("matplotlib")
    model = trained / "reviews.csv.model"
    shown, _ = run(capsys, "inspect", model, "--text", "was great", "--plot", "a/b")
    names = ["flow.png", "gates.png", "history.png", "saliency.png"]
    assert sorted(os.listdir("a/b")) == names
    assert all(f"{os.path.join('a', 'b', name)}" in shown for name in names)
    run(capsys, "inspect", model, "--plot", "c")
    assert os.listdir("c") == ["history.png"]


@pytest.mark.parametrize(
    ("suffix", "magic"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]
)
def test_inspect_writes_plots_of_a_format_and_size(suffix, magic, trained, here, capsys):
    pytest.importorskip("matplotlib")
    model = trained / "reviews.csv.model"
    options = ("--plot", f"a/fig.{suffix}", "--size", "3.5x2.5")
    shown, _ = run(capsys, "inspect", model, "--text", "was great", *options)
    names = [f"fig-{name}.{suffix}" for name in ("flow", "gates", "history", "saliency")]
    assert sorted(os.listdir("a")) == names
    assert os.path.join("a", f"fig-history.{suffix}") in shown
    content = (here / "a" / names[0]).read_bytes()
    assert content.startswith(magic)
    if suffix == "svg":
        assert b'width="252pt" height="180pt"' in content
        assert b"<text" in content
    if suffix == "pdf":
        assert b"/MediaBox [ 0 0 252 180 ]" in content


def test_inspect_explains_a_step(trained, capsys):
    model = trained / "tagged.tsv.model"
    text = ("--text", "the light cat")
    for step in (1, 3):
        shown, _ = run(capsys, "inspect", model, *text, "--step", step)
        assert f" at step {step}\n" in shown
    assert "layer 0, forward); saliency of the output " in shown
    assert run(capsys, "inspect", model, *text)[0] == shown  # the last by default
    message = fails(capsys, "inspect", model, *text, "--step", 4)
    assert message == "argument --step: must be at most 3, the last step of the sequence, got 4"
    message = fails(capsys, "inspect", trained / "reviews.csv.model", *text, "--step", 1)
    assert message == "argument --step: needs a model with an output at every step"


def test_inspect_warns_of_unknown_tokens_and_marks_long_ones(trained, capsys):
    text = "not incomprehensible"
    shown, messages = run(capsys, "inspect", trained / "reviews.csv.model", "--text", text)
    assert "incomprehensib… " in shown
    assert messages == "unknown tokens: 'not', 'incomprehensible'\n"


def test_saliency_names_the_target_of_a_regression(trained, capsys):
    shown, _ = run(capsys, "inspect", trained / "waves.csv.model", trained / "waves.csv")
    assert "saliency of the output 'speed'" in shown


@pytest.mark.parametrize("size", ["3", "3x", "0x2", "axb", "3x2x1", "3x200", "nanx2"])
def test_a_size_is_width_and_height(size, trained, capsys):
    with pytest.raises(SystemExit):
        run(capsys, "inspect", trained / "reviews.csv.model", "--size", size)
    shown = " ".join(capsys.readouterr().err.split())
    assert "argument --size: must be WIDTHxHEIGHT in inches, 1 to 50 each, such as 3.4x2.6" in shown


@pytest.mark.parametrize("kind", ["EncoderDecoder", "SequenceRegressor"])
def test_inspect_models_saved_in_python(kind, here, capsys):
    texts = ["good", "bad", "so"] * 5
    y = texts if kind == "EncoderDecoder" else [len(text) - 3 for text in texts]
    options = {"cell": "rnn", "hidden_size": 8, "epochs": 2, "random_state": 0}
    getattr(bptt, kind)(**options).fit(texts, y).save("m")
    shown, _ = run(capsys, "inspect", "m", "--text", "good")
    assert f"), {kind}\n" in shown
    assert "layer 0: " in shown


def test_online_estimators_do_not_read_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = bptt.OnlineRegressor(hidden_size=4)
    model.learn_one({"x": 1.0}, 2.0)
    model.save("m")
    message = "m is an OnlineRegressor, which reads streams in Python, not files"
    assert fails(capsys, "predict", "m", "--text", "a").startswith(message)


# ---- errors of use; those of reading are in test_readers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "none"], "needs either FILE or --text TEXT"),
        (["predict", "none", "--text", "a"], "cannot load none: there is no such file"),
        (["predict", "names.txt", "--text", "a"], "cannot load names.txt: "),
        (["predict", "names.txt.model", "--text", "a"], "names.txt.model generates sequences"),
        (["predict", "waves.csv.model", "--text", "a"], "--text is plain text, and the mod"),
        (["predict", "waves.csv.model", "waves.csv", "--probabilities"], "waves.csv.model predict"),
        (["predict", "reviews.csv.model", "--text", " "], "argument --text: must not be empty"),
        (["predict", "reviews.csv.model", "waves.csv"], "waves.csv: there is no column 'text'"),
        (["predict", "walks.csv.model", "waves.csv"], "waves.csv: there is no column 'seq"),
        (["generate", "reviews.csv.model"], "reviews.csv.model is a SequenceClassifier, not"),
        (["inspect", "none"], "cannot load none: there is no such file"),
        (["inspect", "x", "y", "--text", "z"], "takes either FILE or --text TEXT"),
        (["inspect", "names.txt.model", "--text", "ab", "--number", "2"], "argument --number: mu"),
        (["inspect", "names.txt.model", "--plot", "names.txt"], "cannot write plots to names.txt"),
        (["inspect", "x", "--plot", "a.eps"], "argument --plot: must end in .png, .svg, .pdf, or "),
        (["generate", "none"], "cannot load none: there is no such file"),
        (["train", "names.txt", "--output", "no/model"], "cannot save no/model: No such file"),
        (["train", "names.txt", "--output", "names.txt"], "cannot save names.txt: it is the inp"),
        (["train", "names.txt", "--validation", "1.5"], "argument --validation: must be in (0, 1)"),
        (["train", "names.txt", "--validation", "none"], "cannot read none: No such file"),
        (["train", "names.txt", "--bidirectional"], "LanguageModel needs bidirectional=False"),
        (["train", "tagged.tsv", "--validation", "x.tsv"], "x.tsv: has no sequence with labels"),
    ],
)  # fmt: skip
def test_errors_of_use(arguments, message, trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    (trained / "x.tsv").write_text("the\tX\n")
    assert fails(capsys, *arguments, *(SMALL if arguments[0] == "train" else ())).startswith(
        message
    )


def test_numbers_beyond_float32_are_an_error(here, capsys):
    write_waves(here / "a.csv")
    text = (here / "a.csv").read_text().replace("20.0", "9e38", 1)
    (here / "a.csv").write_text(text)
    assert "finite" in fails(capsys, "train", "a.csv", "--target", "speed", *SMALL)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupted_training_leaves_its_best_model(here):
    write_names(here / "a.txt")
    # Background jobs may ignore the signal.
    process = subprocess.Popen(
        [sys.executable, "-m", "bptt", "train", "a.txt", "--epochs", "100000",
         "--patience", "99999"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stderr.readline().startswith("epoch   1/100000 ")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    shown, messages = process.communicate()
    assert process.returncode == 130
    assert messages.endswith("train: interrupted, the best model so far is in a.safetensors\n")
    assert "Saved    a.safetensors" in shown
    assert bptt.load_estimator("a.safetensors").sample(count=2, random_state=0)


@pytest.mark.parametrize("command", ["train", "predict", "generate", "inspect"])
def test_help_fits_80_columns_and_has_examples(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert f"  python -m bptt {command} " in shown.partition("examples:\n")[2]


# ---- arguments


def test_a_file_may_follow_the_options(trained, here, capsys):
    (here / "a.csv").write_text("text\nthe film was great\n")
    model = trained / "reviews.csv.model"
    shown, _ = run(capsys, "predict", model, "a.csv", "--probabilities")
    assert run(capsys, "predict", model, "--probabilities", "a.csv")[0] == shown
    assert run(capsys, "predict", model, "--format", "csv", "a.csv", "--output", "-")[0] != ""
    message = fails(capsys, "predict", model, "--text", "great", "a.csv")
    assert message == "needs either FILE or --text TEXT"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--epoch", "unrecognized arguments: --epoch; did you mean --epochs?\n"),
        ("--learnrate=1", "unrecognized arguments: --learnrate=1; did you mean --learning-rate?\n"),
        ("--frob", "unrecognized arguments: --frob\n"),
    ],
)
def test_an_unknown_option_is_compared_with_those_of_the_command(option, message, capsys):
    with pytest.raises(SystemExit):
        main(["train", "a.csv", option])
    assert capsys.readouterr().err.endswith(f"python -m bptt train: error: {message}")


def test_standard_output_is_no_model(here, capsys):
    (here / "a.csv").write_text("text,label\na,p\n")
    message = fails(capsys, "train", "a.csv", "--output", "-")
    assert message == "argument --output: must be a file, got -: a model is no text"


def test_lines_are_those_of_plain_text(here, capsys):
    (here / "a.csv").write_text("text,label\na,p\n")
    message = fails(capsys, "train", "a.csv", "--lines")
    assert message == "argument --lines: needs plain text, got CSV"


def test_columns_that_are_not_used_are_named(here, capsys):
    (here / "a.csv").write_text("name,city,size,label\n" + "n,c,1,p\nm,d,2,q\n" * 20)
    chosen = ("--text", "name", "--target", "label", "--epochs", 1, "--hidden-size", 4)
    shown = " ".join(run(capsys, "train", "a.csv", *chosen)[0].split())
    assert "target in 'label'; not used: 'city', 'size' Task" in shown


def test_rare_labels_are_not_0_percent(here, capsys):
    rows = ["good,p"] * 150 + ["bad,q"] * 150 + ["odd,r"]
    (here / "a.csv").write_text("\n".join(["text,label", *rows]))
    shown = run(capsys, "train", "a.csv", "--epochs", 1, "--hidden-size", 4)[0]
    assert "r <1%" in shown


def test_a_cell_may_be_a_book(here, capsys):
    book = "word " * 40_000
    (here / "a.csv").write_text("text,label\n" + f"{book},p\nshort,q\n" * 4)
    shown = run(capsys, "train", "a.csv", "--epochs", 1, "--hidden-size", 2)[0]
    assert "2 labels: p 50%, q 50%" in shown


def test_a_text_among_numbers_is_named(here, capsys):
    rows = [f"{i},{i % 7},{i / 7}" for i in range(30)] + ["1,2,high"]
    (here / "a.csv").write_text("\n".join(["a,b,target", *rows]))
    message = fails(capsys, "train", "a.csv")
    assert message.endswith("for a regression, all must be numbers, got 'high'")


def test_one_column_with_the_name_of_the_input_is_a_table(trained, capsys, monkeypatch):
    content = io.BytesIO(b"text\nwas great\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(content))
    shown, messages = run(capsys, "predict", trained / "reviews.csv.model", "-")
    assert shown.splitlines()[0] == "text,prediction"
    assert len(shown.splitlines()) == 2
    assert messages == ""


@pytest.mark.parametrize(
    "options",
    [
        ("--text", "label"),
        ("--ignore", "label"),
        ("--sequence", "label"),
        ("--group", "label"),
        ("--target", "label"),
    ],
)
def test_a_column_has_one_role(options, here, capsys):
    (here / "a.csv").write_text("text,label\n" + "a,p\nb,q\n" * 10)
    message = fails(capsys, "train", "a.csv", "--target", "label", *options)
    assert message == f"argument {options[0]}: 'label' is already the target"


def test_an_ignored_label_is_no_target(here, capsys):
    (here / "a.csv").write_text("text,label,mood\n" + "a b,p,x\nb a,q,y\n" * 10)
    chosen = ("--epochs", 1, "--hidden-size", 4)
    shown = run(capsys, "train", "a.csv", "--ignore", "label", *chosen)[0]
    assert "texts in 'text', target in 'mood'" in shown
    shown = run(
        capsys, "train", "a.csv", "--text", "label", "--target", "mood", "--overwrite", *chosen
    )[0]
    assert "texts in 'label', target in 'mood'" in shown


def test_the_training_file_does_not_validate(here, capsys):
    (here / "a.csv").write_text("text,label\n" + "a,p\nb,q\n" * 10)
    message = fails(capsys, "train", "a.csv", "--validation", "a.csv")
    assert message == "argument --validation: a.csv is the training file"


def test_missing_glyphs_are_one_line(here, capsys):
    pytest.importorskip("matplotlib")
    texts = ["今天 好", "明天 不"] * 8
    (here / "a.csv").write_text(
        "text,label\n" + "".join(f"{text},{text[-1]}\n" for text in texts), encoding="utf-8"
    )
    run(capsys, "train", "a.csv", "--epochs", 1, "--hidden-size", 4)
    messages = run(capsys, "inspect", "a.safetensors", "--text", texts[0], "--plot", "p")[1]
    assert messages.startswith("boxes in the plots: matplotlib's font has no ")
    assert messages.count("\n") == 1
    assert "今" in messages


@pytest.mark.parametrize(
    ("option", "needs"),
    [
        (("--number", 2), "FILE or --text TEXT"),
        (("--step", 1), "FILE or --text TEXT"),
        (("--size", "3x3"), "--plot"),
    ],
)
def test_options_without_effect_are_errors(option, needs, trained, capsys):
    message = fails(capsys, "inspect", trained / "tagged.tsv.model", *option)
    assert message == f"argument {option[0]}: needs {needs}"


def test_a_model_without_a_field_is_of_another_version(trained, here, capsys):
    header, tensors = tensor_files.read(trained / "reviews.csv.model")
    del header["generators"]
    tensor_files.write(here / "old", header, tensors)
    message = fails(capsys, "predict", "old", "--text", "great")
    assert message == "old was saved by another version of bptt: train it again"


# ---- export --------------------------------------------------------------------------------------


def test_export_writes_a_c_file(tmp_path, capsys):
    write_reviews_csv(tmp_path / "reviews.csv")
    model = tmp_path / "moods.safetensors"
    run(capsys, "train", tmp_path / "reviews.csv", "--output", model, *SMALL)
    out, _ = run(capsys, "export", model, "--c", tmp_path / "moods.c")
    assert "logits of the classes bad, good" in out
    assert "moods_run" in out
    assert "moods_run" in (tmp_path / "moods.h").read_text()
    assert "static const float" in (tmp_path / "moods.c").read_text()


def test_export_of_what_has_no_c_code(tmp_path, capsys):
    model = tmp_path / "tagger.safetensors"
    tagger = bptt.SequenceTagger(crf=True, hidden_size=4, epochs=1)
    tagger.fit([["a", "b"]] * 4, [["x", "y"]] * 4).save(model)
    message = fails(capsys, "export", model, "--c", tmp_path / "tagger.c")
    assert message.endswith("a CRF has no C code")
    bptt.SequenceClassifier(hidden_size=4, epochs=1).fit(["ab", "ba"], [0, 1]).save(model)
    message = fails(capsys, "export", model, "--c", tmp_path / "missing" / "moods.c")
    assert message.endswith("No such file or directory")
    message = fails(capsys, "export", model, "--c", tmp_path / "1.c")
    assert "must be an identifier of C, got '1'" in message
