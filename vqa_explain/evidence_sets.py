"""What the search for evidence asks of a game: which answer is chosen, how far it leads, and which
players matter most.
"""

import numpy as np
import torch
from torch import Tensor

from vqa_explain.games import estimators
from vqa_explain.games.estimators import Score
from vqa_explain.models.base import Model
from vqa_explain.target import Target

_ORDERING = 12  # evaluations for each player that find an order of importance


def chosen_answer(model: Model) -> Target:
    """The number of the answer that is chosen, as a score."""

    def number(scores: Tensor) -> Tensor:
        return scores.argmax(dim=1).to(scores.dtype)

    return Target(None, function=number, kind=model.kind)


def lead_of(model: Model, answer: int) -> Target:
    """How far an answer is ahead of the best other one."""

    def lead(scores: Tensor) -> Tensor:
        others = scores.clone()
        others[:, answer] = -torch.inf
        return scores[:, answer] - others.max(dim=1).values

    return Target(None, function=lead, kind=model.kind)


def importance_orders(lead: Score, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Players from the least to the most important: by estimated Shapley values of the lead,
    by what is lost without each, and by what each does alone.

    Args:
        lead: coalitions (N, P) → scores (N,).
        count: the number of players P.
        rng: for the estimate.
    """
    everybody = np.ones((1, count), dtype=bool)
    alone = np.eye(count, dtype=bool)
    lost = lead(everybody) - lead(~alone)
    values = lost
    if count > 1:
        rounds = estimators.permutation(lead, count, rng, 2 + _ORDERING * count)
        values = estimators.run_until(rounds).values
    return [np.argsort(v, kind="stable") for v in (values, lost, lead(alone))]
