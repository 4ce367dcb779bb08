"""Which words work with which regions: interactions of pairs of players."""

from dataclasses import dataclass, replace

import numpy as np

from vqa_explain import units
from vqa_explain.errors import Unsupported
from vqa_explain.features.parts import JointValues
from vqa_explain.game import Game
from vqa_explain.games import estimators, pairs
from vqa_explain.games.estimators import Estimate
from vqa_explain.methods.base import (
    STANDARD_ERROR,
    Attribution,
    Task,
    from_players,
    register_method,
)
from vqa_explain.methods.shapley import EXACT_PLAYERS, OverPlayers, check_budget
from vqa_explain.registry import parameter


@register_method(
    "interactions",
    source="Grabisch & Roubens 1999; Tsai et al. 2023, arXiv:2203.00870; Hammer & Holzman 1992",
    unit=units.POINTS,
    error=STANDARD_ERROR + " per pair and value; 0 when exact",
    cost="budget forwards; 2^P when exact",
)
@dataclass(frozen=True)
class Interactions(OverPlayers):
    """What each word and each region bring only together: v(S∪wr) − v(S∪w) − v(S∪r) + v(S),
    averaged over S.

    With more inputs, the same of the players of every two inputs.

    Above zero: each needs the other (the word says where to look). Below zero: either would do.
    "shapley" weights S as Shapley values do, "banzhaf" counts all S alike; both estimate word ×
    region pairs only. "fsii" is the polynomial of order 2 nearest to the game, fitted with all
    pairs. Words and regions get the index's own values of
    single players: Shapley values, Banzhaf values, or the polynomial's linear part.
    """

    index: str = parameter(
        "shapley", "which interaction index", choices=("shapley", "banzhaf", "fsii")
    )

    def __call__(self, task: Task) -> Attribution:
        game = self.game(task)
        players = game.players
        if not players.input_pairs:
            names = ", ".join(one.name for one in task.encoded.inputs)
            raise Unsupported(
                "interactions pair the players of two inputs, such as words with regions, and the "
                f"example of model {task.model.name!r} has players in one only ({names}); use "
                "shapley"
            )
        pairs_of = [players.pairs(*names) for names in players.input_pairs]
        cross = np.concatenate(pairs_of)
        exact = len(game) <= EXACT_PLAYERS and 2 ** len(game) <= self.budget
        found = self._exact(game, cross) if exact else self._estimate(task, game, cross)
        assert found.pairs is not None
        assert found.pair_errors is not None
        kind = "exact" if exact else STANDARD_ERROR
        single = from_players(game, found.values, found.errors, found.error, kind)
        ends = np.cumsum([len(some) for some in pairs_of])[:-1]
        joint = []
        for (first, second), values, errors in zip(
            players.input_pairs,
            np.split(found.pairs, ends),
            np.split(found.pair_errors, ends),
            strict=True,
        ):
            shape = (len(players.of[first].numbers), len(players.of[second].numbers))
            joint.append(JointValues(first, second, values.reshape(shape), errors.reshape(shape)))
        return replace(single, joint=tuple(joint))

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
        least = 8 * count if self.index != "fsii" else 2 + 2 * pairs.least_faithful(count)
        check_budget(self.budget, least, f"the {self.index} interactions of {count} players")
        if self.index == "fsii":
            found = self.until_enough(
                task, pairs.faithful_interactions(game, count, rng, self.budget)
            )
            assert found.pairs is not None
            assert found.pair_errors is not None
            return replace(
                found,
                pairs=_chosen(found.pairs, cross, count),
                pair_errors=_chosen(found.pair_errors, cross, count),
            )
        if self.index == "shapley":
            return self.until_enough(task, pairs.adjusted(game, count, rng, self.budget, cross))
        return self.until_enough(
            task, pairs.banzhaf_interactions(game, count, cross, rng, self.budget)
        )


def _chosen(values: np.ndarray, cross: np.ndarray, players: int) -> np.ndarray:
    """The values of `cross` among those of all pairs i < j, which come row by row."""
    square = np.zeros((players, players))
    square[np.triu_indices(players, 1)] = values
    result: np.ndarray = (square + square.T)[cross[:, 0], cross[:, 1]]
    return result
