"""Values of cooperative games: pure functions of a score over coalitions, exact or estimated with standard errors.

A score maps coalitions (N, P) bool to values (N,). Estimators stop at `budget` evaluations, or earlier once the
largest standard error is at most `tolerance` · |v(P) − v(∅)|.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb

import numpy as np

from vqa_explain.methods.base import Progress

Score = Callable[[np.ndarray], np.ndarray]
Order = Callable[[np.random.Generator], np.ndarray]  # a random order in which players arrive

PAIRS_AT_ONCE = 2
DRAWS_AT_ONCE = 256  # coalitions between two looks at the error


def every_coalition(players: int) -> np.ndarray:
    """(2^P, P) bool; row n holds the players whose bits are set in n."""
    return (np.arange(2**players)[:, None] >> np.arange(players)) & 1 > 0


def exact_shapley(score: Score, players: int) -> np.ndarray:
    """φ (P,) by the sum over all coalitions (Shapley 1953): Σ_S s!(p−s−1)!/p! · (v(S∪i) − v(S))."""
    coalitions = every_coalition(players)
    values, size, numbers = score(coalitions), coalitions.sum(axis=1), np.arange(len(coalitions))
    phi = np.empty(players)
    for i in range(players):
        without = numbers[~coalitions[:, i]]
        weight = 1.0 / (players * np.array([comb(players - 1, int(s)) for s in size[without]]))
        phi[i] = weight @ (values[without | (1 << i)] - values[without])
    return phi


def exact_banzhaf(score: Score, players: int) -> np.ndarray:
    """(P,) the mean over all S of v(S∪i) − v(S) (Banzhaf 1965)."""
    coalitions = every_coalition(players)
    values = score(coalitions)
    return np.array([values[row].mean() - values[~row].mean() for row in coalitions.T])


def exact_owen(score: Score, unions: list[np.ndarray]) -> np.ndarray:
    """(P,) Owen 1977: orders that keep each union together. Coalitions needed: every union's subsets × the others."""
    players = sum(map(len, unions))
    phi = np.zeros(players)
    count = len(unions)
    for k, union in enumerate(unions):
        others = [u for j, u in enumerate(unions) if j != k]
        for whole in every_coalition(count - 1):
            base = np.zeros(players, dtype=bool)
            for present, other in zip(whole, others, strict=True):
                base[other] = present
            weight = 1.0 / (count * comb(count - 1, int(whole.sum())))

            def inside(coalitions: np.ndarray, base: np.ndarray = base, union: np.ndarray = union) -> np.ndarray:
                full = np.repeat(base[None], len(coalitions), axis=0)
                full[:, union] = coalitions
                return score(full)

            phi[union] += weight * exact_shapley(inside, len(union))
    return phi


