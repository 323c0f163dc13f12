"""Command line of the examples: run all of them, or those named.

With --write, the results and pictures of the index, examples/README.md, are computed anew:

    python -m examples --write --data DIR

DIR holds the data that no package ships: tinyshakespeare/input.txt,
ud_english_ewt/{train,dev,test}.tsv (word and tag in the first two tab-separated columns) and
wnut17_ner/{train,dev,test}.conll and tatoeba_en_mr/mar.txt (English, tab, Marathi), each of which
may be gzipped, and spoken_digits/recordings.zip (files DIGIT_SPEAKER_INDEX.wav). Without it, the
examples train on the data that packages ship.
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
    "transliteration",
    "captioning",
    "music",
    "activity",
    "speech",
    "speech_recognition",
    "dna",
    "forecasting",
    "online",
    "gradients",
    "pretrained.g2p",
    "pretrained.vad",
    "pretrained.hindi",
    "pretrained.textgen",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the examples; return the exit code, 1 if one of them failed."""
    parser = argparse.ArgumentParser(
        prog="python -m examples",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--quick", action="store_true", help="run on a part of the data, a few seconds each"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with your own data")
    parser.add_argument("--write", action="store_true", help="recompute the index")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no example {unknown[0]}: choose from {', '.join(NAMES)}")
    if options.quick and options.write:
        parser.error("--write needs full runs: leave out --quick")
    failed = [name for name in options.names or NAMES if not _run(name, options)]
    if options.write:
        _index.write_page(NAMES)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, options: argparse.Namespace) -> bool:
    """Run an example, for the index in all its variants; return whether it succeeded."""
    print(f"\n=== {name}", flush=True)
    data_arguments = [] if options.data is None else ["--data", str(options.data)]
    try:
        example: Example = import_module(f"examples.{name}").example
        runs = (
            _runs(example, data_arguments)
            if options.write
            else [["--quick"] * options.quick + data_arguments]
        )
        for arguments in runs:
            first = arguments is runs[0]
            parsed = example.parser().parse_args(arguments)
            if options.write and first:
                parsed.plot = _index.PICTURES
            report, seconds = example.report(parsed)
            print(f"\n{report}\n{seconds:.0f} s", flush=True)
            if options.write:
                _index.store(name, example, arguments, report, seconds, first)
    except MissingDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    except Exception:  # the other examples still run
        traceback.print_exc()
        return False
    return True


def _runs(example: Example, data_arguments: list[str]) -> list[list[str]]:
    """Return the arguments of all runs for the index, first those of the run with the picture."""
    more = data_arguments if example.more_data else []
    runs = [more]
    if example.compare:
        runs += [[*more, "--cell", cell] for cell in CELLS if cell != example.cell]
    if more:
        runs.append([])  # with the data that packages ship
    return runs + [variant.split() for variant in example.variants]


if __name__ == "__main__":
    sys.exit(main())
