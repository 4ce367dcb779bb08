"""What a view asks, read from its message: wrong messages are refused in one sentence."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.viewer.desk import AskedAnswer, Desk

HELLO = "hello"  # what a view says when it opens: it may have missed what was sent before


def act(desk: Desk, message: Any) -> None:
    """Calls the desk with what the message says.

    Raises:
        InvalidInput: the message is not one of a view, or the desk refuses what it asks.
    """
    if not isinstance(message, Mapping):
        raise _unreadable("it is no mapping")
    action = message.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise InvalidInput(
            f"the viewer knows no action {action!r}; reload the page, so that the view and "
            "the kernel are of one version"
        )
    ACTIONS[action](desk, message)


def number_of(message: Any) -> int:
    """The number by which a view knows that its message was heard; 0 where there is none."""
    try:
        return max(0, _number(message, "number"))
    except InvalidInput:
        return 0


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput(f"the viewer cannot read a message of its view, since {why}; reload it")


def _given(message: Any, name: str) -> Any:
    if not isinstance(message, Mapping) or name not in message:
        raise _unreadable(f"it says no {name!r}")
    return message[name]


def _number(message: Any, name: str) -> int:
    return _whole(_given(message, name), name)


def _whole(value: Any, name: str) -> int:
    """JavaScript has one kind of numbers, so that a whole one may come as 3.0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value != int(value):
        raise _unreadable(f"{name!r} is no whole number")
    return int(value)


def _text(message: Any, name: str) -> str:
    value = _given(message, name)
    if not isinstance(value, str):
        raise _unreadable(f"{name!r} is no text")
    return value


def _answer(message: Any, name: str) -> AskedAnswer:
    value = _given(message, name)
    return value if value is None or isinstance(value, str) else _whole(value, name)


def _about(message: Any) -> str | None:
    """The key of the explanation that the view shows."""
    value = message.get("explanation")
    return value if isinstance(value, str) else None


def _mapping(message: Any, name: str) -> dict[str, Any]:
    value = _given(message, name)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _unreadable(f"{name!r} is no mapping")
    return dict(value)


def _set_method(desk: Desk, message: Any) -> None:
    desk.set_method(_text(message, "method"), _mapping(message, "parameters"))


def _set_target(desk: Desk, message: Any) -> None:
    answer, contrast = _answer(message, "target"), _answer(message, "contrast")
    desk.set_target(answer, contrast, _about(message))


def _compare(desk: Desk, message: Any) -> None:
    by = _given(message, "what")
    which = _given(message, "which")
    if by is not None and not isinstance(by, str):
        raise _unreadable("'what' is no text")
    # A method's name, an answer's text, or a number.
    desk.compare(by, which if which is None or isinstance(which, str) else _whole(which, "which"))  # type: ignore[arg-type]  # the desk refuses others


def _fetch(desk: Desk, message: Any) -> None:
    desk.fetch(_text(message, "filter"), _number(message, "count"))


def _cancel(desk: Desk, message: Any) -> None:
    desk.cancel(_number(message, "index"))


def _ask_without(desk: Desk, message: Any) -> None:
    away = {}
    for name, numbers in _mapping(message, "away").items():
        if not isinstance(numbers, list):
            raise _unreadable("what is taken away is no list of numbers")
        away[name] = [_whole(number, "away") for number in numbers]
    desk.ask_without(_given(message, "serial"), away, _about(message))


def _ask_question(desk: Desk, message: Any) -> None:
    desk.ask_question(_given(message, "serial"), _text(message, "question"), _about(message))


def _measure_line(desk: Desk, message: Any) -> None:
    desk.measure_line(_given(message, "serial"), _about(message))


ACTIONS: dict[str, Callable[[Desk, Any], None]] = {
    "method": _set_method,
    "target": _set_target,
    "compare": _compare,
    "fetch": _fetch,
    "cancel": _cancel,
    "cancel all": lambda desk, _: desk.cancel_all(),
    "whatif": _ask_without,
    "question": _ask_question,
    "line": _measure_line,
    HELLO: lambda *_: None,  # that it was heard is all it asks
}
