"""Spoken digits: sound, features, strings of recordings, and dynamic time warping."""

from __future__ import annotations

import itertools
import wave
import zipfile

import numpy as np
import pytest

from bptt import GRU, Linear, Sequential
from examples import _audio, _digits, _synthetic_voices, speech_recognition
from examples._audio import (
    BANDS,
    CEPSTRA,
    RATE,
    STACK,
    Voice,
    cepstra,
    log_mel,
    mel_filters,
    stretch,
)
from examples._data import MissingDataError
from examples._digits import Distortion, Recording, TrainingStrings, join, read_recordings, strings
from examples._dtw import PAUSE, Templates


def tone(frequency, seconds=0.5, rate=RATE):
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write(path, sound, rate=RATE, channels=1, width=2):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        scaled = np.repeat(np.asarray(sound) / 2, channels)
        kind, scale = {1: ("u1", 128), 2: ("<i2", 32768), 4: ("<i4", 2.0**31)}[width]
        file.writeframes((scaled * scale + (128 if width == 1 else 0)).astype(kind).tobytes())


def recordings(speakers=("a", "b"), each=3):
    """Return digits that are tones."""
    return [
        Recording(digit, speaker, i, tone(300 + 250 * digit, 0.2 + 0.02 * i))
        for digit, speaker, i in itertools.product(range(10), speakers, range(each))
    ]


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2)])
def test_files_of_any_rate_and_width(tmp_path, width, rate, channels):
    write(tmp_path / "one.wav", tone(440, 0.5, rate), rate, channels, width)
    sound = _audio.read_wave(tmp_path / "one.wav")
    assert len(sound) == 4000
    inner = slice(200, -200)  # a Fourier transform takes the sound to be periodic
    np.testing.assert_allclose(sound[inner], tone(440)[inner] / 2, atol=0.01)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "one.wav").write_bytes(b"MP3")
    with pytest.raises(MissingDataError, match=r"one\.wav: it must be a WAV file"):
        _audio.read_wave(tmp_path / "one.wav")
    write(tmp_path / "two.wav", [])
    with pytest.raises(MissingDataError, match=r"two\.wav: .* got 16 and 0 bytes"):
        _audio.read_wave(tmp_path / "two.wav")


def test_stretched_tone_has_another_frequency():
    sound = stretch(tone(400), 0.8)
    assert len(sound) == pytest.approx(3200, rel=0.01)
    frequency = np.abs(np.fft.rfft(sound)).argmax() * RATE / len(sound)
    assert frequency == pytest.approx(500, rel=0.01)


def test_silence_around_a_sound_is_removed():
    sound = np.concatenate([np.zeros(800), tone(500), np.zeros(1600)])
    np.testing.assert_array_equal(_audio.trim(sound), tone(500))
    np.testing.assert_array_equal(_audio.trim(np.zeros(500)), np.zeros(500))


def test_spectrum_of_noise():
    random = np.random.default_rng(0)
    power = np.abs(np.fft.rfft(_audio.colored_noise(2**16, 1.0, random))) ** 2
    low, high = power[1600:3200].mean(), power[16000:32000].mean()  # a decade apart
    assert low / high == pytest.approx(10, rel=0.2)
    assert _audio.colored_noise(999, 0.0, random).std() == pytest.approx(1, rel=0.01)


def test_features_are_scaled_and_show_a_tone():
    sound = np.concatenate([tone(1000), tone(2000)]) + 0.01 * _audio.colored_noise(
        8000, 0.0, np.random.default_rng(0)
    )
    x = log_mel(sound)
    assert x.shape[1] == STACK * BANDS
    bands = x.reshape(-1, BANDS)
    assert bands.min() >= -2
    np.testing.assert_allclose(log_mel(100 * sound), x, rtol=1e-4, atol=1e-4)
    quiet = 1e-3 * _audio.colored_noise(8000, 0.0, np.random.default_rng(1))
    with_pauses = log_mel(np.concatenate([quiet, sound, quiet]))
    assert np.abs(with_pauses[51:98] - x[1:48]).mean() < 0.1
    centers = mel_filters().argmax(axis=1) * RATE / _audio.FFT
    for part, frequency in ((bands[:40], 1000), (bands[60:], 2000)):
        assert abs(centers[part.mean(axis=0).argmax()] - frequency) < 150
    assert len(log_mel(sound[:10])) >= 1  # too short: padded


