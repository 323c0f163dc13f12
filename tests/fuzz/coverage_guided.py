"""Coverage-guided fuzzing of readers and of the Python surface, with atheris (libFuzzer).

`python -m tests.fuzz.coverage_guided TARGET --seconds 60` mutates the inputs in
`tests/fuzz/corpus/TARGET.txt`, keeps what reaches new code, and fails for an exception that is not
allowed. `all` runs every target; `--write` writes the number of executions to
`tests/fuzz/results/`; `--pack` writes the smallest inputs of the folder `--corpus` that reach the
same code to `tests/fuzz/corpus`, instead of a run. Needs `pip install --group fuzz`.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.fuzz.readers import MEGABYTES, MEMORY, ROOT, TARGETS, corpus, seeds, write_corpus

MAX_LENGTH = 8192  # bytes of an input
MAX_PACKED = 600  # of an input in the corpus
SECONDS = 300  # of one input, before libFuzzer reports it


def _fuzz(options: argparse.Namespace, merging: list[str]) -> None:
    """Run libFuzzer in this process; it does not return.

    A merge runs this program again, with arguments of its own: `merging`.
    """
    import atheris

    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as name,
        atheris.instrument_imports(include=["bptt"]),  # also those of functions, hence around all
    ):
        folder = Path(name)
        os.chdir(folder)  # where files with names such as "None" do no harm
        one = TARGETS[options.target](folder)
        made = folder / "seeds"
        made.mkdir()
        for i, data in enumerate([*seeds(options.target, folder), *corpus(options.target)]):
            assert len(data) <= MAX_LENGTH, "libFuzzer would cut it"
            (made / str(i)).write_bytes(data)
        grown = Path(options.corpus or folder / "grown")
        grown.mkdir(exist_ok=True, parents=True)
        with open(options.place, "r+b") as file, mmap.mmap(file.fileno(), 8) as place:
            count = 0

            def counted(data: bytes) -> None:
                nonlocal count
                count += 1
                place[:] = count.to_bytes(8, "little")
                one(data)

            limits = [f"-max_len={MAX_LENGTH}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}"]
            artifacts = f"-artifact_prefix={options.artifacts}/"
            if merging:
                arguments = merging
            elif options.merged:
                arguments = ["-merge=1", "-use_counters=0", *limits, options.merged, str(grown)]
            else:
                arguments = [f"-max_total_time={options.seconds}", f"-seed={options.seed}", *limits]
                arguments += [artifacts, "-print_final_stats=1", str(grown), str(made)]
            own = sys.orig_argv[1 : len(sys.orig_argv) - len(merging)]
            again = " ".join([sys.executable, *own])
            atheris.Setup([again, *arguments], counted)
            atheris.Fuzz()


def _inside(options: argparse.Namespace, target: str, *more: str) -> tuple[int, Any, float]:
    """Run libFuzzer in a process of its own; return executions, the process and seconds."""
    artifacts = Path(options.artifacts) / target
    artifacts.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile() as place:
        place.write(bytes(8))
        place.flush()
        command = [sys.executable, "-m", "tests.fuzz.coverage_guided", target, "--inside", *more]
        command += ["--place", place.name, "--artifacts", str(artifacts)]
        start = time.monotonic()
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        child = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace"
        )
        seconds = time.monotonic() - start
        count = int.from_bytes(Path(place.name).read_bytes(), "little")
    if child.returncode:
        print(child.stdout[-6000:], child.stderr[-6000:])  # the exception, and what libFuzzer says
    return count, child, seconds


def run(options: argparse.Namespace, target: str) -> tuple[int, int, float]:
    """Fuzz a target; return executions, failures and seconds."""
    more = ["--seconds", str(options.seconds), "--seed", str(options.seed)]
    more += ["--corpus", str(Path(options.corpus) / target)] if options.corpus else []
    count, child, seconds = _inside(options, target, *more)
    covered = re.findall(r"cov: (\d+)", child.stderr)
    print(f"{target}: {count:,} executions in {seconds:.0f} s, coverage {covered[-1:]}", flush=True)
    return count, int(child.returncode != 0), seconds


def pack(options: argparse.Namespace, target: str) -> tuple[int, int, float]:
    """Write the smallest inputs that reach the same code as all of them to CORPUS."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        merged, small = Path(name) / "merged", Path(name) / "small"
        merged.mkdir()
        small.mkdir()
        found = [path.read_bytes() for path in sorted((Path(options.corpus) / target).glob("*"))]
        for i, data in enumerate([*found, *corpus(target)]):
            if len(data) <= MAX_PACKED:
                (small / str(i)).write_bytes(data)
        more = ("--corpus", str(small), "--merged", str(merged))
        count, child, seconds = _inside(options, target, *more)
        kept = [path.read_bytes() for path in merged.glob("*")]
    if child.returncode == 0:
        write_corpus(target, kept)
        print(f"{target}: {len(kept)} inputs of {len(found)}", flush=True)
    return count, int(child.returncode != 0), seconds


def write(found: dict[str, tuple[int, int, float]], seconds: int) -> None:
    """Write executions, failures and seconds of targets, beside what is known of the others."""
    from tests.fuzz import results

    path = results.RESULTS / "atheris.json"
    before = json.loads(path.read_text())["targets"] if path.exists() else {}
    words = ("executions", "failures", "seconds")
    new = {name: dict(zip(words, numbers, strict=True)) for name, numbers in found.items()}
    known = {**before, **new}
    targets = {name: known[name] for name in TARGETS if name in known}
    results.write(
        "atheris",
        f"python -m tests.fuzz.coverage_guided all --seconds {seconds}",
        sum(one["executions"] for one in targets.values()),
        "coverage-guided executions of readers and of the Python surface",
        sum(one["failures"] for one in targets.values()),
        seconds=sum(one["seconds"] for one in targets.values()),
        targets=targets,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run targets; return 1 if one has failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--workers", type=int, default=2, help="targets at the same time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", default="", help="folder that keeps new inputs, between runs")
    parser.add_argument("--artifacts", default="build/fuzz", help="folder of inputs that fail")
    parser.add_argument("--write", action="store_true", help="write tests/fuzz/results/")
    parser.add_argument("--pack", action="store_true", help="write tests/fuzz/corpus instead")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    for name in ("--place", "--merged"):
        parser.add_argument(name, default="", help=argparse.SUPPRESS)
    options, merging = parser.parse_known_args(arguments)
    if options.inside:
        _fuzz(options, merging)
    elif merging:
        parser.error(f"unknown arguments {merging}")
    if options.pack and not options.corpus:
        parser.error("--pack needs --corpus")
    options.artifacts = str(Path(options.artifacts).absolute())
    options.corpus = options.corpus and str(Path(options.corpus).absolute())
    names = list(TARGETS) if options.target == "all" else [options.target]
    if options.pack:  # the bytes of a call mean another one as soon as there is a new function
        names = [name for name in names if name != "calls"]
    with ThreadPoolExecutor(options.workers) as pool:
        one = pack if options.pack else run
        found = dict(zip(names, pool.map(lambda name: one(options, name), names), strict=True))
    failures = sum(failed for _, failed, _ in found.values())
    if options.write and not options.pack:
        write(found, options.seconds)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