def permutation_values(
    score: Score,
    players: int,
    rng: np.random.Generator,
    budget: int,
    tolerance: float | None,
    progress: Progress | None = None,
    order: Order | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """φ (P,) and standard errors (P,) from antithetic pairs of random orders.

    Each order and its reverse give every player one marginal contribution each; the mean of the two is one draw
    (Mitchell et al. 2022, JMLR 23, section 4). Standard errors come from the spread of the draws. Σφ = v(P) − v(∅)
    holds exactly, as it does for each order. Orders drawn by `order` make other values, Owen's for one.
    """
    cost = 2 * (players - 1)  # the two ends are shared by all orders
    pairs = max(2, (budget - 2) // max(1, cost))
    count, mean, spread = 0, np.zeros(players), np.zeros(players)
    change = _change(score, players)[1]
    draw = order or (lambda rng: rng.permutation(players))
    while count < pairs:
        draws = []
        orders = [draw(rng) for _ in range(min(PAIRS_AT_ONCE, pairs - count))]
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


def union_order(unions: list[np.ndarray]) -> Order:
    """Random orders in which no union is broken up: the unions shuffled, and the players within each."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        return np.concatenate([rng.permutation(unions[k]) for k in rng.permutation(len(unions))])

    return draw


def kernel_shapley(
    score: Score,
    players: int,
    rng: np.random.Generator,
    budget: int,
    tolerance: float | None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """φ (P,) and standard errors (P,) by weighted least squares under Σφ = v(P) − v(∅).

    Lundberg & Lee 2017, theorem 2: φ minimises Σ_S μ(S) (v(S) − v(∅) − Σ_{i∈S} φ_i)², μ(S) = (p−1)/(C(p,s) s (p−s)).
    Coalitions come in complementary pairs (Covert & Lee 2021, section 4.1), their sizes uniform (near the leverage
    scores: Musco & Witter 2025), each weighted by μ over its probability. Standard errors are the regression's own
    for pairs drawn independently (the sandwich, White 1980).
    """
    none = np.empty((0, 2), dtype=int)
    for draws in paired_draws(score, players, rng, budget, tolerance is not None, 2 * players, progress):
        phi, errors = draws.regression(none)
        if tolerance is not None and errors.max() <= tolerance * abs(draws.change):
            break
    return phi, errors


@dataclass(frozen=True)
class Draws:
    """Coalitions in complementary pairs, sizes uniform in 1 … P − 1, with their scores over v(∅).

    Attributes:
        rows: (2K, P) bool; rows 2k and 2k + 1 are complements, one independent draw.
        values: (2K,) v(S) − v(∅).
        change: v(P) − v(∅).
    """

    rows: np.ndarray
    values: np.ndarray
    change: float

    def chunks(self, pairs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rows, values and features (players, then products of `pairs` (M, 2)), few at a time for memory's sake."""
        for start in range(0, len(self.rows), 2 * DRAWS_AT_ONCE):
            rows = self.rows[start : start + 2 * DRAWS_AT_ONCE]
            z = rows.astype(float)
            yield (
                rows,
                self.values[start : start + len(rows)],
                np.concatenate([z, z[:, pairs[:, 0]] * z[:, pairs[:, 1]]], 1),
            )

    def fit(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The polynomial of players and `pairs` nearest in the Shapley kernel and exact at both ends.

        Returns its coefficients (P + M,) and the matrix that turns a pair's weighted residuals into their change.
        """
        width = self.rows.shape[1] + len(pairs)
        gram, moment = np.zeros((width, width)), np.zeros(width)
        for rows, values, features in self.chunks(pairs):
            weighted = features * _kernel(rows)[:, None]
            gram += weighted.T @ features / len(self.rows)
            moment += weighted.T @ values / len(self.rows)
        return constrained(gram, moment, self.change)

    def regression(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The fit and the standard errors of its coefficients, for pairs drawn independently."""
        beta, bread = self.fit(pairs)
        square = np.zeros(len(beta))
        for rows, values, features in self.chunks(pairs):
            residual = (_kernel(rows) * (values - features @ beta))[:, None] * features
            square += ((residual.reshape(-1, 2, len(beta)).mean(axis=1) @ bread) ** 2).sum(axis=0)
        draws = len(self.rows) // 2
        return beta, np.sqrt(square / draws / max(1, draws - len(beta) + 1))


def constrained(gram: np.ndarray, moment: np.ndarray, total: float) -> tuple[np.ndarray, np.ndarray]:
    """The least-squares coefficients that sum to `total`, and the matrix that carries a moment's change to theirs."""
    inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
    ones = inverse.sum(axis=1)
    free = inverse @ moment
    # Every feature is 1 for the coalition of all, so the coefficients must sum to its score.
    return free - ones * (free.sum() - total) / ones.sum(), inverse - np.outer(ones, ones) / ones.sum()


def _kernel(rows: np.ndarray) -> np.ndarray:
    """The Shapley kernel over the probability of a coalition whose size is uniform, mean 1 over sizes or so."""
    players = rows.shape[1]
    size = rows.sum(axis=1)
    return players**2 / 4 / (size * (players - size))


def paired_draws(
    score: Score,
    players: int,
    rng: np.random.Generator,
    budget: int,
    often: bool,
    least: int,
    progress: Progress | None,
) -> Iterator[Draws]:
    """Draws up to the budget; with `often` whenever their number has doubled from `least` pairs on, else once."""
    nothing, change = _change(score, players)
    pairs = max(least, (budget - 2) // 2)
    rows, values = np.empty((0, players), dtype=bool), np.empty(0)
    show = least if often else pairs
    while len(rows) < 2 * pairs:
        some = min(DRAWS_AT_ONCE, min(show, pairs) - len(rows) // 2)
        first = _of_sizes(rng, rng.integers(1, players, some), players)
        new = np.stack([first, ~first], axis=1).reshape(-1, players)  # a coalition, then its complement
        rows, values = np.concatenate([rows, new]), np.concatenate([values, score(new) - nothing])
        if progress:
            progress(len(rows) // 2, pairs)
        if len(rows) == 2 * min(show, pairs):
            yield Draws(rows, values, change)
            show *= 2


def banzhaf_values(
    score: Score,
    players: int,
    rng: np.random.Generator,
    budget: int,
    tolerance: float | None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(P,) Banzhaf values and standard errors by maximum sample reuse (Wang & Jia 2023, section 4.2).

    Each player is in a coalition with probability ½; its value is the mean score with it less the mean without it,
    so every evaluation serves every player.
    """
    change = _change(score, players)[1]
    count = np.zeros((2, players))
    total, square = np.zeros((2, players)), np.zeros((2, players))
    drawn = 0
    for coalitions in _halves(rng, players, budget - 2):
        values = score(coalitions) - change / 2  # near their mean, so that squares lose no digits
        for inside, rows in enumerate((~coalitions, coalitions)):
            count[inside] += rows.sum(axis=0)
            total[inside] += values @ rows
            square[inside] += values**2 @ rows
        drawn += len(coalitions)
        if progress:
            progress(drawn, budget - 2)
        mean = total / np.maximum(count, 1)
        variance = np.maximum(square / np.maximum(count, 1) - mean**2, 0) * count / np.maximum(count - 1, 1)
        errors = np.sqrt((variance / np.maximum(count, 1)).sum(axis=0))
        if tolerance is not None and errors.max() <= tolerance * abs(change):
            break
    return mean[1] - mean[0], errors


def _halves(rng: np.random.Generator, players: int, budget: int) -> Iterator[np.ndarray]:
    """Uniform random coalitions, `budget` in all."""
    for start in range(0, budget, DRAWS_AT_ONCE):
        yield rng.random((min(DRAWS_AT_ONCE, budget - start), players)) < 0.5


def _of_sizes(rng: np.random.Generator, sizes: np.ndarray, players: int) -> np.ndarray:
    """(N, P) bool: a uniformly random coalition of each size."""
    return rng.random((len(sizes), players)).argsort(axis=1).argsort(axis=1) < sizes[:, None]


def _change(score: Score, players: int) -> tuple[float, float]:
    """v(∅) and v(P) − v(∅)."""
    nothing, everything = score(np.stack([np.zeros(players, bool), np.ones(players, bool)]))
    return float(nothing), float(everything - nothing)
