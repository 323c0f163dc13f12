"""Commands run in the process of the test."""

from __future__ import annotations

import os

from bptt.cli.main import main


def run(capsys, *arguments):
    """Run a command; return what it printed on standard output, and on standard error."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return shown.out, shown.err


def fails(capsys, *arguments):
    """Run a command that fails; return its one sentence."""
    capsys.readouterr()
    before = sorted(os.listdir())
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert sorted(os.listdir()) == before
    assert shown.err.count("\n") == 1
    return shown.err.partition(" error: ")[2].rstrip()
