"""Settings of the documentation; it is built by ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.util import logging

import pixel_embedded_affinity

sys.path.insert(0, str(Path(__file__).parent / "browser"))
import make_page as browser_page

project = "pixel_embedded_affinity"
author = "The pixel_embedded_affinity developers"
copyright = author
version = release = pixel_embedded_affinity.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
root_doc = "index"
exclude_patterns = ["_build", "_browser", "_static", "_templates", "browser", "gallery_src"]
templates_path = ["_templates"]
# In docstrings, a name in single backquotes is an object of the library wherever there is one of that name.
default_role = "py:obj"

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
# The docstrings state every type, in words that a reader of NumPy's documentation knows.
autodoc_typehints = "none"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": ["gallery_src"],
    "gallery_dirs": ["gallery"],
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "within_subsection_order": "FileNameSortKey",
    "show_signature": False,
    "min_reported_time": 1e6,
    "capture_repr": (),
    "remove_config_comments": True,
}

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
# The prompt of a shell is not copied.
copybutton_prompt_text = "$ "
html_copy_source = False

# The page that segments in a browser lies beside the first page. Pages that link to it ask for the tag.
try:
    html_extra_path = [str(browser_page.build())]
    tags.add("browser_page")  # noqa: F821 - Sphinx defines it
except browser_page.PageError as error:
    logging.getLogger(__name__).info("the documentation is built without the page for the browser: %s", error)
