"""Scenes: the same seed gives the same bytes, answers follow from the objects,
masks do not overlap.
"""

import hashlib
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

import vqa_explain as vx
from vqa_explain.datasets import scenes
from vqa_explain.datasets.scenes import FAMILIES, Scenes, make, plan


def answer_from_objects(scene: scenes.Scene) -> str:
    """The answer read off the question's text and the placed objects: a second,
    independent program.
    """
    text, items = scene.question, scene.items
    words = re.findall(r"\w+", text)

    def find(phrase: Any) -> list[Any]:
        named = [
            w.removesuffix("s") if w not in ("cross",) else w
            for w in phrase.replace("crosses", "cross").split()
        ]
        return [
            i for i in items if all(w in (i.shape, i.color, i.size) or w == "object" for w in named)
        ]

    def one(phrase: Any) -> Any:
        (item,) = find(phrase)
        return item

    if m := re.fullmatch(r"What (color|shape|size) is the (.+)\?", text):
        result: str = getattr(one(m[2]), m[1])
        return result
    if m := re.fullmatch(r"Is there an? (.+)\?", text):
        return "yes" if find(m[1]) else "no"
    if m := re.fullmatch(r"How many (.+) are there\?", text):
        return str(len(find(m[1])))
    if m := re.fullmatch(r"Is the (.+) the same (color|shape) as the (.+)\?", text):
        return "yes" if getattr(one(m[1]), m[2]) == getattr(one(m[3]), m[2]) else "no"
    if m := re.fullmatch(r"Are there more (.+) than (.+)\?", text):
        return "yes" if len(find(m[1])) > len(find(m[2])) else "no"
    m = re.fullmatch(r"Is the (.+) (left of|right of|above|below) the (.+)\?", text)
    assert m, words
    a, b = one(m[1]), one(m[3])
    holds = {"left of": a.x < b.x, "right of": a.x > b.x, "above": a.y < b.y, "below": a.y > b.y}
    return "yes" if holds[m[2]] else "no"


def test_every_answer_follows_from_the_objects() -> None:
    for index in range(3000):
        scene = plan("test", index)
        assert answer_from_objects(scene) == scene.answer, scene


@pytest.mark.slow
def test_answers_are_balanced_within_each_family() -> None:
    for family in FAMILIES:
        counts = Counter(plan("train", i, families=(family,)).answer for i in range(1500))
        assert max(counts.values()) / 1500 < 1.3 / len(counts), (family, counts)


def test_the_same_number_gives_the_same_bytes_and_splits_differ() -> None:
    first, again, other = make("test", 5), make("test", 5), make("train", 5)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.image.tobytes() != other.image.tobytes()
    digest = hashlib.sha256(b"".join(make("test", i).image.tobytes() for i in range(3))).hexdigest()
    assert (
        digest == hashlib.sha256(b"".join(e.image.tobytes() for e in Scenes("test", 3))).hexdigest()
    )


@pytest.mark.parametrize(
    ("name", "stem"), [("scenes", "scenes/test/0"), ("easy-vqa", "easy-vqa/test")]
)
def test_examples_by_number_and_by_slice(name: str, stem: str) -> None:
    data = vx.load_dataset(name)
    assert [e.id for e in data[:3]] == [f"{stem}/{i}" for i in range(3)]
    assert [e.id for e in data[-2:]] == [f"{stem}/{len(data) - i}" for i in (2, 1)]
    assert data[-1].id == data[len(data) - 1].id
    with pytest.raises(IndexError, match=f"there are {len(data)} examples, no number {len(data)}"):
        data[len(data)]


def test_masks_and_spans() -> None:
    kinds = {e.family for e in Scenes("test", 300)}
    assert kinds == set(FAMILIES)
    for example in Scenes("test", 300):
        assert example.masks is not None
        assert example.question is not None
        assert 1 <= len(example.masks) <= 5
        assert example.masks.sum(0).max() == 1, "objects overlap"
        assert all(mask.sum() > 30 for mask in example.masks)
        assert example.about
        assert all(0 <= i < len(example.masks) for i in example.about)
        assert all(
            example.question[a:b].strip() == example.question[a:b] != ""
            for a, b in example.decisive
        )


def test_an_object_has_its_colour_inside_its_mask() -> None:
    for index in range(60):
        scene, example = plan("test", index), make("test", index)
        assert example.masks is not None
        for item, mask in zip(scene.items, example.masks, strict=True):
            inside = np.median(example.image[mask].astype(float), axis=0)
            distances = {name: np.abs(inside - rgb).sum() for name, rgb in scenes.COLORS.items()}
            assert min(distances, key=lambda name: distances[name]) == item.color


def test_unknown_splits_and_families_are_named() -> None:
    with pytest.raises(vx.InvalidInput, match="did you mean 'train'"):
        Scenes("trian")
    with pytest.raises(vx.InvalidInput, match="family"):
        Scenes(families=("colour",))
