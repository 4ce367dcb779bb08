"""Which modality does an explanation speak of, and how concentrated is it?"""

from dataclasses import dataclass

import numpy as np

from vqa_explain.features.text import TextFeature
from vqa_explain.metrics.base import (
    HIGHER,
    NEITHER,
    Case,
    NotMeasured,
    not_all_zero,
    register_metric,
)


@register_metric(
    "text_share",
    source="Parcalabescu & Frank 2023, equation 3",
    better=NEITHER,
    range="0 … 1",
    needs={"question"},
)
@dataclass(frozen=True)
class TextShare:
    """T-SHAP: Σ|a| over words ÷ Σ|a| over the players of all inputs. Of a picture and a question
    V-SHAP, the image's share, is one less it.

    Parcalabescu & Frank 2023 (MM-SHAP), equation 3, there of Shapley values. An estimate's noise
    counts as relevance: with many regions and a small budget the image's share of estimated values
    is too high. Left out for methods whose unit does not let words and regions be compared, such as
    gradients and class activation maps.
    """

    def __call__(self, case: Case) -> float:
        why_not = case.explanation.values_unit.why_no_shares
        if why_not:
            raise NotMeasured(why_not)
        sizes = np.abs(case.values)
        words = case.players(TextFeature.kind)
        if len(words) == len(sizes):
            raise NotMeasured("the example has players of one kind of input only")
        return float(sizes[words].sum() / not_all_zero(sizes).sum())


@register_metric(
    "sparseness",
    source="Chalasani et al. 2020, section 4",
    better=HIGHER,
    range="0 … 1",
)
@dataclass(frozen=True)
class Sparseness:
    """The Gini index of |a| over players: 0 where all are alike, near 1 where one has everything.

    Chalasani et al. 2020, section 4 (after Hurley & Rickard 2009).
    """

    def __call__(self, case: Case) -> float:
        values = np.sort(np.abs(not_all_zero(case.values)))
        count = len(values)
        return float(
            ((2 * np.arange(1, count + 1) - count - 1) * values).sum() / (count * values.sum())
        )
