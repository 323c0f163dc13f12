"""Check of the built site: links, resources, pages of the public names.

python docs/check_site.py build/docs

- Every link inside the site has its page and its anchor.
- No page loads a script, a style sheet, a font or a picture from another host.
- Every picture has a text.
- Every public name has an entry in the API reference, and the search finds it.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

from sphinx.ext.autodoc.mock import mock

sys.path.insert(0, str(Path(__file__).parent / "extensions"))
from mocked import MOCKED

PACKAGES = [path.stem for path in (Path(__file__).parent / "api").glob("bptt*.rst")]
RESOURCES = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "srcset"}
FROM_ANOTHER_HOST = re.compile(r"""(?:@import|url\()\s*["']?((?:https?:)?//[^"')]*)""")


class Page(HTMLParser):
    """Links, anchors, resources and pictures of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.resources: list[str] = []
        self.pictures_without_text: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag refers to."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        is_resource = tag != "link" or "canonical" not in values.get("rel", "")
        resource = values.get(RESOURCES.get(tag, ""), "#")
        if resource != "#" and is_resource:
            self.resources.append(resource)
        is_logo = "logo__image" in values.get("class", "")  # beside the name of the site
        if tag == "img" and not values.get("alt") and not is_logo:
            self.pictures_without_text.append(values.get("src", ""))


def is_external(address: str) -> bool:
    """Whether an address has a host or a scheme."""
    return bool(re.match(r"(?:[a-z][a-z+.-]*:|//)", address)) and not address.startswith("data:")


def broken_links(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Report links to pages and anchors that do not exist."""
    for path, page in pages.items():
        for link in page.links:
            if is_external(link):
                continue
            target, anchor = urldefrag(link)
            file = (path.parent / unquote(target)).resolve() if target else path
            if not file.is_file():
                yield f"{path.relative_to(site)}: no file for {link}"
            elif anchor and file in pages and unquote(anchor) not in pages[file].anchors:
                yield f"{path.relative_to(site)}: no anchor for {link}"


def problems_of_resources(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Report resources that are missing or of another host, and pictures without a text."""
    for path, page in pages.items():
        for resource in page.resources:
            file = path.parent / unquote(re.sub(r"[?#].*", "", resource))
            if is_external(resource):
                yield f"{path.relative_to(site)}: loads {resource}"
            elif not resource.startswith("data:") and not file.is_file():
                yield f"{path.relative_to(site)}: no file for {resource}"
        for picture in page.pictures_without_text:
            yield f"{path.relative_to(site)}: no text for {picture}"
    for style in site.rglob("*.css"):
        for address in FROM_ANOTHER_HOST.findall(style.read_text("utf-8")):
            yield f"{style.relative_to(site)}: loads {address}"


def names_without_page(site: Path) -> Iterator[str]:
    """Report public names that the inventory of the site does not have."""
    content = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(content).decode().splitlines()
    found = {line.split(" py:")[0] for line in lines if " py:" in line}
    search = (site / "searchindex.js").read_text("utf-8").lower()
    importlib.import_module("sklearn.base")  # which would take the mock for PyTorch
    with mock(MOCKED):  # as autodoc
        modules = [importlib.import_module(package) for package in PACKAGES]
    for module in modules:
        for name in module.__all__:
            value = getattr(module, name)
            names = {f"{m.__name__}.{name}" for m in modules if getattr(m, name, None) is value}
            if inspect.ismodule(value):
                names = {value.__name__}
            if not names & found:
                yield f"{module.__name__}.{name}: no page"
            if name.lower() not in search:
                yield f"{module.__name__}.{name}: the search does not find it"


def main() -> int:
    """Print every problem; the exit status is 1 if there is one."""
    site = Path(sys.argv[1]).resolve()
    pages = {
        path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts
    }
    problems = [
        *broken_links(site, pages),
        *problems_of_resources(site, pages),
        *names_without_page(site),
    ]
    links = sum(not is_external(link) for page in pages.values() for link in page.links)
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{len(pages)} pages, {links} links inside the site, {len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
