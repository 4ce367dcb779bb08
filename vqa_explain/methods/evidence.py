"""`evidence` as a method: which parts the smallest sets hold that reach the answer alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vqa_explain import units
from vqa_explain.errors import Unsupported
from vqa_explain.evidence_sets import chosen_answer, importance_orders, lead_of
from vqa_explain.game import Game
from vqa_explain.games.estimators import Score
from vqa_explain.games.evidence import smallest_sets
from vqa_explain.methods.base import (
    FILLS_HELP,
    IMAGE_FILLS,
    TEXT_FILLS,
    Attribution,
    Task,
    asked_fills,
    fill_parameter,
    register_method,
)
from vqa_explain.models.base import sampled
from vqa_explain.registry import parameter
from vqa_explain.target import REAL, Target

Works = Callable[[np.ndarray], np.ndarray]


@register_method(
    "evidence",
    source="ours; Ribeiro et al. 2018, AAAI; Zeller & Hildebrandt 2002",
    unit=units.SHARE_OF_SETS,
    error="none: sets are found by a search",
    cost="about 14 P forwards, and at most budget for the search",
)
@dataclass(frozen=True)
class EvidenceMethod:
    """The share of the smallest sets that hold a region or word: sets that reach the answer alone,
    where all else is absent.

    A set reaches an answer where the model gives that answer; with a contrast, where the target is
    ahead of it; and where a score chooses no answer, as of a regression, a function or a word of a
    sentence, where it keeps at least half of the score's change from nobody to everybody. Up to 12
    players all sets are tried where the budget holds them. All values are 0 where nobody at all
    reaches it, or no set does. `vx.evidence` says more: the sets, their precision, and what flips
    the answer.
    """

    sets: int = parameter(3, "how many sets at most", low=1, high=100)
    budget: int = parameter(
        4096,
        "most evaluations of the search; '60n' for sixty a player",
        low=1,
        high=100_000_000,
        per_player=True,
    )
    image_fill: str | None = fill_parameter("region", IMAGE_FILLS)
    text_fill: str | None = fill_parameter("word", TEXT_FILLS)
    fills: Mapping[str, str] | None = parameter(None, FILLS_HELP, mapping=True)

    def __call__(self, task: Task) -> Attribution:
        if sampled(task.model) is not None:
            raise Unsupported(
                f"the scores of model {task.model.name!r} are frequencies in samples, by which an "
                "answer may flip by chance; use a method with standard errors, such as shapley"
            )
        game, works, lead = _property(task, asked_fills(self, task.encoded.inputs))
        count = len(game)
        orders = importance_orders(lead, count, np.random.default_rng(task.seed))
        found = smallest_sets(works, count, orders, most=self.sets, budget=self.budget)
        values = found.sets.mean(axis=0) if len(found.sets) else np.zeros(count)
        kind = "none: exactly the smallest sets" if found.exact else "none: sets by a search"
        return Attribution(game.players.spread(values), None, kind, game.players, values)


def _property(task: Task, asked: Mapping[str, str]) -> tuple[Game, Works, Score]:
    """The game, which sets reach the target alone, and how surely."""
    target, model = task.target, task.model
    plain = target.function is None
    found = task.encoded.candidates
    in_part = found is not None and (found.token is not None or found.spans is not None)
    chooses = model.kind != REAL and len(task.encoded.labels) > 1 and not in_part
    own: tuple[Target, ...] = (target,)
    if plain and chooses and target.contrast is None:
        assert target.index is not None
        own = (chosen_answer(model), lead_of(model, target.index))
    fills = task.fills(asked)
    game = Game(model, task.encoded, task.players, fills, own, seed=task.seed, cost=task.cost)
    # What the model answers with everything absent is asked of the same game.
    task.games[("evidence", *fills.values())] = game
    if len(own) > 1:
        answers = game.for_target(own[0], task.cost)
        return game, lambda sets: answers(sets) == target.index, game.for_target(own[1], task.cost)
    if plain and target.contrast is not None:
        return game, lambda sets: game(sets) > 0, game
    nobody, everybody = game.ends()
    sign = 1.0 if everybody >= nobody else -1.0

    def score(sets: np.ndarray) -> np.ndarray:
        """The share of the change that is still missing, below 0."""
        return sign * (game(sets) - (nobody + everybody) / 2)

    return game, lambda sets: score(sets) >= 0, score
