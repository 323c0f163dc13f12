"""Spoken digits: recordings, and strings of them with pauses and noise."""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bptt.training import SequenceBatch
from examples._audio import (
    RATE,
    Features,
    Sound,
    Voice,
    cepstra,
    colored_noise,
    log_mel,
    mask,
    read_wave,
    stretch,
    trim,
)
from examples._data import MissingDataError

NAME = re.compile(r"(\d)_(.+)_(\d+)\.wav")
LONGEST = 7


class Recording(NamedTuple):
    """A spoken digit."""

    digit: int
    speaker: str
    index: int
    sound: Sound


class String(NamedTuple):
    """Digits that were joined, with pauses and noise."""

    sound: Sound
    digits: list[int]
    borders: NDArray[np.int64]
    """First sample of each digit and the one after its last, (digits, 2)."""


@dataclass(frozen=True)
class Distortion:
    """Ranges of the random changes of a string; each change is drawn uniformly."""

    pause: tuple[float, float] = (0.03, 0.4)
    """Seconds before, between and after the digits."""
    speed: float = 0.05
    """Largest logarithm of the change of speed and pitch, of a string."""
    speeds: float = 0.0
    """The same, of each digit."""
    gain: float = 3.0
    """Largest change of the loudness of each digit, in decibels."""
    noise: tuple[float, float] = (15.0, 30.0)
    """Ratio of speech to noise, in decibels."""


TRAINING = Distortion((0.0, 0.5), speed=0.2, speeds=0.1, gain=6.0, noise=(5.0, 50.0))


def read_recordings(path: Path) -> list[Recording]:
    """Return the recordings ``DIGIT_SPEAKER_INDEX.wav`` of a ZIP file or a folder."""
    found = [
        Recording(int(match[1]), match[2], int(match[3]), trim(read_wave(file)))
        for name, file in _files(path)
        if (match := NAME.fullmatch(name.rpartition("/")[2]))
    ]
    if not found:
        rule = "it must hold recordings.zip, or files DIGIT_SPEAKER_INDEX.wav"
        raise MissingDataError(f"--data {path}: {rule}")
    return sorted(found, key=lambda one: one[:3])


def _files(path: Path) -> Iterator[tuple[str, Path | IO[bytes]]]:
    """Return names and contents of the WAV files of a ZIP file, or of a folder or a ZIP in it."""
    if path.is_dir():
        zipped = [path / "spoken_digits" / "recordings.zip", path / "recordings.zip"]
        path = next((file for file in zipped if file.is_file()), path)
    if path.is_dir():
        yield from ((file.name, file) for file in path.rglob("*.wav"))
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    yield name, file


def by_speaker(recordings: Sequence[Recording]) -> dict[str, list[Recording]]:
    """Return the recordings of each speaker."""
    found: defaultdict[str, list[Recording]] = defaultdict(list)
    for one in recordings:
        found[one.speaker].append(one)
    return dict(found)


def join(
    recordings: Sequence[Recording], distortion: Distortion, random: np.random.Generator
) -> String:
    """Join recordings with pauses, and add noise."""
    speed = random.uniform(-distortion.speed, distortion.speed)
    pauses = (random.uniform(*distortion.pause, len(recordings) + 1) * RATE).astype(np.int64)
    parts, borders, place = [np.zeros(pauses[0])], [], pauses[0]
    for recording, pause in zip(recordings, pauses[1:], strict=True):
        own = random.uniform(-distortion.speeds, distortion.speeds)
        sound = stretch(recording.sound, np.exp(speed + own))
        gain = 10 ** (random.uniform(-distortion.gain, distortion.gain) / 20)
        parts += [sound * (gain / (np.sqrt(np.mean(sound**2)) + 1e-9)), np.zeros(pause)]
        borders.append((place, place + len(sound)))
        place += len(sound) + pause
    clean = np.concatenate(parts)
    level = 10 ** (-random.uniform(*distortion.noise) / 20)
    noise = colored_noise(len(clean), random.uniform(0, 1.5), random)
    return String(clean + level * noise, [one.digit for one in recordings], np.array(borders))


def strings(
    recordings: Sequence[Recording], count: int, seed: int | list[int], longest: int = LONGEST
) -> list[String]:
    """Return strings of 1 to `longest` random digits, of each speaker in turn."""
    random = np.random.default_rng(seed)
    speakers = list(by_speaker(recordings).values())
    found = []
    for i in range(count):
        own = speakers[i % len(speakers)]
        chosen = random.integers(len(own), size=random.integers(1, longest + 1))
        found.append(join([own[k] for k in chosen], Distortion(), random))
    return found


class TrainingStrings:
    """Dataset of strings that are drawn anew for each minibatch, as if by new speakers.

    Parameters
    ----------
    recordings : sequence of Recording
        Recordings of one or more speakers; a string has one of them.
    count : int
        Number of strings in an epoch.
    seed : int
        Seed of all that is random.
    longest : int
        Largest number of digits.
    further : sequence of Recording
        Recordings of further speakers, of less worth: half of the strings have one of them.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        count: int,
        seed: int,
        longest: int = LONGEST,
        further: Sequence[Recording] = (),
    ) -> None:
        self._random = np.random.default_rng(seed)
        groups = [by_speaker(group) for group in (recordings, further) if group]
        self._groups = [list(group.values()) for group in groups]
        self.lengths = self._random.integers(1, longest + 1, count)  # in digits

    def batch(self, indices: NDArray[np.int64]) -> SequenceBatch:
        """Return new strings with these numbers of digits; a target is a digit + 1, padding 0."""
        drawn = [self._draw(count) for count in self.lengths[indices]]
        x, lengths = padded([x for x, _ in drawn])
        y = np.zeros((len(drawn), max(len(digits) for _, digits in drawn)), np.int64)
        for row, (_, digits) in zip(y, drawn, strict=True):
            row[: len(digits)] = np.array(digits) + 1
        return SequenceBatch(x, lengths, y, None)

    def _draw(self, count: int) -> tuple[Features, list[int]]:
        random = self._random
        speakers = self._groups[random.integers(len(self._groups))]
        own = speakers[random.integers(len(speakers))]
        chosen = random.integers(len(own), size=count)
        string = join([own[k] for k in chosen], TRAINING, random)
        voice = Voice.random(random, warp=0.15, shape=0.06, channel=5.0, tempo=0.3)
        x = log_mel(string.sound, voice)
        mask(x, random)
        return cepstra(x), string.digits


def padded(rows: Sequence[Features]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return sequences as one array, padded with 0, and their lengths."""
    lengths = np.array([len(row) for row in rows])
    x = np.zeros((len(rows), lengths.max(), rows[0].shape[1]), np.float32)
    for padding, row in zip(x, rows, strict=True):
        padding[: len(row)] = row
    return x, lengths
