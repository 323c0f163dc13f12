"""Run the examples: all of them, or those named.

With --write, the figures and pictures of the index, examples/README.md, are made again:

    python -m examples --write --data DIR

DIR holds what no package ships: tinyshakespeare/input.txt, ud_english_ewt/{train,dev,test}.tsv
(word, tag, anything, with tabs between) and wnut17_ner/{train,dev,test}.conll; each may be gzipped.
Without it, the examples learn from what packages ship.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from examples import _index
from examples._common import CELLS, Example
from examples._data import MissingDataError

NAMES = (
    "autocomplete",
    "language_model",
    "pos_tagging",
    "named_entities",
    "sentiment",
    "translation",
    "captioning",
    "music",
    "activity",
    "speech",
    "dna",
    "forecasting",
    "gradients",
    "pretrained.g2p",
    "pretrained.vad",
    "pretrained.hindi",
    "pretrained.textgen",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run them, and return the exit code: 1 if one of them failed."""
    parser = argparse.ArgumentParser(
        prog="python -m examples",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="a few seconds each")
    parser.add_argument("--data", type=Path, metavar="DIR", help="a folder with data of your own")
    parser.add_argument("--write", action="store_true", help="make the index again")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no example {unknown[0]}: choose from {', '.join(NAMES)}")
    if options.quick and options.write:
        parser.error("the index shows full runs: --write goes without --quick")
    failed = [name for name in options.names or NAMES if not _run(name, options)]
    if options.write:
        _index.write_page(NAMES)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, options: argparse.Namespace) -> bool:
    """Run an example, for the index with every cell that is compared; say whether it went well."""
    print(f"\n=== {name}", flush=True)
    own = [] if options.data is None else ["--data", str(options.data)]
    try:
        example: Example = import_module(f"examples.{name}").example
        runs = _runs(example, own) if options.write else [["--quick"] * options.quick + own]
        for arguments in runs:
            first = arguments is runs[0]
            parsed = example.parser().parse_args(arguments)
            if options.write and first:
                parsed.plot = _index.PICTURES
            report, seconds = example.report(parsed)
            print(f"\n{report}\n{seconds:.0f} s", flush=True)
            if options.write:
                _index.keep(name, example, arguments, report, seconds, first)
    except MissingDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    except Exception:  # the others are run all the same
        traceback.print_exc()
        return False
    return True


def _runs(example: Example, own: list[str]) -> list[list[str]]:
    """Return the arguments of all runs for the index, that of the picture first."""
    more = own if example.more_data else []
    runs = [more]
    if example.compare:
        runs += [[*more, "--cell", cell] for cell in CELLS if cell != example.cell]
    if more:
        runs.append([])  # with what packages ship
    return runs + [variant.split() for variant in example.variants]


if __name__ == "__main__":
    sys.exit(main())
