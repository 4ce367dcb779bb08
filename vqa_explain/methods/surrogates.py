"""Methods that draw random coalitions and fit or average something simple: RISE and LIME."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vqa_explain.errors import InvalidInput
from vqa_explain.game import Game
from vqa_explain.methods.base import Attribution, Task, from_players, parameter, register
from vqa_explain.methods.shapley import OverPlayers

DRAWS_AT_ONCE = 256


def _draws(
    task: Task, game: Game, budget: int, probability: float, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random coalitions in which each player is with this probability, and their scores, `budget` in all."""
    for start in range(0, budget, DRAWS_AT_ONCE):
        coalitions = rng.random((min(DRAWS_AT_ONCE, budget - start), len(game))) < probability
        yield coalitions, game(coalitions)
        if task.progress:
            task.progress(start + len(coalitions), budget)


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

    probability: float = parameter(0.5, "how often a player is present", low=0.01, high=0.99)

    def __call__(self, task: Task) -> Attribution:
        game = task.game(self.image_fill, self.text_fill, self.grid)
        count, total, square = np.zeros((3, len(game)))
        everybody = game.ends()[1]
        for coalitions, values in _draws(
            task, game, self.budget - 2, self.probability, np.random.default_rng(task.seed)
        ):
            count += coalitions.sum(axis=0)
            total += values @ coalitions
            square += values**2 @ coalitions
            mean = total / np.maximum(count, 1)
            errors = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0) / np.maximum(count - 1, 1))
            if self.tolerance is not None and errors.max() <= self.tolerance * abs(everybody):
                break
        if count.min() < 2:
            raise InvalidInput(
                f"budget {self.budget} is too small: some players were never present with probability "
                f"{self.probability}; raise either"
            )
        return from_players(task, game, mean, errors, float(errors.max()), "largest standard error")


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


@register
@dataclass(frozen=True)
class Lime(OverPlayers):
    """Coefficients of a linear model fitted to the scores of random coalitions, those near the whole weighted most."""

    name: ClassVar[str] = "lime"
    source: ClassVar[str] = "Ribeiro et al. 2016, arXiv:1602.04938, section 3.4 and its code's cosine kernel"
    needs: ClassVar[frozenset[str]] = frozenset()

    width: float = parameter(0.25, "width of the exponential kernel over cosine distance", low=0.01, high=100.0)
    penalty: float = parameter(1.0, "ridge penalty", low=0.0, high=1e6)

    def __call__(self, task: Task) -> Attribution:
        game = task.game(self.image_fill, self.text_fill, self.grid)
        if self.budget < 2 * len(game):
            raise InvalidInput(
                f"budget {self.budget} is too small to fit {len(game)} players; give at least {2 * len(game)}, "
                "or lower the number of regions with grid="
            )
        rng = np.random.default_rng(task.seed)
        rows, scores = np.ones((1, len(game)), dtype=bool), game(np.ones((1, len(game)), dtype=bool))
        for coalitions, values in _draws(task, game, self.budget - 1, 0.5, rng):
            rows, scores = np.concatenate([rows, coalitions]), np.concatenate([scores, values])
            beta, errors = ridge(rows, scores, self.width, self.penalty)
            enough = self.tolerance is not None and errors.max() <= self.tolerance * np.ptp(scores)
            if enough and len(rows) > 2 * len(game):
                break
        return from_players(task, game, beta, errors, float(errors.max()), "largest standard error")
