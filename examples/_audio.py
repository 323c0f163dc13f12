"""Sound: WAV files, resampling, noise, and log-mel features with random voices."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, next_fast_len

from examples._data import MissingDataError

Sound = NDArray[np.float64]  # samples, RATE a second
Features = NDArray[np.float32]  # (steps, STACK * BANDS), or of cepstra

RATE = 8000
WINDOW, SHIFT, FFT = 200, 80, 256  # samples: a spectrum of 25 ms every 10 ms
BANDS = 24
CEPSTRA = 10
STACK = 2  # spectra in a step, of 20 ms
KNOTS = np.array([0.0, 500.0, 1200.0, 2000.0, 2800.0, RATE / 2])  # Hz, of a voice's warp


def read_wave(path: Path | IO[bytes]) -> Sound:
    """Return the samples of a WAV file of 8, 16 or 32 bits, the mean of its channels at 8 kHz."""
    try:
        with wave.open(str(path) if isinstance(path, Path) else path) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise MissingDataError(f"{path.name}: it must be a WAV file, {error}") from None
    if width not in (1, 2, 4) or not data:
        got = f"{8 * width} and {len(data)} bytes"
        raise MissingDataError(f"{path.name}: it must have 8, 16 or 32 bits and a sound, got {got}")
    samples = np.frombuffer(data, {1: "u1", 2: "<i2", 4: "<i4"}[width]).astype(np.float64)
    samples = samples / 128 - 1 if width == 1 else samples / 2.0 ** (8 * width - 1)
    sound = samples.reshape(-1, channels).mean(axis=1)
    return sound if rate == RATE else stretch(sound, RATE / rate)


def stretch(sound: Sound, factor: float) -> Sound:
    """Return the sound with about `factor` times as many samples, by its Fourier transform.

    The transforms have sizes that are fast: the factor is exact to 1 %.
    """
    size = next_fast_len(len(sound), real=True)
    count = next_fast_len(max(1, round(size * factor)), real=True)
    changed: Sound = np.fft.irfft(np.fft.rfft(sound, size), count) * (count / size)
    return changed[: max(1, round(len(sound) * count / size))]


def trim(sound: Sound) -> Sound:
    """Return the sound without the silence around it: 60 dB below the loudest 10 ms."""
    count = len(sound) // SHIFT
    power = (sound[: count * SHIFT].reshape(count, SHIFT) ** 2).mean(axis=1)
    loud = np.flatnonzero(power > 1e-6 * power.max(initial=0))
    return sound[loud[0] * SHIFT : (loud[-1] + 1) * SHIFT] if len(loud) else sound


def colored_noise(count: int, slope: float, random: np.random.Generator) -> Sound:
    """Return noise of power 1, with a spectral density of 1 / frequency ** slope over 50 Hz."""
    size = next_fast_len(count, real=True)
    spectrum = np.fft.rfft(random.standard_normal(size))
    spectrum /= np.maximum(np.arange(len(spectrum)), size * 50 / RATE) ** (slope / 2)
    noise = np.fft.irfft(spectrum, size)[:count]
    scaled: Sound = noise / np.sqrt(np.mean(noise**2))
    return scaled


class Voice(NamedTuple):
    """Changes of a speaker and a microphone, made where features are computed anyway."""

    warp: NDArray[np.float64]
    """Frequencies that move to `KNOTS`: another length and shape of the vocal tract."""
    channel: NDArray[np.float64]
    """Factor of the power of each frequency, (FFT // 2 + 1,)."""
    tempo: float
    """Factor of the time between spectra: another tempo at the same pitch."""

    @classmethod
    def random(
        cls, random: np.random.Generator, warp: float, shape: float, channel: float, tempo: float
    ) -> Voice:
        """Return a random voice.

        Parameters
        ----------
        random : Generator
        warp, tempo : float
            Largest logarithms of the factors of all frequencies, and of the time between spectra.
        shape : float
            Standard deviation of the logarithms of the factors of single frequencies.
        channel : float
            Standard deviation in decibels from one of seven frequencies to the next.
        """
        factors = random.uniform(-warp, warp) + shape * random.standard_normal(len(KNOTS))
        warped = np.clip(np.maximum.accumulate(KNOTS * np.exp(factors)), 0, RATE / 2)
        warped[-1] = RATE / 2
        decibels = np.cumsum(channel * random.standard_normal(7))
        places = np.linspace(0, 6, FFT // 2 + 1)
        power = 10 ** (np.interp(places, np.arange(7), decibels - decibels.mean()) / 10)
        return cls(warped, power, np.exp(random.uniform(-tempo, tempo)))

    @classmethod
    def scaled(cls, factor: float) -> Voice:
        """Return the voice whose frequencies are all `factor` times as high."""
        warped = np.minimum(KNOTS * factor, RATE / 2)
        warped[-1] = RATE / 2
        return cls(warped, np.ones(FFT // 2 + 1), 1.0)


def log_mel(sound: Sound, voice: Voice | None = None) -> Features:
    """Return the logarithms of the power in bands of the mel scale.

    Half of each band's mean over the loud steps is subtracted, and half of the mean of all bands: a
    few digits do not tell a microphone's response from their own spectrum. Pauses do not count, as
    features would depend on their number and noise. The quietest values are clipped.

    Parameters
    ----------
    sound : array (samples,)
        A shorter one than a step is padded with silence.
    voice : Voice, optional
        Changes of the features, for training.
    """
    shortest = WINDOW + 2 * STACK * SHIFT
    if len(sound) < shortest:
        sound = np.pad(sound, (0, shortest - len(sound)))
    shift = SHIFT if voice is None else SHIFT * voice.tempo
    starts = np.arange(0, len(sound) - WINDOW + 1, shift).astype(np.int64)
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[starts]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), FFT)) ** 2
    if voice is not None:
        power *= voice.channel
    bands = power @ mel_filters(None if voice is None else voice.warp).T
    energy = bands.sum(axis=1)
    loud = energy >= energy.max() / 300  # 25 dB
    logs = np.log(bands + 1e-4 * bands[loud].mean() + 1e-12)
    means = logs[loud].mean(axis=0)
    scaled = np.maximum((logs - (means + means.mean()) / 2) / 1.5, -2)
    steps = len(scaled) // STACK
    return scaled[: steps * STACK].reshape(steps, STACK * BANDS).astype(np.float32)


def cepstra(x: Features) -> Features:
    """Return the first coefficients of each spectrum's cosine transform, its envelope.

    The harmonics of a voice's pitch, which tell no digit, are in the others.
    """
    spectra = np.maximum(x.reshape(len(x), STACK, BANDS), -1.3)
    found: Features = dct(spectra, norm="ortho")[:, :, :CEPSTRA] / 1.2
    found[:, :, 0] *= 0.4  # loudness
    return found.reshape(len(x), STACK * CEPSTRA)


def mel_filters(warp: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return triangular filters, equidistant on the mel scale, (BANDS, FFT // 2 + 1)."""
    low, high = 2595 * np.log10(1 + np.array([80.0, 3800.0]) / 700)
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    if warp is not None:
        edges = np.interp(edges, KNOTS, warp)
    bins = np.linspace(0, RATE / 2, FFT // 2 + 1)
    left, middle, right = (edges[i : BANDS + i, np.newaxis] for i in range(3))
    rising = (bins - left) / np.maximum(middle - left, 1)
    falling = (right - bins) / np.maximum(right - middle, 1)
    filters: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return filters


def mask(x: Features, random: np.random.Generator, bands: int = 4, steps: int = 5) -> None:
    """Set up to two stripes of bands and two of steps to the mean: D. Park et al. (2019)."""
    spectra = x.reshape(len(x), STACK, BANDS)
    for _ in range(random.integers(3)):
        width = random.integers(bands + 1)
        first = random.integers(BANDS - width + 1)
        spectra[:, :, first : first + width] = 0
    for _ in range(random.integers(3)):
        width = random.integers(min(steps, len(x)) + 1)
        first = random.integers(len(x) - width + 1)
        spectra[first : first + width] = 0
