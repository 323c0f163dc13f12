"""What all examples share: the options of their command line, and the report of a run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from examples import _data
from examples._data import MissingDataError

Options: TypeAlias = argparse.Namespace  # quick, cell, bidirectional, plot, data, seed
CELLS = ("rnn", "lstm", "gru")


@dataclass(frozen=True)
class Report:
    """What a run reached, on data that it neither learnt nor chose from."""

    measure: str
    """Such as "accuracy of words"; with its unit, if it has one."""
    reached: float
    baseline: str
    """Such as "most frequent tag"."""
    baseline_reached: float
    data: str
    """Such as "UD English EWT, 25,094 test words"."""
    higher_is_better: bool = True
    target: float | None = None
    """What was to be reached, if that is more than to beat the baseline."""
    also: dict[str, str] = field(default_factory=dict)
    """Other figures, for the reader."""

    def __str__(self) -> str:
        lines = {
            "data": self.data,
            self.measure: f"{self.reached:.4g}",
            f"baseline, {self.baseline}": f"{self.baseline_reached:.4g}",
            **self.also,
        }
        width = max(map(len, lines)) + 2
        return "\n".join(f"{name:{width}}{value}" for name, value in lines.items())


@dataclass(frozen=True)
class Example:
    """A runnable example: ``example = Example(__doc__, run, cell="lstm")``."""

    text: str | None
    """The docstring of the script; its first line is the title."""
    run: Callable[[Options], Report]
    cell: str = "lstm"
    bidirectional: bool | None = False
    """None if the network must not read from the end: what comes next is what it learns."""
    trained: bool = False
    """Whether the network comes trained: then its cell and directions are no options."""
    compare: bool = False
    """Whether the index shows all three cells side by side."""
    more_data: bool = False
    """Whether --data may have data that no package ships."""
    arguments: Callable[[argparse.ArgumentParser], None] | None = None
    """Adds options of its own."""
    variants: Sequence[str] = ()
    """Values of these options that the index shows, too: "--language ta"."""

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the command line."""
        parser = argparse.ArgumentParser(
            description=self.text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        add = parser.add_argument
        add("--quick", action="store_true", help="a few seconds, on a part of the data")
        if self.trained:
            parser.set_defaults(cell=self.cell, bidirectional=bool(self.bidirectional))
        else:
            self._add_network(add)
        add("--plot", type=Path, metavar="DIR", help="draw a picture into this folder")
        add("--data", type=Path, metavar="PATH", help="a folder with the data")
        add("--seed", type=int, default=0, help="default: %(default)s")
        if self.arguments is not None:
            self.arguments(parser)
        return parser

    def _add_network(self, add: Callable[..., object]) -> None:
        add("--cell", choices=CELLS, default=self.cell, help="default: %(default)s")
        both = "read from both ends (default: %(default)s)"
        add(
            "--bidirectional",
            action=argparse.BooleanOptionalAction,
            default=bool(self.bidirectional),
            help="not here: what comes next is not read" if self.bidirectional is None else both,
        )

    def report(self, options: Options) -> tuple[Report, float]:
        """Run it; return what it reached, and its seconds."""
        if options.plot is not None:
            options.plot.mkdir(parents=True, exist_ok=True)
        _data.OWN[:] = [] if options.data is None else [options.data]
        start = time.perf_counter()
        return self.run(options), time.perf_counter() - start

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Run it from the command line."""
        parser = self.parser()
        options = parser.parse_args(arguments)
        if options.bidirectional and self.bidirectional is None:
            parser.error("--bidirectional: what comes next is learnt here, and must not be read")
        try:
            report, seconds = self.report(options)
        except MissingDataError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except ModuleNotFoundError as error:
            print(f"error: {error}: pip install '.[train,plot]'", file=sys.stderr)
            sys.exit(2)
        print(f"\n{report}\n{seconds:.0f} s, --seed {options.seed}")
