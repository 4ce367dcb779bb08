"""Scenes: generated pictures of colored shapes with questions whose answer depends on which object
is meant.

Every example carries the exact masks of its objects, the objects that its question is about, and
the character spans of the decisive words, as CLEVR-XAI does (Arras et al. 2022), so that an
explanation can be scored against the truth. Within a family the answer is drawn first and the scene
is built around it, so that the question alone says next to nothing. The same (split, seed, index)
gives the same bytes on every machine with the same numpy.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vqa_explain._numbers import checked_seed, checked_whole
from vqa_explain.datasets.lazy import LazySequence
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.examples import Example

SIZE = 96  # pixels, width and height of a picture
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
PLURALS = {shape: shape + ("es" if shape.endswith("ss") else "s") for shape in SHAPES}
COLORS = {
    "red": (215, 40, 45),
    "green": (45, 165, 65),
    "blue": (45, 80, 215),
    "yellow": (238, 218, 55),
    "purple": (140, 50, 170),
    "orange": (242, 138, 30),
    "cyan": (70, 210, 222),
    "white": (245, 245, 245),
}
RADII = {"small": (7.0, 8.5), "large": (12.0, 13.5)}  # pixels
SPLITS = ("train", "validation", "test")
COUNTS = ("0", "1", "2", "3", "4")
ANSWERS = (*COLORS, *SHAPES, *RADII, "yes", "no", *COUNTS)
_MARGIN = 10.0  # pixels by which two objects differ along the axis of a spatial question


@dataclass(frozen=True)
class Item:
    """One object: what it is and, once placed, where (center and radius in pixels)."""

    shape: str
    color: str
    size: str
    x: float = 0.0
    y: float = 0.0
    radius: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A question with its placed objects, before anything is drawn."""

    family: str
    question: str
    answer: str
    items: tuple[Item, ...]
    about: tuple[int, ...]
    decisive: tuple[tuple[int, int], ...]
    # (object, start, end): the phrase that names one particular object.
    named: tuple[tuple[int, int, int], ...]


class _Draft:
    """What a family's builder fills in: objects, the question's pieces,
    and which of them decide.
    """

    def __init__(self, rng: random.Random, most: int) -> None:
        self.rng = rng
        self.most = most
        self.items: list[Item] = []
        self.about: tuple[int, ...] = ()
        self.answer = ""
        self.order: tuple[int, int, str] | None = (
            None  # (first, second, axis): first has the smaller coordinate
        )
        self._text = ""
        self._decisive: list[tuple[int, int]] = []
        self._named: list[tuple[int, int, int]] = []

    def say(self, text: str) -> None:
        self._text += (" " if self._text and text != "?" else "") + text

    def stress(self, phrase: str, item: int | None = None) -> None:
        """Appends a phrase whose words decide the answer; `item` is the object that it names,
        if one.
        """
        self.say(phrase)
        start, end = len(self._text) - len(phrase), len(self._text)
        self._decisive.append((start, end))
        if item is not None:
            self._named.append((item, start, end))

    def any_item(self) -> Item:
        rng = self.rng
        return Item(rng.choice(SHAPES), rng.choice(tuple(COLORS)), rng.choice(tuple(RADII)))

    def fill(self, allowed: Callable[[Item], bool]) -> None:
        """Adds random distractors up to a random total of at most `most` objects."""
        total = self.rng.randint(max(1, len(self.items)), max(self.most, len(self.items)))
        while len(self.items) < total:
            item = self.any_item()
            if allowed(item):
                self.items.append(item)

    def finish(self, family: str) -> Scene:
        self.say("?")
        items = _place(self.items, self.order, self.rng)
        return Scene(
            family,
            self._text,
            self.answer,
            items,
            self.about,
            tuple(self._decisive),
            tuple(self._named),
        )


def _color(d: _Draft) -> None:
    target = replace(d.any_item(), color=d.rng.choice(tuple(COLORS)))
    d.items, d.about, d.answer = [target], (0,), target.color
    by_size = d.most > 1 and d.rng.random() < 0.4
    if by_size:  # a second object of the shape makes the size word matter
        other = next(size for size in RADII if size != target.size)
        d.items.append(replace(d.any_item(), shape=target.shape, size=other))
    d.fill(lambda i: i.shape != target.shape)
    d.say("What")
    d.stress("color")
    d.say("is the")
    d.stress(f"{target.size} {target.shape}" if by_size else target.shape, 0)


