"""Scores from sampled answers: how often each was given, and how far that may be off.

Of n answers, x were the answer k. Its score is log((x + ½) / (n + ½)), which estimates the
log-probability with a bias of order 1/n² only (Pettigrew, Gart & Thomas 1986, "The bias and higher
cumulants of the logarithm of a binomial variate", Biometrika 73). Its variance is
1/(x + ½) − 1/(n + ½) (Walter 1975, "The distribution of Levin's measure of attributable risk",
Biometrika 62), and that of two answers' scores covaries by −1/(n + ½), as counts of one sample do.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqa_explain.target import folded

HALF = 0.5


def scores_of(texts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The score of each answer, of the texts that a model gave.

    Case, outer blanks and a full stop or exclamation mark at the end do not matter.
    """
    given = [bare(text) for text in texts]
    count = len(given)
    return [math.log((given.count(bare(one)) + HALF) / (count + HALF)) for one in answers]


def bare(text: str) -> str:
    """A text as it is compared with others."""
    return folded(text.strip().rstrip(".!"))


def never_given(samples: int) -> float:
    """The score of an answer that none of so many texts was."""
    return math.log(HALF / (samples + HALF))


def covariance(scores: Tensor, samples: int) -> Tensor:
    """(N, K, K) the covariance of the sampling errors of scores (N, K) from so many answers."""
    inverse = (-scores.double()).exp()  # (n + ½) / (x + ½)
    return (torch.diag_embed(inverse) - 1) / (samples + HALF)
