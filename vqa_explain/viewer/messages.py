"""What a view asks: one dataclass for each message, whose fields are its schema. Messages that do
not fit are refused in one sentence.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeVar

from vqa_explain._fields import WrongField, check, read_dataclass
from vqa_explain._shown import shown
from vqa_explain.errors import InvalidInput
from vqa_explain.viewer.desk import Desk
from vqa_explain.viewer.requests import AskedAnswer, Column

T = TypeVar("T")
HELLO = "hello"  # what a view says when it opens: it may have missed what was sent before
LONGEST_TEXT = 100_000  # characters; far above what a person types
MOST_NUMBERS = 100_000  # players, far above what a screen shows
LARGEST_NUMBER = 2**53 - 1  # the largest whole number of which JavaScript tells its neighbors


class Message(Protocol):
    """What a view asks."""

    def act(self, desk: Desk) -> None:
        """Calls the desk. Raises `InvalidInput` where it refuses what is asked."""
        ...


@dataclass(frozen=True)
class SetMethod:
    """Explain by another method."""

    method: str
    parameters: dict[str, Any]

    def act(self, desk: Desk) -> None:
        desk.set_method(self.method, self.parameters)


@dataclass(frozen=True)
class SetTarget:
    """Explain another answer."""

    target: AskedAnswer
    contrast: AskedAnswer
    explanation: str | None = None  # the key of the one that the view shows, here and below

    def act(self, desk: Desk) -> None:
        desk.set_target(self.target, self.contrast, self.explanation)


@dataclass(frozen=True)
class SetColumns:
    """Set explanations beside the one on the screen."""

    columns: list[Column]

    def act(self, desk: Desk) -> None:
        desk.set_columns(self.columns)


@dataclass(frozen=True)
class AskThumbnails:
    """Send small maps of examples that are explained."""

    indices: list[int]

    def act(self, desk: Desk) -> None:
        desk.send_thumbnails(self.indices)


@dataclass(frozen=True)
class Fetch:
    """Read examples that pass a filter."""

    filter: str
    count: int

    def act(self, desk: Desk) -> None:
        desk.fetch(self.filter, self.count)


@dataclass(frozen=True)
class Cancel:
    """Stop the work for an example."""

    index: int

    def act(self, desk: Desk) -> None:
        desk.cancel(self.index)


@dataclass(frozen=True)
class CancelAll:
    """Stop all work."""

    def act(self, desk: Desk) -> None:
        desk.cancel_all()


@dataclass(frozen=True)
class AskWithout:
    """Ask without some players: input name → their numbers."""

    away: dict[str, list[int]]
    serial: int | str
    explanation: str | None = None
    fills: dict[str, str] = field(default_factory=dict)  # in place of the explanation's

    def act(self, desk: Desk) -> None:
        desk.questions.ask_without(self.serial, self.away, self.explanation, self.fills)


@dataclass(frozen=True)
class AskQuestion:
    """Ask another question."""

    question: str
    serial: int | str
    explanation: str | None = None

    def act(self, desk: Desk) -> None:
        desk.questions.ask_question(self.serial, self.question, self.explanation)


@dataclass(frozen=True)
class ExplainQuestion:
    """List another question as an example, and explain it."""

    question: str
    explanation: str | None = None

    def act(self, desk: Desk) -> None:
        desk.explain_question(self.question, self.explanation)


@dataclass(frozen=True)
class MeasureLine:
    """Measure the line in words."""

    serial: int | str
    explanation: str | None = None

    def act(self, desk: Desk) -> None:
        desk.questions.measure_line(self.serial, self.explanation)


@dataclass(frozen=True)
class LookInside:
    """Look inside the network."""

    serial: int | str
    explanation: str | None = None

    def act(self, desk: Desk) -> None:
        desk.questions.look_inside(self.serial, self.explanation)


@dataclass(frozen=True)
class Hello:
    """That it was heard is all that it asks."""

    def act(self, desk: Desk) -> None:
        pass


ACTIONS: dict[str, type[Message]] = {
    "method": SetMethod,
    "target": SetTarget,
    "columns": SetColumns,
    "thumbnails": AskThumbnails,
    "fetch": Fetch,
    "cancel": Cancel,
    "cancel all": CancelAll,
    "whatif": AskWithout,
    "question": AskQuestion,
    "explain question": ExplainQuestion,
    "line": MeasureLine,
    "inside": LookInside,
    HELLO: Hello,
}


def act(desk: Desk, message: Any) -> None:
    """Calls the desk with what the message says.

    Raises:
        InvalidInput: the message is not one of a view, or the desk refuses what it asks.
    """
    read(message).act(desk)


def read(message: Any) -> Message:
    """The message that a view sent. What else it says, such as its number, is left aside.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(message, Mapping):
        raise _unreadable("it is no mapping")
    action = message.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise InvalidInput(
            f"the viewer knows no action {shown(action)}; reload the page, so that the view "
            "and the kernel are of one version"
        )
    kind: Any = ACTIONS[action]
    given = {one.name: message[one.name] for one in fields(kind) if one.name in message}
    try:
        found: Message = read_plain(kind, given)
    except WrongField as error:
        raise _unreadable(str(error)) from error
    return found


def read_plain(kind: Callable[..., T], given: Mapping[str, Any]) -> T:
    """A dataclass of what JavaScript or a person gave, where it is no longer than anybody needs.

    Raises:
        WrongField: it does not fit.
    """
    try:
        _check_size(given, "it")
        return read_dataclass(kind, _whole(given))
    except RecursionError as error:
        raise WrongField("it is too deep") from error


def number_of(message: Any) -> int:
    """The message's number, which tells a view that it was heard.

    It is 0 where the message has none, or one too large to have been counted: later numbers would
    be smaller, and so never heard.
    """
    number = message.get("number") if isinstance(message, Mapping) else 0
    if isinstance(number, float):
        number = _whole(number)
    return number if type(number) is int and 0 <= number <= LARGEST_NUMBER else 0


def _whole(value: Any) -> Any:
    """JavaScript has one kind of numbers, so that a whole one may come as 3.0."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _whole(one) for name, one in value.items()}
    return value


def _check_size(value: Any, name: str) -> None:
    """Refuses what no person typed or chose.

    Raises:
        WrongField: it is too long.
    """
    if isinstance(value, str):
        check(len(value) <= LONGEST_TEXT, f"{name} has more than {LONGEST_TEXT:,} characters")
    if isinstance(value, list | Mapping):
        check(len(value) <= MOST_NUMBERS, f"{name} has more than {MOST_NUMBERS:,} entries")
        for one in value.values() if isinstance(value, Mapping) else value:
            _check_size(one, name)


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput(f"the viewer cannot read a message of its view, since {why}; reload it")
