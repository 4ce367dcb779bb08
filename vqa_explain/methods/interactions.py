"""Which words work with which regions: interactions of pairs of players."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from vqa_explain import units
from vqa_explain.errors import Unsupported
from vqa_explain.game import Game
from vqa_explain.methods import estimators, pairs
from vqa_explain.methods.base import (
    STANDARD_ERROR,
    Attribution,
    Task,
    from_players,
    register_method,
)
from vqa_explain.methods.estimators import Estimate
from vqa_explain.methods.shapley import EXACT_PLAYERS, OverPlayers, check_budget
from vqa_explain.registry import parameter


@register_method
@dataclass(frozen=True)
class Interactions(OverPlayers):
    """What each word and each region bring only together: v(S∪wr) − v(S∪w) − v(S∪r) + v(S), averaged over S.

    Above zero: each needs the other (the word says where to look). Below zero: either would do. "shapley" weights S
    as Shapley values do, "banzhaf" counts all S alike; both estimate word × region pairs only. "fsii" is the
    polynomial of order 2 nearest to the game, fitted with all pairs. Words and regions get the index's own values of
    single players: Shapley values, Banzhaf values, or the polynomial's linear part.
    """

    name: ClassVar[str] = "interactions"
    unit: ClassVar[str] = units.POINTS
    source: ClassVar[str] = (
        "Grabisch & Roubens 1999; Tsai et al. 2023, arXiv:2203.00870; Hammer & Holzman 1992"
    )
    needs: ClassVar[frozenset[str]] = frozenset()
    error: ClassVar[str] = STANDARD_ERROR + " per pair and value; 0 when exact"
    cost: ClassVar[str] = "budget forwards; 2^P when exact"

    index: str = parameter(
        "shapley", "which interaction index", choices=("shapley", "banzhaf", "fsii")
    )

    def __call__(self, task: Task) -> Attribution:
        game = self.game(task)
        words, regions, cross = (
            len(game.players.units.words),
            game.players.regions.count,
            game.players.cross,
        )
        if words == 0:
            raise Unsupported(
                f"interactions pair words with regions, and model {task.model.name!r} takes no question; "
                "use shapley for regions alone"
            )
        exact = len(game) <= EXACT_PLAYERS and 2 ** len(game) <= self.budget
        found = self._exact(game, cross) if exact else self._estimate(task, game, cross)
        assert found.pairs is not None
        assert found.pair_errors is not None
        single = from_players(
            task,
            game,
            found.values,
            found.errors,
            found.error,
            "exact" if exact else STANDARD_ERROR,
        )
        return replace(
            single,
            interactions=found.pairs.reshape(words, regions),
            interaction_errors=found.pair_errors.reshape(words, regions),
        )

    def _exact(self, game: Game, cross: np.ndarray) -> Estimate:
        count = len(game)
        if self.index == "fsii":
            single, double = pairs.exact_faithful(game, count)
            double = _chosen(double, cross, count)
        else:
            of_players = (
                estimators.exact_shapley if self.index == "shapley" else estimators.exact_banzhaf
            )
            single, double = (
                of_players(game, count),
                pairs.exact_interactions(game, count, cross, self.index),
            )
        return Estimate(single, np.zeros(count), double, np.zeros(len(cross)))

    def _estimate(self, task: Task, game: Game, cross: np.ndarray) -> Estimate:
        count, rng = len(game), np.random.default_rng(task.seed)
        least = 8 * count if self.index != "fsii" else 2 * (count + count * (count - 1) // 2)
        check_budget(self.budget, least, f"the {self.index} interactions of {count} players")
        if self.index == "fsii":
            found = self.settled(task, pairs.faithful_interactions(game, count, rng, self.budget))
            assert found.pairs is not None
            assert found.pair_errors is not None
            return replace(
                found,
                pairs=_chosen(found.pairs, cross, count),
                pair_errors=_chosen(found.pair_errors, cross, count),
            )
        if self.index == "shapley":
            return self.settled(task, pairs.adjusted(game, count, rng, self.budget, cross))
        return self.settled(task, pairs.banzhaf_interactions(game, count, cross, rng, self.budget))


def _chosen(values: np.ndarray, cross: np.ndarray, players: int) -> np.ndarray:
    """The values of `cross` among those of all pairs i < j, which come row by row."""
    square = np.zeros((players, players))
    square[np.triu_indices(players, 1)] = values
    result: np.ndarray = (square + square.T)[cross[:, 0], cross[:, 1]]
    return result
