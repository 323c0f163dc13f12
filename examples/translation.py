"""Translation of sentences: English into Marathi, Hindi, Tamil or Gujarati.

Task: the translation of a sentence, subword by subword, by a beam search with a length penalty.
Shape: many-to-many, unaligned.
Network: a bidirectional GRU as encoder, a GRU with attention as decoder. Both languages are split
by byte-pair encoding, 2,000 pairs each, learned from the training texts; no word is unknown.
Data: with --data, Marathi sentences of Tatoeba (CC BY 2.0 FR), tatoeba_en_mr/mar.txt with English
and Marathi in the first two tab-separated columns. Without, the texts of LibreOffice's windows
(libreoffice-l10n-mr, -hi, -ta, -gu, MPL-2.0) and the names of emoji (unicode-cldr-core,
Unicode-DFS), both Debian: 8,000 to 12,000 short texts. 1,000 English sentences are the test and 500
the validation; none is in training, nor in another case or punctuation.
Baseline: a translation memory: the translation of the most similar English training sentence.
Measures: chrF and BLEU of sacrebleu (pip install sacrebleu), with all translations of a sentence as
references.
Time: 5 minutes for Marathi of Tatoeba, 2 to 3 for the others.
Result with seed 0, chrF and BLEU (translation memory): Marathi of Tatoeba 61.8 and 42.6 (42.6 and
20.2); of the packages Hindi 47.1 and 28.5 (44.3 and 24.7), Tamil 48.1 and 19.4 (47.1 and 21.6, the
higher BLEU), Gujarati 44.7 and 26.0 (42.0 and 22.5), Marathi 42.5 and 23.4 (42.4 and 20.1).
Output: twenty translations, from the best to the worst; with --plot also as translation.txt.
"""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from bptt import EncoderDecoder
from bptt.optim.schedules import CosineDecay, WarmUp
from examples._bitext import LANGUAGES, Bitext, read_packages, read_tatoeba, split
from examples._common import Example, Options, Report
from examples._data import MissingDataError
from examples._pictures import draw_map
from examples._subwords import Subwords, text_of

TEST, VALIDATION = 1000, 500  # English sentences
OWN = "Hello, how are you?"


class Translator:
    """An encoder-decoder of subwords."""

    beam = 1
    length_penalty = 0.0

    def __init__(self, train: Bitext, validation: Bitext, options: Options) -> None:
        quick = options.quick
        subwords = 1000 if quick else 2000
        self.english = Subwords((english.lower() for english, _ in train), subwords)
        self.other = Subwords((text for _, texts in train for text in texts), subwords)
        epochs = 6 if quick else 8 if len(train) > 15_000 else 12
        self.model = EncoderDecoder(
            cell=options.cell,
            bidirectional=options.bidirectional,
            attention="dot",
            hidden_size=64 if quick else 256,
            embedding_size=64 if quick else 128,
            tokens=None,
            epochs=epochs,
            batch_size=32 if quick else 64,
            learning_rate=0.01 if quick else 0.003,
            schedule=WarmUp(50 if quick else 200, CosineDecay(epochs)),
            dropout=0.1 if quick else 0.4,
            label_smoothing=0.1,
            random_state=options.seed,
            verbose=0 if quick else 2,
        )
        self.model.fit(*self._pairs(train), validation=self._pairs(validation))

    def __call__(self, sentences: Iterable[str]) -> list[str]:
        """Return the translations of English sentences."""
        options = {"beam": self.beam, "length_penalty": self.length_penalty, "max_length": 60}
        found = self.model.predict(self._sources(sentences), **options)
        return [text_of(parts) for parts in found]

    def tune(self, validation: Bitext) -> float:
        """Search with a beam from now on, with the best length penalty; return the chrF."""
        self.beam = 5
        chrf = {}
        for self.length_penalty in (0.0, 0.5, 1.0, 1.5):
            found = self(english for english, _ in validation)
            chrf[self.length_penalty] = scores(found, validation).chrf
        self.length_penalty = max(chrf, key=chrf.__getitem__)
        print("length penalty: chrF", ", ".join(f"{p}: {c:.2f}" for p, c in chrf.items()))
        return chrf[self.length_penalty]

    def attention(self, sentence: str) -> tuple[Any, list[str], list[str]]:
        """Return the weights (S, T) while a sentence is translated, and both sides' subwords."""
        (source,) = self._sources([sentence])
        (target,) = self.model.predict([source])
        (weights,) = self.model.attention_weights([source], [target])
        return weights, source, target

    def _sources(self, sentences: Iterable[str]) -> list[list[str]]:
        return [self.english.split(sentence.lower()) for sentence in sentences]

    def _pairs(self, bitext: Bitext) -> tuple[list[list[str]], list[list[str]]]:
        """Return the subwords of both sides, a pair for every translation of a sentence."""
        pairs = [(english, text) for english, texts in bitext for text in texts]
        return self._sources(english for english, _ in pairs), [
            self.other.split(text) for _, text in pairs
        ]


def translation_memory(train: Bitext, sentences: Sequence[str]) -> list[str]:
    """Return the baseline: the translation of the most similar English training sentence.

    Similarity is the F1 of the distinct character n-grams, n = 1 to 4.
    """
    count = CountVectorizer(analyzer="char", ngram_range=(1, 4), binary=True, dtype=np.float32)
    known, new = count.fit_transform(english for english, _ in train), count.transform(sentences)
    sizes = known.sum(axis=1).T + new.sum(axis=1)
    nearest = np.asarray((2 * (new @ known.T).toarray() / sizes).argmax(axis=1)).ravel()
    return [train[i][1][0] for i in nearest]