def _shape(d: _Draft) -> None:
    target = d.any_item()
    d.items, d.about, d.answer = [target], (0,), target.shape
    by_size = d.most > 1 and d.rng.random() < 0.4
    if by_size:
        other = next(size for size in RADII if size != target.size)
        d.items.append(replace(d.any_item(), color=target.color, size=other))
    d.fill(lambda i: i.color != target.color)
    d.say("What")
    d.stress("shape")
    d.say("is the")
    d.stress(f"{target.size} {target.color} object" if by_size else f"{target.color} object", 0)


def _size(d: _Draft) -> None:
    target = d.any_item()
    d.items, d.about, d.answer = [target], (0,), target.size
    by_color = d.rng.random() < 0.5
    if by_color:
        d.fill(lambda i: (i.shape, i.color) != (target.shape, target.color))
    else:
        d.fill(lambda i: i.shape != target.shape)
    d.say("What")
    d.stress("size")
    d.say("is the")
    d.stress(f"{target.color} {target.shape}" if by_color else target.shape, 0)


def _existence(d: _Draft) -> None:
    asked = d.any_item()
    d.answer = d.rng.choice(("yes", "no"))

    def differs(i: Item) -> bool:
        return (i.shape, i.color) != (asked.shape, asked.color)

    if d.answer == "yes":
        d.items = [asked]
    elif d.rng.random() < 0.7:  # a near miss: the right shape or the right color, not both
        near = [replace(d.any_item(), shape=asked.shape), replace(d.any_item(), color=asked.color)]
        d.items = [i for i in near if differs(i)][: d.rng.randint(1, 2)][: d.most]
    d.fill(differs)
    d.about = (0,) if d.answer == "yes" else tuple(range(len(d.items)))
    d.say("Is there an" if asked.color[0] in "aeiou" else "Is there a")
    d.stress(f"{asked.color} {asked.shape}", 0 if d.answer == "yes" else None)


def _count(
    d: _Draft, plural: str, matching: Callable[[Item], bool], match: Callable[[Item], Item]
) -> None:
    counts = COUNTS[: d.most + 1]
    number = d.rng.randrange(len(counts))
    d.answer = counts[number]
    d.items = [match(d.any_item()) for _ in range(number)]
    d.fill(lambda i: not matching(i))
    d.about = tuple(range(number)) or tuple(range(len(d.items)))
    d.say("How many")
    d.stress(plural)
    d.say("are there")


def _count_color(d: _Draft) -> None:
    color = d.rng.choice(tuple(COLORS))
    _count(d, f"{color} objects", lambda i: i.color == color, lambda i: replace(i, color=color))


def _count_shape(d: _Draft) -> None:
    shape = d.rng.choice(SHAPES)
    _count(d, PLURALS[shape], lambda i: i.shape == shape, lambda i: replace(i, shape=shape))


def _same_color(d: _Draft) -> None:
    d.answer = d.rng.choice(("yes", "no"))
    shapes = d.rng.sample(SHAPES, 2)
    colors = d.rng.sample(tuple(COLORS), 2)
    if d.answer == "yes":
        colors[1] = colors[0]
    d.items = [replace(d.any_item(), shape=s, color=c) for s, c in zip(shapes, colors, strict=True)]
    d.about = (0, 1)
    d.fill(lambda i: i.shape not in shapes)
    d.say("Is the")
    d.stress(shapes[0], 0)
    d.say("the")
    d.stress("same color")
    d.say("as the")
    d.stress(shapes[1], 1)


def _same_shape(d: _Draft) -> None:
    d.answer = d.rng.choice(("yes", "no"))
    shapes = d.rng.sample(SHAPES, 2)
    colors = d.rng.sample(tuple(COLORS), 2)
    if d.answer == "yes":
        shapes[1] = shapes[0]
    d.items = [replace(d.any_item(), shape=s, color=c) for s, c in zip(shapes, colors, strict=True)]
    d.about = (0, 1)
    d.fill(lambda i: i.color not in colors)
    d.say("Is the")
    d.stress(f"{colors[0]} object", 0)
    d.say("the")
    d.stress("same shape")
    d.say("as the")
    d.stress(f"{colors[1]} object", 1)


def _more(d: _Draft) -> None:
    d.answer = d.rng.choice(("yes", "no"))
    pairs = [
        (a, b)
        for a in range(d.most + 1)
        for b in range(d.most + 1 - a)
        if (a > b) == (d.answer == "yes")
    ]
    first, second = d.rng.choice([p for p in pairs if sum(p)] or pairs)
    if d.rng.random() < 0.5:
        kinds = d.rng.sample(SHAPES, 2)
        d.items = [replace(d.any_item(), shape=kinds[0]) for _ in range(first)]
        d.items += [replace(d.any_item(), shape=kinds[1]) for _ in range(second)]
        d.fill(lambda i: i.shape not in kinds)
        phrases = [PLURALS[kind] for kind in kinds]
    else:
        kinds = d.rng.sample(tuple(COLORS), 2)
        d.items = [replace(d.any_item(), color=kinds[0]) for _ in range(first)]
        d.items += [replace(d.any_item(), color=kinds[1]) for _ in range(second)]
        d.fill(lambda i: i.color not in kinds)
        phrases = [f"{kind} objects" for kind in kinds]
    d.about = tuple(range(first + second)) or tuple(range(len(d.items)))
    d.say("Are there")
    d.stress("more")
    d.stress(phrases[0])
    d.say("than")
    d.stress(phrases[1])


