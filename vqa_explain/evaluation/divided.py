"""How the inputs of every example of a run are divided, as plain values that a plan keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from numbers import Integral
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput
from vqa_explain.features.regions import Boxes
from vqa_explain.game import Blocks

DIVIDED = ("regions", "words", "columns")
# What stands for a mapping by input, and for objects. No input is called so by accident.
BY_INPUT, BLOCKS, BOXES = "$inputs", "$blocks", "$boxes"


def plain(what: str, division: Any) -> Any:
    """A division as JSON has it; `divided` gives it back.

    Args:
        what: the name of the argument, for errors.
        division: as `explain` takes it.

    Raises:
        InvalidInput: it belongs to one picture, as labels of pixels do, or is none.
    """
    if isinstance(division, Mapping):
        return {BY_INPUT: {str(name): plain(what, one) for name, one in division.items()}}
    if isinstance(division, Blocks):
        return {BLOCKS: {"frames": int(division.frames), "regions": plain(what, division.regions)}}
    if isinstance(division, Boxes):
        boxes = np.asarray(division.boxes, dtype=float).tolist()
        return {BOXES: {**asdict(division), "boxes": boxes}}
    if division is None or isinstance(division, str):
        return division
    if isinstance(division, Integral) and not isinstance(division, bool):
        return int(division)
    if isinstance(division, Sequence) and not isinstance(division, bytes):
        return [plain(what, one) for one in division]
    raise InvalidInput(
        f"{what}= of an evaluation is one way for all examples, such as 4, (6, 8), 'slic:50', "
        f"Boxes, Blocks or a mapping by input, and not of type {type(division).__name__}"
    )


def divided(value: Any) -> Any:
    """The division of a plain value.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, list):
        return tuple(divided(one) for one in value)
    if not isinstance(value, dict):
        if value is None or isinstance(value, str | int):
            return value
        raise ValueError(f"{value!r} is no division")
    if len(value) != 1:
        raise ValueError(f"a division has one kind, and this has {len(value)}")
    ((kind, inner),) = value.items()
    if not isinstance(inner, dict):
        raise ValueError(f"{inner!r} is no division")
    if kind == BY_INPUT:
        return {name: divided(one) for name, one in inner.items()}
    if kind == BLOCKS and inner.keys() == {"frames", "regions"}:
        return Blocks(inner["frames"], divided(inner["regions"]))
    if kind == BOXES and inner.keys() == {"boxes", "rest", "overlap"}:
        return Boxes(inner["boxes"], inner["rest"], inner["overlap"])
    raise ValueError(f"{kind!r} is no kind of division")
