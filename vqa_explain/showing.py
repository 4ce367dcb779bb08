"""Where drawing registers itself, so that data need not know what draws them."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, TypeVar, get_args

from vqa_explain.errors import InvalidInput, is_one_of, unknown

Place = Literal["figure", "page"]
F = TypeVar("F", bound=Callable[..., Any])

_outputs: dict[str, tuple[str, str]] = {}
_of_kind: dict[tuple[str, Place], Callable[..., Any]] = {}


def register_output(what: str, module: str, function: str) -> None:
    """Says which function makes a whole output, such as "figure";
    its module is imported when it is first needed.
    """
    _outputs[what] = (module, function)


def drawing(what: str) -> Callable[..., Any]:
    """The function registered for "figure", "page", "fragment" or "widget".

    Raises:
        KeyError: nothing was registered for it.
    """
    module, function = _outputs[what]
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def register_drawing(kind: str, place: Place) -> Callable[[F], F]:
    """Makes a function draw the parts of a kind of input, in place of what is drawn otherwise.

    A kind without a drawing of its own gets a list of bars: each player with its value and standard
        error.

    For example::

        @vx.register_drawing("signal", "figure")
        def draw_signal(part, explanation, axes):
            axes.plot(part.signal.T)

    Args:
        kind: the kind of the part, such as "signal".
        place: "figure", for a function of matplotlib axes: (part, explanation, axes) → None; or
            "page", for one that gives HTML, whose texts it has escaped, for pages and notebooks
            without scripts: (part, explanation) → str.

    Raises:
        InvalidInput: there is no such place, or what is registered is no function.
    """
    if not is_one_of(place, get_args(Place)):
        raise unknown("place to draw", str(place), get_args(Place))

    def register(function: F) -> F:
        if not callable(function):
            raise InvalidInput(f"a drawing of {kind!r} must be a function, not {function!r}")
        _of_kind[kind, place] = function
        return function

    return register


def drawing_of(kind: str, place: Place) -> Callable[..., Any] | None:
    """The user's drawing function for parts of that kind; `None` if none was registered."""
    return _of_kind.get((kind, place))
