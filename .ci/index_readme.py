"""The README as a package index shows it: README.index.md, the `readme` of pyproject.toml.

    python .ci/index_readme.py

A package index resolves no relative links. Links and pictures become absolute, at the address
`Repository` of [project.urls]. While there is no such address, a link becomes its text, and a
picture is left out.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "README.index.md"
NOTE = "<!-- Made from README.md by .ci/index_readme.py -->\n\n"
PICTURE = re.compile(r'<picture>.*?<img src="([^"]*)"\s*alt="([^"]*)">.*?</picture>\n+', re.DOTALL)
RELATIVE_LINK = re.compile(r"\[([^]]+)\]\((?!https?:|mailto:|#)([^)]+)\)")


def repository(pyproject: str) -> str | None:
    """Return the address of the repository in the text of pyproject.toml."""
    urls = pyproject.partition("\n[project.urls]\n")[2].partition("\n[")[0]
    found = re.search(r'^(?:Repository|Source) = "([^"]+?)/?"$', urls, re.MULTILINE)
    return found[1] if found else None


def for_index(text: str, address: str | None) -> str:
    """Return the README with absolute links."""
    if address is None:
        return NOTE + RELATIVE_LINK.sub(r"\1", PICTURE.sub("", text))
    text = PICTURE.sub(rf"![\2]({address}/raw/HEAD/\1)\n\n", text)
    return NOTE + RELATIVE_LINK.sub(rf"[\1]({address}/blob/HEAD/\2)", text)


def main() -> None:
    """Write the file."""
    address = repository((ROOT / "pyproject.toml").read_text("utf-8"))
    TARGET.write_text(for_index((ROOT / "README.md").read_text("utf-8"), address), "utf-8")


if __name__ == "__main__":
    main()
