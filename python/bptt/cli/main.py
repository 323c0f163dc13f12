"""The command line: ``python -m bptt COMMAND``."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence

import bptt
from bptt.cli import bench, demo, generate, inspect, predict, train
from bptt.cli.errors import CommandError

PROGRAM = "python -m bptt"
# Modules with NAME, SUMMARY, USAGE, EXAMPLES, add_arguments(parser) and run(arguments).
COMMANDS = (train, predict, generate, inspect, demo, bench)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 2 for an error of use, 130 for Ctrl-C."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    _prepare_output()
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except CommandError as error:
        return _fail(arguments.command, str(error))
    except MemoryError as error:
        return _fail(arguments.command, f"out of memory: {error}".rstrip(": "))
    except KeyboardInterrupt as interrupt:
        said = interrupt.args[0] if interrupt.args else "interrupted"
        print(f"\n{PROGRAM} {arguments.command}: {said}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Recurrent networks on the CPU for people who work in NumPy.",
        epilog=f"begin with: {PROGRAM} train --help",
    )
    parser.add_argument("--version", action="version", version=f"bptt {bptt.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for command in COMMANDS:
        added = commands.add_parser(
            command.NAME,
            help=command.SUMMARY,
            description=_filled(command.__doc__ or ""),
            epilog=command.EXAMPLES,
            usage=f"{PROGRAM} {command.NAME} {command.USAGE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser


def _filled(text: str) -> str:
    """Break the lines of every paragraph anew."""
    return "\n\n".join(textwrap.fill(part, 79) for part in text.strip().split("\n\n"))


def _prepare_output() -> None:
    """Show every line at once in a pipe too, and a "?" for what an old terminal cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not under a test that captures it
            stream.reconfigure(line_buffering=True, errors="replace")


def _fail(command: str, message: str) -> int:
    print(f"{PROGRAM} {command}: error: {message}", file=sys.stderr)
    return 2
