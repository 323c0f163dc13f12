"""Tensor files: safetensors with a JSON header in the metadata.

They contain no code, and reading executes none. The header begins with a checksum, SHA-256 of the
rest of the header and of all tensors; files without one are from versions before 0.1.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""Type of arrays of bfloat16, which NumPy does not have: the upper halves of float32."""

_CHECKSUM = '{"checksum": "sha256:'  # beginning of a header, which 64 digits and ", " follow


def as_path(path: object, name: str = "path") -> Path:
    """Check that `path` is a string or a path; return it as a Path."""
    found = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(found, str):
        raise TypeError(f"{name} must be a string or a path, got {type(path).__name__}")
    try:
        encoded = os.fsencode(found)
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be a name that files can have, got {found!r}") from None
    if b"\0" in encoded:
        raise ValueError(f"{name} must not have a null character, got {found!r}")
    return Path(found)


def checked_metadata(metadata: object) -> dict[str, Any]:
    """Check that metadata are None, or a mapping of strings to what JSON has; return a dict."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping, got {type(metadata).__name__}")
    found = dict(metadata)
    for name in found:
        if not isinstance(name, str):  # JSON would make 1 and "1" the same
            raise TypeError(f"names of metadata must be strings, got {type(name).__name__}")
    import json

    try:
        json.dumps(found)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TypeError(f"metadata must be JSON-serializable: {error}") from None
    return found


def is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogates, and so an encoding in UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def need_safetensors(what: str) -> None:
    """Raise ImportError if safetensors is not installed; `what` begins the message."""
    if find_spec("safetensors") is None:
        raise ImportError(f"{what} needs safetensors: pip install 'bptt[train]'")


def write_file(
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[Any]],
    header: Mapping[str, Any],
    *,
    allow_nan: bool = False,
) -> None:
    """Write tensors and header to a file, atomically.

    Parameters
    ----------
    path : str or path
        File to write; replaced if it exists.
    tensors : mapping of str to array
        Tensors by name.
    header : mapping
        JSON-serializable data.
    allow_nan : bool
        Whether tensors may have NaN: with those of a model nothing can be computed.

    Raises
    ------
    TypeError
        If `path` is not a path, or the header is not JSON-serializable.
    ValueError
        If the name of a tensor is not valid Unicode, or a tensor has NaN.
    FileNotFoundError
        If there is no such directory.
    ImportError
        If safetensors is not installed.
    """
    need_safetensors("saving")
    import json

    from safetensors.numpy import save

    for key in tensors:
        if not is_unicode(key):
            raise ValueError(f"names must be valid Unicode, got {key!r}")
    if not allow_nan:
        _check_numbers(tensors)
    text = json.dumps(header)
    checksum = checksum_of(text, tensors)
    # One key only: the order of several is not defined, and equal models should give equal files.
    metadata = {"bptt": f'{_CHECKSUM}{checksum}", {text[1:]}'}
    # safetensors writes the memory of an array, whatever its strides.
    dense = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    halves = [name for name, tensor in dense.items() if tensor.dtype == BFLOAT16]
    dense |= {name: dense[name].view(np.uint16) for name in halves}
    _write_atomically(as_path(path), _as_bfloat16(save(dense, metadata), halves))


def _as_bfloat16(content: bytes, names: list[str]) -> bytes:
    """Return a file in which tensors of uint16 are of bfloat16, which safetensors cannot write.

    A file is the length of its header in 8 bytes, the header in JSON, and the tensors.
    """
    if not names:
        return content
    import json

    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    for name in names:
        header[name]["dtype"] = "BF16"
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned
    return len(text).to_bytes(8, "little") + text + content[end:]


def _bfloat16_tensors(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """Read the tensors of bfloat16, of which safetensors makes no arrays."""
    if not names:
        return {}
    from safetensors import deserialize

    read: Any = deserialize
    found = dict(read(path.read_bytes()))
    return {
        name: np.frombuffer(found[name]["data"], BFLOAT16).reshape(found[name]["shape"])
        for name in names
    }


@contextlib.contextmanager
def broken_file_errors(action: str) -> Iterator[None]:
    """Turn the errors that the content of a broken file causes into ValueError.

    Parameters
    ----------
    action : str
        Beginning of the message, such as "cannot load model.safetensors".
    """
    try:
        yield
    except KeyError as error:  # whose text is the key alone
        text = str(error.args[0]) if error.args else ""
        sentence = text if " is missing in " in text else f"{error} is missing"
        raise ValueError(f"{action}: {sentence}") from error
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{action}: {error}") from error


def read_file(
    path: str | os.PathLike[str],
    expected: Any,
    what: str,
    *,
    allow_nan: bool = False,
    need_checksum: bool = False,
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read tensors and header of a file.

    Parameters
    ----------
    path : str or path
        File to read.
    expected : object
        Value of "format" in the header.
    what : str
        Kind of file, for the error message.
    allow_nan : bool
        Whether tensors may have NaN.
    need_checksum : bool
        Whether a file without a checksum is refused, which a damaged one may seem to be.

    Returns
    -------
    tensors : dict of str to array
    header : dict

    Raises
    ------
    TypeError
        If `path` is not a path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is corrupt or has another format, or a tensor has NaN.
    ImportError
        If safetensors is not installed.
    """
    need_safetensors("loading")
    import json

    from safetensors import SafetensorError, safe_open

    file_path = as_path(path)
    if file_path.is_dir():
        raise IsADirectoryError(f"Is a directory: {file_path}")
    try:
        with broken_file_errors(f"cannot load {file_path}"):
            with safe_open(file_path, framework="numpy") as file:
                text = (file.metadata() or {}).get("bptt", "{}")
                header = json.loads(text, object_pairs_hook=without_duplicates)
                found = header.get("format")
                if found != expected:
                    raise ValueError(f"it is not a file of {what}{_other_format(found, expected)}")
                halves = [key for key in file.keys() if _is_bfloat16(file, key)]  # noqa: SIM118
                tensors = {
                    key: file.get_tensor(key)
                    for key in file.keys()  # noqa: SIM118
                    if key not in halves
                }
                tensors |= _bfloat16_tensors(file_path, halves)
            start, rest = text[: len(_CHECKSUM) + 64], text[len(_CHECKSUM) + 67 :]
            has_checksum = need_checksum or start.startswith(_CHECKSUM)
            if has_checksum and start != _CHECKSUM + checksum_of("{" + rest, tensors):
                raise ValueError("its checksum is wrong: the file is damaged or was changed")
            if not allow_nan:
                _check_numbers(tensors)
    except SafetensorError as error:
        raise ValueError(f"cannot load {file_path}: {error}") from error
    return tensors, header


