"""Pages made from files outside of docs/: gallery, benchmarks, changelog, contributing."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
# File of the repository -> page of the site. Generated pages are not in the repository.
PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "benchmarks/results/avx2/results.md": "project/benchmark-results-avx2.md",
    "benchmarks/results/distributed.md": "project/benchmark-results-distributed.md",
    "benchmarks/results/intel/results.md": "project/benchmark-results-intel.md",
    "benchmarks/results/intel-avx2/results.md": "project/benchmark-results-intel-avx2.md",
    "benchmarks/results/models/results.md": "project/benchmark-results-models.md",
    "benchmarks/results/models-avx2/results.md": "project/benchmark-results-models-avx2.md",
    "benchmarks/results/results.md": "project/benchmark-results.md",
    "examples/README.md": "gallery/index.md",
    "README.md": "index.md",
}
FILE_AS_TEXT = re.compile(r"\[[\w./-]+\.md\](?=\([\w./#-]+\))")
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")
# Title, script and picture of an example.
EXAMPLE = re.compile(r"## .+\n\n(.+): \[[^]]+\]\(([^)]+)\)\n\n!\[[^]]*\]\(([^)]+)\)\n")


def page_of(path: PurePosixPath) -> PurePosixPath:
    """Return the page in docs/ of a file, or the file itself where there is none."""
    name = path.as_posix()
    if name in PAGES:
        return PurePosixPath("docs", PAGES[name])
    if path.parts[0] == "examples" and path.suffix == ".py":
        return PurePosixPath("docs/gallery", ".".join(path.with_suffix(".md").parts[1:]))
    return path


def with_links_of_the_site(text: str, source: PurePosixPath, page: PurePosixPath) -> str:
    """Return a text with its relative links as from its page; both paths are from the root.

    A link whose text is the name of a file gets the title of the page as its text.
    """

    def replace(match: re.Match[str]) -> str:
        target = PurePosixPath(os.path.normpath(source.parent / match[1]))
        return os.path.relpath(page_of(target), page.parent)

    return LINK.sub(replace, FILE_AS_TEXT.sub("[]", text))


def write(page: str, text: str) -> None:
    """Write a page, unless it is there already: Sphinx reads what is new."""
    path = DOCS / page
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def write_copies() -> None:
    """Write the pages that are files of the repository."""
    for name, page in PAGES.items():
        if name not in ("README.md", "examples/README.md") and (ROOT / name).exists():
            text = (ROOT / name).read_text("utf-8")
            write(
                page, with_links_of_the_site(text, PurePosixPath(name), PurePosixPath("docs", page))
            )


def write_gallery() -> None:
    """Write a page for each example, with picture, results and script, and the page of all."""
    source = PurePosixPath("examples/README.md")
    text = (ROOT / source).read_text("utf-8")
    beginning, *parts = re.split(r"(?=^## )", text, flags=re.MULTILINE)
    cards, names = [], []
    for part in parts:
        match = EXAMPLE.match(part)
        assert match, part
        title, script, picture = match.groups()
        page = page_of(PurePosixPath("examples", script))
        plain = title.replace("&lt;", "<")
        content = with_links_of_the_site(
            f"# {title}\n\n![{plain}]({picture})\n\n{part[match.end() :].strip()}\n\n"
            f"## Script\n\n```{{literalinclude}} ../../examples/{script}\n:language: python\n```\n",
            source,
            page,
        )
        write(page.relative_to("docs").as_posix(), content)
        names.append(page.stem)
        task, _, subject = title.partition(": ")
        cards.append(
            f":::{{grid-item-card}} {task}\n:link: {page.stem}\n:link-type: doc\n"
            f":img-top: ../../examples/{picture}\n:img-alt: {plain}\n\n{subject}\n:::\n"
        )
    index = with_links_of_the_site(beginning, source, PurePosixPath("docs/gallery/index.md"))
    index = re.sub(r"\(#(\w+)\)", lambda match: f"({page_with(match[1], names)}.md)", index)
    title, _, rest = index.partition("\n")
    introduction, table, table_rows = rest.partition("| task |")
    grid = "::::{grid} 1 2 2 3\n:gutter: 3\n\n" + "\n".join(cards) + "::::\n"
    toctree = "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```\n"
    write(
        "gallery/index.md",
        f"# Gallery\n\n{grid}\n## How to run them\n{introduction}"
        f"## Results\n\n{table}{table_rows}\n{toctree}",
    )


def page_with(anchor: str, names: list[str]) -> str:
    """Return the page of an anchor as GitHub makes it, which drops periods."""
    (name,) = (name for name in names if name.replace(".", "") == anchor)
    return name


def map_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Map links to files outside of docs/ to their pages."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md" and path.parent == DOCS:
        page = PurePosixPath("docs", path.name)
        source[0] = with_links_of_the_site(source[0], page, page)


def generate(app: Sphinx) -> None:
    """Write all pages before Sphinx looks for them."""
    write_copies()
    write_gallery()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the events."""
    app.connect("builder-inited", generate)
    app.connect("source-read", map_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
