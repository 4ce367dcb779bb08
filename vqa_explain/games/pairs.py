"""Interaction indices of pairs of players: exact by definition,
or estimated with standard errors.
"""

from collections.abc import Iterator
from functools import partial
from math import comb

import numpy as np
from jaxtyping import Float

from vqa_explain._shapes import Coalitions, Pairs, PairValues, PlayerValues
from vqa_explain.games import proxy
from vqa_explain.games.estimators import (
    DRAWS_AT_ONCE,
    NO_PAIRS,
    Draws,
    Estimate,
    Round,
    Score,
    constrained,
    end_coalitions,
    every_coalition,
    least_pairs,
    paired_draws,
)
from vqa_explain.games.intervals import FEWEST, widened

# How much a share of repeated draws adds to a variance. Of 7 players at 17 evaluations each, where
# 40 % are repeats, intervals hold 73 to 95 % of the time with 0, 82 to 96 % with 1, and 86 to 98 %
# with 2; of 8 players at 30, 83 to 97, 86 to 98 and 88 to 98 %.
REPEATED = 2


def exact_interactions(score: Score, players: int, pairs: Pairs, index: str) -> PairValues:
    """(M,) Σ_S w(s) · (v(S∪ij) − v(S∪i) − v(S∪j) + v(S)) over S without i and j, by the definition.

    Grabisch & Roubens 1999: w = s!(p−s−2)!/(p−1)! for the Shapley index, 1/2^(p−2) for Banzhaf's.
    """
    coalitions = every_coalition(players)
    values, numbers, size = score(coalitions), np.arange(len(coalitions)), coalitions.sum(axis=1)
    found = np.empty(len(pairs))
    for m, (i, j) in enumerate(pairs.tolist()):
        without = numbers[~coalitions[:, i] & ~coalitions[:, j]]
        both = (1 << i) | (1 << j)
        gain = (
            values[without | both]
            - values[without | (1 << i)]
            - values[without | (1 << j)]
            + values[without]
        )
        if index == "banzhaf":
            found[m] = gain.mean()
        else:
            found[m] = gain @ (
                1.0 / ((players - 1) * np.array([comb(players - 2, int(s)) for s in size[without]]))
            )
    return found


def exact_faithful(score: Score, players: int) -> tuple[PlayerValues, PairValues]:
    """The faithful Shapley interactions of players (P,) and of all pairs i < j,
    from all coalitions.
    """
    pairs = np.column_stack(np.triu_indices(players, 1))
    coalitions = every_coalition(players)
    values = score(coalitions) - score(coalitions[:1])
    z, size = coalitions[1:-1].astype(float), coalitions[1:-1].sum(axis=1)
    weight = 1.0 / (np.array([comb(players, int(s)) for s in size]) * size * (players - size))
    features = np.concatenate([z, z[:, pairs[:, 0]] * z[:, pairs[:, 1]]], axis=1)
    weighted = features * weight[:, None]
    beta, _ = constrained(weighted.T @ features, weighted.T @ values[1:-1], float(values[-1]))
    return beta[:players], beta[players:]


def adjusted(
    score: Score,
    players: int,
    rng: np.random.Generator,
    budget: int,
    pairs: Pairs | None = None,
) -> Iterator[Round]:
    """Shapley values, and the Shapley interactions of `pairs` (M, 2) if given, with a proxy as
    control variate.

    Both are linear in the game, v = g + (v − g). Those of the fitted proxy g are known; what the
    rest v − g adds is estimated from draws that g did not see (each draw is left out in turn),
    without bias: values by the paired kernel regression, interactions by importance sampling. The
    rest is small where g fits, and so are the errors. Control variates for probabilistic values:
    Witter et al. 2025; the proxy: `methods.proxy`.
    """
    for draws, done, total in paired_draws(score, players, rng, budget, least_pairs(players)):
        yield Round(done, total, draws.change, partial(_adjusted, draws, pairs))