def _is_bfloat16(file: Any, name: str) -> bool:
    return bool(file.get_slice(name).get_dtype() == "BF16")


def _other_format(found: object, expected: object) -> str:
    """Return what to add to the error for a file of the same kind in another format."""
    kind, _, number = str(found).rpartition(" ")
    if kind != str(expected).rpartition(" ")[0] or not number.isdecimal():
        return ""
    return f": it has format {number}, of another version of bptt"


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON as a dict, which would keep the last of several values."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"its header has {twice!r} twice")
    return found


def _check_numbers(tensors: Mapping[str, NDArray[Any]]) -> None:
    """Check that no tensor has NaN, with which nothing can be computed or trained."""
    for name, array in tensors.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"the tensor {name} has NaN")


def checksum_of(text: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of a header and of the names, types, shapes and values of tensors."""
    import hashlib
    import json

    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(json.dumps([name, array.dtype.str, tensors[name].shape]).encode())
        digest.update(array.reshape(-1).data)
    return digest.hexdigest()


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of processes that were killed while writing `path`."""
    import glob

    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(FileNotFoundError), open(leftover, "rb") as file:
            if _lock(file):  # its writer is gone
                leftover.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise the OSError that writing `path` would raise, before hours of work for its content."""
    temporary = _temporary(path)
    _locked_file(temporary).close()
    temporary.unlink()


def _temporary(path: Path) -> Path:
    """Return a new name beside `path`, which `remove_leftovers` finds."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"No such directory: {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"Is a directory: {path}")
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file in the same directory and rename it, which is atomic."""
    temporary = _temporary(path)
    try:
        with _locked_file(temporary) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise the name could reach the disk before the content
            if os.name == "posix":  # elsewhere an open file cannot be renamed
                os.replace(temporary, path)
        if os.name != "posix":
            os.replace(temporary, path)
    except BaseException:  # KeyboardInterrupt as well
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _locked_file(path: Path) -> IO[bytes]:
    """Open a new file that `remove_leftovers` of another process leaves alone."""
    while True:
        file = open(path, "xb")  # noqa: SIM115
        _lock(file, wait=True)
        if path.exists():  # not removed before it was locked
            return file
        file.close()


def _lock(file: IO[bytes], *, wait: bool = False) -> bool:
    """Lock a file, where the system can; return False if another process has locked it."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def _sync_directory(path: Path) -> None:
    """Write the names in a directory to the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # files may be written to it, but its list may not be read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)
