"""Sentiment: positive or negative snippets of film reviews.

Task: the sign of the mean rating of a snippet, in [-4, 4]. The network learns the rating, which
carries more information than its sign.
Shape: many-to-one; the maximum of every unit over all steps goes to the output layer.
Network: a bidirectional GRU, which reads "not" wherever it stands. Words are embedded with their
affixes: almost half of them occur only once. Snippets have only 19 words: gates help, but GRU and
LSTM are about equal.
Data: 10,605 snippets of Rotten Tomatoes, each rated by at least 15 people (vaderSentiment, MIT),
without the 37 rated 0; 2,000 are the test, 1,000 the validation set.
Time: 40 seconds.
Result, sign accuracy of the mean of three networks: GRU 80.6 % (single 79.8, 79.7 and 79.9), LSTM
81.2 %, RNN 79.3 %; the best of 6 logistic regressions on word 1- and 2-grams 78.6 %. A linear model
of the ratings (ridge regression, tf-idf of words) reaches 79.7 %, as much as one network.
Tried, on validation snippets: affixes and ratings instead of signs gain 2 points each, three
networks 1, "max" instead of "mean" half a point. Word dropout helped only without affixes.
"""

from __future__ import annotations

import re
import tarfile

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from bptt import SequenceRegressor
from bptt.optim import schedules
from examples._common import Example, Options, Report
from examples._data import package_file

ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
MEMBER = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def read():
    """Return all snippets and their ratings, without those rated 0."""
    path = package_file("vaderSentiment==3.3.2", ARCHIVE, sdist=True)
    with tarfile.open(path) as archive:
        text = archive.extractfile(MEMBER).read().decode("utf-8", errors="replace")
    rows = [line.split("\t") for line in text.splitlines()]
    rows = [row for row in rows if float(row[1])]
    return [row[2] for row in rows], np.array([float(row[1]) for row in rows])


def words(text):
    """Split a text into words and punctuation: "don't" becomes "do" and "n't"."""
    text = text.lower().replace("''", '"').replace("n't", " n't").replace("'s", " 's")
    return re.findall(r"n't|'s|\w+(?:'\w+)?|[!?.,;:\"]", text)


def bag_of_words(texts, ratings, train, validation, test, quick):
    """Return the test accuracy of the logistic regression with the best validation accuracy."""
    found = []
    for pairs in (1,) if quick else (1, 2):
        counts = CountVectorizer(
            binary=True, tokenizer=words, token_pattern=None, ngram_range=(1, pairs)
        )
        seen = counts.fit([texts[i] for i in train]).transform(texts)
        for C in (0.3, 1, 3):
            model = LogisticRegression(C=C, max_iter=1000)
            model.fit(seen[train], ratings[train] > 0)
            scores = [model.score(seen[some], ratings[some] > 0) for some in (validation, test)]
            found.append(tuple(scores))
    return max(found)[1]


def right(ratings, truth):
    """Return the share of ratings with the correct sign."""
    return float(np.mean((ratings > 0) == (truth > 0)))


def run(options: Options) -> Report:
    """Learn ratings, and compare the signs with those of a bag of words."""
    texts, ratings = read()
    tokens = [words(text) for text in texts]
    order = np.random.default_rng(0).permutation(len(texts))
    test, validation, train = np.split(order, [2000, 3000])
    if options.quick:
        train = train[:3000]
    networks, epochs = (1, 5) if options.quick else (3, 6)

    def of(indices):
        return [tokens[i] for i in indices]

    models = [
        SequenceRegressor(
            cell=options.cell,
            bidirectional=options.bidirectional,
            tokens=None,
            embedding_size=64,
            affixes=4,
            hidden_size=64,
            pool="max",
            dropout=0.5,
            scale=True,
            epochs=epochs,
            schedule=schedules.CosineDecay(epochs=epochs),
            random_state=options.seed + number,
        ).fit(of(train), ratings[train])
        for number in range(networks)
    ]

    def predict(snippets):
        return np.mean([model.predict(snippets) for model in models], axis=0)

    predicted = predict(of(test))
    each = [right(model.predict(of(test)), ratings[test]) for model in models]
    if options.plot is not None:
        draw(options.plot / "sentiment.png", predict, of(test), ratings[test])
    return Report(
        "sign accuracy",
        right(predicted, ratings[test]),
        "logistic regression on word 1- and 2-grams",
        bag_of_words(texts, ratings, train, validation, test, options.quick),
        f"{len(test):,} test snippets; {len(train):,} for training",
        also={
            "single networks": ", ".join(f"{one:.4g}" for one in each),
            "validation": f"{right(predict(of(validation)), ratings[validation]):.4g}",
            "correlation with the ratings": f"{np.corrcoef(predicted, ratings[test])[0, 1]:.2f}",
        },
    )


def draw(path, predict, texts, ratings):
    """Plot some snippets, each word colored by its contribution to the rating."""
    import matplotlib.pyplot as plt

    shown = [i for i, text in enumerate(texts) if 9 < len(text) < 16][:7]
    figure, axes = plt.subplots(figsize=(10, 5.6), layout="constrained")
    axes.set(
        xlim=(0, 1), ylim=(len(shown) - 0.3, -0.7), title="Contribution of each word to the rating"
    )
    axes.axis("off")
    colors = plt.cm.ScalarMappable(plt.Normalize(-2, 2), "PuOr")
    for row, i in enumerate(shown):
        text = texts[i]
        without = [[*text[:k], *text[k + 1 :]] for k in range(len(text))]
        whole, *others = predict([text, *without])
        label = f"{whole:+.1f}, rated {ratings[i]:+.1f}"
        axes.text(0, row - 0.33, label, fontsize=9, color="dimgray", va="center")
        place = 0.0
        for word, other in zip(text, others, strict=True):
            color = colors.to_rgba(whole - other)
            box = {"facecolor": color, "edgecolor": "none", "boxstyle": "round,pad=0.15"}
            dark = abs(whole - other) > 1.2
            drawn = axes.text(
                place, row, word, va="center", bbox=box, color="white" if dark else "black"
            )
            extent = drawn.get_window_extent().transformed(axes.transData.inverted())
            place = extent.x1 + 0.012
    figure.colorbar(colors, ax=axes, label="rating with the word - rating without", shrink=0.6)
    figure.savefig(path, dpi=100)
    plt.close(figure)


example = Example(__doc__, run, cell="gru", bidirectional=True, compare=True)

if __name__ == "__main__":
    example.main()
