"""Methods that draw random coalitions and fit or average something simple: RISE and LIME."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vqa_explain.methods.base import STANDARD_ERROR, Attribution, Task, parameter, register
from vqa_explain.methods.estimators import DRAWS_AT_ONCE, Estimate, Round, Score, ends
from vqa_explain.methods.shapley import OverPlayers, check_budget


def _draws(
    score: Score, players: int, rng: np.random.Generator, budget: int, probability: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random coalitions in which each player is with this probability, and their scores, `budget` in all."""
    for start in range(0, budget, DRAWS_AT_ONCE):
        coalitions = rng.random((min(DRAWS_AT_ONCE, budget - start), players)) < probability
        yield coalitions, score(coalitions)


def rise(score: Score, players: int, rng: np.random.Generator, budget: int, probability: float) -> Iterator[Round]:
    """(P,) E[v(S) · 1(i ∈ S)] / E[1(i ∈ S)], errors compared with v(P)."""
    nothing, change = ends(score, players)
    done, sums = 0, np.zeros((3, players))  # number, total and squares of the scores with each player
    for rows, values in _draws(score, players, rng, budget - 2, probability):
        done += len(rows)
        sums = sums + np.array([rows.sum(axis=0), values @ rows, values**2 @ rows])

        def estimate(sums: np.ndarray = sums) -> Estimate:
            mean = sums[1] / sums[0]
            return Estimate(mean, np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0) / (sums[0] - 1)))

        if sums[0].min() >= 2:
            yield Round(done, budget - 2, nothing + change, estimate)


@register
@dataclass(frozen=True)
class Rise(OverPlayers):
    """E[v(S) · 1(i ∈ S)] / E[1(i ∈ S)]: the mean score of the random coalitions that hold the region or word.

    The values are levels, not differences, as in the paper: compare them with each other, not with zero. The paper
    enlarges its random grids smoothly at random offsets; here absence is whole regions, so that words and regions
    are one game and a fill such as "drop" works; use `occlusion` for windows that overlap.
    """

    name: ClassVar[str] = "rise"
    source: ClassVar[str] = "Petsiuk et al. 2018, arXiv:1806.07421, equation 6"
    needs: ClassVar[frozenset[str]] = frozenset()
    error: ClassVar[str] = STANDARD_ERROR + " per value"
    cost: ClassVar[str] = "budget forwards"

    probability: float = parameter(0.5, "how often a player is present", low=0.01, high=0.99)

    def __call__(self, task: Task) -> Attribution:
        game = self.game(task)
        # So that each player is there twice but for one case in a million or so.
        least = 2 + int(np.ceil(16 / self.probability * np.log2(2 + len(game))))
        check_budget(self.budget, least, f"{len(game)} players with probability {self.probability}")
        rng = np.random.default_rng(task.seed)
        return self.estimated(task, game, rise(game, len(game), rng, self.budget, self.probability))


def ridge(coalitions: np.ndarray, values: np.ndarray, width: float, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (P,) of the local linear model with intercept, and their standard errors.

    Weights exp(−d² / width²), d the cosine distance to the coalition of all: 1 − √(s/p).
    """
    size, players = coalitions.sum(axis=1), coalitions.shape[1]
    weight = np.exp(-((1 - np.sqrt(size / players)) ** 2) / width**2)
    design = np.column_stack([np.ones(len(coalitions)), coalitions])
    shrink = penalty * np.eye(players + 1)
    shrink[0, 0] = 0  # the intercept is free
    inverse = np.linalg.pinv((design * weight[:, None]).T @ design + shrink, hermitian=True)
    beta = inverse @ ((design * weight[:, None]).T @ values)
    influence = (design * (weight * (values - design @ beta))[:, None]) @ inverse
    freedom = len(values) / max(1, len(values) - players - 1)
    return beta[1:], np.sqrt((influence**2).sum(axis=0) * freedom)[1:]


def lime(
    score: Score, players: int, rng: np.random.Generator, budget: int, width: float, penalty: float
) -> Iterator[Round]:
    """(P,) coefficients of `ridge` on uniform coalitions and the whole, errors compared with the scores' range."""
    rows = np.ones((1, players), dtype=bool)
    scores = score(rows)
    for coalitions, values in _draws(score, players, rng, budget - 1, 0.5):
        rows, scores = np.concatenate([rows, coalitions]), np.concatenate([scores, values])

        def estimate(rows: np.ndarray = rows, scores: np.ndarray = scores) -> Estimate:
            return Estimate(*ridge(rows, scores, width, penalty))

        if len(rows) >= 2 * players:
            yield Round(len(rows), budget, float(np.ptp(scores)), estimate)


@register
@dataclass(frozen=True)
class Lime(OverPlayers):
    """Coefficients of a linear model fitted to the scores of random coalitions, those near the whole weighted most."""

    name: ClassVar[str] = "lime"
    source: ClassVar[str] = "Ribeiro et al. 2016, arXiv:1602.04938, section 3.4 and its code's cosine kernel"
    needs: ClassVar[frozenset[str]] = frozenset()
    error: ClassVar[str] = STANDARD_ERROR + " per coefficient"
    cost: ClassVar[str] = "budget forwards"

    width: float = parameter(0.25, "width of the exponential kernel over cosine distance", low=0.01, high=100.0)
    penalty: float = parameter(1.0, "ridge penalty", low=0.0, high=1e6)

    def __call__(self, task: Task) -> Attribution:
        game = self.game(task)
        check_budget(self.budget, 2 * len(game), f"the coefficients of {len(game)} players")
        rng = np.random.default_rng(task.seed)
        return self.estimated(task, game, lime(game, len(game), rng, self.budget, self.width, self.penalty))
