"""What a viewer is asked for, and what became of it: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.methods import create
from vqa_explain.methods.base import check_support
from vqa_explain.models.base import Model

# By label number, or by text where the model's answers are any texts.
AskedAnswer = int | str | None
State = Literal["waiting", "running", "done", "error", "cancelled"]


class AskedTarget(NamedTuple):
    """The answer that is explained, and the one that it is compared with; `None`: the default."""

    answer: AskedAnswer = None
    contrast: AskedAnswer = None


@dataclass(frozen=True)
class MethodChoice:
    """A method's name and the parameters that differ from its defaults."""

    name: str
    parameters: dict[str, Any]

    def check(self, model: Model) -> None:
        """Raises an `InvalidInput` where the method does not exist or the model lacks its needs."""
        check_support(create(self.name, self.parameters), model)


@dataclass(frozen=True)
class Column:
    """What is set beside the explanation on the screen; what is `None` is as that one has it.

    Attributes:
        method: a method's name.
        parameters: its parameters, such as its layer; without a method, those that differ from
            the parameters on the screen.
        target, contrast: answers, by label number or text.
        example: a place in the list, from 0.
        model: 0 is the viewer's own, then the others.
    """

    method: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    target: AskedAnswer = None
    contrast: AskedAnswer = None
    example: int | None = None
    model: int = 0


@dataclass(frozen=True)
class Options:
    """What was chosen for all examples."""

    method: MethodChoice
    filter: str
    count: int


@dataclass(frozen=True)
class Entry:
    """An example's line in the list."""

    title: str
    state: State = "waiting"
    answer: str = ""
    probability: float | None = None  # the answer's; `None` where there is none
    correct: bool | None = None  # `None` where the example has no label, or is not explained yet
    message: str = ""  # what went wrong
    id: str = ""  # the example's own
    label: str | None = None  # the true answer, where it is known
    numbers: dict[str, float] = field(default_factory=dict)  # column of the table → its number
    kind: str = ""  # of question, as the data set names it
    without: str | None = None  # the answer without any picture, where it was measured


@dataclass(frozen=True, eq=False)
class Request:
    """One explanation that is asked for.

    It holds the example itself: after another fetch, the number alone would mean another one.
    """

    fetch: int  # the number of the fetch that brought the example
    index: int  # the example's place in the list
    example: Example
    model: int  # 0 is the viewer's own, then the others
    method: MethodChoice
    target: AskedTarget

    @property
    def key(self) -> str:
        """The same for the same explanation."""
        parameters = sorted(self.method.parameters.items(), key=str)
        target = tuple(self.target)
        parts = (self.fetch, self.index, self.model, self.method.name, parameters, target)
        return repr(parts)


@dataclass(frozen=True, eq=False)
class KeptExplanation:
    """An explanation with what a later question about it needs: its request and its model."""

    request: Request
    model: Model
    explanation: Explanation


@dataclass(frozen=True, eq=False)
class ScreenRequest:
    """What an example's screen is to show: its explanation, and those beside it, by the number
    of their column.
    """

    main: Request
    beside: Mapping[int, Request] = field(default_factory=dict)

    @property
    def requests(self) -> list[Request]:
        return [self.main, *self.beside.values()]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(request.key for request in self.requests)


@dataclass(frozen=True)
class Pending:
    """What was asked for and is not on the screen yet. What is there meanwhile is older.

    Attributes:
        index: the example's place in the list.
        state: "waiting", "running", "error" or "cancelled".
        message: what went wrong.
        method, target: what was asked for.
        comparison: whether only columns beside it are still to come.
    """

    index: int
    state: State
    message: str
    method: MethodChoice
    target: AskedTarget
    comparison: bool
