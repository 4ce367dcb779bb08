"""Is the relevance where it should be? Metrics against the true regions and the decisive words."""

import numpy as np

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation


def relevance_mass(explanation: Explanation, truth: np.ndarray) -> float:
    """Σ positive relevance inside the true mask ÷ Σ positive relevance, 0 … 1, higher is better.

    Arras, Osman & Samek 2022 (CLEVR-XAI), equation 1. A random explanation scores the mask's share of the picture;
    an explanation without any positive relevance scores 0.
    """
    if truth.shape != explanation.image.shape:
        raise InvalidInput(f"the true mask is {truth.shape} and the picture {explanation.image.shape}; they must agree")
    positive = np.maximum(explanation.image, 0)
    whole = positive.sum()
    return float(positive[truth].sum() / whole) if whole > 0 else 0.0


def decisive_words(explanation: Explanation, example: Example) -> np.ndarray:
    """(W,) bool: the words that touch a decisive character span."""
    return np.array(
        [any(w.start < end and start < w.end for start, end in example.decisive) for w in explanation.words], bool
    )


def word_mass(explanation: Explanation, decisive: np.ndarray) -> float:
    """Σ positive relevance of the decisive words ÷ Σ positive relevance of all words, 0 … 1, higher is better."""
    positive = np.maximum([w.value for w in explanation.words], 0)
    whole = positive.sum()
    return float(positive[decisive].sum() / whole) if whole > 0 else 0.0
