"""The viewer's ES modules joined into one, so that neither a build step nor a network is needed."""

import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).resolve().parent / "static"
# Each imports only from those before it.
MODULES = (
    "layout",
    "color",
    "data",
    "dom",
    "findings",
    "words",
    "bars",
    "picture",
    "panels",
    "controls",
    "compare",
    "telling",
    "whatif",
    "parts",
    "app",
)


@cache
def script(entry: str) -> str:
    """The modules and the entry, "widget" or "page", as one module without imports."""
    parts = []
    for name in (*MODULES, entry):
        text = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        text = re.sub(r'^import\s+\{[^}]*\}\s+from\s+"\./\w+\.js";\n', "", text, flags=re.MULTILINE)
        parts.append(
            re.sub(r"^export (?=(?:async )?(?:function|const|class))", "", text, flags=re.MULTILINE)
        )
    return "\n".join(parts)


@cache
def style() -> str:
    """The viewer's style sheet."""
    return (STATIC / "viewer.css").read_text(encoding="utf-8")
