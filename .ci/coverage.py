"""Branch coverage of cpp/core, from the counts that a build with the preset `coverage` has left.

A branch of the source counts once: those of a template are merged over its instantiations, and
those of a function over the places where it is inlined. Where these differ in the branches that the
compiler makes of a line (``if constexpr``), the largest number counts. Left out, as by gcovr's
``--exclude-throw-branches`` and ``--exclude-unreachable-branches``, are branches that an exception
alone takes, and those of lines without code.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "cpp" / "core"
Branches = dict[tuple[str, int], list[bool]]  # by function and line: whether each has been taken


def gcov_files(build: Path) -> Iterator[dict[str, Any]]:
    """Yield what gcov says of every source file of every object."""
    gcov = shutil.which("gcov")
    if gcov is None:
        raise SystemExit("gcov must be on PATH; it comes with g++")
    command = [gcov, "--json-format", "--branch-probabilities", "--demangled-names", "--stdout"]
    for counts in sorted(build.resolve().rglob("*.gcda")):
        output = subprocess.run(
            [*command, counts], cwd=counts.parent, capture_output=True, text=True, check=True
        ).stdout
        for line in output.splitlines():
            yield from json.loads(line)["files"]


def template_name(function: str) -> str:
    """Return the name of a function without return type, template arguments and parameters."""
    if function.startswith("_Z"):  # of a lambda's instantiation, which gcov cannot demangle
        parts = re.match(r"_ZN?K?(\d.*)", function)
        return "::".join(identifiers(parts[1])) if parts else function
    name, depth = [], 0
    function = function.partition(" [clone")[0]
    for character in re.sub(r"operator[^\w\s(]+", "operator", function):
        depth += character in "<({"
        if depth == 0:
            name.append(character)
        depth -= character in ">)}"
    return "".join(name).removesuffix(" const").strip().rpartition(" ")[2]


def identifiers(mangled: str) -> Iterator[str]:
    """Yield the identifiers that a mangled name begins with, each after its length."""
    while length := re.match(r"\d+", mangled):
        start, end = length.end(), length.end() + int(length[0])
        yield mangled[start:end]
        mangled = mangled[end:]


@functools.lru_cache(None)
def code_of(file: Path) -> list[str]:
    """Return the lines of a file without comments and braces."""
    lines = file.read_text().splitlines()
    return [re.sub(r"//.*|\belse\b|[{};\s]", "", line) for line in lines]


def folded(taken: list[bool], size: int) -> list[bool]:
    """Return the branches of a line that is inlined several times into one function, once."""
    if len(taken) % size:
        return taken
    return [any(taken[i::size]) for i in range(size)]


def merged(found: list[list[bool]], code: str) -> list[bool]:
    """Return the branches of a line in all functions that it is compiled into.

    gcov lists those of inlined copies one after the other, and those of the copies of a loop that
    is unrolled: a loop with one condition has two, and else the shortest list is that of one copy.
    """
    is_loop = code.startswith("for(") and not re.search(r"&&|\|\||\?", code)
    size = 2 if is_loop else max(2, min(map(len, found)))
    parts = [folded(taken, size) for taken in found]
    longest = max(map(len, parts))
    same = [part for part in parts if len(part) == longest]
    return [any(each) for each in zip(*same, strict=True)]


def branches(build: Path) -> dict[str, Branches]:
    """Return the branches of every file of the core."""
    found: dict[str, dict[int, dict[str, list[list[bool]]]]] = collections.defaultdict(dict)
    for file in gcov_files(build):
        path = Path(file["file"])
        if CORE not in path.parents:
            continue
        names = {f["name"]: template_name(f["demangled_name"]) for f in file["functions"]}
        of_file = found[str(path.relative_to(CORE))]
        for line in file["lines"]:
            number = line["line_number"]
            taken = [branch["count"] > 0 for branch in line["branches"] if not branch["throw"]]
            if taken and code_of(path)[number - 1]:
                # A function of another file has none, if the line is inlined into it.
                function = names.get(line.get("function_name"), "")
                of_line = of_file.setdefault(number, {})
                of_line.setdefault(function, []).append(taken)
    result: dict[str, Branches] = {}
    for name, of_file in found.items():
        result[name] = {}
        for number, of_line in of_file.items():
            if len(of_line) == 2 and "" in of_line:  # copies of the same function
                function = max(of_line)
                of_line = {function: of_line[""] + of_line[function]}
            for function, each in of_line.items():
                result[name][function, number] = merged(each, code_of(CORE / name)[number - 1])
    return result


def main() -> None:
    """Print the table, and the lines with branches that are never taken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=Path, help="directory of the build")
    parser.add_argument("--least", type=float, default=95, help="percentage that is required")
    options = parser.parse_args()
    rows, missed = [], []
    for name, found in sorted(branches(options.build).items()):
        rows.append((name, sum(map(sum, found.values())), sum(map(len, found.values()))))
        for (function, line), each in sorted(found.items(), key=lambda item: item[0][1]):
            if not all(each):
                missed.append(f"cpp/core/{name}:{line}  {sum(each)} of {len(each)}  {function}")
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    for name, taken, count in rows:
        print(f"{name:32}{taken:6} of {count:5}{100 * taken / max(count, 1):7.1f} %")
    print("\nLines with branches that are never taken:", *missed, sep="\n")
    share = 100 * rows[-1][1] / max(rows[-1][2], 1)
    if share < options.least:
        raise SystemExit(f"branch coverage must be at least {options.least} %, got {share:.1f} %")


if __name__ == "__main__":
    main()
