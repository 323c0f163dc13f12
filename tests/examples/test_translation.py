"""Translation: subwords, bilingual texts and their split, the translation memory, scores."""

from __future__ import annotations

import gzip
import random
import struct
from collections import Counter
from itertools import pairwise

import pytest

from examples import _bitext, translation
from examples._bitext import grouped, normalized, read_packages, read_tatoeba, split
from examples._data import MissingDataError
from examples._subwords import Subwords, joined, learn_pairs, text_of, words
from examples.translation import romanized, scores, translation_memory

MARATHI = "मला टॉमची गरज नव्हती, टॉम."


def bitext():
    """Return 60 short sentences with one or two translations."""
    verbs = {"see": "पाहतो", "know": "ओळखतो", "want": "मागतो"}
    things = {"tom": "टॉम", "water": "पाणी", "milk": "दूध", "bread": "भाकरी", "you": "तू"}
    people = {"I": "मी", "We": "आम्ही", "They": "ते", "You": "तुम्ही"}
    return [
        (
            f"{who} {verb} {what}.",
            [f"{one} {two} {three}.", f"{two} {three}."][: 1 + (what == "tom")],
        )
        for who, one in people.items()
        for what, two in things.items()
        for verb, three in verbs.items()
    ]


def test_words_keep_the_space_before_them():
    assert words('He said: "no,  no"') == [" He", " said", ":", ' "', "no", ",", " no", '"']
    assert words(MARATHI) == [" मला", " टॉमची", " गरज", " नव्हती", ",", " टॉम", "."]
    assert words("") == []


@pytest.mark.parametrize(
    ("symbols", "pair", "result"),
    [
        ("abcab", ("a", "b"), ["ab", "c", "ab"]),
        ("aaa", ("a", "a"), ["aa", "a"]),
        ("abb", ("a", "b"), ["ab", "b"]),
        ("cab", ("b", "a"), ["c", "a", "b"]),
    ],
)
def test_joined_symbols(symbols, pair, result):
    assert joined(symbols, pair) == result


def slowly_learned(texts, count):
    """Count all pairs anew for every rank."""
    symbols = [list(word) for text in texts for word in words(text)]
    ranks = {}
    while len(ranks) < count:
        frequency = Counter(pair for parts in symbols for pair in pairwise(parts))
        if not frequency:
            break
        best = min(frequency, key=lambda pair: (-frequency[pair], pair))
        if frequency[best] < 2:
            break
        ranks[best] = len(ranks)
        symbols = [joined(parts, best) for parts in symbols]
    return ranks


@pytest.mark.parametrize("seed", range(5))
def test_most_frequent_pairs_are_learned_in_turn(seed):
    letters = random.Random(seed)
    texts = ["".join(letters.choices("aab ", k=30)) for _ in range(20)]
    assert learn_pairs(texts, 40) == slowly_learned(texts, 40)


def test_a_pair_that_occurs_once_is_not_learned():
    assert learn_pairs(["ab ab xy"], 10) == {(" ", "a"): 0, (" a", "b"): 1}


def test_text_is_its_subwords_joined():
    texts = [text for _, others in bitext() for text in others]
    subwords = Subwords(texts, 60)
    for text in (*texts, MARATHI, "New words, 99 €!"):
        assert text_of(subwords.split(text)) == text
    assert subwords.split("टॉम") == [" टॉम"]
    assert len(subwords.split(texts[0])) < len(texts[0]) / 2


def test_no_english_text_is_in_two_parts():
    more = [(english.upper().replace(".", "!"), texts) for english, texts in bitext()]
    parts = split(bitext() + more, (10, 5), seed=0)
    assert [len(part) for part in parts] == [10, 5, 2 * 45]
    keys = [{normalized(english) for english, _ in part} for part in parts]
    assert [len(part) for part in keys] == [10, 5, 45]
    assert len(set.union(*keys)) == 60
    assert parts == split(bitext() + more, (10, 5), seed=0)
    assert parts != split(bitext() + more, (10, 5), seed=1)


def test_translations_of_a_text_stand_together():
    pairs = [
        ("Run!", "पळ!"),
        ("Go", "जा"),
        ("Run!", "धाव!"),
        ("Run!", " पळ! "),
        ("OK", "OK"),
        ("?", "का"),
    ]
    assert grouped(pairs) == [("Go", ["जा"]), ("Run!", ["पळ!", "धाव!"])]
    assert normalized("It's 5, Tom!") == normalized("it s 5 tom") == "it s 5 tom"


