"""How far the sampling errors of scores carry into values of a game.

A model may give the score of each coalition as a frequency among sampled answers, so that the game
at hand is v + ε, with an independent ε for each question that was asked. A value of it that is
linear in the scores, Σ_S w(S) v(S), is off by Σ_S w(S) ε(S). An estimate from random coalitions
is off by its own spread around the value of v + ε besides, and by the law of total variance the
two variances add up.

Coalitions that look the same, as where an absent region is the same as a present one, are one
question with one ε: their weights add up first.
"""

from math import comb

import numpy as np
from jaxtyping import Bool, Float

from vqa_explain._shapes import Coalitions, PlayerValues, Scores


def linear_errors(
    weights: Float[np.ndarray, "N P"], questions: list[str], variances: Scores
) -> PlayerValues:
    """(P,) standard errors of values Σ_S w(S) v(S).

    Args:
        weights: (N, P) of N coalitions in each value.
        questions: (N,) what each coalition was asked as; equal ones share one sampling error.
        variances: (N,) of each score.
    """
    _, first, which = np.unique(questions, return_index=True, return_inverse=True)
    summed = np.zeros((len(first), weights.shape[1]))
    np.add.at(summed, which, weights)
    found: np.ndarray = np.sqrt(variances[first] @ summed**2)
    return found


def shapley_weights(coalitions: Coalitions) -> Float[np.ndarray, "N P"]:
    """The weight of each coalition in each Shapley value: (s−1)! (p−s)! / p! with the player,
    −s! (p−s−1)! / p! without it.
    """
    players = coalitions.shape[1]
    sizes = coalitions.sum(axis=1)
    with_it = np.array([0.0] + [1 / (players * comb(players - 1, s)) for s in range(players)])
    without = np.array([1 / (players * comb(players - 1, s)) for s in range(players)] + [0.0])
    found: np.ndarray = np.where(coalitions, with_it[sizes][:, None], -without[sizes][:, None])
    return found


def banzhaf_weights(coalitions: Coalitions) -> Float[np.ndarray, "N P"]:
    """The weight of each coalition in each Banzhaf value: ±1 / 2^(p−1)."""
    found: np.ndarray = np.where(coalitions, 1.0, -1.0) / 2.0 ** (coalitions.shape[1] - 1)
    return found


def owen_weights(coalitions: Coalitions, unions: list[np.ndarray]) -> Float[np.ndarray, "N P"]:
    """The weight of each coalition in each Owen value: of its other unions, each must be there as a
    whole or not at all.
    """
    found = np.zeros(coalitions.shape)
    many = len(unions)
    for number, union in enumerate(unions):
        others = [other for place, other in enumerate(unions) if place != number]
        whole = np.array([coalitions[:, other].all(axis=1) for other in others]).reshape(
            many - 1, -1
        )
        some = np.array([coalitions[:, other].any(axis=1) for other in others]).reshape(
            many - 1, -1
        )
        counted = (whole == some).all(axis=0)
        unions_there = whole.sum(axis=0) if others else np.zeros(len(coalitions), dtype=int)
        of_unions = np.array([1 / (many * comb(many - 1, w)) for w in range(many)])
        inside = shapley_weights(coalitions[:, union]) * of_unions[unions_there][:, None]
        found[:, union] = np.where(counted[:, None], inside, 0.0)
    return found


def shapley_errors(
    coalitions: Coalitions, variances: Scores, active: Bool[np.ndarray, " P"]
) -> PlayerValues:
    """(P,) how far the sampling errors of all 2^P scores carry into exact Shapley values, by the
    mean variance of the scores that are known of each size.

    Args:
        coalitions: (N, P) those whose scores are known, both ends among them.
        variances: (N,) of their scores.
        active: (P,) the players that change what is asked; others have the value 0.
    """
    players = int(active.sum())
    if not players:
        return np.zeros(len(active))
    sizes = coalitions[:, active].sum(axis=1)
    known = [variances[sizes == size] for size in range(players + 1)]
    means = [float(some.mean()) if len(some) else float(variances.max()) for some in known]
    total = 0.0
    for size in range(players):  # of the coalition that the player joins
        total += (means[size] + means[size + 1]) / (players**2 * comb(players - 1, size))
    return np.where(active, np.sqrt(total), 0.0)


def banzhaf_errors(variances: Scores, active: Bool[np.ndarray, " P"]) -> PlayerValues:
    """The same of Banzhaf values: the mean variance over 2^(p−2)."""
    variance = float(variances.mean()) * 4 / 2.0 ** int(active.sum())
    return np.where(active, np.sqrt(variance), 0.0)
