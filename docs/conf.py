"""Configuration of Sphinx: `python -m sphinx -W --keep-going docs build/docs` builds the site."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))
from mocked import MOCKED  # noqa: E402

project = "bptt"
author = "The bptt developers"
project_copyright = author
release = version = version_of("bptt")
language = "en"
smartquotes = False  # "concat" is a value

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "api_links",
    "generated_pages",
    "offline",
]
nitpicky = True
exclude_patterns = ["figures", "pictures", "inventories"]
templates_path = ["templates"]
default_role = "py:obj"  # `name` in a docstring is a link if it is a public name

# ---- pages ----

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_fence_as_directive = ["math"]  # ```math, which GitHub shows as well
myst_heading_anchors = 4  # those that GitHub makes
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# ---- API reference ----

toc_object_entries_show_parents = "hide"  # `fit`, not `SequenceClassifier.fit`
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_mock_imports = MOCKED
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # docstrings have types and shapes
autodoc_member_order = "groupwise"  # methods, then attributes
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # words that are no names
viewcode_line_numbers = True

# ---- site ----

html_favicon = "static/icon.svg"
html_theme = "pydata_sphinx_theme"
html_title = "bptt"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "bptt", "image_light": "static/icon.svg", "image_dark": "static/icon.svg"},
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {name: [] for name in ("index", "get-started")}  # they have no section
