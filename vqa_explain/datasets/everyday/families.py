"""The families of everyday's questions. Each draws the answer first and builds the scene about it,
so that the question alone says next to nothing.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from vqa_explain.datasets.everyday.objects import COLORED, COLORS, GROUPS, KINDS, plural
from vqa_explain.datasets.everyday.scene import (
    SIZE,
    Item,
    Rule,
    anywhere,
    gap,
    sized,
)
from vqa_explain.datasets.everyday.wording import Phrase

COUNTS = ("0", "1", "2", "3", "4")
CORNERS = {
    "top left": (False, False),
    "top right": (True, False),
    "bottom left": (False, True),
    "bottom right": (True, True),
}
ANSWERS = (*KINDS, *COLORS, "yes", "no", *COUNTS, *CORNERS)
MARGIN = 18.0  # pixels by which two objects differ along the axis of a question
CLEAR = 8.0  # pixels by which others keep to the other side
_BY_GROUP = 0.4  # how often a count or an existence is one of a group
_OTHER_NAME = 0.2  # how often a question calls an object by a further name


@dataclass
class Draft:
    """What a family fills in: the objects, the rule of their places, and what is said of them.

    Attributes:
        most: how many objects at most.
        favored: a group that half of the questions about groups ask for; all of them then do ask
            for groups.
    """

    rng: random.Random
    most: int
    favored: str | None = None
    items: list[Item] = field(default_factory=list)
    answer: str = ""
    about: tuple[int, ...] = ()
    rule: Rule = anywhere
    first: tuple[int, ...] = ()
    templates: tuple[str, ...] = ()
    phrases: dict[str, Phrase] = field(default_factory=dict)

    def kind(self, allowed: Callable[[str], bool] = lambda kind: True) -> str:
        """A kind at random, among those that are allowed."""
        return self.rng.choice([kind for kind in KINDS if allowed(kind)])

    def asked(self) -> str:
        """A kind whose group is asked for."""
        if self.favored is None or self.rng.random() < 0.5:
            return self.kind()
        return self.kind(lambda kind: KINDS[kind].group == self.favored)

    def by_group(self) -> bool:
        """Whether a question names the group in place of the kind."""
        return self.favored is not None or self.rng.random() < _BY_GROUP

    def new_kinds(self, count: int) -> list[str]:
        """So many different kinds."""
        return self.rng.sample(tuple(KINDS), count)

    def item(self, kind: str, color: str | None = None) -> Item:
        """An object of a kind; some are painted at random where no color is given."""
        if color is None and kind in COLORED and self.rng.random() < 0.5:
            color = self.rng.choice(tuple(COLORS))
        return Item(kind, color)

    def called(self, index: int) -> Phrase:
        """What a question calls an object."""
        return Phrase(self.name(self.items[index].kind), (index,))

    def name(self, kind: str) -> str:
        """A name of a kind, mostly the one of answers."""
        others = KINDS[kind].others
        if others and self.rng.random() < _OTHER_NAME:
            return self.rng.choice(others)
        return kind

    def fill(self, allowed: Callable[[Item], bool] = lambda item: True, least: int = 1) -> None:
        """Adds other objects, no two of a kind, up to a random total of at most `most`."""
        total = self.rng.randint(max(least, len(self.items)), max(self.most, len(self.items)))
        taken = {item.kind for item in self.items}
        while len(self.items) < total:
            item = self.item(self.kind(lambda kind: kind not in taken))
            if allowed(item):
                self.items.append(item)
                taken.add(item.kind)

    def everything(self) -> tuple[int, ...]:
        """All objects."""
        return tuple(range(len(self.items)))


Builder = Callable[[Draft], None]


# What lies where

_BESIDE = (
    "What is {where} the {X}?",
    "Which thing is {where} the {X}?",
    "What can you see {where} the {X}?",
    "What lies {where} the {X}?",
    "Name the thing {where} the {X}.",
    "Tell me what is {where} the {X}.",
    "There is something {where} the {X}. What is it?",
)
# The words of each side, whether it lies along y, and its direction.
SIDES = {
    "left": (("left of", "to the left of", "on the left of"), False, -1),
    "right": (("right of", "to the right of", "on the right of"), False, 1),
    "above": (("above", "over", "higher than"), True, -1),
    "below": (("below", "under", "lower than"), True, 1),
}


def offset(vertical: bool, direction: int, item: Item, other: Item) -> float:
    """How far an object lies from another in a direction, in pixels."""
    return direction * (item.y - other.y if vertical else item.x - other.x)


def _beside(d: Draft, side: str) -> None:
    words, vertical, direction = SIDES[side]
    named, asked = d.new_kinds(2)
    d.items = [d.item(named), d.item(asked)]
    d.answer, d.about, d.first = asked, (0, 1), (0, 1)
    d.fill()

    def rule(index: int, item: Item, placed: dict[int, Item]) -> bool:
        if index == 0:
            return True
        pixels = offset(vertical, direction, item, placed[0])
        return pixels >= MARGIN if index == 1 else pixels <= -CLEAR

    d.rule, d.templates = rule, _BESIDE
    d.phrases = {"X": d.called(0), "where": Phrase(d.rng.choice(words))}


def _horizontal(d: Draft) -> None:
    _beside(d, d.rng.choice(("left", "right")))


def _vertical(d: Draft) -> None:
    _beside(d, d.rng.choice(("above", "below")))


_NEAR, _FAR = 10.0, 24.0  # pixels between what is next to an object, and all others


def _next_to(d: Draft) -> None:
    named, asked = d.new_kinds(2)
    d.items = [d.item(named), d.item(asked)]
    d.answer, d.about, d.first = asked, (0, 1), (0, 1)
    d.most = min(d.most, 5)  # with six, nothing is far from anything
    d.fill()

    def rule(index: int, item: Item, placed: dict[int, Item]) -> bool:
        if index == 0:
            return True
        between = gap(item, placed[0])
        return between <= _NEAR if index == 1 else between >= _FAR

    d.rule, d.templates = rule, _BESIDE
    words = ("next to", "beside", "close to", "nearest to", "right by")
    d.phrases = {"X": d.called(0), "where": Phrase(d.rng.choice(words))}


_CORNER = 0.42  # share of the side within which an object's middle lies in a corner


def _in_corner(item: Item, corner: str, share: float = _CORNER) -> bool:
    right, bottom = CORNERS[corner]
    x = SIZE - item.x if right else item.x
    y = SIZE - item.y if bottom else item.y
    return max(x, y) <= share * SIZE


def _corner(d: Draft) -> None:
    corner = d.answer = d.rng.choice(tuple(CORNERS))
    d.items, d.about, d.first = [d.item(d.kind())], (0,), (0,)
    d.fill()

    def rule(index: int, item: Item, placed: dict[int, Item]) -> bool:
        return index > 0 or _in_corner(item, corner)

    d.rule = rule
    d.templates = (
        "In which {corner} is the {X}?",
        "Which {corner} is the {X} in?",
        "In what {corner} is the {X}?",
        "Where is the {X}, in which {corner}?",
        "Tell me the {corner} that the {X} is in.",
        "Which {corner} of the picture has the {X}?",
    )
    d.phrases = {"X": d.called(0)}


def _corner_object(d: Draft) -> None:
    corner = d.rng.choice(tuple(CORNERS))
    d.items, d.about, d.first = [d.item(d.kind())], (0,), (0,)
    d.answer = d.items[0].kind
    d.fill()

    def rule(index: int, item: Item, placed: dict[int, Item]) -> bool:
        if index == 0:
            return _in_corner(item, corner)
        return not _in_corner(item, corner, _CORNER + 0.08)

    d.rule = rule
    words = {
        "top left": ("top left", "upper left"),
        "top right": ("top right", "upper right"),
        "bottom left": ("bottom left", "lower left"),
        "bottom right": ("bottom right", "lower right"),
    }[corner]
    d.templates = (
        "What is in the {where} corner?",
        "Which thing is in the {where} corner?",
        "What can you see in the {where} corner?",
        "What lies in the {where} corner?",
        "Name the thing in the {where} corner.",
        "Tell me what is in the {where} corner.",
    )
    d.phrases = {"where": Phrase(d.rng.choice(words))}


def _along(item: Item, a: Item, b: Item) -> tuple[float, float]:
    """Where an object lies on the line from a to b (0 at a, 1 at b), and pixels off that line."""
    dx, dy = b.x - a.x, b.y - a.y
    length = math.hypot(dx, dy)
    share = ((item.x - a.x) * dx + (item.y - a.y) * dy) / length**2
    return share, abs((item.x - a.x) * dy - (item.y - a.y) * dx) / length


def _between(d: Draft) -> None:
    d.answer = d.rng.choice(("yes", "no"))
    d.items = [d.item(kind) for kind in d.new_kinds(3)]
    d.about, d.first = (0, 1, 2), (1, 2, 0)
    d.most = min(d.most, 5)
    d.fill()
    yes = d.answer == "yes"

    def rule(index: int, item: Item, placed: dict[int, Item]) -> bool:
        if index == 2:
            return math.hypot(item.x - placed[1].x, item.y - placed[1].y) > 60
        if index == 0:
            share, off = _along(item, placed[1], placed[2])
            if yes:
                return 0.25 <= share <= 0.75 and off <= 12
            return share < -0.1 or share > 1.1 or off >= 45
        return True

    d.rule = rule
    d.templates = (
        "Is the {X} {between} the {Y} and the {Z}?",
        "Does the {X} lie {between} the {Y} and the {Z}?",
        "Is the {X} {in between} the {Y} and the {Z}?",
        "Do the {Y} and the {Z} have the {X} {between} them?",
        "Can you see the {X} {between} the {Y} and the {Z}?",
        "Are the {Y} and the {Z} on {both sides} of the {X}?",
    )
    d.phrases = {"X": d.called(0), "Y": d.called(1), "Z": d.called(2)}


# What is there


def _group_name(d: Draft, group: str, several: bool = False) -> str:
    return d.rng.choice(GROUPS[group])[several]


def _group(d: Draft) -> None:
    d.items, d.about = [d.item(d.asked())], (0,)
    d.answer = d.items[0].kind
    group = d.items[0].group
    d.fill(lambda item: item.group != group)
    d.templates = (
        "What {group} is there?",
        "Which {group} is there?",
        "What {group} can you see?",
        "Which {group} is in the picture?",
        "What {group} does the picture show?",
        "What kind of {group} is this?",
        "Name the {group}.",
    )
    d.phrases = {"group": Phrase(_group_name(d, group), (0,))}


def _count(d: Draft) -> None:
    number = d.rng.randrange(min(len(COUNTS), d.most + 1))
    d.answer = str(number)
    by_group = d.by_group()
    kind = d.asked()
    group = KINDS[kind].group
    if by_group:
        kinds = [d.kind(lambda k: KINDS[k].group == group) for _ in range(number)]
        d.items = [d.item(k) for k in kinds]
        d.fill(lambda item: item.group != group)
        asked = _group_name(d, group, several=True)
    else:
        d.items = [d.item(kind) for _ in range(number)]
        d.fill(lambda item: item.kind != kind)
        asked = plural(d.name(kind))
    d.about = tuple(range(number)) or d.everything()
    d.templates = (
        "{How many} {X} are there?",
        "{How many} {X} can you see?",
        "{How many} {X} are in the picture?",
        "{How many} {X} does the picture show?",
        "What is the {number} of {X}?",
        "{Count} the {X}.",
        "{How many} {X} do you see here?",
    )
    d.phrases = {"X": Phrase(asked, tuple(range(number)))}


_IS_THERE = (
    "Is there a {X}?",
    "Is there a {X} in the picture?",
    "Can you see a {X}?",
    "Does the picture show a {X}?",
    "Do you see a {X} here?",
    "Is a {X} shown?",
)


def _existence(d: Draft) -> None:
    d.answer = d.rng.choice(("yes", "no"))
    kind = d.asked()
    group = KINDS[kind].group
    by_group = d.by_group()

    def differs(item: Item) -> bool:
        return item.group != group if by_group else item.kind != kind

    if d.answer == "yes":
        d.items = [d.item(kind)]
    elif not by_group and d.rng.random() < 0.6:  # a near miss: another one of its group
        d.items = [d.item(d.kind(lambda k: KINDS[k].group == group and k != kind))]
    d.fill(differs)
    named = (0,) if d.answer == "yes" else ()
    d.about = named or d.everything()
    d.templates = _IS_THERE
    asked = _group_name(d, group) if by_group else d.name(kind)
    d.phrases = {"X": Phrase(asked, named)}


def _colored(d: Draft) -> None:
    d.answer = d.rng.choice(("yes", "no"))
    kind, color = d.rng.choice(COLORED), d.rng.choice(tuple(COLORS))
    other = d.rng.choice([c for c in COLORS if c != color])
    if d.answer == "yes":
        d.items = [d.item(kind, color)]
    else:  # the right kind in another color, or another kind in the right color
        near = [d.item(kind, other), d.item(d.rng.choice(_without(kind)), color)]
        d.items = d.rng.sample(near, d.rng.randint(1, min(2, d.most)))
    d.fill(lambda item: item.kind != kind)
    named = (0,) if d.answer == "yes" else ()
    d.about = named or d.everything()
    d.templates = tuple(template.replace("{X}", "{color} {X}") for template in _IS_THERE)
    d.phrases = {"X": Phrase(d.name(kind), named), "color": Phrase(color)}


def _without(kind: str) -> list[str]:
    return [k for k in COLORED if k != kind]


# What joins two objects in a question, and the cases (first, second is there) that are a "yes".
_JOINED = {
    "{and} a": [(True, True)],
    "{and no}": [(True, False)],
    "{but not} a": [(True, False)],
    "{or} a": [(True, True), (True, False), (False, True)],
}
_CASES = [(x, y) for x in (False, True) for y in (False, True)]


def _logic(d: Draft) -> None:
    d.answer = d.rng.choice(("yes", "no"))
    joined = d.rng.choice(tuple(_JOINED))
    holds = _JOINED[joined]
    there = d.rng.choice([case for case in _CASES if (case in holds) == (d.answer == "yes")])
    kinds = d.new_kinds(2)
    d.items = [d.item(kind) for kind, is_there in zip(kinds, there, strict=True) if is_there]
    d.fill(lambda item: item.kind not in kinds)
    d.about = tuple(range(sum(there))) or d.everything()
    stems = (
        "Is there a {X} %s {Y}?",
        "Can you see a {X} %s {Y}?",
        "Does the picture show a {X} %s {Y}?",
        "Do you see a {X} %s {Y} here?",
        "Is it true that there is a {X} %s {Y}?",
        "Does this picture have a {X} %s {Y}?",
    )
    d.templates = tuple(stem % joined for stem in stems)
    named = {}
    for letter, kind in zip("XY", kinds, strict=True):
        found = tuple(i for i, item in enumerate(d.items) if item.kind == kind)
        named[letter] = Phrase(d.name(kind), found)
    d.phrases = named


# How they are


def _color(d: Draft) -> None:
    color = d.answer = d.rng.choice(tuple(COLORS))
    d.items, d.about = [d.item(d.rng.choice(COLORED), color)], (0,)
    d.fill()
    d.templates = (
        "What {color} is the {X}?",
        "Which {color} is the {X}?",
        "What is the {color} of the {X}?",
        "What {color} does the {X} have?",
        "Tell me the {color} of the {X}.",
        "In what {color} is the {X} painted?",
    )
    d.phrases = {"X": d.called(0)}


_SMALL, _LARGE = (0.17, 0.23), (0.33, 0.4)  # shares of the side


def _larger(d: Draft) -> None:
    kinds = d.new_kinds(2)
    large, small = (d.rng.uniform(*share) * SIZE for share in (_LARGE, _SMALL))
    d.items = [
        replace(d.item(kind), size=size) for kind, size in zip(kinds, (large, small), strict=True)
    ]
    d.about = (0, 1)
    d.most = min(d.most, 4)
    d.fill()
    larger = d.rng.random() < 0.5
    d.answer = kinds[0] if larger else kinds[1]
    words = ("larger", "bigger") if larger else ("smaller", "tinier")
    d.templates = (
        "Which is {than}, the {X} or the {Y}?",
        "Which one is {than}, the {X} or the {Y}?",
        "What is {than}, the {X} or the {Y}?",
        "Is the {X} or the {Y} {than}?",
        "Of the {X} and the {Y}, which is {than}?",
        "Tell me which is {than}, the {X} or the {Y}.",
    )
    order = d.rng.sample((0, 1), 2)
    named = {letter: Phrase(kinds[i], (i,)) for letter, i in zip("XY", order, strict=True)}
    d.phrases = {**named, "than": Phrase(d.rng.choice(words))}


def _same_kind(d: Draft) -> None:
    d.answer = d.rng.choice(("yes", "no"))
    d.most = min(d.most, 5)
    if d.answer == "yes":
        kind = d.kind()
        d.items, d.about = [d.item(kind), d.item(kind)], (0, 1)
        d.fill()
    else:
        d.fill(least=2)
        d.about = d.everything()
    d.templates = (
        "Are there {two} of the {same} kind?",
        "Are {two} of the things of the {same} kind?",
        "Is anything shown {twice}?",
        "Does any kind of thing appear {twice}?",
        "Is there a {pair} of the {same} kind?",
        "Do {two} things have the {same} kind?",
    )


def _odd(d: Draft) -> None:
    odd = d.kind()
    group = d.rng.choice([g for g in GROUPS if g != KINDS[odd].group])
    alike = [kind for kind in KINDS if KINDS[kind].group == group]
    others = d.rng.sample(alike, d.rng.randint(2, max(2, min(d.most, 5) - 1)))
    d.items = [d.item(kind) for kind in (odd, *others)]
    d.answer, d.about = odd, d.everything()
    d.templates = (
        "Which is the {odd one out}?",
        "What is the {odd one out}?",
        "Which thing does {not belong}?",
        "What does {not fit} with the others?",
        "Which thing is {not} of the {same group}?",
        "Which one is {different} from the rest?",
        "Name the {odd one out}.",
    )


BUILDERS: dict[str, Builder] = {
    "horizontal": _horizontal,
    "vertical": _vertical,
    "next_to": _next_to,
    "corner": _corner,
    "corner_object": _corner_object,
    "between": _between,
    "group": _group,
    "count": _count,
    "existence": _existence,
    "colored": _colored,
    "logic": _logic,
    "color": _color,
    "larger": _larger,
    "same_kind": _same_kind,
    "odd": _odd,
}
FAMILIES = tuple(BUILDERS)
# The objects that a family needs, where it needs more than one.
NEEDS = {
    "horizontal": 2,
    "vertical": 2,
    "next_to": 2,
    "between": 3,
    "logic": 2,
    "larger": 2,
    "same_kind": 2,
    "odd": 3,
}


def build(family: str, rng: random.Random, most: int, favored: str | None = None) -> Draft:
    """The objects with their sizes and what is asked of them; they have no places yet."""
    draft = Draft(rng, max(most, NEEDS.get(family, 1)), favored)
    BUILDERS[family](draft)
    draft.items = sized(draft.items, rng)
    return draft