def _relation(d: _Draft) -> None:
    d.answer = d.rng.choice(("yes", "no"))
    words, axis, first_is_smaller = d.rng.choice(
        (
            ("left of", "x", True),
            ("right of", "x", False),
            ("above", "y", True),
            ("below", "y", False),
        )
    )
    first, second = d.any_item(), d.any_item()
    while (first.shape, first.color) == (second.shape, second.color):
        second = d.any_item()
    d.items, d.about = [first, second], (0, 1)
    smaller_first = first_is_smaller == (d.answer == "yes")
    d.order = (0, 1, axis) if smaller_first else (1, 0, axis)
    names = {(i.shape, i.color) for i in d.items}
    d.fill(lambda i: (i.shape, i.color) not in names)
    d.say("Is the")
    d.stress(f"{first.color} {first.shape}", 0)
    d.stress(words)
    d.say("the")
    d.stress(f"{second.color} {second.shape}", 1)


_BUILDERS: dict[str, Callable[[_Draft], None]] = {
    "color": _color,
    "shape": _shape,
    "size": _size,
    "existence": _existence,
    "count_color": _count_color,
    "count_shape": _count_shape,
    "same_color": _same_color,
    "same_shape": _same_shape,
    "more": _more,
    "relation": _relation,
}
FAMILIES = tuple(_BUILDERS)


def _place(
    items: list[Item], order: tuple[int, int, str] | None, rng: random.Random
) -> tuple[Item, ...]:
    """Random positions without overlap, inside the picture;
    `order` holds for the two objects it names.
    """
    shuffled = list(range(len(items)))
    while True:
        placed: dict[int, Item] = {}
        rng.shuffle(shuffled)
        # Large objects first: they are the hard ones to fit.
        for index in sorted(shuffled, key=lambda i: items[i].size):
            for _ in range(40):
                radius = rng.uniform(*RADII[items[index].size])
                reach = radius + 1.5
                x = rng.uniform(reach, SIZE - reach)
                y = rng.uniform(reach, SIZE - reach)
                if all(
                    math.hypot(o.x - x, o.y - y) > o.radius + radius + 2.5 for o in placed.values()
                ):
                    placed[index] = replace(items[index], x=x, y=y, radius=radius)
                    break
            else:
                break
        if len(placed) < len(items):
            continue
        if order:
            low, high, axis = order
            a, b = placed[low], placed[high]
            if abs(getattr(a, axis) - getattr(b, axis)) < _MARGIN:
                continue
            if getattr(a, axis) > getattr(b, axis):
                # The sizes differ, so the places cannot be exchanged.
                if abs(a.radius - b.radius) > 3:
                    continue
                ax, ay, ar = a.x, a.y, a.radius
                placed[low] = replace(a, x=b.x, y=b.y, radius=b.radius)
                placed[high] = replace(b, x=ax, y=ay, radius=ar)
        return tuple(placed[i] for i in range(len(items)))


def plan(
    split: str, index: int, *, seed: int = 0, most: int = 5, families: tuple[str, ...] = FAMILIES
) -> Scene:
    """The scene and question with this number, not yet drawn. At most `most` objects (families
    may need two).
    """
    rng = random.Random(f"scenes/{split}/{seed}/{index}")
    family = rng.choice(families)
    draft = _Draft(
        rng, max(most, 2) if family in ("same_color", "same_shape", "relation", "more") else most
    )
    _BUILDERS[family](draft)
    return draft.finish(family)


def _distance(shape: str, u: np.ndarray, v: np.ndarray, r: float) -> np.ndarray:
    """Signed distance (pixels, negative inside) to a shape of circumscribed radius r; u right,
    v down.
    """
    slope = 0.8660254 * np.abs(u)
    upward = np.maximum(slope - 0.5 * v, v) - 0.5 * r
    distance: np.ndarray
    if shape == "circle":
        distance = np.hypot(u, v) - r
    elif shape == "ring":
        distance = np.abs(np.hypot(u, v) - 0.74 * r) - 0.24 * r
    elif shape == "square":
        distance = np.maximum(np.abs(u), np.abs(v)) - 0.8 * r
    elif shape == "cross":
        a, b = np.abs(u), np.abs(v)
        arm, half = 0.95 * r, 0.3 * r
        distance = np.minimum(np.maximum(a - arm, b - half), np.maximum(a - half, b - arm))
    elif shape == "triangle":
        distance = np.maximum(slope - 0.5 * (v - 0.15 * r), v - 0.15 * r) - 0.55 * r
    else:  # star: two opposite triangles
        distance = np.minimum(upward, np.maximum(slope + 0.5 * v, -v) - 0.5 * r)
    return distance