def _adjusted(draws: Draws, pairs: Pairs | None) -> Estimate:
    """The proxy's indices and what the rest adds."""
    first = np.concatenate([rows[::2] for rows, _ in draws.parts])
    with_it, without = (np.concatenate([values[k::2] for _, values in draws.parts]) for k in (0, 1))
    x, half = np.where(first, 1.0, -1.0), draws.change / 2
    own, _ = draws.fit(NO_PAIRS)
    odd = proxy.fit(x, (with_it - without) / 2, half, own, proxy.ODD)
    known = odd.shapley()
    left = draws.change - known.sum()
    more, errors = draws.replaced(odd.rest + left / 2, left / 2 - odd.rest, left).regression(
        NO_PAIRS
    )
    # The draws' rests are not quite independent: each draw serves the processes that did not leave
    # it out, and a process that leaves one out may have seen its like. (To leave out all that are
    # alike is biased: what is left out then tells what was drawn.)
    repeated = REPEATED * _share_of_repeats(first)
    errors = errors * np.sqrt(1 + odd.freedom / 2 + repeated)
    if pairs is None:
        return Estimate(known + more, errors)
    even = proxy.fit(x, (with_it + without) / 2, half, own, proxy.EVEN)
    total, square = np.zeros((2, len(pairs)))
    several = len(draws.parts)  # for memory's sake
    for rows, rest in zip(
        np.array_split(first, several), np.array_split(even.rest, several), strict=True
    ):
        term = _weights(rows, pairs) * rest[:, None]
        total += term.sum(axis=0)
        square += (term**2).sum(axis=0)
    count = len(first)
    spread = np.maximum(square / count - (total / count) ** 2, 0)  # below 0 by rounding
    variance = spread / max(1, count - 1)
    variance = variance * (1 + even.freedom + repeated)
    # The ends are never drawn: each counts with 1/(p−1) in every interaction.
    at_ends = 2 * even.rest_of_all / (draws.players - 1)
    return Estimate(
        known + more,
        errors,
        even.interactions(pairs) + total / count + at_ends,
        widened(max(1, count - 1)) * np.sqrt(variance),
    )


def _share_of_repeats(rows: Coalitions) -> float:
    """The share of coalitions (N, P) that had been drawn before, themselves or as complements."""
    # The first player's presence tells a coalition from its complement.
    packed = np.packbits(rows == rows[:, :1], axis=1)
    return 1 - len(np.unique(packed, axis=0)) / len(rows)


def _weights(rows: Coalitions, pairs: Pairs) -> Float[np.ndarray, "N M"]:
    """(K, M) the weight of each coalition in the definition of each interaction, over its
    probability.

    A coalition of t among p has the probability 1/((p−1) C(p,t)). Its complement has the same
    weight.
    """
    p = rows.shape[1]
    t = rows.sum(axis=1, dtype=float)
    with np.errstate(divide="ignore"):
        both = np.where(t > 1, p * (p - 1) / (t * (t - 1)), 0.0)
        neither = np.where(t < p - 1, p * (p - 1) / ((p - t) * (p - t - 1)), 0.0)
    one = -p * (p - 1) / (t * (p - t))
    present = rows[:, pairs[:, 0]].astype(np.int8) + rows[:, pairs[:, 1]]
    result: np.ndarray = np.choose(present, [neither[:, None], one[:, None], both[:, None]])
    return result


