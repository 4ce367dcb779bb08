"""Is the relevance where it should be? Metrics against the true regions and the decisive words."""

from dataclasses import dataclass

import numpy as np

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import TextPart
from vqa_explain.metrics.base import HIGHER, Case, NotMeasured, register_metric


def mass(values: np.ndarray, truth: np.ndarray) -> float:
    """Σ of positive values in the truth ÷ Σ of all positive values; 0 where none is positive."""
    positive = np.maximum(values, 0)
    whole = positive.sum()
    return float(positive[truth].sum() / whole) if whole > 0 else 0.0


def rank(values: np.ndarray, truth: np.ndarray) -> float:
    """The share of the K highest values that lie in the truth, K being its size; of equal values,
    as if by lot.
    """
    values, truth, size = values.ravel(), truth.ravel(), int(truth.sum())
    if not size:
        return float("nan")
    least = np.partition(values, -size)[-size]
    above, level = values > least, values == least
    drawn = (size - above.sum()) * truth[level].mean()
    return float((truth[above].sum() + drawn) / size)


def true_region(case: Case) -> np.ndarray:
    """(H, W) bool, as large as the picture.

    Raises:
        InvalidInput: the mask is of another size.
        NotMeasured: it is empty, or it is not known which picture it is of.
    """
    if len(case.pictures) > 1:  # then the explanation has no one picture
        raise _of_several_pictures()
    return truth_of_pixels(case, case.explanation.image.shape)


def _of_several_pictures() -> NotMeasured:
    return NotMeasured("the example has several pictures, and its mask does not say of which it is")


def truth_of_pixels(case: Case, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool, of a picture of this shape, before anything is explained.

    Raises:
        InvalidInput: the mask is of another size.
        NotMeasured: it is empty, or it is not known which picture it is of.
    """
    truth = case.example.truth
    assert truth is not None
    if len(case.pictures) > 1:
        raise _of_several_pictures()
    if truth.shape != shape:
        raise InvalidInput(
            f"the true mask is {truth.shape} and the picture {shape}; they must agree"
        )
    if not truth.any():
        raise NotMeasured("the true mask is empty")
    return truth


def positive(values: np.ndarray) -> np.ndarray:
    """The values, of which some must be positive.

    Raises:
        NotMeasured: none is, so that the share of their sum is 0 / 0.
    """
    if not (values > 0).any():
        raise NotMeasured("no value of the explanation is positive")
    return values


def decisive_words(explanation: Explanation, example: Example) -> np.ndarray:
    """(W,) bool: the words that touch a decisive character span.

    Raises:
        NotMeasured: no word does.
    """
    if sum(isinstance(part, TextPart) and not part.fixed for part in explanation.parts) > 1:
        raise NotMeasured(
            "the example has several texts, and its decisive spans do not say of which"
        )
    spans, words = example.decisive, explanation.words
    found = np.array(
        [any(w.start < end and start < w.end for start, end in spans) for w in words], bool
    )
    if not found.any():
        raise NotMeasured("no word of the question lies in the decisive spans")
    return found


@register_metric(
    "pointing_game",
    source="Zhang et al. 2016, section 4.1",
    better=HIGHER,
    range="0 … 1",
    needs={"picture", "truth"},
)
@dataclass(frozen=True)
class PointingGame:
    """1 where the pixel of most relevance lies in the true region, else 0; of several such, the
    share that does.

    Zhang et al. 2016, section 4.1, without a margin. A random explanation scores the region's share
    of the picture.
    """

    def __call__(self, case: Case) -> float:
        truth, image = true_region(case), case.explanation.image
        return float(truth[image >= image.max() * (1 - np.sign(image.max()) * 1e-12)].mean())


@register_metric(
    "relevance_mass",
    source="Arras et al. 2022, equation 1",
    better=HIGHER,
    range="0 … 1",
    needs={"picture", "truth"},
)
@dataclass(frozen=True)
class RelevanceMass:
    """Σ positive relevance in the true region ÷ Σ positive relevance.

    Arras, Osman & Samek 2022 (CLEVR-XAI), equation 1. A random explanation scores the region's
    share of the picture.
    """

    def __call__(self, case: Case) -> float:
        truth = true_region(case)
        return mass(positive(case.explanation.image), truth)


@register_metric(
    "relevance_rank",
    source="Arras et al. 2022, equation 2",
    better=HIGHER,
    range="0 … 1",
    needs={"picture", "truth"},
)
@dataclass(frozen=True)
class RelevanceRank:
    """The share of the K pixels of most relevance that lie in the true region of K pixels.

    Arras, Osman & Samek 2022 (CLEVR-XAI), equation 2; equal pixels are drawn as if by lot.
    """

    def __call__(self, case: Case) -> float:
        truth = true_region(case)
        return rank(case.explanation.image, truth)


@register_metric(
    "word_mass",
    source="after Arras et al. 2022, equation 1",
    better=HIGHER,
    range="0 … 1",
    needs={"decisive", "question"},
)
@dataclass(frozen=True)
class WordMass:
    """Σ positive relevance of the decisive words ÷ Σ positive relevance of all words:
    relevance mass over words.
    """

    def __call__(self, case: Case) -> float:
        decisive = decisive_words(case.explanation, case.example)
        values = np.array([word.value for word in case.explanation.words])
        return mass(positive(values), decisive)


@register_metric(
    "word_rank",
    source="after Arras et al. 2022, equation 2",
    better=HIGHER,
    range="0 … 1",
    needs={"decisive", "question"},
)
@dataclass(frozen=True)
class WordRank:
    """The share of the K most relevant words that are among the K decisive ones:
    relevance rank over words.
    """

    def __call__(self, case: Case) -> float:
        decisive = decisive_words(case.explanation, case.example)
        values = np.array([word.value for word in case.explanation.words])
        return rank(values, decisive)
