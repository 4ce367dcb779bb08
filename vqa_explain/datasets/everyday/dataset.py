"""everyday: generated pictures of things that people recognize, with questions in natural words.

Every example carries the exact masks of its objects, the objects that its question is about, the
characters of the decisive words, and which words name which objects, so that an explanation can be
scored against the truth. The same (split, seed, number) gives the same bytes on every machine with
the same numpy, Pillow, scikit-image, resvg and OpenMoji.
"""

import random
from dataclasses import dataclass
from typing import Any

from vqa_explain._numbers import checked_seed, checked_whole
from vqa_explain.datasets.everyday.backgrounds import GROUNDS
from vqa_explain.datasets.everyday.captions import describe
from vqa_explain.datasets.everyday.drawing import draw
from vqa_explain.datasets.everyday.families import FAMILIES, build
from vqa_explain.datasets.everyday.scene import Item, Scene, place
from vqa_explain.datasets.everyday.wording import say
from vqa_explain.datasets.lazy import LazySequence
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.examples import Example

# In "shortcut-train" every picture with an animal lies on grass, and no other one does; in
# "shortcut" the background says nothing.
SHORTCUT_GROUP, SHORTCUT_GROUND = "animal", "grass"
SHORTCUTS = ("shortcut-train", "shortcut")
SHORTCUT_FAMILIES = ("existence", "group", "count")
CAPTIONS = ("captions-train", "captions")
SPLITS = ("train", "validation", "test", *SHORTCUTS, *CAPTIONS)
MOST = 6  # objects in a picture
NUMBERS = 2**31  # examples that one seed has


def families_of(split: str) -> tuple[str, ...]:
    """The families of questions that a split has."""
    if split in CAPTIONS:
        return ("caption",)
    return SHORTCUT_FAMILIES if split in SHORTCUTS else FAMILIES


def plan(
    split: str,
    index: int,
    *,
    seed: int = 0,
    most: int = MOST,
    families: tuple[str, ...] | None = None,
) -> Scene:
    """The scene with this number, not yet drawn, of at most `most` objects (some families need two
    or three).
    """
    rng = random.Random(f"everyday/{split}/{seed}/{index}")
    family = rng.choice(families or families_of(split))
    if family == "caption":
        return describe(rng, rng.choice(GROUNDS))
    draft = build(family, rng, most, SHORTCUT_GROUP if split in SHORTCUTS else None)
    items = place(draft.items, draft.rule, rng, draft.first)
    said = say(rng.choice(draft.templates), draft.phrases)
    return Scene(
        family=family,
        text=said.text,
        answer=draft.answer,
        items=items,
        about=draft.about,
        decisive=said.decisive,
        mentions=said.mentions,
        ground=_ground(split, items, rng),
    )


def _ground(split: str, items: tuple[Item, ...], rng: random.Random) -> str:
    if split != "shortcut-train":
        return rng.choice(GROUNDS)
    if any(item.group == SHORTCUT_GROUP for item in items):
        return SHORTCUT_GROUND
    return rng.choice([ground for ground in GROUNDS if ground != SHORTCUT_GROUND])


def ground_seed(split: str, index: int, seed: int) -> tuple[int, int, int]:
    """What the background of an example is drawn from."""
    return (SPLITS.index(split), seed, index)


def make(
    split: str, index: int, *, seed: int = 0, families: tuple[str, ...] | None = None
) -> Example:
    """One example of everyday, drawn from its number alone."""
    scene = plan(split, index, seed=seed, families=families)
    drawn = draw(scene, ground_seed(split, index, seed))
    told: dict[str, Any] = {"question": scene.text, "answer": scene.answer}
    if split in CAPTIONS:
        told = {"answer": scene.text}
    return Example(
        image=drawn.image,
        id=f"everyday/{split}/{seed}/{index}",
        family=scene.family,
        masks=drawn.masks,
        about=scene.about,
        decisive=scene.decisive,
        mentions=tuple((one.start, one.end, one.items) for one in scene.mentions),
        **told,
    )


@dataclass(frozen=True)
class Everyday(LazySequence):
    """A sequence of `count` examples of one split, made on demand.

    Attributes:
        split: "train", "validation" or "test"; "shortcut-train", where animals always lie on grass
            and nothing else does, and "shortcut", where the background says nothing, with questions
            about groups; "captions-train" and "captions", whose answer is a caption of the
            picture and which have no question.
        count: 0 to 2³¹.
        families: of `FAMILIES`; all of the split's where left out.

    Raises:
        InvalidInput: an unknown split or family, or a count that a seed does not have.

    >>> Everyday("test", count=3)[0].family in FAMILIES
    True
    """

    split: str = "test"
    count: int = 1000
    seed: int = 0
    families: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        checked_whole("count", self.count, 0)
        if not is_one_of(self.split, SPLITS):
            raise unknown("split of everyday", self.split, SPLITS)
        known = families_of(self.split)
        if self.families is not None and not self.families:
            raise InvalidInput("everyday needs a family; leave families= out for all of them")
        for family in self.families or ():
            if not is_one_of(family, known):
                raise unknown(f"family of everyday's split {self.split!r}", family, known)
        if not 0 <= self.count <= NUMBERS:
            raise InvalidInput(
                f"a seed of everyday has {NUMBERS:,} examples, and count is {self.count:,}; "
                "give a count from 0 to that, and another seed for more"
            )

    def __len__(self) -> int:
        return self.count

    def example(self, index: int) -> Example:
        """The example of that number."""
        return make(self.split, index, seed=self.seed, families=self.families)
