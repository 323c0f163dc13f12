"""Voice activity detection: the pretrained streaming LSTM of silero-vad.

Task: the probability of speech, every 32 ms, as the sound arrives.
Shape: many-to-many, synchronized, streaming: the future is not available.
Network: the spectrum of 512 samples (and the 64 before), four convolutions, an LSTM of 128 units
whose state is carried from step to step, one output.
Weights: silero-vad 6.2.3, MIT; ONNX's layout (its safetensors file holds another training).
Sound: asterisk-core-sounds-en-wav (Debian), CC BY-SA 3.0: spoken prompts of a telephone exchange,
concatenated with half a second of silence between.
Reference: the ONNX Runtime, with the package's files for streams and for whole recordings.
Time: 8 seconds.
Result on one core: probabilities within 9e-6, 1.3 times as fast in a stream, 2.4 times for the
whole recording in one call.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import bptt
from bptt.importers import from_onnx
from examples._common import Example, Options, Report
from examples._data import debian_file, package_file
from examples.pretrained import _comparison
from examples.pretrained._files import onnx_tensors

RATE, FRAME, BEFORE, AFTER = 16_000, 512, 64, 64
PACKAGE, SOUNDS = "silero-vad==6.2.3", "asterisk-core-sounds-en-wav"
STREAM, WHOLE = "silero_vad_16k_op15.onnx", "silero_vad_16k_sequence.onnx"
NO_SPEECH = ("ascending-2tone", "beep", "beeperr", "descending-2tone", "tt-monkeys")
STRIDES = {"encoder.0": 1, "encoder.1": 2, "encoder.2": 2, "encoder.3": 1}


@cache
def windows(steps: int, width: int, stride: int) -> NDArray[Any]:
    """Return the steps of each window, (windows, width)."""
    return np.arange(0, steps - width + 1, stride)[:, np.newaxis] + np.arange(width)


# The samples of each spectrum (4, 256); the end of the frame is padded by reflection.
SAMPLES = np.pad(np.arange(BEFORE + FRAME), (0, AFTER), "reflect")[
    windows(BEFORE + FRAME + AFTER, 256, 128)
]


class Network:
    """The network, built from layers of bptt; a convolution is a Linear over windows."""

    def __init__(self, weights: dict[str, NDArray[Any]]) -> None:
        self.spectrum = linear(weights["stft.forward_basis_buffer"])
        self.convolutions = {
            name: linear(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in STRIDES
        }
        self.lstm = from_onnx(bptt.LSTM, *(weights[f"onnx::LSTM_{n}"] for n in (209, 210, 211)))
        self.output = linear(weights["output.weight"], weights["output.bias"])

    def features(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return the input of the LSTM (N, 128) for N frames of samples."""
        parts = self.spectrum(frames[:, SAMPLES])
        x = np.hypot(parts[..., :129], parts[..., 129:])
        for name, convolution in self.convolutions.items():
            padded = np.zeros((len(x), x.shape[1] + 2, x.shape[2]), np.float32)
            padded[:, 1:-1] = x
            cut = padded[:, windows(padded.shape[1], 3, STRIDES[name])]
            x = np.maximum(convolution(cut.reshape(*cut.shape[:2], -1)), 0)
        return x[:, 0]

    def step(self, frame: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        """Return the probability at the end of a frame (1, samples), and the state."""
        h, state = self.lstm.step(self.features(frame), state)
        return bptt.sigmoid(self.output(np.maximum(h, 0)))[:, 0], state

    def recording(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return the probabilities of all frames."""
        parts = np.array_split(frames, len(frames) // 128 + 1)  # parts that fit into the cache
        h, _ = self.lstm(np.concatenate([self.features(part) for part in parts])[np.newaxis])
        return bptt.sigmoid(self.output(np.maximum(h[0], 0)))[:, 0]


def linear(weight: NDArray[Any], bias: NDArray[Any] | None = None) -> bptt.Linear:
    """Return the Linear of a convolution (out, in, width) applied to one window."""
    rows = np.ascontiguousarray(weight.swapaxes(1, 2).reshape(len(weight), -1))
    layer = bptt.Linear(rows.shape[1], len(rows), bias=bias is not None)
    layer["weight"] = rows
    if bias is not None:
        layer["bias"] = bias
    return layer


class Runtime(NamedTuple):
    """The network on the ONNX Runtime."""

    stream: Any
    whole: Any

    @classmethod
    def load(cls) -> Runtime | None:
        """Create the sessions; return None without the ONNX Runtime."""
        try:
            import onnxruntime
        except ImportError:
            print("To compare with silero-vad's own code: pip install onnxruntime")
            return None
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        paths = [package_file(PACKAGE, f"silero_vad/data/{name}") for name in (STREAM, WHOLE)]
        return cls(*(onnxruntime.InferenceSession(str(path), settings) for path in paths))

    def step(self, frame: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        """Return the probability at the end of a frame, and the state."""
        state = np.zeros((2, 1, 128), np.float32) if state is None else state
        inputs = {"input": frame, "state": state, "sr": np.array(RATE)}
        output, state = self.stream.run(None, inputs)
        return output[:, 0], state

    def recording(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return the probabilities of all frames."""
        zero = np.zeros((1, 1, 128), np.float32)
        output, _, _ = self.whole.run(None, {"input": frames, "h": zero, "c": zero})
        return output.reshape(-1)


def sound(prompts: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return frames (N, 64 + 512) of prompts and silence, and which are inside prompts (N,)."""
    folder = debian_file(SOUNDS, "usr/share/asterisk/sounds/en_US_f_Allison")
    spoken_ones = sorted(str(file) for file in folder.glob("*.wav") if file.stem not in NO_SPEECH)
    files = np.random.default_rng(seed).permutation(spoken_ones)
    samples, spoken = [np.zeros(RATE // 2)], [np.zeros(RATE // 2)]
    for file in files[:prompts]:
        with wave.open(str(file)) as recording:
            x = np.frombuffer(recording.readframes(recording.getnframes()), "<i2") / 32768
        x = np.fft.irfft(np.fft.rfft(x), 2 * len(x)) * 2  # from 8 to 16 kHz
        samples += [x, np.zeros(RATE // 2)]
        spoken += [np.ones(len(x)), np.zeros(RATE // 2)]
    signal = np.concatenate(samples).astype(np.float32)
    steps = len(signal) // FRAME
    signal = np.concatenate([np.zeros(BEFORE, np.float32), signal])
    cut = [signal[FRAME * t : FRAME * (t + 1) + BEFORE] for t in range(steps)]
    inside = np.concatenate(spoken)[: steps * FRAME].reshape(steps, FRAME).mean(axis=1) > 0.5
    return np.stack(cut), inside


def stream(step: Callable[..., Any], frames: NDArray[Any]) -> NDArray[Any]:
    """Return the probabilities, computed frame by frame."""
    state, found = None, []
    for frame in frames:
        p, state = step(frame[np.newaxis], state)
        found.append(p[0])
    return np.array(found)


@_comparison.one_thread()
def run(options: Options) -> Report:
    weights = onnx_tensors(package_file(PACKAGE, f"silero_vad/data/{WHOLE}"))
    network, runtime = Network(weights), Runtime.load()
    frames, inside = sound(8 if options.quick else 40, options.seed)
    both = {"ours": network, "theirs": runtime} if runtime else {"ours": network}
    found = {name: stream(one.step, frames) for name, one in both.items()}
    times = {
        kind: _comparison.milliseconds(runs, [frames], 3 if options.quick else 5)
        for kind, runs in {
            "stream": {n: lambda x, o=o: stream(o.step, x) for n, o in both.items()},
            "whole": {name: one.recording for name, one in both.items()},
        }.items()
    }
    p = found["ours"]
    difference = np.abs(p - network.recording(frames)).max()
    also = {}
    if runtime:
        others = (found["theirs"], runtime.recording(frames))
        difference = max(difference, *(np.abs(p - other).max() for other in others))
        ratio = times["whole"]["theirs"] / times["whole"]["ours"]
        also["speedup, whole recording in one call"] = f"{ratio:.1f}"
    each = {name: time / len(frames) for name, time in times["stream"].items()}
    if options.plot is not None:
        draw(frames[:, BEFORE:], p, inside, options.plot / "pretrained.vad.png")
    return _comparison.report(
        data=f"{SOUNDS}, {len(frames) * FRAME / RATE:.0f} s of sound",
        each="32 ms frame, streaming",
        original="ONNX Runtime" if runtime else "ONNX Runtime (not installed)",
        ours=each["ours"],
        theirs=each.get("theirs"),
        difference=difference,
        also={
            **also,
            "frames detected as speech, inside prompts": f"{(p > 0.5)[inside].mean():.1%}",
            "frames detected as speech, between prompts": f"{(p > 0.5)[~inside].mean():.1%}",
        },
    )


def draw(samples: NDArray[Any], p: NDArray[Any], inside: NDArray[Any], path: Path) -> None:
    """Plot the first frames: the sound, and the probability of speech."""
    from matplotlib import pyplot as plt

    steps = min(len(p), 400)
    seconds = np.arange(steps) * FRAME / RATE
    figure, (above, below) = plt.subplots(
        2, sharex=True, figsize=(10, 5.6), layout="constrained", height_ratios=[1, 1.3]
    )
    loud = samples[:steps]
    above.fill_between(seconds, loud.min(axis=1), loud.max(axis=1), color="#0072B2", linewidth=0)
    above.set_ylabel("amplitude")
    above.set_title("silero-vad's LSTM, one step every 32 ms")
    below.fill_between(
        seconds, inside[:steps], step="post", color="#E69F00", alpha=0.35, label="inside a prompt"
    )
    below.plot(seconds, p[:steps], color="#000000", linewidth=1.2, label="network's output")
    below.axhline(0.5, color="#999999", linestyle="--", linewidth=1)
    below.set_ylabel("probability of speech")
    below.set_xlabel("time in seconds")
    below.set_ylim(-0.02, 1.15)
    below.legend(loc="upper right", ncols=2, framealpha=1)
    figure.savefig(path, dpi=100)
    plt.close(figure)


example = Example(__doc__, run, pretrained=True)

if __name__ == "__main__":
    example.main()
