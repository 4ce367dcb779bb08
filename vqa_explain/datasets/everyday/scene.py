"""Scenes of everyday before anything is drawn: objects, where they lie, and what is asked."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from vqa_explain.datasets.everyday.objects import KINDS, reach

SIZE = 160  # pixels, width and height of a picture
LARGEST, SMALLEST = 0.45, 0.15  # the longer side of an object, in shares of the picture's
# Sizes that fit, by how many objects there are: the smallest and the largest share.
ROOM = {
    1: (0.28, LARGEST),
    2: (0.24, 0.42),
    3: (0.22, 0.36),
    4: (0.2, 0.32),
    5: (0.17, 0.28),
    6: (SMALLEST, 0.25),
}
OVERLAP = 0.55  # of the smaller radius, by which two objects may reach into one another
EDGE = 0.9  # of its radius that an object keeps from the border
TRIES = 60  # places tried for one object before all are placed anew


@dataclass(frozen=True)
class Item:
    """One object.

    Attributes:
        kind: a key of `KINDS`.
        color: what it is painted in; `None` as it is drawn.
        size: pixels of its longer side.
        x, y: its middle in pixels from the left and the top.
        angle: degrees, counter-clockwise.
        mirrored: left and right exchanged.
    """

    kind: str
    color: str | None = None
    size: float = 0.0
    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    mirrored: bool = False

    @property
    def group(self) -> str:
        """What it belongs to, a key of `GROUPS`."""
        return KINDS[self.kind].group

    @property
    def radius(self) -> float:
        """Pixels about its middle within which it lies."""
        return self.size * reach(self.kind)


@dataclass(frozen=True)
class Mention:
    """A phrase that names objects: characters `start` to `end`, and indices of the items."""

    start: int
    end: int
    items: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """Placed objects with what is asked about them.

    Attributes:
        text: the question, or the caption.
        answer: empty for a caption.
        about: the items that the answer depends on.
        decisive: characters of the words that decide the answer.
        ground: the kind of background; a key of `backgrounds.GROUNDS`.
    """

    family: str
    text: str
    answer: str
    items: tuple[Item, ...]
    about: tuple[int, ...]
    decisive: tuple[tuple[int, int], ...]
    mentions: tuple[Mention, ...]
    ground: str


# Whether an item may lie where it does, given the items that are placed already.
Rule = Callable[[int, Item, dict[int, Item]], bool]


def anywhere(index: int, item: Item, placed: dict[int, Item]) -> bool:
    """The rule of questions that do not ask for places."""
    return True


def gap(a: Item, b: Item) -> float:
    """Pixels between two objects, negative where they reach into one another."""
    return math.hypot(a.x - b.x, a.y - b.y) - a.radius - b.radius


def _free(item: Item, placed: dict[int, Item]) -> bool:
    return all(
        gap(item, other) >= -OVERLAP * min(item.radius, other.radius) for other in placed.values()
    )


def _try(items: list[Item], order: list[int], rule: Rule, rng: random.Random) -> dict[int, Item]:
    """The items that found a place, one after the other."""
    placed: dict[int, Item] = {}
    for index in order:
        item = items[index]
        reserve = item.radius * EDGE
        for _ in range(TRIES):
            at = replace(
                item,
                x=rng.uniform(reserve, SIZE - reserve),
                y=rng.uniform(reserve, SIZE - reserve),
            )
            if _free(at, placed) and rule(index, at, placed):
                placed[index] = at
                break
        else:
            break
    return placed


def place(
    items: list[Item], rule: Rule, rng: random.Random, first: tuple[int, ...] = ()
) -> tuple[Item, ...]:
    """Places that keep the rule; the items of `first` are placed first, in that order.

    Objects become a little smaller each time that a dozen trials fail, down to `SMALLEST`.
    """
    items = [replace(i, angle=rng.uniform(-15, 15), mirrored=rng.random() < 0.5) for i in items]
    rest = sorted((i for i in range(len(items)) if i not in first), key=lambda i: -items[i].size)
    order = [*first, *rest]
    trials = 0
    while True:
        placed = _try(items, order, rule, rng)
        if len(placed) == len(items):
            return tuple(placed[i] for i in range(len(items)))
        trials += 1
        if trials % 12 == 0:
            least = SMALLEST * SIZE
            items = [replace(i, size=max(least, i.size * 0.95)) for i in items]


def sized(items: list[Item], rng: random.Random) -> list[Item]:
    """The objects with random sizes that leave room for all; those that have one keep it."""
    low, high = ROOM[len(items)]
    drawn = [rng.uniform(low, high) * SIZE for _ in items]
    return [
        item if item.size else replace(item, size=size)
        for item, size in zip(items, drawn, strict=True)
    ]
