"""Builds without a network: MathJax from its package, inventories of other projects from text.

An inventory is `docs/inventories/<project>.txt`: the address of the project's documentation, then
one line for each name that a page or docstring refers to, `name domain:role priority uri dispname`
as in the inventories of Sphinx.
"""

from __future__ import annotations

import shutil
import zlib
from importlib.metadata import files
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

INVENTORIES = Path(__file__).parents[1] / "inventories"
MATHJAX = "tex-svg.js"  # one file, with its glyphs


def write_inventory(project: str, names: str, path: Path) -> None:
    """Write the names in the format of ``objects.inv``, version 2."""
    header = (
        "# Sphinx inventory version 2\n"
        f"# Project: {project}\n"
        "# Version: stable\n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode() + zlib.compress(names.encode()))


def compile_inventories(app: Sphinx, config: Config) -> None:
    """Compile the inventories, and add them to ``intersphinx_mapping``."""
    for source in sorted(INVENTORIES.glob("*.txt")):
        address, _, names = source.read_text("utf-8").partition("\n")
        compiled = Path(app.doctreedir) / "inventories" / f"{source.stem}.inv"
        write_inventory(source.stem, names, compiled)
        config.intersphinx_mapping[source.stem] = (address, str(compiled))


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy MathJax into the site."""
    if exception is None and app.builder.format == "html":
        (source,) = (file for file in files("sphinx-mathjax-offline") or () if file.name == MATHJAX)
        shutil.copy(str(source.locate()), Path(app.outdir) / "_static" / MATHJAX)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the events; before those of intersphinx, which reads the mapping."""
    app.connect("config-inited", compile_inventories, priority=100)
    app.connect("build-finished", copy_mathjax)
    app.config.mathjax_path = MATHJAX  # type: ignore[attr-defined]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
