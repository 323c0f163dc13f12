"""Files of results: one for each harness, in `tests/fuzz/results/`."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Return processor and number of cores, as the operating system reports them."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(s.partition(":")[2].strip() for s in lines if s.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {os.cpu_count()} cores"


def write(
    harness: str,
    command: str,
    count: int,
    unit: str,
    failures: int,
    *,
    add: bool = False,
    **more: Any,
) -> Path:
    """Write the result of a harness; return the path of its file.

    Parameters
    ----------
    harness : str
        Name of the harness, and of the file.
    command : str
        Command that repeats the run.
    count : int
        Number of what was tried.
    unit : str
        What was counted, in the plural.
    failures : int
        Number of open failures.
    add : bool
        Add count and seconds to those of earlier runs, of a harness that goes on from its corpus.
    **more
        ``seconds``, and further numbers of the harness.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{harness}.json"
    seconds = float(more.pop("seconds", 0.0))
    if add:
        before = json.loads(path.read_text()) if path.exists() else {}
        count, seconds = count + before.get("count", 0), seconds + before.get("seconds", 0.0)
        more["runs"] = before.get("runs", 0) + 1
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    content = {
        "harness": harness,
        "command": command,
        "count": count,
        "unit": unit,
        "failures": failures,
        "seconds": round(seconds, 1),
        "date": today,
        "machine": machine(),
        **more,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def main() -> None:
    """Write the result of a harness that is no Python: `python -m tests.fuzz.results --help`."""
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("harness", help="name of the harness, and of the file")
    parser.add_argument("--command", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--unit", required=True, help="what was counted, in the plural")
    parser.add_argument("--failures", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--add", action="store_true", help="add to the counts of earlier runs")
    given = vars(parser.parse_args())
    print(write(**given))


if __name__ == "__main__":
    main()
