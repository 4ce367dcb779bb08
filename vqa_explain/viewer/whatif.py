"""What a model answers when words or regions are taken away, or the question is another.

A what-if is asked about one explanation: its example, its fills, its target and its seed. Anything else would measure
another game than the one whose values are shown next to the measurement.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.explaining import at_token
from vqa_explain.explanation import Explanation
from vqa_explain.features.regions import Regions, numbered
from vqa_explain.game import make_players
from vqa_explain.methods.base import BASELINES
from vqa_explain.models.base import Model, OpenModel, answers, best_answers
from vqa_explain.models.encoded import Encoded
from vqa_explain.precision import in_float64
from vqa_explain.target import Target, find_answer

TOP = 5


@dataclass(frozen=True, eq=False)
class _Absence:
    """Which regions and tokens are away, in the model's own terms, and what stands in their place."""

    division: Regions
    shown: Tensor  # (2, R) bool: everything, then without the regions
    said: Tensor  # (2, T) bool: everything, then without the words
    fills: dict[str, str]


def changed(
    model: Model,
    example: Example,
    explanation: Explanation,
    words: list[int],
    regions: list[int],
    divided: Any = None,
) -> dict[str, Any]:
    """Answers without these words and regions, and how the explained score moved.

    Args:
        model, example: what was explained.
        explanation: whose target, contrast, score, fills and seed are used; of several baselines, the mean is given.
        words, regions: numbers of what is taken away.
        divided: how the picture was divided, as `explain` takes it.

    Returns:
        "answers"; "change" of the explained score, named by "score"; "predicted", what the values predict, or `None`
        where they are no points; "fills", what stood for absent parts, in words.

    Raises:
        InvalidInput: the example, or a region, is not the explanation's.
    """
    encoded = _encoded(model, example, explanation)
    target = _target(model, encoded, explanation)
    scored = _scored(model, encoded, explanation, target)
    seed = int(explanation.provenance.get("seed", 0))
    changes, after_all, used = [], [], []

    def scores(of: Encoded, away: _Absence) -> Tensor:
        """(2, K) with everything, and without what is away."""
        found = model.coalition_scores(of, away.division, away.shown, away.said, away.fills, seed)
        return in_float64(found)

    for fills in explained_fills(model, explanation):
        away = _absence(model, encoded, explanation, words, regions, fills, divided)
        with torch.no_grad():
            whole = scores(encoded, away)
            explained = whole if scored is encoded else scores(scored, away)
        before, after = target(explained).tolist()
        changes.append(after - before)
        after_all.append(whole[1])
        used.append(away.fills)
    # Several fills or baselines are one game of their mean.
    best = best_answers(model.kind, encoded, torch.stack(after_all).mean(dim=0)[None], TOP)
    return {
        "answers": [asdict(answer) for answer in best],
        "change": float(np.mean(changes)),
        "predicted": _predicted(explanation, words, regions),
        "fills": _fills_text(used),
        "score": explanation.explained,
    }


def asked(model: Model, example: Example, question: str) -> dict[str, Any]:
    """Answers to another question about the same picture."""
    encoded = _encoded(model, replace(example, question=question), None)
    found = answers(model, encoded, TOP)
    return {"answers": [asdict(answer) for answer in found], "change": None}


def explained_fills(model: Model, explanation: Explanation) -> list[dict[str, str]]:
    """Feature → fill, for each fill or baseline that the explanation stands on."""
    known = {feature.name: feature for feature in model.features}
    chosen = explanation.parameters
    baseline = chosen.get("image_baseline")
    images = chosen.get("image_fill", baseline)
    if images == "any":
        images = [name for name in BASELINES if name in known["image"].fills]
    several = list(images) if isinstance(images, list | tuple) else [images]
    fills = []
    for image in several:
        one = {"image": image or known["image"].default_fill}
        if "image_baseline" in chosen and one["image"] == "drop":
            # A path cannot start at patches that are not there: adapters take their first fill that is a picture.
            one["image"] = next(name for name in known["image"].fills if name in BASELINES)
        if "text" in known:
            text = chosen.get("text_fill", chosen.get("text_baseline"))
            one["text"] = text or known["text"].default_fill
        fills.append(one)
    return fills


