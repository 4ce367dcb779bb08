"""Shapley values of regions and words in one game."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import ClassVar

import numpy as np

from vqa_explain.errors import InvalidInput
from vqa_explain.game import Game
from vqa_explain.methods.base import Attribution, Progress, Task, from_players, parameter, register
from vqa_explain.methods.gradients import IMAGE_FILLS

EXACT_PLAYERS = 14  # 16,384 coalitions
PAIRS_AT_ONCE = 2

Score = Callable[[np.ndarray], np.ndarray]  # coalitions (N, P) bool → (N,)


def exact_shapley(score: Score, players: int) -> np.ndarray:
    """φ (P,) by the sum over all coalitions (Shapley 1953): Σ_S s!(p−s−1)!/p! · (v(S∪i) − v(S))."""
    numbers = np.arange(2**players)
    coalitions = (numbers[:, None] >> np.arange(players)) & 1 > 0
    values = score(coalitions)
    size = coalitions.sum(axis=1)
    phi = np.empty(players)
    for i in range(players):
        without = numbers[~coalitions[:, i]]
        weight = 1.0 / (players * np.array([comb(players - 1, int(s)) for s in size[without]]))
        phi[i] = weight @ (values[without | (1 << i)] - values[without])
    return phi


def permutation_shapley(
    score: Score,
    players: int,
    rng: np.random.Generator,
    budget: int,
    tolerance: float | None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """φ (P,) and standard errors (P,) from antithetic pairs of random orders.

    Each order and its reverse give every player one marginal contribution each; the mean of the two is one draw
    (Mitchell et al. 2022, JMLR 23, section 4). Standard errors come from the spread of the draws. Σφ = v(P) − v(∅)
    holds exactly, as it does for each order. Stops at `budget` evaluations, or once the largest standard error is
    at most tolerance · |v(P) − v(∅)|.
    """
    cost = 2 * (players - 1)  # the two ends are shared by all orders
    pairs = max(2, (budget - 2) // max(1, cost))
    count, mean, spread = 0, np.zeros(players), np.zeros(players)
    change = float(np.diff(score(np.stack([np.zeros(players, bool), np.ones(players, bool)])))[0])
    while count < pairs:
        draws = []
        orders = [rng.permutation(players) for _ in range(min(PAIRS_AT_ONCE, pairs - count))]
        walks = [walk for order in orders for walk in (order, order[::-1])]
        chains = np.zeros((len(walks), players + 1, players), dtype=bool)
        for chain, walk in zip(chains, walks, strict=True):
            chain[np.argsort(walk) < np.arange(players + 1)[:, None]] = True
        values = score(chains.reshape(-1, players)).reshape(len(walks), players + 1)
        for pair in range(len(orders)):
            gains = np.zeros(players)
            for walk, row in zip(walks[2 * pair : 2 * pair + 2], values[2 * pair : 2 * pair + 2], strict=True):
                gains[walk] += np.diff(row) / 2
            draws.append(gains)
        for gains in draws:  # Welford's running mean and sum of squares
            count += 1
            step = gains - mean
            mean += step / count
            spread += step * (gains - mean)
        if progress:
            progress(count, pairs)
        error = np.sqrt(spread / max(1, count - 1) / count)
        if tolerance is not None and count >= 4 and error.max() <= tolerance * abs(change):
            break
    return mean, error


@register
@dataclass(frozen=True)
class Shapley:
    """The average of what a region or word adds, over all orders in which players can arrive.

    Exact with up to 14 players, else estimated from antithetic random orders with standard errors. Either way the
    values sum to v(P) − v(∅), the score with everything minus the score with nothing.
    """

    name: ClassVar[str] = "shapley"
    source: ClassVar[str] = "Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874; Mitchell et al. 2022, JMLR 23"
    needs: ClassVar[frozenset[str]] = frozenset()

    budget: int = parameter(2000, "most evaluations of the model", low=1, high=100_000_000)
    tolerance: float | None = parameter(
        None, "stop at this largest standard error, as a share of the score's change", low=0.0, high=1.0
    )
    estimator: str = parameter("auto", "how it is computed", choices=("auto", "exact", "permutation"))
    grid: int | None = parameter(None, "rows and columns of regions (default: the model's own)", low=1, high=128)
    image_fill: str | None = parameter(None, "what an absent region becomes", choices=("drop", *IMAGE_FILLS))
    text_fill: str | None = parameter(None, "what an absent word becomes", choices=("mask", "pad"))

    def __call__(self, task: Task) -> Attribution:
        game = task.game(self.image_fill, self.text_fill, self.grid)
        players = len(game)
        if self._is_exact(players):
            return self._exact(task, game)
        least = 2 + 4 * (players - 1)
        if self.budget < least:
            raise InvalidInput(
                f"budget {self.budget} is too small: {players} players need at least {least} evaluations for values "
                "with standard errors; raise the budget, or lower the number of regions with grid="
            )
        rng = np.random.default_rng(task.seed)
        values, errors = permutation_shapley(game, players, rng, self.budget, self.tolerance, task.progress)
        return from_players(task, game, values, errors, float(errors.max()), "largest standard error")

    def _is_exact(self, players: int) -> bool:
        if self.estimator == "exact" and (players > EXACT_PLAYERS or self.budget < 2**players):
            raise InvalidInput(
                f"exact Shapley values of {players} players need {2.0**players:.3g} evaluations "
                f"(at most {EXACT_PLAYERS} players, and a budget that allows them); lower grid= or use 'permutation'"
            )
        return self.estimator != "permutation" and players <= EXACT_PLAYERS and 2**players <= self.budget

    def _exact(self, task: Task, game: Game) -> Attribution:
        done, total = 0, 2 ** len(game)

        def tell(more: int) -> None:
            nonlocal done
            done += more
            if task.progress:
                task.progress(done, total)

        values = exact_shapley(lambda coalitions: game(coalitions, tell), len(game))
        return from_players(task, game, values, np.zeros(len(game)), 0.0, "exact")
