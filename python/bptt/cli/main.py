"""Entry point ``python -m bptt COMMAND``: parser, dispatch, exit codes."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import bptt
from bptt.cli import bench, demo, export, generate, inspect, predict, serve, train
from bptt.cli.errors import CommandError

PROGRAM = "python -m bptt"
# Modules with NAME, SUMMARY, USAGE, EXAMPLES, add_arguments(parser) and run(arguments).
COMMANDS = (train, predict, generate, inspect, export, serve, demo, bench)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0 for success, 2 for an error of use, 130 for Ctrl-C, 1 if stdout was closed.
    """
    parser = make_parser()
    arguments = _parse(parser, argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    _configure_streams()
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except CommandError as error:
        return _print_error(arguments.command, str(error))
    except MemoryError as error:
        return _print_error(arguments.command, f"out of memory: {error}".rstrip(": "))
    except KeyboardInterrupt as interrupt:
        message = interrupt.args[0] if interrupt.args else "interrupted"
        print(f"\n{PROGRAM} {arguments.command}: {message}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of stdout is gone, as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Train, run and inspect recurrent networks on the CPU.",
        epilog=f"start with: {PROGRAM} train --help",
    )
    parser.add_argument("--version", action="version", version=f"bptt {bptt.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for command in COMMANDS:
        subparser = commands.add_parser(
            command.NAME,
            help=command.SUMMARY,
            description=_fill(command.__doc__ or ""),
            epilog=command.EXAMPLES,
            usage=f"{PROGRAM} {command.NAME} {command.USAGE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run, parser=subparser)
    return parser


def _parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; an optional FILE may also follow options."""
    arguments, rest = parser.parse_known_args(argv)
    is_file = len(rest) == 1 and (rest == ["-"] or not rest[0].startswith("-"))
    if is_file and getattr(arguments, "file", "") is None:
        arguments.file = Path(rest.pop())
    if rest:
        command = getattr(arguments, "parser", parser)
        options = re.findall(r"--[a-z-]+", command.format_help())
        close = get_close_matches(rest[0].partition("=")[0], options, 1, 0.7)
        hint = f"; did you mean {close[0]}?" if close and rest[0].startswith("--") else ""
        command.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    return arguments


def _fill(text: str) -> str:
    """Rewrap every paragraph."""
    return "\n\n".join(textwrap.fill(part, 79) for part in text.strip().split("\n\n"))


def _configure_streams() -> None:
    """Flush every line, and replace characters that the terminal cannot encode by "?"."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # absent when tests capture the output
            stream.reconfigure(line_buffering=True, errors="replace")


def _print_error(command: str, message: str) -> int:
    print(f"{PROGRAM} {command}: error: {message}", file=sys.stderr)
    return 2
