"""Where drawing registers itself, so that data need not know what draws them."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

_drawers: dict[str, tuple[str, str]] = {}


def register_drawing(what: str, module: str, function: str) -> None:
    """Says which function draws something, such as "figure"; its module is imported when it is first needed."""
    _drawers[what] = (module, function)


def drawing(what: str) -> Callable[..., Any]:
    """The function that draws "figure", "page", "fragment" or "widget".

    Raises:
        KeyError: nothing was registered for it.
    """
    module, function = _drawers[what]
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
