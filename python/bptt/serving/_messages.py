"""Messages of clients, JSON or binary, and the answers to them. `docs/serve.md` is the protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from bptt._core.checks import FloatArray
from bptt.serving._served_model import NUMBERS, ServedModel

_KEY = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_FIELDS = ("inputs", "text", "reset", "top")


class RequestError(Exception):
    """What a client did wrong, or what the server cannot do for it now.

    Parameters
    ----------
    status : int
        Status of HTTP.
    message : str
        One sentence.
    reason : str
        Label of the metric of errors.
    retry_after : float, optional
        Seconds after which it may work.
    """

    def __init__(
        self, status: int, message: str, reason: str = "message", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.reason, self.retry_after = status, reason, retry_after

    def content(self) -> dict[str, Any]:
        """Return the answer in JSON types."""
        fields: dict[str, Any] = {"error": str(self), "status": self.status}
        if self.retry_after is not None:
            fields["retry_after"] = round(self.retry_after, 3)
        return fields


class Request(NamedTuple):
    """Steps of one session."""

    rows: NDArray[Any]
    """Inputs of the network, (n, ..)."""
    reset: bool = False
    """Whether the session begins anew before."""
    top: int | None = None
    """Number of names in the answer, instead of the outputs."""
    tokens: tuple[str, ...] | None = None
    """Tokens that a text was split into."""
    binary: bool = False


class Result(NamedTuple):
    """What came of a request."""

    outputs: FloatArray
    """Outputs of the network, (n, K)."""
    new: bool
    """Whether the session began with this request."""
    step: int
    """Steps of the session so far."""


def check_key(key: str) -> str:
    """Return the key of a session.

    Raises
    ------
    RequestError
        If it is none.
    """
    if _KEY.fullmatch(key) is None:
        raise RequestError(
            400, "a session's key must be 1 to 64 letters, digits, or characters of ._~-", "key"
        )
    return key


def read_object(data: str | bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises
    ------
    RequestError
        If the data are no JSON, or another value.
    """
    try:
        content = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # of encoding, of JSON, of too many digits
        raise RequestError(400, "a message must be JSON, or a binary frame of rows") from None
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise RequestError(400, f"a message must be a JSON object, got {kind}")
    return content


def read_json(model: ServedModel, data: str | bytes, max_steps: int) -> Request:
    """Return the request of a JSON message.

    Raises
    ------
    RequestError
        If it is none for this model.
    """
    content = read_object(data)
    unknown = sorted(set(content) - {*_FIELDS})
    if unknown:
        raise RequestError(400, f"fields must be {', '.join(_FIELDS)}, got {unknown[0][:40]!r}")
    reset, top = content.get("reset", False), content.get("top")
    if not isinstance(reset, bool):
        raise RequestError(400, "reset must be true or false")
    inputs, text = content.get("inputs"), content.get("text")
    if inputs is not None and text is not None:
        raise RequestError(400, "a message must have inputs or text, not both")
    if inputs is None and text is None and not reset:
        raise RequestError(400, "a message must have inputs, text or reset")
    tokens = None
    try:
        if text is not None:
            if not isinstance(text, str):
                raise TypeError("text must be a string")
            inputs = model.tokenize(text)
            tokens = tuple(inputs)
        elif not isinstance(inputs, list) and inputs is not None:
            raise TypeError("inputs must be a list, one input a step")
        inputs = inputs or []
        _check_count(len(inputs), max_steps)
        rows = model.encode(inputs)
    except (TypeError, ValueError) as error:
        raise RequestError(422, str(error)) from None
    return Request(rows, reset, None if top is None else _checked_top(model, top), tokens)


def read_binary(model: ServedModel, data: bytes, max_steps: int) -> Request:
    """Return the request of a binary message: rows of the model's dtype, or int32 ids.

    Raises
    ------
    RequestError
        If it is none for this model.
    """
    if model.features:
        raise RequestError(415, "this model reads words by their characters: use JSON")
    ids = model.input != NUMBERS
    dtype = np.dtype("<i4") if ids else model.dtype.newbyteorder("<")
    size = dtype.itemsize * (1 if ids else model.input_size)
    if len(data) % size or not data:
        kind = "int32 ids" if ids else f"rows of {model.input_size} {model.dtype}"
        raise RequestError(
            400, f"a binary message must be {kind}, {size} bytes each, got {len(data)} bytes"
        )
    flat = np.frombuffer(data, dtype)
    try:
        _check_count(len(data) // size, max_steps)
        rows = model.check_rows(flat if ids else flat.reshape(-1, model.input_size))
    except (TypeError, ValueError) as error:
        raise RequestError(422, str(error)) from None
    return Request(rows, binary=True)


def write_result(model: ServedModel, request: Request, result: Result) -> bytes | dict[str, Any]:
    """Return the answer to a request: bytes to a binary one, else JSON types."""
    outputs = result.outputs
    if request.binary:
        return outputs.astype(model.dtype.newbyteorder("<"), copy=False).tobytes()
    content: dict[str, Any] = {"step": result.step, "new": result.new}
    if request.tokens is not None:
        content["tokens"] = request.tokens
    if request.top is None:
        content["outputs"] = outputs.tolist()
    else:
        content["top"] = model.most_likely(outputs, request.top)
    return content


def write_json(content: Mapping[str, Any]) -> str:
    """Return JSON; numbers that are not finite, of a diverged model, are null."""
    try:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(content), ensure_ascii=False, separators=(",", ":"))


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _checked_top(model: ServedModel, top: Any) -> int:
    if model.names is None:
        raise RequestError(422, "top needs a model of classes or tokens: leave it out")
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise RequestError(422, "top must be an integer >= 1")
    return min(top, len(model.names))


def _check_count(count: int, max_steps: int) -> None:
    if count > max_steps:
        raise RequestError(
            413, f"a message must have at most {max_steps} steps, got {count}", "size"
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
