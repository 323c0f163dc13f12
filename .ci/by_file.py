"""All tests under AddressSanitizer, a file in a process of its own: goes on where a run has ended.

Called by `.ci/sanitizers address --by-file [--minutes M]`. What has passed is in
`tests/fuzz/results/address-sanitizer.json`, with the date; `--again` begins anew.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.fuzz import results  # noqa: E402 (the project is not installed)

HARNESS = "address-sanitizer"
NO_TESTS = 5  # of pytest: all are left out


def test_files() -> list[str]:
    """Return the files of the tests, the small ones first."""
    found = sorted((ROOT / "tests").rglob("test_*.py"), key=lambda path: path.stat().st_size)
    return [str(path.relative_to(ROOT)) for path in found]


def run(file: str, options: list[str]) -> tuple[int, int]:
    """Run the tests of a file; return pytest's code, and how many have passed."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options, file]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    passed = re.search(r"(\d+) passed", finished.stdout.splitlines()[-1])
    if finished.returncode not in (0, NO_TESTS):
        print(finished.stdout, flush=True)
    return finished.returncode, int(passed[1]) if passed else 0


def write(done: dict[str, dict[str, Any]], failed: list[str], number: int) -> None:
    """Write what has passed, of all runs."""
    tests = sum(one["tests"] for one in done.values())
    what = f"tests under AddressSanitizer, UBSan and LeakSanitizer, {len(done)} of {number} files"
    seconds = sum(one["seconds"] for one in done.values())
    command = ".ci/sanitizers address --by-file"
    results.write(HARNESS, command, tests, what, len(failed), seconds=seconds, files=done)


def main() -> int:
    """Run the files that no run has passed, until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--again", action="store_true", help="begin anew")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no file later")
    given, options = parser.parse_known_args()
    path = results.RESULTS / f"{HARNESS}.json"
    done = {} if given.again or not path.exists() else json.loads(path.read_text())["files"]
    files, failed, start = test_files(), [], time.monotonic()
    done = {file: one for file, one in done.items() if file in files}
    for file in files:
        if file in done or time.monotonic() - start > 60 * given.minutes:
            continue
        began = time.monotonic()
        code, tests = run(file, options)
        seconds = round(time.monotonic() - began)
        print(f"{file}: {tests} passed, {seconds} s", flush=True)
        if code in (0, NO_TESTS):
            date = time.strftime("%Y-%m-%d", time.gmtime())
            done[file] = {"tests": tests, "seconds": seconds, "date": date}
        else:
            failed.append(file)
        write(done, failed, len(files))
    print(f"{len(done)} of {len(files)} files have passed; failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
