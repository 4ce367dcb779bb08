"""Shapley, Owen and Banzhaf values of regions and words in one game."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vqa_explain.errors import InvalidInput
from vqa_explain.game import Game
from vqa_explain.methods import estimators
from vqa_explain.methods.base import Attribution, Task, from_players, parameter, register
from vqa_explain.methods.estimators import Score
from vqa_explain.methods.gradients import IMAGE_FILLS

EXACT_PLAYERS = 14  # 16,384 coalitions


@dataclass(frozen=True)
class OverPlayers:
    """The parameters of every method that plays the game of regions and words."""

    budget: int = parameter(2000, "most evaluations of the model", low=1, high=100_000_000)
    tolerance: float | None = parameter(
        None, "stop at this largest standard error, as a share of the score's change", low=0.0, high=1.0
    )
    grid: int | None = parameter(None, "rows and columns of regions (default: the model's own)", low=1, high=128)
    image_fill: str | None = parameter(None, "what an absent region becomes", choices=("drop", *IMAGE_FILLS))
    text_fill: str | None = parameter(None, "what an absent word becomes", choices=("mask", "pad"))


def _exactly(task: Task, game: Game, total: int, values: Callable[[Score], np.ndarray]) -> Attribution:
    """An attribution from an exact sum over `total` coalitions."""
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if task.progress:
            task.progress(min(done, total), total)

    found = values(lambda coalitions: game(coalitions, tell))
    return from_players(task, game, found, np.zeros(len(game)), 0.0, "exact")


def _check_budget(budget: int, least: int, players: int) -> None:
    if budget < least:
        raise InvalidInput(
            f"budget {budget} is too small: {players} players need at least {least} evaluations for values "
            "with standard errors; raise the budget, or lower the number of regions with grid="
        )


def _check_exact(estimator: str, players: int, needed: float, budget: int) -> bool:
    """Whether to sum exactly: asked for, or left to us and affordable."""
    if estimator == "exact" and (players > EXACT_PLAYERS or budget < needed):
        raise InvalidInput(
            f"exact values of {players} players need {needed:.3g} evaluations "
            f"(at most {EXACT_PLAYERS} players, and a budget that allows them); lower grid= or use another estimator"
        )
    return estimator in ("auto", "exact") and players <= EXACT_PLAYERS and needed <= budget


@register
@dataclass(frozen=True)
class Shapley(OverPlayers):
    """The average of what a region or word adds, over all orders in which players can arrive.

    Exact with up to 14 players, else estimated with standard errors: from antithetic random orders, or by the paired
    kernel regression. Either way the values sum to v(P) − v(∅), the score with everything minus that with nothing.
    """

    name: ClassVar[str] = "shapley"
    source: ClassVar[str] = "Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874; Mitchell et al. 2022, JMLR 23"
    needs: ClassVar[frozenset[str]] = frozenset()

    estimator: str = parameter("auto", "how it is computed", choices=("auto", "exact", "permutation", "kernel"))

    def __call__(self, task: Task) -> Attribution:
        game = task.game(self.image_fill, self.text_fill, self.grid)
        players = len(game)
        if _check_exact(self.estimator, players, 2.0**players, self.budget):
            return _exactly(task, game, 2**players, lambda score: estimators.exact_shapley(score, players))
        _check_budget(self.budget, 2 + 4 * max(1, players - 1), players)
        estimate = estimators.kernel_shapley if self.estimator == "kernel" else estimators.permutation_values
        rng = np.random.default_rng(task.seed)
        values, errors = estimate(game, players, rng, self.budget, self.tolerance, task.progress)
        return from_players(task, game, values, errors, float(errors.max()), "largest standard error")


@register
@dataclass(frozen=True)
class Owen(OverPlayers):
    """Shapley values among orders in which one modality arrives whole, then the other.

    What the two modalities bring together is so split evenly between them, whatever their numbers of players. Exact
    where both have at most 14 players and the budget allows, else from antithetic orders with standard errors.
    """

    name: ClassVar[str] = "owen"
    source: ClassVar[str] = "Owen 1977, Values of games with a priori unions, equation 4"
    needs: ClassVar[frozenset[str]] = frozenset()

    estimator: str = parameter("auto", "how it is computed", choices=("auto", "exact", "permutation"))

    def __call__(self, task: Task) -> Attribution:
        game = task.game(self.image_fill, self.text_fill, self.grid)
        players, regions = len(game), game.players.regions.count
        unions = [u for u in (np.arange(regions), np.arange(regions, players)) if len(u)]
        needed = sum(2.0 ** len(u) for u in unions) * 2 ** (len(unions) - 1)
        if _check_exact(self.estimator, max(map(len, unions)), needed, self.budget):
            return _exactly(task, game, int(needed), lambda score: estimators.exact_owen(score, unions))
        _check_budget(self.budget, 2 + 4 * max(1, players - 1), players)
        rng, order = np.random.default_rng(task.seed), estimators.union_order(unions)
        values, errors = estimators.permutation_values(
            game, players, rng, self.budget, self.tolerance, task.progress, order
        )
        return from_players(task, game, values, errors, float(errors.max()), "largest standard error")


@register
@dataclass(frozen=True)
class Banzhaf(OverPlayers):
    """The mean of what a region or word adds to all coalitions of the others, each counted alike.

    The values need not sum to the score's change. Exact with up to 14 players, else by maximum sample reuse, where
    every evaluation serves every player, with standard errors.
    """

    name: ClassVar[str] = "banzhaf"
    source: ClassVar[str] = "Banzhaf 1965; Wang & Jia 2023, arXiv:2205.15466, section 4.2"
    needs: ClassVar[frozenset[str]] = frozenset()

    estimator: str = parameter("auto", "how it is computed", choices=("auto", "exact", "reuse"))

    def __call__(self, task: Task) -> Attribution:
        game = task.game(self.image_fill, self.text_fill, self.grid)
        players = len(game)
        if _check_exact(self.estimator, players, 2.0**players, self.budget):
            return _exactly(task, game, 2**players, lambda score: estimators.exact_banzhaf(score, players))
        _check_budget(self.budget, 34, players)
        rng = np.random.default_rng(task.seed)
        values, errors = estimators.banzhaf_values(game, players, rng, self.budget, self.tolerance, task.progress)
        return from_players(task, game, values, errors, float(errors.max()), "largest standard error")
