"""Compare bptt with the other installed libraries on this machine.

    python benchmarks/compare.py            # all rows, about 25 minutes
    python benchmarks/compare.py --quick    # a few rows of every kind, under 2 minutes

benchmarks/README.md describes what is measured and how.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

import bptt
import instructions
import peers
import report
from grid import BPTT_CELLS, CELLS, DTYPES, GROUPS, MODES, Row, all_rows, quick_rows, random_rows
from models import GROUP as MODELS
from models import AnyRow, model_rows, quick_model_rows, row_from_json

HERE = Path(__file__).parent
BUDGET, QUICK_BUDGET = 2.5, 0.8  # seconds for the samples of a row
DISTURBED = 0.05  # seconds per second that threads waited for a core
ASSUMED_RATE = 5e10  # FLOP/s per thread, for the first estimate of the remaining time
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BPTT_NUM_THREADS",
    "NPROC",  # JAX
    "TF_NUM_INTRAOP_THREADS",
)


class ComparisonError(Exception):
    """Error that ends the comparison."""


def cores() -> list[int]:
    """Return the cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    installed, count = peers.installed(), len(cores())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="a few rows of every kind, under two minutes")
    add("--cells", nargs="+", choices=BPTT_CELLS, help="cells (default: all)")
    add("--modes", nargs="+", choices=MODES, default=list(MODES), help="modes (default: all)")
    add("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="dtypes (default: both)")
    add("--groups", nargs="+", choices=[*GROUPS, MODELS], help="groups of rows (default: all)")
    size = parser.add_mutually_exclusive_group().add_argument
    size("--size", nargs=4, type=int, metavar=("T", "B", "I", "H"), help="only rows of this size")
    size("--random", type=int, metavar="N", help="the LSTM at N sizes drawn at random instead")
    add("--seed", type=int, default=0, help="of --random (default: 0)")
    add("--peers", nargs="*", choices=installed, help="libraries (default: all installed)")
    add(
        "--threads",
        nargs="+",
        type=int,
        default=sorted({1, count}),
        help=f"numbers of threads, in [1, {count}], one worker each (default: 1 and all cores)",
    )
    add(
        "--isa",
        choices=instructions.SETTINGS,
        help="restrict the libraries to these instructions",
    )
    add("--rounds", type=int, help="samples per call (default: 9, with --quick 5)")
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="write results to DIR (default: benchmarks/results)",
    )
    add(
        "--resume",
        action="store_true",
        help="skip the rows already in DIR, unless other programs disturbed them",
    )
    add("--no-plots", action="store_true", help="write tables only")
    arguments = parser.parse_args(argv)
    if not all(1 <= n <= count for n in arguments.threads):
        parser.error(f"--threads must be in [1, cores] = [1, {count}], got {arguments.threads}")
    if arguments.peers is None:  # tracing TensorFlow takes longer than a quick run
        skipped = {"tensorflow"} if arguments.quick else set()
        arguments.peers = [name for name in installed if name not in skipped]
    if arguments.random is not None and arguments.random < 1:
        parser.error(f"--random must be at least 1, got {arguments.random}")
    if arguments.rounds is None:
        arguments.rounds = 5 if arguments.quick else 9
    elif arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {arguments.rounds}")
    return arguments


def every_row() -> list[AnyRow]:
    """Return the rows of the full comparison."""
    return [*all_rows(), *model_rows()]


def choose(arguments: argparse.Namespace) -> list[AnyRow]:
    """Return the selected rows."""
    rows = [*quick_rows(), *quick_model_rows()] if arguments.quick else every_row()
    if arguments.size:
        T, B, inputs, H = arguments.size
        rows = [
            Row("grid", c, m, T, B, inputs, H, dtype=d)
            for c in CELLS
            for m in MODES[:2]
            for d in DTYPES
        ]
        rows += [Row("step", c, "step", 1, B, inputs, H) for c in ("rnn", "lstm", "gru")]
    if arguments.random is not None:
        rows = [*random_rows(arguments.random, arguments.seed)]
    rows = [
        row
        for row in rows
        if (not arguments.cells or row.cell in arguments.cells)
        and row.mode in arguments.modes
        and row.dtype in arguments.dtypes
        and (not arguments.groups or row.group in arguments.groups)
    ]
    if not rows:
        raise ComparisonError("the selected cells, modes, dtypes and groups have no row")
    return rows


