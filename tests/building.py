"""Explanations and coalitions built by hand, of one picture and perhaps one question."""

import dataclasses
from typing import Any

import numpy as np
from torch import Tensor

from vqa_explain.explanation import Explanation
from vqa_explain.features.base import Division, Present
from vqa_explain.features.parts import JointValues, Part, PicturePart, TextPart
from vqa_explain.models.encoded import Encoded


def present(encoded: Encoded, regions: Division, shown: Tensor, said: Tensor) -> dict[str, Present]:
    """Coalitions as a model takes them.

    Args:
        encoded: the example.
        regions: the division of its picture, or of each frame of its video.
        shown: (N, R) bool, the regions present.
        said: (N, T) bool, the tokens present.
    """
    found = {one.name: Present(regions, shown) for one in encoded.pictures}
    if encoded.tokens:
        count = len(encoded.tokens)
        found["question"] = Present(Division(np.arange(count), count), said)
    return found


def explanation(
    *,
    question: str | None,
    image: np.ndarray,
    picture: np.ndarray,
    labels: np.ndarray,
    regions: tuple[Any, ...],
    words: tuple[Any, ...] = (),
    tokens: tuple[Any, ...] = (),
    padding: float = 0.0,
    interactions: np.ndarray | None = None,
    interaction_errors: np.ndarray | None = None,
    **more: Any,
) -> Explanation:
    """An explanation of a picture and perhaps a question, of these values."""
    parts: list[Part] = [
        PicturePart(
            name="image",
            picture=picture,
            image=image,
            labels=labels,
            regions=regions,
            padding=padding,
        )
    ]
    if question is not None:
        parts.append(TextPart(name="question", source=question, words=words, tokens=tokens))
    joint: tuple[JointValues, ...] = ()
    if interactions is not None:
        joint = (JointValues("question", "image", interactions, interaction_errors),)
    return Explanation(parts=tuple(parts), joint=joint, **more)


PICTURE = ("image", "picture", "labels", "regions", "padding")
TEXT = {"question": "source", "words": "words", "tokens": "tokens"}


def replaced(why: Explanation, **changes: Any) -> Explanation:
    """The explanation with other values; those of its picture and question are named as the
    short forms are.
    """
    picture = {name: changes.pop(name) for name in PICTURE if name in changes}
    text = {TEXT[name]: changes.pop(name) for name in tuple(TEXT) if name in changes}
    if "interactions" in changes or "interaction_errors" in changes:
        values = changes.pop("interactions", why.interactions)
        errors = changes.pop("interaction_errors", why.interaction_errors)
        changes["joint"] = (
            () if values is None else (JointValues("question", "image", values, errors),)
        )
    of_kind = {PicturePart: picture, TextPart: text}
    parts = tuple(dataclasses.replace(part, **of_kind.get(type(part), {})) for part in why.parts)
    return dataclasses.replace(why, **{"parts": parts, **changes})


def summary_of_format_1(why: Explanation) -> dict[str, Any]:
    """What a file of format 1 said of an explanation, besides its arrays."""
    summary = why.summary()
    parts = {part["kind"]: part for part in summary.pop("parts")}
    summary.pop("joint")
    text = parts.get("text", {"source": None, "words": [], "tokens": []})
    share = {{"question": "text"}.get(k, k): v for k, v in summary["share"].items()}
    return {
        **{k: v for k, v in summary.items() if k != "by_player"},
        "question": text["source"],
        "words": text["words"],
        "tokens": text["tokens"],
        "regions": parts["image"]["regions"],
        "padding": parts["image"]["padding"],
        "share": share,
        "by_region": summary["by_player"],
    }
