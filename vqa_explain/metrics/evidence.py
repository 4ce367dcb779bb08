"""What an answer stands on: metrics of the smallest set of parts that keeps it alone.

The set is that of `vx.evidence`: of each input, the fill is the first under which the answer does
not stay where this input alone is absent. All metrics of an example share one search.
"""

from dataclasses import dataclass

import numpy as np

from vqa_explain.errors import Unsupported
from vqa_explain.features.image import ImageFeature
from vqa_explain.metrics.base import (
    HIGHER,
    NEITHER,
    Case,
    Noted,
    NotMeasured,
    register_metric,
)
from vqa_explain.metrics.localization import truth_of_pixels
from vqa_explain.searching import Evidence, EvidenceSet, evidence_of_answer

DRAWS = 200  # surroundings in which a precision is measured


def _evidence(case: Case) -> tuple[Evidence, EvidenceSet]:
    """The evidence for the answer, and its smallest set.

    Raises:
        NotMeasured: it cannot be searched, or no set keeps the answer.
    """
    if case.evidence is None:
        task = case.task
        try:
            case.evidence = evidence_of_answer(
                task.model, task.encoded, task.players, case.best[0], draws=DRAWS, seed=task.seed
            )
        except Unsupported as why:
            raise NotMeasured(str(why)) from why
    found: Evidence = case.evidence
    if not found.keep:
        raise NotMeasured("the search found no set that keeps the answer")
    return found, found.keep[0]


@register_metric(
    "evidence_size",
    source="Ribeiro et al. 2018, AAAI; ours",
    better=NEITHER,
    range="0 …",
    judges="answer",
    needs={"choice"},
)
@dataclass(frozen=True)
class EvidenceSize:
    """How many words and regions are in the smallest set that keeps the answer alone, where all
    else is absent; 0 where the answer stays with everything absent.
    """

    def __call__(self, case: Case) -> Noted:
        found, one = _evidence(case)
        return Noted(len(one), found.sentence(one))


@register_metric(
    "evidence_precision",
    source="Ribeiro et al. 2018, AAAI, equation 1",
    better=HIGHER,
    range="0 … 1",
    judges="answer",
    needs={"choice"},
)
@dataclass(frozen=True)
class EvidencePrecision:
    """In what share of random surroundings the smallest set keeps the answer: others are present
    with probability ½, in 200 draws.
    """

    def __call__(self, case: Case) -> Noted:
        _, one = _evidence(case)
        return Noted(one.precision.mean, one.often)


@register_metric(
    "evidence_overlap",
    source="after Arras et al. 2022, equation 3",
    better=HIGHER,
    range="0 … 1",
    judges="answer",
    needs={"truth", "picture", "choice"},
)
@dataclass(frozen=True)
class EvidenceOverlap:
    """The share of the area of the smallest set's regions that lies in the true region.

    Left out where the set has no region.
    """

    def __call__(self, case: Case) -> float:
        found, one = _evidence(case)
        picture = case.pictures[0]
        numbers = one.members[picture.name]
        if not numbers:
            raise NotMeasured("the smallest set that keeps the answer has no region")
        part = found.part(picture.name)
        inside = np.isin(part.arrays()["labels"], numbers)
        truth = truth_of_pixels(case, inside.shape)
        return float(truth[inside].mean()) if inside.any() else 0.0


@register_metric(
    "without_regions",
    source="after Goyal et al. 2017, section 4",
    better=NEITHER,
    range="0 … 1",
    judges="answer",
    needs={"picture", "question", "choice"},
)
@dataclass(frozen=True)
class WithoutRegions:
    """1 where the smallest set that keeps the answer holds no region of a picture: it stands on
    words alone, or on nothing. The note says the set, such as “any” alone keeps “yes”.
    """

    def __call__(self, case: Case) -> Noted:
        found, one = _evidence(case)
        kinds = {part.name: part.kind for part in found.parts}
        shown = [name for name, numbers in one.members.items() if numbers]
        seen = any(kinds[name] == ImageFeature.kind for name in shown)
        return Noted(0.0 if seen else 1.0, found.sentence(one))