def environment(threads: int, isa: str | None) -> dict[str, str]:
    """Return the environment of a worker."""
    variables = {name: str(threads) for name in THREAD_VARIABLES}
    variables["TF_NUM_INTEROP_THREADS"] = "1"
    variables["TF_CPP_MIN_LOG_LEVEL"] = "2"
    # By default OpenBLAS spins for 0.1 s after a product, into the next measurement: 2**22 clocks.
    variables["OPENBLAS_THREAD_TIMEOUT"] = "22"
    return {**os.environ, **variables, **instructions.restrictions(isa)}


def pin(threads: int) -> None:
    """Pin this process, which becomes the worker, to as many cores as it has threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])


def run_worker(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Run a worker and yield its messages."""
    threads = settings["threads"]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        worker = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(threads, settings["isa"]),
            preexec_fn=lambda: pin(threads),
            text=True,
            encoding="utf-8",
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            json.dump(settings, worker.stdin)
            worker.stdin.close()
            for line in worker.stdout:
                message = json.loads(line)
                if "error" in message:
                    raise ComparisonError(message["error"])
                yield message
            if worker.wait() != 0:
                log.seek(0)
                raise ComparisonError(f"the worker failed:\n{log.read()[-4000:]}")
        finally:
            worker.kill()
            worker.wait()


