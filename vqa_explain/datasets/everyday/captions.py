"""Captions of everyday's pictures, such as "a red car left of a cat, and two apples"."""

import random

from vqa_explain.datasets.everyday.families import MARGIN, SIDES, offset
from vqa_explain.datasets.everyday.objects import COLORED, COLORS, KINDS, plural
from vqa_explain.datasets.everyday.scene import Item, Scene, place, sized
from vqa_explain.datasets.everyday.wording import Phrase, say

_NUMBERS = {1: "a", 2: "two", 3: "three"}
_PAIRS = (
    "a {X} {where} a {Y}",
    "a {X} {where} a {Y} in the picture",
    "there is a {X} {where} a {Y}",
    "a picture of a {X} {where} a {Y}",
    "we see a {X} {where} a {Y}",
    "this is a {X} {where} a {Y}",
)
_MORE = (", and %s {Z}", " with %s {Z}", ", as well as %s {Z}")


def _named(item: Item) -> str:
    return item.kind if item.color is None else f"{item.color} {item.kind}"


def describe(rng: random.Random, ground: str) -> Scene:
    """A scene with a caption that names all its objects: two by their places, others by number."""
    kinds = rng.sample(tuple(KINDS), 3)
    pair = []
    for kind in kinds[:2]:
        painted = kind in COLORED and rng.random() < 0.6
        pair.append(Item(kind, rng.choice(tuple(COLORS)) if painted else None))
    number = rng.randrange(4)
    items = sized([*pair, *[Item(kinds[2]) for _ in range(number)]], rng)
    words, vertical, direction = rng.choice(tuple(SIDES.values()))

    def rule(index: int, item: Item, placed: dict[int, Item]) -> bool:
        return index != 0 or offset(vertical, direction, item, placed[1]) >= MARGIN

    template = rng.choice(_PAIRS)
    phrases = {
        "X": Phrase(_named(items[0]), (0,)),
        "Y": Phrase(_named(items[1]), (1,)),
        "where": Phrase(rng.choice(words)),
    }
    if number:
        template += rng.choice(_MORE) % _NUMBERS[number]
        last = kinds[2] if number == 1 else plural(kinds[2])
        phrases["Z"] = Phrase(last, tuple(range(2, 2 + number)))
    said = say(template, phrases)
    return Scene(
        family="caption",
        text=said.text,
        answer="",
        items=place(items, rule, rng, (1, 0)),
        about=tuple(range(len(items))),
        decisive=(),
        mentions=said.mentions,
        ground=ground,
    )
