"""How good are the answers, and do they need the picture and the question?"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from vqa_explain.errors import Unsupported
from vqa_explain.examples import read_image
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.text import TextFeature
from vqa_explain.game import Game
from vqa_explain.metrics.base import (
    HIGHER,
    NEITHER,
    Case,
    Noted,
    NotMeasured,
    credits_of,
    register_metric,
)
from vqa_explain.metrics.official import credit, vqa_score
from vqa_explain.models.base import Model, OpenModel, check_fills, check_finite
from vqa_explain.registry import parameter

PEOPLE = 10  # whose answers the official accuracy is made for
GRAY = 127  # of 255


@register_metric(
    "accuracy",
    source="–",
    better=HIGHER,
    range="0 … 1",
    judges="answer",
    needs={"answer", "choice"},
)
@dataclass(frozen=True)
class Accuracy:
    """1 where the model's best answer is the true one, without regard to case, else 0.

    Where only several people's answers are known, the true one is what most of them gave; of
    several that equally many gave, each counts. What part of the people agrees is `vqa_accuracy`.
    """

    def __call__(self, case: Case) -> float:
        return credits_of(case.task.model, case.task.encoded)[case.best[0].index]


@register_metric(
    "vqa_accuracy",
    source="Antol et al. 2015",
    better=HIGHER,
    range="0 … 1",
    judges="answer",
    needs={"answer", "choice"},
)
@dataclass(frozen=True)
class VQAAccuracy:
    """The official accuracy against what several people answered: the mean of min(matches / 3, 1)
    over nine of ten.

    It is made for ten people. With fewer, one that agrees with the model is often worth less than
    1, which the report notes. An example with one true answer counts as one person's.
    """

    def __call__(self, case: Case) -> float | Noted:
        example = case.example
        given = example.answers or (str(example.answer),)
        value = vqa_score(case.best[0].text, given)
        if len(given) >= PEOPLE:
            return value
        return Noted(value, f"there are fewer than {PEOPLE} people's answers")


# Fills under which an absent picture shows nothing of itself. Not "blur", "mean" or "noise", which
# still show the picture's colors, nor "inpaint", which with everything absent is the mean.
SHOWS_NOTHING = ("constant", "drop")


def hiding_fill(model: Model) -> str:
    """The fill that shows nothing of the picture: one color for all pictures, or no boxes at all.

    Raises:
        Unsupported: the model has no such fill.
    """
    feature = next(one for one in model.features if one.kind == ImageFeature.kind)
    # Boxes whose features are constant still say where something is.
    wanted = SHOWS_NOTHING if "pixels" in model.capabilities else SHOWS_NOTHING[::-1]
    found = next((fill for fill in wanted if fill in feature.fills), None)
    if found is None:
        raise Unsupported(
            f"model {model.name!r} has no fill that shows nothing of the picture (it has "
            f"{', '.join(feature.fills)}); leave accuracy_without_image out"
        )
    return found


def _credit_without(case: Case, kind: str, fills: dict[str, str]) -> float:
    """What the model's answer is worth with every player of a kind of input absent.

    Raises:
        NotMeasured: an input of that kind is fixed, so that it would still be seen.
    """
    task = case.task
    fixed = [one.name for one in task.encoded.inputs if one.kind == kind and one.fixed]
    if fixed:
        raise NotMeasured(f"the example's {', '.join(fixed)} is fixed, and cannot be taken away")
    game = Game(task.model, task.encoded, task.players, fills, task.target, seed=task.seed)
    present = torch.ones(1, len(game), dtype=torch.bool, device=task.model.device)
    present[:, torch.from_numpy(case.players(kind))] = False
    with torch.no_grad():
        scores = game.logits(present)
    check_finite(scores, f"the model's answer without the {kind}")
    return credits_of(task.model, task.encoded)[int(scores[0].argmax())]


def _written_without_image(case: Case) -> str:
    """What a model that writes its answers writes about gray pictures and frames of the same sizes.

    Raises:
        NotMeasured: the example has no picture.
    """
    model = cast(OpenModel, case.task.model)
    gray: dict[str, Any] = {}
    for one in case.example.given:
        if one.kind == ImageFeature.kind:
            gray[one.name] = _gray(one.value)
        elif one.kind == "video":
            gray[one.name] = [_gray(frame) for frame in one.value]
    if not gray:
        raise NotMeasured("the example has no picture")
    return model.generate(model.encode(case.example.changed(gray)))[0]


def _gray(picture: Any) -> np.ndarray:
    """(H, W, 3) a gray picture as large as this one."""
    return np.full_like(read_image(picture), GRAY)


@register_metric(
    "accuracy_without_image",
    source="after Goyal et al. 2017, section 4",
    better=NEITHER,
    range="0 … 1",
    judges="answer",
    needs={"answer", "choice", "picture", "question"},
)
@dataclass(frozen=True)
class AccuracyWithoutImage:
    """1 where the model still answers right without the picture: what the question alone gives
    away.

    Every region is absent under a fill that shows nothing of the picture, whatever fill the other
    metrics use: one color for all pictures ("constant"), or with "drop" no patches or boxes at all.
    A model that writes its answers is asked about a gray picture.
    """

    fill: str | None = parameter(
        None, "what absent regions become (default: what shows nothing)", choices=SHOWS_NOTHING
    )

    def __call__(self, case: Case) -> float:
        model = case.task.model
        if model.labels is None and self.fill is None:
            return credit(case.example, _written_without_image(case))
        if model.labels is None:
            raise Unsupported(
                f"model {model.name!r} writes its answers and is asked about a gray picture; leave "
                "the fill out"
            )
        fill = self.fill or hiding_fill(model)
        pictures = [one for one in case.task.encoded.inputs if one.kind == ImageFeature.kind]
        asked = case.fills | {one.name: fill for one in pictures}
        fills = check_fills(model, asked, case.task.encoded.features)
        return _credit_without(case, ImageFeature.kind, fills)


@register_metric(
    "accuracy_without_question",
    source="after Goyal et al. 2017, section 4",
    better=NEITHER,
    range="0 … 1",
    judges="answer",
    needs={"answer", "choice", "labels", "question"},
)
@dataclass(frozen=True)
class AccuracyWithoutQuestion:
    """1 where the model still answers right with every word absent: what the picture alone gives
    away.

    Under "mask" and "pad" the number of the question's tokens stays to be seen.
    """

    def __call__(self, case: Case) -> float:
        return _credit_without(case, TextFeature.kind, case.fills)


WITHOUT = (AccuracyWithoutImage, AccuracyWithoutQuestion)


def hidden_by(
    metric: AccuracyWithoutImage | AccuracyWithoutQuestion, model: Model, text_fill: str | None
) -> str:
    """What stands for the kind of input that a metric takes away, in words for reports."""
    if isinstance(metric, AccuracyWithoutQuestion):
        texts = [one for one in model.features if one.kind == TextFeature.kind]
        return f"every word absent, fill {text_fill or texts[0].default_fill!r}" if texts else ""
    if not any(one.kind == ImageFeature.kind for one in model.features):
        return ""
    if model.labels is None:
        return "a gray picture in its place"
    return f"every region absent, fill {metric.fill or hiding_fill(model)!r}"
