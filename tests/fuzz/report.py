"""Table of what was tried and how often, from `tests/fuzz/results/`: `python -m tests.fuzz.report`.

Writes it into `docs/reliability.md`, between the comments that mark it; `--check` fails if the page
has another one. With `--files` it reads other files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.fuzz.results import RESULTS

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
START = "<!-- results: python -m tests.fuzz.report -->"
END = "<!-- end of results -->"
FIELDS = ("harness", "command", "count", "unit", "failures", "seconds", "date", "machine")


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the results of files, the largest first."""
    found = []
    for path in paths:
        content = json.loads(path.read_text())
        missing = [name for name in FIELDS if name not in content]
        if missing:
            raise ValueError(f"{path} must have {', '.join(missing)}")
        found.append(content)
    return sorted(found, key=lambda content: (-content["count"], content["harness"]))


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of results in Markdown."""
    rows = [
        "| tried | times | open failures | command | time | date |",
        "|---|---|---|---|---|---|",
    ]
    machines = []
    for one in results:
        minutes = one["seconds"] / 60
        took = f"{one['seconds']:.0f} s" if minutes < 2 else f"{minutes:.0f} min"
        machines.append(one["machine"])
        rows.append(
            f"| {one['unit']} | {one['count']:,} | {one['failures']} | `{one['command']}` "
            f"| {took} | {one['date']} |"
        )
    return "\n".join([*rows, "", f"Measured on: {'; '.join(dict.fromkeys(machines))}."])


def page_with(text: str, found: str) -> str:
    """Return the page with another table."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{found}\n\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Write the table, or compare it with the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the page, write nothing")
    parser.add_argument("--files", type=Path, nargs="*", default=None)
    options = parser.parse_args(arguments)
    paths = sorted(RESULTS.glob("*.json")) if options.files is None else options.files
    results = read(paths)
    text = PAGE.read_text("utf-8")
    changed = page_with(text, table(results))
    if options.check:
        return int(changed != text)
    PAGE.write_text(changed, "utf-8")
    print(table(results))
    return int(any(one["failures"] for one in results))


if __name__ == "__main__":
    sys.exit(main())
