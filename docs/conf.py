"""Sphinx: `sphinx-build -W -q docs docs/_build` makes the pages."""

import shutil
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).parent
# The guides are the notebooks, with the outputs that they are kept with.
shutil.copytree(HERE.parent / "notebooks", HERE / "guides", dirs_exist_ok=True)

project = "vqa_explain"
version = release = installed("vqa_explain")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build", "guides/.ipynb_checkpoints"]
nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
html_theme = "furo"
html_title = "vqa_explain"
html_static_path: list[str] = []
