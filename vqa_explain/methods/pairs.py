"""Interaction indices of pairs of players: exact by definition, or estimated with standard errors."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb

import numpy as np

from vqa_explain.methods.base import Progress
from vqa_explain.methods.estimators import (
    DRAWS_AT_ONCE,
    Draws,
    Score,
    constrained,
    every_coalition,
    paired_draws,
)


@dataclass(frozen=True)
class Indices:
    """Values of players and of pairs, each with its standard error."""

    players: np.ndarray  # (P,)
    player_errors: np.ndarray
    pairs: np.ndarray  # (M,)
    pair_errors: np.ndarray


def exact_interactions(score: Score, players: int, pairs: np.ndarray, index: str) -> np.ndarray:
    """(M,) Σ_S w(s) · (v(S∪ij) − v(S∪i) − v(S∪j) + v(S)) over S without i and j, by the definition.

    Grabisch & Roubens 1999: w = s!(p−s−2)!/(p−1)! for the Shapley index, 1/2^(p−2) for Banzhaf's.
    """
    coalitions = every_coalition(players)
    values, numbers, size = score(coalitions), np.arange(len(coalitions)), coalitions.sum(axis=1)
    found = np.empty(len(pairs))
    for m, (i, j) in enumerate(pairs.tolist()):
        without = numbers[~coalitions[:, i] & ~coalitions[:, j]]
        both = (1 << i) | (1 << j)
        gain = values[without | both] - values[without | (1 << i)] - values[without | (1 << j)] + values[without]
        if index == "banzhaf":
            found[m] = gain.mean()
        else:
            found[m] = gain @ (1.0 / ((players - 1) * np.array([comb(players - 2, int(s)) for s in size[without]])))
    return found


def exact_faithful(score: Score, players: int) -> tuple[np.ndarray, np.ndarray]:
    """The faithful Shapley interactions of players (P,) and of all pairs i < j, from all coalitions."""
    pairs = np.column_stack(np.triu_indices(players, 1))
    coalitions = every_coalition(players)
    values = score(coalitions) - score(coalitions[:1])
    z, size = coalitions[1:-1].astype(float), coalitions[1:-1].sum(axis=1)
    weight = 1.0 / (np.array([comb(players, int(s)) for s in size]) * size * (players - size))
    features = np.concatenate([z, z[:, pairs[:, 0]] * z[:, pairs[:, 1]]], axis=1)
    weighted = features * weight[:, None]
    beta, _ = constrained(weighted.T @ features, weighted.T @ values[1:-1], float(values[-1]))
    return beta[:players], beta[players:]


def shapley_interactions(
    score: Score,
    players: int,
    pairs: np.ndarray,
    rng: np.random.Generator,
    budget: int,
    tolerance: float | None,
    progress: Progress | None = None,
) -> Indices:
    """Shapley values and Shapley interactions by importance sampling, with a polynomial as control variate.

    The indices are linear in the game, v = g + (v − g). For the fitted polynomial g of players and `pairs` they are
    known: its pair coefficients, and each player's coefficient plus half of its pairs'. What the rest v − g adds is
    estimated without bias from draws that g did not see (two halves, each fitting for the other; Witter et al. 2025
    do so for probabilistic values). The rest is small where g fits, and so are the errors.
    """
    least = 2 * players
    for draws in paired_draws(score, players, rng, budget, tolerance is not None, least, progress):
        halves = _halved(draws)
        means, squares = [], []
        for seen, unseen in (halves, halves[::-1]):
            # A polynomial with more coefficients than draws can tell would fit noise: then players alone.
            used = pairs if players + len(pairs) < len(seen.rows) // 3 else pairs[:0]
            beta, _ = seen.fit(used)
            known = _known(beta, players, pairs, used)
            total, square = np.zeros((2, players + len(pairs)))
            for term in _terms(unseen, beta, used, pairs):
                total += term.sum(axis=0)
                square += (term**2).sum(axis=0)
            count = len(unseen.rows) // 2
            means.append(known + total / count)
            squares.append((square / count - (total / count) ** 2) / max(1, count - 1))
        value = (means[0] + means[1]) / 2
        error = np.sqrt(squares[0] + squares[1]) / 2
        value[:players] += (draws.change - value[:players].sum()) / players  # Σφ = v(P) − v(∅) holds for the truth
        if tolerance is not None and error.max() <= tolerance * abs(draws.change):
            break
    return Indices(value[:players], error[:players], value[players:], error[players:])


def _halved(draws: Draws) -> tuple[Draws, Draws]:
    """Two independent halves, pairs kept together."""
    middle = len(draws.rows) // 4 * 2
    return (
        Draws(draws.rows[:middle], draws.values[:middle], draws.change),
        Draws(draws.rows[middle:], draws.values[middle:], draws.change),
    )


def _known(beta: np.ndarray, players: int, pairs: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The indices (P + M,) of the polynomial: every pair's coefficient is shared evenly by its two players."""
    own, mixed = beta[:players].copy(), beta[players:]
    np.add.at(own, used[:, 0], mixed / 2)
    np.add.at(own, used[:, 1], mixed / 2)
    return np.concatenate([own, mixed if len(used) else np.zeros(len(pairs))])