def least_faithful(players: int) -> int:
    """Draws that tell the errors of faithful interactions: half as many again as unknowns."""
    pairs = comb(players, 2)
    return max(3 * (players + pairs) // 2, max(players, pairs) + FEWEST)


def faithful_interactions(
    score: Score, players: int, rng: np.random.Generator, budget: int
) -> Iterator[Round]:
    """The faithful Shapley interactions of order 2, of players and all pairs (i < j, row by row).

    They are the polynomial of order 2 nearest to the game in the Shapley kernel and exact at both
    ends (Tsai et al. 2023, equation 16). Standard errors are the regression's.
    """
    pairs = np.column_stack(np.triu_indices(players, 1))
    for draws, done, total in paired_draws(score, players, rng, budget, least_faithful(players)):
        yield Round(done, total, draws.change, partial(_regressed, draws, pairs))


def _regressed(draws: Draws, pairs: Pairs) -> Estimate:
    beta, error = draws.regression(pairs)
    players = draws.players
    return Estimate(beta[:players], error[:players], beta[players:], error[players:])


def banzhaf_interactions(
    score: Score, players: int, pairs: Pairs, rng: np.random.Generator, budget: int
) -> Iterator[Round]:
    """Banzhaf values and interactions: 2·E[v(S) χ_i], 4·E[v(S) χ_i χ_j] over uniform S, χ = ±1 for
    present or absent.

    Each is a coefficient of the least-squares polynomial over uniform coalitions (Hammer & Holzman
    1992), and the terms are orthonormal, so every evaluation serves every index. The polynomial of
    the players and pairs, fitted on one half of the draws, is taken off the other half's scores
    first, which lowers the errors and adds no bias. Standard errors count the scores of nobody and
    of everybody as if they had been drawn too, as those of `banzhaf` do.
    """
    at_ends = end_coalitions(players), score(end_coalitions(players))
    change = float(np.diff(at_ends[1])[0])
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    least, done = min(8 * players, budget - 2), 0
    while done < budget - 2:
        rows = rng.random((min(DRAWS_AT_ONCE, -(-least // 2), budget - 2 - done), players)) < 0.5
        parts.append((rows, score(rows)))
        done += len(rows)
        if done >= least:
            yield Round(done, budget - 2, change, partial(_crossed, tuple(parts), at_ends, pairs))


def _crossed(
    parts: tuple[tuple[np.ndarray, np.ndarray], ...],
    at_ends: tuple[np.ndarray, np.ndarray],
    pairs: Pairs,
) -> Estimate:
    """Banzhaf indices from two halves of the draws, each with the other's polynomial taken off."""
    halves = [
        tuple(np.concatenate(column) for column in zip(*parts[k::2], strict=True)) for k in (0, 1)
    ]
    found = [_orthonormal(seen, unseen, at_ends, pairs) for seen, unseen in (halves, halves[::-1])]
    value = (found[0][0] + found[1][0]) / 2
    error = np.sqrt(found[0][1] + found[1][1]) / 2
    players = at_ends[0].shape[1]
    return Estimate(value[:players], error[:players], value[players:], error[players:])


def _orthonormal(
    seen: tuple[np.ndarray, ...],
    unseen: tuple[np.ndarray, ...],
    at_ends: tuple[np.ndarray, np.ndarray],
    pairs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Banzhaf indices (P + M,) and their variances from the unseen half less the seen half's
    polynomial. The ends count in the variances alone.
    """
    players = seen[0].shape[1]
    scale = np.concatenate([np.full(players, 2.0), np.full(len(pairs), 4.0)])
    used = pairs if 1 + players + len(pairs) < len(seen[0]) // 3 else pairs[:0]
    design = np.column_stack([np.ones(len(seen[0])), _basis(seen[0], used)])
    beta = np.linalg.lstsq(design, seen[1], rcond=None)[0]
    known = np.zeros(len(scale))
    known[: len(beta) - 1] = beta[1:]
    terms_of = partial(_terms, pairs, beta)
    total, square = np.zeros((2, len(scale)))
    for start in range(0, len(unseen[0]), DRAWS_AT_ONCE):
        terms = terms_of(*(part[start : start + DRAWS_AT_ONCE] for part in unseen))
        total += terms.sum(axis=0)
        square += (terms**2).sum(axis=0)
    count, of_ends = len(unseen[0]), terms_of(*at_ends)
    more = count + len(of_ends)
    middle = (total + of_ends.sum(axis=0)) / more
    spread = np.maximum((square + (of_ends**2).sum(axis=0)) / more - middle**2, 0)
    return scale * (known + total / count), scale**2 * spread / max(1, count - 1)


def _basis(rows: Coalitions, pairs: Pairs) -> Float[np.ndarray, "N Q"]:
    """Of coalitions (N, P), the signs of the players, ±1 for present or absent, and their
    products for the pairs (M, 2).
    """
    signs = np.where(rows, 1.0, -1.0)
    return np.concatenate([signs, signs[:, pairs[:, 0]] * signs[:, pairs[:, 1]]], axis=1)


def _terms(pairs: Pairs, beta: np.ndarray, rows: Coalitions, values: np.ndarray) -> np.ndarray:
    """(N, P + M) what each draw adds to each term, with the polynomial `beta` taken off."""
    terms = _basis(rows, pairs)
    rest = values - beta[0] - terms[:, : len(beta) - 1] @ beta[1:]
    found: np.ndarray = terms * rest[:, None]
    return found
