"""The same on real ranks of MPI, if mpi4py and mpiexec are installed: few and short runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mpi4py")
pytest.importorskip("sklearn")

import mpi_launcher

if mpi_launcher.mpiexec() is None:
    pytest.skip("needs mpiexec", allow_module_level=True)

PROGRAM = Path(__file__).with_name("mpi_program.py")


def mpiexec(ranks, *arguments, timeout=240):
    return subprocess.run(
        mpi_launcher.command(ranks, *arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def program(ranks, *arguments):
    found = mpiexec(ranks, PROGRAM, *arguments)
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def alone():
    return [json.loads(line) for line in program(1, "fits").splitlines()]


@pytest.mark.parametrize("ranks", [2, 4])
def test_all_ranks_have_equal_weights_and_the_losses_of_one(ranks, alone):
    lines = [json.loads(line) for line in program(ranks, "fits").splitlines()]
    assert len(lines) == 4
    for (dtype, shards, equal, _, losses), expected in zip(lines, alone, strict=True):
        assert equal
        if not shards:
            rtol = 1e-12 if dtype == "float64" else 1e-5
            np.testing.assert_allclose(losses, expected[-1], rtol=rtol)


def test_sums_have_the_order_of_ranks():
    assert program(4, "sums") == "done\n"


def test_error_of_all_ranks_is_raised_on_all():
    assert program(2, "wrong") == "hidden_size must be an integer >= 1, got 0\n" * 2


def test_error_of_one_rank_ends_all_with_a_sentence():
    found = mpiexec(3, PROGRAM, "fails")
    assert found.returncode
    sentence = "rank 2 of 3 failed and ends all others: ValueError: y must have one target for each"
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr


def test_killed_rank_ends_all_and_others_resume(tmp_path):
    path = tmp_path / "checkpoint"
    whole = json.loads(program(3, "resumes", tmp_path / "whole"))
    found = mpiexec(3, PROGRAM, "dies", path)
    assert found.returncode
    saved = path.read_bytes()
    updates, digest, losses = json.loads(program(3, "resumes", path))
    assert 0 < updates < whole[0]
    assert (digest, losses) == (whole[1], whole[2])
    path.write_bytes(saved)
    _, _, losses = json.loads(program(2, "resumes", path))
    np.testing.assert_allclose(losses, whole[2], rtol=1e-5)


# ---- command line


def write_reviews(folder):
    path = folder / "reviews.csv"
    rows = [f"a {word} film number {i},{word}" for i in range(20) for word in ("good", "bad")]
    path.write_text("\n".join(["text,label", *rows]))
    return path


def test_train_on_the_command_line(tmp_path):
    path, model = write_reviews(tmp_path), tmp_path / "model.safetensors"
    options = ["--epochs", "2", "--hidden-size", "4", "--output", model]
    found = mpiexec(2, "-m", "bptt", "train", path, *options)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("Saved") == 1  # rank 0 alone prints
    assert found.stderr.count("epoch   2/2") == 1
    first = model.read_bytes()
    alone = subprocess.run(
        [sys.executable, "-m", "bptt", "train", path, *options, "--overwrite"],
        capture_output=True,
        check=False,
    )
    assert alone.returncode == 0
    assert len(model.read_bytes()) == pytest.approx(len(first), abs=64)
    again = mpiexec(2, "-m", "bptt", "train", path, *options)
    assert again.returncode
    assert again.stderr.count("exists: use --overwrite") == 1


def test_command_line_without_mpi4py_says_what_is_missing(tmp_path):
    code = (
        "import sys; sys.modules['mpi4py'] = None; from bptt.cli.main import main; sys.exit(main())"
    )
    found = mpiexec(2, "-c", code, "train", write_reviews(tmp_path))
    assert found.returncode
    assert found.stderr.count("needs mpi4py and an MPI library: pip install 'bptt[mpi]'") == 1
