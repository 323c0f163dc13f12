"""Which tokens there are, and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._core import checks

UNKNOWN, START, STOP = "<unk>", "<start>", "<stop>"


class Vocabulary:
    """Numbers for tokens, the commonest first, and the special ones before them.

    Parameters
    ----------
    tokens : sequence of str
        All tokens, none twice, in the order of their ids.

    Attributes
    ----------
    tokens : tuple of str
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tuple(tokens)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            twice = next(t for t, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f"tokens must not come twice, got {twice!r}")

    @classmethod
    def of(
        cls, texts: Iterable[Iterable[str]], *, special: Sequence[str] = (), min_count: int = 1
    ) -> Vocabulary:
        """Learn the tokens of texts: `special` first, then by how often they come.

        Parameters
        ----------
        texts : iterable of iterables of str
            Sequences of tokens.
        special : sequence of str
            Tokens that come first, whether the texts have them or not.
        min_count : int
            How often a token must come.
        """
        checks.integer("min_count", min_count)
        counts = Counter(token for text in texts for token in text)
        for token in special:
            counts.pop(token, None)
        learned = [token for token, count in counts.items() if count >= min_count]
        return cls([*special, *sorted(learned, key=lambda token: (-counts[token], token))])

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: Hashable) -> bool:
        return token in self._ids

    def ids(self, text: Iterable[str]) -> NDArray[np.int32]:
        """Return the numbers of tokens; unknown ones get that of "<unk>".

        Raises
        ------
        ValueError
            If a token is unknown, and there is no "<unk>".
        """
        unknown = self._ids.get(UNKNOWN, -1)
        found = [self._ids.get(token, unknown) for token in text]
        if -1 in found:
            token = list(text)[found.index(-1)]
            raise ValueError(f"every token must be in the vocabulary, got {token!r}")
        return np.array(found, np.int32)

    def text(self, ids: Iterable[Any]) -> list[str]:
        """Return the tokens with these numbers."""
        return [self.tokens[i] for i in ids]
