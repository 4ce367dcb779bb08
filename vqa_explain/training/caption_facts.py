"""What a caption of everyday says, read word by word, and whether a scene is so."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vqa_explain.datasets.everyday.families import SIDES, offset
from vqa_explain.datasets.everyday.objects import COLORS, KINDS, plural
from vqa_explain.datasets.everyday.scene import Item

NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3}
NOUNS = {name: kind for kind in KINDS for name in (kind, plural(kind))}
_THING = re.compile(
    rf"\b({'|'.join(NUMBERS)}) (?:({'|'.join(COLORS)}) )?"
    rf"({'|'.join(sorted(NOUNS, key=len, reverse=True))})\b"
)


@dataclass(frozen=True)
class Thing:
    """A phrase such as "two apples" or "a red car".

    Attributes:
        color: that is said; `None` for none.
        start, end: its characters, from the color on.
    """

    kind: str
    color: str | None
    number: int
    start: int
    end: int


@dataclass(frozen=True)
class Facts:
    """What a caption says.

    Attributes:
        things: what it names, in order.
        side: where the first lies from the second, a key of `SIDES`; `None` where it is not said.
    """

    things: tuple[Thing, ...]
    side: str | None


def read_caption(text: str) -> Facts:
    """What a caption says; words that belong to none of its phrases are passed over."""
    things = tuple(_thing(found) for found in _THING.finditer(text))
    between = text[things[0].end : things[1].start] if len(things) > 1 else ""
    said = (name for name, (ways, _, _) in SIDES.items() if any(way in between for way in ways))
    return Facts(things, next(said, None))


def _thing(found: re.Match[str]) -> Thing:
    number, color, noun = found.groups()
    start = found.start(2) if color else found.start(3)
    return Thing(NOUNS[noun], color, NUMBERS[number], start, found.end())


@dataclass(frozen=True)
class Verdict:
    """Whether what a caption says is so.

    Attributes:
        nouns: of each thing that it names, whether there is one.
        found: of each kind in the picture, whether it is named.
        colors: of each color that it says of such a thing, whether it is right.
        painted: of each recolored object that it names, whether its color is said.
        numbers: of each thing that there is, whether it says how many.
        side: whether the first two lie as it says; `None` where that cannot be told.
        named_twice: whether it names a kind again.
    """

    nouns: tuple[bool, ...]
    found: tuple[bool, ...]
    colors: tuple[bool, ...]
    painted: tuple[bool, ...]
    numbers: tuple[bool, ...]
    side: bool | None
    named_twice: bool

    @property
    def is_true(self) -> bool:
        """Whether all that it says is so, and it says something."""
        said = (*self.nouns, *self.colors, *self.numbers, self.side is not False)
        return bool(self.nouns) and all(said) and not self.named_twice

    @property
    def is_complete(self) -> bool:
        """Whether all is so, and all that there is is named."""
        return self.is_true and all(self.found)


def judge(facts: Facts, items: Sequence[Item]) -> Verdict:
    """Compares what is said with the objects of a scene."""
    of_kind: dict[str, list[Item]] = {}
    for item in items:
        of_kind.setdefault(item.kind, []).append(item)
    said = {thing.kind for thing in facts.things}
    there = [thing for thing in facts.things if thing.kind in of_kind]
    colors = {kind: {item.color for item in some} for kind, some in of_kind.items()}
    return Verdict(
        nouns=tuple(thing.kind in of_kind for thing in facts.things),
        found=tuple(kind in said for kind in of_kind),
        colors=tuple(thing.color in colors[thing.kind] for thing in there if thing.color),
        painted=tuple(
            thing.color in colors[thing.kind] for thing in there if colors[thing.kind] != {None}
        ),
        numbers=tuple(thing.number == len(of_kind[thing.kind]) for thing in there),
        side=_side(facts, of_kind),
        named_twice=len(said) < len(facts.things),
    )


def _side(facts: Facts, of_kind: dict[str, list[Item]]) -> bool | None:
    """Whether some object of the first kind lies so from one of the second."""
    if facts.side is None:
        return None
    first, second = (of_kind.get(thing.kind) for thing in facts.things[:2])
    if not first or not second or first is second:
        return None
    _, vertical, direction = SIDES[facts.side]
    return any(offset(vertical, direction, one, other) > 0 for one in first for other in second)
