"""Serve a saved model to live streams, by WebSocket and HTTP.

Every client has a session with its own state, and sends a step at a time; steps that
arrive together are computed in one batch. A page at the server's address shows what the
model answers to every key. A snapshot keeps all sessions when the server is restarted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from bptt.cli.arguments import positive_integer, positive_number
from bptt.cli.console import pluralize
from bptt.cli.errors import CommandError, check_output_path, require_packages
from bptt.cli.saved_models import load_model

NAME = "serve"
SUMMARY = "serve a saved model to live streams, by WebSocket and HTTP"
USAGE = "MODEL [options]"
EXAMPLES = """\
examples:
  python -m bptt serve names.safetensors
  python -m bptt serve names.safetensors --snapshot sessions.safetensors --idle 3600
  python -m bptt serve tags.safetensors --host 0.0.0.0 --token-file token.txt
  curl -X POST localhost:8000/v1/sessions/me/step -H 'Content-Type: application/json' \\
    -d '{"text": "Jo", "top": 3}'"""
TOKEN_VARIABLE = "BPTT_SERVE_TOKEN"
_MIN_TOKEN = 16  # characters
_MAX_PORT = 65535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="model file saved by train, or by Sequential.save"
    )
    where = parser.add_argument_group("address and access")
    where.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="HOST",
        help="address to listen on (default: %(default)s, this machine alone)",
    )
    where.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="port, 0 for a free one (8000)"
    )
    where.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file with the token that clients need (default: the variable {TOKEN_VARIABLE})",
    )
    where.add_argument(
        "--allow-anonymous",
        action="store_true",
        help="let clients of other machines in without a token",
    )
    where.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of another host connect, such as https://example.org; may be repeated",
    )
    states = parser.add_argument_group("sessions")
    states.add_argument(
        "--snapshot",
        type=Path,
        metavar="FILE",
        help="keep all sessions in FILE: read at the start, written at the end",
    )
    states.add_argument(
        "--snapshot-every",
        type=positive_number,
        metavar="SECONDS",
        help="write FILE in such intervals too (default: at the end alone)",
    )
    _add_limits(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("limits")
    options: dict[str, tuple[Any, Any, str, str]] = {
        "sessions": (positive_integer, 10_000, "N", "sessions at the same time"),
        "idle": (positive_number, 300.0, "SECONDS", "end sessions without a step for so long"),
        "connections": (positive_integer, 10_000, "N", "connections at the same time"),
        "message-bytes": (positive_integer, 65536, "N", "size of a message"),
        "message-steps": (positive_integer, 1024, "N", "steps of a message"),
        "session-rate": (_rate, 1000.0, "N", "steps a second of a session, 0 for any"),
        "client-rate": (_rate, None, "N", "steps a second of a client's address"),
    }
    for name, (kind, default, metavar, text) in options.items():
        shown = "any" if default is None else f"{default:g}"
        limits.add_argument(
            f"--{name}", type=kind, default=default, metavar=metavar, help=f"{text} ({shown})"
        )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    require_packages("starlette", "uvicorn", "websockets", "prometheus_client", extra="serve")
    from bptt.serving._access import is_loopback
    from bptt.serving._limits import Limits
    from bptt.serving._server import listen
    from bptt.serving._server import run as serve

    token = _token(arguments.token_file)
    if token is None and not arguments.allow_anonymous and not is_loopback(arguments.host):
        raise CommandError(
            f"--host {arguments.host} lets other machines in: set {TOKEN_VARIABLE} or "
            "--token-file, or use --allow-anonymous"
        )
    if arguments.snapshot_every is not None and arguments.snapshot is None:
        raise CommandError("argument --snapshot-every: needs --snapshot FILE")
    if arguments.snapshot is not None:
        check_output_path(arguments.snapshot, arguments.model, overwrite=True)
    model = _served_model(arguments.model)
    limits = Limits(
        message_bytes=arguments.message_bytes,
        message_steps=arguments.message_steps,
        sessions=arguments.sessions,
        connections=arguments.connections,
        session_rate=arguments.session_rate or None,
        client_rate=arguments.client_rate or None,
        idle=arguments.idle,
    )

    def started(url: str, restored: int) -> None:
        kept = f", {pluralize(restored, 'session')} restored" if restored else ""
        print(f"{arguments.model.name} at {url}{kept}; Ctrl-C ends it", flush=True)

    # Clients that vanish are no errors of the server; asyncio warns of each.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    try:
        listening = listen(
            model,
            host=arguments.host,
            port=arguments.port,
            limits=limits,
            token=token,
            origins=arguments.allow_origin,
            snapshot=arguments.snapshot,
            snapshot_seconds=arguments.snapshot_every,
            started=started,
        )
        count = serve(listening)
    except (OSError, OverflowError, ValueError) as error:
        raise CommandError(getattr(error, "strerror", None) or str(error)) from error
    if arguments.snapshot is not None:
        print(f"{pluralize(count, 'session')} written to {arguments.snapshot}", file=sys.stderr)


def _served_model(path: Path) -> Any:
    """Return the model of a file: an estimator, or a network saved in Python."""
    from bptt.serving._served_model import ServedModel

    try:
        model = _network(path)
        return ServedModel(load_model(path).estimator if model is None else model, path.stem)
    except (TypeError, ValueError) as error:
        raise CommandError(f"cannot serve {path}: {error}") from error


def _network(path: Path) -> Any:
    """Return the network of a file of `Sequential.save`; None if it is another file."""
    from bptt.nn.serialization import load_modules

    try:
        modules, _ = load_modules(path)
    except (OSError, TypeError, ValueError):
        return None  # whose error load_model words
    return modules["model"] if set(modules) == {"model"} else None


def _token(path: Path | None) -> str | None:
    """Return the token of a file, or of the environment; None without one."""
    source = TOKEN_VARIABLE if path is None else str(path)
    if path is None:
        token = os.environ.get(TOKEN_VARIABLE)
        if token is None:
            return None
    else:
        try:
            token = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise CommandError(f"cannot read {path}: {reason}") from error
    token = token.strip()
    if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable():
        raise CommandError(
            f"the token of {source} must be at least {_MIN_TOKEN} printable ASCII characters, "
            f"got {len(token)} characters"
        )
    return token


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= _MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be an integer in [0, {_MAX_PORT}], got {text!r}")
    return port


def _rate(text: str) -> float:
    return 0.0 if text in ("0", "0.0") else positive_number(text)
