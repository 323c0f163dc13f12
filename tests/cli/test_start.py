"""What the commands import: those that need no scikit-learn start without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bptt

# Runs a command in a process in which importing any of the packages of the first argument fails.
RUN = """
import sys

class Refuse:
    names = sys.argv[1].split(",")

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} must not be imported here")

sys.meta_path.insert(0, Refuse())
from bptt.cli.main import main
code = main(sys.argv[2:])
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""
HEAVY = ("sklearn", "scipy", "matplotlib", "pandas", "tqdm", "torch")
EPOCHS = {"hidden_size": 4, "epochs": 2, "batch_size": 4, "random_state": 0}
TEXTS = ["good film", "bad film", "a good one", "a bad one"]


def run_without(*packages: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command while `packages` cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", RUN, ",".join(packages), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["predict", "--help"], ["bench", "--help"], ["train", "--help"]]
)
def test_help_needs_numpy_alone(arguments: list[str]) -> None:
    code = f"{RUN[: RUN.index('code =')]}\ntry: main(sys.argv[2:])\nexcept SystemExit: pass\n"
    code += "print(*sys.modules, file=sys.stderr)"
    run = subprocess.run(
        [sys.executable, "-c", code, ",".join((*HEAVY, "safetensors")), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("usage: python -m bptt")
    loaded = run.stderr.split()
    assert not {"bptt.estimators", "bptt.training", "bptt.diagnostics"} & set(loaded)


def test_version_needs_numpy_alone() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bptt", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == f"bptt {bptt.__version__}"


def test_bench_needs_numpy_alone() -> None:
    size = ["--size", "2,1,4,4", "--cell", "lstm", "--rounds", "1"]
    run = run_without(*HEAVY, "safetensors", arguments=["bench", *size])
    assert run.returncode == 0, run.stderr
    assert "bptt.estimators" not in run.stderr.split()


def saved(kind: str, path: Path) -> list[str]:
    """Save a fitted estimator, and return the command that uses it."""
    labels = ["+", "-", "+", "-"]
    estimator: bptt.estimators.SequenceEstimator
    command = ["predict", str(path), "--text", "a good film"]
    if kind == "classifier":
        estimator = bptt.SequenceClassifier(tokens="words", **EPOCHS).fit(TEXTS, labels)
    elif kind == "regressor":
        estimator = bptt.SequenceRegressor(tokens="words", scale=True, **EPOCHS)
        estimator.fit(TEXTS, [1.0, -1.0, 0.8, -0.8])
    elif kind == "tagger":
        estimator = bptt.SequenceTagger(tokens="characters", **EPOCHS)
        estimator.fit(TEXTS, [list(text) for text in TEXTS])
    elif kind == "encoder-decoder":
        estimator = bptt.EncoderDecoder(tokens="words", **EPOCHS).fit(TEXTS, TEXTS)
    else:
        estimator = bptt.LanguageModel(**EPOCHS).fit(TEXTS)
        command = ["generate", str(path), "--seed", "0"]
    estimator.save(path)
    return command


@pytest.mark.parametrize(
    "kind", ["classifier", "regressor", "tagger", "encoder-decoder", "language model"]
)
def test_predictions_without_scikit_learn_are_the_same(kind: str, tmp_path: Path) -> None:
    command = saved(kind, tmp_path / "model.safetensors")
    without = run_without(*HEAVY, arguments=command)
    assert without.returncode == 0, without.stderr
    loaded = without.stderr.splitlines()[-1].split()
    assert "bptt.estimators._base" in loaded
    ordinary = subprocess.run(
        [sys.executable, "-c", f"import sklearn\n{RUN}", "-", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "sklearn" in ordinary.stderr.split()
    assert without.stdout == ordinary.stdout != ""


def test_accuracy_of_a_file_without_scikit_learn(tmp_path: Path) -> None:
    saved("classifier", tmp_path / "model.safetensors")
    table = tmp_path / "new.csv"
    table.write_text("text,label\ngood film,+\nbad film,-\n")
    command = ["predict", str(tmp_path / "model.safetensors"), str(table)]
    run = run_without(*HEAVY, arguments=command)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1].startswith("good film,")


def test_random_states_are_those_of_scikit_learn() -> None:
    from bptt.estimators import _stand_ins

    draws = {int(_stand_ins.check_random_state(3).randint(2**31 - 1)) for _ in range(2)}
    assert draws == {int(np.random.RandomState(3).randint(2**31 - 1))}
    state = np.random.RandomState(0)
    assert _stand_ins.check_random_state(state) is state
    assert _stand_ins.check_random_state(None) is np.random.mtrand._rand