_GRID = np.arange(SIZE, dtype=np.float32) + 0.5
_PALETTE = {name: np.array(rgb, dtype=np.float32) for name, rgb in COLORS.items()}


def _background(rng: np.random.Generator) -> np.ndarray:
    """A flat, graded or textured ground in dull mid tones, (H, W, 3) float32."""
    base = (rng.uniform(55, 150) + rng.uniform(-18, 18, 3)).astype(np.float32)
    kind = rng.integers(3)
    canvas = np.empty((SIZE, SIZE, 3), dtype=np.float32)
    canvas[:] = base
    if kind == 1:
        angle = rng.uniform(0, 2 * math.pi)
        ramp = (_GRID[None, :] * math.cos(angle) + _GRID[:, None] * math.sin(angle)) / SIZE - 0.5
        canvas += ramp[:, :, None] * rng.uniform(-40, 40, 3).astype(np.float32)
    elif kind == 2:
        cells = rng.integers(6, 25)
        coarse = rng.uniform(-16, 16, (cells, cells)).astype(np.float32)
        pick = (_GRID * cells / SIZE).astype(np.intp)
        canvas += coarse[pick][:, pick][:, :, None]
    return canvas


def draw(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The picture (H, W, 3) uint8 and the objects' masks (objects, H, W) bool."""
    canvas = _background(rng)
    masks = np.zeros((len(scene.items), SIZE, SIZE), dtype=bool)
    for index, item in enumerate(scene.items):
        x0, x1 = max(0, int(item.x - item.radius - 2)), min(SIZE, int(item.x + item.radius + 3))
        y0, y1 = max(0, int(item.y - item.radius - 2)), min(SIZE, int(item.y + item.radius + 3))
        angle = rng.uniform(-0.2, 0.2)
        dx, dy = _GRID[None, x0:x1] - np.float32(item.x), _GRID[y0:y1, None] - np.float32(item.y)
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        inside = np.clip(
            0.5 - _distance(item.shape, dx * cos + dy * sin, dy * cos - dx * sin, item.radius), 0, 1
        )
        color = _PALETTE[item.color] * np.float32(rng.uniform(0.88, 1.05)) + rng.uniform(
            -10, 10, 3
        ).astype(np.float32)
        patch = canvas[y0:y1, x0:x1]
        patch += inside[:, :, None] * (color - patch)
        masks[index, y0:y1, x0:x1] = inside >= 0.5
    canvas += rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(2, 9))
    return np.clip(canvas, 0, 255).astype(np.uint8), masks


def make(
    split: str, index: int, *, seed: int = 0, families: tuple[str, ...] = FAMILIES, most: int = 5
) -> Example:
    """One example of scenes, drawn from its number alone."""
    scene = plan(split, index, seed=seed, most=most, families=families)
    image, masks = draw(scene, np.random.default_rng([SPLITS.index(split), seed, index]))
    return Example(
        image=image,
        question=scene.question,
        answer=scene.answer,
        id=f"scenes/{split}/{seed}/{index}",
        family=scene.family,
        masks=masks,
        about=scene.about,
        decisive=scene.decisive,
    )


@dataclass(frozen=True)
class Scenes(LazySequence):
    """A sequence of `count` scenes examples of one split, made on demand.

    >>> Scenes("test", count=3)[0].family in FAMILIES
    True
    """

    split: str = "test"
    count: int = 1000
    seed: int = 0
    families: tuple[str, ...] = FAMILIES

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        checked_whole("count", self.count, 0)
        if not is_one_of(self.split, SPLITS):
            raise unknown("split of scenes", self.split, SPLITS)
        for family in self.families:
            if not is_one_of(family, FAMILIES):
                raise unknown("family of scenes", family, FAMILIES)
        if self.count < 0 or not self.families:
            raise InvalidInput(
                f"scenes needs a count of at least 0 and a family; got {self.count}, "
                f"{self.families}"
            )

    def __len__(self) -> int:
        return self.count

    def example(self, index: int) -> Example:
        """The example of that number."""
        return make(self.split, index, seed=self.seed, families=self.families)
