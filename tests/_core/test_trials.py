"""Tests of when calls that could use several threads use one: with given times, in C++."""

import ctypes
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
COMPILER = shutil.which("c++")
ONE, FASTER, SLOWER = 100_000.0, 60_000.0, 170_000.0  # ns of a call


@pytest.fixture
def run(tmp_path):
    """Return run(calls, several, shape, period), a call's number of those on one thread."""
    if COMPILER is None:
        pytest.skip("needs a C++ compiler")
    library = tmp_path / "trials.so"
    source = ROOT / "tests/core/trials_test.cpp"
    command = [COMPILER, "-std=c++20", "-O1", "-shared", "-fPIC", f"-I{ROOT / 'cpp'}", source]
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    subprocess.run([*command, "-o", library], check=True, env=environment)
    function = ctypes.CDLL(str(library)).run
    function.argtypes = [ctypes.c_int, ctypes.c_int, *[ctypes.c_double] * 2, ctypes.c_int]
    return lambda calls, several, shape=1, period=0: function(shape, calls, ONE, several, period)


def test_few_calls_use_what_the_plan_says(run):
    assert run(15, SLOWER) == 0


def test_faster_threads_are_kept_and_one_is_tried_rarely(run):
    assert 2 <= run(100_000, FASTER) <= 150


def test_one_thread_is_found_where_several_are_slower(run):
    assert run(30, SLOWER) >= 8
    assert 9_700 <= run(10_000, SLOWER) < 10_000


def test_change_of_the_times_is_followed(run):
    run(1_000, FASTER)
    assert run(1_000, SLOWER) >= 800
    run(1_000, FASTER)
    assert run(1_000, FASTER) <= 20
    assert run(1_000, SLOWER) >= 800


def test_disturbed_calls_do_not_decide(run):
    assert run(20_000, FASTER, period=7) <= 600
    run(1_000, SLOWER, shape=2, period=7)
    assert run(20_000, SLOWER, shape=2, period=7) >= 19_000


def test_shapes_are_independent_and_the_oldest_is_forgotten(run):
    run(1_000, SLOWER, shape=1)
    assert run(15, SLOWER, shape=2) == 0
    assert run(15, SLOWER, shape=1) >= 13
    for shape in range(3, 40):
        run(1, FASTER, shape=shape)
    assert run(15, SLOWER, shape=1) == 0
