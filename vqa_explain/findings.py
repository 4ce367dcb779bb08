"""Which interactions of players stand out from their standard errors,
and what it takes for others to.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

ENOUGH = 2.0  # standard errors below which a value is not told from zero
_BEYOND = 2 * NormalDist().cdf(-ENOUGH)  # how often chance alone goes beyond them
_OF_FLOAT32 = (
    2e-6  # of the total: an interaction is made of four scores, each rounded by 6e-8 of itself
)
_ROUNDING = 1e-9  # of the largest value: what an exact sum leaves where nothing should be


def is_unsure(value: float, error: float | None) -> bool:
    """Whether a value cannot be told from zero; one without a standard error is never said to be
    so.
    """
    return error is not None and abs(value) < ENOUGH * error


@dataclass(frozen=True)
class Pair:
    """A player of one input and one of another, such as a word and a region, and what they bring
    only together.

    Attributes:
        first, second: their numbers within their inputs.
        value: what they bring only together.
        error: its standard error; `None` where none is stated.
        ratio: the size of the value over its error: infinite where exact, 0 where nothing is told
            from zero.
        inputs: the number of the pair of inputs, of all that were compared.
    """

    first: int
    second: int
    value: float
    error: float | None
    ratio: float
    inputs: int = 0

    @property
    def found(self) -> bool:
        """Whether it is told from zero by itself: beyond two standard errors."""
        return self.ratio >= ENOUGH


def ranked(
    several: Sequence[tuple[np.ndarray, np.ndarray | None]], whole: float = 0.0
) -> tuple[Pair, ...]:
    """Every pair of players, first those that stand out most from their error, then by size.

    Args:
        several: for each pair of inputs, values (A, B) of each player of the first with each of the
            second, and their standard errors.
        whole: the absolute total of all players' values, of which networks in float32 round off a
            little.
    """
    sizes = [float(np.nanmax(np.abs(values), initial=0.0)) for values, _ in several]
    least = max(_ROUNDING * max(sizes, default=0.0), _OF_FLOAT32 * whole)
    found = []
    for number, (values, errors) in enumerate(several):
        for (first, second), value in np.ndenumerate(values):
            error = None if errors is None else float(errors[first, second])
            ratio = _ratio(float(value), error, least)
            found.append(Pair(first, second, float(value), error, ratio, number))
    return tuple(sorted(found, key=lambda pair: (-pair.ratio, -abs(pair.value))))


def _ratio(value: float, error: float | None, least: float) -> float:
    if error is None or not math.isfinite(value) or not math.isfinite(error) or abs(value) <= least:
        return 0.0
    return abs(value) / error if error > 0 else math.inf


def sure_ratio(count: int) -> float:
    """How many standard errors the strongest of `count` pairs must have, so that chance gives none
    in 19 of 20.

    Bonferroni's bound: of 343 pairs of no interaction, about 16 are beyond two errors, and one
    often beyond three.

    >>> round(sure_ratio(1), 2), round(sure_ratio(343), 2)
    (1.96, 3.8)
    """
    return NormalDist().inv_cdf(1 - 0.025 / max(1, count))


def expected_by_chance(pairs: Sequence[Pair]) -> float:
    """How many pairs would be beyond two standard errors if no pair interacted."""
    return _BEYOND * sum(1 for pair in pairs if pair.error)


def needed_budget(pair: Pair, spent: int, ratio: float = ENOUGH) -> int | None:
    """Evaluations after which this value would be `ratio` errors from zero, in two digits; errors
    shrink as 1/√N.

    `None` where no budget can be told, since the value is zero or its error is not stated.

    >>> needed_budget(Pair(0, 0, 1.32, 1.69, 1.32 / 1.69), 1000)
    6600
    """
    if (
        pair.error is None
        or not pair.value
        or not math.isfinite(pair.value)
        or not math.isfinite(pair.error)
    ):
        return None
    exact = spent * (ratio * pair.error / pair.value) ** 2
    if not math.isfinite(exact):
        return None
    step = 10.0 ** (math.floor(math.log10(max(exact, 1.0))) - 1)
    return max(1, round(math.ceil(exact / step - 1e-9) * step))
