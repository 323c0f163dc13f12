"""Dynamic time warping: connected words are recognized by templates, in one pass.

H. Ney (1984), The use of a one-stage dynamic programming algorithm for connected word recognition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bptt.metrics import error_rate
from examples._audio import SHIFT, STACK, Features, Sound, log_mel
from examples._digits import Distortion, Recording, by_speaker, join, strings

Recognizer = Callable[[Sequence[Sound]], list[list[int]]]  # sounds -> digits

PAUSE = -1
PENALTIES = (0.0, 0.5, 1.0, 2.0)


class Templates:
    """Templates of words, and of pauses, which are compared with a sequence all at once.

    Parameters
    ----------
    sequences : sequence of arrays (steps, features)
        The templates.
    words : sequence of int
        Word of each template; `PAUSE` for a pause, which may last any time.
    """

    def __init__(self, sequences: Sequence[NDArray[np.float32]], words: Sequence[int]) -> None:
        self.words = np.array(words)
        self._ends = np.array([len(one) - 1 for one in sequences])
        self._frames = np.concatenate(sequences)
        steps = np.arange(self._ends.max() + 1)
        starts = np.cumsum(self._ends + 1) - (self._ends + 1)
        # Steps after the end of a template repeat its last frame, and lead nowhere.
        self._places = starts[:, np.newaxis] + np.minimum(steps, self._ends[:, np.newaxis])

    def distances(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean squared differences of frames, (steps of x, templates, their steps)."""
        squares = (x**2).sum(axis=1)[:, np.newaxis] + (self._frames**2).sum(axis=1)
        flat: NDArray[np.float32] = (squares - 2 * x @ self._frames.T) / x.shape[1]
        return flat[:, self._places]

    def recognize(self, x: NDArray[np.float32], penalty: float) -> list[int]:
        """Return the words whose templates, one after the other, have the smallest distance to x.

        Each step of x is compared with one frame: that of the step before, the next, or the one
        after that. The distances of a path are added, with a penalty for each template.

        Parameters
        ----------
        x : array (steps, features)
            The sequence.
        penalty : float
            Distance that each template adds.
        """
        cost = np.full(self._places.shape, np.inf)
        start = np.zeros(self._places.shape, np.int64)  # of the template's path to a frame
        total, rows = 0.0, np.arange(len(cost))
        ends = []  # after each step: the best template that ends, and where it started
        for t, distance in enumerate(self.distances(x)):
            moves = np.full((3, *cost.shape), np.inf)
            moves[0], moves[1, :, 1:], moves[2, :, 2:] = cost, cost[:, :-1], cost[:, :-2]
            best = moves.argmin(axis=0)
            before = np.maximum(np.arange(cost.shape[1]) - best, 0)
            cost, start = moves.min(axis=0), start[rows[:, np.newaxis], before]
            enters = cost[:, 0] > total + penalty
            cost[enters, 0], start[enters, 0] = total + penalty, t
            cost += distance
            last = cost[rows, self._ends]
            ended = int(last.argmin())
            total = last[ended]
            ends.append((int(self.words[ended]), int(start[ended, self._ends[ended]])))
        found = []
        t = len(ends)
        while t > 0:
            word, t = ends[t - 1]
            found.append(word)
        return [word for word in found[::-1] if word != PAUSE]


def templates(known: Sequence[Recording], seed: int, each: int = 6) -> Templates:
    """Return templates of `each` recordings per digit and speaker, and of the pauses around them.

    They are cut out of strings, with the same noise and scaling as those to recognize.
    """
    random = np.random.default_rng([seed, 1])
    sequences: list[Features] = []
    words: list[int] = []
    for own in by_speaker(known).values():
        chosen = [
            place
            for digit in range(10)
            for place in random.permutation([i for i, r in enumerate(own) if r.digit == digit])[
                :each
            ]
        ]
        for part in np.array_split(random.permutation(chosen), max(1, len(chosen) // 5)):
            string = join([own[i] for i in part], Distortion(), random)
            x = log_mel(string.sound)
            steps = np.round(string.borders / (SHIFT * STACK)).astype(int)
            sequences += [x[first : max(last, first + 1)] for first, last in steps]
            sequences.append(x[steps[0, 0] // 2 :][:1])
            words += [*string.digits, PAUSE]
    return Templates(sequences, words)


def warping(known: Sequence[Recording], seed: int) -> Recognizer:
    """Return the baseline: the digits of sounds by the templates of known speakers.

    The penalty of a template is chosen with each known speaker by the templates of the others.
    """
    speakers = by_speaker(known)
    errors = dict.fromkeys(PENALTIES, 0.0)
    for who, own in speakers.items():
        others = [one for one in known if one.speaker != who] or own
        model = templates(others, seed)
        tests = strings(own, 15, [seed, 3])
        sounds = [log_mel(string.sound) for string in tests]
        for penalty in PENALTIES:
            found = [model.recognize(x, penalty) for x in sounds]
            errors[penalty] += error_rate(found, [string.digits for string in tests])
    penalty = min(errors, key=errors.__getitem__)
    model = templates(known, seed)
    return lambda sounds: [model.recognize(log_mel(sound), penalty) for sound in sounds]
