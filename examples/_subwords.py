"""Subwords by byte-pair encoding: characters, joined by the most frequent pairs.

R. Sennrich, B. Haddow and A. Birch (2016), Neural machine translation of rare words with subword
units. A word keeps the space before it, so that a text is its subwords, joined.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import TypeAlias

Pair: TypeAlias = tuple[str, str]
_WORD = re.compile(r" ?(?:[^\s!-/:-@\[-`{-~।“”…]+|\S)")  # a punctuation mark is a word


def words(text: str) -> list[str]:
    """Return words and punctuation marks, each with the space before it, if there is one."""
    return _WORD.findall(" " + " ".join(text.split()))


def learn_pairs(texts: Iterable[str], count: int) -> dict[Pair, int]:
    """Return up to `count` pairs of symbols to join, with their ranks; none that occurs once."""
    weights = Counter(word for text in texts for word in words(text))
    symbols = {word: list(word) for word in weights}
    frequency: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[str]] = defaultdict(set)  # words that have, or had, the pair
    for word in symbols:
        for pair in pairwise(symbols[word]):
            frequency[pair] += weights[word]
            places[pair].add(word)
    queue = [(-n, pair) for pair, n in frequency.items()]
    heapify(queue)
    ranks: dict[Pair, int] = {}
    while len(ranks) < count and queue:
        known, best = heappop(queue)
        if -known != frequency[best]:  # it has changed since: there is a newer entry
            continue
        if known > -2:
            break
        ranks[best] = len(ranks)
        changed = set[Pair]()
        for word in places.pop(best):
            before, symbols[word] = symbols[word], joined(symbols[word], best)
            for sign, parts in ((-1, before), (1, symbols[word])):
                for pair in pairwise(parts):
                    frequency[pair] += sign * weights[word]
                    places[pair].add(word)
                    changed.add(pair)
        for pair in changed:
            heappush(queue, (-frequency[pair], pair))
    return ranks


def joined(symbols: Sequence[str], pair: Pair) -> list[str]:
    """Return the symbols with each occurrence of the pair joined, from left to right."""
    result: list[str] = []
    for symbol in symbols:
        if result and (result[-1], symbol) == pair:
            result[-1] += symbol
        else:
            result.append(symbol)
    return result


class Subwords:
    """Subwords of a language, learned from its texts by joining up to `count` pairs."""

    def __init__(self, texts: Iterable[str], count: int) -> None:
        self._ranks = learn_pairs(texts, count)
        self._known: dict[str, list[str]] = {}

    def split(self, text: str) -> list[str]:
        """Return the subwords of a text; of a word the most frequent pair is joined first."""
        return [part for word in words(text) for part in self._split(word)]

    def _split(self, word: str) -> list[str]:
        if word not in self._known:
            parts = list(word)
            while found := [pair for pair in pairwise(parts) if pair in self._ranks]:
                parts = joined(parts, min(found, key=self._ranks.__getitem__))
            self._known[word] = parts
        return self._known[word]


def text_of(subwords: Iterable[str]) -> str:
    """Return the text that has these subwords."""
    return "".join(subwords).strip()
