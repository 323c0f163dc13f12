"""Splice junctions: exon-intron borders in DNA.

Task: is the middle of a window of 60 letters the border from exon to intron ("ei"), from intron to
exon ("ie"), or neither ("n")?
Shape: many-to-one; the letters are the steps, and a mark stands in the middle.
Network: a bidirectional LSTM, since both sides of the border matter; the maximum of every unit over
the window goes to the classifier.
Data: 3,186 windows of primate genes from GenBank, UCI "Molecular Biology (Splice-junction Gene
Sequences)", from Debian's r-cran-mlbench (GPL-2). Without duplicates 3,001 are left: 2,000 for
training, 400 for early stopping, 601 for the test.
Time: 4 seconds.
Result: 96.7 % of the test windows (RNN 96.3 %, GRU 97.7 %). Most frequent class for the middle four
letters: 89.2 %. Logistic regression on all letters by position is as good: 96.5 %.
Tried, on the splits used to choose the settings: one direction had 94 %; so had both without the
mark, where the network must count to find the middle.
"""

from __future__ import annotations

import lzma
import struct
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from bptt import SequenceClassifier
from bptt.optim.schedules import CosineDecay
from examples._common import Example, Options, Report
from examples._data import debian_file

LETTERS, WINDOW, MIDDLE = "ACGT", 60, 30


def windows() -> tuple[list[str], list[str]]:
    """Return the distinct windows and their classes.

    The R file is a table of 181 factors in big-endian integers: three bits per letter, then the
    class.
    """
    path = debian_file("r-cran-mlbench", "usr/lib/R/site-library/mlbench/data/DNA.rda")
    rows = 3186
    factor = struct.pack(">ii", 0x30D, rows)  # header of every column
    parts = lzma.decompress(path.read_bytes()).split(factor)[1:]
    columns = [np.frombuffer(part, ">i4", rows) for part in parts]
    bits = np.stack(columns[:-1], axis=1).reshape(rows, WINDOW, 3) == 2  # A 100 C 010 G 001 T 000
    ids = np.where(bits.any(axis=2), bits.argmax(axis=2), 3)
    texts = ["".join(LETTERS[i] for i in row) for row in ids]
    classes = dict(zip(texts, (("ei", "ie", "n")[k - 1] for k in columns[-1]), strict=True))
    return list(classes), list(classes.values())


def marked(texts: list[str]) -> list[str]:
    """Put the mark in the middle."""
    return [f"{text[:MIDDLE]}|{text[MIDDLE:]}" for text in texts]


def run(options: Options) -> Report:
    """Train with early stopping, and test."""
    texts, classes = windows()
    # Settings were chosen on other splits of the windows.
    order = np.random.default_rng([1, options.seed]).permutation(len(texts))
    texts, classes = [texts[i] for i in order], [classes[i] for i in order]
    learn, stop = (1000, 1200) if options.quick else (2000, 2400)
    model = SequenceClassifier(
        cell=options.cell,
        bidirectional=options.bidirectional,
        hidden_size=32,
        pool="max",
        dropout=0.3,
        learning_rate=0.01,
        epochs=15,
        schedule=CosineDecay(15),
        patience=6,
        random_state=options.seed,
    )
    held_out = marked(texts[learn:stop]), classes[learn:stop]
    model.fit(marked(texts[:learn]), classes[:learn], validation=held_out)

    known, test = (texts[:stop], classes[:stop]), (texts[stop:], classes[stop:])
    if options.plot:
        draw(model, *test, options.plot, count=10 if options.quick else 100)
    places = np.array([[[a == b for b in LETTERS] for a in text] for text in texts], np.float32)
    places = places.reshape(len(texts), -1)
    regression = LogisticRegression(C=0.1, max_iter=1000).fit(places[:stop], classes[:stop])
    return Report(
        "accuracy",
        model.score(marked(test[0]), test[1]),
        "most frequent class for the middle four letters",
        middle_letters_baseline(known, test),
        f"mlbench DNA (splice junctions), {len(test[0])} test windows",
        target=0.93,
        also={
            "logistic regression": f"{regression.score(places[stop:], test[1]):.4g}",
            "validation": f"{model.score(*held_out):.4g}",
        },
    )


def middle_letters_baseline(
    known: tuple[list[str], list[str]], test: tuple[list[str], list[str]]
) -> float:
    """Return the accuracy of the most frequent class for the same four letters."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for text, kind in zip(*known, strict=True):
        seen[text[MIDDLE - 2 : MIDDLE + 2]][kind] += 1
    usual = Counter(known[1]).most_common(1)[0][0]
    guesses = [
        max(seen[four], key=seen[four].__getitem__) if four in seen else usual
        for four in (text[MIDDLE - 2 : MIDDLE + 2] for text in test[0])
    ]
    return float(np.mean(np.array(guesses) == test[1]))


def draw(
    model: SequenceClassifier, texts: list[str], classes: list[str], folder: Path, count: int
) -> None:
    """Plot the probability lost when the letter at a position is replaced."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(10, 5.6), layout="constrained")
    titles = {"ei": "exon | intron", "ie": "intron | exon"}
    for ax, (kind, title), color in zip(axes, titles.items(), ("#0072B2", "#D55E00"), strict=True):
        chosen = [text for text, found in zip(texts, classes, strict=True) if found == kind][:count]
        changed = [
            text[:i] + LETTERS[(LETTERS.index(text[i]) + by) % 4] + text[i + 1 :]
            for text in chosen
            for i in range(WINDOW)
            for by in range(4)
        ]
        column = list(model.classes_).index(kind)
        sure = model.predict_proba(marked(changed))[:, column].reshape(len(chosen), WINDOW, 4)
        ax.bar(range(WINDOW), (sure[..., :1] - sure[..., 1:]).mean(axis=(0, 2)), color=color)
        usual = [Counter(column).most_common(1)[0][0] for column in zip(*chosen, strict=True)]
        ax.set_xticks(range(WINDOW), usual, size=8)
        ax.tick_params(axis="x", length=0)
        ax.axvline(MIDDLE - 0.5, color="0.4", linestyle=":")
        ax.set_title(f"{title}: importance of each letter")
        ax.set_ylabel("probability lost by\nreplacing the letter")
    axes[1].set_xlabel("most frequent letters, 30 before the border and 30 after it")
    figure.savefig(folder / "dna.png", dpi=100)
    plt.close(figure)


example = Example(__doc__, run, bidirectional=True, compare=True)

if __name__ == "__main__":
    example.main()
