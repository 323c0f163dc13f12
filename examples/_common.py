"""Command-line options and reports, shared by all examples."""

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
    """Result of a run, on data used neither for training nor for model selection."""

    measure: str
    """Such as "word accuracy"; with its unit, if it has one."""
    result: float
    baseline: str
    """Such as "most frequent tag"."""
    baseline_result: float
    data: str
    """Such as "UD English EWT, 25,094 test words"."""
    higher_is_better: bool = True
    target: float | None = None
    """Required result, if beating the baseline is not enough."""
    also: dict[str, str] = field(default_factory=dict)
    """Further results: name to value."""

    def __str__(self) -> str:
        lines = {
            "data": self.data,
            self.measure: f"{self.result:.4g}",
            f"baseline, {self.baseline}": f"{self.baseline_result:.4g}",
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
    """Default of --bidirectional; None if the task predicts the next step."""
    pretrained: bool = False
    """Whether the network is pretrained: cell and directions are then no options."""
    compare: bool = False
    """Whether the index compares all three cells."""
    more_data: bool = False
    """Whether --data may supply data that no package ships."""
    arguments: Callable[[argparse.ArgumentParser], None] | None = None
    """Adds further options."""
    variants: Sequence[str] = ()
    """Further runs of the index, by their options: "--language ta"."""

    def parser(self) -> argparse.ArgumentParser:
        """Return the command-line parser."""
        parser = argparse.ArgumentParser(
            description=self.text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        add = parser.add_argument
        add("--quick", action="store_true", help="train on a part of the data, a few seconds")
        if self.pretrained:
            parser.set_defaults(cell=self.cell, bidirectional=bool(self.bidirectional))
        else:
            self._add_network(add)
        add("--plot", type=Path, metavar="DIR", help="save a picture in this folder")
        add("--data", type=Path, metavar="PATH", help="folder with the data")
        add("--seed", type=int, default=0, help="default: %(default)s")
        if self.arguments is not None:
            self.arguments(parser)
        return parser

    def _add_network(self, add: Callable[..., object]) -> None:
        add("--cell", choices=CELLS, default=self.cell, help="default: %(default)s")
        both = "read in both directions (default: %(default)s)"
        add(
            "--bidirectional",
            action=argparse.BooleanOptionalAction,
            default=bool(self.bidirectional),
            help="not available: the task predicts the next step"
            if self.bidirectional is None
            else both,
        )

    def report(self, options: Options) -> tuple[Report, float]:
        """Run the example; return its report and its time in seconds."""
        if options.plot is not None:
            options.plot.mkdir(parents=True, exist_ok=True)
        _data.USER_FOLDERS[:] = [] if options.data is None else [options.data]
        start = time.perf_counter()
        return self.run(options), time.perf_counter() - start

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Run the example from the command line."""
        parser = self.parser()
        options = parser.parse_args(arguments)
        if options.bidirectional and self.bidirectional is None:
            parser.error("--bidirectional: not available, the task predicts the next step")
        try:
            report, seconds = self.report(options)
        except MissingDataError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except ModuleNotFoundError as error:
            print(f"error: {error}: pip install '.[train,plot]'", file=sys.stderr)
            sys.exit(2)
        print(f"\n{report}\n{seconds:.0f} s, --seed {options.seed}")
