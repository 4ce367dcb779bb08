"""Examples that every family of models takes, on the checkpoints of `checkpoints`."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from checkpoints import MAKERS

import vqa_explain as vx

QUESTION = "What color is the circle?"
BOXES = np.array(
    [[0, 0, 30, 30], [20, 20, 60, 60], [10, 10, 15, 15], [50, 0, 90, 40], [0, 40, 90, 60]]
)

OF_BOXES = ("lxmert", "visual bert")  # families that see the boxes of a detector


def example_for(model: Any, picture: Any, question: str = QUESTION) -> vx.Example:
    """The example that a model takes, with boxes for one that sees them."""
    if len(model.features) == 1:
        return vx.Example(picture)
    if model.family in OF_BOXES:
        features = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
        return vx.Example(picture, question, features=features, boxes=BOXES)
    return vx.Example(picture, question)


def encoded_for(
    model: Any, picture: Any, question: str = QUESTION, answers: Any = ("yes", "no", "red circle")
) -> Any:
    """The encoded example, with candidates for a model that has none of its own."""
    encoded = model.encode(example_for(model, picture, question))
    return encoded if model.labels is not None else model.with_answers(encoded, answers)


# One family of each kind: an encoder of both, a contrastive one, a generative one, the user's own.
FAST = ("vilt", "clip", "llava", "custom")


def on_all(family_names: Iterable[str] = (*MAKERS, "custom")) -> pytest.MarkDecorator:
    """A test of these families, of which the fast loop takes those of `FAST`."""
    cases = [
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
        for name in family_names
    ]
    return pytest.mark.parametrize("family", cases)