def machine(isa: str | None) -> dict[str, Any]:
    config = bptt.config()
    return {
        "processor": config["processor"],
        "isa": instructions.SETTINGS[isa]["BPTT_ISA"] if isa else config["isa"],
        "hides_avx512": instructions.hides_avx512(isa),
        "compiler": config["compiler"],
        "cores": len(cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def expected_seconds(row: AnyRow, threads: int, budget: float) -> float:
    """Return the estimated time of a row: compilation, comparison of the results, samples."""
    once = 4 * row.flops / (ASSUMED_RATE * threads)
    if row.group == MODELS:
        return 1 + 10 * once + min(12 * (once + 0.1), 6 * budget)
    build = 0.3
    if row.group in ("grid", "ragged"):
        build += (1 if row.mode == "training" else 0.4) * (3 if row.batch <= 16 else 1)
    return build + 2 * once + min(9 * (once + 0.1), budget)


def disturbed(entry: dict[str, Any]) -> bool:
    """Return whether threads waited for a core, which other programs used, while measured."""
    return bool(entry["waited"] > DISTURBED)


def measuring_command(given: list[str]) -> str:
    """Return the command, without what says where results go and whether there are some."""
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    files.add_argument("--output")
    files.add_argument("--resume", action="store_true")
    files.add_argument("--no-plots", action="store_true")
    return shlex.join(["python", "benchmarks/compare.py", *files.parse_known_args(given)[1]])


def one_row_a_line(content: dict[str, Any]) -> str:
    """Return JSON whose differences show which rows have changed."""
    lines = [
        f" {json.dumps(name)}: {json.dumps(value)},\n"
        for name, value in content.items()
        if name != "rows"
    ]
    rows = ",\n".join(f"  {json.dumps(row)}" for row in content["rows"])
    return "{\n" + "".join(lines) + f' "rows": [\n{rows}\n ]\n}}\n'


class Results:
    """The file of all measurements, rewritten after every row."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.path: Path = arguments.output / "results.json"
        self.content: dict[str, Any] = {
            "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": measuring_command(arguments.given),
            "machine": machine(arguments.isa),
            "versions": {},
            "bandwidth": {},
            "rows": [],
        }
        if arguments.resume and self.path.exists():
            self._continue(json.loads(self.path.read_text()))

    def _continue(self, before: dict[str, Any]) -> None:
        if before["machine"] != self.content["machine"]:
            raise ComparisonError(
                f"--resume needs results of this machine, {self.content['machine']}, and "
                f"{self.path} has those of {before['machine']}"
            )
        commands = before["command"].split(" && ")
        if self.content["command"] not in commands:
            before["command"] = " && ".join([*commands, self.content["command"]])
        self.content = before

    def done(self) -> set[tuple[AnyRow, int]]:
        rows = [entry for entry in self.content["rows"] if not disturbed(entry)]
        return {(row_from_json(entry["row"]), entry["threads"]) for entry in rows}

    def add(self, message: dict[str, Any], threads: int) -> None:
        if "row" in message:
            same = {name: message[name] for name in ("row", "threads")}
            others = [row for row in self.content["rows"] if not same.items() <= row.items()]
            self.content["rows"] = [*others, message]
        else:
            self.content["versions"].update(message["versions"])
            self.content["bandwidth"][str(threads)] = message["bandwidth"]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(one_row_a_line(self.content))
        part.replace(self.path)  # atomic


def warn_if_busy() -> None:
    """Warn of other processes: peers that spin at barriers slow down a hundredfold."""
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.4 * (os.cpu_count() or 1):
        print(
            f"compare.py: warning: this machine is busy (load {load:.1f}), which disturbs the "
            "measurements, those of several threads most",
            file=sys.stderr,
        )


def warn_of_disturbed(results: Results) -> None:
    found = sum(map(disturbed, results.content["rows"]))
    if found:
        print(
            f"compare.py: warning: other programs disturbed {found} rows; --resume measures them "
            "again",
            file=sys.stderr,
        )


def measure(arguments: argparse.Namespace, rows: list[AnyRow], results: Results) -> None:
    done = results.done()
    budget = QUICK_BUDGET if arguments.quick else BUDGET
    jobs = {
        threads: [row for row in rows if (row, threads) not in done]
        for threads in arguments.threads
    }
    total = sum(expected_seconds(row, n, budget) for n, todo in jobs.items() for row in todo)
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, left {remaining}"
    with tqdm(total=total, bar_format=form, smoothing=0.05) as progress:
        for threads, todo in jobs.items():
            if not todo:
                continue
            progress.set_description(f"threads {threads}: loading {', '.join(arguments.peers)}")
            settings = {
                "threads": threads,
                "isa": arguments.isa,
                "rounds": arguments.rounds,
                "budget": budget,
                "peers": arguments.peers,
                "rows": [row.to_json() for row in todo],
            }
            waiting = iter([*todo, None])
            for message in run_worker(settings):
                results.add(message, threads)
                if "row" in message:
                    row = row_from_json(message["row"])
                    progress.update(expected_seconds(row, threads, budget))
                coming = next(waiting)
                progress.set_description(f"threads {threads}: {coming}" if coming else "done")


def default_output(arguments: argparse.Namespace, rows: list[AnyRow]) -> Path:
    """Return the directory of the results: a selection of rows does not overwrite the full set."""
    results = HERE / "results" / (arguments.isa or "")
    return results if rows == every_row() else results / "part"


def draw(arguments: argparse.Namespace, content: dict[str, Any]) -> None:
    if arguments.no_plots:
        return
    if not importlib.util.find_spec("matplotlib"):
        print("compare.py: no plots: matplotlib is not installed", file=sys.stderr)
        return
    import plots

    plots.write(content, arguments.output)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    arguments.given = list(sys.argv[1:] if argv is None else argv)
    try:
        rows = choose(arguments)
        arguments.output = arguments.output or default_output(arguments, rows)
        results = Results(arguments)
        warn_if_busy()
        measure(arguments, rows, results)
        report.write(results.content, arguments.output)
        draw(arguments, results.content)
    except ComparisonError as error:
        print(f"compare.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncompare.py: interrupted; use --resume to continue", file=sys.stderr)
        return 130
    warn_of_disturbed(results)
    print((arguments.output / "results.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
