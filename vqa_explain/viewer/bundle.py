"""The viewer's ES modules joined into one, so that neither a build step nor a network is needed."""

import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "static"
# Each imports only from those before it.
MODULES = (
    "numbers",
    "cells",
    "link",
    "layout",
    "color",
    "data",
    "away",
    "dom",
    "findings",
    "names",
    "scales",
    "crops",
    "wordrows",
    "wordtable",
    "paint",
    "picture",
    "words",
    "bars",
    "lists",
    "sentence",
    "inside",
    "diving",
    "legend",
    "lengths",
    "values",
    "matrix",
    "compare",
    "agreement",
    "telling",
    "answers",
    "ranked",
    "whatif",
    "facts",
    "note",
    "firstline",
    "thumbs",
    "strip",
    "panes",
    "lines",
    "setup",
    "controls",
    "adding",
    "columns",
    "rows",
    "list",
    "filters",
    "scatter",
    "picked",
    "slices",
    "table",
    "examples",
    "keys",
    "shortcuts",
    "skeleton",
    "frame",
    "theme",
    "shared",
    "asking",
    "actions",
    "preview",
    "focus",
    "views",
    "listening",
    "app",
)


@cache
def script(entry: str) -> str:
    """The modules and the entry, "widget" or "page", as one module without imports."""
    parts = []
    for name in (*MODULES, entry):
        text = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        text = re.sub(r'^import\s+\{[^}]*\}\s+from\s+"\./\w+\.js";\n', "", text, flags=re.MULTILINE)
        text = re.sub(
            r"^export (?=(?:async )?(?:function|const|class))", "", text, flags=re.MULTILINE
        )
        parts.append(_without_comments(text))
    return "\n".join(parts)


def _without_comments(text: str) -> str:
    """The module without comments that have lines of their own, and indentation: every page has
    a copy.
    """
    text = re.sub(r"^ */\*\*(?:(?!\*/).)*\*/ *\n", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *//.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^ +", "", text, flags=re.MULTILINE)


@cache
def style() -> str:
    """The viewer's style sheet."""
    return (STATIC / "viewer.css").read_text(encoding="utf-8")
