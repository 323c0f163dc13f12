"""The functions that atheris fuzzes, on their seeds, their corpus, and some thousand mutations."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("h5py")
pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

from tests.fuzz.readers import TARGETS, ByteRandom, corpus, seeds

PIECES = (b"0", b"-1", b"1e999", b"null", b'"', b"{}", b"[", b"\xff", b"\n")
MUTATIONS = 200  # of each target; atheris makes millions


def mutated(r: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Return data with bytes changed, removed, repeated, or taken from another input."""
    found = bytearray(data)
    for _ in range(r.randrange(1, 4)):
        i = r.randrange(len(found) + 1)
        j = min(len(found), i + r.choice((1, 1, 2, 4, 16)))
        kind = r.randrange(5)
        if kind == 0:
            found[i:j] = bytes(r.randrange(256) for _ in range(j - i))
        elif kind == 1:
            del found[i:j]
        elif kind == 2:
            found[i:i] = found[i:j] * r.choice((1, 2, 50))
        elif kind == 3:
            found[i:j] = r.choice(PIECES)
        else:
            other = r.choice(others)
            found[i:] = other[r.randrange(len(other) + 1) :]
    return bytes(found)


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"calls"}))
@pytest.mark.filterwarnings("ignore")
def test_mutations(name, tmp_path):
    one = TARGETS[name](tmp_path)
    inputs = [*seeds(name, tmp_path), *corpus(name)]
    for data in inputs:
        one(data)
    r = random.Random(0)
    for _ in range(MUTATIONS):
        data = mutated(r, r.choice(inputs), inputs)
        try:
            one(data)
        except Exception as error:
            raise AssertionError(data) from error


def test_choices_end_when_the_bytes_do():
    """`Random.sample` draws until a number is new: of zeros alone, for ever."""
    names = [str(i) for i in range(40)]
    for data in (b"", b"\1\1\1"):
        assert len(set(ByteRandom(data).sample(names, 3))) == 3