def test_sentences_of_tatoeba(tmp_path):
    with gzip.open(tmp_path / "mar.txt.gz", "wt", encoding="utf-8") as file:
        file.write("Hello!\tहेलो.\nRun!\tपळ!\tlicense\nRun!\tधाव!\n")
    assert read_tatoeba(tmp_path) == [("Hello!", ["हेलो."]), ("Run!", ["पळ!", "धाव!"])]
    with pytest.raises(MissingDataError, match=r"it must hold tatoeba_en_mr/mar\.txt"):
        read_tatoeba(tmp_path / "other")


def write_catalog(path, translations):
    """Write a file of gettext."""
    texts = [
        [text.encode() for text in column] for column in zip(*translations.items(), strict=True)
    ]
    tables, data = b"", b""
    start = 28 + 16 * len(translations)
    for column in texts:
        for text in column:
            tables += struct.pack("<II", len(text), start + len(data))
            data += text + b"\0"
    head = (0x950412DE, 0, len(translations), 28, 28 + 8 * len(translations), 0, 0)
    path.write_bytes(struct.pack("<7I", *head) + tables + data)


def test_texts_of_packages(tmp_path, monkeypatch):
    write_catalog(
        tmp_path / "a.mo",
        {
            "": "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n!=1;\n",
            "menu\x04_Open...": "उघडा (_O)...",
            "menu\x04~File": "फाइल (~F)",
            "count\x04page\0pages": "पान\0पाने",
            "x\x04%1 pages": "%1 पाने",
            "x\x04same": "same",
            "x\x04" + "long " * 20: "लांब",
        },
    )
    for folder in ("annotations", "annotationsDerived"):
        (tmp_path / folder).mkdir()
        for code, name in (("en", "kiss"), ("mr", "चुंबन")):
            lines = [
                f'<annotation cp="💋">{name} | x</annotation>',
                f'<annotation cp="💋" type="tts">{name}</annotation>',
                f'<annotation cp="💋🏻" type="tts">{name}, light</annotation>',
            ]
            text = f"<ldml><annotations>{''.join(lines)}</annotations></ldml>"
            (tmp_path / folder / f"{code}.xml").write_text(text, "utf-8")

    def found(package, path):
        return tmp_path if package.startswith("libre") else tmp_path.joinpath(*path.split("/")[-2:])

    monkeypatch.setattr(_bitext, "debian_file", found)
    assert read_packages("mr") == [
        ("File", ["फाइल"]),
        ("Open...", ["उघडा..."]),
        ("kiss", ["चुंबन"]),
    ]


def test_translation_memory_has_the_most_similar_sentence():
    known = bitext()
    assert translation_memory(known, ["We see Tom!", "They want no milk", known[7][0]]) == [
        "आम्ही टॉम पाहतो.",
        "ते दूध मागतो.",
        known[7][1][0],
    ]


def test_scores_take_the_best_reference():
    pytest.importorskip("sacrebleu")
    truth = [("a", ["मी घरी जात आहे", "घरी जात आहे मी"]), ("b", ["तो काल इथे आला होता"])]
    assert scores([truth[0][1][1], truth[1][1][0]], truth) == pytest.approx((100, 100))
    wrong = scores(["तो", "मी घरी"], truth)
    assert wrong.chrf < 30
    assert wrong.bleu < 10


def test_scores_need_a_package(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(translation, "import_module", missing)
    with pytest.raises(MissingDataError, match="chrF and BLEU need sacrebleu: pip install"):
        translation.run(translation.example.parser().parse_args(["--quick"]))


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        ("नमस्ते, टॉम", "namaste, ttoma"),
        ("आहे ५", "aahe 5"),
        ("नाहीयेस", "naahiiyesa"),
        ("தமிழ்", "tamilll"),
        ("ગુજરાતી", "gujaraatii"),
        ("तुम्हांला", "tumhaanlaa"),
    ],
)
def test_indic_text_in_latin_letters(text, latin):
    assert romanized(text) == latin


def test_example_on_a_small_file(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sacrebleu")
    lines = [f"{english}\t{text}\n" for english, texts in bitext() for text in texts]
    (tmp_path / "mar.txt").write_text("".join(lines), "utf-8")
    monkeypatch.setattr(translation, "TEST", 10)
    monkeypatch.setattr(translation, "VALIDATION", 5)
    arguments = ["--quick", "--data", str(tmp_path)]
    report, _ = translation.example.report(translation.example.parser().parse_args(arguments))
    assert 0 < report.result <= 100
    assert report.baseline_result > 40
    assert report.data == "Marathi of Tatoeba, 52 training pairs, 10 test sentences"
    assert capsys.readouterr().out.count(" → ") == 12  # with the own sentence and the head
