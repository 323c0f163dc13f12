"""Tests of when calls that could use several threads use one: with given times, in C++."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from child_process import compile_library

ROOT = Path(__file__).parents[2]
ONE, FASTER, SLOWER = 100_000.0, 60_000.0, 170_000.0  # ns of a call


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    code = (ROOT / "tests/core/trials_test.cpp").read_text()
    options = ("-std=c++20", "-O1", f"-I{ROOT / 'cpp'}")
    folder = tmp_path_factory.mktemp("trials")
    library = ctypes.CDLL(str(compile_library(code, folder, *options, compiler="c++")))
    library.run.argtypes = [ctypes.c_int, ctypes.c_int, *[ctypes.c_double] * 2, ctypes.c_int]
    library.report.argtypes = [ctypes.c_int, ctypes.c_bool, ctypes.c_double]
    return library


@pytest.fixture
def run(library):
    """Return run(calls, several, shape, period), the number of those on one thread."""
    library.forget()
    return lambda calls, several, shape=1, period=0: library.run(shape, calls, ONE, several, period)


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


def test_calls_that_began_before_a_change_say_nothing(run, library):
    run(1_000, SLOWER)
    library.report(1, False, FASTER)  # on several threads, of another Python thread
    assert run(15, SLOWER) >= 13
