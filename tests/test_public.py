"""What a user sees at the top of the package: its names, its types, and models in one line."""

import ast
import pkgutil
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import vqa_explain as vx


def test_the_names_are_listed_and_there() -> None:
    assert dir(vx) == sorted(vx.__all__)
    for name in vx.__all__:
        assert getattr(vx, name) is not None
    assert {"Curve", "Method", "Model", "compare"} <= set(dir(vx))
    assert vx.__version__ == version("vqa_explain")
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        getattr(vx, "explian")  # noqa: B009 - a type checker would stop at the name


def test_no_name_is_a_module_too() -> None:
    """Importing a module puts it where the name would be."""
    modules = {module.name for module in pkgutil.iter_modules(vx.__path__)}
    assert modules.isdisjoint(vx.__all__), modules & set(vx.__all__)


def test_types_are_handed_on() -> None:
    """What type checkers make of them stands in `typed.py`, which `.ci/check` reads."""
    assert (files("vqa_explain") / "py.typed").is_file()


def test_every_public_name_has_types() -> None:
    """Each name is listed where it is found, where it is public, and where type checkers look."""
    tree = ast.parse(Path(str(vx.__file__)).read_text(encoding="utf-8"))
    block = next(
        one
        for one in tree.body
        if isinstance(one, ast.If) and isinstance(one.test, ast.Name) and one.body
    )
    imports = [one for one in block.body if isinstance(one, ast.ImportFrom)]
    homes = {
        alias.name: f"{one.module}".removeprefix("vqa_explain.")
        for one in imports
        for alias in one.names
    }
    assert homes == vx._HOMES
    assert {*homes, "__version__"} == set(vx.__all__)


def test_a_split_is_named_once(tmp_path: Path) -> None:
    by_name, by_split = (
        vx.load_dataset("scenes:validation"),
        vx.load_dataset("scenes", "validation"),
    )
    assert by_name[0].id == by_split[0].id != vx.load_dataset("scenes", split="test")[0].id
    assert vx.load_dataset("scenes:test", split="test")[0].id == vx.load_dataset("scenes")[0].id
    with pytest.raises(vx.InvalidInput, match="names the split 'test', and split= is 'validation'"):
        vx.load_dataset("scenes:test", split="validation")
    (tmp_path / "rows.csv").write_text("image,question\na.png,why?\n")
    with pytest.raises(vx.InvalidInput, match="has no splits"):
        vx.load_dataset(tmp_path / "rows.csv", split="test")


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("vilt", "vilt on cpu, image, question → one of"),
        ("llava", "on cpu, image, question → any text>"),
        ("vit", "on cpu, image → one of"),
        ("clip", "clip on cpu, image, question → the one output"),
        ("custom", "custom on cpu, image, question → one of"),
    ],
)
def test_a_model_says_what_it_is(models: Callable[[str], Any], family: str, said: str) -> None:
    model = models(family)
    assert repr(model).startswith(f"<model {model.name!r}: ")
    assert said in repr(model)
