"""Values of cooperative games: pure functions of a score over coalitions, exact or estimated with
standard errors.

A score maps coalitions (N, P) bool to values (N,). An estimator is a generator of rounds: after
each it can say what it knows, and `run_until` runs it until that is good enough, the budget is
spent or the user stops it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import comb

import numpy as np
from jaxtyping import Float, Int

from vqa_explain import _shapes as shapes
from vqa_explain._shapes import Coalitions, PairValues, PlayerValues, Scores
from vqa_explain.games.intervals import (
    FEWEST,
    Z,
    half_width,
    level_of_look,
    settled,
    widened,
)
from vqa_explain.games.progress import Progress

Score = Callable[[Coalitions], Scores]
Order = Callable[[np.random.Generator], shapes.Order]  # a random order in which players arrive

PAIRS_AT_ONCE = 2
LEAST_PAIRS = 4  # of an OR of 4, two pairs agree by chance once in six, on wrong values
DRAWS_AT_ONCE = 256  # coalitions between two looks at the error, at first
MOST_DRAWS_AT_ONCE = 2048  # later: the more coalitions, the more of like length share a batch
NO_PAIRS = np.empty((0, 2), dtype=int)
SHRUNK = (
    4  # draws' worth of the players' mean variance; 2 left a majority game's errors 0.7 covered
)
LEAST_LEFT = 0.05  # of a draw's residual that its leverage leaves, where it is drawn up
LOOK = 1.5  # the error is looked at whenever the draws have grown by this factor


@dataclass(frozen=True)
class Estimate:
    """Values of players and, from some estimators, of pairs, each with its standard error.

    Attributes:
        values: (P,).
        errors: (P,) wide enough that ± 1.96 of them are a 95 % interval from few draws as well
            (`widened`).
        pairs, pair_errors: (M,) the same.
        interrupted: whether the user stopped it before its budget or tolerance did.
    """

    values: PlayerValues
    errors: PlayerValues
    pairs: PairValues | None = None
    pair_errors: PairValues | None = None
    interrupted: bool = False

    @property
    def error(self) -> float:
        """The largest standard error."""
        return float(
            max(
                self.errors.max(),
                0 if self.pair_errors is None else self.pair_errors.max(initial=0),
            )
        )

    def settled(self, count: int) -> bool:
        """Whether its `count` largest values, or pairs if it has some, are told from all others."""
        if self.pairs is None or self.pair_errors is None:
            return settled(self.values, self.errors, count)
        return settled(self.pairs, self.pair_errors, count)


@dataclass(frozen=True)
class Round:
    """After `done` of `total` draws: v(P) − v(∅), or what else errors are compared with,
    and what is known.
    """

    done: int
    total: int
    change: float
    estimate: Callable[[], Estimate]


class AllKnown(KeyboardInterrupt):
    """A game that computes nothing more was asked for a coalition that is not known."""


def run_until(
    rounds: Iterator[Round],
    tolerance: float | None = None,
    progress: Progress | None = None,
    on_interrupt: str = "raise",
    settle: int | None = None,
) -> Estimate:
    """The estimate after all rounds, or earlier once its largest error is at most `tolerance` ·
    |change|, or its `settle` largest values, or pairs, are told from all others.

    Looking often enough would stop any estimate by chance. So each look asks for more than the one
    before (`level_of_look`), and the errors of an estimate that was stopped are as wide as its look
    asked for, so that ± 1.96 of them hold at 95 %.

    Args:
        rounds: an estimator at work.
        tolerance: a share of the change; `None` with no `settle` spends the whole budget.
        progress: called with (done, total).
        on_interrupt: with "return", Ctrl-C ends the rounds and gives what is known, if anything is.
    """
    last, looks, look = None, 0, 0.0
    known: Estimate | None = None  # of the last round, where it was looked at
    try:
        for last in rounds:
            known = None
            if progress:
                progress(last.done, last.total)
            if (tolerance is not None or settle is not None) and last.done >= look:
                look, looks, known = last.done * LOOK, looks + 1, last.estimate()
                found = _as_looked_at(known, looks)
                if tolerance is not None and found.error <= tolerance * abs(last.change):
                    return found
                if settle is not None and found.settled(settle):
                    return found
    except AllKnown:
        if last is None:
            raise
        return _as_looked_at(last.estimate(), looks + 1) if looks else last.estimate()
    except KeyboardInterrupt:
        if last is None or on_interrupt != "return":
            raise
        return replace(last.estimate(), interrupted=True)
    assert last is not None, "an estimator gives at least one round"
    estimate = last.estimate() if known is None else known
    return _as_looked_at(estimate, looks + 1) if looks else estimate


def _as_looked_at(found: Estimate, look: int) -> Estimate:
    """The estimate of a look, its errors as wide as that look asks for."""
    wide = half_width(level_of_look(look)) / Z
    pairs = None if found.pair_errors is None else wide * found.pair_errors
    return replace(found, errors=wide * found.errors, pair_errors=pairs)


def every_coalition(players: int) -> Coalitions:
    """(2^P, P) bool; row n holds the players whose bits are set in n."""
    return (np.arange(2**players)[:, None] >> np.arange(players)) & 1 > 0


def exact_shapley(score: Score, players: int) -> PlayerValues:
    """φ (P,) by the sum over all coalitions (Shapley 1953): Σ_S s!(p−s−1)!/p! · (v(S∪i) − v(S))."""
    coalitions = every_coalition(players)
    values, size, numbers = score(coalitions), coalitions.sum(axis=1), np.arange(len(coalitions))
    phi = np.empty(players)
    for i in range(players):
        without = numbers[~coalitions[:, i]]
        weight = 1.0 / (players * np.array([comb(players - 1, int(s)) for s in size[without]]))
        phi[i] = weight @ (values[without | (1 << i)] - values[without])
    return phi


def exact_banzhaf(score: Score, players: int) -> PlayerValues:
    """(P,) the mean over all S of v(S∪i) − v(S) (Banzhaf 1965)."""
    coalitions = every_coalition(players)
    values = score(coalitions)
    return np.array([values[row].mean() - values[~row].mean() for row in coalitions.T])


def exact_owen(score: Score, unions: list[np.ndarray]) -> PlayerValues:
    """(P,) Owen 1977: orders that keep each union together. Coalitions needed:
    every union's subsets × the others.
    """
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
            inside = partial(_score_inside, score, base, union)
            phi[union] += weight * exact_shapley(inside, len(union))
    return phi


def _score_inside(
    score: Score, base: np.ndarray, union: np.ndarray, coalitions: Coalitions
) -> np.ndarray:
    """Scores (N,) of coalitions (N, U) of a union's players, the others as in base (P,)."""
    full = np.repeat(base[None], len(coalitions), axis=0)
    full[:, union] = coalitions
    return score(full)


