"""What a person sets in a viewer besides what is explained, as plain data: how maps are drawn, what
is taken away, which examples are listed, selected and noted.

Each is a trait of a viewer and of its views, so that whatever comes is read by one schema.
"""

import operator
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vqa_explain._fields import WrongField
from vqa_explain._shown import shown
from vqa_explain.errors import InvalidInput
from vqa_explain.viewer.messages import read_plain

# Ranges of numbers: what they are called in messages, the least and the greatest.
_RANGES = {"strength": (0.1, 1.0), "threshold": (0.0, 1.0)}

_TEXTS = ("kind", "answer", "true answer")  # of an example, that a filter can ask for


@dataclass(frozen=True)
class Look:
    """How explanations are drawn.

    Attributes:
        page: what the window shows.
        map: the colors of values.
        strength: the opacity of full color, 0.1 … 1.
        threshold: the share of full color below which a value gets none, 0 … 1.
        smooth: whether borders of regions are blurred.
        truth: whether the true region is outlined, where it is known.
        scale: whether each kind of input fills a scale of its own, or all one.
        unit: what a map shows, where a method has values of single pixels.
        pane: what stands beside the map.
    """

    page: Literal["example", "compare", "table", "inside"] = "example"
    map: Literal["orange-purple", "red-blue", "brown-teal"] = "orange-purple"
    strength: float = 1.0
    threshold: float = 0.0
    smooth: bool = False
    truth: bool = False
    scale: Literal["own", "one"] = "own"
    unit: Literal["regions", "pixels"] = "regions"
    pane: Literal["picture", "only", "values", "matrix"] = "picture"


@dataclass(frozen=True)
class Filter:
    """Which fetched examples the list and the table show, and in which order.

    Attributes:
        search: a piece of the question, the answer or the name; "" passes all.
        outcome: of the model's answer, where the true one is known.
        ranges: name of a column → its least and greatest value.
        equals: "kind", "answer" or "true answer" → the text that it must be.
        sort: the name of a column; "" is the order of the data set.
        descending: whether the largest comes first.
        only: places of examples; `None` passes all.
    """

    search: str = ""
    outcome: Literal["all", "right", "wrong"] = "all"
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    equals: dict[str, str] = field(default_factory=dict)
    sort: str = ""
    descending: bool = False
    only: list[int] | None = None


@dataclass(frozen=True)
class Note:
    """What a person wrote of an example, and whether it has a star."""

    star: bool = False
    note: str = ""


@dataclass(frozen=True)
class ViewState:
    """All of it, with what holds at first."""

    look: Look = field(default_factory=Look)
    hidden: dict[str, list[int]] = field(default_factory=dict)
    filter: Filter = field(default_factory=Filter)
    selection: list[int] = field(default_factory=list)
    notes: dict[str, Note] = field(default_factory=dict)


NAMES = tuple(ViewState.__dataclass_fields__)


def initial(name: str) -> Any:
    """What a trait holds at first, as plain data."""
    return asdict(ViewState())[name]


def checked(name: str, value: Any) -> Any:
    """A trait's value as plain data that a view can read; what is left out has its default.

    Args:
        name: one of `NAMES`.
        value: as the trait is documented; a selection may be any iterable of whole numbers, such
            as the index of a table.

    Raises:
        InvalidInput: it is none of that trait.
    """
    if name == "selection":
        value = _whole_numbers(value)
    try:
        state = read_plain(ViewState, {name: value})
        found: Any = asdict(state)[name]
        _check_ranges(name, found)
    except WrongField as error:
        raise InvalidInput(f"the viewer cannot take this as its {name}: {error}") from error
    return found


def _whole_numbers(value: Any) -> list[int]:
    try:
        return sorted({operator.index(one) for one in value})
    except TypeError as error:
        raise InvalidInput(
            f"a selection is a list of places of examples, counted from 0, not {shown(value)}"
        ) from error


def _check_ranges(name: str, found: Any) -> None:
    places: Iterable[int] = []
    if name == "look":
        for field_name, (low, high) in _RANGES.items():
            if not low <= found[field_name] <= high:
                raise WrongField(f"{field_name} is {found[field_name]:g}, not {low:g} to {high:g}")
    elif name == "selection":
        places = found
    elif name == "filter":
        places = found["only"] or []
        unknown = set(found["equals"]) - set(_TEXTS)
        if unknown:
            raise WrongField(f"equals has no {min(unknown)!r}; it knows {', '.join(_TEXTS)}")
    elif name == "hidden":
        places = [number for numbers in found.values() for number in numbers]
    if any(place < 0 for place in places):
        raise WrongField("a place is below 0; places are counted from 0")