def test_voice_moves_frequencies_and_changes_the_tempo():
    plain = Voice(_audio.KNOTS, np.ones(_audio.FFT // 2 + 1), 1.0)
    sound = tone(900) + 0.01 * tone(300)
    np.testing.assert_array_equal(log_mel(sound, plain), log_mel(sound))
    higher = plain._replace(warp=np.minimum(_audio.KNOTS * 1.2, RATE / 2))
    assert mel_filters(higher.warp)[20].argmax() > mel_filters()[20].argmax()
    assert len(log_mel(sound, plain._replace(tempo=0.5))) > 1.9 * len(log_mel(sound))
    for seed in range(20):
        voice = Voice.random(np.random.default_rng(seed), 0.3, 0.3, 3.0, 0.3)
        assert np.isfinite(log_mel(sound, voice)).all()
        assert (np.diff(voice.warp) >= 0).all()


def test_cepstra_are_of_the_envelope():
    bands = np.arange(BANDS)
    envelope = np.cos(np.pi * 2 * (bands + 0.5) / BANDS)  # the coefficient of order 2
    x = np.tile(envelope.astype(np.float32), (3, STACK))
    found = cepstra(x)
    assert found.dtype == np.float32
    assert found.shape == (3, STACK * CEPSTRA)
    spectra = found.reshape(3, STACK, CEPSTRA)
    np.testing.assert_allclose(spectra[:, :, 2], np.sqrt(BANDS / 2) / 1.2, rtol=1e-5)
    assert np.abs(np.delete(spectra, 2, axis=2)).max() < 1e-5
    harmonics = 0.5 * (-1.0) ** bands  # of a voice whose pitch the bands resolve
    np.testing.assert_allclose(cepstra(x + np.tile(harmonics, STACK)), found, atol=0.15)


def test_voice_of_another_length():
    sound = tone(1000) + 0.01 * _audio.colored_noise(4000, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(log_mel(sound, Voice.scaled(1.0)), log_mel(sound))
    plain, other = (log_mel(sound, Voice.scaled(factor)).reshape(-1, BANDS) for factor in (1, 1.2))
    centers = mel_filters().argmax(axis=1) * RATE / _audio.FFT
    low, high = (centers[x.mean(axis=0).argmax()] for x in (other, plain))
    assert high / low == pytest.approx(1.2, rel=0.15)  # the frequency that moves to 1000 Hz
    assert len(plain) == len(other)


def test_string_has_its_digits_between_pauses():
    random = np.random.default_rng(0)
    chosen = recordings()[::7]
    quiet = Distortion((0.1, 0.2), speed=0.0, gain=0.0, noise=(60, 60))
    string = join(chosen, quiet, random)
    assert string.digits == [one.digit for one in chosen]
    spoken = np.zeros(len(string.sound), bool)
    for (first, last), one in zip(string.borders, chosen, strict=True):
        assert last - first == len(one.sound)
        spoken[first:last] = True
    assert (string.sound[spoken] ** 2).mean() == pytest.approx(1, rel=0.01)
    assert (string.sound[~spoken] ** 2).mean() == pytest.approx(1e-6, rel=0.5)
    pauses = np.diff([0, *string.borders.ravel(), len(string.sound)])[::2] / RATE
    assert ((pauses > 0.09) & (pauses < 0.21)).all()


def test_speakers_take_turns():
    found = strings(recordings(), 6, 0)
    again = strings(recordings(), 6, 0)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.sound, other.sound)
    assert all(1 <= len(one.digits) <= 7 for one in found)


def test_training_strings_are_new_in_each_minibatch():
    data = TrainingStrings(recordings(), 20, seed=0)
    first, second = (data.batch(np.arange(20)) for _ in range(2))
    assert not np.array_equal(first.y, second.y)
    np.testing.assert_array_equal((first.y > 0).sum(axis=1), data.lengths)
    assert first.y.max() <= 10
    assert first.x.shape == (20, first.lengths.max(), STACK * CEPSTRA)
    assert all((x[n:] == 0).all() for x, n in zip(first.x, first.lengths, strict=True))


def test_half_of_the_strings_have_a_further_speaker():
    data = TrainingStrings(
        [one for one in recordings("abc") if one.digit < 5],
        200,
        seed=0,
        further=[one for one in recordings("d") if one.digit >= 5],
    )
    digits = data.batch(np.arange(200)).y[:, 0] - 1
    assert 80 < (digits >= 5).sum() < 120


def test_offsets_make_digits_equally_frequent():
    random = np.random.default_rng(0)
    digits = random.permutation(np.repeat(np.arange(1, 11), 20)).reshape(20, 10)
    scores = random.normal(size=(20, 12, 11)).astype(np.float32)
    scores[:, :10] += 6 * np.eye(11, dtype=np.float32)[digits]
    scores[..., 9] -= 5  # an accent
    scores[..., 4] += 5
    scores[:, 10:] = 100  # padding
    lengths = np.full(20, 10)
    wrong = (scores[:, :10].argmax(axis=2) != digits).mean()
    found = speech_recognition.balanced(scores, lengths)[:, :10]
    assert wrong > 0.15
    assert (found.argmax(axis=2) != digits).mean() < 0.02
    offsets = found - scores[:, :10]
    np.testing.assert_allclose(offsets, np.broadcast_to(offsets[0, 0], offsets.shape), atol=1e-5)
    assert abs(offsets[0, 0, 0]) < 1e-5  # the blank


@pytest.mark.network
def test_digits_of_synthetic_voices():
    found = _synthetic_voices.synthetic_digits()
    assert {one.speaker for one in found} == {*_synthetic_voices.VOICES}
    assert len(found) == 240
    seconds = np.array([len(one.sound) for one in found]) / RATE
    assert 0.15 < seconds.min() < seconds.max() < 1.5
    slow, fast = (np.mean([len(r.sound) for r in found if r.index == i]) for i in (4, 0))
    assert slow / fast == pytest.approx(1.5, rel=0.1)


def test_synthesizer_that_does_not_run(monkeypatch):
    monkeypatch.setattr(_synthetic_voices.shutil, "which", lambda _: "/missing/flite")
    with pytest.raises(MissingDataError, match=r"flite does not run, .*: apt install flite"):
        _synthetic_voices.synthetic_digits()


def test_recordings_of_a_folder_and_of_a_zip_file(tmp_path):
    for name in ("7_ann_0", "3_ann_lee_12", "7_ann_1"):
        write(tmp_path / f"{name}.wav", tone(440))
    (tmp_path / "README.md").write_text("", "utf-8")
    with zipfile.ZipFile(tmp_path / "six.zip", "w") as archive:
        for file in tmp_path.glob("*.wav"):
            archive.write(file, f"recordings/{file.name}")
    for path in (tmp_path, tmp_path / "six.zip"):
        found = [one[:3] for one in read_recordings(path)]
        assert found == [(3, "ann_lee", 12), (7, "ann", 0), (7, "ann", 1)]
    with pytest.raises(MissingDataError, match=r"must hold .* files DIGIT_SPEAKER_INDEX\.wav"):
        read_recordings(tmp_path / "README.md")


def test_warping_finds_the_words_in_any_tempo():
    random = np.random.default_rng(0)
    words = [random.normal(size=(n, 3)).astype(np.float32) for n in (4, 6, 5)]
    pause = np.zeros((1, 3), np.float32)
    templates = Templates([*words, pause], [4, 7, 9, PAUSE])
    x = np.concatenate([pause, pause, words[1].repeat(2, axis=0), words[0], pause, words[2][::2]])
    assert templates.recognize(x, 0.1) == [7, 4, 9]


def best_distance(x, sequences, penalty):
    """Return the least distance of any sequence of templates, frame by frame in plain Python."""
    costs = {}  # of (template, frame)
    total = 0.0
    for frame in x:
        new = {}
        for k, sequence in enumerate(sequences):
            for j, own in enumerate(sequence):
                before = [costs.get((k, i), np.inf) for i in range(max(0, j - 2), j + 1)]
                if j == 0:
                    before.append(total + penalty)
                new[k, j] = min(before) + float(((frame - own) ** 2).mean())
        costs = new
        total = min(costs[k, len(sequence) - 1] for k, sequence in enumerate(sequences))
    return total


@pytest.mark.parametrize("seed", range(5))
def test_warping_finds_the_least_distance(seed):
    random = np.random.default_rng(seed)
    sequences = [random.normal(size=(n, 2)).astype(np.float32) for n in (3, 1, 4)]
    x = random.normal(size=(12, 2)).astype(np.float32)
    templates = Templates(sequences, [0, 1, 2])
    words = templates.recognize(x, 0.5)
    # The best path through these words alone is the best of all.
    found = min(
        _distance(x, [sequences[word] for word in words], 0.5, borders)
        for borders in itertools.combinations(range(1, len(x)), len(words) - 1)
    )
    assert found == pytest.approx(best_distance(x, sequences, 0.5), rel=1e-5)


def _distance(x, sequences, penalty, borders):
    """Return the distance of parts of x to one template each."""
    parts = np.split(x, borders)
    total = 0.0
    for part, sequence in zip(parts, sequences, strict=True):
        # Each path of frames from the first to the last one, by 0 to 2 at a step.
        total += penalty + _align(part, sequence)
    return total


def _align(part, sequence):
    costs = [np.inf] * len(sequence)
    for t, frame in enumerate(part):
        costs = [
            (min(costs[max(0, j - 2) : j + 1]) if t else (0.0 if j == 0 else np.inf))
            + float(((frame - own) ** 2).mean())
            for j, own in enumerate(sequence)
        ]
    return costs[-1]


def test_names_of_digits():
    assert _digits.NAME.fullmatch("7_ann_0.wav")
    assert not _digits.NAME.fullmatch("ann_7_0.wav")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Recordings of two speakers in a folder, and networks that are not trained."""
    for one in recordings(each=5):
        write(tmp_path / f"{one.digit}_{one.speaker}_{one.index}.wav", one.sound)
    network = Sequential(GRU(STACK * CEPSTRA, 4, seed=0), Linear(4, 11, seed=0))
    monkeypatch.setattr(speech_recognition, "fit", lambda *_: network)
    for name in ("further_speakers", "synthetic_digits"):  # which need a download
        monkeypatch.setattr(speech_recognition, name, list)
    monkeypatch.setattr(speech_recognition, "QUICK_TESTS", 8)
    return tmp_path


def options(*arguments):
    return speech_recognition.example.parser().parse_args(["--quick", *map(str, arguments)])


def test_each_speaker_is_left_out(data):
    report, _ = speech_recognition.example.report(options("--data", data))
    assert set(report.also) == {
        "all strings of a speaker at once, digits balanced",
        "a, left out",
        "b, left out",
        "other recordings of known speakers",
    }
    assert report.baseline_result < 0.5  # tones of the same frequencies


def test_training_and_held_out_recordings_of_the_others():
    speakers = _digits.by_speaker(recordings("abc", each=5))
    train, held_out = speech_recognition.split(speakers, "b")
    assert {one.speaker for one in train} == {one.speaker for one in held_out} == {"a", "c"}
    assert {one.index for one in held_out} == {0}
    assert len(train) == 4 * len(held_out) == 80


def test_unknown_speaker(data):
    with pytest.raises(MissingDataError, match="must be one of a, b, got c"):
        speech_recognition.example.report(options("--data", data, "--leave-out", "a", "c"))


def test_own_sounds_are_written(data, capsys):
    file, model = data / "7_a_0.wav", data / "model.safetensors"
    for _ in range(2):  # trained and saved, then read
        with pytest.raises(SystemExit):
            speech_recognition.example.main(
                ["--data", str(data), "--transcribe", str(file), "--model", str(model)]
            )
        assert model.exists()
        assert capsys.readouterr().out.startswith(f"{file}:")
