"""What a model answers when words or regions are taken away, or the question is another."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.features.regions import Regions
from vqa_explain.models.base import Encoded, Model, Target, answers, best_answers, find_answer

TOP = 5


def changed(
    model: Model, example: Example, explanation: Explanation, words: list[int], regions: list[int]
) -> dict[str, Any]:
    """Answers without these words and regions; how the explained score moved, and what the explanation foretold.

    The model's default fills stand for what is absent.
    """
    encoded = _encoded(model, example, explanation)
    labels = encoded.geometry.labels_to_frame(explanation.labels)
    numbers, carried = np.unique(labels, return_inverse=True)
    division = Regions(carried.reshape(labels.shape), len(numbers))
    fills = {feature.name: feature.default_fill for feature in model.features}
    if fills["image"] == "drop":
        try:
            division = division.snapped(encoded.grid)
        except ValueError:  # regions smaller than patches cannot leave the sequence
            fills["image"] = "blur"
    shown = torch.ones(2, division.count, dtype=torch.bool, device=model.device)
    shown[1] = torch.from_numpy(~np.isin(numbers, regions)).to(model.device)
    said = torch.ones(2, len(encoded.tokens), dtype=torch.bool, device=model.device)
    gone = [t for t, token in enumerate(explanation.tokens) if token.word in words]
    said[1, gone] = False
    scores = model.coalition_scores(encoded, division, shown, said, fills, 0).double()
    contrast = None if explanation.contrast is None else find_answer(encoded.labels, explanation.contrast)
    target = Target(find_answer(encoded.labels, explanation.target), contrast, explanation.score, kind=model.kind)
    before, after = target(scores).tolist()
    values = [explanation.words[i].value for i in words] + [explanation.regions[i].value for i in regions]
    best = best_answers(model.kind, encoded.labels, scores[1:], TOP)
    return {
        "answers": [asdict(answer) for answer in best],
        "change": after - before,
        "predicted": -float(sum(values)),
    }


def asked(model: Model, example: Example, question: str) -> dict[str, Any]:
    """Answers to another question about the same picture."""
    encoded = _encoded(model, replace(example, question=question), None)
    found = answers(model, encoded, TOP)
    return {"answers": [asdict(answer) for answer in found], "change": None}


def _encoded(model: Model, example: Example, explanation: Explanation | None) -> Encoded:
    """The example, with candidates where the model has no answers of its own."""
    encoded = model.encode(example)
    if model.labels is not None:
        return encoded
    texts = model.generate(encoded) if explanation is None else [a.text for a in explanation.answers]  # type: ignore[attr-defined]
    return model.with_answers(encoded, texts)  # type: ignore[attr-defined,no-any-return]
