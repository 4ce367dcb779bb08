"""EMAP: how much of the accuracy needs words and picture together (Hessel & Lee 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from vqa_explain._memory import HalvingBatches
from vqa_explain._precision import in_float64
from vqa_explain.examples import Example
from vqa_explain.features.image import ImageFeature
from vqa_explain.metrics.base import NEITHER, register_metric
from vqa_explain.models.base import Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.registry import parameter

AT_ONCE = 32  # examples in a batch


def stacked_scores(model: Model, encoded: Sequence[Encoded]) -> np.ndarray:
    """(N, K) scores of whole examples, those of one shape in batches.

    Examples go together where pictures and questions have one shape and the adapter keeps nothing
    else of them.
    """
    groups: dict[object, list[int]] = {}
    for number, one in enumerate(encoded):
        alone = number if one.state is not None else None
        shapes = tuple(leaf.shape for leaf in model.leaves(one).values())
        groups.setdefault((shapes, alone), []).append(number)
    found: dict[int, np.ndarray] = {}
    fitting = HalvingBatches(model, AT_ONCE)

    def scored(numbers: list[int], rows: slice) -> dict[int, np.ndarray]:
        part = numbers[rows]
        leaves = [model.leaves(encoded[number]) for number in part]
        together = {name: torch.cat([leaf[name] for leaf in leaves]) for name in leaves[0]}
        return dict(
            zip(part, in_float64(model.scores(encoded[part[0]], together)).numpy(), strict=True)
        )

    with torch.no_grad():
        for numbers in groups.values():
            for scores in fitting.parts(len(numbers), partial(scored, numbers)):
                found.update(scores)
    return np.stack([found[number] for number in range(len(encoded))])


def row_of_grid(model: Model, question: Example, pictures: Sequence[Encoded]) -> np.ndarray:
    """(N, K) the scores of one example's question, and of all else but its pictures,
    with every example's pictures.
    """
    first = model.encode(question)
    if first.state is not None:  # what the adapter keeps may hang on the picture
        own = {one.name: one.value for one in question.given if one.kind != ImageFeature.kind}
        return stacked_scores(model, [model.encode(p.example.changed(own)) for p in pictures])
    return stacked_scores(model, [_with_pictures(first, p) for p in pictures])


def _with_pictures(question: Encoded, other: Encoded) -> Encoded:
    """An example with another one's pictures."""
    mine = {one.name: one for one in other.inputs if one.kind == ImageFeature.kind}
    return replace(question, inputs=tuple(mine.get(one.name, one) for one in question.inputs))


@register_metric(
    "emap",
    source="Hessel & Lee 2020, equation 2",
    better=NEITHER,
    range="0 … 1",
    judges="data set",
    needs={"answer", "choice", "labels", "picture", "question"},
)
@dataclass(frozen=True)
class Emap:
    """Accuracy of the best additive projection of the model's scores, f̂(t, i) = mean f(t, ·) +
    mean f(·, i) − mean f.

    Hessel & Lee 2020, equation 2, over the grid of the first `count` questions and pictures. Rows
    without a true answer are no part of the grid. Where it reaches the model's own accuracy, words
    and picture need not be put together for it.
    """

    count: int = parameter(
        100, "questions and pictures; the cost grows with its square", low=2, high=2000
    )


@dataclass(frozen=True)
class Additive:
    """Accuracies over a grid of questions × pictures: of the model, and of its best additive
    projection.

    Attributes:
        count: how many questions and pictures.
        accuracy: of the model on the pairs that belong together.
        emap: of the projection f̂(t, i) = mean_i' f(t, i') + mean_t' f(t', i) − mean f (their
            equation 2).
    """

    count: int
    accuracy: float
    emap: float

    @property
    def gap(self) -> float:
        """What only words and picture together bring."""
        return self.accuracy - self.emap


def project(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(N, K) the additive projection of the pairs that belong together.

    Args:
        rows: (N, K) each question's mean over pictures.
        columns: (N, K) each picture's mean over questions.
    """
    result: np.ndarray = rows + columns - rows.mean(axis=0)
    return result


def additive(
    diagonal: np.ndarray, rows: np.ndarray, columns: np.ndarray, credits: np.ndarray
) -> Additive:
    """The accuracies, given what each answer is worth for each pair.

    Args:
        diagonal: (N, K) scores of the pairs that belong together.
        rows, columns: see `project`.
        credits: (N, K) 1 where an answer is right, else 0.
    """

    def accuracy(scores: np.ndarray) -> float:
        return float(credits[np.arange(len(credits)), scores.argmax(axis=1)].mean())

    return Additive(len(credits), accuracy(diagonal), accuracy(project(rows, columns)))
