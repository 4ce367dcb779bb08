"""Explanations of several inputs, built by hand: pictures, chats, tables, frames of a video."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vqa_explain.cost import Cost
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import (
    ColumnValue,
    JointValues,
    Part,
    PicturePart,
    RegionValue,
    TablePart,
    TextPart,
    WordValue,
)
from vqa_explain.target import Answer


def picture(
    name: str, seed: int, grid: int = 4, size: tuple[int, int] = (80, 120), fixed: bool = False
) -> PicturePart:
    """A picture of `size` (height, width) divided into grid × grid regions;
    no regions where it is fixed.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.arange(height) * grid // height, np.arange(width) * grid // width
    labels = (rows[:, None] * grid + columns).astype(np.int32)
    pixels = np.full((height, width, 3), 40 + 30 * seed % 150, dtype=np.uint8)
    pixels[height // 4 : height // 2, width // 3 : width // 2] = rng.integers(0, 255, 3)
    pixels[:, :, 1] = np.linspace(60, 200, width).astype(np.uint8)
    if fixed:
        empty = np.full(labels.shape, -1, dtype=np.int32)
        return PicturePart(
            name=name, fixed=True, picture=pixels, image=np.zeros(size), labels=empty
        )
    values = rng.normal(size=grid * grid)
    regions = []
    for number, value in enumerate(values):
        down, right = np.nonzero(labels == number)
        box = (int(right.min()), int(down.min()), int(right.max()) + 1, int(down.max()) + 1)
        regions.append(RegionValue(box, float(value), 0.05))
    areas = np.bincount(labels.ravel())
    return PicturePart(
        name=name,
        picture=pixels,
        image=(values / areas)[labels],
        labels=labels,
        regions=tuple(regions),
    )


def text(name: str, source: str, seed: int = 0, fixed: bool = False) -> TextPart:
    """A text whose blanks divide it into words; no words where it is fixed."""
    if fixed:
        return TextPart(name=name, source=source, fixed=True)
    rng = np.random.default_rng(seed)
    words, at = [], 0
    for word in source.split():
        at = source.index(word, at)
        words.append(WordValue(word, at, at + len(word), float(rng.normal()), 0.04))
        at += len(word)
    return TextPart(name=name, source=source, words=tuple(words))


def table(name: str = "patient", fixed: bool = False) -> TablePart:
    """A row of four columns."""
    held = {"age": ("63", 1.4), "sex": ("female", -0.2), "blood pressure": ("142 mmHg", -0.9)}
    columns = tuple(ColumnValue(key, *value, 0.07) for key, value in held.items())
    columns += (ColumnValue("height + weight", "170 cm, 81 kg", 0.35, 0.3),)
    return TablePart(name=name, columns=() if fixed else columns, fixed=fixed)


def explanation(*parts: Part, pairs: Sequence[tuple[str, str]] = (), **more: Any) -> Explanation:
    """An explanation of these parts, with interactions of the named pairs of inputs."""
    by_name = {part.name: part for part in parts}
    sizes = {part.name: float(np.abs(part.values).sum()) for part in parts if not part.fixed}
    joint = []
    for number, (first, second) in enumerate(pairs):
        shape = len(by_name[first].players), len(by_name[second].players)
        values = np.random.default_rng(50 + number).normal(size=shape)
        joint.append(JointValues(first, second, values, np.full(shape, 0.2)))
    whole = sum(sizes.values())
    given: dict[str, Any] = {
        "answers": (Answer("red", 0.75, 0), Answer("blue", 0.25, 1)),
        "target": "red",
        "contrast": None,
        "score": "logit",
        "parts": parts,
        "share": {name: size / whole for name, size in sizes.items()},
        "error": 0.05,
        "error_kind": "largest standard error",
        "cost": Cost(300, 0, 0.5),
        "method": "shapley",
        "parameters": {"budget": 300},
        "provenance": {"model": "made", "seed": 0},
        "joint": tuple(joint),
        "unit": "points",
    }
    return Explanation(**{**given, **more})


def two_pictures() -> Explanation:
    first, second = picture("image 1", 1), picture("image 2", 2, grid=3, size=(100, 70))
    pairs = [("question", "image 1"), ("question", "image 2"), ("image 2", "image 1")]
    return explanation(first, second, text("question", "Which picture is older?", 3), pairs=pairs)


def chat() -> Explanation:
    fixed = "fixed, so without values: system, user 1, image 1, assistant 1; players= says which inputs have values"
    return explanation(
        text("system", "You are a careful assistant. Answer in one word.", fixed=True),
        picture("image 1", 5, fixed=True),
        text("user 1", "What color is the square?", fixed=True),
        text("assistant 1", "Green.", fixed=True),
        picture("image 2", 6),
        text("question", "And what color is this one?", 7),
        notes=(fixed,),
    )


def table_and_picture() -> Explanation:
    return explanation(picture("scan", 8), table(), pairs=[("patient", "scan")])


def table_alone() -> Explanation:
    return explanation(table())


def text_alone() -> Explanation:
    return explanation(text("review", "A dull story, but the actors are wonderful.", 9))


def two_texts() -> Explanation:
    premise = text("premise", "A man plays the guitar on a stage.", 10)
    return explanation(premise, text("hypothesis", "Nobody is making music.", 11))


def frames() -> Explanation:
    parts = [picture(f"video frame {i}", 20 + i, grid=2) for i in (1, 2, 3, 4)]
    return explanation(*parts, text("question", "What happens?", 12))


CASES: dict[str, Callable[[], Explanation]] = {
    "two pictures": two_pictures,
    "chat": chat,
    "table and picture": table_and_picture,
    "table alone": table_alone,
    "text alone": text_alone,
    "two texts": two_texts,
    "frames": frames,
}