def permutation(
    score: Score, players: int, rng: np.random.Generator, budget: int, order: Order | None = None
) -> Iterator[Round]:
    """φ (P,) from antithetic pairs of random orders.

    Each order and its reverse give every player one marginal contribution each; the mean of the two
    is one draw (Mitchell et al. 2022, JMLR 23, section 4). Standard errors come from the spread of
    the draws. Few draws of a player may agree by chance, and would state an error of 0, so a small
    variance is drawn up towards the mean of the players that vary (the empirical Bayes estimate of
    Smyth 2004, equation 3), and a large one is left as it is. Σφ = v(P) − v(∅) holds exactly, as it
    does for each order. Orders drawn by `order` make other values, Owen's for one.
    """
    cost = 2 * (players - 1)  # the two ends are shared by all orders
    pairs = max(LEAST_PAIRS, (budget - 2) // max(1, cost))
    count, mean, spread, apart = 0, np.zeros(players), np.zeros(players), np.zeros(players)
    change = ends(score, players)[1]
    draw = order or (lambda rng: rng.permutation(players))
    while count < pairs:
        orders = [draw(rng) for _ in range(min(PAIRS_AT_ONCE, pairs - count))]
        walks = [walk for order in orders for walk in (order, order[::-1])]
        chains = np.zeros((len(walks), players + 1, players), dtype=bool)
        for chain, walk in zip(chains, walks, strict=True):
            chain[np.argsort(walk) < np.arange(players + 1)[:, None]] = True
        values = score(chains.reshape(-1, players)).reshape(len(walks), players + 1)
        gains = np.empty((len(walks), players))
        for gain, walk, row in zip(gains, walks, values, strict=True):
            gain[walk] = np.diff(row)
        # Welford's running mean and sum of squares.
        both = gains.reshape(-1, 2, players)
        apart = apart + (np.diff(both, axis=1)[:, 0] ** 2).sum(axis=0) / 4
        for draw_of_pair in both.mean(axis=1):
            count += 1
            step = draw_of_pair - mean
            mean = mean + step / count
            spread = spread + step * (draw_of_pair - mean)

        if count >= LEAST_PAIRS:
            yield Round(count, pairs, change, partial(_of_orders, count, mean, spread, apart))


def _of_orders(count: int, mean: np.ndarray, spread: np.ndarray, apart: np.ndarray) -> Estimate:
    """Values from `count` pairs of orders: their mean, and sums of squares (P,) about it and
    of half the differences of the two orders.
    """
    own = count - 1
    unbiased = spread / own
    varying = unbiased[unbiased > 1e-12 * unbiased.max()]
    common = varying.mean() if len(varying) else 0.0
    # How far orders are from their reverses counts as one draw more: all pairs may agree by
    # chance, on wrong values.
    common = (own * common + (apart / count).mean()) / (own + 1)
    drawn_up = (spread + SHRUNK * common) / (own + SHRUNK)
    # The players' mean tells as much as that many draws (Smyth 2004, section 3).
    wide = widened(own + SHRUNK)
    return Estimate(mean, wide * np.sqrt(np.maximum(unbiased, drawn_up) / count))


def least_of_orders(players: int) -> int:
    """Evaluations that tell the errors of `permutation`."""
    return 2 + 2 * LEAST_PAIRS * max(1, players - 1)


def union_order(unions: list[np.ndarray]) -> Order:
    """Random orders in which no union is broken up: the unions shuffled,
    and the players within each.
    """

    def draw(rng: np.random.Generator) -> np.ndarray:
        return np.concatenate([rng.permutation(unions[k]) for k in rng.permutation(len(unions))])

    return draw


def kernel(score: Score, players: int, rng: np.random.Generator, budget: int) -> Iterator[Round]:
    """φ (P,) by weighted least squares under Σφ = v(P) − v(∅).

    Lundberg & Lee 2017, theorem 2: φ minimizes Σ_S μ(S) (v(S) − v(∅) − Σ_{i∈S} φ_i)², μ(S) =
    (p−1)/(C(p,s) s (p−s)). Coalitions come in complementary pairs (Covert & Lee 2021, section 4.1),
    their sizes uniform (near the leverage scores: Musco & Witter 2025), each weighted by μ over its
    probability. Standard errors are the regression's own for pairs drawn independently (the
    sandwich, White 1980, with residuals as `Draws.regression` says).
    """
    for draws, done, total in paired_draws(score, players, rng, budget, least_pairs(players)):
        yield Round(done, total, draws.change, partial(_regressed, draws))


def _regressed(draws: "Draws") -> Estimate:
    return Estimate(*draws.regression(NO_PAIRS))


@dataclass(frozen=True)
class Draws:
    """Coalitions in complementary pairs, sizes uniform in 1 … P − 1, with their scores over v(∅).

    Attributes:
        parts: rows (2K, P) bool, of which 2k and 2k + 1 are complements, one independent draw; v(S)
            − v(∅) (2K,).
        change: v(P) − v(∅).
    """

    parts: tuple[tuple[np.ndarray, np.ndarray], ...]
    change: float

    @property
    def players(self) -> int:
        result: int = self.parts[0][0].shape[1]
        return result

    def __len__(self) -> int:
        """The number of coalitions."""
        return sum(len(values) for _, values in self.parts)

    def replaced(self, first: np.ndarray, second: np.ndarray, change: float) -> "Draws":
        """The same coalitions with other scores: first (K,) of each pair and second (K,),
        and of the whole.
        """
        values = np.stack([first, second], axis=1).ravel()
        ends = np.cumsum([len(values) for _, values in self.parts])[:-1]
        parts = zip((rows for rows, _ in self.parts), np.split(values, ends), strict=True)
        return Draws(tuple(parts), change)

    def features(self, pairs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rows, values and features (players, then products of `pairs` (M, 2)),
        few at a time for memory's sake.
        """
        for rows, values in self.parts:
            z = rows.astype(float)
            yield rows, values, np.concatenate([z, z[:, pairs[:, 0]] * z[:, pairs[:, 1]]], axis=1)

    def fit(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The polynomial of players and `pairs` nearest in the Shapley kernel and exact at both
        ends.

        Returns its coefficients (P + M,) and the matrix that turns a pair's weighted residuals into
        their change.
        """
        width = self.players + len(pairs)
        gram, moment = np.zeros((width, width)), np.zeros(width)
        for rows, values, features in self.features(pairs):
            weighted = features * shapley_kernel(rows)[:, None]
            gram += weighted.T @ features / len(self)
            moment += weighted.T @ values / len(self)
        return constrained(gram, moment, self.change)

    def regression(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The fit's coefficients and their standard errors, for pairs drawn independently.

        The residual of a draw that the fit has seen is too small; each is taken as the fit of all
        other draws would leave it (the jackknife of MacKinnon & White 1985, Journal of Econometrics
        29, here of draws).
        """
        beta, bread = self.fit(pairs)
        square, draws = np.zeros(len(beta)), len(self) // 2
        for rows, values, features in self.features(pairs):
            weights = shapley_kernel(rows)[:, None]
            of_draw = features.reshape(-1, 2, len(beta))
            seen = (of_draw @ bread) @ (of_draw * weights.reshape(-1, 2, 1)).swapaxes(1, 2)
            residual = unseen((values - features @ beta).reshape(-1, 2), seen / len(self))
            pull = (residual.reshape(-1, 1) * weights * features).reshape(of_draw.shape)
            square += ((pull.mean(axis=1) @ bread) ** 2).sum(axis=0)
        # Sums of complements tell pairs, and differences tell players: each has all draws.
        freedom = max(1, draws - max(self.players, len(pairs)))
        return beta, widened(freedom) * np.sqrt(square * (draws - 1)) / draws**1.5


def unseen(
    residuals: Float[np.ndarray, "K 2"], leverages: Float[np.ndarray, "K 2 2"]
) -> Float[np.ndarray, "K 2"]:
    """The residuals of each draw from the fit of all other draws: (I − H)⁻¹ r."""
    values, vectors = np.linalg.eigh((leverages + leverages.swapaxes(1, 2)) / 2)
    turned = np.einsum("kij,ki->kj", vectors, residuals)
    # What the fit passes through exactly, whatever the draw's scores, has no such residual.
    turned = turned / np.maximum(1 - values, LEAST_LEFT)
    found: np.ndarray = np.einsum("kij,kj->ki", vectors, turned)
    return found


def constrained(
    gram: np.ndarray, moment: np.ndarray, total: float
) -> tuple[np.ndarray, np.ndarray]:
    """The least-squares coefficients that sum to `total`,
    and the matrix that carries a moment's change to theirs.
    """
    inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
    ones = inverse.sum(axis=1)
    free = inverse @ moment
    # Every feature is 1 for the coalition of all, so the coefficients must sum to its score.
    return free - ones * (free.sum() - total) / ones.sum(), inverse - np.outer(
        ones, ones
    ) / ones.sum()


def shapley_kernel(rows: Coalitions) -> Scores:
    """The Shapley kernel over the probability of a coalition whose size is uniform,
    mean 1 over sizes or so.
    """
    players = rows.shape[1]
    size = rows.sum(axis=1)
    result: np.ndarray = players**2 / 4 / (size * (players - size))
    return result


def least_pairs(players: int) -> int:
    """Pairs of coalitions that tell the errors of a regression on players."""
    return max(2 * (players - 1), players + FEWEST)


def paired_draws(
    score: Score, players: int, rng: np.random.Generator, budget: int, least: int
) -> Iterator[tuple[Draws, int, int]]:
    """Draws with how many pairs they are and will be, from `least` pairs on up to the budget."""
    nothing, change = ends(score, players)
    pairs = max(least, (budget - 2) // 2)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    done = 0
    while done < pairs:
        count = min(max(DRAWS_AT_ONCE, done), MOST_DRAWS_AT_ONCE, pairs - done)
        first = of_sizes(rng, rng.integers(1, players, count), players)
        # A coalition, then its complement.
        rows = np.stack([first, ~first], axis=1).reshape(-1, players)
        parts.append((rows, score(rows) - nothing))
        done += len(first)
        if done >= least:
            yield Draws(tuple(parts), change), done, pairs


def banzhaf(score: Score, players: int, rng: np.random.Generator, budget: int) -> Iterator[Round]:
    """(P,) Banzhaf values by maximum sample reuse (Wang & Jia 2023, section 4.2).

    Each player is in a coalition with probability ½; its value is the mean score with it less the
    mean without it, so every evaluation serves every player. Standard errors count the scores of
    nobody and of everybody as if they had been drawn too: a score that seldom changes may be seen
    at one level alone, which is no certainty.
    """
    nothing, change = ends(score, players)
    middle_of_ends = nothing + change / 2
    # Number, total and squares of the scores without and with each player.
    sums = np.zeros((3, 2, players))
    ends_seen = np.array([[-change / 2], [change / 2]])  # without and with, as measured below
    drawn = 0
    while drawn < budget - 2:
        coalitions = rng.random((min(DRAWS_AT_ONCE, budget - 2 - drawn), players)) < 0.5
        values = score(coalitions) - middle_of_ends  # near 0, so that squares lose no digits
        drawn += len(coalitions)
        sums = sums + np.array(
            [
                [rows.sum(axis=0), values @ rows, values**2 @ rows]
                for rows in (~coalitions, coalitions)
            ]
        ).swapaxes(0, 1)
        yield Round(drawn, budget - 2, change, partial(_reused, sums, ends_seen))


def _reused(sums: Float[np.ndarray, "3 2 P"], ends_seen: Float[np.ndarray, "2 1"]) -> Estimate:
    """Banzhaf values from the number, total and squares of the scores without and with players."""
    count = np.maximum(sums[0], 1)
    mean = sums[1] / count
    more = count + 1
    middle = (sums[1] + ends_seen) / more
    spread = np.maximum((sums[2] + ends_seen**2) / more - middle**2, 0)
    # The unbiased variance of `more` scores is spread · more / count; that of a mean, over `more`.
    variance = spread / count
    return Estimate(mean[1] - mean[0], np.sqrt(variance.sum(axis=0)))


def of_sizes(rng: np.random.Generator, sizes: Int[np.ndarray, " N"], players: int) -> Coalitions:
    """(N, P) bool: a uniformly random coalition of each size."""
    return rng.random((len(sizes), players)).argsort(axis=1).argsort(axis=1) < sizes[:, None]


def ends(score: Score, players: int) -> tuple[float, float]:
    """v(∅) and v(P) − v(∅)."""
    nothing, everything = score(end_coalitions(players))
    return float(nothing), float(everything - nothing)


def end_coalitions(players: int) -> Coalitions:
    """(2, P) bool, nobody and everybody."""
    return np.stack([np.zeros(players, bool), np.ones(players, bool)])
