"""How often the 95 % intervals of estimated values hold the exact value, on ten kinds of games.

    python benchmarks/games.py --players 12 --rounds 40

A game is a table of the score of each of the 2^P coalitions, so the exact values are known. For
each kind, estimator and number of evaluations a player, the figure is the share of intervals that
hold the exact value, over random games and all their players.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vqa_explain.games import estimators, pairs
from vqa_explain.games.estimators import Estimate, Round, Score

Table = np.ndarray  # (2^P,) the score of each coalition; bit n of its number is player n


def members(players: int) -> np.ndarray:
    """(2^P, P) of 0 and 1."""
    return ((np.arange(2**players)[:, None] >> np.arange(players)) & 1).astype(float)


def additive(players: int, rng: np.random.Generator) -> Table:
    """Each player adds its own part."""
    return members(players) @ rng.normal(size=players)


def noisy(players: int, rng: np.random.Generator) -> Table:
    """The same, with a tenth of noise of each coalition."""
    table = additive(players, rng)
    return table + 0.1 * table.std() * rng.normal(size=len(table))


def pairwise(players: int, rng: np.random.Generator) -> Table:
    """Every two players bring something of their own."""
    inside = members(players)
    weights = np.triu(rng.normal(size=(players, players)))
    found: Table = np.einsum("ni,ij,nj->n", inside, weights, inside)
    return found


def conjunction(players: int, rng: np.random.Generator) -> Table:
    """Six players bring 1 together, and nothing without one another."""
    some = rng.choice(players, 6, replace=False)
    found: Table = members(players)[:, some].prod(axis=1)
    return found


def disjunction(players: int, rng: np.random.Generator) -> Table:
    """Any of four players is enough."""
    some = rng.choice(players, 4, replace=False)
    found: Table = members(players)[:, some].max(axis=1)
    return found


def majority(players: int, rng: np.random.Generator) -> Table:
    """More than half of a random two thirds of the players."""
    some = rng.choice(players, max(3, 2 * players // 3) | 1, replace=False)
    return (members(players)[:, some].mean(axis=1) > 0.5).astype(float)


def threshold(players: int, rng: np.random.Generator) -> Table:
    """The weights of those present must reach a number."""
    total = members(players) @ rng.exponential(size=players)
    return (total > rng.uniform(0.3, 0.7) * total.max()).astype(float)


def saturated(players: int, rng: np.random.Generator) -> Table:
    """A probability that nears 1 soon."""
    total = members(players) @ rng.normal(0.5, 1.0, size=players)
    found: Table = 1 / (1 + np.exp(3 - total))
    return found


def heavy_tailed(players: int, rng: np.random.Generator) -> Table:
    """A few coalitions have scores far from all others, bounded by 20."""
    parts = rng.standard_t(2, size=players)
    table = members(players) @ parts + rng.standard_t(2, size=2**players)
    return np.clip(table, -20, 20)


def unanimity(players: int, rng: np.random.Generator) -> Table:
    """30 sets of any size, each of which brings its own part when all of it is there."""
    inside = members(players) > 0
    table = np.zeros(len(inside))
    for _ in range(30):
        some = rng.choice(players, rng.integers(1, players + 1), replace=False)
        table += rng.normal() * inside[:, some].all(axis=1)
    return table


KINDS: dict[str, Callable[[int, np.random.Generator], Table]] = {
    "additive": additive,
    "additive with noise": noisy,
    "pairs": pairwise,
    "AND of 6": conjunction,
    "OR of 4": disjunction,
    "majority": majority,
    "threshold": threshold,
    "saturated": saturated,
    "heavy-tailed": heavy_tailed,
    "unanimity": unanimity,
}


def score_of(table: Table) -> Score:
    """The game as estimators ask it."""
    bits = 1 << np.arange(int(np.log2(len(table))))
    return lambda coalitions: table[coalitions @ bits]


Run = Callable[[Score, int, np.random.Generator, int], Iterator[Round]]
Exact = Callable[[Score, int], np.ndarray]


@dataclass(frozen=True)
class Entry:
    """An estimator, and what it estimates."""

    run: Run
    exact: Exact
    of_pairs: bool = False


def two_unions(players: int) -> list[np.ndarray]:
    """A picture's players, and a question's."""
    return np.array_split(np.arange(players), [2 * players // 3])


def all_pairs(players: int) -> np.ndarray:
    return np.column_stack(np.triu_indices(players, 1))


ESTIMATORS: dict[str, Entry] = {
    "adjusted": Entry(pairs.adjusted, estimators.exact_shapley),
    "kernel": Entry(estimators.kernel, estimators.exact_shapley),
    "permutation": Entry(estimators.permutation, estimators.exact_shapley),
    "owen": Entry(
        lambda score, n, rng, budget: estimators.permutation(
            score, n, rng, budget, estimators.union_order(two_unions(n))
        ),
        lambda score, n: estimators.exact_owen(score, two_unions(n)),
    ),
    "banzhaf": Entry(estimators.banzhaf, estimators.exact_banzhaf),
    "interactions": Entry(
        lambda score, n, rng, budget: pairs.adjusted(score, n, rng, budget, all_pairs(n)),
        lambda score, n: pairs.exact_interactions(score, n, all_pairs(n), "shapley"),
        True,
    ),
    "faithful": Entry(
        pairs.faithful_interactions,
        lambda score, n: pairs.exact_faithful(score, n)[1],
        True,
    ),
    "banzhaf interactions": Entry(
        lambda score, n, rng, budget: pairs.banzhaf_interactions(
            score, n, all_pairs(n), rng, budget
        ),
        lambda score, n: pairs.exact_interactions(score, n, all_pairs(n), "banzhaf"),
        True,
    ),
}


def held(entry: Entry, found: Estimate, exact: np.ndarray) -> np.ndarray:
    """Of each value, whether its interval holds the exact one."""
    values, errors = (found.values, found.errors)
    if entry.of_pairs:
        assert found.pairs is not None
        assert found.pair_errors is not None
        values, errors = found.pairs, found.pair_errors
    rounding = 1e-9 * max(1.0, float(np.abs(exact).max()))
    result: np.ndarray = np.abs(values - exact) <= 1.96 * errors + rounding
    return result


def coverage(entry: Entry, kind: str, players: int, each: int, rounds: int, seed: int = 0) -> float:
    """The share of intervals that hold the exact value.

    Args:
        each: evaluations for each player.
        rounds: random games, each estimated once.
    """
    inside = []
    for number in range(rounds):
        score = score_of(KINDS[kind](players, np.random.default_rng((seed, number))))
        drawn = np.random.default_rng((seed, number, 1))
        found = estimators.run_until(entry.run(score, players, drawn, each * players))
        inside.append(held(entry, found, entry.exact(score, players)).mean())
    return float(np.mean(inside))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--players", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--each", type=int, nargs="+", default=[8, 20, 40])
    parser.add_argument("--estimators", nargs="+", default=list(ESTIMATORS), choices=ESTIMATORS)
    asked = parser.parse_args()
    print(f"{asked.players} players, {asked.rounds} games of each kind; % of intervals that hold")
    for name in asked.estimators:
        print(f"\n{name:22s}" + "".join(f"{each:>6d}n" for each in asked.each))
        for kind in KINDS:
            row = [
                coverage(ESTIMATORS[name], kind, asked.players, each, asked.rounds)
                for each in asked.each
            ]
            print(f"  {kind:20s}" + "".join(f"{100 * share:7.1f}" for share in row), flush=True)


if __name__ == "__main__":
    main()
