"""Rules of the house that a reader relies on: inputs go by name,
and drawing is not imported by data.
"""

import ast
from pathlib import Path

import pytest

import vqa_explain

PACKAGE = Path(vqa_explain.__file__).parent
# What works on inputs of any kind, and so names none.
OF_ANY_KIND = (
    "methods",
    "games",
    "game.py",
    "_batches.py",
    "explaining.py",
    "explanation.py",
    "evaluation",
    "metrics",
)
DRAWS = ("vqa_explain.figures", "vqa_explain.viewer", "matplotlib", "anywidget", "PIL")


def modules(place: str) -> list[Path]:
    path = PACKAGE / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("path", [p for place in OF_ANY_KIND for p in modules(place)], ids=str)
def test_what_works_on_any_input_names_no_kind(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in ("image", "text")
    ]
    assert not found, f"lines {found} of {path.name} name a kind of input; ask its feature"


def test_an_explanation_imports_nothing_that_draws() -> None:
    tree = ast.parse((PACKAGE / "explanation.py").read_text())
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    assert not [name for name in names if name.startswith(DRAWS)]


def test_the_layers_have_no_exceptions() -> None:
    settings = (PACKAGE.parent / "pyproject.toml").read_text()
    assert "ignore_imports" not in settings
