"""Settings of Sphinx for the documentation: ``python3 dev.py docs`` builds it."""

from __future__ import annotations

import html
import inspect
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

from napari_diffusion.models import Model, Parameter, parameters

logger = logging.getLogger(__name__)
_ROOT = Path(__file__).parents[1]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = _PROJECT["name"]
author = _PROJECT["authors"][0]["name"]
copyright = author
version = release = _PROJECT["version"]
language = "en"

extensions = [
    "myst_nb",  # Markdown, and notebooks in Markdown
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_templates"]
templates_path = ["_templates"]
root_doc = "index"

# The anchors are those that GitHub gives to headings, so that links work in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
suppress_warnings = ["myst.header"]  # the table of contents of a section has no heading

# Notebooks run while the site is built, so that their numbers are those of the present code.
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 600  # seconds for a cell; the first one of a model compiles its kernels
nb_merge_streams = True

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc shows types and units in words
default_role = "py:obj"
numpydoc_show_class_members = False
copybutton_prompt_text = ">>> "

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("figures.js", {"defer": "defer"})]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_theme_options: dict[str, Any] = {
    "github_url": _PROJECT["urls"]["Source"],
    "header_links_before_dropdown": 7,
    "logo": {"text": project},
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "use_edit_page_button": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
_owner, _repository = _PROJECT["urls"]["Source"].split("/")[-2:]
html_context = {
    "github_user": _owner,
    "github_repo": _repository,
    "github_version": "main",
    "doc_path": "docs",
}


def _mark_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Mark films and pictures of models, which figures.js shows with a slider."""
    films = json.loads((_ROOT / "docs/images/learn/films.json").read_text(encoding="utf-8"))
    for image in doctree.findall(nodes.image):
        path = Path(image["uri"])
        name = path.stem.removesuffix("_film")
        if path.stem.endswith("_film") and name in films:
            image["classes"].append("film")
        elif path.parent.name == "models" and not name.startswith(("data", "parameter")):
            image["classes"].append("before-after")


def _add_films(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Add the labels of the frames to pages that have films."""
    if doctree is not None and any("film" in i["classes"] for i in doctree.findall(nodes.image)):
        films = (_ROOT / "docs/images/learn/films.json").read_text(encoding="utf-8")
        app.add_js_file(None, body=f"window.diffusionFilms = {films};")


def _bounds(parameter: Parameter) -> str:
    """Return the values that a parameter may have, in words."""
    if parameter.choices:
        return "one of " + ", ".join(f"``{choice}``" for choice in parameter.choices)
    signs = {">": parameter.gt, "≥": parameter.ge, "≤": parameter.le}
    return ", ".join(f"{sign} {value:g}" for sign, value in signs.items() if value is not None)


def _describe_model(
    app: Sphinx, what: str, name: str, entry: Any, options: Any, lines: list[str]
) -> None:
    """Put the equation of a model and its declared parameters into its description."""
    if what != "class" or not issubclass(entry, Model) or entry is Model:
        return
    lines += ["", *(inspect.getdoc(sys.modules[entry.__module__]) or "").splitlines()[1:]]
    lines += ["", "Parameters", "----------"]
    for parameter in parameters(entry):
        unit = "" if parameter.unit == "1" else f"[{parameter.unit}]"
        details = [unit, _bounds(parameter)]
        details.append(f"default {parameter.default}")
        lines += [f"{parameter.name} : {', '.join(filter(None, details))}"]
        lines += [f"    {parameter.doc}"]


def _visit_math(translator: Any, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers show without a script or a network."""
    is_block = isinstance(node, nodes.math_block)
    formula = re.sub(r"\\dots\b", r"\\ldots", node.astext())  # the converter knows the second only
    try:
        markup = tex2mathml(formula, as_block=is_block)
    except MathError as error:
        logger.warning("%s in the formula %s", error, formula, location=node)
        markup = f"<code>{html.escape(formula)}</code>"
    if is_block:
        markup = f'<div class="math-block" tabindex="0">{markup}</div>\n'
    translator.body.append(markup)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the formulas as MathML."""
    app.connect("doctree-read", _mark_pictures)
    app.connect("autodoc-process-docstring", _describe_model, priority=400)  # before numpydoc
    app.connect("html-page-context", _add_films)
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math, None))
    return {"parallel_read_safe": True}