def _terms(draws: Draws, beta: np.ndarray, used: np.ndarray, pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Unbiased terms (K, P + M) of the indices of v − g, one row for each complementary pair of coalitions.

    A coalition of t among p counts with its weight in the definition over its probability 1/((p−1) C(p,t)).
    """
    p = draws.rows.shape[1]
    for rows, values, features in draws.chunks(used):
        rest = values - features @ beta
        t = rows.sum(axis=1, dtype=float)
        inside, outside = (p - 1) / t, -(p - 1) / (p - t)
        single = np.where(rows, inside[:, None], outside[:, None])
        with np.errstate(divide="ignore"):
            both = np.where(t > 1, p * (p - 1) / (t * (t - 1)), 0.0)
            neither = np.where(t < p - 1, p * (p - 1) / ((p - t) * (p - t - 1)), 0.0)
        one = -p * (p - 1) / (t * (p - t))
        present = rows[:, pairs[:, 0]].astype(np.int8) + rows[:, pairs[:, 1]]
        double = np.choose(present, [neither[:, None], one[:, None], both[:, None]])
        term = np.concatenate([single, double], axis=1) * rest[:, None]
        yield term.reshape(-1, 2, term.shape[1]).mean(axis=1)


def faithful_interactions(
    score: Score,
    players: int,
    rng: np.random.Generator,
    budget: int,
    tolerance: float | None,
    progress: Progress | None = None,
) -> Indices:
    """The faithful Shapley interactions of order 2, of players and all pairs (i < j, row by row).

    They are the polynomial of order 2 nearest to the game in the Shapley kernel and exact at both ends (Tsai et al.
    2023, equation 16). Standard errors are the regression's.
    """
    pairs = np.column_stack(np.triu_indices(players, 1))
    for draws in paired_draws(score, players, rng, budget, tolerance is not None, players + len(pairs), progress):
        beta, error = draws.regression(pairs)
        if tolerance is not None and error.max() <= tolerance * abs(draws.change):
            break
    return Indices(beta[:players], error[:players], beta[players:], error[players:])


def banzhaf_interactions(
    score: Score,
    players: int,
    pairs: np.ndarray,
    rng: np.random.Generator,
    budget: int,
    tolerance: float | None,
    progress: Progress | None = None,
) -> Indices:
    """Banzhaf values and interactions: 2·E[v(S) χ_i], 4·E[v(S) χ_i χ_j] over uniform S, χ = ±1 for present or absent.

    Each is a coefficient of the least-squares polynomial over uniform coalitions (Hammer & Holzman 1992), and the
    terms are orthonormal, so every evaluation serves every index. The polynomial of the players and pairs, fitted on
    one half of the draws, is taken off the other half's scores first, which lowers the errors and adds no bias.
    """
    empty, full = score(np.stack([np.zeros(players, bool), np.ones(players, bool)]))
    rows, values = np.empty((0, players), dtype=bool), np.empty(0)
    show = 16 * players if tolerance is not None else budget - 2
    while len(rows) < budget - 2:
        some = min(DRAWS_AT_ONCE, min(show, budget - 2) - len(rows))
        new = rng.random((some, players)) < 0.5
        rows, values = np.concatenate([rows, new]), np.concatenate([values, score(new)])
        if progress:
            progress(len(rows), budget - 2)
        if len(rows) < min(show, budget - 2):
            continue
        show *= 2
        middle = len(rows) // 2
        halves = ((rows[:middle], values[:middle]), (rows[middle:], values[middle:]))
        found = [_orthonormal(seen, unseen, pairs) for seen, unseen in (halves, halves[::-1])]
        value = (found[0][0] + found[1][0]) / 2
        error = np.sqrt(found[0][1] + found[1][1]) / 2
        if tolerance is not None and error.max() <= tolerance * abs(float(full - empty)):
            break
    return Indices(value[:players], error[:players], value[players:], error[players:])


def _orthonormal(
    seen: tuple[np.ndarray, np.ndarray], unseen: tuple[np.ndarray, np.ndarray], pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Banzhaf indices (P + M,) and their variances from the unseen half less the seen half's polynomial."""
    players = seen[0].shape[1]
    scale = np.concatenate([np.full(players, 2.0), np.full(len(pairs), 4.0)])
    used = pairs if 1 + players + len(pairs) < len(seen[0]) // 3 else pairs[:0]

    def basis(rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        signs = np.where(rows, 1.0, -1.0)
        return np.concatenate([signs, signs[:, chosen[:, 0]] * signs[:, chosen[:, 1]]], axis=1)

    design = np.column_stack([np.ones(len(seen[0])), basis(seen[0], used)])
    beta = np.linalg.lstsq(design, seen[1], rcond=None)[0]
    known = np.zeros(len(scale))
    known[: len(beta) - 1] = beta[1:]
    total, square = np.zeros((2, len(scale)))
    for start in range(0, len(unseen[0]), DRAWS_AT_ONCE):
        rows, values = (part[start : start + DRAWS_AT_ONCE] for part in unseen)
        terms = basis(rows, pairs)
        rest = values - beta[0] - terms[:, : len(beta) - 1] @ beta[1:]
        terms *= rest[:, None]
        total += terms.sum(axis=0)
        square += (terms**2).sum(axis=0)
    count = len(unseen[0])
    variance = (square / count - (total / count) ** 2) / max(1, count - 1)
    return scale * (known + total / count), scale**2 * variance
