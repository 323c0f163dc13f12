"""Links from public names to their pages: in the types of docstrings and in the code of pages."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from mocked import MOCKED
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.ext.autodoc.mock import mock
from sphinx.transforms import SphinxTransform

from bptt import estimators

# Of the names that several packages export, the shortest has the page.
API = Path(__file__).parents[1] / "api"
PACKAGES = sorted((path.stem for path in API.glob("bptt*.rst")), key=len)
NAME = re.compile(r"([A-Za-z_][\w.]*)(?:\(.*\))?", re.DOTALL)
CODE = re.compile(
    r'<span class="n">(?:bptt</span>(?:<span class="o">\.</span><span class="n">\w+</span>)+'
    r"|(?:Sequence\w+|LanguageModel|EncoderDecoder)</span>)"
)
UNLINKED = (nodes.reference, nodes.title, nodes.term, addnodes.pending_xref)
NUMPY_TYPES = {"array": "numpy.ndarray", "arrays": "numpy.ndarray"}


def targets() -> dict[str, str]:
    """Return dotted name -> the name under which the reference documents it."""
    pages: dict[int, str] = {}
    found = {}
    for package in PACKAGES:
        with mock(MOCKED):  # as autodoc
            module = importlib.import_module(package)
        found[package] = package
        for name in module.__all__:
            value, dotted = getattr(module, name), f"{package}.{name}"
            if inspect.isclass(value) or inspect.isfunction(value):
                found[dotted] = pages.setdefault(id(value), dotted)
            elif not inspect.ismodule(value):
                found[dotted] = dotted
    return found


TARGETS = targets()


def short_names() -> dict[str, str]:
    """Return the last part of every name -> its page; of two, that of NumPy's layers."""

    def is_preferred(page: str) -> bool:
        return not page.startswith(
            ("bptt.reference", "bptt.torch", "bptt.jax", "bptt.keras", "bptt.aeon")
        )

    pages = sorted({*TARGETS.values()} - {*PACKAGES}, key=is_preferred)
    return {page.rpartition(".")[2]: page for page in pages}


SHORT_NAMES = short_names()


def names_of_other_projects() -> dict[str, str]:
    """Return code of the pages, such as ``nn.LSTM``, -> the full name in an inventory."""
    found = {}
    for inventory in sorted((API.parent / "inventories").glob("*.txt")):
        for line in inventory.read_text("utf-8").splitlines()[1:]:
            name = line.split()[0]
            package, _, rest = name.partition(".")
            found[name] = name
            if package == "torch" and rest.startswith("nn."):
                found[rest] = name
            if package == "sklearn":
                found[name.rpartition(".")[2]] = name
    return {name: target for name, target in found.items() if "." in target}


# Names that are links without their package: other projects' and those of estimators.
BARE_NAMES = names_of_other_projects()
BARE_NAMES |= {name: TARGETS[f"bptt.estimators.{name}"] for name in estimators.__all__}


class LinkNames(SphinxTransform):
    """Link code such as ``bptt.LSTM`` or ``nn.LSTM(8, 16)`` in the text of a page."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Wrap every literal that is a name, or a call of it, in a reference."""
        for literal in list(self.document.findall(nodes.literal)):
            match = NAME.fullmatch(literal.astext())
            target = match and {**BARE_NAMES, **TARGETS}.get(match[1])
            if not target or target == "bptt" or isinstance(literal.parent, UNLINKED):
                continue
            reference = addnodes.pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=target,
                refdoc=self.env.docname,
                refwarn=True,
            )
            literal.replace_self(reference)
            reference += literal


def resolve_short_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Node | None:
    """Resolve a name of another package, such as ``Linear.forward`` in the docstring of a loss.

    A name without a page, such as that of a parameter, stays as it is.
    """
    if node.get("reftype") != "obj":
        return None
    name, dot, rest = node["reftarget"].partition(".")
    if name in SHORT_NAMES:
        domain = env.domains["py"]
        target = SHORT_NAMES[name] + dot + rest
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content)
    return None if dot or name == "bptt" else content


def link_code(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Link names such as ``bptt.LSTM`` in the highlighted code of a page."""
    if "body" not in context or page.startswith("_modules/"):
        return
    objects = app.env.domains.python_domain.objects

    def replace(match: re.Match[str]) -> str:
        spans = re.findall(r"<span.*?</span>", match[0])  # a name, a period, a name, ...
        for end in range(len(spans), 0, -2):
            name = re.sub(r"<.*?>", "", "".join(spans[:end]))
            entry = objects.get(BARE_NAMES.get(name) or TARGETS.get(name, ""))
            if entry is not None and name != "bptt":
                address = f"{app.builder.get_relative_uri(page, entry.docname)}#{entry.node_id}"
                link = f'<a class="name" href="{address}">{"".join(spans[:end])}</a>'
                return link + "".join(spans[end:])
        return match[0]

    context["body"] = CODE.sub(replace, context["body"])


def skip_metadata_routing(
    app: Sphinx, what: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    """Leave out the methods that scikit-learn adds to every estimator."""
    return True if re.fullmatch(r"set_\w+_request|get_metadata_routing", name) else None


def mend_links_of_sources(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Link the source of a name to its page.

    viewcode takes all names of a module to be documented in the same package.
    """
    if page.startswith("_modules/"):
        context["body"] = re.sub(
            r'(?<=generated/)([\w.]+)\.html#([\w.]+)"',
            lambda match: f'{match[1]}.html#{anchor_on_page(match[1], match[2])}"',
            context["body"],
        )


def anchor_on_page(page: str, anchor: str) -> str:
    """Return the anchor of a class or method on the page that has the name of the class."""
    package, _, name = page.rpartition(".")
    parts = anchor.split(".")
    return ".".join([package, *parts[parts.index(name) :]]) if name in parts else anchor


def set_aliases(app: Sphinx, config: Config) -> None:
    """Link the classes that the types of docstrings name."""
    classes = {name: page for name, page in SHORT_NAMES.items() if name[0].isupper()}
    config.numpydoc_xref_aliases = {**NUMPY_TYPES, **classes}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform, and the aliases before numpydoc reads them."""
    app.add_transform(LinkNames)
    app.connect("config-inited", set_aliases, priority=100)
    app.connect("missing-reference", resolve_short_name, priority=900)  # after intersphinx
    app.connect("html-page-context", link_code)
    app.connect("html-page-context", mend_links_of_sources)
    app.connect("autodoc-skip-member", skip_metadata_routing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