class Scores(NamedTuple):
    """Scores of translations in percent, each compared with all references of its sentence."""

    chrf: float
    bleu: float


def sacrebleu() -> Any:
    """Return the package that computes chrF and BLEU in the standard way."""
    try:
        return import_module("sacrebleu")
    except ModuleNotFoundError:
        raise MissingDataError("chrF and BLEU need sacrebleu: pip install sacrebleu") from None


def scores(found: list[str], truth: Bitext) -> Scores:
    most = max(len(texts) for _, texts in truth)
    references = [[(*texts, *[None] * most)[i] for _, texts in truth] for i in range(most)]
    measures = sacrebleu().corpus_chrf, sacrebleu().corpus_bleu
    return Scores(*(measure(found, references).score for measure in measures))


def table(found: list[str], truth: Bitext, rows: int) -> str:
    """Return translations from the best to the worst, evenly spaced in the order of their chrF."""
    chrf = [
        sacrebleu().sentence_chrf(text, texts).score
        for text, (_, texts) in zip(found, truth, strict=True)
    ]
    order = np.argsort(chrf)[::-1]
    lines = ["chrF  English → translation (first reference)"]
    for i in order[np.linspace(0, len(order) - 1, min(rows, len(order))).round().astype(int)]:
        english, (reference, *_) = truth[i]
        lines.append(f"{chrf[i]:4.0f}  {english} → {found[i]} ({reference})")
    return "\n".join(lines)


def run(options: Options) -> Report:
    """Train, translate the test sentences, and compare with a translation memory."""
    sacrebleu()
    tatoeba = options.data is not None and options.language == "mr"
    bitext = read_tatoeba(options.data) if tatoeba else read_packages(options.language)
    if options.quick:
        bitext = [(english, texts) for english, texts in bitext if len(english) <= 20]
    test, validation, train = split(bitext, (TEST, VALIDATION), options.seed)
    translator = Translator(train, validation, options)
    also = {}
    if not options.quick:
        chrf = translator.tune(validation)
        also["length penalty"] = f"{translator.length_penalty} (chrF {chrf:.1f} in validation)"
    sentences = [english for english, _ in test]
    found = translator(sentences)
    ours, memory = scores(found, test), scores(translation_memory(train, sentences), test)
    (own,) = translator([OWN])
    lines = f"{table(found, test, 19)}\n   -  {OWN} → {own}"
    print(lines)
    if options.plot is not None:
        licenses = "Tatoeba, CC BY 2.0 FR" if tatoeba else "LibreOffice, MPL-2.0; CLDR, Unicode-DFS"
        text = f"{lines}\n\nEnglish and references: {licenses}\n"
        (options.plot / "translation.txt").write_text(text, "utf-8")
        right = [english for (english, texts), f in zip(test, found, strict=True) if f in texts]
        draw(translator, max(right, key=len, default=OWN), options.plot / "translation.png")
    source = "Tatoeba" if tatoeba else "LibreOffice and CLDR"
    pairs = sum(len(texts) for _, texts in train)
    return Report(
        measure="chrF",
        result=ours.chrf,
        baseline="translation memory",
        baseline_result=memory.chrf,
        data=f"{LANGUAGES[options.language]} of {source}, {pairs:,} training pairs, {len(test):,} "
        "test sentences",
        target=40.0 if tatoeba and not options.quick else None,
        also={
            "BLEU": f"{ours.bleu:.1f} (translation memory {memory.bleu:.1f})",
            **also,
            OWN: own,
        },
    )


def romanized(text: str) -> str:
    """Return an Indic text by the Unicode names of its signs, which any font can show."""
    result = ""
    for sign in text:
        name = unicodedata.name(sign, "").split()
        if sign.isascii() or not name:
            result += sign
        elif "DIGIT" in name:
            result += str(unicodedata.digit(sign))
        elif name[-1] == "VIRAMA" or "VOWEL" in name:  # in place of the "a" of the letter before
            result = result.removesuffix("a") + name[-1].lower() * ("VOWEL" in name)
        elif "LETTER" in name:
            result += name[-1].lower()
        else:
            result += {"ANUSVARA": "n", "CANDRABINDU": "n", "VISARGA": "h"}.get(name[-1], "")
    return result


def draw(translator: Translator, sentence: str, path: Path) -> None:
    """Plot the attention while the decoder translates a sentence."""
    weights, source, target = translator.attention(sentence)
    draw_map(
        weights,
        path,
        rows=[*(romanized(part).replace(" ", "_") for part in target), "<stop>"],
        columns=[part.replace(" ", "_") for part in source],
        title=f"Attention of the decoder: “{sentence}”",
        x="input subword",
        y="output subword, from top to bottom",
        color="attention",
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the option of this example."""
    parser.add_argument("--language", choices=LANGUAGES, default="mr", help="default: %(default)s")


example = Example(
    __doc__,
    run,
    cell="gru",
    bidirectional=True,
    more_data=True,
    arguments=arguments,
    variants=[f"--language {language}" for language in LANGUAGES if language != "mr"],
)

if __name__ == "__main__":
    example.main()
