"""Which words work with which regions: interactions of pairs of players."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.game import Game
from vqa_explain.methods import estimators, pairs
from vqa_explain.methods.base import Attribution, Task, from_players, parameter, register
from vqa_explain.methods.pairs import Indices
from vqa_explain.methods.shapley import EXACT_PLAYERS, OverPlayers


@register
@dataclass(frozen=True)
class Interactions(OverPlayers):
    """What each word and each region bring only together: v(S∪wr) − v(S∪w) − v(S∪r) + v(S), averaged over S.

    Above zero: each needs the other (the word says where to look). Below zero: either would do. "shapley" weights S
    as Shapley values do, "banzhaf" counts all S alike; both estimate word × region pairs only. "fsii" is the
    polynomial of order 2 nearest to the game, fitted with all pairs. Words and regions get the index's own values of
    single players: Shapley values, Banzhaf values, or the polynomial's linear part.
    """

    name: ClassVar[str] = "interactions"
    source: ClassVar[str] = "Grabisch & Roubens 1999; Tsai et al. 2023, arXiv:2203.00870; Hammer & Holzman 1992"
    needs: ClassVar[frozenset[str]] = frozenset()

    index: str = parameter("shapley", "which interaction index", choices=("shapley", "banzhaf", "fsii"))

    def __call__(self, task: Task) -> Attribution:
        game = task.game(self.image_fill, self.text_fill, self.grid)
        words, regions = game.players.words, game.players.regions.count
        if words == 0:
            raise Unsupported(
                f"interactions pair words with regions, and model {task.model.name!r} takes no question; "
                "use shapley for regions alone"
            )
        cross = np.array([(regions + w, r) for w in range(words) for r in range(regions)])
        exact = len(game) <= EXACT_PLAYERS and 2 ** len(game) <= self.budget
        found = self._exact(game, cross) if exact else self._estimate(task, game, cross)
        error = max(found.player_errors.max(), found.pair_errors.max())
        kind = "exact" if exact else "largest standard error"
        single = from_players(task, game, found.players, found.player_errors, float(error), kind)
        return replace(
            single,
            interactions=found.pairs.reshape(words, regions),
            interaction_errors=found.pair_errors.reshape(words, regions),
        )

    def _exact(self, game: Game, cross: np.ndarray) -> Indices:
        count = len(game)
        if self.index == "fsii":
            single, double = pairs.exact_faithful(game, count)
            double = _chosen(double, cross, count)
        else:
            of_players = estimators.exact_shapley if self.index == "shapley" else estimators.exact_banzhaf
            single, double = of_players(game, count), pairs.exact_interactions(game, count, cross, self.index)
        return Indices(single, np.zeros(count), double, np.zeros(len(cross)))

    def _estimate(self, task: Task, game: Game, cross: np.ndarray) -> Indices:
        count, rng = len(game), np.random.default_rng(task.seed)
        least = 8 * count if self.index != "fsii" else 2 * (count + count * (count - 1) // 2)
        if self.budget < least:
            raise InvalidInput(
                f"budget {self.budget} is too small: the {self.index} interactions of {count} players need at least "
                f"{least} evaluations; raise the budget, or lower the number of regions with grid="
            )
        if self.index == "fsii":
            found = pairs.faithful_interactions(game, count, rng, self.budget, self.tolerance, task.progress)
            return replace(
                found, pairs=_chosen(found.pairs, cross, count), pair_errors=_chosen(found.pair_errors, cross, count)
            )
        estimate = pairs.shapley_interactions if self.index == "shapley" else pairs.banzhaf_interactions
        return estimate(game, count, cross, rng, self.budget, self.tolerance, task.progress)


def _chosen(values: np.ndarray, cross: np.ndarray, players: int) -> np.ndarray:
    """The values of `cross` among those of all pairs i < j, which come row by row."""
    square = np.zeros((players, players))
    square[np.triu_indices(players, 1)] = values
    return (square + square.T)[cross[:, 0], cross[:, 1]]