def _absence(
    model: Model,
    encoded: Encoded,
    explanation: Explanation,
    words: list[int],
    regions: list[int],
    fills: dict[str, str],
    divided: Any,
) -> _Absence:
    """The explanation's words and regions as the model's tokens and frame.

    Raises:
        InvalidInput: the example's tokens or the division are not the explanation's.
    """
    if len(encoded.tokens) != len(explanation.tokens):
        raise InvalidInput(
            "the explanation is of another question than this example; choose the example again"
        )
    division, numbers = _division(encoded, explanation, fills["image"], divided)
    lost = sorted(set(regions) - set(numbers.tolist()))
    if lost:
        raise InvalidInput(
            f"region {lost[0]} is smaller than a pixel of the model's frame; choose larger regions"
        )
    if fills["image"] == "drop":
        whole_patches = _snapped(division, encoded)
        # What is smaller than patches cannot leave the sequence; the answer says the fill.
        if whole_patches is None:
            fills = {**fills, "image": "blur"}
        division = whole_patches or division
    shown = torch.ones(2, division.count, dtype=torch.bool, device=model.device)
    shown[1] = torch.from_numpy(~np.isin(numbers, regions)).to(model.device)
    said = torch.ones(2, len(encoded.tokens), dtype=torch.bool, device=model.device)
    gone = [t for t, token in enumerate(explanation.tokens) if token.word in words]
    said[1, gone] = False
    return _Absence(division, shown, said, fills)


def _division(
    encoded: Encoded, explanation: Explanation, fill: str, divided: Any
) -> tuple[Regions, np.ndarray]:
    """The division that was explained, and the explanation's number of each of its regions.

    The one that was asked for, where it shows the explanation's labels; else these carried to the frame, which may
    move a border by a pixel.
    """
    own = make_players(encoded, divided).regions
    whole_patches = _snapped(own, encoded) if fill == "drop" else None
    for division in (own,) if whole_patches is None else (whole_patches, own):
        same = division.count == len(explanation.regions)
        if same and np.array_equal(
            encoded.geometry.labels_to_original(division.labels), explanation.labels
        ):
            return division, np.arange(division.count)
    labels = encoded.geometry.labels_to_frame(explanation.labels)
    seen = labels >= 0
    return numbered(labels, seen), np.unique(labels[seen])


def _snapped(division: Regions, encoded: Encoded) -> Regions | None:
    """The division in whole patches, or `None` where a region would have none."""
    try:
        return division.snapped(encoded.grid)
    except InvalidInput:
        return None


def _target(model: Model, encoded: Encoded, explanation: Explanation) -> Target:
    """The explained score. Label numbers tell two labels of one text apart; candidates are known by their text."""

    def number(text: str, index: int | None) -> int:
        if model.labels is None:
            return encoded.labels.index(text)
        return find_answer(encoded.labels, text) if index is None else index

    contrast = None
    if explanation.contrast is not None:
        contrast = number(explanation.contrast, explanation.contrast_index)
    index = number(explanation.target, explanation.target_index)
    return Target(index, contrast, explanation.score, kind=model.kind)


def _scored(model: Model, encoded: Encoded, explanation: Explanation, target: Target) -> Encoded:
    """The example as the explanation scores it: answers at one token, where that was explained."""
    written = explanation.written
    if written is None or written.token is None:
        return encoded
    return at_token(cast(OpenModel, model), encoded, [target], written.token)


def _predicted(explanation: Explanation, words: list[int], regions: list[int]) -> float | None:
    """What the values foretell for the score; `None` where they do not add up to it."""
    # A polynomial's linear part alone foretells nothing: its pairs change the score too, and not all are kept.
    partial = explanation.parameters.get("index") == "fsii"
    if not explanation.values_unit.adds_up or partial:
        return None
    values = [explanation.words[i].value for i in words] + [
        explanation.regions[i].value for i in regions
    ]
    return -float(sum(values))


def _fills_text(used: list[dict[str, str]]) -> str:
    """Such as "regions: blur; words: mask"; of several fills, that the mean over them is given."""
    called = {"image": "regions", "text": "words"}
    parts = []
    for feature in used[0]:
        names = list(dict.fromkeys(fills[feature] for fills in used))
        mean = f"mean over {', '.join(names)}" if len(names) > 1 else names[0]
        parts.append(f"{called.get(feature, feature)}: {mean}")
    return "; ".join(parts)


def _encoded(model: Model, example: Example, explanation: Explanation | None) -> Encoded:
    """The example, with candidates where the model has no answers of its own: the explained ones are among them."""
    encoded = model.encode(example)
    if model.labels is not None:
        return encoded
    model = cast(OpenModel, model)
    if explanation is None:
        return model.with_answers(encoded, list(model.generate(encoded)))
    named = [text for text in (explanation.target, explanation.contrast) if text is not None]
    texts = list(dict.fromkeys([*(a.text for a in explanation.answers), *named]))
    known = {} if explanation.written is None else explanation.written.tokens
    return model.with_answers(encoded, texts, known=known)
