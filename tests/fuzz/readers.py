"""What atheris fuzzes: functions of bytes, readers of files for the most part, and their inputs."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"  # TARGET.txt: an input a line, in base64
MEGABYTES = 3000
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # files of the readers


class ByteRandom(random.Random):
    """Choices that the bytes of an input make; 0 when there are no more."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0
        super().__init__(0)

    def getrandbits(self, k: int) -> int:
        size = (k + 7) // 8
        part = self.data[self.place : self.place + size]
        self.place += size
        return int.from_bytes(part, "little") & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(32) / 2**32

    def sample(self, population: Any, k: int) -> list[Any]:  # type: ignore[override]
        """Without the loop of the original, which waits for a number other than 0."""
        left = list(population)
        return [left.pop(self.randrange(len(left))) for _ in range(k)]


# ---- targets: functions of bytes -----------------------------------------------------------------


def _file(folder: Path, data: bytes) -> Path:
    """Write a safetensors file: of the bytes, or with the length that the header has."""
    path = folder / "file"
    if data[:1] == b"{":  # header, a line of its own, and the tensors
        header, _, tensors = data.partition(b"\n")
        data = struct.pack("<Q", len(header)) + header + tensors
    path.write_bytes(data)
    return path


def _refused(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or None if it refuses the file."""
    try:
        return call()
    except ValueError as error:
        _check_sentence(error, "cannot load ", "cannot resume ")
        return None


def _check_sentence(error: Exception, *beginnings: str) -> None:
    """Check that an exception has a sentence, with one of these beginnings."""
    if not str(error).startswith(beginnings or ("",)) or not str(error):
        raise AssertionError(repr(error)) from error


def modules(folder: Path) -> Callable[[bytes], None]:
    """Files of `save_modules`."""
    import bptt

    def one(data: bytes) -> None:
        loaded = _refused(lambda: bptt.load_modules(_file(folder, data)))
        if loaded is not None:
            bptt.save_modules(folder / "again", loaded[0], loaded[1])

    return one


def estimators(folder: Path) -> Callable[[bytes], None]:
    """Files of estimators."""
    import bptt

    def one(data: bytes) -> None:
        loaded = _refused(lambda: bptt.load_estimator(_file(folder, data)))
        if loaded is not None:
            str(loaded.history_)
            loaded.save(folder / "again")

    return one


def checkpoints(folder: Path) -> Callable[[bytes], None]:
    """Checkpoints of a training, which a wrong one does not change."""
    from tests.fuzz import targets

    made = targets.targets()["training.Training.enable_checkpoints"]()
    training = made.function.__self__
    parts = [m._flat for m in training.modules.values()]

    def one(data: bytes) -> None:
        path = _file(folder, data)
        before = b"".join(part.tobytes() for part in parts), training.updates
        found = _refused(lambda: training.enable_checkpoints(path, 1, resume=True) or True)
        after = b"".join(part.tobytes() for part in parts), training.updates
        assert found or before == after, "a refused checkpoint changed the training"

    return one


def tables(folder: Path) -> Callable[[bytes], None]:
    """CSV, TSV, tagged sentences, CoNLL-U, JSON lines and text of the command line."""
    from bptt.cli.errors import CommandError
    from bptt.cli.readers import FORMATS, read_table
    from bptt.cli.schema import group_rows
    from bptt.cli.schema_inference import SchemaOptions, infer_schema, infer_task

    suffixes = (".csv", ".tsv", ".conll", ".conllu", ".jsonl", ".txt", "", ".bio")

    def one(data: bytes) -> None:
        kind, data = data[:1] or b"\0", data[1:]
        path = folder / f"table{suffixes[kind[0] % len(suffixes)]}"
        path.write_bytes(data)
        format = None if kind[0] < 128 else list(FORMATS)[kind[0] % len(FORMATS)]
        try:
            table = read_table(path, format)
            schema, _ = infer_schema(table, SchemaOptions())
            infer_task(table, schema, group_rows(table, schema))
        except CommandError as error:
            _check_sentence(error)

    return one


def dictionaries(folder: Path) -> Callable[[bytes], None]:
    """JSON from which encoders, histories and schedules are made."""
    from bptt.data import LabelEncoder, SequenceEncoder, Standardizer, TargetEncoder
    from bptt.optim import schedules
    from bptt.training import History

    kinds = (
        *(SequenceEncoder.from_dict, TargetEncoder.from_dict, LabelEncoder.from_dict),
        *(Standardizer.from_dict, History.from_dict, schedules.from_dict),
    )

    def one(data: bytes) -> None:
        kind, text = data[:1] or b"\0", data[1:]
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            return
        try:
            kinds[kind[0] % len(kinds)](content)
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            _check_sentence(error)

    return one


def texts(folder: Path) -> Callable[[bytes], None]:
    """Sequences and labels of texts: what is encoded is decoded to the same."""
    import warnings

    from bptt.data import LabelEncoder, SequenceEncoder, TargetEncoder

    warnings.simplefilter("ignore")

    def one(data: bytes) -> None:
        found = data.decode("utf-8", "surrogatepass" if data[:1] < b"\x80" else "replace").split(
            "\n"
        )
        for tokens in ("characters", "words"):
            try:
                encoder = TargetEncoder(tokens=tokens).fit(found)
            except (TypeError, ValueError) as error:
                _check_sentence(error)
                continue
            sequences = encoder.transform(found)
            for i, text in enumerate(found):
                expected = text if tokens == "characters" else " ".join(text.split())
                assert encoder.decode(sequences[i]) == expected
            again = TargetEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
            assert again.tokens == encoder.tokens
        words = [["a"], *(text.split() for text in found)]
        encoder = SequenceEncoder(tokens="words", affixes=3, characters=True).fit(words)
        ids = encoder.transform(words).values
        assert ids.shape[1] == 1 + 2 + 2 * 3 + (encoder.word_length or 0)
        assert ids.min(initial=0) >= 0
        try:
            labels = LabelEncoder().fit(found)
        except ValueError as error:
            _check_sentence(error)
            return
        ids = labels.transform(found)
        assert [labels.classes_[i] for i in ids] == found
        again = LabelEncoder.from_dict(json.loads(json.dumps(labels.to_dict())))
        assert again.classes_.tolist() == labels.classes_.tolist()

    def checked(data: bytes) -> None:
        with contextlib.suppress(UnicodeDecodeError):
            one(data)

    return checked


def vectors(folder: Path) -> Callable[[bytes], None]:
    """Files of word vectors: all words are read, or some."""
    from bptt.data import read_word_vectors

    def one(data: bytes) -> None:
        path = folder / "vectors"
        path.write_bytes(data)
        for words in (None, ["the", "a"]):
            for lenient in (False, True):
                try:
                    found = read_word_vectors(path, words, skip_invalid=lenient)
                except ValueError as error:
                    _check_sentence(error, "cannot read ")
                    continue
                assert len({vector.shape for vector in found.values()}) <= 1
                assert words is None or set(found) <= set(words)

    return one


def weights(folder: Path) -> Callable[[bytes], None]:
    """Weights of other libraries, in any names, shapes and dtypes."""
    import numpy as np

    import bptt
    from bptt import importers

    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l1", "x")
    suffixes = ("", "", "_reverse")

    def one(data: bytes) -> None:
        r = ByteRandom(data)
        kind = r.choice((bptt.RNN, bptt.LSTM, bptt.GRU, bptt.MGU, bptt.SLSTM))

        def array() -> Any:
            shape = [r.choice((0, 1, 2, 3, 4, 6, 8, 9, 12, 16)) for _ in range(r.randrange(4))]
            return np.ones(shape, r.choice(("f4", "f8", "f4", "f8", "i4", "f2")))

        try:
            which = r.randrange(3)
            if which == 0:
                tensors = {
                    r.choice(names) + r.choice(suffixes): array() for _ in range(r.randrange(8))
                }
                importers.from_torch(kind, tensors)
            elif which == 1:
                given = [array() for _ in range(r.choice((3, 3, 6, 2)))]
                importers.from_keras(kind, given, cudnn=bool(r.getrandbits(1)))
            else:
                importers.from_onnx(kind, array(), array(), array() if r.getrandbits(1) else None)
        except (KeyError, TypeError, ValueError) as error:
            _check_sentence(error)

    return one


def _check_layers(path: Path) -> None:
    """Read a file of another library, and build its layers: one sentence for each error."""
    from bptt.importers import read_file

    try:
        file = _refused(lambda: read_file(path))
    except ImportError as error:  # of a format whose library is not installed
        return _check_sentence(error, "read_file of ")
    if file is None:
        return
    str(file)
    for call in (file.chain, *(layer.build for layer in file.layers.values())):
        try:
            call()
        except (KeyError, TypeError, ValueError) as error:
            _check_sentence(error)


def keras(folder: Path) -> Callable[[bytes], None]:
    """Files of Keras: HDF5, or an archive of the JSON and of the arrays of a layer."""
    import io
    import zipfile

    import h5py

    arrays = io.BytesIO()
    with h5py.File(arrays, "w") as file:
        for place, shape in enumerate(((1, 4), (1, 4), (4,))):
            file[f"layers/lstm/cell/vars/{place}"] = [[1.0] * shape[-1]] if shape[1:] else [1.0] * 4
        file["layers/dense/vars/0"] = [[1.0]]
    path = folder / "keras"

    def one(data: bytes) -> None:
        if data[:1] == b"{":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("config.json", data)
                archive.writestr("metadata.json", '{"keras_version": "3.1.0"}')
                archive.writestr("model.weights.h5", arrays.getvalue())
        else:
            path.write_bytes(b"\x89HDF\r\n\x1a\n" + data)
        _check_layers(path)

    return one


def others(folder: Path) -> Callable[[bytes], None]:
    """Files of other libraries; the pickle of one of PyTorch, and its storage, in an archive."""
    import zipfile

    path = folder / "file"

    def write(data: bytes) -> None:
        """Write the bytes, or if they begin with a pickle that is no file, an archive of it."""
        if not data.startswith(b"\x80\x02}"):
            path.write_bytes(data)
            return
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", data)
            for key in range(3):
                archive.writestr(f"archive/data/{key}", bytes(8 << key))

    def one(data: bytes) -> None:
        write(data)
        _check_layers(path)

    return one


def calls(folder: Path) -> Callable[[bytes], None]:
    """Every public callable, with bad input that the bytes choose."""
    import warnings

    from tests.fuzz import judge, targets
    from tests.fuzz.__main__ import limit_memory

    warnings.simplefilter("ignore")
    limit_memory(MEGABYTES << 19)  # half: what an input asks for is refused, not made
    made = {n: m for n, m in targets.targets().items() if "plot" not in n.lower()}
    names = list(made)

    def one(data: bytes) -> None:
        r = ByteRandom(data)
        name = names[r.getrandbits(16) % len(names)]
        outcome, arguments = judge.call(name, made[name], r)
        assert not outcome.failure, (name, outcome, arguments)

    return one


TARGETS: dict[str, Callable[[Path], Callable[[bytes], None]]] = {
    "modules": modules,
    "estimators": estimators,
    "checkpoints": checkpoints,
    "tables": tables,
    "dictionaries": dictionaries,
    "texts": texts,
    "vectors": vectors,
    "weights": weights,
    "others": others,
    "keras": keras,
    "calls": calls,
}


# ---- seeds ---------------------------------------------------------------------------------------


def _as_seed(path: Path) -> bytes:
    """Return the content of a file in the form that `_file` reads, without its checksum."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    content = json.loads(header["__metadata__"]["bptt"])
    content.pop("checksum", None)
    header["__metadata__"]["bptt"] = json.dumps(content)
    return json.dumps(header).encode() + b"\n" + data[8 + size :]


def seeds(name: str, folder: Path) -> list[bytes]:
    """Return valid inputs of a target, which mutations start from."""
    import bptt
    from tests.fuzz import targets

    path = folder / "seed"
    if name == "modules":
        bptt.save_modules(path, {"a": bptt.GRU(1, 1), "b": bptt.Linear(1, 1)}, {"k": [1]})
        found = [_as_seed(path), path.read_bytes()]
        bptt.Sequential(bptt.Embedding(2, 1), bptt.RNN(1, 1), pool="max").save(path)
        return [*found, _as_seed(path)]
    if name == "estimators":
        kinds = ("SequenceTagger", "SequenceRegressor", "LanguageModel")
        return [_as_seed(targets.saved_model(kind)) for kind in kinds]
    if name == "checkpoints":
        training = targets.targets()["training.Training.run"]().function.__self__
        training.enable_checkpoints(path, 1)
        training.run()
        return [_as_seed(path)]
    if name == "tables":
        texts = (
            b"\0x1,x2,target\n1,2,a\n3,4,b\n",
            b'\0text;label\n"a;b";x\nc;y\n',
            b"\1text\ttag\na b\tx y\n",
            b"\2EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\n",
            b"\3# c\n1\ta\tb\tNOUN\t_\t_\t0\troot\t_\t_\n",
            b'\4{"text": ["a", "b"], "label": 1.5}\n{"text": "c", "label": null}\n',
            b"\5one line\nand another\n",
        )
        return list(texts)
    if name == "vectors":
        binary = b"2 2\nthe " + struct.pack("<2f", 1, 2) + b"\na " + struct.pack("<2f", 3, 4)
        return [b"the 1 2\na 0.5 -3e1\n", b"2 2\nthe 1 2\na b 4 5\n", binary]
    if name == "others":
        files = [ROOT / "tests/importers/data" / f"torch_{kind}.pt" for kind in ("zip", "legacy")]
        tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
        tensor += b"X\x01\0\0\x000X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89}tR"
        pickle = b"\x80\x02}X\x01\0\0\0w" + tensor + b"s."
        return [*(file.read_bytes() for file in files), pickle]
    if name == "dictionaries":
        made = targets.targets()
        encoders = ("SequenceEncoder", "TargetEncoder", "LabelEncoder", "Standardizer")
        names = [*(f"data.{kind}.from_dict" for kind in encoders), "training.History.from_dict"]
        given = [next(iter(made[one]().arguments.values())) for one in names]
        given.append(made["optim.schedules.from_dict"]().arguments["description"])
        return [bytes([i]) + json.dumps(one).encode() for i, one in enumerate(given)]
    if name == "texts":
        return [b"ab\nba\nab c", "é\ud800\n\0\n <unk>".encode("utf-8", "surrogatepass")]
    if name == "keras":
        return _keras_seeds(path)
    return [os.urandom(0) + bytes(range(64)), bytes(200)]


def _keras_seeds(path: Path) -> list[bytes]:
    """Return the JSON of models, and files of HDF5 without their signature."""
    import h5py

    lstm = {"class_name": "LSTM", "config": {"name": "a", "units": 1, "activation": "tanh"}}
    dense = {"class_name": "Dense", "config": {"name": "b", "activation": "softmax"}}
    both = {"class_name": "Bidirectional", "config": {"layer": lstm, "merge_mode": "sum"}}
    found = [
        json.dumps({"class_name": "Sequential", "config": {"layers": [lstm, dense, both]}}).encode()
    ]
    node = {"config": {"keras_history": ["a", 0, 0]}, "class_name": "__keras_tensor__"}
    calls = {"inbound_nodes": [{"args": [node], "kwargs": {"mask": None}}]}
    chain = {"layers": [lstm, {**dense, **calls}], "output_layers": [["b", 0, 0]]}
    found.append(json.dumps({"class_name": "Functional", "config": chain}).encode())
    inner = {"class_name": "Sequential", "config": {"name": "c", "layers": [dense]}}
    steps = {"class_name": "TimeDistributed", "config": {"name": "d", "layer": inner}}
    nested = {"layers": [inner, steps, {**inner, "config": {"name": "e", "layers": [lstm]}}]}
    found.append(json.dumps({"class_name": "Sequential", "config": nested}).encode())
    for version in ("earliest", "latest"):
        with h5py.File(path, "w", libver=version) as file:
            file.attrs["layer_names"] = ["a"]
            for array in ("kernel", "recurrent_kernel"):
                file[f"{array}:0"] = [[1.0] * 4]
        found.append(path.read_bytes()[8:])
    return found


def corpus(name: str) -> list[bytes]:
    """Return the inputs of a target that earlier runs have found."""
    path = CORPUS / f"{name}.txt"
    return list(map(base64.b64decode, path.read_text().split())) if path.exists() else []


def write_corpus(name: str, inputs: list[bytes]) -> None:
    """Replace the corpus of a target, the shortest inputs first."""
    CORPUS.mkdir(exist_ok=True)
    ordered = sorted(filter(None, inputs), key=lambda data: (len(data), data))
    lines = [base64.b64encode(data).decode() + "\n" for data in ordered]
    (CORPUS / f"{name}.txt").write_text("".join(lines))
