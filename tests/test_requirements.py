"""What `pip install` brings: the package alone needs no server and no graphical interface, and the
oldest versions that it names are those of the constraints.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Servers, notebooks and toolkits of windows.
UNWANTED = [
    "jupyter",
    "jupyter-server",
    "jupyterlab",
    "jupyterlab-server",
    "notebook",
    "notebook-shim",
    "nbclassic",
    "ipykernel",
    "voila",
    "flask",
    "django",
    "fastapi",
    "starlette",
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "waitress",
    "werkzeug",
    "bottle",
    "cherrypy",
    "sanic",
    "gradio",
    "streamlit",
    "dash",
    "panel",
    "bokeh",
    "solara",
    "nicegui",
    "ray",
    "openai",
    "playwright",
    "selenium",
    "pyqt5",
    "pyqt6",
    "pyside2",
    "pyside6",
    "qtpy",
    "wxpython",
    "pygobject",
    "kivy",
    "pyglet",
    "pygame",
    "dearpygui",
    "opencv-python",
    "opencv-contrib-python",
    "tensorboard",
    "wandb",
    "mlflow",
    "visdom",
]

# Their oldest versions were not tried.
NOT_TRIED = {
    *("torch", "torchvision", "transformers", "safetensors", "regex", "threadpoolctl", "easy-vqa"),
}


def needed(texts: list[str]) -> set[str]:
    """The names of these requirements and of all that they need, without extras of ours."""
    found: set[str] = set()
    waiting = [(Requirement(text), frozenset[str]()) for text in texts]
    while waiting:
        requirement, asked = waiting.pop()
        extras = ["", *asked]
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": e}) for e in extras
        ):
            continue
        name = canonicalize_name(requirement.name)
        key = f"{name}[{','.join(sorted(requirement.extras))}]"
        if key in found:
            continue
        found |= {name, key}
        try:
            told = requires(name) or []
        except PackageNotFoundError:
            continue
        waiting += [(Requirement(text), frozenset(requirement.extras)) for text in told]
    return {name for name in found if "[" not in name}


def test_the_package_alone_brings_no_server_and_no_window() -> None:
    found = needed(PROJECT["dependencies"])
    assert "torch" in found
    assert "huggingface-hub" in found  # of transformers: what they need is looked into
    assert found & set(UNWANTED) == set()


@pytest.mark.parametrize("extra", ["notebooks", "ray"])
def test_what_is_unwanted_would_be_found(extra: str) -> None:
    assert needed(PROJECT["optional-dependencies"][extra]) & set(UNWANTED)


def test_the_oldest_versions_are_those_of_the_constraints() -> None:
    lines = (ROOT / ".ci" / "oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    named = {one.name: one for one in map(Requirement, PROJECT["dependencies"])}
    assert named.keys() - pinned.keys() == NOT_TRIED
    for name, version in pinned.items():
        assert str(named[name].specifier) == f">={version}"
