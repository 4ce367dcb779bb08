"""One example as a model reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqa_explain.examples import Example
from vqa_explain.features.geometry import Geometry
from vqa_explain.features.text import Token
from vqa_explain.features.words import Word
from vqa_explain.models.candidates import Candidates


@dataclass(frozen=True, eq=False)
class Encoded:
    """One example, read once for one model.

    Attributes:
        example: what was encoded.
        picture: (H, W, 3) uint8, the original picture.
        pixels: (1, 3, H', W') what the model sees.
        geometry: where the frame lies in the picture.
        grid: (rows, columns) of the model's own division of the frame.
        ids: (1, T) token numbers; empty for a classifier.
        tokens, words: the question as the model and as people read it.
        labels: the K answers that the model scores for this example, in order.
        state: what else the adapter needs of the example.
        refusals: capability → why the model lacks it for this example, where that was measured.
        candidates: the answers with their tokens, of a model whose answers are any texts.
    """

    example: Example
    picture: np.ndarray
    pixels: Tensor
    geometry: Geometry
    grid: tuple[int, int]
    ids: Tensor = field(default_factory=lambda: torch.zeros(1, 0, dtype=torch.long))
    tokens: tuple[Token, ...] = ()
    words: tuple[Word, ...] = ()
    labels: tuple[str, ...] = ()
    state: Any = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    candidates: Candidates | None = None


def candidates_of(encoded: Encoded) -> Candidates:
    """The candidates of an example that has them (see `OpenModel.with_answers`)."""
    assert encoded.candidates is not None, "with_answers comes first"
    return encoded.candidates
