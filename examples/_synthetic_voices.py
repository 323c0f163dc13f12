"""Digits spoken by synthetic voices: those of Flite, which were made from four speakers."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from examples._audio import read_wave, trim
from examples._data import MissingDataError, debian_file
from examples._digits import Recording

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOICES = ("awb", "rms", "slt", "kal16")
TEMPOS, PITCHES = (0.8, 1.0, 1.2), (90, 130)  # factor of the durations; Hz


def synthetic_digits() -> list[Recording]:
    """Return each digit by each voice, in three tempos and two pitches."""
    command, environment = _flite()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digit.wav"
        for voice, (digit, word) in itertools.product(VOICES, enumerate(WORDS)):
            for index, (tempo, pitch) in enumerate(itertools.product(TEMPOS, PITCHES)):
                settings = [f"duration_stretch={tempo}", f"int_f0_target_mean={pitch}"]
                options = ["-voice", voice, "--setf", settings[0], "--setf", settings[1]]
                _run([command, *options, "-t", word, "-o", str(file)], environment)
                found.append(Recording(digit, voice, index, trim(read_wave(file))))
    return found


def _flite() -> tuple[str, dict[str, str]]:
    """Return the command of Flite, installed or downloaded, and its environment."""
    if (installed := shutil.which("flite")) is not None:
        return installed, {**os.environ}
    libraries = [_library("libflite1", "libflite.so.1"), _library("libasound2", "libasound.so.2")]
    command = debian_file("flite", "usr/bin/flite")
    return str(command), {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}


def _library(package: str, name: str) -> Path:
    """Return the folder of a package's shared library."""
    root = debian_file(package, f"usr/share/doc/{package}").parents[2]
    return next(root.glob(f"lib/*/{name}")).parent


def _run(command: list[str], environment: dict[str, str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, env=environment)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingDataError(f"flite does not run, {error}: apt install flite") from None
