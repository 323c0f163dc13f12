"""Files of PyTorch that are written opcode by opcode."""

from __future__ import annotations

import io
import struct
import zipfile


class Opcodes(bytearray):
    """A pickle that is written opcode by opcode."""

    def __init__(self):
        super().__init__(b"\x80\x02")

    def text(self, value):
        self.extend(b"X" + struct.pack("<I", len(value)) + value.encode())

    def number(self, value):
        self.extend(b"\x8a\x09" + value.to_bytes(9, "little", signed=True))

    def storage(self, kind="FloatStorage", key="0", size=4):
        """Push a persistent identifier, a tuple of five."""
        self.extend(b"(")
        self.text("storage")
        self.extend(b"ctorch\n" + kind.encode() + b"\n")
        self.text(key)
        self.text("cpu")
        self.number(size)
        self.extend(b"tQ")

    def tensor(self, offset=0, shape=(2,), strides=(1,), **storage):
        self.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(")
        self.storage(**storage)
        self.number(offset)
        for values in (shape, strides):
            self.extend(b"(")
            for value in values:
                self.number(value)
            self.extend(b"t")
        self.extend(b"\x89}tR")


def archive(opcodes, storage=bytes(16), compression=zipfile.ZIP_STORED, **others):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as zipped:
        zipped.writestr("archive/data.pkl", bytes(opcodes) + b".")
        zipped.writestr("archive/data/0", storage)
        for name, content in others.items():
            zipped.writestr(f"archive/{name}", content)
    return file.getvalue()


def of_tensor(**arguments):
    opcodes = Opcodes()
    opcodes.extend(b"}")
    opcodes.text("weight")
    opcodes.tensor(**arguments)
    opcodes.extend(b"s")
    return opcodes
